"""CineNeuron as a whole: planted truth, seeds, variants, the paper's size, and what its weights and memories say."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from asking import draw, hide_answers
from cine_world import SMALL, FakeSuite, World

from bench.core.contracts import TrainingSet
from bench.core.errors import BenchError, UnknownRegion, UnknownSubject
from bench.core.spec import check_plain
from bench.core.variants import read_group, read_toml
from bench.datasets.catalogue import open_dataset
from bench.pretrained.decoders import (
    list_lora,
)
from bench.toolbox import precision
from bench.toolbox.encoded import remember
from bench.toolbox.sizes import count_paper_size
from methods.cine_neuron import method as method_module
from methods.cine_neuron.analysis.interpretation import (
    correlate_tuning,
    interpret,
    measure_voxel_weights,
    plot_regions,
    tabulate_regions,
)
from methods.cine_neuron.analysis.retrieval_accuracy import EQUAL, LEARNED, compare_ways, find_memories
from methods.cine_neuron.memory import (
    retrieve,
)
from methods.cine_neuron.method import CineNeuron
from methods.cine_neuron.networks import build_networks, match_capacity
from methods.cine_neuron.parameters import Parameters, read_parameters
from methods.cine_neuron.voxels import read_signals


@pytest.fixture(scope="module")
def suite() -> FakeSuite:
    return FakeSuite()


def top_concepts(fitted: CineNeuron, test: TrainingSet) -> float:
    """Share of trials whose best memory is of the right concept; chance .25."""
    networks = fitted.trained()
    rows = np.arange(len(test.subject))
    signals = read_signals(test.brain, rows, test.subject, fitted.choices, rows)
    with torch.no_grad():
        f_c, f_e = networks.brain(signals, torch.from_numpy(test.subject))
        _, entries = retrieve(*networks.ask(f_c, f_e), fitted.memories.pool, k=1)
    return float((fitted.concepts[entries[:, 0].numpy()] == test.concepts[test.clip]).mean())


@pytest.fixture(scope="module")
def fitted(suite: FakeSuite) -> CineNeuron:
    made = CineNeuron(suite=suite, seed=0, **SMALL)
    made.fit(World().record(), World().record(seed=1))
    return made


# The whole method


def test_memories_of_the_right_concept_are_found_for_new_trials(fitted: CineNeuron) -> None:
    assert top_concepts(fitted, World().record(seed=5)) > 0.8


def test_a_new_subject_is_decoded_after_adaptation_and_the_known_ones_as_before(suite: FakeSuite) -> None:
    method = CineNeuron(suite=suite, seed=0, **SMALL)
    method.fit(World().record(), World().record(seed=1))
    known = hide_answers(World().record(seed=5), slice(0, 2))
    before = method.reconstruct(known)
    newcomers = World(voxels=(36,))
    with pytest.raises(UnknownSubject, match="call adapt"):
        method.reconstruct(hide_answers(newcomers.record(first_subject=9)))
    count = method.parameter_count
    method.adapt(newcomers.record(first_subject=9))
    assert method.parameter_count == count + (36 + 1) * 6 * 4
    assert top_concepts(method, newcomers.record(first_subject=9, seed=5)) > 0.6
    assert np.array_equal(method.reconstruct(known), before)


def test_from_fmri_to_video_in_one_call(fitted: CineNeuron) -> None:
    asked = hide_answers(World().record(seed=5), slice(22, 26))  # of both subjects
    video = fitted.reconstruct(asked)
    assert video.shape == (4, 4, 32, 32, 3) and video.dtype == np.uint8
    one = fitted.reconstruct(replace(asked, brain=asked.brain[2:3], subject=asked.subject[2:3], seed=asked.seed[2:3]))
    assert np.abs(one[0].astype(int) - video[2]).max() <= 1


def test_the_same_seed_gives_the_same_method(suite: FakeSuite) -> None:
    quick = {**SMALL, "stage1_steps": 3, "joint_epochs": 0.1}
    made: list[CineNeuron] = []
    for seed in (4, 4, 5):
        method = CineNeuron(suite=suite, seed=seed, **quick)
        torch.manual_seed(seed + len(made))  # torch's own generator must not matter
        method.fit(World().record(), World().record(seed=1))
        made.append(method)
    first, again, other = ([*one.trained().parameters(), *list_lora(one.decoder.network)] for one in made)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_in_training_no_trial_retrieves_its_own_clip(suite: FakeSuite, monkeypatch: pytest.MonkeyPatch) -> None:
    from methods.cine_neuron import networks

    seen = []
    real = networks.retrieve

    def spy(*given: Any, **options: Any) -> Any:
        scores, entries = real(*given, **options)
        seen.append((options["exclude"], entries))
        return scores, entries

    monkeypatch.setattr(networks, "retrieve", spy)
    method = CineNeuron(suite=suite, **{**SMALL, "stage1_steps": 2, "joint_epochs": 0.4})
    method.fit(World().record(), World().record(seed=1))
    assert seen and all(not (entries == own[:, None]).any() for own, entries in seen)


def variants() -> dict[str, dict[str, Any]]:
    from pathlib import Path

    path = Path(method_module.__file__).parent / "ablations.toml"
    groups = {name: read_group(path, name, table) for name, table in read_toml(path).items() if name != "profile"}
    return {variant: parameters for group in groups.values() for variant, parameters in group.items()}


def test_every_variant_can_be_built() -> None:
    made = variants()
    assert {"clip", "clip_cls", "clip_cls_action", "wo_hippocampus", "with_mpfc", "wo_integration"} <= made.keys()
    for name, parameters in made.items():
        check_plain(parameters, name)
        read_parameters(parameters)


@pytest.mark.parametrize(
    "name",
    ["clip", "clip_cls_action", "wo_integration", "equation_6", "text_only", "embedding_query", "as_printed", "bf16"],
)
def test_variants_train_and_make_videos(suite: FakeSuite, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "bf16":
        monkeypatch.setattr(precision, "_training", torch.bfloat16)
    quick = {**SMALL, "stage1_steps": 2, "joint_epochs": 0.2}
    parameters = {} if name == "bf16" else variants()[name]
    method = CineNeuron(suite=suite, **{**quick, **parameters})
    method.fit(World().record(), World().record(seed=1))
    assert method.reconstruct(hide_answers(World().record(seed=5), slice(0, 1))).shape == (1, 4, 32, 32, 3)
    assert all(math.isfinite(loss) for loss in method.stage1_losses + method.stage2_losses)


@pytest.mark.parametrize(
    "name", ["clip_matched", "clip_cls_action_matched", "wo_integration_matched", "text_only_matched"]
)
def test_matched_variants_have_the_base_s_parameters(name: str) -> None:
    widths: dict[str, Any] = {"volumes": 1, "voxels": {1: np.arange(900)}, "embedding": 64, "action": 48, "text": 64}
    base = build_networks(Parameters(), categories=5, **widths).parameter_count
    matched = build_networks(read_parameters(variants()[name]), categories=5, **widths).parameter_count
    assert abs(matched - base) < 0.002 * base
    plain = {**variants()[name], "match_base": False}
    assert build_networks(read_parameters(plain), categories=5, **widths).parameter_count < base
    assert match_capacity(Parameters(), **widths).feedforward == Parameters().feedforward


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"widht": 3}, "no parameter widht"),
        ({"decoder": "sora"}, "decoder='sora' is refused; allowed is one of wan, animatediff"),
        ({"action_weight": 0.0}, "leaves the action head untrained"),
        ({"heads": 3}, "3 heads do not divide a width of 128"),
        ({"precision": "bf16"}, "no parameter precision; --precision is an option of `run`; it has"),
    ],
)
def test_bad_parameters_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BenchError, match=said):
        read_parameters(given)


def test_what_is_not_fitted_says_so(suite: FakeSuite) -> None:
    with pytest.raises(BenchError, match="call fit"):
        CineNeuron(suite=suite).reconstruct(hide_answers(World().record()))


def test_a_variant_of_a_region_that_the_data_lacks_is_refused(suite: FakeSuite) -> None:
    method = CineNeuron(suite=suite, **SMALL, **variants()["with_mpfc"])
    with pytest.raises(UnknownRegion, match="auditory"):
        method.fit(World().record(), World().record(seed=1))


# The paper's size, and what the voxels say


def test_the_paper_s_size_is_counted_without_holding_a_weight() -> None:
    counts = count_paper_size("cine_neuron", voxels=8405, volumes=5)
    width, layers = 2048, 24
    one = 12 * width**2 + 13 * width  # attention, feed-forward of four widths, two norms, all biases
    around = 40 * width + width + 512 * width + width + 2 * width + width * 768 + 768  # lift … projection
    around += 512 * 8 * 5 * 768 + 1  # the solved layer's read-out, and the gain
    assert counts["Brain Model, transformer"] == layers * one + around
    assert counts["Brain Model, input layer of 8,405 voxels"] == 8406 * 4096
    assert counts["LoRA, rank 16"] == 30 * 2 * 4 * 2 * 16 * 1536
    assert counts["Wan 2.1, frozen"] == pytest.approx(1.42e9, rel=0.01)


def test_training_reads_the_region_that_knows(fitted: CineNeuron) -> None:
    regions = {number: choice.regions for number, choice in fitted.choices.items()}
    table = tabulate_regions(measure_voxel_weights(fitted.trained().brain), regions)
    ratio = table.set_index(["subject", "region"])["ratio"]
    assert all(ratio[number, "V1"] > ratio[number, "hippocampus"] for number in (1, 2))


def test_a_suite_remembers_the_clips_it_encoded_last(suite: FakeSuite) -> None:
    asked = []

    def encode(clips: np.ndarray) -> torch.Tensor:
        asked.append(len(clips))
        return torch.from_numpy(clips.astype(np.float32))

    one, other = np.zeros((40, 2), np.uint8), np.ones((40, 2), np.uint8)
    first = remember(suite, "sums", one, encode)
    assert remember(suite, "sums", one.copy(), encode) is first
    assert remember(suite, "sums", other, encode).mean() == 1
    remember(FakeSuite(), "sums", one, encode)
    assert asked == [32, 8] * 3


def test_weights_are_correlated_with_the_true_tuning() -> None:
    tuning = {1: np.array([0.1, 0.5, 0.2, 0.9]), 2: np.array([3.0, 2.0, 1.0])}
    weights = {1: tuning[1] ** 2, 2: -tuning[2]}
    assert correlate_tuning(weights, tuning) == {1: pytest.approx(1), 2: pytest.approx(-1)}


def test_interpretation_reads_every_region_of_a_phantom(tmp_path) -> None:
    class AnyCaption(FakeSuite):
        def embed_texts(self, captions: list[str]) -> torch.Tensor:
            return torch.stack([draw(24, seed=sum(caption.encode())) for caption in captions])

    dataset = open_dataset("phantom_fmri:tiny")
    tables, tuned = interpret(dataset, AnyCaption(), **{**SMALL, "stage1_steps": 2})
    regions = set(dataset.rois[1])
    for table in tables.values():
        assert set(table["region"]) == regions
        assert table.groupby("subject")["weight_share"].sum().tolist() == pytest.approx([1.0] * 3)
    assert len(tuned) == 2 * 3 * 4
    assert tuned["correlation"].abs().max() <= 1
    plot_regions(tables, tmp_path / "regions.png")
    assert (tmp_path / "regions.png").stat().st_size > 5_000


# Accuracy of retrieval


def test_the_comparison_of_ways_to_retrieve_is_paired_by_clip() -> None:
    """Two subjects, 40 clips: text finds the object in 10 clips, the mixture in these and 10 more."""
    rows = [
        {"way": way, "subject": subject, "clip": clip, "first": clip < found, "any": True, "as_mixture": True}
        for way, found in ((LEARNED, 20), ("text alone", 10), ("image alone", 20))
        for subject in (1, 2)
        for clip in range(40)
    ]
    table = compare_ways(pd.DataFrame(rows)).set_index("way")
    assert table["first"].to_dict() == {LEARNED: 0.5, "text alone": 0.25, "image alone": 0.5}
    assert table.loc["text alone", "gain"] == 0.25
    gains = np.repeat([0.0, 1.0, 0.0], [10, 10, 20])  # of a clip, by hand
    reach = scipy.stats.t.ppf(0.975, 39) * gains.std(ddof=1) / np.sqrt(40)
    assert table.loc["text alone", "low"] == pytest.approx(0.25 - reach)
    assert table.loc["text alone", "p"] == pytest.approx(2 / 2**10, abs=0.003)  # all ten differences of one sign
    assert np.isnan(table.loc["image alone", "gain"])  # no clip differs


def test_each_way_of_retrieving_is_measured_on_the_same_networks(fitted: CineNeuron) -> None:
    test = World().record(seed=5)
    found = find_memories(fitted, hide_answers(test), k=3)
    assert set(found) == {LEARNED, EQUAL, "text alone", "image alone", "action alone"}
    right = {way: (fitted.concepts[entries[:, 0]] == test.concepts[test.clip]).mean() for way, entries in found.items()}
    assert right[LEARNED] == top_concepts(fitted, test)
    assert min(right["text alone"], right["image alone"]) > 0.5  # chance .25
