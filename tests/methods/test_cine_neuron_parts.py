"""CineNeuron's parts besides its numbered equations: categories, Brain Model, voxels, memories, what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from asking import draw
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from bench.core.errors import BenchError, UnknownRegion, UnknownSubject
from bench.toolbox.encoded import encode_tokens
from bench.toolbox.voxels import NoVoxels
from methods.cine_neuron.alignment import FrameProjection, ViClip
from methods.cine_neuron.analysis.interpretation import measure_voxel_weights, tabulate_regions
from methods.cine_neuron.brain_model import BrainModel
from methods.cine_neuron.categories import answer_by, ask, find_categories, merge_categories
from methods.cine_neuron.integration import Fusion, measure_scale
from methods.cine_neuron.memory import (
    MemoryPool,
    make_pool,
    measure_retrieval,
    retrieve,
    retrieve_singly,
    score_entries,
)
from methods.cine_neuron.networks import Memories
from methods.cine_neuron.voxels import choose_inputs, read_signals

# Frames, actions and categories


def test_the_projection_over_frames_starts_at_their_mean() -> None:
    frames = draw(3, 5, 8)
    assert torch.equal(FrameProjection(8)(frames), frames.mean(dim=1))


def test_viclip_sees_eight_frames_normalised_as_imagenet_is() -> None:
    class Network(torch.nn.Module):
        def encode_vision(self, frames: torch.Tensor, test: bool) -> torch.Tensor:
            assert frames.shape == (2, 8, 3, 224, 224) and test
            return frames.mean(dim=(1, 3, 4))

    grey = np.full((2, 5, 40, 60, 3), 102, np.uint8)  # 0.4
    expected = (0.4 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(ViClip(Network())(grey)[0], functional.normalize(expected, dim=0))


@pytest.mark.parametrize(
    ("caption", "found"),
    [
        ("Two Dogs chase a kitten", {"dog", "cat"}),
        ("a hot dog on a dining table", {"hot dog", "dining table"}),
        ("a jellyfish beside wine glasses", {"jellyfish", "wine glass"}),
        ("a man scatters caramel in a category", {"person"}),
        ("", set()),
    ],
)
def test_words_find_categories(caption: str, found: set[str]) -> None:
    assert find_categories(caption) == found


def test_every_concept_of_the_drawn_clips_has_a_category() -> None:
    from bench.datasets.seed_dv.concepts import CONCEPTS

    assert all(find_categories(f"a big bright {name} moving right in a room") == {name} for name in CONCEPTS)


def test_a_language_model_s_answer_is_read_and_its_inventions_are_dropped() -> None:
    answers = {"a dog": "Dog, frisbee, unicorn.", "sky": "none"}
    found = ask(lambda text: next(value for key, value in answers.items() if f'"{key}"' in text), ["a dog", "sky"])
    assert found == [{"dog", "frisbee"}, frozenset()]


def test_a_chat_model_is_asked_in_its_own_template() -> None:
    class Tokenizer:
        def apply_chat_template(self, chat: Any, **options: Any) -> dict[str, torch.Tensor]:
            self.asked = chat[0]["content"]
            return {"input_ids": torch.tensor([[1, 2, 3]])}

        def decode(self, tokens: torch.Tensor, **options: Any) -> str:
            return {7: "dog"}[int(tokens[0])]

    tokenizer = Tokenizer()
    model = SimpleNamespace(device="cpu", generate=lambda input_ids, **options: torch.tensor([[1, 2, 3, 7]]))
    assert ask(answer_by(model, tokenizer), ["a puppy"]) == [{"dog"}]
    assert '"a puppy"' in tokenizer.asked and "traffic light" in tokenizer.asked


def test_rare_categories_merge_into_their_superclass_and_rarer_ones_are_dropped() -> None:
    found = [frozenset(x) for x in (["cat"], ["cat"], ["dog"], ["horse"], ["vase"], ["cat", "dog"], [])]
    classes = merge_categories(found, least=3)
    assert classes.names == ("animal", "cat")  # dog (2) and horse (1) make three clips of animals; one vase is dropped
    expected = torch.tensor([[0, 1], [0, 1], [1, 0], [1, 0], [0, 0], [1, 1], [0, 0]]).float()
    assert torch.equal(classes.label(found), expected)
    with pytest.raises(BenchError, match="category_weight=0"):
        merge_categories([frozenset(["cat"])] * 3, least=2)  # all clips show it: nothing to tell apart


# Brain Model


def make_brain(**changes: Any) -> BrainModel:
    options = {
        "volumes": 2,
        "tokens": 5,
        "channels": 3,
        "width": 16,
        "layers": 2,
        "heads": 2,
        "feedforward": 24,
        "dropout": 0.0,
    }
    return BrainModel(embedding=7, **{**options, **changes})


def test_subjects_share_all_but_their_input_layer_and_padding_is_never_read() -> None:
    brain = make_brain()
    shared = sum(one.numel() for one in brain.parameters())
    for number, voxels in ((1, 10), (4, 13)):
        torch.nn.init.normal_(brain.add_subject(number, torch.arange(voxels)).regress.weight)
    assert sum(one.numel() for one in brain.parameters()) == shared + (10 + 1 + 13 + 1) * 15
    signals, subject = draw(4, 13, 2), torch.tensor([4, 1, 1, 4])
    f_c, f_e = brain(signals, subject)
    assert f_c.shape == (4, 7) and f_e.shape == (4, 5, 16)
    changed = signals.clone()
    changed[1:3, 10:] = 100.0  # behind subject 1's voxels
    torch.testing.assert_close(brain(changed, subject)[0], f_c)
    torch.testing.assert_close(brain(signals[2:3], subject[2:3])[1], f_e[2:3])  # a trial does not see its batch
    with pytest.raises(UnknownSubject, match="subject 2 has no layer; there are 1, 4"):
        brain(signals, torch.tensor([1, 2, 4, 4]))


def regions_of(rois: dict[int, tuple[str, ...]], *, subjects: tuple[int, ...] = (), width: int = 4) -> Any:
    """As much of a training set as the choice of voxels looks at."""
    return SimpleNamespace(rois=rois, subject=np.array(subjects or tuple(rois)), brain=np.empty((1, width, 1)))


def test_regions_are_chosen_by_name_and_noise_takes_their_place() -> None:
    rois = {1: ("V1", "V1", "Auditory", "Hippocampus"), 2: ("V1", "mPFC", "hippocampus")}
    base = choose_inputs(regions_of(rois), leave_out=("auditory", "mpfc"))
    assert base[1].columns.tolist() == [0, 1, 3] and base[2].columns.tolist() == [0, 2]
    noisy = choose_inputs(regions_of(rois), leave_out=("auditory",), noise_rois=("hippocampus",))[1]
    brain = np.ones((2, 4, 3), np.float32)
    read = read_signals(brain, np.array([0, 1]), np.array([1, 1]), {1: noisy}, np.array([5, 6]))
    assert torch.equal(read[:, :3], torch.ones(2, 3, 3)) and (brain == 1).all()
    expected = np.random.default_rng(6).standard_normal((1, 3)).astype(np.float32)
    assert np.array_equal(read[1, 3:].numpy(), expected)
    with pytest.raises(UnknownRegion, match=r"region hippo is not in this data, which has Auditory, V1"):
        choose_inputs(regions_of(rois), leave_out=("hippo",), named=True)
    with pytest.raises(NoVoxels, match="subject 1 has no voxel outside v1"):
        choose_inputs(regions_of({1: ("V1",)}), leave_out=("v1",))
    assert choose_inputs(regions_of({}, subjects=(3,), width=6), leave_out=("auditory",))[3].columns.tolist() == list(
        range(6)
    )


def test_voxel_weights_are_tabled_by_region() -> None:
    brain = make_brain()
    layer = brain.add_subject(3, torch.arange(6))
    with torch.no_grad():
        layer.regress.weight[:] = torch.tensor([1.0, -1.0, 3.0, 2.0, 2.0, -2.0])
    table = tabulate_regions(measure_voxel_weights(brain), {3: ("V1", "V1", "MT", "LOC", "LOC", "LOC")})
    assert table["region"].tolist() == ["V1", "MT", "LOC"]
    assert table["weight"].tolist() == pytest.approx([0.0, 1.0, 0.5])
    assert table["weight_share"].tolist() == pytest.approx([2 / 11, 3 / 11, 6 / 11])
    assert table["ratio"].tolist() == pytest.approx([6 / 11, 18 / 11, 12 / 11])


# Retrieval


def make_queries(trials: int, seed: int = 3) -> dict[str, torch.Tensor]:
    return {"text": draw(trials, 6, seed=seed), "image": draw(trials, 6, seed=seed + 1), "action": draw(trials, 4)}


def make_entries(entries: int, seed: int = 9) -> MemoryPool:
    widths = {"text": 6, "image": 6, "action": 4}
    return make_pool({name: draw(entries, width, seed=seed + i) for i, (name, width) in enumerate(widths.items())})


@given(entries=st.integers(1, 40), k=st.integers(1, 40), seed=st.integers(0, 1000))
def test_batched_retrieval_equals_equation_5_entry_by_entry(entries: int, k: int, seed: int) -> None:
    k, pool, queries = min(k, entries), make_entries(entries, seed), make_queries(3, seed)
    weights = draw(3, 3, seed=seed).softmax(dim=1)
    scores, found = retrieve(queries, weights, pool, k=k)
    assert torch.equal(found, retrieve_singly(queries, weights, pool, k=k))
    assert (scores[:, :-1] >= scores[:, 1:]).all()  # best first
    assert scores.abs().max() <= 1 + 1e-5


def test_retrieval_in_chunks_is_the_same_and_leaves_the_own_entry_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, queries = make_entries(50), make_queries(20)
    weights = draw(20, 3).softmax(dim=1)
    _, whole = retrieve(queries, weights, pool, k=5)
    monkeypatch.setattr("methods.cine_neuron.memory.SCORES", 150)  # three trials at once
    assert torch.equal(retrieve(queries, weights, pool, k=5)[1], whole)
    _, without = retrieve(queries, weights, pool, k=4, exclude=whole[:, 0])
    assert torch.equal(without, whole[:, 1:])


def test_one_modality_s_score_is_its_cosine_and_a_weight_of_1_ignores_the_others() -> None:
    pool, queries = make_entries(8), make_queries(2)
    cosine = functional.cosine_similarity(queries["image"][:, None], pool.embeddings["image"][None], dim=2)
    torch.testing.assert_close(score_entries({"image": queries["image"]}, torch.ones(2, 1), pool), cosine)
    torch.testing.assert_close(score_entries(queries, torch.tensor([[0.0, 1.0, 0.0]] * 2), pool), cosine)


def test_what_cannot_be_retrieved_is_refused() -> None:
    pool, weights = make_entries(3), torch.ones(2, 3) / 3
    with pytest.raises(BenchError, match=r"k=3 memories are asked for, 1 to 2 can be had"):
        retrieve(make_queries(2), weights, pool, k=3, exclude=torch.tensor([0, 1]))
    with pytest.raises(BenchError, match="the pool has no action"):
        retrieve(make_queries(2), weights, make_pool({"text": draw(3, 6), "image": draw(3, 6)}), k=1)
    with pytest.raises(BenchError, match="same number of entries"):
        make_pool({"text": draw(3, 6), "image": draw(2, 6)})


def test_the_benchmark_of_retrieval_tells_both_times_and_their_ratio() -> None:
    took = measure_retrieval(entries=3_000, width=8, trials=4)
    assert took["ratio"] == took["singly"] / took["batched"]
    assert took["held"] == 12_000  # scores of all trials and memories: they fit at once


def test_memories_keep_texts_without_their_padding() -> None:
    texts = draw(2, 9, 4)
    texts[0, 3:] = 0
    texts[1, 5:] = 0
    memories = Memories(make_entries(3), encode_tokens(["a", "b"], lambda captions: texts), torch.tensor([1, 0, 1]))
    assert memories.texts.shape == (2, 9, 4) and memories.texts.used.shape == (2, 5, 4)
    assert torch.equal(memories.read_texts(torch.tensor([2, 1, 0])), texts[[1, 0, 1]])


# Integration


def make_fusion(**changes: Any) -> Fusion:
    options = {"width": 16, "image": 6, "action": 4, "text": 10, "heads": 2, "alpha": 0.7, "residual": True}
    return Fusion(**{**options, **changes})


def integrate(fusion: Fusion, tokens: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    text = draw(3, 8, 10, seed=4)
    return fusion(draw(3, tokens, 16), draw(3, 2, 6, seed=1), draw(3, 2, 4, seed=2), text), text


def test_the_norm_starts_at_the_scale_of_the_text_and_too_many_tokens_are_refused() -> None:
    text = 3 * torch.ones(2, 6, 10)
    text[:, 4:] = 0
    assert measure_scale(text) == pytest.approx(3.0)
    with pytest.raises(BenchError, match="9 fMRI tokens do not fit a text of 8 tokens"):
        integrate(make_fusion(), tokens=9)
