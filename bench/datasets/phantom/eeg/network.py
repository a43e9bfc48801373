"""A small reader that is not linear, beside one that differs in nothing else: does what is planted for it pay?

Both are three layers that learn from all known subjects at once: spatial filters, which each subject has of its own;
a hidden layer; the concepts. The filters' outputs are cosines of evoked responses, and powers in three bands. The
linear reader gets the logarithm of each electrode's power, filters that, and has no activation in its hidden layer. The
other squares what its filters let through (a filtered signal's power is a quadratic form of the trial's covariance in
that band) and takes the logarithm then, and has an activation.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float16, Float32, Float64, Int64
from scipy.special import stdtrit
from torch import Tensor, nn
from torch.nn import functional

from bench.core.progress import track
from bench.datasets.phantom.eeg.card import CHUNK, split_trials
from bench.datasets.phantom.eeg.head import BANDS, RATE, WINDOW
from bench.datasets.phantom.eeg.readers import (
    COSINES,
    FLOOR,
    Readings,
    join,
    measure_scale,
    read_trials,
    top_accuracy,
    whitening,
)

if TYPE_CHECKING:
    import pandas as pd

    from bench.datasets.seed_dv.layout import SeedDV

FILTERS, POWER_FILTERS, HIDDEN, DROPOUT = 24, 16, 256, 0.5
RATE_OF_LEARNING, DECAY, NOISE, SMOOTHING = 2e-3, 0.05, 0.3, 0.1
EPOCHS, EACH = 16, 8  # trials of every subject in a batch
LEAST = 1e-3  # of a power, before its logarithm


@dataclass(frozen=True)
class Trials:
    """What the two readers get of one subject's trials."""

    evoked: Float32[np.ndarray, "trial 62 cosine"]
    bands: Float32[np.ndarray, "trial 62 band"]
    covariances: Float16[np.ndarray, "trial 3 62 62"]  # of the three rhythms' bands


def measure_covariances(signals: Float32[np.ndarray, "trial 62 time"]) -> Float32[np.ndarray, "trial 3 62 62"]:
    """Covariance of the channels in the band of each rhythm, in every trial."""
    window = np.hanning(WINDOW + 2)[1:-1].astype(np.float32)
    spectrum = np.fft.rfft(signals * window, axis=2).astype(np.complex64)
    frequency = np.fft.rfftfreq(WINDOW, 1 / RATE)
    out = []
    for low, high in BANDS.values():
        part = spectrum[:, :, (frequency >= low) & (frequency <= high)]
        whole = np.concatenate([part.real, part.imag], axis=2)
        out.append(np.matmul(whole, whole.swapaxes(1, 2)) / part.shape[2])
    return np.stack(out, axis=1)


def whiten_covariances(
    covariances: Float32[np.ndarray, "trial 3 62 62"], training: Int64[np.ndarray, " trial"]
) -> Float16[np.ndarray, "trial 3 62 62"]:
    """Covariances of channels that are uncorrelated over the training trials, band by band."""
    out = np.empty(covariances.shape, np.float16)
    for band in range(covariances.shape[1]):
        values, vectors = np.linalg.eigh(covariances[training, band].mean(axis=0).astype(np.float64))
        mixing = ((vectors / np.sqrt(values + FLOOR * values.mean())) @ vectors.T).astype(np.float32)
        out[:, band] = mixing @ covariances[:, band] @ mixing
    return out


class Reader(nn.Module):
    def __init__(self, subjects: int, concepts: int, *, linear: bool) -> None:
        super().__init__()
        self.linear = linear
        bands = 5 if linear else len(BANDS)
        alike = torch.randn(1, 62, FILTERS) / 62**0.5
        self.filters = nn.Parameter(alike.repeat(subjects, 1, 1))
        alike = torch.randn(1, bands, 62, POWER_FILTERS) / 62**0.5
        self.power_filters = nn.Parameter(alike.repeat(subjects, 1, 1, 1))
        self.hidden = nn.Linear(FILTERS * COSINES + bands * POWER_FILTERS, HIDDEN)
        self.personal = nn.Parameter(torch.zeros(subjects, 1, HIDDEN))
        self.concepts = nn.Linear(HIDDEN, concepts)
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, evoked: Tensor, powers: Tensor) -> Tensor:
        """Scores (subject, trial, concept) of as many trials of every subject."""
        subjects, trials = evoked.shape[:2]
        waves = torch.einsum("snct,sck->snkt", evoked, self.filters).reshape(subjects, trials, -1)
        if self.linear:  # log powers (subject, trial, channel, band)
            read = torch.einsum("sncb,sbck->snbk", powers, self.power_filters)
        else:  # covariances (subject, trial, band, channel, channel)
            across = torch.einsum("snbcd,sbdk->snbck", powers, self.power_filters)
            read = torch.log(torch.einsum("snbck,sbck->snbk", across, self.power_filters).clamp_min(LEAST))
        inputs = torch.cat([waves, 2 * read.reshape(subjects, trials, -1)], dim=2)
        hidden = self.hidden(self.drop(inputs)) + self.personal
        return self.concepts(self.drop(hidden if self.linear else functional.gelu(hidden)))


def train_reader(
    train: Sequence[Trials],
    labels: Int64[np.ndarray, " trial"],
    test: Sequence[Trials],
    *,
    linear: bool,
    seed: int = 0,
    epochs: int = EPOCHS,
) -> Float64[np.ndarray, "subject trial concept"]:
    """Scores of the test trials of subjects who all saw the same clips in the same order."""
    torch.manual_seed(seed)
    evoked, asked = (torch.tensor(np.stack([one.evoked for one in part])) for part in (train, test))
    powers, asked_powers = (
        torch.tensor(np.stack([one.bands if linear else one.covariances for one in part])) for part in (train, test)
    )
    subjects, trials = evoked.shape[:2]
    targets = torch.tensor(labels)
    reader = Reader(subjects, int(labels.max()) + 1, linear=linear)
    optimiser = torch.optim.AdamW(reader.parameters(), RATE_OF_LEARNING, weight_decay=DECAY)
    steps = trials // EACH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE_OF_LEARNING, total_steps=epochs * steps, pct_start=0.2
    )
    of_subject = torch.arange(subjects)[:, None]
    for _ in range(epochs):
        order = torch.stack([torch.randperm(trials) for _ in range(subjects)])
        for step in range(steps):
            rows = order[:, step * EACH : (step + 1) * EACH]
            shown = evoked[of_subject, rows]
            scores = reader(shown + NOISE * torch.randn_like(shown), powers[of_subject, rows].float())
            loss = functional.cross_entropy(scores.flatten(0, 1), targets[rows].flatten(), label_smoothing=SMOOTHING)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    reader.eval()
    with torch.no_grad():
        parts = [
            reader(asked[:, start : start + 20], asked_powers[:, start : start + 20].float())
            for start in range(0, asked.shape[1], 20)
        ]
    return torch.cat(parts, dim=1).double().numpy()


def pack(readings: Readings, covariances: np.ndarray, mixing: np.ndarray) -> Trials:
    """Scaled readings with their channels whitened by `mixing`, and whitened covariances."""
    return Trials(np.matmul(mixing.astype(np.float32), readings.evoked), readings.bands, covariances)


def compare_readers(dataset: SeedDV, *, seed: int = 0) -> pd.DataFrame:
    """Concept accuracy of both readers on the known subjects' test trials, a row a subject; trained on blocks 1-5."""
    import pandas as pd

    from bench.core.splits import part_subjects

    known, _ = part_subjects(dataset.subjects)
    concept, clip = np.asarray(dataset.geometry.clip_table()["concept"]), np.asarray(dataset.trials["clip"])
    train, test = [], []
    readings = {}
    for subject in track(known, "reading recordings"):
        rows = split_trials(dataset, subject)
        parts: list[list[tuple[Readings, np.ndarray]]] = [[], []]
        for part, trials in zip(parts, rows, strict=True):
            for chunk in np.array_split(trials, len(trials) // CHUNK + 1):
                signals = dataset.signals(chunk) * np.float32(1e6)
                part.append((read_trials(signals), measure_covariances(signals)))
        count = len(rows[0])
        covariances = np.concatenate([one for part in parts for _, one in part])
        own = [join([one for one, _ in part]) for part in parts]
        scale = measure_scale(own[0])
        readings[subject] = [scale.apply(one) for one in own], whiten_covariances(covariances, np.arange(count))
    mixing = whitening(np.concatenate([own[0].evoked for own, _ in readings.values()]))
    for own, covariances in readings.values():
        train.append(pack(own[0], covariances[: len(own[0])], mixing))
        test.append(pack(own[1], covariances[len(own[0]) :], mixing))
    rows = split_trials(dataset, known[0])
    labels, asked = (concept[clip[part]] for part in rows)
    table: dict[str, Sequence[float]] = {"subject": known}
    for name, linear in (("linear", True), ("not linear", False)):
        scores = train_reader(train, labels, test, linear=linear, seed=seed)
        table[name] = [top_accuracy(one, asked) for one in scores]
    return pd.DataFrame(table)


def main(size: str, seed: int) -> None:
    """Both readers on a phantom of this size and seed: `python -m bench.datasets.phantom.eeg.network study 101`."""
    from bench.datasets.catalogue import load_dataset, make_phantom
    from bench.datasets.phantom.eeg.spec import find_spec

    name = f"phantom_eeg:{size}"
    table = compare_readers(load_dataset(name, make_phantom(find_spec(size, seed=seed))))
    print(table.to_string(index=False))
    gain = table["not linear"] - table["linear"]
    half = stdtrit(len(gain) - 1, 0.975) * gain.std() / np.sqrt(len(gain))
    print(f"gain {gain.mean():.3f}, 95 % of subjects' means within {half:.3f}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
