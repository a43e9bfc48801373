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
- What is mapped. HRT sees waveforms and powers in bands (`views.py`), and a mixture of waveforms that undoes one head
  for another does not do so for the powers that were planted behind it: after it HRT reads no more than before. So each
  view has a mapper, by the same equations: of waveforms, and of each band's powers at the subject's level.
- Ongoing activity in (11): see `fit_new_to_source`.
- A regression from noisy trials shrinks. Powers are brought back to the unit deviation that HRT is used to. Waveforms
  stay as the regression has them, where little is read: `rescale` gives every mapped channel the deviation that the
  known subjects' channel has, measured on the calibration trials, and costs about half of what is read (README).

The baseline that any claim for New2Source needs is recolouring (`covariance.recolour`): it uses no pairs, only the
covariance of the calibration trials, whole and in each band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bench.core.errors import BenchError
from methods.sam_net.covariance import ChannelMap, Signals, apply_map, average_covariance, measure_covariance
from methods.sam_net.views import Mapper, Powers


@dataclass(frozen=True)
class Sources:
    """What is kept of the known subjects: trials to pair with (`clips[i]` is the digest of the clip that trial i
    shows), as signals and as powers at each subject's level, and the mean covariance of the single trials."""

    signals: Signals
    powers: Powers | None
    clips: tuple[str, ...]
    covariance: ChannelMap


def gather_sources(
    signals: Signals, powers: Powers | None, clips: Sequence[str], subject: Tensor, *, source: str
) -> Sources:
    """Sources from the training trials; `source` is "mean" (one trial a clip, averaged over subjects) or "each"."""
    covariance = average_covariance(signals, subject)
    if source == "each":
        return Sources(signals, powers, tuple(clips), covariance)
    names = sorted(set(clips))
    place = {name: row for row, name in enumerate(names)}
    rows = torch.tensor([place[clip] for clip in clips], device=signals.device)

    def average(values: Tensor) -> Tensor:
        total = torch.zeros(len(names), *values.shape[1:], device=values.device).index_add_(0, rows, values)
        return total / torch.bincount(rows, minlength=len(names)).view(-1, *[1] * (values.ndim - 1)).to(total)

    return Sources(average(signals), None if powers is None else average(powers), tuple(names), covariance)


def map_new_to_source(
    sources: Sources, signals: Signals, powers: Powers | None, clips: Sequence[str], *, ridge: float, rescale: bool
) -> Mapper:
    """New2Source of one new subject from its calibration trials, of its waveforms and of the powers in each band.

    `powers` are at the subject's own level. Raises BenchError where no clip is shared.
    """
    pairs = [
        (ours, theirs) for theirs, clip in enumerate(clips) for ours, known in enumerate(sources.clips) if clip == known
    ]
    if not pairs:
        raise BenchError(
            "none of the new subject's calibration clips was shown to a known subject: New2Source has nothing to pair; "
            "calibrate on clips of the training blocks, or use the variant 'recolour'"
        )
    ours, theirs = (list(side) for side in zip(*pairs, strict=True))
    shared = set(clips)
    others = [row for row, clip in enumerate(sources.clips) if clip not in shared]

    def fit(source: Signals, own: Signals) -> ChannelMap:
        return fit_new_to_source(source[ours], source[others], own[theirs], ridge=ridge)

    waveforms = fit(sources.signals, signals)
    if rescale:
        waveforms = match_deviation(waveforms, sources.covariance.diagonal(), signals)
    if powers is None or sources.powers is None:
        return Mapper(waveforms)
    bands = []
    for band in range(powers.shape[1]):
        own = powers[:, band]
        matrix = fit(sources.powers[:, band], own)
        bands.append(match_deviation(matrix, torch.ones_like(matrix[0]), own))
    return Mapper(waveforms, powers=torch.stack(bands))


def fit_new_to_source(paired: Signals, others: Signals, real: Signals, *, ridge: float) -> ChannelMap:
    """(9) to (11): the source's trials of the clips that `real` shows, of the other clips, and the new subject's.

    A simulated trial is a source trial in the new subject's channels. Source2New makes no ongoing activity, which every
    real trial has; so (11) is solved for simulated trials with as much of it on top as the real ones have beside what
    Source2New gives. Otherwise the many quiet trials teach a mapper to be an inverse, and that amplifies the noise.
    """
    to_new = fit_channel_map(paired, real, ridge=ridge)  # (9)
    ongoing = measure_covariance(real - apply_map(to_new, paired))
    simulated = apply_map(to_new, others)  # (10)
    inputs, targets = torch.cat([simulated, real]), torch.cat([others, paired])
    return fit_channel_map(inputs, targets, ridge=ridge, noise=len(others) / len(inputs) * ongoing)  # (11)


def fit_channel_map(inputs: Signals, targets: Signals, *, ridge: float, noise: ChannelMap | None = None) -> ChannelMap:
    """The matrix M that minimises mean |target - M (input + e)|² + ridge · power · |M - I|².

    e is noise of covariance `noise` beside the inputs, or none. `power` is the mean power of a channel of input and
    noise, so that `ridge` has no unit.
    """
    x = inputs.transpose(0, 1).flatten(1).double()  # (C, B*T)
    y = targets.transpose(0, 1).flatten(1).double()
    gram, cross = x @ x.T / x.shape[1], y @ x.T / x.shape[1]
    if noise is not None:
        gram = gram + noise
    pull = ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64, device=gram.device)
    return torch.linalg.solve(gram + pull, (cross + pull).T).T  # symmetric left side, so M = (cross+pull)(gram+pull)^-1


def match_deviation(matrix: ChannelMap, power: Float[Tensor, " channel"], signals: Signals) -> ChannelMap:
    """The map with each output channel scaled to a mean power, as measured on these signals."""
    mapped = (matrix @ measure_covariance(signals) @ matrix.T).diagonal().clamp_min(1e-12)
    return (power / mapped).sqrt()[:, None] * matrix
