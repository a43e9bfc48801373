"""What the place in a block tells about the concept, without a brain: the kernel vote behind `position_only`.

SEED-DV shows the concepts of a block in a fixed order, the same for every subject. The orders of the blocks differ, but
not as much as chance would have them: concepts that came early in some blocks tend to come early in others. A decoder
that reads nothing but slow drift in the recording can therefore score above chance, and so does this one, which reads
the clock. Each clip of the blocks that are known votes for its concept with a weight that falls with the distance
between its slot and the slot asked about: exp(−distance² / 2 bandwidth²).

The bandwidth is chosen by leaving out each known block in turn. The criterion is the mean reciprocal rank of the
true concept: top-1 over a few hundred slots is too coarse to rank bandwidths, and a log score needs an arbitrary floor.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64, Num

BANDWIDTHS = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0)  # slots
DIGITS = 12  # votes that differ less are ties: the sum of the same weights in another order

Votes = Float64[np.ndarray, "n concept"]


def vote(
    slots: Num[np.ndarray, " n"],
    known_slots: Num[np.ndarray, " known"],
    known_concepts: Int64[np.ndarray, " known"],
    *,
    bandwidth: float,
    concepts: int,
) -> Votes:
    """Votes for each concept at each slot asked about, at least 0, in units of one clip at distance 0.

    known_concepts: 0..concepts−1. Raises ValueError for a bandwidth that is not above 0, and for unequal lengths.
    """
    if not bandwidth > 0:
        raise ValueError(f"bandwidth = {bandwidth}: allowed is a number of slots above 0")
    if len(known_slots) != len(known_concepts):
        raise ValueError(f"{len(known_slots)} slots for {len(known_concepts)} concepts: give one slot a concept")
    distance = (np.asarray(slots, np.float64)[:, None] - np.asarray(known_slots, np.float64)) / bandwidth
    weights = np.exp(-0.5 * distance**2)  # (n, known)
    return np.round(weights @ np.eye(concepts)[known_concepts], DIGITS)


def top_k_accuracy(votes: Votes, concepts: Int64[np.ndarray, " n"], k: int) -> Float64[np.ndarray, " n"]:
    """Probability that the true concept is among the k with most votes, ties broken uniformly; f64 [n] in 0..1."""
    above, tied = rank(votes, concepts)
    return np.clip((k - above) / tied, 0.0, 1.0)


def reciprocal_rank(votes: Votes, concepts: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """1 / rank of the true concept, which is given the middle rank of those it ties with; f64 [n] in (0, 1]."""
    above, tied = rank(votes, concepts)
    return 1.0 / (above + (tied + 1) / 2)


def rank(votes: Votes, concepts: Int64[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """How many concepts have more votes than the true one, and how many have as many (itself included)."""
    of_truth = votes[np.arange(len(votes)), concepts][:, None]
    return (votes > of_truth).sum(axis=1), (votes == of_truth).sum(axis=1)


def leave_block_out(
    blocks: Int64[np.ndarray, " n"], slots: Num[np.ndarray, " n"], concepts: Int64[np.ndarray, " n"], bandwidth: float
) -> Votes:
    """Votes at each slot by the clips of all other blocks; raises ValueError for fewer than two blocks."""
    if len(np.unique(blocks)) < 2:
        raise ValueError(f"block {np.unique(blocks)} alone: leaving a block out needs at least two")
    votes = np.empty((len(blocks), int(concepts.max()) + 1))
    for block in np.unique(blocks):
        out = blocks == block
        votes[out] = vote(slots[out], slots[~out], concepts[~out], bandwidth=bandwidth, concepts=votes.shape[1])
    return votes


def choose_bandwidth(
    blocks: Int64[np.ndarray, " n"], slots: Num[np.ndarray, " n"], concepts: Int64[np.ndarray, " n"]
) -> float:
    """The bandwidth of `BANDWIDTHS` with the best mean reciprocal rank; the middle one where one block is known."""
    if len(np.unique(blocks)) < 2:
        return BANDWIDTHS[len(BANDWIDTHS) // 2]
    scores = [reciprocal_rank(leave_block_out(blocks, slots, concepts, one), concepts).mean() for one in BANDWIDTHS]
    return BANDWIDTHS[int(np.argmax(scores))]
