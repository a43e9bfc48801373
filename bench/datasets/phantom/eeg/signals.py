"""Continuous recordings: what the clips evoke, in noise that never stops, with eyes that blink.

A block is one stretch of time. Each clip's response goes on for up to 0.8 s into the next clip, and the noise is
drawn for the whole block at once, so nothing starts anew with a trial. The noise is Gaussian and stationary: 1/f
(background and ongoing activity of the task dipoles), an alpha rhythm and white sensor noise.

All that a clip says is in the evoked waveform, and nothing in how strong the rhythms are: what reads band powers alone
("DE features") finds no concept here. It is the ideal observer's condition (stationary Gaussian noise), not a claim
about people.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64, Int64

from bench.core.seeds import derive_seed
from bench.datasets.phantom.eeg.features import GROUPS, STATIC, Features
from bench.datasets.phantom.eeg.head import RATE, TAIL, WINDOW, Head
from bench.datasets.phantom.eeg.spec import PhantomSpec
from bench.datasets.seed_dv.geometry import CHANNELS

LEAK_CHANNEL, LEAK_FREQUENCY = CHANNELS.index("CB2"), 30.0


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
    spec: PhantomSpec,
    head: Head,
    subject: int,
    block: int,
    responses: Float32[np.ndarray, "clip dipole time"],
    hints: Float32[np.ndarray, "slot dipole time"],
) -> tuple[Float32[np.ndarray, "62 sample"], Float32[np.ndarray, "2 sample"]]:
    """One block (0-based) of a subject in microvolts, and the courses of its eyes."""
    geometry = spec.geometry
    samples = geometry.block_samples
    rng = np.random.default_rng(derive_seed("phantom", "recording", spec.seed, subject, block))
    gains = 1 + spec.trial_gain * rng.standard_normal(len(responses))

    sources = np.zeros((len(head.field.T), samples + WINDOW + TAIL), np.float32)
    for slot in range(len(hints)):
        start = slot * geometry.slot_seconds * RATE
        sources[:, start : start + WINDOW + TAIL] += hints[slot]
        for position in range(geometry.clips):
            start, clip = geometry.onset(slot, position) * RATE, slot * geometry.clips + position
            sources[:, start : start + WINDOW + TAIL] += gains[clip] * responses[clip]
    pink = draw_noise(rng, pink_spectrum(samples, head.exponent), head.pink.shape[1])
    alpha = draw_noise(rng, alpha_spectrum(samples, head.alpha_frequency), head.alpha.shape[1])
    white = rng.standard_normal((len(CHANNELS), samples), dtype=np.float32)
    eyes = draw_eyes(rng, spec, samples)
    mixing = np.concatenate([head.field, head.pink, head.alpha, head.eyes], axis=1).astype(np.float32)
    signal = mixing @ np.concatenate([sources[:, :samples], pink, alpha, eyes])
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
