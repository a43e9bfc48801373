"""The board on made-up scores whose order is planted: tiers, floors, marks, coverage, and files that are stable."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from small_site import read_page

from bench.core.registry import resolve
from bench.core.variants import find_variant
from leaderboard.board import Section, make_board, write_number
from leaderboard.publication import FOLDER, board_rows, write_board, write_evaluation, write_markdown
from leaderboard.published import read_published
from leaderboard.published_board import show_sets
from leaderboard.results import RESULTS, Committed, current_version, read_manifests, read_results
from leaderboard.standing import FLOORS
from leaderboard.web.clip_wall import read_walls
from leaderboard.web.site import find_strays, write_site
from metrics.protocols import PROTOCOLS

SUBJECTS, CLIPS = 6, 40


def make_scores(
    method: str,
    level: float,
    *,
    role: str = "method",
    split: str = "cross_subject",
    seeds: int = 1,
    missing: bool = False,
) -> pd.DataFrame:
    """Scores around `level` on the three metrics of the board; a shuffled brain gets .02."""
    shared = np.random.default_rng(0).standard_normal((SUBJECTS, CLIPS)) / 10
    subjects = [0] if split == "clips" else range(1, SUBJECTS + 1)
    parts = []
    for seed in range(seeds):
        noise = np.random.default_rng([seed, *method.encode()]).standard_normal((SUBJECTS, CLIPS)) / 50
        for metric in ("video_40way", "frame_40way", "ssim"):
            for row, subject in enumerate(subjects):
                value = level + shared[row] + noise[row] + 0.01 * seed
                part = {
                    "dataset": "phantom_eeg", "split": split, "classes": 40, "suite": "mini", "protocol": "corrected",
                    "metric": metric, "method": method, "variant": "base", "role": role, "seed": seed,
                    "subject": subject, "clip": np.arange(CLIPS), "concept": np.arange(CLIPS) // 2, "value": value,
                    "shuffled": 0.02 + shared[row], "status": "ok", "parameters": 100, "phantom": True, "cell": method,
                    "fold": f"sub{subject:02d}", "folds": len(subjects),
                    "door": "submitted" if method == "glfa" else "reproduced",
                }  # fmt: skip
                parts.append(pd.DataFrame(part))
    scores = pd.concat(parts, ignore_index=True)
    if missing:
        scores.loc[0, "status"] = "missing"
    return scores


@pytest.fixture(scope="module")
def sections() -> list[Section]:
    scores = [
        make_scores("sam_net", 0.5, seeds=3),
        make_scores("eeg2video", 0.2),
        make_scores("dynamind", 0.2001),
        make_scores("glfa", 0.9, missing=True),
        make_scores("retrieval", 0.02, role="baseline"),
        make_scores("train_mean", 0.05, role="control", split="clips"),
        make_scores("codec", 0.95, role="ceiling", split="clips"),
    ]
    return make_board(pd.concat(scores, ignore_index=True))


def test_a_planted_order_makes_tiers_and_equals_share_one(sections):
    (section,) = sections
    assert [row.method for row in section.ranked] == ["sam_net", "dynamind", "eeg2video", "retrieval"] or [
        row.method for row in section.ranked
    ] == ["sam_net", "eeg2video", "dynamind", "retrieval"]
    assert [row.tier for row in section.ranked] == [1, 2, 2, 3]
    assert [(row.rank_low, row.rank_high) for row in section.ranked] == [(1, 1), (2, 3), (2, 3), (4, 4)]
    assert section.better.sum() == 5 and section.better[0].sum() == 3
    assert section.ranked[0].best_share == 1.0


def test_groups_of_subjects_with_clips_of_their_own_are_ranked_together():
    """As in CineBrain: the first three subjects saw the first twenty clips, the others the rest."""
    levels = {"sam_net": 0.5, "eeg2video": 0.2, "dynamind": 0.2001}
    seen = pd.concat([make_scores(method, level) for method, level in levels.items()])
    seen = seen[(seen["subject"] <= 3) == (seen["clip"] < 20)]
    floor = make_scores("train_mean", 0.05, role="control", split="clips")
    ceiling = make_scores("codec", 0.95, role="ceiling", split="clips")
    (section,) = make_board(pd.concat([seen, floor, ceiling], ignore_index=True))
    assert [row.tier for row in section.ranked] == [1, 2, 2]
    best = section.ranked[0]
    assert best.best_share == 1.0 and set(best.by_subject) == set(range(1, 7))
    assert best.scores["video_40way"].value == pytest.approx(np.mean(list(best.by_subject.values())))
    share = best.brain_share
    assert share.value - 0.3 < share.low < share.value < share.high < share.value + 0.3
    assert section.design == "6 subjects in 2 groups with clips of their own, 40 in all"


def test_what_lacks_a_fold_is_listed_and_not_ranked():
    """Each subject a fold: one method has all six, one five of them, one all of them with one seed of two."""
    some = make_scores("eeg2video", 0.9)
    uneven = make_scores("dynamind", 0.8, seeds=2)
    scores = [
        make_scores("sam_net", 0.5),
        some[some["subject"] != 6],
        uneven[(uneven["seed"] == 0) | (uneven["subject"] != 6)],
    ]
    (section,) = make_board(pd.concat(scores, ignore_index=True))
    assert [(row.method, row.tier) for row in section.rows] == [("sam_net", 1), ("eeg2video", None), ("dynamind", None)]
    assert [row.coverage for row in section.rows] == [1, pytest.approx(5 / 6), pytest.approx(11 / 12)]


def test_a_baseline_alone_makes_a_section():
    (section,) = make_board(make_scores("retrieval", 0.3, role="baseline"))
    assert [row.method for row in section.ranked] == ["retrieval"]


def test_subsets_of_the_classes_are_no_sections():
    scores = pd.concat([make_scores("sam_net", 0.5), make_scores("sam_net", 0.9).assign(classes=10)])
    (section,) = make_board(scores)
    assert section.classes == 40 and section.ranked[0].scores["video_40way"].value < 0.6


def test_what_lacks_a_clip_is_listed_and_not_ranked(sections):
    (section,) = sections
    (partial,) = [row for row in section.rows if row.method == "glfa"]
    assert partial.tier is None and partial.coverage < 1 and "partial" in partial.marks
    assert partial.door == "submitted" and section.ranked[0].door == "reproduced"
    assert [row.method for row in section.rows][4:] == ["glfa", "train_mean", "codec"]


def test_floors_and_ceilings_bound_the_share(sections):
    (section,) = sections
    best = section.ranked[0]
    assert best.brain_share.value == pytest.approx((best.scores["video_40way"].value - 0.05) / 0.9, abs=0.02)
    retrieval = section.ranked[-1]
    assert "n.s." in retrieval.marks  # at the level of its own shuffled brain
    assert np.isnan(section.ranked[1].seed_sd) and best.seed_sd == pytest.approx(0.01, abs=0.003)
    assert set(best.by_subject) == set(range(1, 7))
    assert section.rows[-1].by_subject == {}  # a ceiling of clips sees no subject


def test_markdown_has_eight_columns_and_the_same_bytes_again(sections):
    text = write_markdown(sections, [])
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.count("|") - line.count("\\|") == 9 for line in table)
    assert "phantom_eeg (phantom): cross subject" in text and "*one seed*" in text and "*n.s.*" in text
    assert write_markdown(sections, []) == text


def test_evaluation_results_of_what_left_the_board_go(sections, tmp_path):
    folder = tmp_path / "evaluation-results"
    folder.mkdir()
    (folder / "gone.yaml").write_text(write_evaluation("sam_net", sections), encoding="utf-8")
    (folder / "mine.yaml").write_text("somebody's own", encoding="utf-8")
    write_board(sections, tmp_path)
    assert (folder / "sam_net.yaml").is_file() and (folder / "mine.yaml").is_file()
    assert not (folder / "gone.yaml").exists()


def test_files_say_the_same_as_the_sections(sections, tmp_path):
    paths = write_board(sections, tmp_path)
    assert {path.name for path in paths} >= {"LEADERBOARD.md", "board.csv", "board.json", "sam_net.yaml"}
    records = json.loads((tmp_path / "board.json").read_text())
    assert [one["method"] for one in records] == [row.method for row in sections[0].rows]
    assert records[0]["video_40way"] == pytest.approx(sections[0].ranked[0].scores["video_40way"].value, rel=1e-5)
    assert records[-1]["tier"] is None
    assert len(pd.read_csv(tmp_path / "board.csv")) == len(board_rows(sections)) == 7
    card = yaml.safe_load(write_evaluation("sam_net", sections))
    assert write_evaluation("no_longer_installed", sections).startswith("# no_longer_installed\n")
    (result,) = card["model-index"][0]["results"]
    assert [one["type"] for one in result["metrics"]] == ["video_40way", "frame_40way", "ssim"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.08764, "0.0876"), (13.14, "13.1"), (161.0, "161"), (1234.6, "1235"), (-0.5, "-0.500")],
)
def test_numbers_have_three_digits(value, text):
    assert write_number(value) == text


def test_the_published_board_is_what_the_committed_results_make(tmp_path):
    sections, published = make_board(read_results()), show_sets(read_published(RESULTS))
    numbers = write_board(sections, tmp_path, published=published)
    for path in numbers:
        assert (FOLDER / path.relative_to(tmp_path)).read_bytes() == path.read_bytes(), f"stale: {path.name}"
    records = list(Committed().records.values())
    site = tmp_path / "site"
    made = write_site(sections, read_walls(), site, published=published, records=records)
    for name in ("board.csv", "board.json", "published.csv", "published.json"):
        assert (site / name).read_bytes() == (FOLDER / name).read_bytes()
    pages = {path.name: read_page(path).tags for path in made if path.suffix == ".html"}
    loaded = [name for _, about in pages["index.html"] for name in (about.get("src"), about.get("poster")) if name]
    size = sum((site / name).stat().st_size for name in ["index.html", *map(str, loaded)])
    assert 1 + len(loaded) < 40 and size < 400_000
    assert len(pages["index.html"]) > 100 and max(map(len, pages.values())) <= 3000
    assert {f"method-{row.method}.html" for section in sections for row in section.rows} < set(pages)
    names = {path.relative_to(tmp_path).as_posix() for path in (*numbers, *made)} | {"site/history.html"}
    assert [one for one in find_strays(FOLDER, names) if not one.startswith("evaluation-results/")] == []
    assert len(list(site.glob("records/*.json"))) == sum(len(section.rows) for section in sections)


def test_what_was_published_of_real_recordings_is_committed_with_floors_and_intervals():
    sets = {one.name: one for one in read_published(RESULTS)}
    clips = {"seed_dv-eeg2video": 23, "cc2017-mind_video": 8, "cc2017-neuroclips": 11, "cinebrain-cinesync": 4}
    assert {name: one.record["clips"] for name, one in sets.items() if name in clips} == clips
    for name in clips:
        record = sets[name].record
        assert record["chosen"] and record["suite"] == "light" and not record["provenance"]["dirty"]
        for metric, version in record["metric_versions"].items():
            assert version == current_version(*metric.split(".")), f"score and publish {name} again: {metric} changed"
    shown = {one.name: {part.protocol: part for part in one.parts} for one in show_sets(list(sets.values()))}
    assert set(shown["cinebrain-cinesync"]) == {"vbench"}
    for name, own in (("seed_dv-eeg2video", "eeg2video"), ("cc2017-mind_video", "neuroclips")):
        assert {own, "corrected"} <= set(shown[name])
    frames = shown["seed_dv-eeg2video"]["corrected"].summary.set_index("metric").loc["frame_40way"]
    assert frames["value"] == pytest.approx(0.57, abs=0.01) and frames["chance"] == pytest.approx(1 / 40)
    assert frames["low"] > 0.3 and frames[list(FLOORS)].max() < 0.1


def test_committed_results_are_of_the_methods_as_they_are():
    for manifest in read_manifests():
        spec = manifest["spec"]
        method = resolve("methods", spec["method"])
        assert spec["method_version"] == method.version, f"run {spec['method']} again and publish it"
        assert spec["parameters"] == find_variant(spec["method"], manifest["variant"])
        assert not manifest["provenance"]["dirty"], f"{manifest['key']} comes from code that is not committed"


def test_no_committed_interval_leaves_the_range_of_its_metric():
    board, shown = (pd.read_csv(FOLDER / f"{name}.csv") for name in ("board", "published"))
    seen = 0
    for metric in PROTOCOLS["corrected"].metrics:
        if f"{metric.name}_low" in board:
            seen += 1
            assert (board[f"{metric.name}_low"].dropna() >= metric.lo).all(), metric.name
            assert (board[f"{metric.name}_high"].dropna() <= metric.hi).all(), metric.name
    for (protocol, name), rows in shown.groupby(["protocol", "metric"]):
        metric = PROTOCOLS[protocol][name]
        assert (rows["low"].dropna() >= metric.lo).all() and (rows["high"].dropna() <= metric.hi).all(), name
    assert seen >= 3 and len(shown)
