"""Ideal observers of the fMRI phantoms: which concept or clip a trial shows, with all regions or without some.

| observer          | knows                                                                                           |
|-------------------|-------------------------------------------------------------------------------------------------|
| clip, closed set  | tuning, noise, what the clips before and after were, and the features of every clip of the part |
| concept, open set | tuning, noise, and the *distribution* of clips, but not the clips that are shown                |
| the same, linear  | of that distribution only the mean of each concept and one covariance                           |

Signals are linear in the features and noise is Gaussian given the subject's state, so in a state a trial tells about
its drive x (filtered features, one set a volume) what b = AᵀΣ⁻¹y and J = AᵀΣ⁻¹A tell, without loss, and everything
happens in that small space. For fMRI, Σ is diag(own²) ⊗ T₁ + p·LLᵀ ⊗ T₂ over voxels and volumes, p the power of the
state; time is turned so that both T are diagonal. For EEG, Σ is one Kronecker product. Leaving regions out leaves out
their voxels. Repeats multiply J, and the power of their mean is that of as many drowsy ones as there may have been.

The closed set is exact: a sum over states. The open set is a mixture over states, actions and scenes: for each concept,
action and scene the drive is Gaussian, with a mean of its own (main effects and the two conjunctions) and one
covariance for all (the clip's own features, the neighbours that bleed in, how familiar it was), estimated from
simulated clips in simulated order. That is the only approximation: true drives are not quite Gaussian, so no reader
could be certain to do better than a somewhat better observer, and this one is a **bound from below**. `knows` takes
knowledge away: without "conjunctions" the mixture becomes one Gaussian a concept, without "arousal" the noise has its
mean covariance; without both, what is left is the best linear reader (a linear discriminant whose parameters are true).
The stored z-scores are undone with the numbers that the writer kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, Int64

from bench.core.errors import DatasetError
from bench.core.seeds import derive_seed
from bench.datasets.manifest import read_manifest
from bench.datasets.phantom.eeg.observer import log_normalise
from bench.datasets.phantom.fmri import scalp as eeg
from bench.datasets.phantom.fmri.cortex import Cortex, draw_cortex, filter_features, noise_course, state_powers
from bench.datasets.phantom.fmri.features import (
    ACROSS,
    COUNT,
    OPEN,
    OWN,
    add_meaning,
    add_memory,
    clip_rows,
    measure_cortex_features,
    remembered,
    simulate_films,
)
from bench.datasets.phantom.fmri.spec import FmriSpec, read_fmri_spec
from bench.datasets.phantom.stimuli import ACTIONS, SCENES, Recipe
from bench.store.cache import digest_code

DRAWS = 60  # simulated clips a concept
ORDERS = 8  # in which they are shown, each time as other exemplars
UNLIKELY = 1e-6  # states rarer than this are left out
Knowledge = Literal["conjunctions", "arousal"]
KNOWN: tuple[Knowledge, ...] = ("conjunctions", "arousal")
Target = Literal["concept", "action", "scene"]


@dataclass(frozen=True)
class Information:
    """What a trial tells about its drive in one state: `read` gives b [trial, P] and how much of the trial's own power
    the shared courses explain [trial]; `precision` is J, `volume` half the logarithm of the noise's determinant."""

    read: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    precision: Float64[np.ndarray, "P P"]
    volume: float


@dataclass(frozen=True)
class Population:
    """Drives of clips as a Gaussian mixture of equal shares: each component's mean and label, and one covariance."""

    means: Float64[np.ndarray, "component P"]
    labels: Int64[np.ndarray, " component"]
    within: Float64[np.ndarray, "P P"]


class FmriTruth:
    """What a phantom knows about itself: recipes, features, true tuning, and the likelihood of its trials."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.folder: Path = dataset.root / "truth"
        manifest = read_manifest(dataset.root)
        self.spec: FmriSpec = read_fmri_spec(manifest["spec"])
        self.seconds: float = manifest["seconds"]
        self._cortices: dict[int, Cortex] = {}
        self._simulated: tuple[tuple[int, str, tuple[int, ...]], np.ndarray] | None = None

    @cached_property
    def recipes(self) -> list[Recipe]:
        """Of each clip, in the order of the table of stimuli."""
        return [Recipe(**stored) for stored in json.loads((self.folder / "recipes.json").read_text(encoding="utf-8"))]

    @cached_property
    def features(self) -> np.ndarray:
        """Features of the clips, f32 [clip, volume, 141], without memory."""
        return np.load(self.folder / "features.npy", allow_pickle=False)

    @cached_property
    def kinds(self) -> np.ndarray:
        """Concept of each clip, as an index into all forty."""
        return np.array([recipe.concept for recipe in self.recipes])

    def cortex(self, subject: int) -> Cortex:
        if subject not in self._cortices:
            self._cortices[subject] = draw_cortex(self.spec, subject)
        return self._cortices[subject]

    def tuning(self, subject: int) -> np.ndarray:
        """True weight of each feature in each voxel, f32 [voxel, 141], as saved beside the data."""
        return np.load(self.folder / "tuning" / f"sub{subject:02d}.npy", allow_pickle=False)

    @cached_property
    def _drawn(self) -> list[Recipe]:
        return simulate_films(self.spec, DRAWS)

    @cached_property
    def simulated(self) -> np.ndarray:
        """Features of `DRAWS` clips a concept, in the cache once made."""
        made_from = {"what": "observer, simulated", "data": self.dataset.content_digest, "code": digest_code(__name__)}
        kept = self.dataset.cache.array(made_from, lambda: measure_cortex_features(self._drawn, self.spec))
        return np.array(kept)

    def concept_posteriors(
        self, trials: Sequence[int] | np.ndarray, *, without: Sequence[str] = ()
    ) -> Float64[np.ndarray, "trial concept"]:
        """Natural logarithm of the open-set posterior of each concept, all equally likely before.

        `without` names regions that are not looked at. Raises DatasetError for a region that there is not.
        """
        return self.posteriors(trials, without=without)

    def posteriors(
        self,
        trials: Sequence[int] | np.ndarray,
        of: Target = "concept",
        *,
        without: Sequence[str] = (),
        knows: Sequence[Knowledge] = KNOWN,
    ) -> Float64[np.ndarray, "trial label"]:
        """As `concept_posteriors`, of the concept, the action or the scene, with less knowledge where that is asked."""
        from scipy.special import logsumexp

        trials = np.asarray(trials, dtype=np.int64)
        scores: list[np.ndarray] = [np.empty(0)] * len(trials)
        for subject, part, repeats, rows in self._groups(trials):
            population = self._population(subject, part, repeats, of, knows)
            observed = self._observe(trials[rows])
            states = []
            for weight, power in self._states(len(repeats), knows):
                told = self._information(subject, tuple(without), power)
                states.append(weight + score_population(population, told, observed, len(repeats)))
            components = logsumexp(states, axis=0)  # [trial, component]
            labels = range(population.labels.max() + 1)
            by_label = [logsumexp(components[:, population.labels == label], axis=1) for label in labels]
            for row, scored in zip(rows, log_normalise(np.stack(by_label, axis=1)), strict=True):
                scores[row] = scored
        return np.stack(scores)

    def clip_posteriors(
        self, trials: Sequence[int] | np.ndarray, *, without: Sequence[str] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """Closed set: log posterior [trial, candidate] and the candidates' clips [trial, candidate].

        The candidates are the clips of the trial's part (train or test) that the subject saw.
        """
        from scipy.special import logsumexp

        trials = np.asarray(trials, dtype=np.int64)
        scores: list[np.ndarray] = [np.empty(0)] * len(trials)
        clips: list[np.ndarray] = [np.empty(0)] * len(trials)
        for subject, part, repeats, rows in self._groups(trials):
            drive = self._drives(subject, part, repeats)
            observed = self._observe(trials[rows])
            states = []
            for weight, power in self._states(len(repeats), KNOWN):
                told = self._information(subject, tuple(without), power)
                projected, explained = told.read(observed)
                match = projected @ drive.T - 0.5 * ((drive @ told.precision) * drive).sum(axis=1)
                states.append(weight + len(repeats) * (match + 0.5 * explained[:, None]) - told.volume)
            for row, scored in zip(rows, log_normalise(logsumexp(states, axis=0)), strict=True):
                scores[row] = scored
                clips[row] = clip_rows(self.spec, self.spec.part_episodes(subject)[part])
        return np.stack(scores), np.stack(clips)

    def _states(self, repeats: int, knows: Sequence[Knowledge]) -> list[tuple[float, float]]:
        """Log probability of drowsiness in none to all of the repeats, and the shared courses' mean power then."""
        from scipy.stats import binom

        if "arousal" not in knows:
            return [(0.0, 1.0)]
        awake, drowsy = state_powers(self.spec)
        count = np.arange(repeats + 1)
        chance = binom.pmf(count, repeats, self.spec.drowsy)
        power = (awake * (repeats - count) + drowsy * count) / repeats
        return [(np.log(c), p) for c, p in zip(chance, power, strict=True) if c > UNLIKELY]

    def _groups(self, trials: np.ndarray) -> Iterator[tuple[int, str, tuple[int, ...], np.ndarray]]:
        """Trials that share subject, part and repeats: these and the trials' places in the list."""
        keys = [self._key(int(trial)) for trial in trials]
        for key in sorted(set(keys)):
            yield *key, np.array([row for row, one in enumerate(keys) if one == key])

    def _key(self, trial: int) -> tuple[int, str, tuple[int, ...]]:
        subject, part, _, repeats = self.dataset.repeats(trial)
        return subject, part, tuple(repeats)

    def _familiar(self, subject: int, part: str, repeats: tuple[int, ...]) -> np.ndarray:
        """Mean over the repeats of how familiar each clip of the part was."""
        passes = remembered(self.spec, subject, self.kinds)
        return np.mean([passes[part, repeat] for repeat in repeats], axis=0)

    def _turn(self, features: np.ndarray) -> np.ndarray:
        """From features of clips that follow each other to what the information is about: [clip, P]."""
        flat = filter_features(features.reshape(-1, COUNT), self.spec)
        shaped = flat.reshape(len(features), self.spec.clip_volumes, COUNT)
        return np.einsum("ntd,tu->nud", shaped, self._time[0]).reshape(len(features), -1)

    @cached_property
    def _time(self) -> tuple[np.ndarray, np.ndarray]:
        """Directions of time in which a voxel's own noise is white, and the power of shared courses in each."""
        from scipy.linalg import eigh

        own, shared = noise_course(self.spec)
        power, directions = eigh(shared, own)
        return directions, power

    def _drives(self, subject: int, part: str, repeats: tuple[int, ...]) -> np.ndarray:
        """True drive of each clip of the part, [clip, P], its true neighbours included."""
        clips = clip_rows(self.spec, self.spec.part_episodes(subject)[part])
        shown = add_memory(self.features[clips], self.spec, self.kinds[clips], self._familiar(subject, part, repeats))
        each = self.spec.segment_clips
        return np.concatenate([self._turn(shown[first : first + each]) for first in range(0, len(shown), each)])

    def _population(
        self,
        subject: int,
        part: str,
        repeats: tuple[int, ...],
        of: Target = "concept",
        knows: Sequence[Knowledge] = KNOWN,
    ) -> Population:
        """What is known of the drives of clips that are not shown, from simulated ones."""
        drives = self._simulate_drives(subject, part, repeats)
        place = {concept: index for index, concept in enumerate(self.spec.concepts)}
        labels = {
            "concept": np.array([place[recipe.concept] for recipe in self._drawn]),
            "action": np.array([recipe.action for recipe in self._drawn]),
            "scene": np.array([recipe.scene for recipe in self._drawn]),
        }
        counts = {"concept": len(self.spec.concepts), "action": len(ACTIONS), "scene": len(SCENES)}
        if "conjunctions" not in knows:
            design, every = np.eye(counts[of])[labels[of]], np.eye(counts[of])
            own = np.arange(counts[of])
        else:
            grid = np.indices(tuple(counts.values())).reshape(3, -1)
            cells = dict(zip(counts, grid, strict=True))
            design, every, own = describe_cells(labels, counts), describe_cells(cells, counts), cells[of]
        effects = np.linalg.lstsq(np.tile(design, (ORDERS, 1)), drives, rcond=None)[0]
        left = drives - np.tile(design @ effects, (ORDERS, 1))
        within = left.T @ left / (len(left) - np.linalg.matrix_rank(design))
        return Population(every @ effects, own, within)

    def _simulate_drives(self, subject: int, part: str, repeats: tuple[int, ...]) -> np.ndarray:
        """Drives of simulated clips in `ORDERS` orders, [order * clip, P]; the last ones asked for are kept."""
        key = (subject, part, repeats)
        if self._simulated is None or self._simulated[0] != key:
            pool = self._familiar(subject, part, repeats)
            rng = np.random.default_rng(derive_seed("phantom", "fmri observer", self.spec.seed, subject))
            kinds = np.array([recipe.concept for recipe in self._drawn])
            drives = []
            for _ in range(ORDERS):
                order = rng.permutation(len(kinds))
                own = rng.standard_normal((len(order), OWN))  # other exemplars in each order
                clips = add_meaning(self.simulated, self._drawn, self.spec, own)
                shown = add_memory(clips[order], self.spec, kinds[order], rng.choice(pool, len(order)))
                drive = np.empty((len(order), shown.shape[1] * COUNT))
                drive[order] = self._turn(shown)
                drives.append(drive)
            self._simulated = key, np.concatenate(drives)
        return self._simulated[1]

    def _information(self, subject: int, without: tuple[str, ...], power: float) -> Information:
        """How voxels tell about the drive: per turned volume, with the shared courses taken into account."""
        cortex = self.cortex(subject)
        unknown = sorted(set(without) - set(cortex.rois))
        if unknown:
            raise DatasetError(f"no region {unknown[0]!r}; there are {', '.join(dict.fromkeys(cortex.rois))}")
        kept = np.flatnonzero(~np.isin(cortex.rois, without))
        own = cortex.own[kept].astype(np.float64)
        weights = cortex.weights[kept] / own[:, None]
        loadings = cortex.loadings[kept] / own[:, None]
        directions, powers = self._time
        size = len(powers) * COUNT
        precision = np.zeros((size, size))
        inner, volume = [], 0.0
        overlap = loadings.T @ weights
        for place, course in enumerate(power * powers):  # (I + λLLᵀ)⁻¹ = I − L (I/λ + LᵀL)⁻¹ Lᵀ
            inner.append(np.linalg.inv(np.eye(loadings.shape[1]) / course + loadings.T @ loadings))
            volume += 0.5 * np.linalg.slogdet(np.eye(loadings.shape[1]) + course * loadings.T @ loadings)[1]
            block = slice(place * COUNT, (place + 1) * COUNT)
            precision[block, block] = weights.T @ weights - overlap.T @ inner[-1] @ overlap

        def read(observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            turned = np.einsum("nvt,tu->nuv", observed[:, kept] / own[:, None], directions)
            shared = turned @ loadings  # [trial, turned volume, course]
            solved = np.einsum("nuk,ukl->nul", shared, np.stack(inner))
            projected = turned @ weights - solved @ overlap
            return projected.reshape(len(observed), -1), (solved * shared).sum(axis=(1, 2))

        return Information(read, precision, volume)

    def _observe(self, trials: np.ndarray) -> np.ndarray:
        """f64 [trial, voxel, volume] in the units of the model: z-scores undone, repeats averaged."""
        out = []
        for trial in trials:
            subject, part, row, repeats = self.dataset.repeats(int(trial))
            mean, deviation = self._scales(subject, part)[:, row // self.spec.segment_clips]
            stored = self.dataset.recording(subject, part)[row].astype(np.float64)
            out.append((stored * deviation + mean)[repeats].mean(axis=0)[:, None])
        return np.stack(out)

    def _scales(self, subject: int, part: str) -> np.ndarray:  # [2, segment, repeat, voxel]
        return np.load(self.folder / "scales" / f"sub{subject:02d}_{part}.npy", allow_pickle=False)


class CineBrainTruth(FmriTruth):
    """The fMRI of a CineBrain phantom: five volumes a trial, one presentation, one z-score for all episodes."""

    def _key(self, trial: int) -> tuple[int, str, tuple[int, ...]]:
        subject, item = self.dataset.item(trial)
        return subject, item["part"], (0,)

    def _observe(self, trials: np.ndarray) -> np.ndarray:
        subject, _ = self.dataset.item(int(trials[0]))
        mean, deviation = np.load(self.folder / "scales" / f"sub{subject:02d}.npy", allow_pickle=False)
        stored = self.dataset.signals(trials)[:, : len(mean)].astype(np.float64)
        return stored * deviation[:, None] + mean[:, None]


class ScalpTruth(CineBrainTruth):
    """The EEG of a CineBrain phantom: it answers to the clip at once, so clips do not bleed into each other."""

    def _turn(self, features: np.ndarray) -> np.ndarray:
        return features.reshape(len(features), -1).astype(np.float64)

    def _observe(self, trials: np.ndarray) -> np.ndarray:
        return self.dataset.signals(trials).astype(np.float64)

    def _states(self, repeats: int, knows: Sequence[Knowledge]) -> list[tuple[float, float]]:
        return [(0.0, 1.0)]

    def _information(self, subject: int, without: tuple[str, ...], power: float) -> Information:
        if without:
            raise DatasetError(f"EEG has no regions to leave out, asked for {', '.join(without)}")
        head = eeg.draw_scalp(self.spec, subject)
        samples = eeg.tr_samples(self.spec)
        length = samples * self.spec.clip_volumes
        over_time = eeg.noise_covariance_over_time(self.spec, length * self.spec.segment_clips, length)
        turn = np.linalg.inv(np.linalg.cholesky(over_time))  # [length, length]
        unmix = np.linalg.inv(head.mixing.astype(np.float64))
        source = np.einsum("ec,csd->esd", unmix, head.response)
        parts = []
        for volume, gain in enumerate(eeg.volume_gains(self.spec)):
            own = slice(volume * samples, (volume + 1) * samples)
            parts.append(gain * np.einsum("ts,esd->etd", turn[:, own], source, optimize=True).reshape(-1, COUNT))
        model = np.concatenate(parts, axis=1)  # [64 * length, volume * 141]

        def read(observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            white = np.einsum("ec,nct,st->nes", unmix, observed, turn, optimize=True)
            return white.reshape(len(observed), -1) @ model, np.zeros(len(observed))

        return Information(read, model.T @ model, 0.0)


def open_truth(dataset: Any) -> FmriTruth:
    """The likelihood model that fits a phantom's layout and view."""
    spec = read_fmri_spec(read_manifest(dataset.root)["spec"])
    if spec.layout == "cc2017":
        return FmriTruth(dataset)
    return ScalpTruth(dataset) if dataset.modality == "eeg" else CineBrainTruth(dataset)


def describe_cells(labels: Mapping[str, np.ndarray], counts: Mapping[str, int]) -> Float64[np.ndarray, "clip effect"]:
    """Indicators of what clips have: action, scene, concept by whether it moves, and by whether its place is open."""
    across, opened = np.isin(ACTIONS, ACROSS).astype(int), np.isin(SCENES, OPEN).astype(int)
    pairs = (labels["concept"] * 2 + switch for switch in (across[labels["action"]], opened[labels["scene"]]))
    columns = [np.eye(2 * counts["concept"])[pair] for pair in pairs]
    columns += [np.eye(counts[name])[labels[name]] for name in ("action", "scene")]
    return np.concatenate(columns, axis=1)


def score_population(
    population: Population, told: Information, observed: np.ndarray, repeats: int
) -> Float64[np.ndarray, "trial component"]:
    """Log likelihood of each component for means of repeats, up to what all states and components share.

    A trial is N(Aμ, Σ + AWAᵀ), and (Σ + AWAᵀ)⁻¹ = Σ⁻¹ − Σ⁻¹AW(I + JW)⁻¹AᵀΣ⁻¹.
    """
    projected, explained = told.read(observed)
    projected, precision = repeats * projected, repeats * told.precision
    spread = np.eye(len(precision)) + precision @ population.within
    filtered = np.linalg.solve(spread, projected.T).T
    solved = np.linalg.solve(spread, precision @ population.means.T).T
    own = 0.5 * (repeats * explained + ((projected @ population.within) * filtered).sum(axis=1))
    constant = told.volume + 0.5 * np.linalg.slogdet(spread)[1]
    return filtered @ population.means.T - 0.5 * (population.means * solved).sum(axis=1) + own[:, None] - constant
