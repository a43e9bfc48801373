"""Encoders before one generator: each learns what is planted, a new subject's trials serve that subject alone, and what
the generator is given is what the read-out says."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from asking import hide_answers
from sam_world import FakeSuite

import baselines.encoders as encoders
from baselines.encoders import door
from baselines.encoders.eeg import SHRINKAGE, EEGConformer
from baselines.encoders.ridge import STRENGTHS, fit_best
from bench.core.contracts import TrainingSet
from bench.core.errors import BenchError, NotFitted, UnknownSubject
from bench.core.registry import BUILT_IN, resolve
from bench.toolbox.read_outs import READ_OUTS, find_nearest, learn_captions

EEG = ("EEGNet", "ShallowConvNet", "Deep4", "EEGConformer", "ATCNet", "ContrastiveEEG", "RidgeEEG")
FMRI = ("RidgeFmri", "SharedRidge", "MLPBackbone")
BRIEF = {"epochs": 10, "components": 6, "batch_size": 16}
SMALL: dict[str, dict[str, Any]] = {
    **{name: BRIEF for name in EEG if name != "RidgeEEG"},
    "Deep4": BRIEF | {"epochs": 16},
    "SharedRidge": {"width": 16, "batch_size": 16, "epochs": 30},
    "MLPBackbone": {"width": 16, "batch_size": 16, "epochs": 30},
}


class Suite(FakeSuite):
    """Notes the text that the generator was given."""

    def __init__(self) -> None:
        self.given: list[torch.Tensor] = []

    def generate_video(self, embeddings: torch.Tensor, seeds: np.ndarray, **options: Any) -> np.ndarray:
        self.given.append(embeddings)
        return np.zeros((len(seeds), 3, 8, 8, 3), np.uint8)


def record(part: int, subjects: tuple[int, ...], *, fmri: bool = False, clips: int = 32) -> TrainingSet:
    """Trials of four concepts; parts 0, 1 and 2 show other clips each.

    EEG of 12 channels: a concept evokes a slow course of its own and changes the power of four rhythms of 20 Hz, each
    seen through a head that differs a little from subject to subject. fMRI: 40 voxels, no two subjects' alike.
    """
    shared, rng = np.random.default_rng(0), np.random.default_rng((1, part, clips))
    concepts = np.arange(clips) % 4
    time = np.arange(400) / 200
    evoked = np.einsum(
        "kc,kt->kct", shared.standard_normal((4, 12)), np.sin(2 * np.pi * np.outer(np.arange(4) + 1, time))
    )
    power, sources = np.exp(shared.standard_normal((4, 4))), shared.standard_normal((4, 12))
    tuning = np.random.default_rng(2).standard_normal((10, 4, 40))
    brain: list[np.ndarray] = []
    for one in subjects:
        if fmri:
            brain.append((tuning[one][concepts] + 1.5 * rng.standard_normal((clips, 40)))[:, :, None])
            continue
        phase = rng.uniform(0, 2 * np.pi, (clips, 4, 1))
        rhythm = power[concepts][:, :, None] * np.sin(2 * np.pi * 20 * time + phase)
        head = np.eye(12) + 0.1 * np.random.default_rng((3, one)).standard_normal((12, 12))
        seen = evoked[concepts] + np.einsum("nst,sc->nct", rhythm, sources) + rng.standard_normal((clips, 12, 400))
        brain.append(np.einsum("dc,nct->ndt", head, seen))
    signals = np.concatenate(brain).astype(np.float32)
    return TrainingSet(
        brain=signals / signals.std(),
        subject=np.repeat(subjects, clips),
        clip=np.tile(np.arange(clips), len(subjects)),
        video=np.zeros((clips, 2, 16, 16, 3), np.uint8),
        captions=tuple("abcd"[concept] for concept in concepts),
        concepts=concepts,
        channels=tuple(f"E{number}" for number in range(signals.shape[1])),
        sampling_rate=0.5 if fmri else 200.0,
    )


def join(one: TrainingSet, other: TrainingSet) -> TrainingSet:
    """Both subjects' trials of the same concepts in one set, by turns."""
    order = np.arange(2 * len(one.subject)).reshape(2, -1).T.ravel()
    put = {
        name: np.concatenate([getattr(one, name), getattr(other, name)])[order] for name in ("brain", "subject", "clip")
    }
    return replace(one, **put)


@cache
def fitted(name: str) -> Any:
    """Fitted on two subjects and shown calibration trials of a third; not to be changed."""
    method = getattr(encoders, name)(suite=Suite(), seed=3, **SMALL.get(name, {}))
    fmri = name in FMRI
    method.fit(record(0, (1, 2), fmri=fmri), record(1, (1, 2), fmri=fmri))
    method.adapt(record(1, (3,), fmri=fmri))
    return method


def read_concepts(method: Any, data: TrainingSet) -> float:
    """Share of trials whose nearest concept is the one shown; chance is a quarter."""
    tokens = method.captions.expand(method.predict(hide_answers(data)))
    read = find_nearest(tokens, method.captions, "nearest_concept").numpy()
    return float((read == data.concepts[data.clip]).mean())


@pytest.mark.parametrize("name", [*EEG, *FMRI])
def test_what_is_planted_is_learned(name):
    method, fmri = fitted(name), name in FMRI
    known, new = record(2, (1, 2), fmri=fmri), record(2, (3,), fmri=fmri)
    assert read_concepts(method, known) > 0.5  # 64 trials: 4.6 standard errors above chance
    assert read_concepts(method, new) > 0.5
    assert method.parameter_count > 0 and method.embed(hide_answers(known)).shape == (64, 4)
    alone = method.predict(hide_answers(known, slice(5, 7)))  # a trial depends on itself alone
    torch.testing.assert_close(alone, method.predict(hide_answers(known))[5:7], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["EEGNet", "RidgeEEG", *FMRI])
def test_a_new_subjects_trials_serve_that_subject_alone(name):
    fmri = name in FMRI
    asked = [hide_answers(record(2, (one,), fmri=fmri)) for one in (1, 3)]

    def predict(others: TrainingSet) -> list[torch.Tensor]:
        brief = SMALL[name] | {"epochs": 1} if name in SMALL else {}
        method = getattr(encoders, name)(suite=Suite(), seed=3, **brief)
        method.fit(record(0, (1, 2), fmri=fmri, clips=8), record(1, (1, 2), fmri=fmri, clips=8))
        before = method.predict(asked[0])
        with pytest.raises(BenchError, match=r"3"):
            method.predict(asked[1])
        method.adapt(join(record(1, (3,), fmri=fmri), others))
        torch.testing.assert_close(method.predict(asked[0]), before, atol=0, rtol=0)
        return [method.predict(one) for one in asked]

    made = [predict(record(part, (4,), fmri=fmri)) for part in (0, 1)]
    for one, other in zip(*made, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_a_new_head_is_aligned_by_its_calibration_trials():
    """Electrodes turned round and fifty times louder: the components that are read are white again, and the same."""
    method = encoders.EEGNet(suite=Suite(), **BRIEF | {"epochs": 1, "components": 0})
    method.fit(record(0, (1, 2)), record(1, (1, 2)))
    mix = 50 * np.linalg.qr(np.random.default_rng(0).standard_normal((12, 12)))[0].astype(np.float32)
    for matrix in (np.eye(12, dtype=np.float32), mix):
        calibration, new = (replace(one, brain=matrix @ one.brain) for one in (record(1, (5,)), record(2, (5,))))
        method.adapt(calibration)
        flat = method.projection @ calibration.brain.transpose(1, 0, 2).reshape(12, -1)
        own = flat @ flat.T / flat.shape[1]
        expected = own @ np.linalg.inv(own + SHRINKAGE * np.trace(own) / 12 * np.eye(12))
        for data, goal, off in ((calibration, expected, 0.01), (new, np.eye(12), 0.5)):
            white = method.prepare(data).transpose(0, 1).flatten(1).numpy()
            assert abs(white @ white.T / white.shape[1] - goal).max() < off


@pytest.mark.parametrize("how", READ_OUTS)
def test_the_generator_is_given_what_is_read_out(how, monkeypatch):
    monkeypatch.setattr(door, "DRAWN", 10)
    suite = Suite()
    method = encoders.RidgeEEG(suite=suite, read_out=how)
    train, validation, asked = record(0, (1, 2)), record(1, (1, 2)), hide_answers(record(2, (1,)))
    method.fit(train, validation)
    assert method.reconstruct(asked).shape == (32, 2, 16, 16, 3)
    tokens = suite.encode_text([*train.captions, *validation.captions])
    captions = learn_captions(tokens, torch.from_numpy(np.concatenate([train.concepts, validation.concepts])))
    read = captions.expand(method.predict(asked))
    expected = {
        "regressed": lambda: read,
        "nearest_caption": lambda: tokens[find_nearest(read, captions, how)],
        "nearest_concept": lambda: captions.average(find_nearest(read, captions, how)),
    }[how]()
    assert [len(one) for one in suite.given] == [10, 10, 10, 2]
    torch.testing.assert_close(torch.cat(suite.given), expected, atol=1e-4, rtol=1e-4)


def test_the_validation_block_is_learned_from_unless_left_out():
    asked = hide_answers(record(2, (1,)))

    def predict(validation: TrainingSet, **parameters: Any) -> torch.Tensor:
        method = encoders.RidgeEEG(suite=Suite(), **parameters)
        method.fit(record(0, (1, 2)), validation)
        return method.predict(asked)

    some, other = record(1, (1, 2)), record(1, (1, 2), clips=12)
    assert not torch.equal(predict(some), predict(other))
    left = [predict(one, use_validation=False) for one in (some, other)]
    torch.testing.assert_close(*left, atol=0, rtol=0)


def test_two_layers_of_the_conformer_are_merged_without_a_change():
    from braindecode.models import EEGConformer as Network

    sizes = {"n_chans": 5, "n_outputs": 3, "n_times": 200, "sfreq": 100.0}
    merged = EEGConformer(suite=Suite()).build(**sizes).eval()
    signals = torch.randn(2, 5, 200, generator=torch.Generator().manual_seed(0))
    plain = Network(**sizes).eval()
    _, combined, _, *rest = merged.patch_embedding.shallownet
    first, second = plain.patch_embedding.shallownet[:2]
    first.weight.data, first.bias.data = combined.conv_time.weight.data.transpose(2, 3), combined.conv_time.bias.data
    second.weight.data, second.bias.data = combined.conv_spat.weight.data.transpose(2, 3), combined.conv_spat.bias.data
    for mine, theirs in zip(rest, plain.patch_embedding.shallownet[2:], strict=True):
        theirs.load_state_dict(mine.state_dict())
    torch.testing.assert_close(
        merged.patch_embedding.shallownet(signals[:, None]), plain.patch_embedding.shallownet(signals[:, None])
    )


def test_a_ridge_is_as_strong_as_clips_left_out_ask_for():
    """Repeats of a clip share what is told nowhere else: left out one by one they would vouch for each other."""
    rng = np.random.default_rng(0)
    clip = np.repeat(np.arange(60), 4)
    x = (rng.standard_normal((60, 300))[clip] + 0.01 * rng.standard_normal((240, 300))).astype(np.float32)
    y = rng.standard_normal((60, 3)).astype(np.float32)[clip]
    alone = np.linalg.norm(fit_best(x, y, rng.permutation(240)))
    assert np.linalg.norm(fit_best(x, y, clip)) < 0.5 * alone
    told = (x @ rng.standard_normal((300, 3))).astype(np.float32)
    weakest = np.linalg.solve(x.T @ x + STRENGTHS[0] * np.eye(300), x.T @ told)
    np.testing.assert_allclose(fit_best(x, told, clip), weakest, atol=2e-2)


def test_registered_names_are_the_classes_own():
    for name, entry in BUILT_IN["methods"].items():
        if entry.target.startswith("baselines.encoders:"):
            found = resolve("methods", name)
            assert (found.name, found.modality) == (name, entry.modality)


def test_what_cannot_be_done_is_said():
    method = encoders.RidgeEEG(suite=Suite())
    with pytest.raises(NotFitted, match="ridge_eeg"):
        method.predict(hide_answers(record(2, (1,))))
    with pytest.raises(UnknownSubject, match=r"eegnet has no filter of subjects \[9\]"):
        fitted("EEGNet").predict(hide_answers(record(2, (9,))))
