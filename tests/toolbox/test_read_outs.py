"""Read-outs against closed forms: white coordinates, least squares, and captions whose concept hides under filler."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.core.errors import BenchError
from bench.toolbox import rows
from bench.toolbox.encoded import CaptionTokens, encode_tokens
from bench.toolbox.read_outs import FLOOR, READ_OUTS, RIDGE, find_nearest, learn_captions, read_out

CLIPS, TOKENS, WIDTH, KINDS = 60, 5, 8, 4
CONCEPTS = torch.arange(CLIPS) % KINDS * 10 + 3  # labels need not be 0, 1, 2, …


def draw_tokens(filler: float = 6.0, seed: int = 0) -> torch.Tensor:
    """Captions: a direction for each concept, and another along which they differ far more for no reason."""
    rng = np.random.default_rng(seed)
    words = 0.2 * rng.standard_normal((CLIPS, WIDTH))
    words[:, :KINDS] += np.eye(KINDS)[np.arange(CLIPS) % KINDS]
    words[:, -1] += filler * rng.standard_normal(CLIPS)
    token, clip = rng.standard_normal((1, TOKENS, WIDTH)), rng.standard_normal((CLIPS, TOKENS, 1))
    return torch.from_numpy(words[:, None] + 0.3 * token + 0.1 * clip).float()


def test_coordinates_are_white_and_go_both_ways():
    tokens = draw_tokens()
    captions = learn_captions(tokens, CONCEPTS)
    made = captions.place(tokens)
    torch.testing.assert_close(made, captions.coordinates, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(made.T @ made / CLIPS, torch.eye(WIDTH), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(captions.place(captions.expand(made)), made, atol=1e-3, rtol=1e-3)
    assert learn_captions(tokens, CONCEPTS, rank=3).coordinates.shape == (CLIPS, 3)


def test_tokens_are_expanded_by_least_squares():
    tokens = draw_tokens()
    captions = learn_captions(tokens, CONCEPTS, rank=3)
    given = np.column_stack([np.ones(CLIPS), captions.coordinates.numpy()])
    slopes = np.linalg.lstsq(given, tokens.flatten(1).numpy(), rcond=None)[0]
    expected = (given @ slopes).reshape(CLIPS, TOKENS, WIDTH)
    np.testing.assert_allclose(captions.expand(captions.coordinates).numpy(), expected, atol=1e-4)


def test_an_aim_compares_as_coordinates_do():
    tokens = draw_tokens()
    captions = learn_captions(tokens, CONCEPTS)
    asked = torch.randn(7, WIDTH, generator=torch.Generator().manual_seed(1))
    likeness = captions.aim(asked) @ tokens.mean(dim=1).T
    expected = asked @ captions.coordinates.T
    torch.testing.assert_close(likeness - likeness[:, :1], expected - expected[:, :1], atol=1e-3, rtol=1e-3)


def test_each_caption_is_nearest_to_itself_and_to_its_own_concept():
    tokens = draw_tokens()
    captions = learn_captions(tokens, CONCEPTS)
    torch.testing.assert_close(read_out(tokens, captions, "regressed"), tokens)
    torch.testing.assert_close(read_out(tokens, captions, "nearest_caption"), tokens)
    means = torch.stack([tokens[one == CONCEPTS].mean(dim=0) for one in CONCEPTS])
    torch.testing.assert_close(read_out(means, captions, "nearest_concept"), means, atol=1e-5, rtol=1e-5)


def test_a_shrunken_reading_is_read_out_by_what_it_is_about():
    """A tenth of the concept, and filler beside it: plain cosines follow the filler, read-outs the concept."""
    tokens = draw_tokens()
    captions = learn_captions(tokens, CONCEPTS)
    means = torch.stack([tokens[one == CONCEPTS].mean(dim=0) for one in CONCEPTS.unique()])
    plain = torch.nn.functional.normalize((means - tokens.mean(dim=0)).mean(dim=1), dim=1)
    means[:, :, -1] = tokens[:, :, -1].mean(dim=0)  # without what filler the few clips of a concept happen to have
    kinds = torch.arange(KINDS)
    reading = tokens.mean(dim=0) + 0.1 * (means - tokens.mean(dim=0))
    reading[:, :, -1] += torch.tensor([0.6, -0.6, 0.6, -0.6])[:, None]
    chosen = read_out(reading, captions, "nearest_concept")
    for kind in kinds:
        torch.testing.assert_close(chosen[kind], tokens[kind * 10 + 3 == CONCEPTS].mean(dim=0), atol=1e-5, rtol=1e-5)
    shown = read_out(reading, captions, "nearest_caption")
    index = [int((tokens - one).abs().sum(dim=(1, 2)).argmin()) for one in shown]
    assert [place % KINDS for place in index] == kinds.tolist()
    assert ((reading - tokens.mean(dim=0)).mean(dim=1) @ plain.T).argmax(dim=1).tolist() != kinds.tolist()


def test_readings_do_not_depend_on_each_other():
    tokens = draw_tokens()
    captions = learn_captions(tokens, CONCEPTS)
    asked = draw_tokens(seed=5)[:9]
    for how in READ_OUTS:
        torch.testing.assert_close(read_out(asked, captions, how)[3:5], read_out(asked[3:5], captions, how))


def test_what_cannot_be_read_out_is_said():
    with pytest.raises(BenchError, match="alike"):
        learn_captions(torch.ones(5, TOKENS, WIDTH), torch.arange(5))
    with pytest.raises(BenchError, match="unknown read-out 'nearest'"):
        read_out(draw_tokens(), learn_captions(draw_tokens(), CONCEPTS), "nearest")  # type: ignore[arg-type]


def test_captions_of_clips_without_labels_are_concepts_of_their_own():
    unlabelled, asked = learn_captions(draw_tokens(), torch.full((CLIPS,), 7)), draw_tokens(seed=5)[:9]
    chosen = read_out(asked, unlabelled, "nearest_concept")
    torch.testing.assert_close(chosen, read_out(asked, unlabelled, "nearest_caption"))
    assert len(chosen.unique(dim=0)) > 4


@pytest.mark.parametrize("how", ["nearest_caption", "nearest_concept"])
def test_nearness_is_the_cosine_in_whitened_tokens(how):
    """Written out with the covariance of all tokens, as many directions as numbers."""
    tokens, asked = draw_tokens(filler=2.0), draw_tokens(filler=2.0, seed=5)[:20]
    centred, read = (one.double().flatten(1) - tokens.double().flatten(1).mean(dim=0) for one in (tokens, asked))
    covariance = centred.T @ centred / CLIPS
    ridge = RIDGE * torch.linalg.eigvalsh(covariance).mean()  # more clips than numbers: there are all directions
    whiten = torch.linalg.inv(torch.linalg.cholesky(covariance + ridge * torch.eye(TOKENS * WIDTH))).T
    rows = range(CLIPS) if how == "nearest_caption" else [one == CONCEPTS for one in CONCEPTS.unique()]
    candidates = torch.stack([centred[row].reshape(-1, TOKENS * WIDTH).mean(dim=0) for row in rows])
    likeness = (read @ whiten) @ torch.nn.functional.normalize(candidates @ whiten, dim=1).T
    found = find_nearest(asked, learn_captions(tokens, CONCEPTS), how)
    assert found.tolist() == likeness.argmax(dim=1).tolist() and len(found.unique()) > 3


class Largest(TorchDispatchMode):
    """The bytes of the largest tensor that is made while it is open; what only looks into `known` is not made."""

    def __init__(self, known: torch.Tensor) -> None:
        super().__init__()
        self.known, self.bytes = known.untyped_storage().data_ptr(), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, torch.Tensor) and one.untyped_storage().data_ptr() != self.known:
                self.bytes = max(self.bytes, one.untyped_storage().nbytes())
        return made


def encode_many(clips: int) -> tuple[CaptionTokens, torch.Tensor]:
    """Captions of 100 tokens of 48 numbers, padded to 160, which two clips in three share with another; in a file."""
    caption = torch.arange(clips) - (torch.arange(clips) % 3 == 2).long()
    caption = caption.unique(return_inverse=True)[1]
    rng = np.random.default_rng(0)
    said = rng.standard_normal((clips, 1, 48)) + 0.5 * rng.standard_normal((clips, 160, 48))
    said[:, 100:] = 0
    whole = torch.from_numpy(said.astype(np.float32))
    return encode_tokens(
        [str(one) for one in caption.unique().tolist()], lambda some: whole[[int(one) for one in some]]
    ), caption


@pytest.mark.parametrize("films", [False, True])
def test_nothing_grows_with_the_clips_and_all_is_as_if_computed_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, films: bool
) -> None:
    """By numbers of all clips' whole tokens, written out; with the read-outs made in parts of 64 kB of up to 3.7 MB."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    monkeypatch.setattr(rows, "HELD", 0)
    monkeypatch.setattr(rows, "PART", 2**16)
    for clips in (30, 120):
        encoded, caption = encode_many(clips)
        concepts = torch.zeros(clips).long() if films else caption % 5 * 2 - 3
        shown = encoded[caption].double()
        asked = (shown[:3] + 0.5 * torch.randn(3, 160, 48, generator=torch.Generator().manual_seed(1))).float()
        with Largest(encoded.used) as largest:
            captions = learn_captions(encoded, concepts, caption, rank=4)
            read = {how: read_out(asked, captions, how) for how in READ_OUTS}
        assert largest.bytes <= 2**17 and (clips < 120 or shown.numel() * 4 > 28 * largest.bytes)

        centred = (shown - shown.mean(dim=0)).flatten(1).numpy()
        own = range(clips) if films else [concepts == one for one in concepts.unique()]
        for how, candidates in (("nearest_caption", range(clips)), ("nearest_concept", own)):
            directions, lengths, _ = np.linalg.svd(centred.T, full_matrices=False)
            there = lengths > FLOOR * lengths[0]
            variances = lengths[there] ** 2 / clips
            white = directions[:, there] / np.sqrt(variances + RIDGE * variances.mean())
            means = np.stack([centred[one].reshape(-1, centred.shape[1]).mean(axis=0) for one in candidates]) @ white
            likeness = (asked.double() - shown.mean(dim=0)).flatten(1).numpy() @ white @ means.T
            best = (likeness / np.linalg.norm(means, axis=1)).argmax(axis=1)
            expected = torch.stack([shown[candidates[one]].reshape(-1, 160, 48).mean(dim=0) for one in best])
            torch.testing.assert_close(read[how], expected.float(), atol=1e-5, rtol=1e-5)
        words = centred.reshape(clips, 160, 48).mean(axis=1)
        u, lengths, _ = np.linalg.svd(words, full_matrices=False)
        made = captions.coordinates.double().numpy()
        np.testing.assert_allclose(abs(made.T @ u[:, :4]) / clips**0.5, np.eye(4), atol=1e-3)
        slopes = np.linalg.lstsq(made, centred, rcond=None)[0].reshape(4, 160, 48)
        told = captions.expand(torch.eye(4)) - captions.mean
        np.testing.assert_allclose(told.numpy(), slopes, atol=1e-4)
        places = captions.place_concepts()
        for number, one in enumerate(own):
            mean = shown[one].reshape(-1, 160, 48).mean(dim=0).float()
            torch.testing.assert_close(captions.place(mean[None])[0], places[number], atol=1e-3, rtol=1e-3)
