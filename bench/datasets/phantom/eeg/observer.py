"""Ideal observers: how well the phantom's own likelihood tells which clip or concept a trial shows.

| observer              | knows                                                                                     |
|-----------------------|-------------------------------------------------------------------------------------------|
| clip, closed set      | head, noise, and the features of every clip of the trial's block                          |
| concept, closed set   | the same, summed over a concept's clips                                                   |
| concept, open set     | head, noise, and the *distribution* of a concept's clips, but not the clips that are shown |

The open-set one stands beside a concept decoder; the closed-set ones saturate, for clips differ in their courses.

Each sees what a decoder sees: one trial's two seconds. It reads the first 64 cosines (DCT-II, up to 16 Hz) of each
channel. The covariance of these numbers is computed from the autocovariance of the noise of the whole block (a sum
of Kronecker products, channels × time), not approximated as circulant on the trial (Whittle), so for what is read
the noise model is exact. Approximate are: that nothing above 16 Hz is read; that within a concept the clips (their
trial gain and what is left of the clip before, too) are Gaussian with one covariance for all concepts, estimated
from `DRAWS` simulated clips a concept; and, in the closed set, that the clip before is a Gaussian of that block.
How much that matters was measured on `small` (subjects 5 and 8, block 7): mean log posterior of the true concept -0.38
and -0.38 with 32 cosines, -0.35 and -0.30 with 64, the same with 96; over nine subjects the mean posterior of the
chosen concept is 0.919 and the share chosen right 0.918, so the Gaussian model is calibrated.
The courses of the eyes are given to the observers, which is generous. Confounds that a spec plants are not modelled.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float16, Float64

from bench.core.seeds import derive_seed
from bench.datasets.manifest import read_manifest
from bench.datasets.phantom.eeg.features import Features, measure_features, simulate_recipes
from bench.datasets.phantom.eeg.head import TAIL, WINDOW, Head, draw_head
from bench.datasets.phantom.eeg.signals import alpha_spectrum, autocovariance, pink_spectrum
from bench.datasets.phantom.eeg.spec import PhantomSpec, read_spec
from bench.datasets.phantom.stimuli import Recipe
from bench.datasets.seed_dv.geometry import CHANNELS
from bench.store.cache import digest_code

if TYPE_CHECKING:
    from bench.datasets.seed_dv.layout import SeedDV

COSINES = 64  # 0 to 16 Hz in steps of a quarter
DRAWS = 30  # simulated clips a concept
CHUNK = 128  # trials read at once


class Truth:
    """What a phantom knows about itself: recipes, flow, features, heads and the likelihoods of its trials."""

    def __init__(self, dataset: SeedDV) -> None:
        self.dataset = dataset
        self.folder: Path = dataset.root / "truth"
        manifest = read_manifest(dataset.root)
        self.spec: PhantomSpec = read_spec(manifest["spec"])
        self.seconds: float = manifest["seconds"]
        self._last: tuple[int, np.ndarray] | None = None

    @cached_property
    def recipes(self) -> list[Recipe]:
        """Of each clip, in the order of the table of stimuli."""
        return [Recipe(**stored) for stored in json.loads((self.folder / "recipes.json").read_text(encoding="utf-8"))]

    @cached_property
    def flow(self) -> Float16[np.ndarray, "clip 5 height width 2"]:
        """True optical flow in pixels from each of the six frames to the next, memory-mapped."""
        return np.load(self.folder / "flow.npy", mmap_mode="r", allow_pickle=False)

    @cached_property
    def features(self) -> Features:
        """Features of the clips, which drive the heads."""
        static, courses = (np.load(self.folder / f"{name}.npy", allow_pickle=False) for name in ("static", "courses"))
        return Features(static, courses)

    @cached_property
    def simulated(self) -> Features:
        """Features of `DRAWS` clips a concept from the distribution of the stimuli, in the cache once made."""
        cache, names = self.dataset.cache, [self.made_from(f"simulated {name}") for name in ("static", "courses")]
        static, courses = (cache.find_array(name) for name in names)
        if static is None or courses is None:
            made = measure_features(simulate_recipes(self.spec, DRAWS), self.spec)
            static, courses = (cache.keep_array(*pair) for pair in zip(names, (made.static, made.courses), strict=True))
        return Features(np.array(static), np.array(courses))

    def made_from(self, what: str) -> dict[str, Any]:
        """All that determines what an observer makes of this phantom, for the cache."""
        return {"what": f"observer, {what}", "data": self.dataset.digest, "code": digest_code(__name__)}

    def concept_posteriors(self, trials: Sequence[int] | np.ndarray) -> Float64[np.ndarray, "trial concept"]:
        """Natural logarithm of the open-set observer's posterior of each concept, all equally likely before."""
        trials = np.asarray(trials, dtype=np.int64)
        subjects = self._subjects(trials)
        scores = np.zeros((len(trials), len(self.dataset.concepts)))
        for subject in np.unique(subjects):
            discriminant = self._discriminant(int(subject))  # (concept, 62 * cosines + 1)
            rows = np.flatnonzero(subjects == subject)
            for part in np.array_split(rows, -(-len(rows) // CHUNK)):
                observed = self.observe(trials[part]).reshape(len(part), -1)
                scores[part] = observed @ discriminant[:, :-1].T + discriminant[:, -1]
        return log_normalise(scores)

    def clip_posteriors(self, trials: Sequence[int] | np.ndarray) -> Float64[np.ndarray, "trial clip"]:
        """Natural logarithm of the closed-set observer's posterior of each clip of the trial's own block."""
        trials = np.asarray(trials, dtype=np.int64)
        subjects = self._subjects(trials)
        each = self.spec.geometry.block_clips
        blocks = np.asarray(self.dataset.trials["clip"])[trials] // each
        scores = np.zeros((len(trials), each))
        for subject in np.unique(subjects):
            head, factor = self._head(int(subject)), self._factor(int(subject))
            for block in np.unique(blocks[subjects == subject]):
                rows = np.flatnonzero((subjects == subject) & (blocks == block))
                own = slice(block * each, (block + 1) * each)
                clips = Features(self.features.static[own], self.features.courses[own])
                observed = whiten(factor, self.observe(trials[rows]).reshape(len(rows), -1))
                scores[rows] = closed_set_scores(head, self.spec, factor, clips, observed)
        return log_normalise(scores)

    def sum_over_concepts(
        self, clip_posteriors: Float64[np.ndarray, "trial clip"], trials: Sequence[int] | np.ndarray
    ) -> Float64[np.ndarray, "trial concept"]:
        """The closed-set observer's log posterior of each concept: the sum over its clips in the trial's block."""
        each = self.spec.geometry.block_clips
        block = np.asarray(self.dataset.trials["clip"])[np.asarray(trials)] // each
        concepts = np.asarray(self.dataset.stimuli["concept"]).reshape(-1, each)[block]
        inside = np.stack([(concepts == concept) for concept in range(len(self.dataset.concepts))], axis=1)
        return np.log(np.maximum((np.exp(clip_posteriors)[:, None] * inside).sum(axis=2), 1e-300))

    def observe(self, trials: np.ndarray) -> Float64[np.ndarray, "trial 62 cosine"]:
        """The trials without eyes as the observers see them: cosines of each channel, in microvolts."""
        where = self.dataset.windows
        signals = self.dataset.signals(trials).astype(np.float64) * 1e6
        for signal, trial in zip(signals, trials, strict=True):
            subject, start = int(where["subject"][trial]), where["sample"][trial]
            eyes = np.load(self.folder / "eyes" / f"sub{subject}.npy", mmap_mode="r", allow_pickle=False)
            signal -= self._head(subject).eyes @ eyes[where["block"][trial], :, start : start + WINDOW]
        return signals @ cosine_basis().T

    def _subjects(self, trials: np.ndarray) -> np.ndarray:
        return self.dataset.windows["subject"][trials]

    def _head(self, subject: int) -> Head:
        if subject not in self._heads:
            self._heads[subject] = draw_head(self.spec, subject)
        return self._heads[subject]

    @cached_property
    def _heads(self) -> dict[int, Head]:
        return {}

    def _factor(self, subject: int) -> np.ndarray:
        """Of the noise of the subject asked for last: it costs a second, and is too large to keep one for each."""
        if self._last is None or self._last[0] != subject:
            self._last = None
            self._last = subject, noise_factor(self._head(subject), self.spec)
        return self._last[1]

    def _discriminant(self, subject: int) -> Float64[np.ndarray, "concept weight"]:
        return self.dataset.cache.array(
            self.made_from(f"discriminant of subject {subject}"),
            lambda: open_set_discriminant(self._head(subject), self.spec, self.simulated, self._factor(subject)),
        )


def cosine_basis(count: int = COSINES) -> Float64[np.ndarray, "cosine 400"]:
    """The first orthonormal cosines (DCT-II) over a trial, the constant left out: it is not observed."""
    times = (np.arange(WINDOW) + 0.5) / WINDOW
    return np.sqrt(2 / WINDOW) * np.cos(np.pi * np.arange(1, count + 1)[:, None] * times)


def noise_covariance(head: Head, spec: PhantomSpec, cosines: int = COSINES) -> np.ndarray:
    """Covariance of the noise in a trial's cosines, channel by channel: (62 * cosine, 62 * cosine)."""
    from scipy.linalg import toeplitz

    basis = cosine_basis(cosines)
    samples = spec.geometry.block_samples
    covariance = np.zeros((len(CHANNELS) * cosines,) * 2)
    for mixing, power in (
        (head.pink, pink_spectrum(samples, head.exponent)),
        (head.alpha, alpha_spectrum(samples, head.alpha_frequency)),
    ):
        over_time = basis @ toeplitz(autocovariance(power, WINDOW)) @ basis.T
        covariance += np.kron(mixing @ mixing.T, over_time)
    covariance[np.diag_indices_from(covariance)] += np.repeat(head.sensor**2, cosines)
    return covariance


def noise_factor(head: Head, spec: PhantomSpec, cosines: int = COSINES) -> np.ndarray:
    from scipy.linalg import cholesky

    return cholesky(noise_covariance(head, spec, cosines), lower=True, overwrite_a=True, check_finite=False)


def whiten(factor: np.ndarray, rows: Float64[np.ndarray, "row number"]) -> Float64[np.ndarray, "row number"]:
    """Rows in units in which the noise is white."""
    from scipy.linalg import solve_triangular

    return solve_triangular(factor, rows.T, lower=True, check_finite=False).T


def responses(head: Head, moments: np.ndarray, cosines: int = COSINES) -> Float64[np.ndarray, "clip number"]:
    """Cosines at the electrodes of source moments over a trial's 400 samples."""
    observed = moments.astype(np.float64) @ cosine_basis(cosines).T  # (n, dipole, cosine)
    return np.einsum("cd,ndk->nck", head.field, observed, optimize=True).reshape(len(moments), -1)


def carried_over(moments: np.ndarray) -> np.ndarray:
    """What clips leave in the window after theirs: (n, dipole, 400)."""
    left = np.zeros((*moments.shape[:2], WINDOW), moments.dtype)
    left[..., :TAIL] = moments[..., WINDOW:]
    return left


def open_set_discriminant(head: Head, spec: PhantomSpec, simulated: Features, factor: np.ndarray) -> np.ndarray:
    """Linear scores of the concepts on a trial's cosines, last column the offset: (concept, 62 * cosine + 1)."""
    from scipy.linalg import solve_triangular

    concepts, draws = len(spec.concepts), len(simulated) // len(spec.concepts)
    rng = np.random.default_rng(derive_seed("phantom", "observer", spec.seed))
    moments = head.moments(simulated)
    gains = 1 + spec.trial_gain * rng.standard_normal((2, len(moments), 1, 1))
    clips = np.arange(len(moments)).reshape(concepts, draws)
    before = np.roll(clips, 1, axis=1).ravel()  # clips of one slot share their concept
    follows = rng.random((len(moments), 1, 1)) >= 1 / spec.clips  # the first clip of a slot follows the hint
    shown = gains[0] * moments[..., :WINDOW] + follows * gains[1] * carried_over(moments)[before]
    white = whiten(factor, responses(head, shown, len(factor) // len(CHANNELS)))
    means = white.reshape(concepts, draws, -1).mean(axis=1)
    within = (white - np.repeat(means, draws, axis=0)) / np.sqrt(len(white) - concepts)
    weights = solve_low_rank(within, means)
    offset = -0.5 * (weights * means).sum(axis=1)
    raw = solve_triangular(factor, weights.T, lower=True, trans="T", check_finite=False).T
    return np.column_stack([raw, offset])


def solve_low_rank(within: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(I + WᵀW)⁻¹ applied to rows (Woodbury): W has few rows of many numbers."""
    from scipy.linalg import solve

    small = np.eye(len(within)) + within @ within.T
    return rows - solve(small, within @ rows.T, assume_a="pos").T @ within


def closed_set_scores(
    head: Head, spec: PhantomSpec, factor: np.ndarray, clips: Features, observed: Float64[np.ndarray, "trial number"]
) -> Float64[np.ndarray, "trial clip"]:
    """Log likelihood of each clip for whitened trials, up to a constant a trial; the trial gain integrated out."""
    cosines = len(factor) // len(CHANNELS)
    moments = head.moments(clips)
    means = whiten(factor, responses(head, moments[..., :WINDOW], cosines))
    share = 1 - 1 / spec.clips  # of trials that follow another clip
    if share > 0:
        left = whiten(factor, responses(head, carried_over(moments), cosines))
        average = share * left.mean(axis=0)
        spread = np.sqrt(share) * (left - left.mean(axis=0)) / np.sqrt(len(left))
        spread = np.concatenate([spread, np.sqrt(share * (1 - share)) * left.mean(axis=0, keepdims=True)])
        observed = observed - average
        solved = solve_low_rank(spread, means)
    else:
        solved = means
    match = observed @ solved.T  # <x, m>
    power = (solved * means).sum(axis=1)  # <m, m>
    precision = 1 / spec.trial_gain**2
    # log of the integral over g ~ N(1, trial_gain²) of exp(g <x, m> - g² <m, m> / 2)
    return 0.5 * ((match + precision) ** 2 / (power + precision) - precision) - 0.5 * np.log1p(power / precision)


def log_normalise(scores: np.ndarray) -> np.ndarray:
    from scipy.special import logsumexp

    return scores - logsumexp(scores, axis=1, keepdims=True)
