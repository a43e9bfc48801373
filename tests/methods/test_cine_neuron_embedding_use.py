"""Whether f^e reaches CineNeuron's generator: what the analysis says where it does and where it does not, and that
training connects it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from asking import hide_answers
from cine_world import SMALL, FakeSuite, World

from bench.core.contracts import TrainingSet
from bench.core.errors import BenchError
from bench.pretrained.decoders import WanDecoder
from methods.cine_neuron import method as method_module
from methods.cine_neuron.analysis.embedding_use import (
    AGAINST,
    NONE,
    ORACLE,
    ORACLE_OTHER,
    OTHER,
    OWN,
    OracleTrained,
    choose_others,
    compare_ways,
    describe_clips,
    imagine,
    make_conditions,
    measure_fold,
    recognise,
)
from methods.cine_neuron.integration import Fusion
from methods.cine_neuron.method import CineNeuron

ONE = World(voxels=(30,))


def fit(suite: FakeSuite, kind: type[CineNeuron] = CineNeuron, **changes: Any) -> CineNeuron:
    method = kind(suite=suite, seed=0, **{**SMALL, "stage1_steps": 2, "true_text": 0.0, **changes})
    method.fit(ONE.record(), ONE.record(seed=1))
    return method


def see(method: CineNeuron, test: TrainingSet) -> torch.Tensor:
    with torch.no_grad():
        return imagine(method, describe_clips(method, test, method.suite), torch.from_numpy(test.clip))


def connect(method: CineNeuron, strength: float) -> None:
    fusion = method.trained().fusion
    assert isinstance(fusion, Fusion)
    with torch.no_grad():
        fusion.zero_fmri.weight.copy_(strength * torch.eye(len(fusion.zero_fmri.weight)))
        fusion.zero_fmri.bias.zero_()


def brightness(video: np.ndarray) -> np.ndarray:
    """Which quarter of the grey scale each frame is of: the concept, in the little world."""
    return np.eye(4)[video.mean(axis=(2, 3, 4)).astype(int) // 64]


@pytest.fixture(scope="module")
def barely() -> CineNeuron:
    return fit(FakeSuite(), joint_epochs=0.1)


@pytest.mark.parametrize(("strength", "reached"), [(20.0, True), (0.0, False)])
def test_another_f_e_changes_the_videos_if_and_only_if_it_reaches_the_generator(
    barely: CineNeuron, strength: float, reached: bool
) -> None:
    connect(barely, strength)
    test = ONE.record(seed=5)
    readers = {"frame": recognise(brightness, test)}
    use = measure_fold(barely, hide_answers(test), test, readers)
    assert use["way"].value_counts().to_dict() == dict.fromkeys(
        (OWN, OTHER, NONE, ORACLE, ORACLE_OTHER), len(test.clip)
    )
    for measure in ("loss", "error"):
        found = {way: part[measure].to_numpy() for way, part in use.groupby("way")}
        for way, base in AGAINST.items():
            assert np.array_equal(found[base], found[way]) is not reached
    table = compare_ways(use).set_index(["measure", "way"])
    assert bool((table["gain's error"].dropna() == 0).all()) is not reached


class Copyist(WanDecoder):
    """A generator that is right if the first token of its condition begins with the clip's two numbers."""

    def measure_loss(self, latents: torch.Tensor, condition: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return (condition[:, 0, :2] - latents[:, :2, 0, 0, 0]).square().mean()


def test_stage_2_learns_to_make_of_f_e_what_the_text_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two numbers of a clip are its concept's; a caption's tokens say nothing of them. For held-out trials the loss is
    far lower with their own f^e than with another concept's or with none, and the oracle's is no worse."""
    planted = torch.zeros(4, 16, 1, 1, 1)
    planted[:, :2, 0, 0, 0] = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    shown = np.tile(ONE.record().concepts, 2)  # of both sets that are trained on
    monkeypatch.setattr(method_module, "WanDecoder", Copyist)
    monkeypatch.setattr(method_module, "encode_clips", lambda suite, decoder, video: planted[torch.from_numpy(shown)])
    method = fit(FakeSuite(), joint_epochs=20.0, decoder_learning_rate=1e-2, lora_rank=0)
    test = ONE.record(seed=5)
    concept = test.concepts[test.clip]
    others = choose_others(concept)
    assert (concept[others] != concept).all()
    conditions = make_conditions(method, hide_answers(test), others, see(method, test))
    losses = {
        way: float(method.decoder.measure_loss(planted[torch.from_numpy(concept)], one, torch.Generator()))
        for way, one in conditions.items()
    }
    assert losses[OWN] < 0.5 * min(losses[OTHER], losses[NONE])
    assert losses[ORACLE] < 1.1 * losses[OWN]
    assert losses[ORACLE_OTHER] > losses[OTHER]


def test_the_oracle_knows_what_the_first_layer_is_solved_for(barely: CineNeuron) -> None:
    """Its f^e is the same for clips of a concept, which differ in nothing here, and nearest to the decoded one's."""
    test = ONE.record(seed=5)
    f_e = see(barely, test)
    same = test.concepts[test.clip][:, None] == test.concepts[test.clip]
    gaps = torch.cdist(f_e.flatten(1), f_e.flatten(1)).numpy()
    assert gaps[same].max() < 0.05 < gaps[~same].min()
    own = barely.read(hide_answers(test), np.arange(len(test.clip)))[1].detach()
    nearest = torch.cdist(own.flatten(1), f_e.flatten(1)).argmin(dim=1).numpy()
    assert (test.concepts[test.clip][nearest] == test.concepts[test.clip]).mean() > 0.8


def test_others_are_of_other_clips_and_each_is_taken_once() -> None:
    clip = np.repeat(np.arange(5), [3, 1, 2, 3, 1])
    others = choose_others(clip, seed=4)
    assert sorted(others) == list(range(10)) and (clip[others] != clip).all()
    with pytest.raises(BenchError, match="one clip has 6 of 10 trials"):
        choose_others(np.repeat([0, 1], [6, 4]))


def test_differences_are_paired_by_clip() -> None:
    """Two subjects, four clips: own is .1, .2, .3, .4 better than another's in SSIM, alike for both subjects."""
    gains = np.array([0.1, 0.2, 0.3, 0.4])
    rows = [
        {"way": way, "subject": subject, "clip": clip, "ssim": clip + subject + (gains[clip] if way == OWN else 0)}
        for way in (OWN, OTHER)
        for subject in (1, 2)
        for clip in range(4)
    ]
    row = compare_ways(pd.DataFrame(rows)).set_index("way").loc[OTHER]
    assert row["mean"] == pytest.approx(3.0) and row["gain"] == pytest.approx(0.25)
    assert row["gain's error"] == pytest.approx(gains.std(ddof=1) / 2)


def test_concepts_are_told_by_the_nearest_mean_of_training_clips() -> None:
    train = ONE.record()
    name = recognise(brightness, train)
    assert (name(train.video) == train.concepts).all()


def test_a_variant_that_fuses_nothing_is_refused(barely: CineNeuron) -> None:
    method = fit(FakeSuite(), condition="text", joint_epochs=0.1)
    test = ONE.record(seed=5)
    with pytest.raises(BenchError, match="fuses nothing"):
        make_conditions(method, hide_answers(test), np.arange(24), torch.zeros(24, 6, 32))


def test_trained_on_the_oracle_it_is_the_oracle_s_f_e_that_is_learned() -> None:
    method = fit(FakeSuite(), OracleTrained, joint_epochs=0.1)
    test = ONE.record()
    targets = describe_clips(method, test, method.suite)
    rows = np.array([3, 20, 5])
    with torch.no_grad():
        f_c, f_e = method.look(test, targets)(rows)
        plain = CineNeuron.look(method, test, targets)(rows)
    assert torch.equal(f_c, plain[0]) and not torch.allclose(f_e, plain[1], atol=0.1)
    assert torch.allclose(f_e, see(method, test)[torch.from_numpy(rows)], atol=1e-5)
