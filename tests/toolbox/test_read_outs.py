"""Read-outs against closed forms: white coordinates, least squares, and captions whose concept hides under filler."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.core.errors import BenchError
from bench.toolbox.read_outs import READ_OUTS, RIDGE, find_nearest, learn_captions, read_out

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
