"""Audits: each finds what is planted, says nothing where nothing is, and keeps its error rate on closed-form nulls."""

from __future__ import annotations

from dataclasses import replace
from math import comb
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kstest

from bench.audit import audit_dataset, collapse, disjointness, findings, fitting, measure, recordings, report
from bench.core.errors import BenchError
from bench.core.splits import make_folds
from bench.datasets.phantom.eeg.spec import PLANTED, SIZES, PhantomSpec
from bench.store.cells import Store
from bench.store.predictions import write_predictions

BLOCKS, SLOTS = 7, 10


@pytest.fixture
def orders() -> np.ndarray:
    """The concept orders that the tiny phantom has."""
    kept = SIZES["tiny"].geometry.order
    assert kept.shape == (BLOCKS, SLOTS)
    return kept


def make_grid(orders: np.ndarray) -> recordings.Grid:
    return recordings.Grid({}, orders)


# the permutation test


def test_p_value_is_the_rank_of_the_data_among_relabellings() -> None:
    statistics = np.array([3.0, 1.0, 4.0, 1.5, 0.0])[:, None]
    assert findings.assess_largest(statistics).p_value == 2 / 5  # itself and the 4


def test_p_values_of_noise_are_uniform() -> None:
    rng = np.random.default_rng(0)
    values = [findings.assess_largest(rng.standard_normal((200, 12))).p_value for _ in range(400)]
    assert kstest(values, "uniform").pvalue > 0.01


@given(st.integers(2, 6), st.integers(2, 9), st.integers(0, 99))
def test_relabellings_keep_each_block(blocks: int, slots: int, seed: int) -> None:
    labels = np.random.default_rng(seed).permuted(np.tile(np.arange(slots), (blocks, 1)), axis=1)
    for made in list(findings.shuffle_slots(np.random.default_rng(seed), labels))[:5]:
        assert (np.sort(made, axis=1) == np.arange(slots)).all()
    for made in list(findings.shift_slots(np.random.default_rng(seed), blocks, slots))[:5]:
        assert np.isin(np.diff(made, axis=1) % slots, 1).all()  # neighbours stay neighbours


def test_one_relabelling_at_least() -> None:
    with pytest.raises(ValueError, match="at least one relabelling"):
        findings.assess_largest(np.zeros((1, 3)))


# the recordings


def draw_features(rng: np.random.Generator, orders: np.ndarray, concept: float = 2.0) -> np.ndarray:
    """Noise that goes on within a block, and strong responses to the concepts: (subject, block, slot, number)."""
    noise = rng.standard_normal((3, *orders.shape, 6))
    noise[:, :, 1:] += 0.6 * noise[:, :, :-1]
    return noise + concept * rng.standard_normal((orders.max() + 1, 6))[orders]


def test_concepts_do_not_pass_for_moments_nor_for_runs(orders: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    grid, moment, run = make_grid(orders), [], []
    for _ in range(40):
        features = [draw_features(rng, orders)]
        moment.append(recordings.assess_moment(features, grid, rng).p_value)
        run.append(recordings.assess_run(features, grid, rng).p_value)
    for values in (moment, run):  # at 5 %, for forty p-values say little of 1 %
        assert sum(value <= 0.05 for value in values) <= binom.ppf(0.999, 40, 0.05)


def test_a_moment_and_a_run_are_found_whatever_the_concepts(orders: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    grid = make_grid(orders)
    features = draw_features(rng, orders)
    drifting = features + np.sin(np.arange(SLOTS) / SLOTS * 2 * np.pi)[:, None] * rng.standard_normal(6) * 2
    assert recordings.assess_moment([drifting], grid, rng).p_value == 0.001
    offset = features + 2 * rng.standard_normal((3, BLOCKS, 1, 6))
    assert recordings.assess_run([offset], grid, rng).p_value <= 0.001
    assert recordings.assess_moment([offset], grid, rng).p_value > 0.01  # each sees its own
    assert recordings.assess_run([drifting], grid, rng).p_value > 0.01


def test_moments_do_not_pass_for_hints(orders: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    grid = make_grid(orders)
    slots = 5 * rng.standard_normal((SLOTS, 6))
    values = [
        recordings.assess_hint(draw_features(rng, orders, concept=0.0) + slots, grid, rng).p_value for _ in range(40)
    ]
    assert sum(value <= 0.05 for value in values) <= binom.ppf(0.999, 40, 0.05)
    assert recordings.assess_hint(draw_features(rng, orders, concept=1.0) + slots, grid, rng).p_value == 0.001


def test_films_without_slots_are_not_applicable(phantom: Any) -> None:
    films: Any = fitting.Altered(phantom, stimuli=phantom.stimuli.remove_columns("slot"))
    assert {one.verdict for one in recordings.audit_recordings(films)} == {"not applicable"}


def test_hints_lie_before_the_first_clip_of_a_slot(phantom: Any) -> None:
    hints, geometry = phantom.hints(2), phantom.geometry
    first = geometry.onset(3, 0) * 200
    expected = phantom.recording(2)[4, :, first - geometry.hint_seconds * 200 : first]
    assert hints.shape[:2] == (7, 10) and (hints[4, 3] == expected).all()


def test_pairings_of_seven_blocks_are_all_of_them() -> None:
    pairings = recordings.list_pairings(7, np.random.default_rng(0))
    assert len(np.unique(pairings, axis=0)) == 5040 and (pairings[0] == np.arange(7)).all()


def test_what_channels_share_leaves_the_unshared_part() -> None:
    rng = np.random.default_rng(4)
    source = rng.standard_normal((2, 50, 30)) + 1j * rng.standard_normal((2, 50, 30))  # two sources
    mixing = rng.standard_normal((8, 2))
    own = 0.1 * (rng.standard_normal((50, 8, 30)) + 1j * rng.standard_normal((50, 8, 30)))
    mixed = (np.einsum("cs,snf->ncf", mixing, source) + own).astype(np.complex64)
    alone = recordings.unshared([mixed])
    gain = np.linalg.norm(alone @ mixing, axis=1) / np.linalg.norm(alone @ np.eye(8), axis=1)
    assert gain.max() < 0.05 * np.linalg.norm(mixing, axis=1).min()


# splits


class Pictures:
    """Only what the audit of frames reads."""

    def __init__(self, video: np.ndarray, concept: list[int]) -> None:
        self.pictures = video
        self.stimuli = {"concept": concept}

    def video(self, clips: Any) -> np.ndarray:
        return self.pictures[np.asarray(clips)]


def test_near_frames_are_found_in_another_encoding_and_no_others() -> None:
    import cv2

    rng = np.random.default_rng(5)
    small = rng.uniform(0, 255, (6, 6, 7, 9, 3)).astype(np.float32)
    video = np.stack([[cv2.resize(f, (96, 64), interpolation=cv2.INTER_CUBIC) for f in clip] for clip in small])
    video = np.clip(video, 0, 255).astype(np.uint8)
    _, jpeg = cv2.imencode(".jpg", np.clip(video[1, 5] * 0.9 + 12, 0, 255).astype(np.uint8), [1, 60])
    video[4, 3] = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)  # the middle frame of clip 4 is the last of clip 1
    near, unrelated, pairs = disjointness.find_near(
        Pictures(video, [0, 1, 2, 0, 1, 2]),  # type: ignore[arg-type]
        np.arange(3),
        np.arange(3, 6),
    )
    assert near.tolist() == [[4, 1]] and (unrelated, pairs) == (0, 6)


def test_hash_is_blind_to_brightness_and_contrast() -> None:
    pictures = np.random.default_rng(6).uniform(0, 200, (5, 32, 32, 3)).astype(np.float32)
    same = disjointness.hash_pictures(pictures)
    changed = disjointness.hash_pictures(0.5 * pictures)
    assert (same == changed).all() and len(np.unique(same)) == 5


def test_caption_null_is_the_exact_share() -> None:
    """Two captions shared by two clips each of one concept: the exchange has a closed form."""
    caption, concept = ["a", "a", "b", "c", "d", "e"], [0] * 6
    table = pd.DataFrame({"clip": range(6), "caption": caption, "concept": concept})
    dataset: Any = SimpleNamespace(digest="0", stimuli=SimpleNamespace(to_pandas=lambda: table))
    row = disjointness.compare_captions(dataset, np.arange(1, 6), np.array([0]), "x")
    assert row.value == 1.0  # one test clip, and its caption is known
    assert float(row.null.split()[1].rstrip(",")) == pytest.approx(2 / comb(6, 1), abs=0.05)
    assert row.verdict == "ok"  # a third of all exchanges do as much


def test_folds_that_share_are_found(phantom: Any) -> None:
    assert disjointness.compare_folds(phantom, make_folds(phantom, "new_subject")).verdict == "ok"
    fold = make_folds(phantom, "new_subject")[0]
    shared = disjointness.compare_folds(phantom, [replace(fold, train=np.append(fold.train, fold.test[:1]))])
    assert shared.verdict == "found" and "clip" in shared.meaning and "subject" in shared.meaning


# normalisation


def test_scalings_of_test_trials_are_found(phantom: Any) -> None:
    assert [one.value for one in fitting.audit_fitting(phantom)] == [0.0, 0.0, 0.0]
    leaky = measure.plant_fitting(phantom)
    assert {one.verdict for one in leaky} == {"found"} and min(one.value for one in leaky) > 0.1


# results


def test_effective_rank_of_known_spectra() -> None:
    assert collapse.measure_rank(np.ones((5, 7))) == 1.0
    corners = np.eye(6)  # six points, five equal singular values once centred
    assert collapse.measure_rank(corners) == pytest.approx(5.0)
    assert collapse.measure_rank(np.outer(np.arange(4.0), np.ones(3))) == pytest.approx(1.0)


@settings(max_examples=20)
@given(st.integers(0, 999), st.floats(0.1, 10))
def test_spread_is_the_mean_distance_and_rank_ignores_scale(seed: int, scale: float) -> None:
    pictures = np.random.default_rng(seed).standard_normal((6, 4))
    pairs = [np.mean((a - b) ** 2) for i, a in enumerate(pictures) for b in pictures[:i]]
    assert collapse.measure_spread(pictures) == pytest.approx(np.sqrt(np.mean(pairs)))
    assert collapse.measure_rank(scale * pictures) == pytest.approx(collapse.measure_rank(pictures))


def test_collapse_is_found_in_what_a_store_holds(phantom: Any, tmp_path: Any) -> None:
    store = Store(tmp_path)
    clips = phantom.stimuli.to_pandas().iloc[:20]
    videos = {"varied": phantom.video(np.arange(20)[::-1]), "same": phantom.video(np.zeros(20, int))}
    trials = pd.DataFrame({"trial": range(20), "subject": 1, "clip": range(20), "seed": 0})
    trials = trials.assign(concept=clips["concept"], block=clips["block"])
    spec = {"data_digest": phantom.digest, "split": "s", "fold": "f", "seed": 0, "suite": "mini"}
    for number, (name, video) in enumerate(videos.items()):
        with store.publishing(f"{number:016x}") as draft:
            write_predictions(draft, trials, video)
            draft.manifest.update(spec={**spec, "method": name}, role="method", variant="base")
    rows = report.tabulate(report.audit_runs(phantom, tmp_path))
    verdicts = rows.groupby(rows["subject_of"].str.split().str[0])["verdict"]
    assert set(verdicts.get_group("varied")) == {"ok"} and set(verdicts.get_group("same")) == {"found"}
    assert set(rows[rows["verdict"] == "found"]["statistic"]) == {
        *("spread, of the true clips'", "effective rank", "judge classes")
    }
    with pytest.raises(BenchError, match="no store"):
        report.audit_runs(phantom, tmp_path / "none")


# the whole


def test_report_of_a_clean_phantom(phantom: Any) -> None:
    table = audit_dataset(phantom)
    assert table.columns.tolist() == [
        *("audit", "subject_of", "statistic", "value", "null", "p_value", "verdict", "meaning")
    ]
    expected = {*recordings.MEANINGS, "duplicates", "disjointness", "concepts", "frames", "captions"}
    assert set(table["audit"]) == expected | {"fitted on test", "output collapse"}
    assert not (table["verdict"] == "found").any()


def test_every_planted_confound_is_found(phantom: Any) -> None:
    said = measure.try_seed(1000, PLANTED)
    assert not any(said.pop("nothing").values())
    assert {name: said[name][measure.AUDIT_OF[name]] for name in PLANTED} == dict.fromkeys(PLANTED, True)
    assert all(said[name][audit] for name, audit in measure.PLANTS.items())


def test_planted_strengths_are_fields_that_are_off() -> None:
    assert all(getattr(PhantomSpec(size="x"), name) == 0 for name in PLANTED)
    assert set(measure.AUDIT_OF) == set(PLANTED)


def test_wilson_interval_as_published() -> None:
    """Newcombe 1998, table I: 81 of 263 and 0 of 20."""
    assert measure.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert measure.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
