"""The phantom's cortex: regions of voxels tuned to features, a haemodynamic response, and noise.

| region           | voxels | driven by                                                         |
|------------------|--------|-------------------------------------------------------------------|
| V1, V2, V3       | 160, 140, 110 | light, edges and colour in a receptive field (small to large) |
| V4               | 90     | colour and edges in a large field, a little of the object         |
| MT               | 70     | motion, a little of the action, deed                              |
| LOC              | 130    | object, edges, a little of the action, deed                       |
| ventral          | 130    | object, scene, setting                                            |
| auditory         | 70     | sound                                                             |
| hippocampus      | 60     | memory                                                            |
| mPFC             | 80     | memory, a little of the action                                    |

A voxel's volume is linear in the *features* of the clips before it (which are no linear functions of what is shown, nor
linear in what is to be read: `features`): y = W Σ_k h(k) φ(volume − k) + noise, with h a double gamma that peaks at 4 s
(as Wen's encoding models have it). Given the subject's state, the noise is Gaussian: each voxel's own, partly white and
partly AR(1), of its own strength, plus a few physiological courses that all voxels share with loadings of their own.
So the likelihood is known (`observer`). Tuning, signal and numbers of voxels are a subject's own, and two subjects'
voxels do not correspond; what is common to all is the space of features.

**Sizes**, written down before any method was run. Deed and setting are 0.6 of a voxel's main share in norm: 24 % of the
drive's variance in MT and 23 % in LOC (which stand for lateral occipitotemporal cortex up to the temporal sulcus), 21 %
in ventral cortex. Published are only tests ("moderate but significant", Taylor & Xu 2024; "not predicted by their
individual components", Baldassano et al. 2017), no share of variance for films; a quarter is a guess on the mild side
of an equal part. **State**: a subject is drowsy 30 % of the time, in stretches of a minute (a third of subjects in the
scanner lose wakefulness within three minutes: Tagliazucchi & Laufs 2014, doi 10.1016/j.neuron.2014.03.020), and then
what all voxels share is twice as strong. Its amplitude falls with vigilance (Wong et al. 2013 and 2016, doi
10.1016/j.neuroimage.2015.08.053; more fluctuation in light sleep: Horovitz et al. 2008, PMC6871022); the factor of 2 is
a guess, and over both states the variance is what it was. That does not help or hinder any reader: four directions of a
thousand can be left out whatever the state (the card's "without arousal"). **Strength** falls from visual to higher
regions as reliability does (Schmälzle et al. 2017, doi 10.1101/158188), and hippocampus and mPFC hardly repeat.
Latency that depends on amplitude is left out: tens of milliseconds in cells are nothing in volumes of 0.8 and 2 s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from bench.core.seeds import derive_seed
from bench.datasets.phantom.fmri.features import CONJUNCTIONS, COUNT, GRID, GROUPS
from bench.datasets.phantom.fmri.spec import FmriSpec

REGIONS: dict[str, tuple[int, float, dict[str, float]]] = {  # voxels, strength, share of each group in the drive
    "V1": (160, 1.0, {"light": 1.0, "edges": 1.0, "colour": 0.5}),
    "V2": (140, 1.0, {"light": 0.7, "edges": 1.0, "colour": 0.6}),
    "V3": (110, 0.9, {"light": 0.5, "edges": 0.8, "colour": 0.4, "motion": 0.3}),
    "V4": (90, 0.8, {"colour": 1.0, "edges": 0.5, "object": 0.3}),
    "MT": (70, 0.8, {"motion": 1.0, "action": 0.4, "deed": 0.6}),
    "LOC": (130, 0.65, {"object": 1.0, "edges": 0.3, "action": 0.3, "deed": 0.6}),
    "ventral": (130, 0.65, {"object": 1.0, "scene": 0.6, "setting": 0.6}),
    "auditory": (70, 0.8, {"sound": 1.0}),
    "hippocampus": (60, 0.25, {"memory": 1.0}),
    "mPFC": (80, 0.25, {"memory": 1.0, "action": 0.3}),
}
FIELD = {"V1": 0.5, "V2": 0.8, "V3": 1.1, "V4": 1.6}  # deviation of a receptive field, in cells of the grid
SPATIAL = ("light", "edges", "colour")
PEAK = 4.0  # seconds after a short stimulus
LENGTH = 20.0  # seconds after which the response is over
COURSES = 4  # physiological


@dataclass(frozen=True)
class Cortex:
    """One subject. `weights` is the true tuning: what a voxel answers to one unit of each feature."""

    rois: tuple[str, ...]
    weights: Float32[np.ndarray, "voxel 141"]
    own: Float32[np.ndarray, " voxel"]  # deviation of a voxel's own noise
    loadings: Float32[np.ndarray, "voxel 4"]


def draw_cortex(spec: FmriSpec, subject: int) -> Cortex:
    rng = np.random.default_rng(derive_seed("phantom", "cortex", spec.layout, spec.seed, subject))
    size = spec.voxels * rng.uniform(0.85, 1.3)
    gain = spec.signal * np.exp(0.15 * rng.standard_normal())
    rois: list[str] = []
    weights = []
    for region, (voxels, share, groups) in REGIONS.items():
        count = max(4, round(voxels * size * rng.uniform(0.9, 1.1)))
        rois += [region] * count
        shares = {name: own * (spec.conjunctions if name in CONJUNCTIONS else 1) for name, own in groups.items()}
        tuned = draw_tuning(rng, region, shares, count)
        strength = gain * share * np.exp(0.4 * rng.standard_normal((count, 1)))
        weights.append(strength * tuned / np.linalg.norm(tuned, axis=1, keepdims=True))
    total = len(rois)
    return Cortex(
        rois=tuple(rois),
        weights=np.concatenate(weights).astype(np.float32),
        own=np.exp(0.2 * rng.standard_normal(total)).astype(np.float32),
        loadings=(spec.physiology * rng.standard_normal((total, COURSES)) / np.sqrt(COURSES)).astype(np.float32),
    )


def draw_tuning(rng: np.random.Generator, region: str, groups: dict[str, float], count: int) -> np.ndarray:
    """Unscaled weights [voxel, feature]; each group's share is that of its norm, each voxel's mixture its own."""
    tuning = np.zeros((count, COUNT))
    field = np.ones((count, GRID * GRID))
    if region in FIELD:
        y, x = np.mgrid[:GRID, :GRID].reshape(2, -1)
        centre = rng.uniform(-0.5, GRID - 0.5, (2, count, 1))
        field = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * FIELD[region] ** 2))
    for group, share in groups.items():
        columns = GROUPS[group]
        width = columns.stop - columns.start
        if group in SPATIAL:  # one preference a voxel and kind of feature, spread over its field
            kinds = width // (GRID * GRID)
            preference = np.repeat(rng.standard_normal((count, kinds)), GRID * GRID, axis=1)
            drawn = preference * np.tile(field, kinds)
        else:
            drawn = rng.standard_normal((count, width))
        own_share = share * np.exp(0.3 * rng.standard_normal((count, 1)))
        tuning[:, columns] = own_share * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return tuning


def haemodynamic_kernel(tr: float) -> Float64[np.ndarray, " volume"]:
    """Response at the middle of the k-th volume to a stimulus of one TR that began with volume 0; its sum is 1.

    Double gamma (peak and undershoot, shape 6 and 16 as in SPM), in time scaled so that it peaks at `PEAK`.
    """
    from scipy.stats import gamma

    step = 0.01
    time = np.arange(0, LENGTH, step)
    stretch = PEAK / 5.0  # the canonical one peaks at 5 s
    response = gamma.pdf(time / stretch, 6) - gamma.pdf(time / stretch, 16) / 6
    integral = np.concatenate([[0.0], np.cumsum(response)]) * step
    middles = (np.arange(int(LENGTH / tr)) + 0.5) * tr
    until = np.minimum(middles / step, len(time)).astype(int)
    since = np.maximum((middles - tr) / step, 0).astype(int)
    kernel = integral[until] - integral[since]
    return kernel / kernel.sum()


def filter_features(features: Float32[np.ndarray, "volume 141"], spec: FmriSpec) -> Float32[np.ndarray, "volume 141"]:
    """What drives the volumes that are stored for these: filtered by the response, read `delay_volumes` later.

    Before the first volume and after the last there is a blank screen: no features at all.
    """
    kernel = haemodynamic_kernel(spec.tr)
    volumes = len(features)
    driven = np.zeros((volumes + spec.delay_volumes, features.shape[1]))
    for lag, weight in enumerate(kernel):
        until = min(volumes, volumes + spec.delay_volumes - lag)
        if until > 0:
            driven[lag : lag + until] += weight * features[:until]
    return driven[spec.delay_volumes :].astype(np.float32)


def draw_noise(rng: np.random.Generator, cortex: Cortex, spec: FmriSpec, volumes: int) -> np.ndarray:
    """Noise of a run: float32 [volume, voxel]. Stationary from the first volume on."""
    white = rng.standard_normal((volumes, len(cortex.own)), dtype=np.float32)
    slow = autoregress(rng, len(cortex.own), volumes, spec.ar**spec.tr)
    shared = autoregress(rng, COURSES, volumes, spec.physiology_ar**spec.tr)
    shared *= np.sqrt(state_powers(spec)).astype(np.float32)[draw_states(rng, spec, volumes)][:, None]
    own = np.sqrt(1 - spec.ar_share) * white + np.sqrt(spec.ar_share) * slow
    return (cortex.own * own + shared @ cortex.loadings.T).astype(np.float32)


def state_powers(spec: FmriSpec) -> Float64[np.ndarray, " state"]:
    """Power of the shared courses awake and drowsy; its mean over time is 1."""
    powers = np.array([1.0, spec.drowsy_gain**2])
    return powers / (1 - spec.drowsy + spec.drowsy * powers[1])


def draw_states(rng: np.random.Generator, spec: FmriSpec, volumes: int) -> Int64[np.ndarray, " volume"]:
    """Whether the subject is drowsy (1) in each volume of a run: a stationary Markov chain from clip to clip."""
    falls_awake = min(1.0, spec.clip_seconds / spec.drowsy_seconds)
    falls_asleep = min(1.0, falls_awake * spec.drowsy / (1 - spec.drowsy))
    chance = rng.random(-(-volumes // spec.clip_volumes))
    states = np.empty(len(chance), np.int64)
    states[0] = chance[0] < spec.drowsy
    for clip in range(1, len(chance)):
        states[clip] = chance[clip] >= falls_awake if states[clip - 1] else chance[clip] < falls_asleep
    return np.repeat(states, spec.clip_volumes)[:volumes]


def autoregress(rng: np.random.Generator, count: int, volumes: int, coefficient: float) -> np.ndarray:
    """AR(1) courses of unit variance, float32 [volume, count]."""
    out = rng.standard_normal((volumes, count), dtype=np.float32)
    fresh = np.float32(np.sqrt(1 - coefficient**2))
    for now in range(1, volumes):
        out[now] = coefficient * out[now - 1] + fresh * out[now]
    return out


def noise_course(spec: FmriSpec) -> tuple[Float64[np.ndarray, "v v"], Float64[np.ndarray, "v v"]]:
    """Covariance over a clip's volumes of a voxel's own noise (in units of its variance) and of a shared course.

    The latter is for a mean power of 1; a state keeps its own through a clip.
    """
    lag = np.abs(np.subtract.outer(np.arange(spec.clip_volumes), np.arange(spec.clip_volumes)))
    own = (1 - spec.ar_share) * (lag == 0) + spec.ar_share * (spec.ar**spec.tr) ** lag
    return own, (spec.physiology_ar**spec.tr) ** lag
