"""LDA and ridge against closed forms and scikit-learn, and what they read of planted codes on every kind of split."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from asking import hide_answers

from baselines.linear.method import Lda, Ridge
from baselines.linear.readers import decompose, fit_indicators, fit_lda
from baselines.retrieval.method import Retrieval
from bench.core.contracts import BrainData, TrainingSet
from bench.core.errors import BenchError

FRAMES = (2, 8, 8, 3)
CONCEPTS = 6


def draw(n: int, p: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    labels = np.arange(n) % 4
    return (rng.normal(size=(n, p)) + rng.normal(size=(4, p))[labels] + 2).astype(np.float32), labels


@pytest.mark.parametrize(("n", "p"), [(40, 7), (16, 50)])
def test_lda_is_gaussian_classes_of_one_shrunk_covariance(n: int, p: int) -> None:
    x, labels = draw(n, p)
    means = np.stack([x[labels == one].mean(axis=0) for one in range(4)]).astype(float)
    residual = x - means[labels]
    within = residual.T @ residual / n
    for gamma, reader in zip((0.1, 0.6), fit_lda(x, labels, 5, (0.1, 0.6)), strict=True):
        shrunk = (1 - gamma) * within + gamma * np.trace(within) / p * np.eye(p)
        scores = [-np.einsum("np,pq,nq->n", x - m, np.linalg.inv(shrunk), x - m) / 2 for m in means]
        made = reader.score(x)
        assert (made[:, 4] == -np.inf).all()  # a class without a trial
        wanted = np.stack(scores, axis=1)  # up to a constant of the trial
        np.testing.assert_allclose(made[:, :4] - made[:, :1], wanted - wanted[:, :1], rtol=1e-3, atol=1e-3)


def test_lda_is_that_of_scikit_learn() -> None:
    discriminant_analysis = pytest.importorskip("sklearn.discriminant_analysis")
    x, labels = draw(60, 20)
    theirs = discriminant_analysis.LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3, priors=[0.25] * 4)
    wanted = theirs.fit(x, labels).predict_log_proba(x)
    made = fit_lda(x, labels, 4, (0.3,))[0].score(x).astype(float)
    made -= np.log(np.exp(made - made.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True)) + made.max(
        axis=1, keepdims=True
    )
    np.testing.assert_allclose(made, wanted, atol=2e-3)


@pytest.mark.parametrize(("n", "p"), [(40, 7), (16, 50)])
def test_ridge_solves_its_equations(n: int, p: int) -> None:
    x, labels = draw(n, p)
    centred = (x - x.mean(axis=0)).astype(float)
    y = np.eye(4)[labels] - 0.25
    for penalty, reader in zip((1.0, 30.0), fit_indicators(x, labels, 4, (1.0, 30.0)), strict=True):
        by_hand = centred @ np.linalg.solve(centred.T @ centred + penalty * np.eye(p), centred.T @ y)
        np.testing.assert_allclose(reader.score(x), by_hand, atol=1e-4)
    squares, axes = decompose(x)
    np.testing.assert_allclose(axes.T @ axes, np.eye(len(squares)), atol=1e-6)


# Planted codes: a pattern for each concept, and what of it a subject shares with the others


def make_world(shared: float, *, rois: bool) -> dict[str, TrainingSet | BrainData]:
    rng = np.random.default_rng(1)
    common = rng.normal(size=(CONCEPTS, 12, 3))
    patterns = {
        one: np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.normal(size=common.shape) for one in (1, 2, 3)
    }
    channels = tuple(f"C{i}" for i in range(12))

    def record(subjects: tuple[int, ...], clips: int, noise: float = 1.2) -> TrainingSet:
        clip = np.tile(np.arange(clips), len(subjects))
        who = np.repeat(subjects, clips)
        concepts = np.arange(clips) % CONCEPTS
        brain = np.stack([patterns[s][concepts[c]] for s, c in zip(who, clip, strict=True)])
        return TrainingSet(
            brain=(brain + rng.normal(0, noise, brain.shape)).astype(np.float32),
            subject=who,
            clip=clip,
            video=np.broadcast_to(concepts[:, None, None, None, None] * 9, (clips, *FRAMES)).astype(np.uint8),
            captions=tuple(f"thing {one}" for one in concepts),
            concepts=concepts + 3,
            channels=channels,
            sampling_rate=1.0,
            rois=dict.fromkeys((1, 2, 3), ("V1",) * 12) if rois else {},
        )

    return {
        "train": record((1, 2), 60),
        "validation": record((1, 2), 24),
        "calibration": record((3,), 18),
        "test": record((1, 2), 60),
        "new": record((3,), 120),
    }


def accuracy(method, asked: TrainingSet) -> float:
    brain = BrainData(
        brain=asked.brain,
        subject=asked.subject,
        seed=np.arange(len(asked.clip)),
        channels=asked.channels,
        sampling_rate=asked.sampling_rate,
    )
    return float(np.mean(method.reconstruct(brain)[:, 0, 0, 0, 0] // 9 + 3 == asked.concepts[asked.clip]))


def read(method, world) -> tuple[float, float]:
    method.fit(world["train"], world["validation"])
    known = accuracy(method, world["test"])
    method.adapt(world["calibration"])
    return known, accuracy(method, world["new"])


@pytest.mark.parametrize("Method", [Lda, Ridge])
def test_pooled_readers_gain_by_what_is_shared_and_own_ones_need_nothing_shared(Method) -> None:
    alike, apart = make_world(0.95, rois=False), make_world(0.0, rois=False)
    pooled, own = ({world: read(Method(subjects=kind), made) for world, made in (("alike", alike), ("apart", apart))}
                   for kind in ("pooled", "own"))  # fmt: skip
    assert pooled["alike"][1] > own["alike"][1] + 0.05  # a few calibration trials against all
    assert own["apart"][0] > pooled["apart"][0] and own["apart"][1] > 2 / CONCEPTS
    assert read(Method(), alike) == pooled["alike"]  # electrodes correspond


@pytest.mark.parametrize("Method", [Lda, Ridge, Retrieval])
def test_voxels_do_not_correspond_so_each_subject_has_a_reader_of_its_own(Method) -> None:
    world = make_world(0.0, rois=True)
    known, new = read(Method(), world)
    assert known > 0.75 and new > 2 / CONCEPTS
    if Method is not Retrieval:
        assert read(Method(subjects="own"), world) == (known, new)
        with pytest.raises(BenchError, match="do not correspond"):
            Method(subjects="pooled").fit(world["train"], world["validation"])


class Speaker:
    """A suite that says each caption in tokens of its own; all of them in one direction far more than in the others."""

    def encode_text(self, captions: list[str]) -> torch.Tensor:
        drawn = [np.random.default_rng(list(one.encode())).normal(size=(2, 8)) for one in captions]
        return torch.tensor(np.stack(drawn) * [50.0, *[1.0] * 7], dtype=torch.float32)


@pytest.mark.parametrize("Method", [Lda, Ridge])
def test_what_is_embedded_is_the_concept_that_is_shown(Method) -> None:
    world, suite = make_world(0.9, rois=False), Speaker()
    method = Method(suite=suite)
    method.fit(world["train"], world["validation"])
    brain = hide_answers(world["test"])
    words = suite.encode_text([f"thing {one}" for one in range(CONCEPTS)]).mean(dim=1).numpy()
    named = (method.embed(brain) @ (words - words.mean(axis=0)).T).argmax(axis=1)
    shown = method.reconstruct(brain)[:, 0, 0, 0, 0] // 9
    assert np.mean(named == shown) > 0.95


def test_what_cannot_be_told_or_given_is_refused() -> None:
    world = make_world(0.5, rois=False)
    same = TrainingSet(**{**vars(world["train"]), "concepts": np.zeros(60, np.int64)})
    with pytest.raises(BenchError, match="of one concept"):
        Lda().fit(same, world["validation"])
    with pytest.raises(BenchError, match="own"):
        Ridge(subjects="both")
