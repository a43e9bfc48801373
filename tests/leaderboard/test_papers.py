"""A paper's table beside what was measured: order, best and mean, missing, reported only, n/a, differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.api import papers as door
from bench.core.errors import BenchError
from leaderboard.papers import differences as paper_differences
from leaderboard.papers import reported
from leaderboard.papers.layout import lay_out
from leaderboard.papers.measure import (
    MEASURED,
    NOT_HERE,
    NOT_RUN,
    REPORTED,
    UNAVAILABLE,
    measure,
    missing_cells,
)
from leaderboard.papers.reported import load_table, table_names
from leaderboard.tables import result_table
from metrics.protocols import PROTOCOLS

CLIPS = 10
SUBJECTS = {"cross_subject": (1, 2, 3), "new_subject": (4,), "single_subject": (1, 2, 3, 4), "clips": (0,)}
METRICS = ("video_2way", "video_40way", "frame_2way", "frame_40way", "ssim")


def survey(table, *, dataset, suite):
    """What of ours a table needs; nothing is looked up in a store."""
    return door.survey(table, dataset=dataset, suite=suite, make=True)[0]


class Shelf:
    """A store of hand-made scores: the keys that are there, and the score rows of each."""

    def __init__(self, jobs, *, protocol="eeg2video", metrics=METRICS, left_out=()):
        self.parts = {
            job.spec.key: pd.concat([score_rows(job, protocol, metric) for metric in metrics], ignore_index=True)
            for job in jobs
            if (job.spec.method, job.variant) not in left_out
        }

    def find(self, key):
        return key if key in self.parts else None

    def read(self, keys, protocols):
        parts = [self.parts[key] for key in keys if key in self.parts]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def score_rows(job, protocol, metric):
    """The value of a clip: .5, for a method plus its variant's length over 100, a subject's number over 50, noise."""
    spec = job.spec
    noise = np.random.default_rng(len(metric)).normal(0, 0.01, CLIPS)
    subjects = [int(spec.fold[3:])] if spec.fold.startswith("sub") else SUBJECTS[spec.split]
    own = len(job.variant) / 100 if job.role == "method" else -0.2
    return pd.DataFrame(
        {
            "cell": spec.key,
            **{
                name: getattr(spec, name) for name in ("method", "dataset", "split", "fold", "classes", "suite", "seed")
            },
            "variant": job.variant,
            "role": job.role,
            "parameters": 1000,
            "phantom": True,
            "protocol": protocol,
            "metric": metric,
            "subject": subject,
            "clip": clip,
            "concept": clip // 2,
            "block": 7,
            "status": "ok",
            "value": 0.5 + own + subject / 50 + noise[clip],
            "shuffled": 0.4,
        }
        for subject in subjects
        for clip in range(CLIPS)
    )


@pytest.fixture(scope="module")
def table4(phantom):
    return survey(load_table("sam_net.4"), dataset="phantom_eeg:tiny", suite="mini")


@pytest.fixture(scope="module")
def sized4(phantom):
    return door.survey(load_table("sam_net.4"), dataset="phantom_eeg:tiny", suite="mini", profile="paper", make=True)[0]


def test_a_table_of_a_profile_is_made_of_its_cells_alone(table4, sized4):
    """Mini's cells are not run in the paper's profile, nor the other way round; floors belong to both."""
    for asked, other in ((table4, sized4), (sized4, table4)):
        own = measure(asked, Shelf(all_jobs(asked)))
        assert (own["state"] == MEASURED).all()
        assert (own["variant"].str.endswith("@paper") == (asked is sized4)).all()
        assert (measure(asked, Shelf(all_jobs(other)))["state"] == NOT_RUN).all()
        assert {job.spec.key for job in asked.references["phantom_eeg:tiny"]} == {
            job.spec.key for job in other.references["phantom_eeg:tiny"]
        }
    differences = paper_differences.compare_differences(sized4, Shelf(all_jobs(sized4)))
    assert len(differences) and (differences["verdict"] != "not run").all()


def all_jobs(found):
    return [job for jobs in found.planned.values() for job in jobs]


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_rows_and_columns_stand_in_the_papers_order(table4):
    records = measure(table4, Shelf(all_jobs(table4)))
    rows = [row.labels[0] for row in table4.table.rows]
    assert records["row"].tolist() == [row for row in rows for _ in METRICS]
    assert records["column"].tolist() == list(table4.table.columns) * len(rows)
    assert records["reported"].tolist()[:5] == ["0.841", "0.228", "0.810", "0.262", "0.280"]
    assert (records["state"] == MEASURED).all()
    assert missing_cells(records).empty
    assert records["variant"][::5].tolist() == [
        *("base", "wo_csa", "wo_center", "wo_progressive", "base", "wo_new2source"),
    ]
    assert records["chance"][:5].tolist() == pytest.approx([3 / 4, 3 / 42, 3 / 4, 3 / 42, np.nan], nan_ok=True)


def test_values_are_those_of_the_plain_table(table4):
    """Each measured number, its interval and its floor, by `result_table` on that variant and split alone."""
    shelf = Shelf(all_jobs(table4))
    records = measure(table4, shelf)
    plain = result_table(pd.concat(shelf.parts.values()))
    plain = plain[plain["role"] == "method"].set_index(["split", "variant", "metric"])
    for _, record in records.iterrows():
        expected = plain.loc[record["split"], record["variant"], record["metric"]]
        for name in ("value", "low", "high", "floor", "floor_name", "n_subjects", "n_clips"):
            assert record[name] == expected[name], name


def test_best_is_one_subject_beside_the_mean(phantom):
    found = survey(load_table("sam_net.3"), dataset="phantom_eeg:tiny", suite="mini")
    shelf = Shelf(all_jobs(found))
    best_frames = [job.spec.key for job in found.jobs[next(iter(found.jobs))]]
    rows = shelf.parts[best_frames[0]]
    swapped = (rows["subject"] == 1) & (rows["metric"] == "frame_2way")
    rows.loc[swapped, "value"] += 0.2  # the best by frame_2way, the worst by all others
    records = measure(found, shelf)
    first = records.iloc[:5]
    assert first["best_subject"].tolist() == [1] * 5
    own = rows[rows["subject"] == 1].groupby("metric")["value"].mean()
    assert first["best_value"].tolist() == pytest.approx([own[metric] for metric in METRICS])
    assert first["best_value"][0] < first["value"][0]
    assert records["best_subject"].tolist()[5:] == [3] * 45
    lines = [cells_of(line) for line in lay(records, found)]
    kinds = ["reported, n = 15", "measured, best subject", "measured, mean", "best floor"]
    assert [line[1] for line in lines[3:7]] == kinds
    assert lines[4][2] == f"{own['video_2way']:.3f} (subject 1)"


def lay(records, found) -> list[str]:
    from leaderboard.rendering import render

    return [line for line in render(lay_out(records, found.table)).splitlines() if line.startswith("|")]


def test_markdown_reads_like_the_paper(table4):
    records = measure(table4, Shelf(all_jobs(table4)))
    head, _, chance, *lines = [cells_of(line) for line in lay(records, table4)]
    assert head == ["Method", "", "Video-based 2-way ↑", "Video-based 40-way ↑", "Frame-based 2-way ↑",
                    "Frame-based 40-way ↑", "SSIM ↑"]  # fmt: skip
    assert chance == ["", "chance", "0.750", "0.0714", "0.750", "0.0714", ""]
    told = [line[0] for line in lines if line[1].startswith("reported, n = ")]
    assert told == [row.labels[0] for row in table4.table.rows]
    assert lines[0] == ["Ours", "reported, n = 15", "0.841", "0.228", "0.810", "0.262", "0.280"]
    record = records.iloc[0]
    assert lines[1][2] == f"{record['value']:.3f} [{record['low']:.3f}, {record['high']:.3f}]"
    assert lines[2][1:3] == ["best floor", "0.400 (shuffled_brain)"]
    notes = lay_out(records, table4.table).attrs["notes"]
    assert any("phantom_eeg:tiny (phantom), suite mini" in note for note in notes)
    assert any("say nothing of real brains" in note for note in notes)


def test_what_is_not_run_is_shown_and_counted(table4):
    records = measure(table4, Shelf(all_jobs(table4), left_out=[("sam_net", "wo_center")]))
    lacking = missing_cells(records)
    assert set(lacking["row"]) == {"B. w/o Center"}
    assert (lacking["state"] == NOT_RUN).all()
    assert len(lacking) == 5
    lines = [cells_of(line) for line in lay(records, table4)]
    place = next(n for n, line in enumerate(lines) if line[0] == "B. w/o Center")
    assert lines[place + 1] == ["", "measured, mean", *["not run"] * 5]
    empty = measure(table4, Shelf([]))
    assert set(empty["state"]) == {NOT_RUN}
    assert "best floor" not in "".join(lay(empty, table4))


def hand_made(tmp_path, monkeypatch, text):
    (tmp_path / "hand.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(reported, "FOLDER", tmp_path)
    return load_table("hand")


ONE_ROW = """
title = "t"
source = "s"
place = "Table 1"
published = "arXiv 0000.00000"
read = "paper"
common = { dataset = "seed_dv", method = "sam_net", split = "single_subject" }
columns = [{ name = "2-way", metric = "eeg2video.video_2way" }, { name = "FVMD", defined = "of videos" }]
stub = ["Method"]
grid = [["A", "0.5", "1600"]]
"""


def test_a_number_of_some_folds_only_says_so(tmp_path, monkeypatch, phantom):
    found = survey(hand_made(tmp_path, monkeypatch, ONE_ROW), dataset="phantom_eeg:tiny", suite="mini")
    jobs = [job for job in all_jobs(found) if job.spec.fold != "sub02"]
    records = measure(found, Shelf(jobs, metrics=("video_2way",)))
    assert records["cells_there"][0] == 3
    assert any("(3 of 4 cells)" in line for line in lay(records, found))
    assert missing_cells(records)["column"].tolist() == ["2-way"]  # FVMD has no protocol, so no run would fill it
    assert (records["state"][1], records["reason"][1]) == (UNAVAILABLE, "of videos")


def test_further_seeds_that_are_there_count(tmp_path, monkeypatch, phantom):
    found = survey(hand_made(tmp_path, monkeypatch, ONE_ROW), dataset="phantom_eeg:tiny", suite="mini")
    jobs = [job for job in all_jobs(found) if job.spec.method == "sam_net"]
    more = [replace(job, spec=replace(job.spec, seed=seed)) for job in jobs for seed in (1, 2, 4)]
    records = measure(found, Shelf([*jobs, *more], metrics=("video_2way",)))
    assert records["seeds"][0] == 3  # the first that is not there ends them


def test_people_are_reported_only():
    found = survey(load_table("cine_neuron.3"), dataset=None, suite="mini")
    assert not found.jobs
    records = measure(found, Shelf([]))
    assert set(records["state"]) == {REPORTED}
    assert missing_cells(records).empty
    laid = lay_out(records, found.table)
    assert laid[" "].tolist() == ["chance", *["reported"] * 4]
    assert any("judgement" in note for note in laid.attrs["notes"])


HAND = """
title = "t"
source = "s"
place = "Table 1"
published = "arXiv 0000.00000"
read = "paper"
common = { dataset = "seed_dv", split = "cross_subject" }
columns = [
  { name = "2-way", metric = "eeg2video.video_2way" },
  { name = "MS", metric = "vbench.motion_smoothness", instead = "vbench.motion_smoothness_dis" },
  { name = "CLIP", metric = "mind_animator.clip_pcc" },
]
stub = ["Method"]
grid = [["A", "0.5", "0.9", "0.4"], ["B", "0.6", "-", "-"], ["C", "0.7", "0.8", "0.3"]]
rows = [{ row = "A", method = "sam_net" }, { row = "B" }, { row = "C", method = "nobody_made_it" }]
"""


def test_metrics_without_a_judge_and_methods_that_are_not_there(tmp_path, monkeypatch, phantom):
    found = survey(hand_made(tmp_path, monkeypatch, HAND), dataset="phantom_eeg:tiny", suite="mini")
    shelf = Shelf(all_jobs(found), metrics=("video_2way",))
    smooth = Shelf(all_jobs(found), protocol="vbench", metrics=("motion_smoothness_dis",))
    for key, rows in smooth.parts.items():
        shelf.parts[key] = pd.concat([shelf.parts[key], rows])
    records = measure(found, shelf)
    assert records["state"].tolist() == [
        *(MEASURED, MEASURED, UNAVAILABLE),
        *(REPORTED, REPORTED, REPORTED),
        *(NOT_HERE, NOT_HERE, UNAVAILABLE),
    ]
    assert records["instead"][1] == "vbench.motion_smoothness_dis"
    assert "amt" in records["reason"][1] and "vifi" in records["reason"][2]
    assert "nobody_made_it" in records["reason"][6]
    lines = [cells_of(line) for line in lay(records, found)]
    assert [line[0] for line in lines[3:]] == ["A", "", "", "B", "C", ""]
    assert "†" in lines[4][3] and lines[4][4] == "n/a"
    assert lines[-1][2:] == ["not here", "not here", "n/a"]
    notes = lay_out(records, found.table).attrs["notes"]
    (other,) = [note for note in notes if note.startswith("† ")]
    assert other.startswith("† MS: measured by vbench.motion_smoothness_dis instead") and "amt" in other
    assert any(note.startswith("not here: C: ") for note in notes)


def test_data_that_a_table_is_not_about_are_refused():
    with pytest.raises(BenchError, match=r"sam_net\.1 is about other data than 'phantom_fmri'.*phantom_eeg"):
        survey(load_table("sam_net.1"), dataset="phantom_fmri", suite="mini")


def test_every_table_names_variants_and_metrics_that_are_there():
    """Where a method of a table is registered, its variants exist; a table that runs nothing names no method."""
    from bench.core.registry import names
    from bench.core.variants import find_variant

    for name in table_names():
        for row in load_table(name).rows:
            for cell in row.cells:
                if cell.method in names("methods"):
                    find_variant(cell.method, cell.variant)
                for text in filter(None, (cell.metric, cell.instead)):
                    protocol, metric = text.split(".")
                    assert PROTOCOLS[protocol][metric].name == metric


def test_differences_are_those_of_a_paired_comparison_and_judged_by_sign(table4):
    """A variant is .5 + its name's length / 100, with noise that it shares with its base: the difference is sure."""
    shelf = Shelf(all_jobs(table4), left_out=[("sam_net", "wo_center")])
    table = paper_differences.compare_differences(table4, shelf)
    by = table.set_index(["variant", "metric"])
    assert table["row"].unique().tolist() == [
        *("A. w/o C-SA", "B. w/o Center", "C. w/o Progressive", "D. w/o New2Source"),
    ]
    first = by.loc["wo_csa", "eeg2video.video_2way"]
    assert first["paper_difference"] == 0.042  # .841 − .799
    assert first["difference"] == pytest.approx((len("base") - len("wo_csa")) / 100)
    assert first["verdict"] == "disagree"  # ours is surely the other way round
    assert (by.loc["wo_center"]["verdict"] == "not run").all()
    lost = by.loc["wo_new2source", "eeg2video.ssim"]  # beside the base of new subjects, not that of known ones
    assert lost["paper_difference"] == pytest.approx(0.257 - 0.199)


@pytest.mark.parametrize(
    ("paper", "ours", "p", "verdict"),
    [(0.1, 0.02, 0.01, "agree"), (0.1, -0.02, 0.01, "disagree"), (-0.1, -0.02, 0.05, "agree"),
     (0.1, 0.02, 0.06, "undecided"), (0.0, 0.02, 0.01, "disagree"), (0.1, 0.02, np.nan, "undecided")],
)  # fmt: skip
def test_a_verdict_needs_the_sign_and_holms_p(paper, ours, p, verdict):
    assert paper_differences.judge(paper, pd.Series({"difference": ours, "p_holm": p})) == verdict
