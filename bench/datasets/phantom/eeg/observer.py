"""Ideal observers: how well the phantom's own likelihood tells which clip or concept a trial shows.

| observer              | knows                                                                                     |
|-----------------------|-------------------------------------------------------------------------------------------|
| clip, closed set      | head, noise, and the features of every clip of the trial's block                          |
| concept, closed set   | the same, summed over a concept's clips                                                   |
| concept, open set     | head, noise, and the *distribution* of a concept's clips, but not the clips that are shown |

The open-set one stands beside a concept decoder; the closed-set ones saturate, for clips differ in their courses.

Each sees what a decoder sees: one trial's two seconds. What is computed, and what is approximate in it, says
`bench.datasets.phantom.eeg.likelihood`: the open-set observer is a lower bound of what can be read. The closed-set
ones read evoked responses alone, in usual noise. The courses of the eyes are given to the observers, which is
generous. Confounds that a spec plants are not modelled.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float16, Float64

from bench.datasets.manifest import read_manifest
from bench.datasets.phantom.eeg.features import Features, measure_features, simulate_recipes
from bench.datasets.phantom.eeg.head import WINDOW, Head, draw_head
from bench.datasets.phantom.eeg.likelihood import (
    COSINES,
    HIGHEST,
    Evoked,
    Likelihood,
    build_likelihood,
    carried_over,
    cosine_basis,
    factorise,
    fit_states,
    log_normalise,
    noise_covariance,
    responses,
    simulate_moments,
    solve_low_rank,
    terms_of,
    whiten,
)
from bench.datasets.phantom.eeg.spec import PhantomSpec, read_spec
from bench.datasets.phantom.stimuli import Recipe
from bench.datasets.seed_dv.geometry import CHANNELS
from bench.store.cache import digest_code

if TYPE_CHECKING:
    from bench.datasets.seed_dv.layout import SeedDV

DRAWS = 30  # simulated clips a concept
CHUNK = 64  # trials read at once


class Truth:
    """What a phantom knows about itself: recipes, flow, features, heads and the likelihoods of its trials."""

    def __init__(self, dataset: SeedDV) -> None:
        self.dataset = dataset
        self.folder: Path = dataset.root / "truth"
        manifest = read_manifest(dataset.root)
        self.spec: PhantomSpec = read_spec(manifest["spec"])
        self.seconds: float = manifest["seconds"]
        self._last: tuple[int, Likelihood] | None = None

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
    def simulated(self) -> tuple[Features, Float64[np.ndarray, "clip term"]]:
        """Features and terms of `DRAWS` clips a concept, drawn as the stimuli are; in the cache once made."""
        cache = self.dataset.cache
        names = [self.made_from(f"simulated {name}") for name in ("static", "courses", "terms")]
        found = [cache.find_array(name) for name in names]
        if any(array is None for array in found):
            recipes = simulate_recipes(self.spec, DRAWS)
            made = measure_features(recipes, self.spec)
            arrays = made.static, made.courses, terms_of(self.spec, recipes)
            found = [cache.keep_array(*pair) for pair in zip(names, arrays, strict=True)]
        static, courses, terms = (np.array(array) for array in found)
        return Features(static, courses), terms

    def made_from(self, what: str) -> dict[str, Any]:
        """All that determines what an observer makes of this phantom, for the cache."""
        return {"what": f"observer, {what}", "data": self.dataset.content_digest, "code": digest_code(__name__)}

    def concept_posteriors(self, trials: Sequence[int] | np.ndarray) -> Float64[np.ndarray, "trial concept"]:
        """Natural logarithm of the open-set observer's posterior of each concept, all equally likely before."""
        trials = np.asarray(trials, dtype=np.int64)
        subjects = self._subjects(trials)
        scores = np.zeros((len(trials), len(self.dataset.concepts)))
        for subject in np.unique(subjects):
            likelihood = self.likelihood(int(subject))
            rows = np.flatnonzero(subjects == subject)
            for part in np.array_split(rows, -(-len(rows) // CHUNK)):
                scores[part] = likelihood.score(self.observe(trials[part], HIGHEST))
        return log_normalise(scores)

    def clip_posteriors(self, trials: Sequence[int] | np.ndarray) -> Float64[np.ndarray, "trial clip"]:
        """Natural logarithm of the closed-set observer's posterior of each clip of the trial's own block."""
        trials = np.asarray(trials, dtype=np.int64)
        subjects = self._subjects(trials)
        each = self.spec.geometry.block_clips
        blocks = np.asarray(self.dataset.trials["clip"])[trials] // each
        scores = np.zeros((len(trials), each))
        for subject in np.unique(subjects):
            head = self._head(int(subject))
            factor = factorise(noise_covariance(head, self.spec))
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

    def observe(self, trials: np.ndarray, cosines: int = COSINES) -> Float64[np.ndarray, "trial 62 cosine"]:
        """The trials without eyes as the observers see them: cosines of each channel, in microvolts."""
        where = self.dataset.windows
        signals = self.dataset.signals(trials).astype(np.float64) * 1e6
        for signal, trial in zip(signals, trials, strict=True):
            subject, start = int(where["subject"][trial]), where["sample"][trial]
            eyes = np.load(self.folder / "eyes" / f"sub{subject}.npy", mmap_mode="r", allow_pickle=False)
            signal -= self._head(subject).eyes @ eyes[where["block"][trial], :, start : start + WINDOW]
        return signals @ cosine_basis(cosines).T

    def _subjects(self, trials: np.ndarray) -> np.ndarray:
        return self.dataset.windows["subject"][trials]

    def _head(self, subject: int) -> Head:
        if subject not in self._heads:
            self._heads[subject] = draw_head(self.spec, subject)
        return self._heads[subject]

    @cached_property
    def _heads(self) -> dict[int, Head]:
        return {}

    def likelihood(self, subject: int) -> Likelihood:
        """Of the subject's trials. That of the subject asked for last is kept, the costly part of all in the cache."""
        if self._last is None or self._last[0] != subject:
            features, terms = self.simulated
            head = self._head(subject)

            def fit() -> np.ndarray:
                moments, powers = simulate_moments(head, self.spec, features), head.rhythm_powers(features)
                fitted = fit_states(head, self.spec, moments, powers.mean(axis=0), terms).values()
                return np.stack([np.concatenate([one.weights, one.inner], axis=1) for one in fitted])

            stacked = np.array(self.dataset.cache.array(self.made_from(f"evoked of subject {subject}"), fit))
            border = stacked.shape[2] - stacked.shape[1]
            evoked: dict[tuple[int | None, bool], Evoked] = {
                (state, True): Evoked(own[:, :border], own[:, border:]) for state, own in enumerate(stacked)
            }
            self._last = subject, build_likelihood(head, self.spec, features, terms, evoked=evoked)
        return self._last[1]


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
