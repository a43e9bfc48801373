"""A subject of the phantom: dipoles in five lobes with their tuning and kernels, and the sources of its noise.

Twenty task dipoles (occipital 6, temporal 6, parietal 4, central 2, frontal 2) answer to what their lobe is said to
answer to; the sphere spreads each of them over the whole cap, so no electrode sees one lobe alone. Subjects differ in
place, orientation, gain, latency, cap and noise, and in a share of the tuning itself, which no linear mixing of
channels can undo.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from jaxtyping import Float32, Float64

from bench.core.seeds import derive_seed
from bench.datasets.phantom.eeg.features import COURSE, COURSE_TIMES, COURSES, GROUPS, STATIC, Features, unit
from bench.datasets.phantom.eeg.montage import RADIUS, electrode_positions, measure_leadfield
from bench.datasets.phantom.eeg.spec import PhantomSpec
from bench.datasets.seed_dv.geometry import CHANNELS

RATE = 200  # Hz
WINDOW = 400  # samples of a clip
TAIL = 160  # samples (0.8 s) that a response goes on after its clip
STAGES = 3

# electrodes above the task dipoles of each lobe, and the lobe's gains
LOBES: dict[str, tuple[str, ...]] = {
    "occipital": ("O1", "OZ", "O2", "PO7", "POZ", "PO8"),
    "temporal": ("TP7", "TP8", "T7", "T8", "P7", "P8"),
    "parietal": ("P3", "PZ", "P4", "CPZ"),
    "central": ("C3", "C4"),
    "frontal": ("F3", "F4"),
}
GAINS: dict[str, dict[str, float]] = {
    "occipital": {"object": 0.7, "colour": 0.7, "scene": 0.15, "luminance": 0.3, "motion": 0.15, "onset": 0.5},
    "temporal": {"object": 1.6, "colour": 0.2, "scene": 0.15, "luminance": 0.05, "motion": 0.1, "onset": 0.5},
    "parietal": {"object": 0.5, "colour": 0.1, "scene": 0.1, "luminance": 0.05, "motion": 0.6, "onset": 0.5},
    "central": {"object": 0.1, "colour": 0.05, "scene": 0.05, "luminance": 0.05, "motion": 0.1, "onset": 0.5},
    "frontal": {"object": 0.15, "colour": 0.05, "scene": 0.1, "luminance": 0.05, "motion": 0.05, "onset": 0.5},
}
BACKGROUND_DIPOLES, BACKGROUND_RANK, ALPHA_DIPOLES = 150, 40, 8


@dataclass(frozen=True)
class Tuning:
    """What the task dipoles answer to."""

    static: Float64[np.ndarray, "dipole stage 32"]
    courses: Float64[np.ndarray, "dipole 8"]

    def mix(self, other: Tuning, share: float) -> Tuning:
        """This tuning with `share` of its variance replaced by another's."""
        keep, take = np.sqrt(1 - share), np.sqrt(share)
        return Tuning(keep * self.static + take * other.static, keep * self.courses + take * other.courses)


@dataclass(frozen=True)
class Head:
    """All of a subject that shapes its recording, in microvolts at the electrodes.

    Moments are in units of the features; `field` holds the strength of the dipoles too.
    """

    field: Float64[np.ndarray, "62 dipole"]
    tuning: Tuning
    stage_kernels: Float64[np.ndarray, "dipole stage time"]
    course_kernels: Float64[np.ndarray, "dipole 2 lag"]  # luminance, motion
    pink: Float64[np.ndarray, "62 stream"]  # mixes unit 1/f noise: background and ongoing activity
    alpha: Float64[np.ndarray, "62 stream"]
    sensor: Float64[np.ndarray, " 62"]
    exponent: float
    alpha_frequency: float
    eyes: Float64[np.ndarray, "62 2"]  # pattern of a blink and of a saccade

    def moments(self, features: Features) -> Float32[np.ndarray, "clip dipole time"]:
        """Source moments that each clip evokes from its onset on: 2 s and the 0.8 s after."""
        from scipy.signal import fftconvolve

        peaks = np.einsum("nf,dsf->nds", features.static, self.tuning.static)
        moments = np.einsum("nds,dst->ndt", peaks, self.stage_kernels, optimize=True)
        courses = features.courses @ interpolation().T  # (n, 8, WINDOW)
        for kernel, rows in enumerate(COURSES.values()):
            drive = np.einsum("nct,dc->ndt", courses[:, rows], self.tuning.courses[:, rows], optimize=True)
            kernels = self.course_kernels[None, :, kernel]
            moments += fftconvolve(drive, kernels, axes=2)[:, :, : WINDOW + TAIL]
        return moments.astype(np.float32)


def interpolation() -> Float64[np.ndarray, "400 24"]:
    """Linear interpolation of a course to the sampling rate of the EEG."""
    times = np.arange(WINDOW) / RATE
    return np.stack([np.interp(times, COURSE_TIMES, row) for row in np.eye(len(COURSE_TIMES))], axis=1)


def draw_tuning(rng: np.random.Generator) -> Tuning:
    lobes = [lobe for lobe, names in LOBES.items() for _ in names]
    static = rng.standard_normal((len(lobes), STAGES, STATIC))
    courses = rng.standard_normal((len(lobes), COURSE))
    for group, columns in GROUPS.items():
        gain = np.array([GAINS[lobe]["colour" if group == "edges" else group] for lobe in lobes])
        static[:, :, columns] *= gain[:, None, None] / np.sqrt(columns.stop - columns.start)
    for group, columns in COURSES.items():
        gain = np.array([GAINS[lobe][group] for lobe in lobes])
        courses[:, columns] *= gain[:, None] / np.sqrt(columns.stop - columns.start)
    return Tuning(static, courses)


def draw_head(spec: PhantomSpec, subject: int) -> Head:
    """A subject (1, 2, …) of the population that the seed names; the same whatever else was drawn."""
    return assemble_head(spec, subject, spec.evoked / population_strength(spec.seed))


@cache
def population_strength(seed: int) -> float:
    """Microvolts over the cap that features of unit variance evoke in a head without differences, at 1 nAm.

    Dividing by it makes populations of all seeds equally strong; their heads are not.
    """
    alike = replace(
        PhantomSpec(size="alike", seed=seed),
        own_tuning=0.0,
        position=0.0,
        orientation=0.0,
        cap=0.0,
        source_gain=0.0,
        head_gain=0.0,
        latency_scale=0.0,
        latency_shift=0.0,
    )
    head = assemble_head(alike, 0, 1.0)
    kernels = np.einsum("dsf,dst->fdt", head.tuning.static, head.stage_kernels[..., :WINDOW], optimize=True)
    static = np.einsum("cd,fdt->fct", head.field, kernels[: GROUPS["onset"].start], optimize=True)
    courses = head.field @ head.tuning.courses  # (62, 8): kernels sum to one
    return float(np.sqrt((static**2).sum(axis=0).mean() + (courses**2).sum(axis=1).mean()))


def assemble_head(spec: PhantomSpec, subject: int, moment: float) -> Head:
    """A head whose task dipoles have about this moment (nAm) for a feature of one."""
    common = np.random.default_rng(derive_seed("phantom", "population", spec.seed))
    rng = np.random.default_rng(derive_seed("phantom", "subject", spec.seed, subject))
    electrodes = electrode_positions()
    names = [name for names in LOBES.values() for name in names]
    count = len(names)

    # what heads have in common
    above = unit(electrodes[[CHANNELS.index(name) for name in names]])
    places = unit(above + 0.15 * common.standard_normal((count, 3))) * common.uniform(0.66, 0.80, (count, 1)) * RADIUS
    directions = unit(common.standard_normal((count, 3)))
    shared = draw_tuning(common)
    shape = count, STAGES
    centres = common.uniform(0.10, 0.42, shape)
    widths = common.uniform(0.03, 0.08, shape)
    waves = np.where(common.random(shape) < 0.5, 0.0, common.uniform(3.0, 8.0, shape))
    active = np.arange(STAGES) < common.integers(1, STAGES + 1, (count, 1))
    delays = common.uniform(0.08, 0.25, (count, 2))
    spreads = common.uniform(0.03, 0.06, (count, 2))

    # what is this head's own
    places = clip_depth(places + spec.position * rng.standard_normal((count, 3)))
    directions = tilt(directions, np.deg2rad(spec.orientation), rng)
    cap = electrodes @ rotation(np.deg2rad(spec.cap) * rng.standard_normal(3)).T
    head_gain = np.exp(spec.head_gain * rng.standard_normal())
    gains = moment * head_gain * np.exp(spec.source_gain * rng.standard_normal(count))
    scale = 1 + spec.latency_scale * rng.standard_normal()
    shift = spec.latency_shift * rng.standard_normal()
    tuning = shared.mix(draw_tuning(rng), spec.own_tuning)
    exponent = rng.uniform(0.8, 1.2)
    frequency = 10 + 0.8 * rng.standard_normal()
    background = cortical(rng, BACKGROUND_DIPOLES)
    behind = unit(np.array([0.0, -0.8, 0.5]) + 0.4 * rng.standard_normal((ALPHA_DIPOLES, 3))) * 0.72 * RADIUS

    everything = np.concatenate([places, background, behind])
    outward = unit(rng.standard_normal((BACKGROUND_DIPOLES + ALPHA_DIPOLES, 3)))
    field = measure_leadfield(cap, everything, np.concatenate([directions, outward]))
    task, back, alpha = np.split(field, [count, count + BACKGROUND_DIPOLES], axis=1)
    task = task * gains
    back = main_streams(back, BACKGROUND_RANK)
    loud = spec.background * np.exp(spec.background_gain * rng.standard_normal())
    rhythm = spec.alpha * np.exp(spec.alpha_gain * rng.standard_normal())

    times = np.arange(WINDOW + TAIL) / RATE
    from_centre = times - (centres * scale + shift)[..., None]
    bumps = np.exp(-(from_centre**2) / (2 * widths[..., None] ** 2))
    kernels = bumps * np.cos(2 * np.pi * waves[..., None] * from_centre)
    lags = np.arange(TAIL + 1) / RATE - (delays * scale + shift)[..., None]
    lag_kernels = np.exp(-(lags**2) / (2 * spreads[..., None] ** 2))
    return Head(
        field=task,
        tuning=tuning,
        stage_kernels=kernels * active[..., None],
        course_kernels=lag_kernels / lag_kernels.sum(axis=-1, keepdims=True),
        pink=np.concatenate([back * loud / overall(back), spec.ongoing * task], axis=1),
        alpha=alpha * rhythm / overall(alpha),
        sensor=spec.sensor * np.exp(spec.channel_noise * rng.standard_normal(len(CHANNELS))),
        exponent=float(exponent),
        alpha_frequency=float(frequency),
        eyes=eye_patterns(cap),
    )


def cortical(rng: np.random.Generator, count: int) -> Float64[np.ndarray, "dipole 3"]:
    """Places all over the upper part of the brain."""
    directions = unit(rng.standard_normal((count, 3)))
    directions[:, 2] = np.maximum(directions[:, 2], -0.3)
    return directions * rng.uniform(0.45, 0.82, (count, 1)) * RADIUS


def clip_depth(places: np.ndarray) -> np.ndarray:
    """Keep dipoles inside the brain's shell (0.9 of the radius)."""
    depth = np.linalg.norm(places, axis=1, keepdims=True)
    return places * np.minimum(1, 0.85 * RADIUS / depth)


def tilt(directions: np.ndarray, angle: float, rng: np.random.Generator) -> np.ndarray:
    """Turn each direction by an angle of this deviation, to a random side."""
    side = np.cross(directions, rng.standard_normal(directions.shape))
    turn = angle * rng.standard_normal((len(directions), 1))
    return np.cos(turn) * directions + np.sin(turn) * unit(side)


def rotation(angles: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(angles).as_matrix()


def main_streams(field: np.ndarray, rank: int) -> np.ndarray:
    """A mixing of `rank` streams with nearly the covariance of the field's many independent dipoles."""
    left, values, _ = np.linalg.svd(field, full_matrices=False)
    return left[:, :rank] * values[:rank]


def overall(mixing: np.ndarray) -> float:
    """Root mean square over the electrodes of unit streams so mixed."""
    return float(np.sqrt((mixing**2).sum(axis=1).mean()))


def eye_patterns(electrodes: np.ndarray) -> Float64[np.ndarray, "62 2"]:
    """Blinks fall off from between the eyes, saccades from left to right; 1 at FPZ and F8, average reference."""
    directions = unit(electrodes)
    eyes = unit(np.array([[0.0, 0.95, -0.31]]))
    blink = np.exp(-np.arccos(np.clip(directions @ eyes[0], -1, 1)) / 0.5)
    saccade = blink**0.7 * directions[:, 0]
    patterns = np.stack([blink / blink[CHANNELS.index("FPZ")], saccade / abs(saccade[CHANNELS.index("F8")])], axis=1)
    return patterns - patterns.mean(axis=0)
