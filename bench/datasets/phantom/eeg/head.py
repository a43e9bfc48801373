"""A subject of the phantom: dipoles in five lobes with their tuning and kernels, and the sources of its noise.

Twenty task dipoles (occipital 6, temporal 6, parietal 4, central 2, frontal 2) answer to what their lobe is said to
answer to; the sphere spreads each of them over the whole cap, so no electrode sees one lobe alone. Sixteen more carry
rhythms (alpha, beta, gamma, without a fixed phase) whose power depends on what is shown. Subjects differ in place,
orientation, gain, latency, cap and noise, and in a share of the tuning itself, which no linear mixing of channels can
undo.

What a dipole answers is linear in the features but for two things that a lobe's drive does, its mean square over the
lobe's dipoles and stages: it divides the responses (normalisation), and it makes them earlier.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from jaxtyping import Float32, Float64

from bench.core.seeds import derive_seed
from bench.datasets.phantom.eeg.features import COURSE, COURSE_TIMES, COURSES, GROUPS, STATIC, Features, unit
from bench.datasets.phantom.eeg.montage import RADIUS, SKULL, electrode_positions, measure_leadfield
from bench.datasets.phantom.eeg.spec import PhantomSpec
from bench.datasets.seed_dv.geometry import CHANNELS

RATE = 200  # Hz
WINDOW = 400  # samples of a clip
TAIL = 160  # samples (0.8 s) that a response goes on after its clip
STAGES = 3
CHUNK = 64  # clips whose kernels are made at once

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
CONJUNCTION_GAINS: dict[str, dict[str, float]] = {  # beside the object's gain of .7, 1.6, .5
    "occipital": {"object × place": 0.3},
    "temporal": {"object × action": 0.9, "object × place": 0.6},
    "parietal": {"object × action": 0.45},
}

# what carries rhythms, and how far an object (or colours and edges) moves the power of each; a lobe may carry nothing
RHYTHM_LOBES: dict[str, tuple[str, ...]] = {
    "occipital": ("O1", "O2", "PO7", "PO8"),
    "temporal": ("T7", "T8", "P7", "P8"),
    "parietal": ("P3", "P4", "CP3", "CP4"),
    "central": ("C3", "C4"),
    "frontal": ("F3", "F4"),
}
BANDS: dict[str, tuple[float, float]] = {"alpha": (8.0, 13.0), "beta": (14.0, 30.0), "gamma": (35.0, 80.0)}  # Hz
RHYTHM_GAINS: dict[str, dict[str, tuple[float, float, float]]] = {  # of alpha, beta, gamma
    "occipital": {"object": (0.6, 0.4, 0.7), "colour": (0.2, 0.1, 0.4)},
    "temporal": {"object": (0.5, 0.7, 1.0), "colour": (0.0, 0.0, 0.1)},
    "parietal": {"object": (1.0, 0.7, 0.4), "colour": (0.0, 0.0, 0.0)},
    "central": {"object": (0.2, 0.3, 0.0), "colour": (0.0, 0.0, 0.0)},
    "frontal": {"object": (0.0, 0.0, 0.0), "colour": (0.0, 0.0, 0.0)},
}
BACKGROUND_DIPOLES, BACKGROUND_RANK, ALPHA_DIPOLES = 150, 40, 8


@dataclass(frozen=True)
class Tuning:
    """What the task dipoles answer to."""

    static: Float64[np.ndarray, "dipole stage 42"]
    courses: Float64[np.ndarray, "dipole 8"]

    def mix(self, other: Tuning, share: float) -> Tuning:
        """This tuning with `share` of its variance replaced by another's."""
        return Tuning(mix(self.static, other.static, share), mix(self.courses, other.courses, share))


def mix(shared: np.ndarray, own: np.ndarray, share: float) -> np.ndarray:
    """Numbers with `share` of their variance replaced by others'."""
    return np.sqrt(1 - share) * shared + np.sqrt(share) * own


@dataclass(frozen=True)
class Head:
    """All of a subject that shapes its recording, in microvolts at the electrodes.

    Moments are in units of the features; `field` holds the strength of the dipoles too.
    """

    field: Float64[np.ndarray, "62 dipole"]
    tuning: Tuning
    stages: Stages
    normalisation: float
    latency_by_strength: float  # s
    course_kernels: Float64[np.ndarray, "dipole 2 lag"]  # luminance, motion
    pink: Float64[np.ndarray, "62 stream"]  # mixes unit 1/f noise: background and ongoing activity
    alpha: Float64[np.ndarray, "62 stream"]
    sensor: Float64[np.ndarray, " 62"]
    exponent: float
    alpha_frequency: float
    eyes: Float64[np.ndarray, "62 2"]  # pattern of a blink and of a saccade
    background_streams: int  # first of the columns of `pink`; they follow the state, the ongoing activity does not
    rhythm: Float64[np.ndarray, "62 rhythm"]  # of the first band's dipoles, then of the second's, …
    rhythm_tuning: Float64[np.ndarray, "rhythm 42"]  # of the logarithm of the power

    def rhythm_powers(self, features: Features) -> Float64[np.ndarray, "clip rhythm"]:
        """How many times its usual power each rhythm has during a clip."""
        return np.exp(features.static @ self.rhythm_tuning.T)

    def moments(self, features: Features) -> Float32[np.ndarray, "clip dipole time"]:
        """Source moments that each clip evokes from its onset on: 2 s and the 0.8 s after."""
        from scipy.signal import fftconvolve

        peaks = np.einsum("nf,dsf->nds", features.static, self.tuning.static, optimize=True)
        drive = self.measure_drive(peaks)[..., None]  # (clip, dipole, 1)
        peaks *= np.sqrt((1 + self.normalisation) / (1 + self.normalisation * drive))
        shift = -0.5 * self.latency_by_strength * np.log(np.maximum(drive, 0.01))
        moments = np.empty((len(peaks), len(self.field.T), WINDOW + TAIL), np.float32)
        for part in range(0, len(peaks), CHUNK):
            rows = slice(part, part + CHUNK)
            moments[rows] = np.einsum("nds,ndst->ndt", peaks[rows], self.stages.kernels(shift[rows]), optimize=True)
        courses = features.courses @ interpolation().T  # (n, 8, WINDOW)
        for kernel, rows in enumerate(COURSES.values()):
            course = np.einsum("nct,dc->ndt", courses[:, rows], self.tuning.courses[:, rows], optimize=True)
            kernels = self.course_kernels[None, :, kernel]
            moments += fftconvolve(course, kernels, axes=2)[:, :, : WINDOW + TAIL]
        return moments

    def measure_drive(self, peaks: Float64[np.ndarray, "clip dipole stage"]) -> Float64[np.ndarray, "clip dipole"]:
        """Mean square of what drives a dipole's lobe, in units of what clips drive it by on average."""
        usual = (self.tuning.static**2).sum(axis=2)  # features have about unit variance
        drive = np.empty(peaks.shape[:2])
        for lobe in LOBES:
            own = np.equal(TASK_LOBES, lobe)
            drive[:, own] = (np.square(peaks[:, own]).mean(axis=(1, 2)) / usual[own].mean())[:, None]
        return drive


@dataclass(frozen=True)
class Stages:
    """Bumps and Gabors in time, up to three a dipole."""

    centres: Float64[np.ndarray, "dipole stage"]  # s
    widths: Float64[np.ndarray, "dipole stage"]
    waves: Float64[np.ndarray, "dipole stage"]  # Hz
    active: Float64[np.ndarray, "dipole stage"]

    def kernels(self, shift: Float64[np.ndarray, "clip dipole 1"]) -> Float32[np.ndarray, "clip dipole stage time"]:
        """The kernels of clips whose responses come later by `shift` seconds."""
        times = np.arange(WINDOW + TAIL, dtype=np.float32) / np.float32(RATE)
        late = (self.centres + shift).astype(np.float32)
        from_centre = times - late[..., None]
        bumps = np.exp(from_centre**2 * (-0.5 / self.widths**2).astype(np.float32)[..., None])
        bumps *= np.cos((2 * np.pi * self.waves).astype(np.float32)[..., None] * from_centre)
        return bumps * self.active.astype(np.float32)[..., None]


TASK_LOBES = np.repeat(list(LOBES), [len(names) for names in LOBES.values()])


def delay(moments: Float32[np.ndarray, "clip dipole time"], seconds: Float64[np.ndarray, " clip"]) -> np.ndarray:
    """Responses that come later by so many seconds, a clip each; nothing comes round from the end to the start."""
    from scipy.fft import irfft, next_fast_len, rfft

    length = next_fast_len(moments.shape[2] + RATE // 4)
    spectrum = rfft(moments, length, axis=2)
    turn = -2j * np.pi * np.fft.rfftfreq(length, 1 / RATE)
    spectrum *= np.exp(np.asarray(seconds)[:, None] * turn).astype(np.complex64)[:, None]
    return irfft(spectrum, length, axis=2)[:, :, : moments.shape[2]]


def interpolation() -> Float64[np.ndarray, "400 24"]:
    """Linear interpolation of a course to the sampling rate of the EEG."""
    times = np.arange(WINDOW) / RATE
    return np.stack([np.interp(times, COURSE_TIMES, row) for row in np.eye(len(COURSE_TIMES))], axis=1)


def draw_tuning(rng: np.random.Generator, conjunctions: float = 1.0) -> Tuning:
    static = rng.standard_normal((len(TASK_LOBES), STAGES, STATIC))
    courses = rng.standard_normal((len(TASK_LOBES), COURSE))
    for group, columns in GROUPS.items():
        if "×" in group:
            gain = np.array([conjunctions * CONJUNCTION_GAINS.get(lobe, {}).get(group, 0.0) for lobe in TASK_LOBES])
        else:
            gain = np.array([GAINS[lobe]["colour" if group == "edges" else group] for lobe in TASK_LOBES])
        static[:, :, columns] *= gain[:, None, None] / np.sqrt(columns.stop - columns.start)
    for group, columns in COURSES.items():
        gain = np.array([GAINS[lobe][group] for lobe in TASK_LOBES])
        courses[:, columns] *= gain[:, None] / np.sqrt(columns.stop - columns.start)
    return Tuning(static, courses)


def draw_rhythm_tuning(rng: np.random.Generator) -> Float64[np.ndarray, "rhythm 42"]:
    """Of the rhythms of all bands, band by band: of unit deviation over objects where the gain is one."""
    lobes = [lobe for lobe, names in RHYTHM_LOBES.items() for _ in names]
    tuning = rng.standard_normal((len(BANDS), len(lobes), STATIC))
    gains = np.zeros_like(tuning)
    for group, driven in (("object", "object"), ("colour", "colour"), ("edges", "colour")):
        columns = GROUPS[group]
        gain = np.array([RHYTHM_GAINS[lobe][driven] for lobe in lobes]).T  # (band, dipole)
        gains[:, :, columns] = gain[:, :, None] / np.sqrt(columns.stop - columns.start)
    return (tuning * gains).reshape(-1, STATIC)


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
    shapes = head.stages.kernels(np.zeros((1, 1, 1)))[0, ..., :WINDOW]
    kernels = np.einsum("dsf,dst->fdt", head.tuning.static, shapes, optimize=True)
    static = np.einsum("cd,fdt->fct", head.field, kernels[: GROUPS["onset"].start], optimize=True)
    courses = head.field @ head.tuning.courses  # (62, 8): kernels sum to one
    return float(np.sqrt((static**2).sum(axis=0).mean() + (courses**2).sum(axis=1).mean()))


def assemble_head(spec: PhantomSpec, subject: int, moment: float) -> Head:
    """A head whose task dipoles have about this moment (nAm) for a feature of one."""
    common = np.random.default_rng(derive_seed("phantom", "population", spec.seed))
    rng = np.random.default_rng(derive_seed("phantom", "subject", spec.seed, subject))
    electrodes = electrode_positions()
    count, rhythms = len(TASK_LOBES), sum(map(len, RHYTHM_LOBES.values()))

    # what heads have in common
    places = draw_places(common, LOBES)
    directions = unit(common.standard_normal((count, 3)))
    shared = draw_tuning(common, spec.conjunctions)
    shape = count, STAGES
    centres = common.uniform(0.10, 0.42, shape)
    widths = common.uniform(0.03, 0.08, shape)
    waves = np.where(common.random(shape) < 0.5, 0.0, common.uniform(3.0, 8.0, shape))
    active = np.arange(STAGES) < common.integers(1, STAGES + 1, (count, 1))
    delays = common.uniform(0.08, 0.25, (count, 2))
    spreads = common.uniform(0.03, 0.06, (count, 2))
    rhythm_places = draw_places(common, RHYTHM_LOBES)
    rhythm_directions = unit(common.standard_normal((rhythms, 3)))
    shared_rhythms = draw_rhythm_tuning(common)

    # what is this head's own
    places = clip_depth(places + spec.position * rng.standard_normal((count, 3)))
    directions = tilt(directions, np.deg2rad(spec.orientation), rng)
    cap = electrodes @ rotation(np.deg2rad(spec.cap) * rng.standard_normal(3)).T
    head_gain = np.exp(spec.head_gain * rng.standard_normal())
    gains = moment * head_gain * np.exp(spec.source_gain * rng.standard_normal(count))
    scale = 1 + spec.latency_scale * rng.standard_normal()
    shift = spec.latency_shift * rng.standard_normal()
    tuning = shared.mix(draw_tuning(rng, spec.conjunctions), spec.own_tuning)
    exponent = rng.uniform(0.8, 1.2)
    frequency = 10 + 0.8 * rng.standard_normal()
    background = cortical(rng, BACKGROUND_DIPOLES)
    behind = unit(np.array([0.0, -0.8, 0.5]) + 0.4 * rng.standard_normal((ALPHA_DIPOLES, 3))) * 0.72 * RADIUS
    outward = unit(rng.standard_normal((BACKGROUND_DIPOLES + ALPHA_DIPOLES, 3)))
    loud = spec.background * np.exp(spec.background_gain * rng.standard_normal())
    alpha_loud = spec.alpha * np.exp(spec.alpha_gain * rng.standard_normal())
    sensor = spec.sensor * np.exp(spec.channel_noise * rng.standard_normal(len(CHANNELS)))
    rhythm_places = clip_depth(rhythm_places + spec.position * rng.standard_normal((rhythms, 3)))
    rhythm_directions = tilt(rhythm_directions, np.deg2rad(spec.orientation), rng)
    rhythm_gains = np.exp(spec.source_gain * rng.standard_normal((len(BANDS), rhythms)))
    rhythm_tuning = spec.induced * mix(shared_rhythms, draw_rhythm_tuning(rng), spec.own_tuning)
    skull = SKULL * np.exp(spec.conductivity * rng.standard_normal())
    amplifier = np.exp(spec.electrode_gain * rng.standard_normal((len(CHANNELS), 1)))

    everything = np.concatenate([places, background, behind, rhythm_places])
    pointing = np.concatenate([directions, outward, rhythm_directions])
    field = measure_leadfield(cap, everything, pointing, skull)
    edges = np.cumsum([count, BACKGROUND_DIPOLES, ALPHA_DIPOLES])
    task, back, alpha, rhythm = np.split(field, edges, axis=1)
    task = task * gains
    back = main_streams(back, BACKGROUND_RANK)
    strengths = (spec.rhythm_alpha, spec.rhythm_beta, spec.rhythm_gamma)
    by_band = [rhythm * own for own in rhythm_gains]
    by_band = [one * strength / overall(one) for one, strength in zip(by_band, strengths, strict=True)]

    lags = np.arange(TAIL + 1) / RATE - (delays * scale + shift)[..., None]
    lag_kernels = np.exp(-(lags**2) / (2 * spreads[..., None] ** 2))
    return Head(
        field=amplifier * task,
        tuning=tuning,
        stages=Stages(centres * scale + shift, widths, waves, active.astype(np.float64)),
        normalisation=spec.normalisation,
        latency_by_strength=spec.latency_by_strength,
        course_kernels=lag_kernels / lag_kernels.sum(axis=-1, keepdims=True),
        pink=amplifier * np.concatenate([back * loud / overall(back), spec.ongoing * task], axis=1),
        alpha=amplifier * alpha * alpha_loud / overall(alpha),
        sensor=amplifier[:, 0] * sensor,
        exponent=float(exponent),
        alpha_frequency=float(frequency),
        eyes=amplifier * eye_patterns(cap),
        background_streams=BACKGROUND_RANK,
        rhythm=amplifier * np.concatenate(by_band, axis=1),
        rhythm_tuning=rhythm_tuning,
    )


def draw_places(rng: np.random.Generator, lobes: dict[str, tuple[str, ...]]) -> Float64[np.ndarray, "dipole 3"]:
    """Places of dipoles below the electrodes that stand for their lobes."""
    names = [name for own in lobes.values() for name in own]
    above = unit(electrode_positions()[[CHANNELS.index(name) for name in names]])
    return unit(above + 0.15 * rng.standard_normal((len(names), 3))) * rng.uniform(0.66, 0.80, (len(names), 1)) * RADIUS


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
