"""A cell whose every value is computed by hand: planted videos and views, formulas that share no code with the product.

`planted_cell` holds what was shown and predicted, `by_hand` each metric from its definition. Here the product scores
the cell as it scores any (store, viewer, protocols, table), and every number that comes out is compared: values, the
shuffled floor, what a missing clip gets, and the row of the table with its interval, floor, ceiling and brain share.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from by_hand import FORMULAS, LOWER, SETS, SHUFFLES, TOLERANCE, WORST, Formula, ends, is_paired
from planted_cell import (
    BROKEN,
    CEILING,
    CLIPS,
    CONCEPT,
    CONCEPTS,
    FLOOR,
    MISSING,
    PREDICTIONS,
    TRIALS,
    TRUTH,
    UNDECIDED,
    Planted,
    PlantedJudges,
    make_dataset,
    publish_all,
)
from scipy import stats
from scored_cells import score_rows, select

from bench.core.seeds import permute
from bench.scoring.score_cell import score_cell
from bench.scoring.stored import compare_makings, read_scores
from bench.scoring.views import Viewer
from bench.store import provenance
from leaderboard.stats.ranking import rank_methods
from leaderboard.tables import mean_of, result_table
from metrics.protocols import PROTOCOLS

SUBJECTS = (1, 2)
ORDER = {subject: [clip for who, clip in TRIALS if who == subject] for subject in SUBJECTS}  # as the trials come


class Suite:
    judges = PlantedJudges()


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory, bench_home: Path) -> pd.DataFrame:
    """Rows of the cell, the floor and the ceiling in all protocols, as tables read them from the store."""
    store, cells = publish_all(tmp_path_factory.mktemp("runs"))
    protocols = tuple(PROTOCOLS)
    for cell in cells:
        score_cell(cell, store, make_dataset(), Suite, protocols=protocols)
    return read_scores([store.find(cell.key) for cell in cells], Viewer(Suite.judges, CONCEPTS), protocols)


def pick(scores: pd.DataFrame, protocol: str, metric: str, method: str = "planted") -> pd.DataFrame:
    wanted = (scores["protocol"] == protocol) & (scores["metric"] == metric) & (scores["method"] == method)
    return scores[wanted].set_index(["subject", "clip"])


# By hand


@cache
def compute(formula: Formula, prediction: Planted, truth: Planted) -> float:
    return formula(prediction, truth)


def score(protocol: str, metric: str, prediction: Planted | None, clip: int) -> float:
    """One pair; a missing prediction, and one that has no number, scores the worst."""
    value = np.nan if prediction is None else compute(FORMULAS[protocol, metric], prediction, TRUTH[clip])
    return WORST.get(metric, 0.0) if np.isnan(value) else value


def score_trials(protocol: str, metric: str) -> dict[tuple[int, int], float]:
    return {trial: score(protocol, metric, PREDICTIONS[trial], trial[1]) for trial in TRIALS}


def shuffle_trials(protocol: str, metric: str) -> dict[tuple[int, int], float]:
    """The same with each clip's prediction taken from another trial of the same subject, mean over permutations."""
    if not is_paired(protocol, metric):
        return score_trials(protocol, metric)
    floor = {}
    for subject, clips in ORDER.items():
        chosen = permute(len(clips), subject)[: SHUFFLES.get(metric, 10)]
        for place, clip in enumerate(clips):
            others = [PREDICTIONS[subject, clips[permutation[place]]] for permutation in chosen]
            floor[subject, clip] = float(np.mean([score(protocol, metric, one, clip) for one in others]))
    return floor


def tabulate(values: dict[tuple[int, int], float]) -> np.ndarray:
    """[subject, clip], clips in the order of their numbers."""
    return np.array([[values[subject, clip] for clip in CLIPS] for subject in SUBJECTS])


def close(metric: str) -> dict[str, float]:
    return {"abs": TOLERANCE.get(metric, 2e-6), "rel": 2e-5}


# The cell


def test_every_metric_of_every_protocol_has_a_formula_of_its_own() -> None:
    known = {(name, metric.name) for name, protocol in PROTOCOLS.items() for metric in protocol.metrics}
    assert known == {*FORMULAS, *SETS}


@pytest.mark.parametrize(("protocol", "metric"), FORMULAS)
def test_every_value_is_the_one_by_hand(scores: pd.DataFrame, protocol: str, metric: str) -> None:
    rows = pick(scores, protocol, metric)
    assert rows["value"].to_dict() == pytest.approx(score_trials(protocol, metric), **close(metric))


@pytest.mark.parametrize(("protocol", "metric"), FORMULAS)
def test_every_shuffled_value_is_the_one_by_hand(scores: pd.DataFrame, protocol: str, metric: str) -> None:
    rows = pick(scores, protocol, metric)
    assert rows["shuffled"].to_dict() == pytest.approx(shuffle_trials(protocol, metric), **close(metric))


@pytest.mark.parametrize(("protocol", "metric"), SETS)
def test_a_value_of_a_set_is_of_the_clips_that_are_there(scores: pd.DataFrame, protocol: str, metric: str) -> None:
    rows = pick(scores, protocol, metric)
    assert rows.index.tolist() == [(1, -1), (2, -1)]
    for subject in SUBJECTS:
        there = [clip for clip in CLIPS if (subject, clip) != MISSING]
        ours, true = [PREDICTIONS[subject, clip] for clip in there], [TRUTH[clip] for clip in there]
        by_hand = SETS[protocol, metric](ours, true)
        row = rows.loc[(subject, -1)]
        assert (row["value"], row["shuffled"]) == (pytest.approx(by_hand, rel=1e-5), row["value"])
    assert rows["status"].tolist() == ["missing", "ok"]


def test_the_formulas_tell_pairs_apart() -> None:
    """What the comparison rests on: against another truth some prediction scores otherwise, in every paired metric."""
    ours = [one for (subject, _), one in PREDICTIONS.items() if subject == 1 and one is not None]
    for (protocol, metric), formula in FORMULAS.items():
        if is_paired(protocol, metric):
            pairs = np.array([[compute(formula, one, TRUTH[clip]) for clip in CLIPS] for one in ours])
            assert np.ptp(pairs, axis=1).max() > 1e-3, (protocol, metric)


def test_a_missing_clip_keeps_its_row_and_scores_no_better_than_any(scores: pd.DataFrame) -> None:
    for protocol, metric in FORMULAS:
        rows = pick(scores, protocol, metric)
        assert len(rows) == 12 and rows.loc[MISSING, "status"] == "missing"
        others = rows.drop(index=[MISSING])["value"]
        missed = rows.loc[MISSING, "value"]
        assert missed >= others.max() if metric in LOWER else missed <= others.min(), (protocol, metric)


def test_a_view_of_nan_scores_the_worst_where_it_is_asked_for_and_only_there(scores: pd.DataFrame) -> None:
    for protocol, metric in FORMULAS:
        asked = metric.startswith("video_")
        row = pick(scores, protocol, metric).loc[BROKEN]
        assert row["status"] == ("invalid" if asked else "ok")
        assert not asked or row["value"] == pytest.approx(WORST.get(metric, 0.0))


def test_a_judge_that_likes_all_classes_alike_scores_chance(scores: pd.DataFrame) -> None:
    chances = {("eeg2video", "video_40way"): 3 / 42, ("corrected", "video_40way"): 1 / 40}
    chances |= {("corrected", "video_2way_normalised"): 0.0}
    for (protocol, metric), chance in chances.items():
        assert pick(scores, protocol, metric).loc[UNDECIDED, "value"] == pytest.approx(chance, abs=1e-12)


def test_n_way_counts_the_classes_above_the_right_one() -> None:
    """Two numbers on paper: of 5 classes the right one is second best; two of the four others are drawn in 3-way."""
    from metrics.n_way import n_way_accuracy

    scores = np.array([[0.1, 0.9, 0.5, 0.3, 0.2]])
    assert n_way_accuracy(scores, [2], n_way=3)[0] == pytest.approx(1 - 2 / 4)  # class 1 is among two of four
    assert n_way_accuracy(scores, [2], n_way=3, top_k=2)[0] == pytest.approx(1)
    assert n_way_accuracy(scores, [3], n_way=3, top_k=2)[0] == pytest.approx(1 - 1 / 6)  # not both of 1 and 2
    assert n_way_accuracy(scores, [[2, 3]], n_way=3)[0] == pytest.approx(1 - 2 / 3)  # three others are left


# The shuffled floor


def test_permutations_are_uniform_and_differ_between_subjects() -> None:
    """4,000 permutations of 6 trials: each trial goes to each place as often as chance has it (chi-squared, 25 df)."""
    drawn = [permute(6, subject) for subject in range(1, 401)]
    assert all(len(one) == 10 for one in drawn)
    counts = np.zeros((6, 6))
    for permutation in np.concatenate(drawn):
        assert sorted(permutation) == list(range(6))
        counts[np.arange(6), permutation] += 1
    expected = len(drawn) * 10 / 6
    assert ((counts - expected) ** 2 / expected).sum() < stats.chi2.ppf(0.999, 25)
    first, second = ({tuple(one) for one in permute(12, subject)} for subject in SUBJECTS)
    assert len(first) == len(second) == 10 and not first & second
    assert all(np.array_equal(a, b) for a, b in zip(permute(12, 1), permute(12, 1), strict=True))


# The table


def interval(table: np.ndarray) -> tuple[float, float]:
    """Two-way over subjects and concepts of equal size, fewer than six of each: parts are added, nothing subtracted."""
    concepts = np.array([CONCEPT[clip] for clip in CLIPS])
    means = np.stack([table[:, concepts == one].mean(axis=1) for one in (3, 7, 39)], axis=1)
    subject = np.var(means.mean(axis=1), ddof=1) / means.shape[0]
    concept = np.var(means.mean(axis=0), ddof=1) / means.shape[1]
    variance, freedom = subject + concept, (means.shape[0] - 1, means.shape[1] - 1)
    if min(subject, concept) == 0:
        df = freedom[int(concept > subject)]
    else:
        df = variance / (subject / freedom[0] + concept / freedom[1])
    reach = stats.t.ppf(0.975, df) * np.sqrt(variance)
    return table.mean() - reach, table.mean() + reach


def share_stands(share: float, score: np.ndarray, floor: np.ndarray, ceiling: np.ndarray) -> bool:
    """Fieller's test: whether score − floor = share × (ceiling − floor) is not rejected."""
    low, high = interval(score - floor - share * (ceiling - floor))
    return low <= 0 <= high


@pytest.fixture(scope="module")
def table(scores: pd.DataFrame) -> pd.DataFrame:
    return result_table(scores[scores["clip"] >= 0])


@pytest.mark.parametrize(("protocol", "metric"), FORMULAS)
def test_every_row_of_the_table_is_the_one_by_hand(table: pd.DataFrame, protocol: str, metric: str) -> None:
    row = select(table, "planted", protocol=protocol, metric=metric)
    value, shuffled = tabulate(score_trials(protocol, metric)), tabulate(shuffle_trials(protocol, metric))
    grey = np.array([score(protocol, metric, FLOOR, clip) for clip in CLIPS])
    codec = np.array([score(protocol, metric, CEILING[clip], clip) for clip in CLIPS])
    about = close(metric)
    mean = (value[0].sum() / 6 + value[1].sum() / 6) / 2
    assert row["value"] == pytest.approx(mean, **about)
    assert row["shuffled"] == pytest.approx(shuffled.mean(), **about)
    assert row["difference_to_shuffled"] == pytest.approx(mean - shuffled.mean(), **about)
    assert row["ceiling"] == pytest.approx(codec.mean(), **about)
    better = min if metric in LOWER else max
    floors = {"constant_grey": grey.mean(), "shuffled_brain": shuffled.mean()}
    if not PROTOCOLS[protocol][metric].floor:
        assert np.isnan(row["floor"]) and not row["floor_name"]
    else:
        assert row["floor"] == pytest.approx(better(floors.values()), **about)
    if row["floor_name"] and abs(grey.mean() - shuffled.mean()) > 0.01:
        assert row["floor_name"] == better(floors, key=lambda name: floors[name])
    best = better(SUBJECTS, key=lambda subject: value[subject - 1].mean())
    assert row["best_value"] == pytest.approx(value[best - 1].mean(), **about)
    covered = 10 if metric.startswith("video_") else 11  # of 12: the view of nan is no reconstruction either
    assert (row["n_subjects"], row["n_clips"], row["coverage"]) == (2, 6, covered / 12)
    assert "partial" in row["mark"]
    low, high = np.clip(interval(value), *ends(metric))
    assert (row["low"], row["high"]) == pytest.approx((low, high), rel=1e-3, abs=20 * about["abs"])
    gained = interval(value - shuffled)
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(gained, rel=1e-3, abs=20 * about["abs"])
    not_shown = gained[1] >= 0 if metric in LOWER else gained[0] <= 0
    assert ("n.s." in row["mark"]) == (not_shown and is_paired(protocol, metric))


@pytest.mark.parametrize(("protocol", "metric"), FORMULAS)
def test_the_brain_share_and_its_interval_are_those_by_hand(table: pd.DataFrame, protocol: str, metric: str) -> None:
    row = select(table, "planted", protocol=protocol, metric=metric)
    if not PROTOCOLS[protocol][metric].floor:
        assert np.isnan([row["brain_share"], row["brain_share_low"], row["brain_share_high"]]).all()
        return
    value, shuffled = tabulate(score_trials(protocol, metric)), tabulate(shuffle_trials(protocol, metric))
    grey = np.array([[score(protocol, metric, FLOOR, clip) for clip in CLIPS]] * 2)
    ceiling = np.array([[score(protocol, metric, CEILING[clip], clip) for clip in CLIPS]] * 2)
    floor = {"constant_grey": grey, "shuffled_brain": shuffled}[row["floor_name"]]
    room = ceiling.mean() - floor.mean()
    if room == 0 or (room < 0) != (metric in LOWER):  # no ceiling above the floor
        assert np.isnan([row["brain_share"], row["brain_share_low"], row["brain_share_high"]]).all()
        return
    share = (value.mean() - floor.mean()) / room
    assert row["brain_share"] == pytest.approx(np.clip(share, -1, 1), rel=1e-3, abs=1e-4)
    assert share_stands(share, value, floor, ceiling)
    ends = (row["brain_share_low"], row["brain_share_high"])
    low, high = interval(ceiling - floor)
    if low <= 0 <= high:  # the ceiling is not surely above the floor
        assert ends == (-1, 1)
        return
    for end, sign in zip(ends, (-1, 1), strict=True):
        if abs(end) == 1:  # bounded: what is beyond is not told
            continue
        step = sign * 2e-3 * max(1, abs(end))
        assert share_stands(end - step, value, floor, ceiling)
        assert not share_stands(end + step, value, floor, ceiling)


def test_the_mean_is_over_clips_then_over_subjects_and_seeds_lie_inside() -> None:
    """Subjects 1 and 2 saw four clips, subject 3 two others, so rows do not weigh alike; two seeds. In dB, far from the
    ends of the range, so that the whole interval is seen; that of an accuracy ends where accuracies do."""
    first, second = np.array([[0.1, 0.3, 0.2, 0.4], [0.5, 0.7, 0.9, 0.5]]), np.array([[0.9, 0.2]])
    parts = [
        score_rows(first - 0.1, subjects=(1, 2), seed=0),
        score_rows(first + 0.1, subjects=(1, 2), seed=1),
        score_rows(second - 0.1, subjects=(3,), seed=0).assign(clip=lambda rows: rows["clip"] + 50, concept=[90, 91]),
        score_rows(second + 0.1, subjects=(3,), seed=1).assign(clip=lambda rows: rows["clip"] + 50, concept=[90, 91]),
    ]
    both = pd.concat(parts, ignore_index=True)
    accuracy = select(result_table(both), "sam_net")
    row = select(result_table(both.assign(metric="psnr", value=20 + both["value"])), "sam_net")
    assert row["value"] == pytest.approx(20 + (0.25 + 0.65 + 0.55) / 3)
    assert accuracy["value"] == pytest.approx(row["value"] - 20)
    assert mean_of(both) == pytest.approx(accuracy["value"])
    assert row["value"] != pytest.approx(20 + np.concatenate([first.ravel(), second.ravel()]).mean())
    assert (row["best_subject"], row["best_value"]) == (2, pytest.approx(20.65))
    assert (row["n_subjects"], row["n_clips"], row["seeds"]) == (3, 6, 2)
    # by concept the first group has 0.2, 0.3 and 0.6, 0.7; the second group varies over two concepts only
    subject, concept = 0.4**2 / 2 / 2, 0.1**2 / 2 / 2
    alone = 0.7**2 / 2 / 2
    own = subject + concept, 1.0  # both parts have one degree of freedom
    squares = [(2 / 3) ** 2 * own[0], (1 / 3) ** 2 * alone]
    df = sum(squares) ** 2 / (squares[0] ** 2 / own[1] + squares[1] ** 2 / 1)
    reach = stats.t.ppf(0.975, df) * np.sqrt(sum(squares))
    assert (row["low"], row["high"]) == pytest.approx((row["value"] - reach, row["value"] + reach))
    assert reach > 0.6 and (accuracy["low"], accuracy["high"]) == (0, 1)


def test_with_enough_subjects_and_concepts_the_residual_is_subtracted() -> None:
    """Seven subjects and eight concepts of one clip: mean squares of the two-way layout, Satterthwaite's freedom."""
    rng = np.random.default_rng(6)
    values = 0.5 + 0.1 * (rng.normal(size=(7, 1)) + rng.normal(size=(1, 8)) + rng.normal(size=(7, 8)))
    rows = score_rows(values, subjects=range(1, 8)).assign(concept=lambda one: one["clip"])
    row = select(result_table(rows), "sam_net")
    subject = 8 * np.sum((values.mean(axis=1) - values.mean()) ** 2) / 6
    concept = 7 * np.sum((values.mean(axis=0) - values.mean()) ** 2) / 7
    rest = (np.sum((values - values.mean()) ** 2) - 6 * subject - 7 * concept) / 42
    variance = (subject + concept - rest) / 56
    df = variance**2 * 56**2 / (subject**2 / 6 + concept**2 / 7 + rest**2 / 42)
    reach = stats.t.ppf(0.975, df) * np.sqrt(variance)
    assert (row["low"], row["high"]) == pytest.approx((values.mean() - reach, values.mean() + reach))


def test_tiers_and_rank_intervals_by_hand() -> None:
    """Four methods, one subject, eight clips: paired t tests, by Holm the first of six pairs at .05 / 6."""
    wave = np.array([1, -1, 1, -1, 1, -1, 1, -1.0])
    turn = np.array([1, 1, -1, -1, 1, 1, -1, -1.0])
    clip = np.arange(8.0)
    methods = np.stack([clip + 10 + wave, clip + 8.55 + turn, clip + 1 - wave, clip + 0.8 - turn])
    p = {}
    for i in range(4):
        for j in range(i + 1, 4):
            p[i, j] = stats.ttest_rel(methods[i], methods[j]).pvalue
    ordered = sorted(p, key=lambda pair: p[pair])
    shown, left = set(), 6
    for pair in ordered:  # Holm: the smallest p against .05 / 6, the next against .05 / 5, …, until one fails
        if p[pair] > 0.05 / left:
            break
        shown.add(pair)
        left -= 1
    assert shown == {(0, 2), (0, 3), (1, 2), (1, 3)}
    assert 0.025 < p[0, 1] < 0.05  # alone it would count; as the fifth of six tests it does not
    ranking = rank_methods([(methods[:, None], None)])
    assert ranking.tier.tolist() == [1, 1, 2, 2]
    assert list(zip(ranking.low.tolist(), ranking.high.tolist(), strict=True)) == [(1, 2), (1, 2), (3, 4), (3, 4)]
    assert rank_methods([(methods[:, None], None)], direction="lower").tier.tolist() == [2, 2, 1, 1]


# What was not made alike


def test_cells_and_scores_that_were_not_made_alike_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cells in one table: one was made by another torch, and scored on another device, from code of no commit."""
    store, cells = publish_all(tmp_path / "runs")
    viewer = Viewer(PlantedJudges(), CONCEPTS)
    how = {"python": "3.11.7", "packages": {"torch": "2.11"}, "threads": 1, "gpus": [], "dirty": False}
    other = {**how, "gpus": ["H100"], "dirty": True}
    for cell, making in zip(cells, (how, other, how), strict=True):
        monkeypatch.setattr(provenance, "describe", lambda making=making: making)
        score_cell(cell, store, make_dataset(), Suite, protocols=("vbench",))
    made = [replace(cell, manifest={**cell.manifest, "provenance": how}) for cell in cells]
    made[0] = replace(made[0], manifest={**made[0].manifest, "provenance": {**how, "packages": {"torch": "2.12"}}})
    told = compare_makings(made, viewer, ("vbench",))
    assert told[0] == "not made alike: torch 2.11 (codec, constant_grey); torch 2.12 (planted)"
    assert told[1].startswith("not scored alike: device H100 (") and "; device cpu (" in told[1]
    assert told[2].startswith("scored by code that was changed since its commit (dirty): ")
    assert len(told) == 3
    assert compare_makings(made[2:], viewer, ("vbench",)) == []
    changed = [replace(cell, manifest={**cell.manifest, "provenance": other}) for cell in cells[:1]]
    rows = read_scores(changed, viewer, ("vbench",))
    assert "dirty" in result_table(rows)["mark"].iloc[0]
