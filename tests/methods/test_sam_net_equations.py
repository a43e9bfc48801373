"""SAM-Net's equations (1) to (4), the HRT encoder, one test or more each, against formulas written anew in numpy.

All eleven of SAM-Net's equations have a closed form, given the weights. (5) to (8) are tested in
`test_sam_net_equations_csa.py`, (9) to (11) in `test_sam_net_equations_new2source.py`. The augmentation, which has no
number, is tested here.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from methods.sam_net.views import Views

# Two electrodes and more a region, in no order of regions
ELECTRODES = ("OZ", "FZ", "C3", "P4", "T7", "CZ", "F3", "O1", "PZ", "FP1", "TP8")
REGIONS = (("FZ", "F3", "FP1"), ("P4", "PZ"), ("C3", "CZ"), ("T7", "TP8"), ("OZ", "O1"))  # Fro, Par, Cen, Tem, Occ


def draw_views(trials: int = 4, samples: int = 40, channels: int = len(ELECTRODES), steps: int = 20) -> Views:
    """Waveforms (B, C, T) and powers of two bands (B, 2, C, S)."""
    waveforms, powers = draw(trials, channels, samples), draw(trials, 2, channels, steps, seed=5)
    return Views(waveforms.double() + 0.3, powers.double() - 0.1)


# The augmentation: RD(E + N(mu, sigma^2))


def test_augmentation_has_the_declared_moments_and_drops_whole_electrodes() -> None:
    views = Views(torch.ones(64, 62, 100), torch.ones(64, 2, 62, 50))
    options = {"noise_mean": 0.5, "noise_deviation": 0.3, "electrode_dropout": 0.25}
    made = augment(views, **options, generator=torch.Generator().manual_seed(0))
    silent = (made.waveforms == 0).all(dim=2)
    assert abs(float(silent.float().mean()) - 0.25) < 0.03
    assert ((made.waveforms == 0).any(dim=2) == silent).all()
    assert ((made.powers == 0) == silent[:, None, :, None]).all()  # an electrode is silent in both views
    for kept in (made.waveforms[~silent], made.powers.transpose(1, 2)[~silent]):
        assert abs(float(kept.mean()) - 1.5) < 0.01
        assert abs(float(kept.std()) - 0.3) < 0.01
    again = augment(views, **options, generator=torch.Generator().manual_seed(0))
    assert torch.equal(made.waveforms, again.waveforms) and torch.equal(made.powers, again.powers)


# (1) electrode attention


def weigh(signals: np.ndarray, attention: ElectrodeAttention) -> np.ndarray:
    """σ(L(ReLU(L(AP(E))))), AP the mean over time: a weight for each electrode."""
    return sigmoid(linear(relu(linear(signals.mean(axis=2), attention.gate[0])), attention.gate[2]))


def test_equation_1_weighs_each_electrode_of_each_trial() -> None:
    attention, views = scatter_weights(ElectrodeAttention(8, pool="mean")), draw_views(channels=8)
    weights = weigh(views.waveforms.numpy(), attention)
    assert np.ptp(weights, axis=0).min() > 1e-4  # they differ from trial to trial
    np.testing.assert_allclose(number(attention.weigh(views.waveforms)), weights)
    made = attention(views)
    np.testing.assert_allclose(number(made.waveforms), weights[:, :, None] * views.waveforms.numpy())
    np.testing.assert_allclose(number(made.powers), weights[:, None, :, None] * views.powers.numpy())


def test_mean_pooling_cannot_see_a_change_of_power_and_log_power_can() -> None:
    wave = torch.sin(torch.linspace(0, 2 * torch.pi, 101)[:-1]).expand(1, 62, 100)

    def peak(gate: ElectrodeAttention, signals: torch.Tensor) -> torch.Tensor:
        return gate(Views(signals, None)).waveforms.abs().max()

    gates = {pool: ElectrodeAttention(62, pool=pool) for pool in ("mean", "log_power")}
    with torch.no_grad():
        gain = {pool: peak(gate, 3 * wave) / peak(gate, wave) for pool, gate in gates.items()}
    assert float(gain["mean"]) == pytest.approx(3, abs=1e-4)
    assert abs(float(gain["log_power"]) - 3) > 1e-2


# (2) division into regions


def choose(views: Views) -> tuple[np.ndarray, np.ndarray]:
    """Waveforms and powers of the electrodes, region by region."""
    columns = [ELECTRODES.index(name) for region in REGIONS for name in region]
    assert views.powers is not None
    return views.waveforms.numpy()[:, columns], views.powers.numpy()[:, :, columns]


def split_regions(signals: np.ndarray, powers: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """What the extractors are given: the electrodes of each region, then both bands of them."""
    ends = np.cumsum(sizes)[:-1]
    of_bands = [np.concatenate([part[:, 0], part[:, 1]], axis=1) for part in np.split(powers, ends, axis=2)]
    return [*np.split(signals, ends, axis=1), *of_bands]


def make_encoder(**changes: Any) -> HybridRegionTemporalEncoder:
    options: dict[str, Any] = {
        "regions": ("frontal", "parietal", "central", "temporal", "occipital"), "attention_pool": "mean", "filters": 3,
        "bands": 2, "kernel": 5, "stride": 2, "width": 8, "queries": 3, "layers": 2, "heads": 2, "dropout": 0.4,
    }  # fmt: skip
    encoder = HybridRegionTemporalEncoder(ELECTRODES, 40, **{**options, **changes})
    return scatter_weights(encoder)


def test_equation_2_gives_each_extractor_its_own_region_s_weighted_electrodes() -> None:
    encoder, views = make_encoder(), draw_views()
    received: list[np.ndarray] = []
    for extractor in (*encoder.extractors.extractors, *encoder.extractors.power_extractors):
        extractor.register_forward_pre_hook(lambda module, given: received.append(number(given[0])))
    encoder(views)
    mine, powers = choose(views)
    weights = weigh(mine, encoder.attention)
    sizes = [len(region) for region in REGIONS]
    expected = split_regions(mine * weights[:, :, None], powers * weights[:, None, :, None], sizes)
    for got, wanted in zip(received, expected, strict=True):
        np.testing.assert_allclose(got, wanted)


def test_a_region_that_is_left_out_is_not_read() -> None:
    encoder, views = make_encoder(regions=("frontal", "occipital")), draw_views()
    assert views.powers is not None
    encoder(Views(views.waveforms.requires_grad_(), views.powers.requires_grad_())).square().sum().backward()
    assert views.waveforms.grad is not None and views.powers.grad is not None
    for amount in (views.waveforms.grad.abs().sum(dim=(0, 2)), views.powers.grad.abs().sum(dim=(0, 1, 3))):
        read = {name for name, one in zip(ELECTRODES, amount, strict=True) if one > 0}
        assert read == {*REGIONS[0], *REGIONS[4]}


# (3) extractors of the regions


def extract(signals: np.ndarray, powers: np.ndarray, extractors: RegionExtractors) -> np.ndarray:
    """L(‖ D(BN(GELU(Conv(E_i))))), D the identity outside of training: [n, step, width]."""
    given = split_regions(signals, powers, extractors.sizes)
    both = (*extractors.extractors, *extractors.power_extractors)
    parts = [batch_norm(gelu(convolve(part, conv)), norm) for (conv, _, norm, _), part in zip(both, given, strict=True)]
    return linear(np.concatenate(parts, axis=1).transpose(0, 2, 1), extractors.project)


def make_extractors(**changes: Any) -> RegionExtractors:
    options: dict[str, Any] = {"bands": 2, "filters": 4, "kernel": 5, "stride": 3, "width": 6, "dropout": 0.5}
    return scatter_weights(RegionExtractors((3, 2, 4), **{**options, **changes}))


def test_equation_3_is_convolution_gelu_batch_norm_then_one_linear_layer_over_all_regions() -> None:
    extractors, views = make_extractors(), draw_views(channels=9, steps=14)
    made = number(extractors(views))
    assert made.shape == (4, 14, 6)  # ⌈40 / 3⌉ steps
    np.testing.assert_allclose(made, extract(views.waveforms.numpy(), views.powers.numpy(), extractors))
    plain = make_extractors(bands=0)
    assert not plain.power_extractors and plain.project.in_features == 12  # as the paper has it


def test_in_training_equation_3_normalises_by_the_batch_and_drops_out() -> None:
    extractors, views = make_extractors(dropout=0.0).train(), draw_views(channels=9, steps=14)
    signals, powers = views.waveforms.numpy(), views.powers.numpy()
    both = (*extractors.extractors, *extractors.power_extractors)
    with torch.no_grad():
        made = number(extractors(views))
        given = split_regions(signals, powers, extractors.sizes)
        for (conv, _, norm, _), part in zip(both, given, strict=True):  # the statistics that training used, by hand
            seen = gelu(convolve(part, conv))
            norm.running_mean.copy_(torch.from_numpy(seen.mean(axis=(0, 2))))
            norm.running_var.copy_(torch.from_numpy(seen.var(axis=(0, 2))))
    np.testing.assert_allclose(made, extract(signals, powers, extractors))


def test_in_training_equation_3_drops_half_of_the_regions_features_and_doubles_the_others() -> None:
    extractors, views, seen = make_extractors(dropout=0.5).train(), draw_views(channels=9, steps=14), []
    extractors.project.register_forward_pre_hook(lambda module, given: seen.append(number(given[0])))
    extractors(views)
    for _, _, _, dropout in (*extractors.extractors, *extractors.power_extractors):
        dropout.p = 0.0
    extractors(views)
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
    encoder, views = make_encoder(), draw_views()
    mine, powers = choose(views)
    weights = weigh(mine, encoder.attention)
    spatial = extract(mine * weights[:, :, None], powers * weights[:, None, :, None], encoder.extractors)
    np.testing.assert_allclose(number(encoder(views)), perceive(spatial, encoder.temporal))
