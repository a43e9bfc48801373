"""Which electrodes HRT reads: its attention (1), its weights, and what it loses without each.

| column      | what the number is                                                                                    |
|-------------|-------------------------------------------------------------------------------------------------------|
| `attention` | the gate of (1), 0 to 1: mean over trials                                                             |
| `varies`    | its standard deviation over trials: near zero it is no attention but a constant                       |
| `reading`   | `attention` times how large the electrode's weights in its region's extractor are (1: as untrained)   |
| `silenced`  | mean squared change of the concept part of E when the electrode is silent, as a share of its variance |
| `truth`     | of a phantom: the share of the electrode's variance that tells clips apart, by the planted sources    |

How to read them:

- The gate alone says little. The weights that follow can undo its scale, and the mean over time that it pools is near
  zero in high-passed EEG. `reading` takes the weights into account, `silenced` all that comes after them.
- No column says where something happens in a brain. The head spreads every source over the whole cap.
- With `sphering` (the default) HRT does not see electrodes but mixtures of those of one region, each as close to one
  electrode as mixtures without correlation can be. All columns, `truth` too, are about these mixtures.
- `silenced` sets one electrode to zero, the mean, and leaves its neighbours, who know much of the same. The sum over a
  region's electrodes is therefore not the effect of the region.
- `truth` is about responses of mean strength and knows nothing of what is read from the course in time. Neighbouring
  electrodes are not independent, so no p value goes with a correlation over them.

Trials are those of the validation block of the known subjects; the network was not fitted to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from bench.core.contracts import Dataset
from bench.core.errors import BenchError
from bench.core.progress import track
from bench.core.splits import make_folds
from bench.harness.inputs import fold_scalings, training_set
from bench.harness.normalise import Scaling
from methods.sam_net.hrt import HybridRegionTemporalEncoder, assign_regions
from methods.sam_net.method import SamNet
from methods.sam_net.training import predict
from methods.sam_net.views import Views

MEASURES = ("attention", "reading", "silenced")
BATCH = 256  # trials at once


def measure_electrodes(
    dataset: Dataset, suite: Any, *, classes: int = 40, seed: int = 0, parameters: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Fit SAM-Net on the known subjects; a row an electrode that is used: electrode, region, the columns above.

    `truth` is missing where the data set knows none. Raises BenchError for an encoder without electrode attention.
    """
    (fold,) = make_folds(dataset, "cross_subject", classes=classes)
    scalings = fold_scalings(dataset, fold)
    method = SamNet(suite=suite, seed=seed, **dict(parameters or {}))
    if method.parameters.encoder != "hrt":
        raise BenchError(f"encoder {method.parameters.encoder!r} has no electrode attention; leave it at 'hrt'")
    train, validation = (training_set(dataset, rows, scalings) for rows in (fold.train, fold.validation))
    method.fit(train, validation)
    views = method.viewer.see(method.prepare(validation.brain, validation.sampling_rate), validation.subject)
    table = read_network(method, views, dataset.channels)
    truth = measure_truth(dataset, method, {one: scalings[one] for one in np.unique(train.subject).tolist()})
    return table if truth is None else table.assign(truth=truth[table["index"].to_numpy()])


def read_network(method: SamNet, views: Views, channels: tuple[str, ...]) -> pd.DataFrame:
    """The columns of a fitted network for trials as its encoder gets them."""
    encoder = method.trained().encoder
    assert isinstance(encoder, HybridRegionTemporalEncoder)
    used = encoder.used.cpu().numpy()
    region = {index: name for name, indices in assign_regions(channels).items() for index in indices}
    with torch.inference_mode():
        gates = torch.cat([encoder.attention.weigh(part.waveforms[:, encoder.used]) for part in views.split(BATCH)])
    attention = gates.mean(dim=0)
    return pd.DataFrame(
        {
            "index": used,
            "electrode": [channels[index] for index in used],
            "region": [region[index] for index in used],
            "attention": attention.double().cpu().numpy(),
            "varies": gates.std(dim=0).double().cpu().numpy(),
            "reading": (attention * measure_weights(encoder)).double().cpu().numpy(),
            "silenced": silence_each(method, views, used),
        }
    )


def measure_weights(encoder: HybridRegionTemporalEncoder) -> Float[Tensor, " channel"]:
    """Of each used electrode, the root mean square of its extractor's weights (of waveforms) over filters and lags.

    In units of the untrained weights' own: those are smaller in a region of many electrodes.
    """
    squares = []
    for extractor in encoder.extractors.extractors:
        assert isinstance(extractor, nn.Sequential)
        convolution = extractor[0]
        assert isinstance(convolution, nn.Conv1d)
        weights = convolution.weight.detach()  # (F, C, k)
        start = 1 / (3 * weights[0].numel())  # mean square of torch's first values, uniform within ±1/√(C k)
        squares.append(weights.square().mean(dim=(0, 2)) / start)
    return torch.cat(squares).sqrt()


def silence_each(method: SamNet, views: Views, used: np.ndarray) -> np.ndarray:
    """For each used electrode, the mean squared change of E's concept coefficients as a share of their variance."""
    decoder, rank = method.trained(), method.parameters.concept_rank
    whole = predict(decoder, views)[0][:, :rank]
    variance = (whole - whole.mean(dim=0)).square().sum(dim=1).mean().clamp_min(1e-12)
    effects = []
    for index in track(used, "silencing electrodes"):
        silent = Views(views.waveforms.clone(), None if views.powers is None else views.powers.clone())
        silent.waveforms[:, index] = 0
        if silent.powers is not None:
            silent.powers[:, :, index] = 0
        moved = predict(decoder, silent)[0][:, :rank] - whole
        effects.append(float(moved.square().sum(dim=1).mean() / variance))
    return np.array(effects)


def measure_truth(dataset: Dataset, method: SamNet, scalings: Mapping[int, Scaling]) -> np.ndarray | None:
    """Of each channel as the encoder gets it, the share of variance that the planted responses to the clips make.

    The responses of each known head to all clips, less their mean over clips, in the units of the normalised signals.
    None where no EEG phantom of `phantom_eeg`'s kind tells its heads.
    """
    from bench.datasets.phantom.eeg.head import WINDOW, draw_head
    from bench.datasets.phantom.eeg.spec import PhantomSpec

    if dataset.truth is None or not isinstance(dataset.truth.spec, PhantomSpec):
        return None
    responses = []
    for subject, scaling in scalings.items():
        head = draw_head(dataset.truth.spec, subject)
        moments = head.moments(dataset.truth.features)[..., :WINDOW].astype(np.float64)  # (clip, dipole, time)
        moments -= moments.mean(axis=0)
        inner = np.einsum("ndt,net->de", moments, moments, optimize=True) / (len(moments) * WINDOW)
        field = head.field / (1e6 * scaling.deviation[:, None])  # µV at the electrode -> deviations of the recording
        responses.append(field @ inner @ field.T)
    mixture = method.viewer.sphere.cpu().numpy()
    evoked = np.diag(mixture @ np.mean(responses, axis=0) @ mixture.T)
    whole = np.diag(mixture @ method.sources.covariance.cpu().numpy() @ mixture.T)
    return evoked / np.maximum(whole, 1e-12)


def correlate_truth(table: pd.DataFrame) -> dict[str, float]:
    """Spearman's correlation of each measure with the truth over electrodes; empty where there is no truth."""
    from scipy.stats import spearmanr

    if "truth" not in table:
        return {}
    return {name: float(spearmanr(table[name], table["truth"]).statistic) for name in MEASURES}
