"""Flags: what in a cell's videos looks as if it had not been decoded from a brain, with the reason in words.

Nothing keeps a method's process from reading files, a phantom's answers among them; so its videos are looked at
afterwards, as those of a submission are, which could have been made by any means.

- `copies`: predictions that are their trial's true clip, changed a little or not (`bench.scoring.likeness`), and no
  training clip as much: a method that shows training clips may.
- `no generator`: videos that no autoencoder of the suite gives back as it does its own, and that are no training clips
  either. What a generator of the suite made comes out of its decoder, and changes little on another way through: on the
  tiny phantoms 3 to 5 grey levels (median of a cell), real clips 7.6 and more, a little noise 9 and more.

- of submitted videos also `filled` and `renamed` (`bench.scoring.submitted`), and single copies of true clips.

A flag is no proof: a generator of one's own makes videos that no generator of the suite makes, and the next step is to
ask. What it takes to look is a second a cell and more, so what was found is kept beside the cell's scores.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from bench.core.contracts import digest_content
from bench.core.seeds import derive_seed
from bench.core.spec import KEY_LENGTH, digest, is_submitted
from bench.core.splits import make_folds
from bench.scoring.likeness import CHANGES, SIMPLE, compare, see, transform
from bench.scoring.submitted import (
    SAME,
    find_repeated,
    find_taken,
    is_copy,
    is_flat,
    root_mean_square,
    sketch,
    tell_filled,
    tell_renamed,
)
from bench.store.cells import Cell
from bench.toolbox.resize import fit_clips
from bench.toolbox.rows import Clips, collect

COPIES, NO_GENERATOR, FILLED, RENAMED = "copies", "no generator", "filled", "renamed"
VERSION = 1  # raised when the same videos come to be flagged otherwise
ALIKE = 0.7  # likeness to the true clip from which a prediction may be a copy; honest ones reach .62
NEARER = 0.02  # by which it must be more alike than to any training clip
LEAST_SHARE, LEAST_CLIPS = 0.05, 2  # of the trials looked at, and of different clips, before a cell is flagged
MOST_TRIALS, MOST_SUBMITTED = 60, 400  # looked at for copies
MOST_EXPLAINED = 16  # of those that are held against the training clips
SHORTLIST = 8  # training clips that are looked at under all changes
MOST_DECODED = 8  # predictions that go through the autoencoder
PLAIN = SIMPLE[:1]

Find = Callable[[Cell, Any, Any], str]


def flag_cell(cell: Cell, dataset: Any, suite: Any, kinds: tuple[str, ...] = ()) -> dict[str, str]:
    """The reason of each flag of a cell, by flag; empty where there is none. What was found before is not looked for.

    Without `kinds` all are looked for that the cell can have. Only videos of what sees a brain are looked at: floors
    see none, and ceilings cheat openly.
    """
    if cell.manifest["role"] in ("control", "ceiling") or not cell.shows_videos:
        return {}
    found = {}
    for kind in kinds or (ALL if is_submitted(cell.manifest["spec"]) else (COPIES, NO_GENERATOR)):
        key = flag_key(cell, kind)
        kept = cell.scores(key)
        if kept is None:
            kept = pd.DataFrame({"flag": [kind], "reason": [FINDERS[kind](cell, dataset, suite)]})
            cell.add_scores(key, kept)
        if reason := str(kept["reason"].iloc[0]):
            found[kind] = reason
    return found


def read_flags(cell: Cell) -> list[str]:
    """The flags of a cell that were found before; nothing is looked for."""
    kept = {kind: cell.scores(flag_key(cell, kind)) for kind in FINDERS}
    return [kind for kind, one in kept.items() if one is not None and one["reason"].iloc[0]]


def flag_key(cell: Cell, kind: str) -> str:
    spec = cell.manifest["spec"]
    about = [kind, VERSION, cell.manifest["prediction_digest"], spec.get("data_digest"), spec.get("suite_digest")]
    return digest(about)[:KEY_LENGTH]


def find_copies(cell: Cell, dataset: Any, suite: Any) -> str:
    """Which share of the predictions looked at are copies of their true clips; empty below `LEAST_SHARE`.

    Of submitted videos all are looked at, and a single one that no decoding makes is enough.
    """
    if is_submitted(cell.manifest["spec"]) and (certain := examine(cell, dataset)[COPIES]):
        return certain
    trials, rows = pick_trials(cell, MOST_SUBMITTED if is_submitted(cell.manifest["spec"]) else MOST_TRIALS)
    alike = []  # row, clip, likeness
    for row in rows:
        clip = int(trials["clip"].iloc[row])
        likeness = compare(look(cell, row), changes_of(dataset, clip))
        if likeness >= ALIKE:
            alike.append((row, clip, likeness))
    if len(alike) < LEAST_SHARE * len(rows) or len({clip for _, clip, _ in alike}) < LEAST_CLIPS:
        return ""
    held = [alike[place] for place in spread(len(alike), MOST_EXPLAINED)]
    copied = [(clip, likeness) for row, clip, likeness in held if likeness > nearest(cell, row, dataset) + NEARER]
    share = len(alike) / len(rows) * len(copied) / len(held)
    if share < LEAST_SHARE or len({clip for clip, _ in copied}) < LEAST_CLIPS:
        return ""
    clip, likeness = max(copied, key=lambda one: one[1])
    return (
        f"{share:.0%} of the {len(rows)} predictions looked at are near-copies of their true clips and of no training "
        f"clip (clip {clip}: likeness {likeness:.2f})"
    )


def find_foreign(cell: Cell, dataset: Any, suite: Any) -> str:
    """How much the suite's autoencoders change the predictions looked at, where each does too much; else empty."""
    _, rows = pick_trials(cell, MOST_DECODED)
    known = [one for one in AUTOENCODERS if suite.has(one)]
    if not rows.size or not known:
        return ""
    video = cell.read(rows)
    told = []
    for place, one in enumerate(known):
        changed = float(np.median(measure_change(video, suite, one)))
        own, real = reference_change(dataset, suite, one)
        if changed <= (own + real) / 2:
            return ""
        if place == 0 and np.median([nearest(cell, row, dataset) for row in rows]) >= 1 - NEARER:
            return ""  # training clips, as they are
        told.append(
            f"{one} changes them by {changed:.1f} grey levels, its own videos by {own:.1f}, real ones {real:.1f}"
        )
    return f"no generator of this suite makes such videos: {'; '.join(told)} (medians of {len(rows)})"


def find_filled(cell: Cell, dataset: Any, suite: Any) -> str:
    """How many submitted videos are of one colour, or another clip's too."""
    return examine(cell, dataset)[FILLED]


def find_renamed(cell: Cell, dataset: Any, suite: Any) -> str:
    """Which other names fit the submitted videos far better than those that they have."""
    return examine(cell, dataset)[RENAMED]


FINDERS: Mapping[str, Find] = {
    COPIES: find_copies,
    NO_GENERATOR: find_foreign,
    FILLED: find_filled,
    RENAMED: find_renamed,
}
ALL = tuple(FINDERS)
EXAMINED: dict[tuple[str, str], dict[str, str]] = {}  # of the last submitted cell: videos are decoded once


def examine(cell: Cell, dataset: Any) -> dict[str, str]:
    """What is told of submitted videos by looking at each of them beside its true clip, subject by subject."""
    about = str(cell.manifest["prediction_digest"]), digest_content(dataset)
    if about in EXAMINED:
        return EXAMINED[about]
    trials = cell.trials().reset_index(names="row")
    told: dict[str, list[str]] = {COPIES: [], FILLED: [], RENAMED: []}
    for _, part in trials[trials["status"] == "ok"].sort_values("clip").groupby("subject"):
        clips = part["clip"].to_numpy(np.int64)
        made, true, flat, same = [], [], [], []
        for row, clip in zip(part["row"], clips, strict=True):
            video, truth = cell.read(np.array([row]))[0], dataset.video(np.array([clip]))[0]
            made.append(sketch(video))
            true.append(sketch(truth))
            flat.append(is_flat(video))
            same.append(is_copy(video, truth))
        taken = np.array(same) | find_taken(np.stack(made), np.stack(true))
        rows = part["row"].to_numpy()
        copied = [int(clips[i]) for i in np.flatnonzero(taken) if nearest(cell, int(rows[i]), dataset) < 1 - NEARER]
        if copied:
            told[COPIES].append(
                f"{len(copied)} of {len(clips)} predictions are tested true clips, but for what re-encoding changes "
                f"(the one of clip {copied[0]})"
            )
        repeated = find_repeated(np.stack(made), np.stack(true), flat)
        for i in np.flatnonzero(repeated):  # training clips, as they are: a retrieval shows one more than once
            repeated[i] = root_mean_square(learned_sketches(dataset, *fold_of(cell)) - made[i].ravel()).min() >= SAME
        told[FILLED].append(tell_filled(flat, repeated))
        told[RENAMED].append(tell_renamed(np.stack(made), np.stack(true), clips))
    EXAMINED.clear()
    EXAMINED[about] = {kind: "; ".join(filter(None, lines)) for kind, lines in told.items()}
    return EXAMINED[about]


def pick_trials(cell: Cell, most: int) -> tuple[pd.DataFrame, np.ndarray]:
    """The table of trials, and at most so many rows that have a video, evenly spread, clip by clip."""
    trials = cell.trials()
    there = np.flatnonzero(trials["status"] == "ok")
    rows = there[spread(len(there), most)]
    return trials, rows[np.argsort(trials["clip"].to_numpy()[rows], kind="stable")]


def spread(count: int, most: int) -> np.ndarray:
    """At most so many of `count` places, evenly spread."""
    if not count:
        return np.zeros(0, np.int64)
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def look(cell: Cell, row: int) -> np.ndarray:
    return transform(see(cell.read(np.array([row]))[0]), PLAIN)[0]


@functools.lru_cache(maxsize=8)  # 5 MB each; rows are looked at clip by clip
def changes_of(dataset: Any, clip: int) -> np.ndarray:
    return transform(see(dataset.video(np.array([clip]))[0]), CHANGES)


def nearest(cell: Cell, row: int, dataset: Any) -> float:
    """The likeness of a prediction to the training clip that it is most alike to."""
    clips, plain = learned_clips(dataset, *fold_of(cell))
    picture = see(cell.read(np.array([row]))[0])
    simple = transform(picture, SIMPLE)
    rough = np.array([compare(one, simple) for one in plain])
    first = np.argsort(-rough)[:SHORTLIST]
    seen = transform(picture, PLAIN)[0]
    return max(float(rough[first[0]]), *(compare(seen, changes_of(dataset, int(clips[one]))) for one in first))


def fold_of(cell: Cell) -> tuple[str, str, int]:
    spec = cell.manifest["spec"]
    return spec["split"], spec["fold"], int(spec["classes"])


@functools.lru_cache(maxsize=1)
def learned_sketches(dataset: Any, split: str, fold: str, classes: int) -> np.ndarray:
    """A sketch of each clip that a fold's method may have seen, a row each."""
    clips, _ = learned_clips(dataset, split, fold, classes)
    return np.stack([sketch(dataset.video(np.array([clip]))[0]).ravel() for clip in clips])


@functools.lru_cache(maxsize=2)
def learned_clips(dataset: Any, split: str, fold: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The clips that a fold's method may have seen, and the spectra of each, unchanged."""
    (one,) = [part for part in make_folds(dataset, split, classes=classes) if part.name == fold]
    shown = np.asarray(dataset.trials["clip"], dtype=np.int64)
    clips = np.unique(shown[np.concatenate([one.train, one.validation, one.calibration])])
    return clips, collect((transform(see(clip), PLAIN) for clip in Clips(dataset, clips)), len(clips))


def measure_change(video: np.ndarray, suite: Any, role: str) -> np.ndarray:  # f64 (n,)
    """Root mean square change of each video, in grey levels, on its way through an autoencoder of the suite."""
    fitted, given_back = AUTOENCODERS[role](video, suite)
    return np.sqrt(np.square(given_back.astype(np.float64) - fitted).mean(axis=(1, 2, 3, 4)))


@functools.lru_cache(maxsize=4)
def reference_change(dataset: Any, suite: Any, role: str) -> tuple[float, float]:
    """The median change of videos that the decoder made, and of real ones, which are some of the data set's clips."""
    clips = np.asarray(dataset.stimuli.to_pandas()["clip"])
    some = np.random.default_rng(derive_seed("flags", "reference")).permutation(clips)[:MOST_DECODED]
    real = dataset.video(np.sort(some))
    own = fit_clips(AUTOENCODERS[role](real, suite)[1], real.shape[1:])
    return float(np.median(measure_change(own, suite, role))), float(np.median(measure_change(real, suite, role)))


def pass_frames(video: np.ndarray, suite: Any) -> tuple[np.ndarray, np.ndarray]:
    """Videos at the suite's frames and size, and as its autoencoder of frames gives them back."""
    g = suite.geometry
    fitted = fit_clips(video, (g.frames, g.height, g.width))
    return fitted, suite.decode_latents(suite.encode_video(fitted))


def pass_wan(video: np.ndarray, suite: Any) -> tuple[np.ndarray, np.ndarray]:
    """Videos at a shape that Wan makes, and as its autoencoder gives them back."""
    import torch

    from bench.pretrained.decoders import fit_wan
    from bench.pretrained.generators.pipelines import quantise

    vae = suite.wan_vae
    frames = min(video.shape[1], suite.settings.get("wan_frames", video.shape[1]))
    fitted = fit_clips(video, fit_wan((frames, *video.shape[2:4]), vae, (1, 2, 2)))
    with torch.no_grad():
        pixels = torch.from_numpy(fitted).to(suite.device, vae.dtype).div(127.5).sub(1).permute(0, 4, 1, 2, 3)
        parts = [vae.decode(vae.encode(one).latent_dist.mode()).sample for one in pixels.split(1)]
    made = torch.cat(parts).permute(0, 2, 1, 3, 4)
    return fitted, quantise(made.add(1).div(2))


AUTOENCODERS: Mapping[str, Callable[[np.ndarray, Any], tuple[np.ndarray, np.ndarray]]] = {
    "vae": pass_frames,
    "wan_vae": pass_wan,
}
