"""New2Source (§3.3): signals of a new subject are mapped to those of the known subjects, and HRT stays as it is.

    Source2New, on the p % of clips that the new subject was calibrated with:  source trial → new subject's trial   (9)
    simulated trials of the other clips:  Source2New(source trials)                                                (10)
    New2Source, on the simulated and the real trials together:  new subject's trial → source trial                 (11)

Where the paper leaves a choice:

- The mappers' form. Leadfield, orientation, cap position and gain all act as a mixture of channels that is constant
  over time, so a mapper is a channels × channels matrix, the exact minimiser of the mean squared error with a ridge
  that pulls towards the identity: no iterations, no seed. What is no such mixture (latency, tuning) it cannot map.
- The source. `source="mean"` pairs a new subject's trial with the mean of the known subjects' trials of the same clip,
  which holds less of anybody's ongoing activity; `source="each"` pairs it with every single one.
- A regression from noisy trials shrinks, so the mapped signals are weaker than HRT is used to. `rescale` gives every
  mapped channel the deviation that the known subjects' channel has, measured on the calibration trials.

The baseline that any claim for New2Source needs is `covariance.recolour`: it uses no pairs, only the covariance of the
calibration trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.core.errors import BenchError
from methods.sam_net.covariance import ChannelMap, Signals, apply_map, average_covariance, measure_covariance


@dataclass(frozen=True)
class Sources:
    """What is kept of the known subjects: trials to pair with (`clips[i]` is the digest of the clip that trial i
    shows), and the mean covariance of the single trials."""

    signals: Signals
    clips: tuple[str, ...]
    covariance: ChannelMap


def gather_sources(signals: Signals, clips: Sequence[str], subject: Tensor, *, source: str) -> Sources:
    """Sources from the training trials; `source` is "mean" (one trial a clip, averaged over subjects) or "each"."""
    covariance = average_covariance(signals, subject)
    if source == "each":
        return Sources(signals, tuple(clips), covariance)
    names = sorted(set(clips))
    place = {name: row for row, name in enumerate(names)}
    rows = torch.tensor([place[clip] for clip in clips], device=signals.device)
    total = torch.zeros(len(names), *signals.shape[1:], device=signals.device).index_add_(0, rows, signals)
    count = torch.bincount(rows, minlength=len(names)).to(total)
    return Sources(total / count[:, None, None], tuple(names), covariance)


def fit_channel_map(inputs: Signals, targets: Signals, *, ridge: float) -> ChannelMap:
    """The matrix M that minimises mean |target - M input|² + ridge · power · |M - I|².

    `power` is the mean power of an input channel, so that `ridge` has no unit.
    """
    x = inputs.transpose(0, 1).flatten(1).double()  # (C, B*T)
    y = targets.transpose(0, 1).flatten(1).double()
    gram, cross = x @ x.T / x.shape[1], y @ x.T / x.shape[1]
    pull = ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64, device=gram.device)
    return torch.linalg.solve(gram + pull, (cross + pull).T).T  # symmetric left side, so M = (cross+pull)(gram+pull)^-1


def map_new_to_source(
    sources: Sources, signals: Signals, clips: Sequence[str], *, ridge: float, rescale: bool
) -> ChannelMap:
    """New2Source of one new subject from its calibration trials; raises BenchError where no clip is shared."""
    pairs = [
        (ours, theirs) for theirs, clip in enumerate(clips) for ours, known in enumerate(sources.clips) if clip == known
    ]
    if not pairs:
        raise BenchError(
            "none of the new subject's calibration clips was shown to a known subject: New2Source has nothing to pair; "
            "calibrate on clips of the training blocks, or use the variant 'recolour'"
        )
    ours, theirs = (list(side) for side in zip(*pairs, strict=True))
    paired, real = sources.signals[ours], signals[theirs]
    to_new = fit_channel_map(paired, real, ridge=ridge)  # (9)
    shared = set(clips)
    others = sources.signals[[row for row, clip in enumerate(sources.clips) if clip not in shared]]
    simulated = apply_map(to_new, others)  # (10)
    matrix = fit_channel_map(torch.cat([simulated, real]), torch.cat([others, paired]), ridge=ridge)  # (11)
    return match_deviation(matrix, sources, signals) if rescale else matrix


def match_deviation(matrix: ChannelMap, sources: Sources, signals: Signals) -> ChannelMap:
    """The map with each output channel scaled to the known subjects' deviation."""
    mapped = (matrix @ measure_covariance(signals) @ matrix.T).diagonal().clamp_min(1e-12)
    return (sources.covariance.diagonal() / mapped).sqrt()[:, None] * matrix
