"""SAM-Net's equations (1) to (4), the HRT encoder, one test or more each, against formulas written anew in numpy.

All eleven of SAM-Net's equations have a closed form, given the weights. (5) to (8) are tested in
`test_sam_net_equations_csa.py`, (9) to (11) in `test_sam_net_equations_new2source.py`. The augmentation, which has no
number, is tested here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from asking import draw
from written_anew import (
    attend,
    batch_norm,
    convolve,
    gelu,
    layer_norm,
    linear,
    number,
    relu,
    scatter_weights,
    sigmoid,
    transform,
)

from methods.sam_net.augmentation import augment
from methods.sam_net.hrt import ElectrodeAttention, HybridRegionTemporalEncoder, RegionExtractors, TemporalPerception

# Two electrodes and more a region, in no order of regions
ELECTRODES = ("OZ", "FZ", "C3", "P4", "T7", "CZ", "F3", "O1", "PZ", "FP1", "TP8")
REGIONS = (("FZ", "F3", "FP1"), ("P4", "PZ"), ("C3", "CZ"), ("T7", "TP8"), ("OZ", "O1"))  # Fro, Par, Cen, Tem, Occ


def draw_signals(trials: int = 4, samples: int = 40, channels: int = len(ELECTRODES)) -> torch.Tensor:
    """Trials of two views, (B, 2, C, T)."""
    return draw(trials, 2, channels, samples).double() + 0.3


# The augmentation: RD(E + N(mu, sigma^2))


def test_augmentation_has_the_declared_moments_and_drops_whole_electrodes() -> None:
    signals = torch.ones(64, 2, 62, 100)
    options = {"noise_mean": 0.5, "noise_deviation": 0.3, "electrode_dropout": 0.25}
    made = augment(signals, **options, generator=torch.Generator().manual_seed(0))
    silent = (made == 0).all(dim=3)
    assert abs(float(silent.float().mean()) - 0.25) < 0.03
    assert ((made == 0).any(dim=3) == silent).all()
    assert torch.equal(silent[:, 0], silent[:, 1])  # an electrode is silent in all views
    kept = made[~silent]
    assert abs(float(kept.mean()) - 1.5) < 0.01
    assert abs(float(kept.std()) - 0.3) < 0.01
    assert torch.equal(made, augment(signals, **options, generator=torch.Generator().manual_seed(0)))


# (1) electrode attention


def weigh(signals: np.ndarray, attention: ElectrodeAttention) -> np.ndarray:
    """σ(L(ReLU(L(AP(E))))), AP the mean over time: a weight for each electrode."""
    return sigmoid(linear(relu(linear(signals.mean(axis=2), attention.gate[0])), attention.gate[2]))


def test_equation_1_weighs_each_electrode_of_each_trial() -> None:
    attention, signals = scatter_weights(ElectrodeAttention(8, pool="mean")), draw_signals(channels=8)
    weights = weigh(signals[:, 0].numpy(), attention)
    assert np.ptp(weights, axis=0).min() > 1e-4  # they differ from trial to trial
    np.testing.assert_allclose(number(attention.weigh(signals[:, 0])), weights)
    np.testing.assert_allclose(number(attention(signals)), weights[:, None, :, None] * signals.numpy())


def test_mean_pooling_cannot_see_a_change_of_power_and_log_power_can() -> None:
    wave = torch.sin(torch.linspace(0, 2 * torch.pi, 101)[:-1]).expand(1, 1, 62, 100)
    gates = {pool: ElectrodeAttention(62, pool=pool) for pool in ("mean", "log_power")}
    with torch.no_grad():
        gain = {pool: gate(3 * wave).abs().max() / gate(wave).abs().max() for pool, gate in gates.items()}
    assert float(gain["mean"]) == pytest.approx(3, abs=1e-4)
    assert abs(float(gain["log_power"]) - 3) > 1e-2


# (2) division into regions


def make_encoder(**changes: Any) -> HybridRegionTemporalEncoder:
    options: dict[str, Any] = {
        "regions": ("frontal", "parietal", "central", "temporal", "occipital"), "attention_pool": "mean", "filters": 3,
        "views": 2, "kernel": 5, "stride": 2, "width": 8, "queries": 3, "layers": 2, "heads": 2, "dropout": 0.4,
    }  # fmt: skip
    encoder = HybridRegionTemporalEncoder(ELECTRODES, 40, **{**options, **changes})
    return scatter_weights(encoder)


def test_equation_2_gives_each_extractor_its_own_region_s_weighted_electrodes() -> None:
    encoder, signals = make_encoder(), draw_signals()
    received: list[np.ndarray] = []
    for extractor in encoder.extractors.extractors:
        extractor.register_forward_pre_hook(lambda module, given: received.append(number(given[0])))
    encoder(signals)
    columns = [ELECTRODES.index(name) for region in REGIONS for name in region]
    mine = signals.numpy()[:, :, columns]
    weighted = mine * weigh(mine[:, 0], encoder.attention)[:, None, :, None]
    ends = np.cumsum([len(region) for region in REGIONS])
    for got, expected in zip(received, np.split(weighted, ends[:-1], axis=2), strict=True):
        np.testing.assert_allclose(got, np.concatenate([expected[:, 0], expected[:, 1]], axis=1))


def test_a_region_that_is_left_out_is_not_read() -> None:
    encoder, signals = make_encoder(regions=("frontal", "occipital")), draw_signals().requires_grad_()
    encoder(signals).square().sum().backward()
    assert signals.grad is not None
    read = {name for name, one in zip(ELECTRODES, signals.grad.abs().sum(dim=(0, 1, 3)), strict=True) if one > 0}
    assert read == {*REGIONS[0], *REGIONS[4]}


# (3) extractors of the regions


def extract(signals: np.ndarray, extractors: RegionExtractors) -> np.ndarray:
    """L(‖ D(BN(GELU(Conv(E_i))))), D the identity outside of training: [n, step, width]."""
    parts, start = [], 0
    for (conv, _, norm, _), size in zip(extractors.extractors, extractors.sizes, strict=True):
        views = np.concatenate([signals[:, 0, start : start + size], signals[:, 1, start : start + size]], axis=1)
        parts.append(batch_norm(gelu(convolve(views, conv)), norm))
        start += size
    return linear(np.concatenate(parts, axis=1).transpose(0, 2, 1), extractors.project)


def make_extractors(**changes: Any) -> RegionExtractors:
    options: dict[str, Any] = {"views": 2, "filters": 4, "kernel": 5, "stride": 3, "width": 6, "dropout": 0.5}
    return scatter_weights(RegionExtractors((3, 2, 4), **{**options, **changes}))


def test_equation_3_is_convolution_gelu_batch_norm_then_one_linear_layer_over_all_regions() -> None:
    extractors, signals = make_extractors(), draw_signals(channels=9)
    made = number(extractors(signals))
    assert made.shape == (4, 14, 6)  # ⌈40 / 3⌉ steps
    np.testing.assert_allclose(made, extract(signals.numpy(), extractors))


def test_in_training_equation_3_normalises_by_the_batch_and_drops_out() -> None:
    extractors, signals = make_extractors(dropout=0.0).train(), draw_signals(channels=9)
    with torch.no_grad():
        made = number(extractors(signals))
        for _, _, norm, _ in extractors.extractors:  # a plain reading of the statistics that training used
            norm.running_mean.zero_(), norm.running_var.fill_(1)
        start = 0
        for (conv, _, norm, _), size in zip(extractors.extractors, extractors.sizes, strict=True):
            seen = gelu(convolve(signals.numpy()[:, :, start : start + size].reshape(4, 2 * size, -1), conv))
            norm.running_mean.copy_(torch.from_numpy(seen.mean(axis=(0, 2))))
            norm.running_var.copy_(torch.from_numpy(seen.var(axis=(0, 2))))
            start += size
    np.testing.assert_allclose(made, extract(signals.numpy(), extractors))


def test_in_training_equation_3_drops_half_of_the_regions_features_and_doubles_the_others() -> None:
    extractors, signals, seen = make_extractors(dropout=0.5).train(), draw_signals(channels=9), []
    extractors.project.register_forward_pre_hook(lambda module, given: seen.append(number(given[0])))
    extractors(signals)
    for _, _, _, dropout in extractors.extractors:
        dropout.p = 0.0
    extractors(signals)
    thinned, whole = seen
    dropped = thinned == 0
    assert abs(dropped.mean() - 0.5) < 0.08
    np.testing.assert_allclose(thinned[~dropped], 2 * whole[~dropped])


# (4) multi-scale temporal perception


def perceive(spatial: np.ndarray, temporal: TemporalPerception) -> np.ndarray:
    """Learned queries attend to keys convolved by kernels of 5, 11 and 21, then to each other; L times."""
    key = linear(spatial, temporal.key).transpose(0, 2, 1)
    scales = dict(zip((5, 11, 21), temporal.scales, strict=True))
    assert all(layer.kernel_size == (kernel,) for kernel, layer in scales.items())
    key = np.concatenate([convolve(key, layer) for layer in scales.values()], axis=1).transpose(0, 2, 1)
    key = key + number(temporal.position)  # ours: the paper's keys do not know when they are
    value = linear(spatial, temporal.value)
    state = np.repeat(number(temporal.queries)[None], len(spatial), axis=0)
    for norm, layer in zip(temporal.norms, temporal.layers, strict=True):
        state = transform(state + attend(layer_norm(state, norm), key, value, temporal.heads), layer)
    return state


@pytest.mark.parametrize(("heads", "layers"), [(1, 1), (2, 3)])
def test_equation_4_attends_to_keys_of_three_time_scales(heads: int, layers: int) -> None:
    temporal = TemporalPerception(14, width=8, queries=3, layers=layers, heads=heads, dropout=0.4)
    scatter_weights(temporal)
    spatial = draw(4, 14, 8).double()
    np.testing.assert_allclose(number(temporal(spatial)), perceive(spatial.numpy(), temporal))


def test_equations_1_to_4_in_a_row_are_the_encoder() -> None:
    encoder, signals = make_encoder(), draw_signals()
    mine = signals.numpy()[:, :, [ELECTRODES.index(name) for region in REGIONS for name in region]]
    mine = mine * weigh(mine[:, 0], encoder.attention)[:, None, :, None]
    np.testing.assert_allclose(number(encoder(signals)), perceive(extract(mine, encoder.extractors), encoder.temporal))
