"""CineSync against the painted world, direct computation, and the networks that ship."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asking import hide_answers
from painted import PaintedDecoder, PaintedSuite, record, share_right, share_right_shuffled

from baselines.cinesync import method as method_module
from baselines.cinesync.encoders import ChannelLayer, SampleStem, VolumeStem, VoxelLayer
from baselines.cinesync.method import CineSync, build_encoder
from baselines.cinesync.parameters import Parameters, read_parameters
from baselines.encoders.brain_tokens import rescale
from bench.core.errors import BenchError, UnknownRegion, UnknownSubject
from bench.core.spec import check_plain
from bench.core.variants import read_group, read_toml
from bench.pretrained.suite import load_suite
from bench.toolbox.sizes import count_paper_size

SMALL: dict[str, Any] = {
    "channels": 4, "windows": 2, "kernel": 3, "width": 16, "layers": 1, "heads": 2, "feedforward": 24,
    "dropout": 0.0, "lora_rank": 2, "lora_scale": 2, "align_epochs": 16, "batch_size": 32, "learning_rate": 5e-3,
    "joint_epochs": 0.15, "joint_batch_size": 8, "calibration_epochs": 32, "calibration_learning_rate": 1e-2,
    "use_validation": False,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {"fmri": {}, "eeg": {"voxels": (12, 12), "volumes": 40, "eeg": True, "signal": 1.0}}


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> PaintedSuite:
    monkeypatch.setattr(method_module, "WanDecoder", PaintedDecoder)
    return PaintedSuite()


def fit(suite: PaintedSuite, kind: str = "fmri", *, seed: int = 0, **changes: Any) -> CineSync:
    made = CineSync(suite=suite, seed=seed, **{**SMALL, **changes})
    made.fit(record(**KINDS[kind]), record(seed=1, **KINDS[kind]))
    return made


# Encoders


def test_eeg_is_cut_into_windows_that_are_stacked_as_channels() -> None:
    stem = SampleStem(channels=3, windows=2, kernel=1, width=6, tokens=4)
    torch.nn.init.eye_(stem.convolve.weight[:, :, 0])
    torch.nn.init.zeros_(stem.convolve.bias)
    signals = torch.randn(2, 3, 17, generator=torch.Generator().manual_seed(0))
    made = stem(signals)  # 17 samples: two windows of 8, one sample left over, pooled by two to four tokens
    expected = torch.cat([signals[:, :, :8], signals[:, :, 8:16]], dim=1)
    expected = expected.unflatten(2, (4, 2)).mean(dim=3).transpose(1, 2)  # and nothing behind the convolution
    torch.testing.assert_close(made, expected)


def test_a_subject_s_voxels_become_numbers_of_tokens_and_its_padding_is_never_read() -> None:
    layer = VoxelLayer(torch.tensor([0, 2, 3]), tokens=2, channels=3)
    signals = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0))
    assert not layer(signals).any()  # starts at nothing
    torch.nn.init.normal_(layer.regress.weight, generator=torch.Generator().manual_seed(1))
    direct = torch.einsum("nvt,ov->nto", signals[:, [0, 2, 3]], layer.regress.weight)  # o = (token, channel)
    expected = direct.reshape(4, 5, 2, 3).permute(0, 2, 1, 3).reshape(4, 2, 15)
    torch.testing.assert_close(layer(signals), expected)
    signals[:, [1, 4, 5]] = 100.0
    torch.testing.assert_close(layer(signals), expected)


def test_a_fresh_mixture_of_channels_mixes_nothing() -> None:
    signals = torch.randn(2, 5, 9)
    torch.testing.assert_close(ChannelLayer(5)(signals), signals)


# The whole method, on both kinds of recording


@pytest.mark.parametrize("kind", KINDS)
def test_planted_concepts_are_reconstructed_and_shuffled_ones_are_not(painted: PaintedSuite, kind: str) -> None:
    made, test = fit(painted, kind), record(seed=5, **KINDS[kind])
    assert isinstance(made.trained().stem, VolumeStem if kind == "fmri" else SampleStem)
    video = made.reconstruct(hide_answers(test))
    assert video.shape == (160, 4, 16, 16, 3) and video.dtype == np.uint8
    assert share_right(video, test) > 0.75 > 0.4 > share_right_shuffled(video, test)
    assert made.losses[-1] < 0.7 * made.losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_does_not_see_its_batch(painted: PaintedSuite, kind: str) -> None:
    made, test = fit(painted, kind, align_epochs=1), record(seed=5, **KINDS[kind])
    _, whole = made.read_brain(hide_answers(test), np.arange(160))
    _, alone = made.read_brain(hide_answers(test, slice(100, 101)), np.arange(1))
    torch.testing.assert_close(alone[0], whole[100], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_subject_is_decoded_after_adaptation_and_the_known_ones_as_before(
    painted: PaintedSuite, kind: str
) -> None:
    made, known = fit(painted, kind), hide_answers(record(seed=5, **KINDS[kind]), slice(0, 6))
    before, count = made.reconstruct(known), made.parameter_count
    newcomer = {**KINDS[kind], "voxels": (12,) if kind == "eeg" else (36,), "first_subject": 9}
    with pytest.raises(UnknownSubject, match="call adapt"):
        made.reconstruct(hide_answers(record(**newcomer)))
    made.adapt(record(**newcomer))
    first_layer = 12 * 12 if kind == "eeg" else (18 + 1) * 6 * 4  # mPFC's 18 voxels are not read
    assert made.parameter_count == count + first_layer
    test = record(seed=5, **newcomer)
    assert share_right(made.reconstruct(hide_answers(test)), test) > 0.6
    assert np.array_equal(made.reconstruct(known), before)


def test_the_same_seed_gives_the_same_method(painted: PaintedSuite) -> None:
    tokens = []
    for number, seed in enumerate((3, 3, 4)):
        torch.manual_seed(number)  # torch's own generator must not matter
        made = fit(painted, seed=seed, align_epochs=0.8, dropout=0.2)
        tokens.append(made.read_brain(hide_answers(record(seed=5)), np.arange(8))[1])
    assert torch.equal(tokens[0], tokens[1]) and not torch.equal(tokens[0], tokens[2])


def test_regions_are_chosen_by_name(painted: PaintedSuite) -> None:
    data = record()
    other = {"LOC": "Auditory", "mPFC": "hippocampus"}
    named = replace(data, rois={n: tuple(other.get(name, name) for name in rois) for n, rois in data.rois.items()})
    counts = {}
    for regions in ("visual", "visual_auditory", "visual_hippocampus"):
        made = CineSync(suite=painted, **{**SMALL, "align_epochs": 0.2, "joint_epochs": 0.05, "regions": regions})
        made.fit(named, named)
        layer = made.trained().subjects["1"]
        assert isinstance(layer, VoxelLayer)
        counts[regions] = len(layer.columns)
    assert counts == {"visual": 10, "visual_auditory": 20, "visual_hippocampus": 30}
    with pytest.raises(UnknownRegion, match="this data has LOC, V1, mPFC"):
        fit(painted, regions="visual_auditory")
    with pytest.raises(UnknownRegion, match="this is EEG"):
        fit(painted, "eeg", regions="visual_auditory")


def test_a_rescaled_loss_has_the_size_asked_for_and_the_direction_it_had() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    loss, size = x.square().sum(), torch.tensor(0.5, requires_grad=True)  # 5; gradient (2, 4)
    made = rescale(loss, size)
    made.backward()
    assert float(made.detach()) == pytest.approx(0.5) and size.grad is None
    torch.testing.assert_close(x.grad, torch.tensor([0.2, 0.4]))


def test_a_decoder_given_the_true_tokens_is_right(painted: PaintedSuite) -> None:
    test = record(seed=5)
    tokens = painted.encode_text([test.captions[clip] for clip in test.clip])
    assert share_right(PaintedDecoder(painted).generate(tokens, [0] * len(tokens)), test) == 1.0


def test_with_the_networks_that_ship() -> None:
    """Wan of the mini suite: a step of LoRA and two videos, the second by itself as in its batch."""
    suite, train = load_suite("mini"), record(clips=8)
    captions = tuple(f"a {name} moving {way}" for name in ("cat", "car") for way in ("left", "right", "up", "down"))
    train = replace(train, video=np.repeat(np.repeat(train.video, 4, axis=2), 4, axis=3), captions=captions)
    made = CineSync(
        suite=suite, **{**SMALL, "align_epochs": 0.4, "joint_epochs": 0.02, "joint_batch_size": 2, "steps": 1}
    )
    made.fit(train, train)
    asked = hide_answers(train, slice(0, 2))
    video = made.reconstruct(asked)
    assert video.shape == (2, 4, 64, 64, 3)
    alone = made.reconstruct(replace(asked, brain=asked.brain[1:], subject=asked.subject[1:], seed=asked.seed[1:]))
    assert np.abs(alone[0].astype(int) - video[1]).max() <= 1


# Parameters, variants, sizes


def variants() -> dict[str, dict[str, Any]]:
    path = Path(method_module.__file__).parent / "ablations.toml"
    groups = [read_group(path, name, table) for name, table in read_toml(path).items() if name != "profile"]
    return {variant: parameters for group in groups for variant, parameters in group.items()}


@pytest.mark.parametrize("name", [name for name in variants() if name not in ("cinesync_star", "with_hippocampus")])
@pytest.mark.parametrize("kind", KINDS)
def test_every_variant_trains_and_makes_videos(painted: PaintedSuite, kind: str, name: str) -> None:
    check_plain(variants()[name], name)
    made = fit(painted, kind, **{"align_epochs": 0.4, **variants()[name]})
    assert made.reconstruct(hide_answers(record(seed=5, **KINDS[kind]), slice(0, 2))).shape == (2, 4, 16, 16, 3)


def test_without_any_loss_of_the_first_stage_the_second_still_trains(painted: PaintedSuite) -> None:
    made = fit(painted, image_weight=0.0, text_weight=0.0, token_weight=0.0)
    assert made.losses == [] and len(made.joint_losses) == 3


def test_the_paper_s_size_is_counted_without_holding_a_weight() -> None:
    counts = count_paper_size("cinesync")
    # CineBrain f8b8ab2, sgm/modules/encoders: `CustomfMRITransformer(seq_len, num_layers=12)` less its `spatial_proj`
    assert counts["fMRI transformer"] == 613_235_052 - 1_899_756 == 615_617_318 - 4_282_022
    assert counts["first layer of 8,405 visual voxels"] == 8406 * 226 == 1_899_756
    assert counts["first layer of 18,946 voxels (CineSync*)"] == 4_282_022
    assert counts["EEG transformer"] == 611_980_416  # `CustomEEGTransformer(num_layers=12)`
    assert counts["layer to the text's width"] == (2048 + 1) * 4096
    assert counts["LoRA, rank 64"] == 42 * 4 * 2 * 64 * 3072
    assert counts["CogVideoX-5B, frozen"] == pytest.approx(5.57e9, rel=0.01)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"widht": 3}, "no parameter widht"),
        ({"heads": 3}, "3 heads do not divide a width of 128"),
        ({"regions": "all"}, "regions='all' is refused; allowed is one of visual, visual_auditory"),
        ({"precision": "bf16"}, "no parameter precision; --precision is an option of `run`; it has"),
        ({"kernel": 4}, "kernel 4 has no middle"),
    ],
)
def test_bad_parameters_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BenchError, match=said):
        read_parameters(given)


def test_windows_must_fit() -> None:
    with pytest.raises(BenchError, match="5 windows do not fit into 4 samples"):
        build_encoder(Parameters(), fmri=False, signals=(3, 4), tokens=2, embedding=3, text=3)


def test_what_is_not_fitted_says_so(painted: PaintedSuite) -> None:
    with pytest.raises(BenchError, match="call fit"):
        CineSync(suite=painted).reconstruct(hide_answers(record()))
