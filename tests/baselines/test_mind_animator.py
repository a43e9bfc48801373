"""Mind-Animator against closed forms and planted truth, on a little world and the mini suite."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from asking import draw, hide_answers
from drawn import CAPTIONS, World, squared_errors

from baselines.mind_animator.decoders import (
    MotionDecoder,
    SampleNorm,
    SemanticDecoder,
    add_inputs,
    bar_frames,
    encode_places,
)
from baselines.mind_animator.losses import measure_motion
from baselines.mind_animator.method import MindAnimator
from baselines.mind_animator.parameters import Parameters, read_parameters
from bench.core.errors import BenchError, UnknownSubject
from bench.core.registry import resolve
from bench.core.variants import load_variants
from bench.pretrained.suite import load_suite
from bench.toolbox.sizes import count_paper_size
from bench.toolbox.training import make_generator

SMALL: dict[str, Any] = {
    "width": 32, "structure_width": 32, "motion_width": 16, "motion_layers": 1, "motion_heads": 2,
    "motion_attention": 16, "motion_feedforward": 64, "fmri_tokens": 2, "dropout": 0.0, "structure_dropout": 0.0,
    "motion_dropout": 0.0, "text_hidden": (32, 32), "alignment_frames": 1, "steps": 3, "batch_size": 32,
    "semantic_epochs": 60, "structure_epochs": 60, "motion_epochs": 30, "motion_learning_rate": 1e-2,
    "learning_rate": 3e-3, "calibration_epochs": 60, "use_validation": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def suite():
    return load_suite("mini")


@pytest.fixture(scope="module")
def fitted(suite) -> MindAnimator:
    made = MindAnimator(suite=suite, seed=0, **SMALL)
    made.fit(World().record(), World().record(seed=1))
    return made


def make_motion(*, change: bool = True) -> MotionDecoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MotionDecoder(
            add_inputs({1: np.arange(9)}, volumes=1, width=6),
            frames=5,
            shape=(2, 2, 2),
            blocks=1,
            layers=1,
            inner=4,
            heads=2,
            feedforward=12,
            fmri_tokens=3,
            dropout=0.0,
            change=change,
        ).eval()


def test_frames_are_barred_as_the_release_draws_them() -> None:
    """Never a later one; from the third frame on each but the first with the chance given, itself among them."""
    assert (~bar_frames(4, 0.0)).int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert (~bar_frames(4, 1.0)).int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    draws = torch.stack([~bar_frames(6, 0.4, make_generator("test", seed)) for seed in range(200)]).float().mean(dim=0)
    free = torch.ones(6, 6).tril().bool()
    free[:2], free[:, 0] = False, False
    assert draws[free].min() > 0.5 and draws[free].max() < 0.7
    assert (draws[:, 0] == 1).all() and draws[1, 1] == 1 and (draws.triu(1) == 0).all()


def test_places_and_norm_are_those_of_the_annotated_transformer() -> None:
    places, angle = encode_places(3, 6), 2 / 10000 ** (2 / 6)
    torch.testing.assert_close(places[0], torch.tensor([0.0, 1.0] * 3))
    torch.testing.assert_close(places[2, 2:4], torch.tensor([np.sin(angle), np.cos(angle)], dtype=torch.float32))
    hidden = draw(4, 7)
    expected = (hidden - hidden.mean(1, keepdim=True)) / (
        torch.from_numpy(hidden.numpy().std(1, ddof=1))[:, None] + 1e-6
    )
    torch.testing.assert_close(SampleNorm(7)(hidden), expected)


def test_a_frame_depends_on_those_that_it_may_ask() -> None:
    decoder, latents = make_motion(change=False), draw(2, 4, 2, 2, 2)
    signals, subject = draw(2, 9, 1), torch.tensor([1, 1])
    barred = bar_frames(4, 0.0)
    barred[3, 1] = True
    with torch.no_grad():
        made = decoder(latents, signals, subject, barred)
        for changed, seen in ((1, [1, 2]), (2, [2, 3]), (3, [3]), (0, [0, 1, 2, 3])):
            other = latents.clone()
            other[:, changed] += 1.0
            moved = (decoder(other, signals, subject, barred) - made).abs().amax(dim=(0, 2, 3, 4)) > 0
            assert moved.nonzero()[:, 0].tolist() == seen
        assert not torch.allclose(made, decoder(latents, signals + 1, subject, barred))


def test_animation_feeds_each_predicted_frame_to_the_next() -> None:
    decoder, first = make_motion(change=False), draw(3, 2, 2, 2)
    signals, subject = draw(3, 9, 1), torch.tensor([1, 1, 1])
    with torch.no_grad():
        made = decoder.animate(first, signals, subject, 0.0)
        assert torch.equal(made[:, 0], first) and made.shape == (3, 5, 2, 2, 2)
        torch.testing.assert_close(made[:, 1:], decoder(made[:, :4], signals, subject, bar_frames(4, 0.0)))


def test_a_decoder_of_changes_begins_with_a_still_video() -> None:
    decoder, latents = make_motion(), draw(4, 5, 2, 2, 2)
    signals, subject = draw(4, 9, 1), torch.ones(4).long()
    loss = measure_motion(decoder, signals, subject, latents, 0.4, make_generator("test"))
    assert float(loss.detach()) == pytest.approx(1.0)
    still = decoder.animate(latents[:, 0], signals, subject, 1.0)
    assert torch.equal(still, latents[:, :1].expand_as(latents))


def test_text_starts_at_the_captions_mean_and_its_start_token_stays_there() -> None:
    mean = draw(7, 4)
    inputs = add_inputs({1: np.arange(9), 2: np.arange(5)}, volumes=2, width=8)
    decoder = SemanticDecoder(inputs, blocks=1, hidden=(5, 6), dropout=0.0, embedding=3, tokens=2, mean=mean)
    signals, subject = draw(3, 9, 2), torch.tensor([1, 2, 1])
    torch.testing.assert_close(decoder(signals, subject)[1], mean[:3].expand(3, -1, -1))
    torch.nn.init.normal_(decoder.to_text[-1].weight)
    embedding, text = decoder(signals, subject)
    assert text.shape == (3, 3, 4) and embedding.shape == (3, 3)  # the start token and two more
    torch.testing.assert_close(text[:, 0], mean[0].expand(3, -1))
    assert not torch.allclose(text[0, 1:], text[2, 1:])
    with pytest.raises(UnknownSubject, match="subject 3 has no layer"):
        decoder(signals, torch.tensor([1, 3, 1]))


def test_true_text_and_latents_make_the_true_clip(fitted: MindAnimator, suite: Any) -> None:
    """What a perfect decoder would get: the generator gives the clips back, each nearest to its own."""
    data = World().record()
    text, latents = suite.encode_text(list(data.captions[:4])), suite.encode_video(data.video[:4])
    errors = squared_errors(fitted.render(text, latents, [0, 1, 2, 3]), data, np.arange(4))
    assert (errors.argmin(axis=1) == np.arange(4)).all() and np.diag(errors).mean() < 0.2 * errors.mean()


def test_planted_objects_are_reconstructed_and_every_loss_falls(fitted: MindAnimator, suite: Any) -> None:
    test, rows = World().record(seed=2), np.array([0, 1, 2, 3, 16, 17, 18, 19])
    made = fitted.reconstruct(hide_answers(test, rows))
    assert made.shape == (8, 6, 64, 64, 3) and made.dtype == np.uint8
    errors = squared_errors(made, test, rows)
    assert np.diag(errors).mean() < 0.7 * errors.mean()
    with torch.no_grad():
        text, _ = fitted.decode(torch.from_numpy(test.brain), torch.from_numpy(test.subject))
    wanted = suite.encode_text(CAPTIONS).flatten(1)
    found = torch.cdist(text.flatten(1), wanted).argmin(dim=1).numpy()
    assert (found == test.concepts[test.clip]).mean() > 0.9
    for losses in fitted.losses.values():
        assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


@pytest.mark.parametrize("start", ["inversion", "renoised"])
def test_a_reconstruction_depends_on_its_trial_and_seed_alone(fitted: MindAnimator, start: str) -> None:
    own, fitted.parameters = fitted.parameters, replace(fitted.parameters, start=start)
    asked = hide_answers(World().record(seed=2), np.array([0, 17, 5]))
    together = fitted.reconstruct(asked)
    assert np.array_equal(together, fitted.reconstruct(asked))
    order = np.array([2, 0])
    turned = fitted.reconstruct(
        replace(asked, brain=asked.brain[order], subject=asked.subject[order], seed=asked.seed[order])
    )
    assert np.abs(turned.astype(int) - together[order]).max() <= 1  # rounding
    reseeded = replace(asked, seed=asked.seed + 1)
    assert not np.array_equal(fitted.reconstruct(reseeded), together)
    fitted.parameters = replace(own, start=start, noise_time=0)
    if start == "inversion":  # which draws no noise of its own
        assert np.array_equal(fitted.reconstruct(reseeded), fitted.reconstruct(asked))
    fitted.parameters = own


def test_the_same_seed_trains_the_same_decoders_and_answers_do_not_matter(suite: Any) -> None:
    fast = {**SMALL, "semantic_epochs": 3, "structure_epochs": 3, "motion_epochs": 1}
    trained = []
    for validation in (World().record(seed=1), World().record(seed=9)):
        made = MindAnimator(suite=suite, seed=0, **fast)
        made.fit(World().record(), validation)
        trained.append({name: decoder.state_dict() for name, decoder in made.decoders.items()})
    for name, state in trained[0].items():
        assert all(torch.equal(one, trained[1][name][key]) for key, one in state.items())


def test_new_subjects_get_input_layers_of_their_own_and_the_rest_stays(suite: Any) -> None:
    made = MindAnimator(suite=suite, seed=0, **{**SMALL, "motion": False})
    made.fit(World().record(), World().record(seed=1))
    new = World(voxels=(25, 37), clips=12)
    calibration, test = new.record(first_subject=8), new.record(first_subject=8, seed=3)
    with pytest.raises(UnknownSubject, match="call adapt"):
        made.reconstruct(hide_answers(test, np.array([0])))
    before = {name: decoder.state_dict() for name, decoder in made.decoders.items()}
    before = {name: {key: one.clone() for key, one in state.items()} for name, state in before.items()}
    made.adapt(calibration)
    for name, state in before.items():
        after = made.decoders[name].state_dict()
        assert all(torch.equal(one, after[key]) for key, one in state.items()) and len(after) == len(state) + 6
    rows = np.array([0, 1, 2, 3, 12, 13, 14, 15])
    errors = squared_errors(made.reconstruct(hide_answers(test, rows)), test, rows)
    assert np.diag(errors).mean() < 0.85 * errors.mean()


def test_every_variant_constructs_and_unknown_values_are_named(suite: Any) -> None:
    groups = load_variants("mind_animator")
    known = {field.name for field in dataclasses.fields(Parameters)}
    for group in groups.values():
        for parameters in group.values():
            assert set(parameters) <= known
            resolve("methods", "mind_animator")(suite=suite, seed=0, **parameters)
    assert {"wo_semantic", "wo_structure", "wo_motion"} <= {one for group in groups.values() for one in group}
    for wrong in (
        {"depth": 3},
        {"start": "noise"},
        {"strength": 0.0},
        dict.fromkeys(("semantic", "structure", "motion"), False),
    ):
        with pytest.raises(BenchError):
            read_parameters(wrong)


def test_variants_without_a_decoder_fill_its_place(suite: Any) -> None:
    fast = {**SMALL, "semantic_epochs": 2, "structure_epochs": 2, "motion_epochs": 1}
    train = World().record()
    for name in ("semantic", "structure", "motion"):
        made = MindAnimator(suite=suite, seed=0, **{**fast, name: False})
        made.fit(train, train)
        text, latents = made.decode(torch.from_numpy(train.brain[:2]), torch.from_numpy(train.subject[:2]))
        assert name not in made.decoders and made.parameter_count > 0
        if name == "semantic":
            assert torch.equal(text[0], suite.negative_embedding[0])
        elif name == "structure":
            assert torch.equal(latents[0, 0], made.mean_first)
        else:
            assert torch.equal(latents[:, 0], latents[:, 5])


def test_the_papers_size_is_the_released_one() -> None:
    """MindAnimator 3a1904e, `models/Decoder.py`, built as `Reconstruction/video_recons.py` builds it."""
    counts = count_paper_size("mind_animator", voxels=4500, frames=8, latent=64)
    assert counts == {"semantic": 72_336_641, "structure": 23_503_872, "motion": 335_758_336}
