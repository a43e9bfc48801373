"""Continuous recordings: what the clips evoke and induce, in noise that never stops, with eyes that blink.

A block is one stretch of time. Each clip's response goes on for up to 0.8 s into the next clip, and all noise is drawn
for the whole block at once, so nothing starts anew with a trial: 1/f (background and ongoing activity of the task
dipoles), an alpha rhythm, white sensor noise, and the rhythms whose power depends on the clip. Given the state of the
head and the powers of the rhythms the noise is Gaussian. Both are constant from `LAG` after a clip's onset on to `LAG`
after the next one's, with ramps of `RAMP`: the state (how loud background and alpha are) follows a Markov chain over
clips and hints, the rhythms' powers are the clip's.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64, Int64

from bench.core.seeds import derive_seed
from bench.datasets.phantom.eeg.features import GROUPS, STATIC, Features
from bench.datasets.phantom.eeg.head import BANDS, RATE, TAIL, WINDOW, Head, delay
from bench.datasets.phantom.eeg.spec import PhantomSpec
from bench.datasets.seed_dv.geometry import CHANNELS

LEAK_CHANNEL, LEAK_FREQUENCY = CHANNELS.index("CB2"), 30.0
LAG, RAMP = 0.15, 0.2  # s
STATES = 2


def pink_spectrum(samples: int, exponent: float) -> Float64[np.ndarray, " bin"]:
    """Power of each frequency of a stretch of `samples`, summing to 1: 1/f from 0.5 to 95 Hz, little below."""
    frequency = np.fft.rfftfreq(samples, 1 / RATE)
    power = np.maximum(frequency, 0.5) ** -exponent * np.minimum(frequency / 0.5, 1) ** 2
    power[frequency > 95] = 0
    return power / power.sum()


def alpha_spectrum(samples: int, centre: float) -> Float64[np.ndarray, " bin"]:
    frequency = np.fft.rfftfreq(samples, 1 / RATE)
    power = np.exp(-((frequency - centre) ** 2) / 2)
    power[0] = 0
    return power / power.sum()


def band_spectrum(samples: int, band: str) -> Float64[np.ndarray, " bin"]:
    """Flat within the band, with edges of half a hertz."""
    frequency = np.fft.rfftfreq(samples, 1 / RATE)
    low, high = BANDS[band]
    beyond = np.maximum(0, np.maximum(low - frequency, frequency - high))
    power = np.exp(-0.5 * (beyond / 0.5) ** 2)
    return power / power.sum()


def state_powers(spec: PhantomSpec) -> tuple[Float64[np.ndarray, " state"], Float64[np.ndarray, " state"]]:
    """Power of the background and of alpha in each state, times the usual: their mean over the states is one."""
    powers = (np.array([1, ratio]) * 2 / (1 + ratio) for ratio in (spec.background_states, spec.alpha_states))
    return next(powers), next(powers)


def draw_states(rng: np.random.Generator, spec: PhantomSpec, count: int) -> Int64[np.ndarray, " interval"]:
    """The state during each of so many clips and hints in a row."""
    switches = rng.random(count) >= spec.state_stays
    return (rng.integers(STATES) + np.cumsum(switches)) % STATES


def follow(
    values: Float64[np.ndarray, "row interval"], starts: Int64[np.ndarray, " interval"], samples: int
) -> Float32[np.ndarray, "row sample"]:
    """Courses that have each interval's value, from `LAG` after its start on, with ramps."""
    from scipy.ndimage import uniform_filter1d

    interval = np.searchsorted(starts, np.arange(samples) - round(LAG * RATE), side="right") - 1
    courses = values.astype(np.float32)[:, np.maximum(interval, 0)]
    return uniform_filter1d(courses, round(RAMP * RATE), axis=1, mode="nearest")


def autocovariance(power: Float64[np.ndarray, " bin"], lags: int) -> Float64[np.ndarray, " lag"]:
    """Of noise drawn with this spectrum; 1 at lag 0."""
    samples = 2 * (len(power) - 1)
    return np.fft.irfft(power * samples / 2, samples)[:lags]


def draw_noise(rng: np.random.Generator, power: np.ndarray, streams: int) -> Float32[np.ndarray, "stream sample"]:
    """Independent stationary streams of unit variance with the given spectrum, exact over the whole stretch."""
    from scipy.fft import irfft

    samples = 2 * (len(power) - 1)
    parts = rng.standard_normal((2, streams, len(power)), dtype=np.float32)
    spectrum = (parts[0] + 1j * parts[1]) * (np.sqrt(power) * samples / 2).astype(np.float32)
    return irfft(spectrum.astype(np.complex64), samples, axis=1)


def draw_eyes(rng: np.random.Generator, spec: PhantomSpec, samples: int) -> Float32[np.ndarray, "2 sample"]:
    """Courses of blinks (0.3 s bumps of 60-140 µV) and of saccades (steps that decay, about 15 µV)."""
    eyes = np.zeros((2, samples + RATE * 2), np.float32)
    seconds = samples / RATE
    bump = np.hanning(int(0.3 * RATE))
    step = np.exp(-np.arange(2 * RATE) / (0.3 * RATE))
    for start in rng.integers(samples, size=rng.poisson(spec.blinks * seconds)):
        eyes[0, start : start + len(bump)] += rng.uniform(60, 140) * bump
    for start in rng.integers(samples, size=rng.poisson(spec.saccades * seconds)):
        eyes[1, start : start + len(step)] += 15 * rng.standard_normal() * step
    return eyes[:, :samples]


def hint_features(spec: PhantomSpec, objects: np.ndarray, order: Int64[np.ndarray, " slot"]) -> Features:
    """A hint is the same onset whatever it names, unless the spec plants a response to the name."""
    static = np.zeros((len(order), STATIC), np.float32)
    static[:, GROUPS["onset"]] = 1.0
    static[:, GROUPS["object"]] = spec.hint_response * objects[np.asarray(spec.concepts)[order]]
    return Features(static, np.zeros((len(order), 8, 24), np.float32))


def record_block(
    spec: PhantomSpec, head: Head, subject: int, block: int, clips: Features, hints: Features
) -> tuple[Float32[np.ndarray, "62 sample"], Float32[np.ndarray, "2 sample"]]:
    """One block (0-based) of a subject who is shown these clips and hints, in microvolts; the courses of its eyes."""
    geometry = spec.geometry
    samples = geometry.block_samples
    rng = np.random.default_rng(derive_seed("phantom", "recording", spec.seed, subject, block))
    gains = (1 + spec.trial_gain * rng.standard_normal(len(clips))).astype(np.float32)
    shown = gains[:, None, None] * delay(head.moments(clips), spec.jitter * rng.standard_normal(len(clips)))
    named = head.moments(hints)

    sources = np.zeros((len(head.field.T), samples + WINDOW + TAIL), np.float32)
    starts, powers = [], []
    clip_powers, hint_powers = head.rhythm_powers(clips), head.rhythm_powers(hints)
    for slot in range(len(hints)):
        starts.append(slot * geometry.slot_seconds * RATE)
        powers.append(hint_powers[slot])
        sources[:, starts[-1] : starts[-1] + WINDOW + TAIL] += named[slot]
        for position in range(geometry.clips):
            clip = slot * geometry.clips + position
            starts.append(geometry.onset(slot, position) * RATE)
            powers.append(clip_powers[clip])
            sources[:, starts[-1] : starts[-1] + WINDOW + TAIL] += shown[clip]
    begins = np.array(starts)
    state = draw_states(rng, spec, len(begins))
    quiet = [follow(np.sqrt(of_state[state])[None], begins, samples) for of_state in state_powers(spec)]

    pink = draw_noise(rng, pink_spectrum(samples, head.exponent), head.pink.shape[1])
    pink[: head.background_streams] *= quiet[0]
    alpha = draw_noise(rng, alpha_spectrum(samples, head.alpha_frequency), head.alpha.shape[1]) * quiet[1]
    each = head.rhythm.shape[1] // len(BANDS)
    rhythm = np.concatenate([draw_noise(rng, band_spectrum(samples, band), each) for band in BANDS])
    rhythm *= follow(np.sqrt(np.array(powers).T), begins, samples)
    white = rng.standard_normal((len(CHANNELS), samples), dtype=np.float32)
    eyes = draw_eyes(rng, spec, samples)
    mixing = np.concatenate([head.field, head.pink, head.alpha, head.rhythm, head.eyes], axis=1).astype(np.float32)
    signal = mixing @ np.concatenate([sources[:, :samples], pink, alpha, rhythm, eyes])
    signal += head.sensor.astype(np.float32)[:, None] * white
    plant_confounds(spec, signal, subject, block)
    return signal, eyes


def plant_confounds(spec: PhantomSpec, signal: Float32[np.ndarray, "62 sample"], subject: int, block: int) -> None:
    """Add the drift, the block's own level and the leaked label that the spec asks for (none by default)."""
    geometry = spec.geometry
    if spec.run_offset:
        rng = np.random.default_rng(derive_seed("phantom", "run", spec.seed, subject, block))
        signal += (spec.run_offset * rng.standard_normal((len(CHANNELS), 1))).astype(np.float32)
    time = np.arange(geometry.block_samples) / geometry.block_samples
    if spec.block_drift:
        rng = np.random.default_rng(derive_seed("phantom", "drift", spec.seed))
        waves = np.stack([np.sin(np.pi * (k + 1) * time + rng.uniform(0, 2 * np.pi)) for k in range(4)])
        signal += (spec.block_drift * rng.standard_normal((len(CHANNELS), 4)) @ waves).astype(np.float32)
    if spec.leaked_label:
        second = np.arange(geometry.block_samples) / RATE
        slot = (second // geometry.slot_seconds).astype(int)
        strength = (geometry.order[block][slot] + 1) / len(geometry.concepts)
        signal[LEAK_CHANNEL] += (spec.leaked_label * strength * np.sin(2 * np.pi * LEAK_FREQUENCY * second)).astype(
            np.float32
        )
