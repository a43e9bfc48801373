"""What in submitted videos looks as if names were changed, clips filled up, or single clips copied.

All of it is looked at again by whoever verifies a submission: nothing that its maker said is taken for it. Videos are
sketched: `FRAMES` frames of `SIDE` × `SIDE` RGB pixels.

- *filled*: videos of one colour, and one video (re-encoded or not) under the names of several clips that differ: as if
  a video stood in for clips that were left out. What a missing clip scores is the worst; grey scores more.
- *renamed*: other names fit far better than those that were given: all one place on, in the order in which computers
  sort texts, backwards, or any. The best pairing of all fits better than the given one by chance alone; so it is found
  by the layout of the pictures without their colours, and tried on their colours.
- *certain copies*: single videos that differ from their true clip by no more than re-encoding does, or show the true
  clip of another name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

SIDE, FRAMES = 16, 3
FLAT = 2.0  # grey levels of deviation within every frame, below which a video is of one colour
SAME = 1.5  # grey levels of root mean square between sketches, below which two videos are one
LEAST_SHARE, LEAST_CLIPS = 0.02, 2  # of the videos, before filled ones are flagged
COPY_LEVELS = 14.0  # root mean square of the pixels' difference to the true clip (25 dB; published videos: 11 dB),
COPY_SHARE = 0.3  # and as a share of the true clip's own deviation: dark clips resemble each other
LIVELY = 12.0  # grey levels of deviation that a true clip must have for that to say anything
TAKEN = 5.0  # grey levels of root mean square between the sketches of a video and of a true clip that is shown in it
FAR = 4.0  # standard errors by which another pairing must fit better
BETTER = 0.1  # and so much correlation
AGREED = 0.4  # correlation of colours by which a free pairing must agree better than the names given
LEAST_MOVED = 4

Sketches = Float32[np.ndarray, "n frame side side 3"]


def sketch(clip: UInt8[np.ndarray, "frame height width 3"]) -> Float32[np.ndarray, "frame side side 3"]:
    """First, middle and last frame, small."""
    some = np.linspace(0, len(clip) - 1, FRAMES).round().astype(int)
    small = [cv2.resize(np.ascontiguousarray(clip[i]), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for i in some]
    return np.stack(small).astype(np.float32)


def is_flat(clip: UInt8[np.ndarray, "frame height width 3"]) -> bool:
    """Whether every frame is of one colour."""
    return bool((clip.std(axis=(1, 2)) < FLAT).all())


def is_copy(made: UInt8[np.ndarray, "frame height width 3"], true: UInt8[np.ndarray, "f h w 3"]) -> bool:
    """Whether a video is its true clip but for what re-encoding changes, also a frame late or early."""
    if made.shape != true.shape or true.std() < LIVELY:
        return False
    a, b = made.astype(np.float32), true.astype(np.float32)
    pairs = [(a, b)] + [(a[1:], b[:-1]), (a[:-1], b[1:])] * (len(a) > 2)
    most = min(COPY_LEVELS, COPY_SHARE * float(b.std()))
    return any(np.sqrt(np.square(one - other).mean()) < most for one, other in pairs)


def find_taken(made: Sketches, true: Sketches) -> Bool[np.ndarray, " n"]:
    """Which videos are, in their sketches, a true clip of the set: their own or another's."""
    rows, clips = made.reshape(len(made), -1), true.reshape(len(true), -1)
    lively = clips[clips.std(axis=1) >= LIVELY]
    return np.array([len(lively) > 0 and root_mean_square(lively - row).min() < TAKEN for row in rows])


def tell_filled(flat: Sequence[bool], repeated: Sequence[bool] | np.ndarray) -> str:
    """How many videos are of one colour, and how many are another clip's too; empty where they are few."""
    n = len(flat)
    least = max(LEAST_CLIPS, LEAST_SHARE * n)
    told = [(int(np.sum(flat)), "are of one colour"), (int(np.sum(repeated)), "stand under another clip's name too")]
    return "; ".join(f"{count} of {n} videos {what}" for count, what in told if count >= least)


def find_repeated(made: Sketches, true: Sketches, flat: Sequence[bool]) -> Bool[np.ndarray, " n"]:
    """Which videos are those of another clip too, whose true clip is another; those of one colour left out."""
    rows, others = made.reshape(len(made), -1), true.reshape(len(true), -1)
    repeated = np.zeros(len(made), bool)
    for i in range(len(made)):
        near = root_mean_square(rows - rows[i]) < SAME
        apart = root_mean_square(others - others[i]) >= SAME  # a stimulus that was shown twice is one
        repeated[i] = (near & apart).any()
    return repeated & ~np.asarray(flat, bool)


def root_mean_square(rows: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, " n"]:
    return np.sqrt(np.square(rows).mean(axis=1))


def tell_renamed(made: Sketches, true: Sketches, numbers: Int64[np.ndarray, " n"]) -> str:
    """Which other names fit the videos far better than those that they have; empty where none do.

    Row i of `made` was submitted for row i of `true`; `numbers` are what the clips are counted by, in ascending order.
    """
    n = len(made)
    if n < LEAST_MOVED:
        return ""
    likeness = correlate(made, true)
    given = np.diagonal(likeness)
    for words, order in list_orders(numbers):
        gain = likeness[np.arange(n), order] - given
        gain = gain[order != np.arange(n)]
        if len(gain) >= LEAST_MOVED and is_far(gain, BETTER):
            return (
                f"{words}, they fit the true clips far better: correlation {likeness[np.arange(n), order].mean():.2f} "
                f"against {given.mean():.2f} of the names given"
            )
    from scipy.optimize import linear_sum_assignment

    _, paired = linear_sum_assignment(correlate(lay_out(made), lay_out(true)), maximize=True)
    moved = paired != np.arange(n)
    if moved.sum() >= LEAST_MOVED:
        hues = made[moved].mean(axis=(1, 2, 3))
        other, own = (agree(hues, true[rows].mean(axis=(1, 2, 3))) for rows in (paired[moved], np.flatnonzero(moved)))
        if other - own > AGREED and np.arctanh(min(other, 0.9999)) * np.sqrt(max(moved.sum() - 3, 0)) > FAR:
            return (
                f"paired with true clips by their layout alone, {moved.sum()} of {n} get another clip than their names "
                f"say, and its colours: correlation {other:.2f} against {own:.2f} of the names given"
            )
    return ""


def lay_out(sketches: Sketches) -> Sketches:
    """Sketches without the mean colour of each frame."""
    return sketches - sketches.mean(axis=(2, 3), keepdims=True)


def agree(hues: Float32[np.ndarray, "n 3"], others: Float32[np.ndarray, "n 3"]) -> float:
    """Correlation of mean colours over clips, each colour's own mean taken away."""
    a, b = (one - one.mean(axis=0) for one in (hues, others))
    return float((a * b).sum() / max(float(np.sqrt((a**2).sum() * (b**2).sum())), 1e-9))


def is_far(gain: Float64[np.ndarray, " n"], least: float) -> bool:
    """Whether a mean is above `least`, and above nothing by `FAR` standard errors."""
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    return bool(gain.mean() > least and gain.mean() > FAR * error)


def correlate(made: Sketches, true: Sketches) -> Float64[np.ndarray, "n n"]:
    """Cosine of each video with each true clip, what all of a set have in common taken away."""

    def prepare(rows: np.ndarray) -> np.ndarray:
        flat = rows.reshape(len(rows), -1).astype(np.float64)
        flat = flat - flat.mean(axis=0)
        return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)

    return prepare(made) @ prepare(true).T


def list_orders(numbers: Int64[np.ndarray, " n"]) -> Iterator[tuple[str, np.ndarray]]:
    """Mistakes that are often made, in words, and the row of the true clip that each video would be of."""
    n = len(numbers)
    place = {int(number): i for i, number in enumerate(numbers)}
    for shift in (1, -1, 2, -2):
        order = np.array([place.get(int(number) + shift, i) for i, number in enumerate(numbers)])
        yield f"numbered {abs(shift)} {'higher' if shift > 0 else 'lower'}", order
    by_text = sorted(range(n), key=lambda i: str(numbers[i]))
    yield "in the order in which computers sort texts (1, 10, 2)", np.argsort(by_text)
    yield "taken from that order of texts", np.array(by_text)
    yield "counted backwards", np.arange(n)[::-1]
