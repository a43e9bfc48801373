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

from baselines.mind_animator.decoders import MotionDecoder, SemanticDecoder, add_inputs, sparse_causal
from baselines.mind_animator.losses import draw_known, measure_motion
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
    "motion_feedforward": 64, "fmri_tokens": 2, "dropout": 0.0, "alignment_frames": 1, "steps": 3, "batch_size": 32,
    "semantic_steps": 60, "structure_steps": 60, "motion_steps": 25, "learning_rate": 3e-3, "calibration_share": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def suite():
    return load_suite("mini")


@pytest.fixture(scope="module")
def fitted(suite) -> MindAnimator:
    made = MindAnimator(suite=suite, seed=0, **SMALL)
    made.fit(World().record(), World().record(seed=1))
    return made


def make_motion() -> MotionDecoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = MotionDecoder(
            add_inputs({1: np.arange(9)}, volumes=1, width=6),
            frames=5,
            shape=(2, 2, 2),
            layers=1,
            heads=2,
            feedforward=12,
            fmri_tokens=3,
            dropout=0.0,
        ).eval()
        torch.nn.init.normal_(made.leave[1].weight)
    return made


def test_a_frame_asks_the_first_the_previous_and_itself() -> None:
    assert (~sparse_causal(4)).int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 1]]


def test_a_frame_never_depends_on_later_ones_and_gaps_hide_their_latents() -> None:
    decoder, latents = make_motion(), draw(2, 5, 2, 2, 2)
    signals, subject = draw(2, 9, 1), torch.tensor([1, 1])
    known = torch.ones(2, 5, dtype=torch.bool)
    made = decoder(latents, known, signals, subject)
    changed = latents.clone()
    changed[:, 3] += 1.0
    moved = (decoder(changed, known, signals, subject) - made).abs().amax(dim=(0, 2, 3, 4))
    assert (moved[:3] == 0).all() and (moved[3:] > 0).all()
    known[:, 3] = False
    hidden = decoder(changed, known, signals, subject)
    assert torch.equal(hidden, decoder(latents, known, signals, subject))
    assert not torch.allclose(made, decoder(latents, torch.ones_like(known), signals + 1, subject))


def test_animation_feeds_each_predicted_frame_to_the_next() -> None:
    decoder, first = make_motion(), draw(3, 2, 2, 2)
    signals, subject = draw(3, 9, 1), torch.tensor([1, 1, 1])
    with torch.no_grad():
        made = decoder.animate(first, signals, subject)
        all_known = decoder(made, torch.ones(3, 5, dtype=torch.bool), signals, subject)
        assert torch.equal(made[:, 0], first)
        known = torch.tensor([[True, True, True, False, False]]).expand(3, -1)
        torch.testing.assert_close(made[:, 3], decoder(made, known, signals, subject)[:, 3])
    assert all_known.shape == made.shape


def test_the_first_frame_is_always_known_and_only_hidden_frames_count() -> None:
    known = draw_known(200, 6, make_generator("test"))
    assert known[:, 0].all() and {0, 5} <= set(known[:, 1:].sum(dim=1).tolist())
    decoder, latents = make_motion(), draw(4, 5, 2, 2, 2)
    for one in decoder.leave[1].parameters():
        torch.nn.init.zeros_(one)
    loss = measure_motion(decoder, draw(4, 9, 1), torch.ones(4).long(), latents, make_generator("test"))
    assert float(loss.detach()) == pytest.approx(1.0)  # a still video


def test_text_starts_at_the_captions_mean_and_tokens_that_are_not_decoded_stay_there() -> None:
    mean = draw(7, 4)
    inputs = add_inputs({1: np.arange(9), 2: np.arange(5)}, volumes=2, width=8)
    decoder = SemanticDecoder(inputs, blocks=1, dropout=0.0, embedding=3, tokens=2, mean=mean)
    signals, subject = draw(3, 9, 2), torch.tensor([1, 2, 1])
    torch.testing.assert_close(decoder(signals, subject)[1], mean.expand(3, -1, -1))
    torch.nn.init.normal_(decoder.to_text.weight)
    embedding, text = decoder(signals, subject)
    torch.testing.assert_close(text[:, 2:], mean[2:].expand(3, -1, -1))
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))
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
    reseeded = fitted.reconstruct(replace(asked, seed=asked.seed + 1))
    assert np.array_equal(reseeded, together) == (start == "inversion")  # an inversion draws no noise
    fitted.parameters = own


def test_the_same_seed_trains_the_same_decoders_and_answers_do_not_matter(suite: Any) -> None:
    fast = {**SMALL, "semantic_steps": 3, "structure_steps": 3, "motion_steps": 2}
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
    assert {"wo_semantic", "wo_structure", "wo_motion", "paper"} <= {one for group in groups.values() for one in group}
    for wrong in (
        {"depth": 3},
        {"start": "noise"},
        {"strength": 0.0},
        dict.fromkeys(("semantic", "structure", "motion"), False),
    ):
        with pytest.raises(BenchError):
            read_parameters(wrong)


def test_variants_without_a_decoder_fill_its_place(suite: Any) -> None:
    fast = {**SMALL, "semantic_steps": 2, "structure_steps": 2, "motion_steps": 2}
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


def test_the_papers_size_is_counted_on_the_meta_device() -> None:
    counts = count_paper_size("mind_animator", voxels=4500, frames=8, latent=64)
    assert counts["structure"] == pytest.approx(4500 * 1024 + 1024 * 4 * 64 * 64, rel=0.01)
    assert counts["motion"] > 2 * 8 * 16384**2  # two layers of two attentions, 4 d² each
