"""The best answers without a brain: what is chosen, on what, and how it is scored; planted orders and brute force."""

from __future__ import annotations

from types import SimpleNamespace

import datasets
import numpy as np
import pandas as pd
import pytest

from bench.core.seeds import derive_seed
from bench.core.splits import make_folds
from bench.scoring.answers import Answers, answers_of, chooses, measure, thin
from bench.scoring.best_answer import choose_by_place, choose_constant, smooth, tune
from bench.toolbox.average import average_clips, blur_clip
from metrics.consistency import CLIP_CONSISTENCY
from metrics.motion import DIFFERENCE_DIS, EPE_DIS, EPE_FARNEBACK
from metrics.n_way import accuracy_spec, concept_spec, normalised_spec
from metrics.pixel import PSNR
from metrics.protocols import PROTOCOLS
from metrics.retrieval import gallery_spec
from metrics.specs import MetricSpec, Scored

SLOTS, BLOCKS, CLASSES, SIDE = 10, 5, 60, 40
VIDEO_40 = accuracy_spec("video", 40, 1)

# Choosing


def test_the_constant_is_the_best_mean_where_it_counts() -> None:
    values = np.array([[0.9, 0.1, 0.2], [0.3, 0.3, 0.3], [0.0, 1.0, 0.0]])
    counts = np.array([[False, True, True], [True, True, True], [True, False, True]])
    assert choose_constant(values, np.ones((3, 3), bool)) == 0
    assert choose_constant(values, counts) == 1  # each clip's own score aside


def draw_values(orders: np.ndarray) -> tuple[np.ndarray, ...]:
    """Values of clips of each concept in these orders (block, slot): 1 for the same concept, .2 for concept 0."""
    block, slot = (grid.ravel() for grid in np.indices(orders.shape))
    concept = orders.ravel()
    values = (concept[:, None] == concept).astype(float)
    values[concept == 0] = np.maximum(values[concept == 0], 0.2)
    return values, ~np.eye(len(concept), dtype=bool), slot, block, concept


def test_a_planted_order_is_found_and_a_random_one_is_left_alone() -> None:
    same = np.tile(np.arange(SLOTS), (BLOCKS, 1))
    values, counts, slot, block, concept = draw_values(same)
    bandwidth, prior = tune(values, counts, slot, block, block, concept)
    assert np.isfinite(prior)
    asked = np.array([7, 2, 2])
    chosen = choose_by_place(*smooth(values, counts, concept), slot, asked, bandwidth)[prior]
    assert concept[chosen].tolist() == asked.tolist()

    rng = np.random.default_rng(0)
    values, counts, slot, block, concept = draw_values(np.stack([rng.permutation(SLOTS) for _ in range(BLOCKS)]))
    bandwidth, prior = tune(values, counts, slot, block, block, concept)
    assert np.isinf(prior)
    constant = choose_by_place(values, counts, slot, asked, bandwidth)[prior]
    assert concept[constant].tolist() == [0, 0, 0] and set(constant) == {choose_constant(values, counts)}
    one = slice(SLOTS)  # a single block: nothing to choose by
    assert np.isinf(tune(values[one, one], counts[one, one], slot[one], block[one], block[one], concept[one])[1])


def test_the_clips_of_a_block_are_no_answers_where_it_is_left_out() -> None:
    """Clips of block 0 answer the clips of their slot in blocks 0 and 1, which only block 0 itself could use."""
    block, slot = (grid.ravel() for grid in np.indices((3, SLOTS)))
    each = np.arange(len(block))  # every clip a concept of its own
    values = 3.0 * ((block[:, None] == 0) & (block < 2) & (slot[:, None] == slot))
    values = np.vstack([values, np.full(len(block), 0.5)])
    counts = np.vstack([~np.eye(len(block), dtype=bool), np.ones(len(block), bool)])
    assert np.isinf(tune(values, counts, slot, block, np.append(block, -1), each)[1])
    assert np.isfinite(tune(values, counts, slot, block, np.full(len(block) + 1, -1), each)[1])


def test_values_are_smoothed_over_the_clips_of_a_concept_that_count() -> None:
    values, counts = np.array([[0.2, 0.6, 0.5, 9.0]]), np.array([[True, True, True, False]])
    smoothed, told = smooth(values, counts, np.array([4, 4, 7, 8]))
    np.testing.assert_allclose(smoothed[told], [0.4, 0.4, 0.5])
    assert told.tolist() == [[True, True, True, False]]


# Every prediction against every target


@pytest.mark.parametrize(
    "metric",
    [
        *(accuracy_spec(judge, n_way, right) for judge in ("video", "frame") for n_way in (2, 40) for right in (1, 3)),
        normalised_spec(accuracy_spec("video", 40, 1)),
        concept_spec(2),
        gallery_spec(5),
        DIFFERENCE_DIS,
        EPE_DIS,
        EPE_FARNEBACK,
    ],
    ids=lambda metric: metric.name,
)
def test_a_table_holds_what_pairs_score(metric) -> None:
    rng = np.random.default_rng(0)

    def draw(count: int) -> Scored:
        views = {"video": (count, CLASSES), "frame": (count, 3, CLASSES), "concept": (count, 6), "gallery": (count, 7)}
        return Scored(
            video=rng.integers(0, 256, (count, 3, SIDE, SIDE, 3), dtype=np.uint8),
            views={name: rng.normal(size=shape) for name, shape in views.items()},
            concept=rng.integers(0, 6, count),
            clip=np.arange(count),
        )

    prediction, target = draw(4), draw(7)
    pairs = [metric.compute(prediction.take(np.full(7, row)), target) for row in range(4)]
    np.testing.assert_allclose(metric.across(prediction, target), pairs, atol=1e-12)
    sign = 1 if metric.direction == "higher" else -1
    np.testing.assert_allclose(measure(metric, prediction, target), sign * np.array(pairs), atol=1e-12)


# On a data set


def paint(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(0, 256, (count, 2, 16, 16, 3), dtype=np.uint8)


class Shown:
    """Seven blocks of ten clips; of the clips of the last block only the places may be looked at."""

    subjects, class_subsets, name, digest = (1,), {}, "shown", "shown"
    concepts = tuple("abcdefghij")

    def __init__(self) -> None:
        clip = np.arange(7 * SLOTS)
        about = {"clip": clip, "block": clip // SLOTS, "slot": clip % SLOTS, "concept": clip % SLOTS}
        self.stimuli = datasets.Dataset.from_pandas(pd.DataFrame(about))
        trials = {"trial": clip, "subject": 1, "session": 1, "clip": clip}
        self.trials = datasets.Dataset.from_pandas(pd.DataFrame(trials, index=clip))
        self.videos = paint(np.random.default_rng(5), len(clip))

    def video(self, clips: np.ndarray) -> np.ndarray:
        assert (np.asarray(clips) < 6 * SLOTS).all(), "a test clip was looked at"
        return self.videos[clips]


class Judge:
    """Logits of a clip by its pixels; clips of one slot look alike where `like` says so."""

    def __init__(self, like: bool) -> None:
        self.like = like

    def logits(self, video: np.ndarray, slots: dict[bytes, int]) -> np.ndarray:
        made = []
        for clip in video:
            rng = np.random.default_rng(derive_seed("test", clip.tobytes().hex()[:64]))
            row = rng.normal(size=CLASSES)
            if self.like and clip.tobytes() in slots:
                row[slots[clip.tobytes()]] += 9
            made.append(row)
        return np.array(made)


class FakeViewer:
    def __init__(self, dataset: Shown, *, like: bool) -> None:
        self.judge = Judge(like)
        self.slots = {clip.tobytes(): index % SLOTS for index, clip in enumerate(dataset.videos)}

    def look(self, views, video):
        return {view: self.judge.logits(video, self.slots) for view in views}

    look_once = look

    def compare(self, views, seen, gallery):
        return dict(seen)


def make_answers(kind: str, *, like: bool = False, metric: MetricSpec = VIDEO_40) -> Answers:
    spec = {"method": "best_constant", "split": "clips", "fold": "clips", "classes": 40}
    cell = SimpleNamespace(manifest={"role": "control", "answers": kind, "spec": spec})
    dataset = Shown()
    return Answers(cell, dataset, FakeViewer(dataset, like=like), [metric])


def test_the_constant_is_chosen_by_known_clips_alone_and_never_by_itself() -> None:
    metric = VIDEO_40
    answers = make_answers("constant")
    known, drawn = answers.dataset.videos[: 6 * SLOTS], len(answers.drawn)
    logits = answers.viewer.judge.logits(known, answers.viewer.slots)
    extra = answers.viewer.judge.logits(answers.drawn, answers.viewer.slots)
    truth = Scored(views={"video": logits})
    by_hand = []
    for index, row in enumerate([*extra, *logits[: 5 * SLOTS]]):
        values = metric.compute(Scored(views={"video": np.tile(row, (len(known), 1))}), truth)
        by_hand.append(np.delete(values, index - drawn).mean() if index >= drawn else values.mean())
    chosen = answers.choose(metric, np.array([65, 61]))
    assert chosen.tolist() == [int(np.argmax(by_hand))] * 2
    given = answers.give(metric, np.array([65, 61]), None)
    np.testing.assert_allclose(given["video"], [[*extra, *logits][chosen[0]]] * 2)


def test_the_answer_by_position_follows_the_place_and_not_the_clip() -> None:
    metric = VIDEO_40
    answers = make_answers("position", like=True)
    asked = np.array([67, 62, 62])
    given = answers.give(metric, asked, None)
    assert given["video"].argmax(axis=1).tolist() == [7, 2, 2]
    constant = make_answers("constant", like=True).give(metric, asked, None)
    assert len(set(constant["video"].argmax(axis=1))) == 1


def test_where_pairs_cost_pixels_the_mean_is_blurred_as_unseen_clips_like_it() -> None:
    """Clips of noise: of one that is not known there is nothing to know but the mean over the screen."""
    answers = make_answers("constant", metric=PSNR)
    given = answers.give(PSNR, np.array([65, 61]), None)
    assert given.video is not None and (given.video[0] == given.video[1]).all()
    best = [np.array_equal(given.video[0], one) for one in answers.drawn].index(True)
    assert best >= 4  # a blur of a tenth of a frame, or more
    _, counts = answers.compare_pixels(PSNR)
    own = np.append(np.full(len(answers.drawn), -1), answers.few)[:, None] == answers.compared
    assert len(answers.compared) == SLOTS + 25 and own.any() and (counts == ~own).all()


def test_only_a_registered_floor_answers_so() -> None:
    spec = {"method": "best_constant"}
    about = {"role": "control", "answers": "constant", "spec": spec}
    assert answers_of(SimpleNamespace(manifest=about)) == "constant"
    assert not answers_of(SimpleNamespace(manifest={**about, "role": "method"}))
    assert not answers_of(SimpleNamespace(manifest={**about, "spec": {"method": "sam_net"}}))
    assert not answers_of(SimpleNamespace(manifest={"spec": spec}))
    assert chooses(PSNR) and not chooses(CLIP_CONSISTENCY)


def test_thin_spreads() -> None:
    assert thin(np.arange(10), 4).tolist() == [0, 3, 6, 9]
    assert thin(np.arange(3), 4).tolist() == [0, 1, 2] and thin(np.arange(3), 0).tolist() == []


def test_clips_split_is_that_of_the_cell() -> None:
    (fold,) = make_folds(Shown(), "clips")
    answers = make_answers("constant")
    assert answers.train.tolist() == fold.train.tolist() and answers.validation.tolist() == fold.validation.tolist()


# The mean of clips, and metrics without a floor


def test_blur_keeps_the_mean_and_takes_the_detail() -> None:
    clips = paint(np.random.default_rng(0), 5)
    mean = average_clips(clips)
    np.testing.assert_allclose(mean, clips.astype(float).mean(axis=0))
    sharp, soft, softer = (blur_clip(mean, blur) for blur in (0.0, 0.1, 0.5))
    np.testing.assert_array_equal(sharp, np.round(mean))
    assert sharp.std(axis=(1, 2)).mean() > soft.std(axis=(1, 2)).mean() > softer.std(axis=(1, 2)).mean()
    np.testing.assert_allclose(softer.mean(axis=(1, 2)), mean.mean(axis=(1, 2)), atol=2)


def test_no_floor_is_held_against_what_never_looks_at_the_truth() -> None:
    every = {(name, metric.name): metric for name, protocol in PROTOCOLS.items() for metric in protocol.metrics}
    without = {about for about, metric in every.items() if not metric.floor}
    assert without == {about for about, metric in every.items() if not metric.paired and metric.level == "clip"} | {
        ("mind_animator", "clip_pcc")
    }
