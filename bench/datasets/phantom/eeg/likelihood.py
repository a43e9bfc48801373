"""The likelihood of a trial under each concept, as far as it can be computed: what the ideal observer is made of.

Given the state of the head and the powers of its rhythms a trial is Gaussian. Its likelihood is taken in two parts:

- *evoked*: the first `COSINES` cosines (DCT-II, up to 10 Hz) of each channel, with the exact covariance of the noise in
  each state (a sum of Kronecker products, channels × time, from the autocovariance of the whole block). The mean of a
  clip is a sum of terms for its concept, its action, its place and the conjunctions of the concept with them, fitted to
  simulated clips; what the terms leave (the clip's own part, trial gain, jitter, the clip before) is Gaussian with one
  covariance. A concept is the mixture over actions and places.
- *induced*: cosines of the three bands, taken as independent (Whittle) and zero-mean, with the covariance of each state
  and of the powers of the rhythms, whose logarithms are linear in a clip's features. These are Gaussian within a
  concept, and integrated out by Laplace's method.

The state is summed over. So this is a lower bound of what can be read, not the bound itself: terms and remainders are
approximations, both parts are taken as independent given concept and state, evoked power within the bands counts as
noise, and nothing above 80 Hz or between the bands is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from bench.core.seeds import derive_seed
from bench.datasets.phantom.eeg.features import GROUPS, Features, draw_conjunctions, object_space
from bench.datasets.phantom.eeg.head import BANDS, RATE, TAIL, WINDOW, Head, delay
from bench.datasets.phantom.eeg.signals import (
    STATES,
    alpha_spectrum,
    autocovariance,
    band_spectrum,
    pink_spectrum,
    state_powers,
)
from bench.datasets.phantom.eeg.spec import PhantomSpec
from bench.datasets.phantom.stimuli import ACTIONS, SCENES, Recipe
from bench.datasets.seed_dv.geometry import CHANNELS

COSINES = 40  # 0 to 10 Hz in steps of a quarter
HIGHEST = 320  # 80 Hz
BINS = {"alpha": 4, "beta": 16, "gamma": 36}  # cosines that are taken to have one covariance
STEPS = 6  # of Fisher's scoring
ALL = tuple(range(len(CHANNELS)))


@dataclass(frozen=True)
class Evoked:
    """Linear scores of each term of a clip's mean on a trial's cosines, and the terms' inner products."""

    weights: Float64[np.ndarray, "term number"]
    inner: Float64[np.ndarray, "term term"]

    def scores(
        self, observed: Float64[np.ndarray, "trial number"], means: Float64[np.ndarray, "cell term"]
    ) -> Float64[np.ndarray, "trial cell"]:
        """Log likelihood of each mean, a sum of terms, up to a constant a trial."""
        power = np.einsum("mt,tu,mu->m", means, self.inner, means, optimize=True)
        return (observed @ self.weights.T) @ means.T - 0.5 * power


@dataclass(frozen=True)
class Bin:
    """A few cosines of one band: how they look without the rhythms, and how much of the rhythms they hold."""

    band: str
    rows: slice  # of the cosines
    factor: Float64[np.ndarray, "channel channel"]  # of the noise
    project: Float64[np.ndarray, "dipole channel"]
    inner: Float64[np.ndarray, "dipole dipole"]
    powers: slice  # of the rhythms

    def log_noise(self, observed: Float64[np.ndarray, "trial channel cosine"]) -> Float64[np.ndarray, " trial"]:
        """Log density of the cosines without rhythms, up to a constant that no state changes."""
        part = observed[:, :, self.rows]
        white = solve_lower(self.factor, part.transpose(1, 0, 2).reshape(len(self.factor), -1))
        power = np.square(white).reshape(len(self.factor), len(part), -1).sum(axis=(0, 2))
        return -0.5 * power - part.shape[2] * np.log(np.diag(self.factor)).sum()

    def products(self, observed: Float64[np.ndarray, "trial channel cosine"]) -> Float64[np.ndarray, "trial d d"]:
        """All of the cosines that tells of the rhythms: their products on the dipoles."""
        part = self.project @ observed[:, :, self.rows]
        return part @ part.swapaxes(1, 2)

    def log_ratio(
        self, products: Float64[np.ndarray, "trial d d"], powers: Float64[np.ndarray, "trial d"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """By how much rhythms of these powers make the cosines likelier, with its gradient and Fisher's information.

        Both are by the logarithm of the powers: (trial), (trial, dipole), (trial, dipole, dipole).
        """
        count = self.rows.stop - self.rows.start
        weaker = np.eye(len(self.inner)) / powers[:, None]
        middle = np.linalg.inv(self.inner + weaker)
        _, volume = np.linalg.slogdet(np.eye(len(self.inner)) + powers[:, :, None] * self.inner)
        value = 0.5 * np.einsum("nij,nij->n", products, middle) - 0.5 * count * volume
        explained = np.einsum("nij,njk,nki->ni", middle, products, middle, optimize=True) / powers
        known = 1 - np.einsum("nii->ni", middle) / powers
        root = np.sqrt(powers)
        told = np.eye(len(self.inner)) - middle / (root[:, :, None] * root[:, None])
        return value, 0.5 * explained - 0.5 * count * known, 0.5 * count * told**2


def cosine_basis(count: int = COSINES) -> Float64[np.ndarray, "cosine 400"]:
    """The first orthonormal cosines (DCT-II) over a trial, the constant left out: it is not observed."""
    times = (np.arange(WINDOW) + 0.5) / WINDOW
    return np.sqrt(2 / WINDOW) * np.cos(np.pi * np.arange(1, count + 1)[:, None] * times)


def list_noises(head: Head, spec: PhantomSpec, state: int | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mixing and spectrum of the coloured noises, rhythms apart; in no state they have their usual power."""
    samples = spec.geometry.block_samples
    background, alpha = (1.0, 1.0) if state is None else (powers[state] for powers in state_powers(spec))
    pink = head.pink.copy()
    pink[:, : head.background_streams] *= np.sqrt(background)
    return [
        (pink, pink_spectrum(samples, head.exponent)),
        (np.sqrt(alpha) * head.alpha, alpha_spectrum(samples, head.alpha_frequency)),
    ]


def list_rhythms(head: Head, spec: PhantomSpec) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mixing and spectrum of the rhythms of each band at their usual power."""
    parts = np.split(head.rhythm, len(BANDS), axis=1)
    return [(part, band_spectrum(spec.geometry.block_samples, band)) for part, band in zip(parts, BANDS, strict=True)]


def noise_covariance(
    head: Head,
    spec: PhantomSpec,
    cosines: int = COSINES,
    *,
    state: int | None = None,
    powers: np.ndarray | None = None,
    channels: Sequence[int] = ALL,
) -> np.ndarray:
    """Covariance of the noise in a trial's cosines, channel by channel: (channel * cosine, channel * cosine).

    `powers` of the rhythms are 1 unless they are given.
    """
    from scipy.linalg import toeplitz

    basis = cosine_basis(cosines)
    rows = list(channels)
    covariance = np.zeros((len(rows) * cosines,) * 2)
    loud = np.ones(head.rhythm.shape[1]) if powers is None else powers
    rhythms = [
        (mixing * np.sqrt(own), power)
        for (mixing, power), own in zip(list_rhythms(head, spec), np.split(loud, len(BANDS)), strict=True)
    ]
    for mixing, power in (*list_noises(head, spec, state), *rhythms):
        over_time = basis @ toeplitz(autocovariance(power, WINDOW)) @ basis.T
        covariance += np.kron(mixing[rows] @ mixing[rows].T, over_time)
    covariance[np.diag_indices_from(covariance)] += np.repeat(head.sensor[rows] ** 2, cosines)
    return covariance


def factorise(covariance: np.ndarray) -> np.ndarray:
    from scipy.linalg import cholesky

    return cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)


def solve_lower(factor: np.ndarray, columns: np.ndarray, *, transposed: bool = False) -> np.ndarray:
    from scipy.linalg import solve_triangular

    return solve_triangular(factor, columns, lower=True, trans="T" if transposed else "N", check_finite=False)


def whiten(factor: np.ndarray, rows: Float64[np.ndarray, "row number"]) -> Float64[np.ndarray, "row number"]:
    """Rows in units in which the noise is white."""
    return solve_lower(factor, rows.T).T


def responses(
    head: Head, moments: np.ndarray, cosines: int = COSINES, channels: Sequence[int] = ALL
) -> Float64[np.ndarray, "clip number"]:
    """Cosines at the electrodes of source moments over a trial's 400 samples."""
    observed = moments @ cosine_basis(cosines).T.astype(moments.dtype)  # (n, dipole, cosine)
    field = head.field[list(channels)]
    return np.einsum("cd,ndk->nck", field, observed.astype(np.float64), optimize=True).reshape(len(moments), -1)


def carried_over(moments: np.ndarray) -> np.ndarray:
    """What clips leave in the window after theirs: (n, dipole, 400)."""
    left = np.zeros((*moments.shape[:2], WINDOW), moments.dtype)
    left[..., :TAIL] = moments[..., WINDOW:]
    return left


def simulate_moments(head: Head, spec: PhantomSpec, simulated: Features) -> np.ndarray:
    """Source moments of trials that show the simulated clips, `draws` a concept in a row: (n, dipole, 400)."""
    concepts, draws = len(spec.concepts), len(simulated) // len(spec.concepts)
    rng = np.random.default_rng(derive_seed("phantom", "observer", spec.seed))
    count = len(simulated)
    gains = (1 + spec.trial_gain * rng.standard_normal((2, count, 1, 1))).astype(np.float32)
    moments = delay(head.moments(simulated), spec.jitter * rng.standard_normal(count))
    before = np.roll(np.arange(count).reshape(concepts, draws), 1, axis=1).ravel()  # a slot's clips share a concept
    follows = (rng.random((count, 1, 1)) >= 1 / spec.clips).astype(np.float32)  # a slot's first follows the hint
    return gains[0] * moments[..., :WINDOW] + follows * gains[1] * carried_over(moments)[before]


def lay_out_terms(spec: PhantomSpec, concept: np.ndarray, action: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The terms of a clip's mean: concept, action, place, conjunctions of the concept: (clip, term)."""
    objects = object_space(spec)[np.asarray(spec.concepts)]
    products = draw_conjunctions(spec).of(objects[concept], action, place)
    one = [np.eye(count)[own] for count, own in ((len(objects), concept), (len(ACTIONS), action), (len(SCENES), place))]
    return np.concatenate([*one, products], axis=1)


def lay_out_cells(spec: PhantomSpec) -> Float64[np.ndarray, "cell term"]:
    """The terms of every concept with every action in every place; the cells of a concept follow each other."""
    grids = np.indices((len(spec.concepts), len(ACTIONS), len(SCENES))).reshape(3, -1)
    return lay_out_terms(spec, *grids)


def terms_of(spec: PhantomSpec, recipes: Sequence[Recipe]) -> Float64[np.ndarray, "clip term"]:
    place = {concept: index for index, concept in enumerate(spec.concepts)}
    columns = np.array([(place[one.concept], one.action, one.scene) for one in recipes])
    return lay_out_terms(spec, *columns.T)


def fit_evoked(factor: np.ndarray, shown: Float64[np.ndarray, "clip number"], terms: np.ndarray) -> Evoked:
    """The terms' means by least squares on simulated responses, scored against noise and what the terms leave."""
    white = whiten(factor, shown)
    means = np.linalg.lstsq(terms, white, rcond=None)[0]
    within = (white - terms @ means) / np.sqrt(len(white) - terms.shape[1])
    weights = solve_low_rank(within, means)
    return Evoked(solve_lower(factor, weights.T, transposed=True).T, weights @ means.T)


def solve_low_rank(within: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(I + WᵀW)⁻¹ applied to rows (Woodbury): W has few rows of many numbers."""
    from scipy.linalg import solve

    small = np.eye(len(within)) + within @ within.T
    return rows - solve(small, within @ rows.T, assume_a="pos").T @ within


def make_bins(head: Head, spec: PhantomSpec, state: int | None, channels: Sequence[int] = ALL) -> list[Bin]:
    """The bands in bins, as noise and rhythms look in one state."""
    from scipy.linalg import toeplitz

    rows = list(channels)
    basis = cosine_basis(HIGHEST)

    def variances(power: np.ndarray) -> np.ndarray:  # of each cosine of a unit stream
        return np.einsum("kt,tk->k", basis, toeplitz(autocovariance(power, WINDOW)) @ basis.T, optimize=True)

    noises = [(mixing[rows] @ mixing[rows].T, variances(power)) for mixing, power in list_noises(head, spec, state)]
    bins = []
    first = 0
    for band, (mixing, power) in zip(BANDS, list_rhythms(head, spec), strict=True):
        own = variances(power)
        low, high = (round(2 * edge * WINDOW / RATE) for edge in BANDS[band])
        for start in range(low, high, BINS[band]):
            inside = slice(start - 1, min(start + BINS[band], high) - 1)  # the cosine of number k is in row k - 1
            noise = np.diag(head.sensor[rows] ** 2)
            for spread, variance in noises:
                noise = noise + variance[inside].mean() * spread
            factor = factorise(noise)
            field = solve_lower(factor, np.sqrt(own[inside].mean()) * mixing[rows])  # whitened
            project = solve_lower(factor, field, transposed=True).T
            bins.append(Bin(band, inside, factor, project, field.T @ field, slice(first, first + mixing.shape[1])))
        first += mixing.shape[1]
    return bins


def mean_log(scores: np.ndarray, axis: int) -> np.ndarray:
    """Logarithm of the mean of what the scores are logarithms of."""
    from scipy.special import logsumexp

    return logsumexp(scores, axis=axis) - np.log(scores.shape[axis])


def log_normalise(scores: np.ndarray) -> np.ndarray:
    from scipy.special import logsumexp

    return scores - logsumexp(scores, axis=1, keepdims=True)


@dataclass(frozen=True)
class Driven:
    """What drives the rhythms, as it is distributed: features, Gaussian within each concept."""

    tuning: Float64[np.ndarray, "rhythm feature"]
    means: Float64[np.ndarray, "concept feature"]
    within: Float64[np.ndarray, "feature feature"]

    def score(self, bins: list[tuple[Bin, np.ndarray]]) -> Float64[np.ndarray, "trial concept"]:
        """Log likelihood of each concept by the products of some bins: Laplace's method around the likeliest features.

        Fisher's scoring finds them with the prior of all concepts together; each concept's own is then put in its
        place, in closed form.
        """
        middle = self.means.mean(axis=0)
        apart = self.means - middle
        prior = np.linalg.inv(self.within + apart.T @ apart / len(apart))
        count = len(bins[0][1])
        features = np.tile(middle, (count, 1))
        for step in range(STEPS + 1):
            value, gradient, information = self.expand(bins, features)
            if step < STEPS:
                pull = gradient - (features - middle) @ prior
                features = features + np.linalg.solve(information + prior, pull[..., None])[..., 0]
        towards = np.einsum("nij,nj->ni", information, features) + gradient
        level = value - (features * gradient).sum(axis=1)
        level -= 0.5 * np.einsum("ni,nij,nj->n", features, information, features)
        own = np.linalg.inv(self.within)
        _, volume = np.linalg.slogdet(np.eye(len(own)) + self.within @ information)
        pulled = towards[:, None] + self.means @ own  # (trial, concept, feature)
        fit = np.einsum("nci,nij,ncj->nc", pulled, np.linalg.inv(information + own), pulled, optimize=True)
        power = np.einsum("ci,ij,cj->c", self.means, own, self.means)
        return (level - 0.5 * volume)[:, None] + 0.5 * (fit - power)

    def expand(
        self, bins: list[tuple[Bin, np.ndarray]], features: Float64[np.ndarray, "trial feature"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sum of the bins' log ratios at these features, its gradient and information."""
        size = features.shape[1]
        value, gradient = np.zeros(len(features)), np.zeros_like(features)
        information = np.zeros((len(features), size, size))
        for one, products in bins:
            tuning = self.tuning[one.powers]
            own, slope, told = one.log_ratio(products, np.exp(np.clip(features @ tuning.T, -6, 6)))
            value += own
            gradient += slope @ tuning
            information += tuning.T @ told @ tuning
        return value, gradient, information


@dataclass(frozen=True)
class Evidence:
    """What some trials say by their noise, their evoked responses and each band, in each state."""

    noise: dict[int | None, Float64[np.ndarray, " trial"]]
    evoked: dict[tuple[int | None, bool], Float64[np.ndarray, "trial concept"]]
    bins: dict[int | None, list[tuple[Bin, np.ndarray]]]
    driven: Driven

    def score(
        self,
        *,
        bands: Sequence[str] = tuple(BANDS),
        evoked: bool = True,
        conjunctions: bool = True,
        states: bool = True,
    ) -> Float64[np.ndarray, "trial concept"]:
        """Log likelihood of each concept, up to a constant a trial; of what is switched off nothing is read."""
        parts = []
        for state in range(STATES) if states else (None,):
            scores = np.zeros((len(self.noise[state]), len(self.driven.means)))
            if evoked:
                scores += self.evoked[state, conjunctions]
            if bands:
                scores += self.driven.score([one for one in self.bins[state] if one[0].band in bands])
            parts.append(scores + self.noise[state][:, None])
        return mean_log(np.stack(parts), 0)


@dataclass(frozen=True)
class Likelihood:
    """Of one subject's trials, read at some of the channels.

    A state of None stands for noise whose state nobody knows, and means without conjunctions for those of the concepts
    alone: both together are what a linear reader can do at best.
    """

    channels: Int64[np.ndarray, " channel"]
    evoked: dict[tuple[int | None, bool], Evoked]  # by state, and whether with conjunctions
    bins: dict[int | None, list[Bin]]  # by state
    driven: Driven
    cells: Float64[np.ndarray, "cell term"]

    def read(self, observed: Float64[np.ndarray, "trial 62 cosine"]) -> Evidence:
        """What trials say, state by state and part by part."""
        observed = observed[:, self.channels]
        low = observed[:, :, :COSINES].reshape(len(observed), -1)
        concepts = len(self.driven.means)
        evoked = {}
        for (state, conjunctions), one in self.evoked.items():
            by_cell = one.scores(low, self.cells if conjunctions else np.eye(concepts))
            evoked[state, conjunctions] = mean_log(by_cell.reshape(len(low), concepts, -1), 2)
        told = {state: [(one, one.products(observed)) for one in bins] for state, bins in self.bins.items()}
        noise = {state: np.sum([one.log_noise(observed) for one in bins], axis=0) for state, bins in self.bins.items()}
        return Evidence(noise, evoked, told, self.driven)

    def score(self, observed: Float64[np.ndarray, "trial 62 cosine"]) -> Float64[np.ndarray, "trial concept"]:
        """Log likelihood of each concept, up to a constant a trial."""
        return self.read(observed).score()

    def score_cells(
        self, observed: Float64[np.ndarray, "trial 62 cosine"]
    ) -> Float64[np.ndarray, "trial concept action place"]:
        """Log likelihood of each concept, action and place together, by evoked responses alone."""
        observed = observed[:, self.channels]
        low = observed[:, :, :COSINES].reshape(len(observed), -1)
        parts = []
        for state in range(STATES):
            noise = np.sum([one.log_noise(observed) for one in self.bins[state]], axis=0)
            parts.append(self.evoked[state, True].scores(low, self.cells) + noise[:, None])
        return mean_log(np.stack(parts), 0).reshape(len(low), -1, len(ACTIONS), len(SCENES))


def build_likelihood(
    head: Head,
    spec: PhantomSpec,
    simulated: Features,
    terms: Float64[np.ndarray, "clip term"],
    channels: Sequence[int] = ALL,
    *,
    moments: np.ndarray | None = None,
    evoked: dict[tuple[int | None, bool], Evoked] | None = None,
    ignorant: bool = False,
) -> Likelihood:
    """The likelihood of a subject's trials from simulated clips, as many of each concept, and their terms.

    `ignorant` adds what reads without conjunctions or states. `moments` are what `simulate_moments` made, and `evoked`
    is what `fit_states` made, where they are there.
    """
    states = [*range(STATES), *([None] if ignorant else [])]
    if evoked is None:
        moments = simulate_moments(head, spec, simulated) if moments is None else moments
        usual = head.rhythm_powers(simulated).mean(axis=0)
        evoked = fit_states(head, spec, moments, usual, terms, channels, ignorant=ignorant)
    return Likelihood(
        channels=np.asarray(channels),
        evoked=evoked,
        bins={state: make_bins(head, spec, state, channels) for state in states},
        driven=describe_driven(head, spec, simulated),
        cells=lay_out_cells(spec),
    )


def describe_driven(head: Head, spec: PhantomSpec, simulated: Features) -> Driven:
    """The features that rhythms follow: those of objects as the spec has them, of colours and edges as simulated."""
    columns = [
        *range(GROUPS["object"].start, GROUPS["colour"].stop),
        *range(GROUPS["edges"].start, GROUPS["edges"].stop),
    ]
    static = simulated.static[:, columns].astype(np.float64).reshape(len(spec.concepts), -1, len(columns))
    means = static.mean(axis=1)
    left = (static - means[:, None]).reshape(-1, len(columns))
    within = left.T @ left / (len(left) - len(means))
    own = GROUPS["object"]
    means[:, own] = object_space(spec)[np.asarray(spec.concepts)]
    within[own], within[:, own] = 0.0, 0.0
    within[own, own] = spec.exemplar**2 * np.eye(own.stop - own.start)
    return Driven(head.rhythm_tuning[:, columns], means, within)


def fit_states(
    head: Head,
    spec: PhantomSpec,
    moments: Float64[np.ndarray, "clip dipole time"],
    powers: Float64[np.ndarray, " rhythm"],
    terms: Float64[np.ndarray, "clip term"],
    channels: Sequence[int] = ALL,
    *,
    ignorant: bool = False,
) -> dict[tuple[int | None, bool], Evoked]:
    """The evoked part of a likelihood in each state, a second or two each; the rhythms have these powers on average."""
    shown = responses(head, moments, COSINES, channels)
    fitted = {}
    for state in (*range(STATES), *([None] if ignorant else [])):
        factor = factorise(noise_covariance(head, spec, COSINES, state=state, powers=powers, channels=channels))
        fitted[state, True] = fit_evoked(factor, shown, terms)
        if ignorant:
            fitted[state, False] = fit_evoked(factor, shown, terms[:, : len(spec.concepts)])
    return fitted
