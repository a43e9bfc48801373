"""SAM-Net as a whole: planted truth, seeds, new subjects and variants."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from asking import hide_answers
from sam_world import CAP, FakeSuite, World

from bench.core.contracts import TrainingSet
from bench.core.errors import BenchError
from bench.core.variants import load_variants
from methods.sam_net.method import SamNet, build_decoder
from methods.sam_net.parameters import REGIONS, Parameters

SMALL: dict[str, Any] = {
    "epochs": 40.0, "width": 24, "queries": 4, "layers": 1, "filters": 6, "adversary_width": 16,
    "concept_rank": 3, "text_rank": 8, "latent_rank": 8,
}  # fmt: skip


def fitted(world: World, **parameters: Any) -> SamNet:
    method = SamNet(suite=FakeSuite(), seed=0, **{**SMALL, **parameters})
    method.fit(world.record(), world.record(first_clip=50))
    return method


def fitted_to(train: TrainingSet, world: World) -> SamNet:
    loud = np.where(world.record(first_clip=50).subject == 2, 5.0, 1.0)[:, None, None].astype(np.float32)
    validation = world.record(first_clip=50)
    method = SamNet(suite=FakeSuite(), seed=0, **{**SMALL, "epochs": 0.1})
    method.fit(train, replace(validation, brain=validation.brain * loud))
    return method


def concept_accuracy(method: SamNet, test: TrainingSet) -> float:
    """Share of trials whose E is nearest to that of the right concept."""
    embeddings, _ = method.decode(hide_answers(test))
    known = FakeSuite().encode_text(list("abcd"))
    distance = torch.cdist(embeddings.flatten(1), known.flatten(1))
    return float(np.mean(distance.argmin(dim=1).numpy() == test.concepts[test.clip]))


# ---- variants


def base_geometry() -> SimpleNamespace:
    return SimpleNamespace(frames=6, latent_channels=8, latent_height=8, latent_width=8, tokens=77, text_width=48)


def count_parameters(changes: dict[str, Any]) -> int:
    with torch.device("meta"):
        return build_decoder(Parameters(**changes), CAP, 100, 50.0, base_geometry()).parameter_count


def test_every_variant_is_a_known_change_and_matched_ones_have_the_size_of_the_base() -> None:
    groups = load_variants("sam_net")
    assert {"hrt", "csa", "new2source", "conditions"} <= set(groups)
    base = count_parameters({})
    smaller = [name for name, changes in groups["hrt"].items() if changes and not name.endswith("_matched")]
    assert sorted(smaller) == sorted(["wo_hrt", *(f"wo_{region}" for region in REGIONS)])
    for name in smaller:
        assert count_parameters(groups["hrt"][name]) < base
        assert count_parameters(groups["hrt"][f"{name}_matched"]) == pytest.approx(base, rel=0.01)
    for group in groups.values():
        for changes in group.values():
            SamNet(suite=FakeSuite(), **changes)


# ---- the method


@pytest.fixture(scope="module")
def world() -> World:
    return World(subjects=(1, 2, 5))


@pytest.fixture(scope="module")
def method(world: World) -> SamNet:
    return fitted(world)


def test_it_learns_a_planted_response_and_nothing_from_shuffled_brains(world: World, method: SamNet) -> None:
    test = world.record(first_clip=100)
    assert concept_accuracy(method, test) > 0.8
    shuffled = replace(test, brain=test.brain[np.random.default_rng(0).permutation(len(test.brain))])
    assert concept_accuracy(method, shuffled) < 0.4


def test_what_it_embeds_is_e_whitened_over_the_captions(world: World, method: SamNet) -> None:
    asked = hide_answers(world.record(first_clip=100))
    parts = [world.record(), world.record(first_clip=50)]
    words = torch.cat([FakeSuite().encode_text(list(part.captions)) for part in parts]).mean(dim=1).double()
    read = method.trained().text.expand(method.regress(asked)[0]).mean(dim=1).double()
    covariance = torch.cov(words.T, correction=0)
    whitened = (read - words.mean(dim=0)) @ torch.linalg.pinv(covariance, rtol=1e-9, hermitian=True)
    np.testing.assert_allclose(method.embed(asked), whitened, rtol=1e-3, atol=1e-3 * whitened.abs().max())


def test_its_videos_show_the_right_brightness(world: World, method: SamNet) -> None:
    test = world.record(first_clip=100)
    video = method.reconstruct(hide_answers(test))
    assert video.dtype == np.uint8
    assert video.shape == (len(test.subject), 2, 16, 16, 3)
    truth = test.video[test.clip].mean(axis=(1, 2, 3, 4))
    assert np.corrcoef(video.mean(axis=(1, 2, 3, 4)), truth)[0, 1] > 0.7


def test_the_same_seed_gives_the_same_video_and_a_trial_depends_on_itself_alone(world: World, method: SamNet) -> None:
    asked = hide_answers(world.record(first_clip=100))
    again = fitted(world)
    assert np.array_equal(method.reconstruct(asked), again.reconstruct(asked))
    rows = np.arange(7, 30)
    few = replace(asked, brain=asked.brain[rows], subject=asked.subject[rows], seed=asked.seed[rows])
    difference = method.decode(few)[0] - method.decode(asked)[0][rows]
    assert difference.abs().max() < 1e-4
    other = SamNet(suite=FakeSuite(), seed=1, **SMALL)
    other.fit(world.record(), world.record(first_clip=50))
    assert not np.array_equal(method.reconstruct(asked), other.reconstruct(asked))


def test_fitting_leaves_torchs_own_generator_alone() -> None:
    state = torch.random.get_rng_state()
    fitted(World(subjects=(1,), clips=8), epochs=1.0)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_new_subject_is_mapped_by_its_calibration_trials(world: World) -> None:
    strange = World(subjects=(1, 2, 5), noise=1.0)
    results = {}
    for adaptation in ("none", "new2source", "recolour"):
        method = fitted(strange, adaptation=adaptation)
        before = method.parameter_count
        calibration = strange.record(subjects=(9,))
        rows = np.arange(0, 40, 3)
        method.adapt(replace(calibration, brain=calibration.brain[rows], subject=calibration.subject[rows],
                             clip=calibration.clip[rows]))  # fmt: skip
        results[adaptation] = method.decode(hide_answers(strange.record(first_clip=100, subjects=(9,))))[1]
        assert method.parameter_count - before == (0 if adaptation == "none" else 4 * 62 * 62)  # waveforms, three bands
    assert not torch.equal(results["none"], results["new2source"])
    assert not torch.equal(results["none"], results["recolour"])


def test_each_subject_s_powers_are_brought_to_its_own_level(world: World, method: SamNet) -> None:
    """A subject that is louder by a constant gain in all it was recorded with is seen alike in its powers."""
    recorded = world.record()
    seen = method.viewer.see(method.prepare(recorded.brain, recorded.sampling_rate), recorded.subject)
    for number in np.unique(recorded.subject):
        own = seen.powers[recorded.subject == number]
        assert own.shape[1] == 3
        assert own.mean(dim=(0, 3)).abs().max() < 0.5  # the validation trials had a part in the level
    loud = recorded.brain * np.where(recorded.subject == 2, 5.0, 1.0)[:, None, None].astype(np.float32)
    again = fitted_to(replace(recorded, brain=loud), world)
    louder = again.viewer.see(again.prepare(loud, recorded.sampling_rate), recorded.subject)
    rows = recorded.subject == 2
    powers, waveforms = (
        (one[rows] - other[rows]).abs().mean()
        for one, other in ((louder.powers, seen.powers), (louder.waveforms, seen.waveforms))
    )
    assert powers < 0.5 < waveforms


def test_an_unknown_parameter_and_an_unfitted_method_are_refused(world: World) -> None:
    with pytest.raises(BenchError, match="lamda"):
        SamNet(suite=FakeSuite(), lamda=1.0)
    with pytest.raises(BenchError, match="fit"):
        SamNet(suite=FakeSuite()).reconstruct(hide_answers(world.record()))


def test_no_fit_reads_the_parameters_that_only_draw() -> None:
    """Cells share weights over `drawn_by`: rows G to I of Table 3 are drawn by one fit."""
    world, heard = World(subjects=(1, 2, 5)), set()

    class Heard(Parameters):
        def __getattribute__(self, name: str) -> Any:
            heard.add(name)
            return super().__getattribute__(name)

    method = SamNet(suite=FakeSuite(), seed=0, **{**SMALL, "epochs": 0.1})
    method.parameters = Heard(**vars(method.parameters))
    heard.clear()
    method.fit(world.record(), world.record(first_clip=50))
    assert {"epochs", "width", "sphering", "use_validation"} <= heard
    assert heard.isdisjoint(SamNet.drawn_by), heard & set(SamNet.drawn_by)
    assert set(SamNet.drawn_by) <= set(vars(Parameters()))
