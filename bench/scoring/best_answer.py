"""Which answer does best where it is known: one for all, or one for each place in the block.

`values[a, j]` is what answer a scored on known clip j, higher being better; `counts[a, j]` is False where it says
nothing, as where the answer is that very clip. The place of a trial says something where orders of blocks resemble each
other (SEED-DV's do). A known clip counts exp(−distance² / 2 bandwidth²), its distance in slots, and beside them stand
`prior` clips' worth of the answer's mean over all, which keeps the choice from following few clips. What a place tells
is the concept, not the clip: so clips near it count with the mean over all known clips of their concept. Both numbers
are chosen by leaving out each known block in turn, its clips as answers too. An infinite prior is the best constant:
the place is used where it has helped, and nowhere else.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int64, Num

BANDWIDTHS = (1.0, 2.0, 4.0, 8.0)  # slots
PRIORS = (1.0, 4.0, 16.0, np.inf)  # clips at distance 0

Values = Float64[np.ndarray, "answer known"]
Counts = Bool[np.ndarray, "answer known"]
Places = Num[np.ndarray, " known"]
Choice = Int64[np.ndarray, " trial"]


def choose_constant(values: Values, counts: Counts) -> int:
    """The answer with the best mean."""
    return int(average(values, counts).argmax())


def average(values: Values, counts: Counts) -> Float64[np.ndarray, " answer"]:
    """The mean of each answer where it counts; −∞ for one that counts nowhere."""
    there = counts.sum(axis=1)
    return np.where(there > 0, np.where(counts, values, 0.0).sum(axis=1) / np.maximum(there, 1), -np.inf)


def smooth(values: Values, counts: Counts, concept: Int64[np.ndarray, " known"]) -> tuple[Values, Counts]:
    """Each answer's value on a clip as its mean over the clips of that concept, where it counts on any of them."""
    _, label, size = np.unique(concept, return_inverse=True, return_counts=True)
    belongs = (label[:, None] == np.arange(len(size))).astype(np.float64)  # (known, concept)
    there = counts.astype(np.float64) @ belongs
    mean = (np.where(counts, values, 0.0) @ belongs) / np.maximum(there, 1)
    return mean[:, label], (there > 0)[:, label]


def choose_by_place(
    values: Values, counts: Counts, places: Places, asked: Num[np.ndarray, " trial"], bandwidth: float
) -> dict[float, Choice]:
    """The best answer to each trial under each prior, given the places in their blocks of known clips and trials."""
    distance = (np.asarray(asked, np.float64)[:, None] - np.asarray(places, np.float64)) / bandwidth
    weights = np.exp(-0.5 * distance**2).astype(np.float32)  # (trial, known)
    total = weights @ np.where(counts, values, 0.0).T.astype(np.float32)  # (trial, answer)
    mass = weights @ counts.T.astype(np.float32)
    plain = average(values, counts)
    constant = np.full(len(weights), plain.argmax())
    return {
        prior: constant if np.isinf(prior) else ((total + prior * plain) / (mass + prior)).argmax(axis=1)
        for prior in PRIORS
    }


def tune(
    values: Values,
    counts: Counts,
    places: Places,
    blocks: Int64[np.ndarray, " known"],
    block_of: Int64[np.ndarray, " answer"],
    concept: Int64[np.ndarray, " known"],
) -> tuple[float, float]:
    """The bandwidth and prior under which the answers chosen for a block by the others score best, on average.

    block_of: the block that an answer is from, −1 for none. The prior is infinite where a single block is known, and on
    a tie.
    """
    gained = {(bandwidth, prior): 0.0 for prior in reversed(PRIORS) for bandwidth in BANDWIDTHS}
    if len(np.unique(blocks)) < 2:
        return next(iter(gained))
    for block in np.unique(blocks):
        out, rest, free = blocks == block, blocks != block, block_of != block
        known, told = smooth(values[np.ix_(free, rest)], counts[np.ix_(free, rest)], concept[rest])
        asked = values[np.ix_(free, out)]
        for bandwidth in BANDWIDTHS:
            for prior, chosen in choose_by_place(known, told, places[rest], places[out], bandwidth).items():
                gained[bandwidth, prior] += float(asked[chosen, np.arange(asked.shape[1])].sum())
    return max(gained, key=lambda one: gained[one])
