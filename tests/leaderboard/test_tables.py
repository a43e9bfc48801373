"""Rows of results from made-up scores: intervals, floors, ceilings, marks; what is refused; and their rendering."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

import numpy as np
import pandas as pd
import pytest
from scored_cells import CLIPS, CLIPS_A_CONCEPT, REQUIRED, draw, make_parts, panel, score_rows, select

from bench.api.questions import note_precisions
from bench.core.errors import BenchError
from leaderboard.rendering import render, write
from leaderboard.stats.intervals import brain_share_interval, mean_interval, paired_difference
from leaderboard.stats.panels import TableError
from leaderboard.tables import RESULT_COLUMNS, result_table
from metrics.protocols import PROTOCOLS


@pytest.fixture
def parts():
    return make_parts()


def test_a_row_by_hand(parts):
    table = result_table(pd.concat(parts.values()))
    row = select(table, "sam_net")
    values = panel(parts["sam_net"])
    concepts = np.arange(CLIPS) // CLIPS_A_CONCEPT
    interval = mean_interval(values, concepts)
    versus = paired_difference(values, np.full_like(values, 0.1), concepts)
    floor, ceiling = parts["train_mean"]["value"].mean(), parts["codec"]["value"].mean()
    assert set(REQUIRED.split()) <= set(table.columns) == set(RESULT_COLUMNS)
    assert (row["value"], row["low"], row["high"]) == pytest.approx((interval.mean, interval.low, interval.high))
    assert (row["floor"], row["floor_name"]) == (pytest.approx(floor), "train_mean")
    assert (row["ceiling"], row["ceiling_name"]) == (pytest.approx(ceiling), "codec")
    assert row["brain_share"] == pytest.approx((interval.mean - floor) / (ceiling - floor))
    ends = brain_share_interval(values, panel(parts["train_mean"]), panel(parts["codec"]), concepts)
    assert (row["brain_share_low"], row["brain_share_high"]) == pytest.approx(ends)
    assert row["brain_share_low"] < row["brain_share"] < row["brain_share_high"]
    assert row["difference_to_shuffled"] == pytest.approx(interval.mean - 0.1)
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((versus.low, versus.high))
    assert row["chance"] == pytest.approx(1 / 40)
    assert row["best_subject"] == 1 + values.mean(axis=1).argmax()
    assert row["best_value"] == pytest.approx(values.mean(axis=1).max())
    assert (row["n_subjects"], row["n_clips"], row["coverage"], row["seeds"]) == (6, CLIPS, 1.0, 1)
    assert (row["parameters"], row["mark"], row["phantom"]) == (1000, "", True)
    assert row["generalises_to"] == "subjects and stimuli"
    codec = select(table, "codec")
    assert (codec["n_subjects"], codec["generalises_to"], codec["floor_name"]) == (0, "stimuli", "train_mean")
    assert pd.isna(codec["best_subject"])


def test_order_of_rows_in_does_not_matter(parts):
    scores = pd.concat(parts.values(), ignore_index=True)
    shaken = scores.sample(frac=1, random_state=1)
    by = ["method", "variant"]
    one, two = (result_table(rows).sort_values(by, ignore_index=True) for rows in (scores, shaken))
    pd.testing.assert_frame_equal(one, two)


def test_what_was_not_computed_in_fp32_is_marked(parts):
    """Of rows with a precision; those that say none, as references here, are exact."""
    half = score_rows(draw(np.random.default_rng(5), 0.5), seed=1).assign(precision="bf16")
    scores = pd.concat([*parts.values(), half])
    assert select(result_table(scores), "sam_net")["mark"] == "bf16"
    exact = parts["sam_net"].assign(precision="fp32")
    both = result_table(pd.concat([exact, half, parts["train_mean"], parts["codec"]]))
    assert select(both, "sam_net")["mark"] == "bf16 and fp32" and select(both, "codec")["mark"] == ""
    assert select(result_table(pd.concat([exact, parts["codec"]])), "sam_net")["mark"] == ""
    notes = note_precisions(scores)
    assert notes == ["computed in bf16: sam_net"] and note_precisions(exact) == note_precisions(parts["codec"]) == []


def test_methods_come_before_controls_and_ceilings(parts):
    table = result_table(pd.concat([parts["codec"], parts["train_mean"], parts["sam_net"]]))
    assert table.sort_values("split", kind="stable")["method"].tolist() == ["train_mean", "codec", "sam_net"]


def test_seeds_are_averaged_inside(parts):
    other = score_rows(draw(np.random.default_rng(5), 0.5), seed=1)
    table = result_table(pd.concat([parts["sam_net"], other]))
    row = select(table, "sam_net")
    mean = (panel(parts["sam_net"]) + panel(other)) / 2
    interval = mean_interval(mean, np.arange(CLIPS) // CLIPS_A_CONCEPT)
    assert (row["value"], row["low"], row["seeds"]) == (pytest.approx(mean.mean()), pytest.approx(interval.low), 2)


def test_the_own_shuffled_brain_is_a_floor(parts):
    mine = parts["sam_net"].assign(shuffled=0.3)
    row = select(result_table(pd.concat([mine, parts["train_mean"], parts["codec"]])), "sam_net")
    assert (row["floor_name"], row["floor"]) == ("shuffled_brain", pytest.approx(0.3))


def test_a_baseline_sees_the_brain_so_it_is_no_floor(parts):
    better = score_rows(draw(np.random.default_rng(6), 0.6), method="retrieval", role="baseline")
    table = result_table(pd.concat([*parts.values(), better]))
    assert select(table, "sam_net")["floor_name"] == "train_mean"
    row = select(table, "retrieval")
    assert (row["floor_name"], row["mark"]) == ("train_mean", "")
    worse = better.assign(shuffled=0.65)  # it is held against its own shuffled brain as a method is
    row = select(result_table(pd.concat([*parts.values(), worse])), "retrieval")
    assert (row["floor_name"], row["mark"]) == ("shuffled_brain", "n.s., below floor")


def test_a_floor_with_subjects_counts_for_its_own_split(parts):
    noise = score_rows(draw(np.random.default_rng(7), 0.3), method="noise_brain", role="control")
    row = select(result_table(pd.concat([*parts.values(), noise])), "sam_net")
    assert (row["floor_name"], row["floor"]) == ("noise_brain", pytest.approx(noise["value"].mean()))
    ends = brain_share_interval(
        panel(parts["sam_net"]), panel(noise), panel(parts["codec"]), np.arange(CLIPS) // CLIPS_A_CONCEPT
    )
    assert (row["brain_share_low"], row["brain_share_high"]) == pytest.approx(ends)
    elsewhere = select(result_table(pd.concat([*parts.values(), noise.assign(split="single_subject")])), "sam_net")
    assert elsewhere["floor_name"] == "train_mean"


def test_no_ceiling_no_share(parts):
    row = select(result_table(pd.concat([parts["sam_net"], parts["train_mean"]])), "sam_net")
    assert np.isnan([row["brain_share"], row["brain_share_low"], row["brain_share_high"]]).all()


def test_a_method_not_above_its_own_shuffled_brain_is_marked(parts):
    values = parts["sam_net"]["value"]
    assert select(result_table(parts["sam_net"].assign(shuffled=values)), "sam_net")["mark"] == "n.s."
    above = parts["sam_net"].assign(shuffled=values + 0.01)
    assert select(result_table(above), "sam_net")["mark"] == "n.s., below floor"
    one_clip = parts["sam_net"][lambda rows: (rows["clip"] == 0) & (rows["subject"] == 1)]
    assert select(result_table(one_clip), "sam_net")["mark"] == "n.s."  # no interval, no claim


def test_a_method_is_marked_by_where_it_stands_to_the_best_floor(parts):
    ours, floor = parts["sam_net"], parts["train_mean"]
    level = ours["value"].mean()
    for gap, mark in ((0.1, ""), (0.002, "not above floor"), (-0.002, "below floor")):
        beside = floor.assign(value=floor["value"] - floor["value"].mean() + level - gap)
        row = select(result_table(pd.concat([ours, beside, parts["codec"]])), "sam_net")
        assert (row["floor_name"], row["mark"]) == ("train_mean", mark)
        assert (row["brain_share"] < 0) == (mark == "below floor")


def test_being_above_the_floor_does_not_hang_on_the_ceiling(parts):
    """A ceiling that is not surely above the floor leaves any share possible; the method may still be above it."""
    ours = parts["sam_net"]
    floor = parts["train_mean"].assign(value=ours["value"].mean() - 0.1)
    wide = np.random.default_rng(0).normal(0, 3, len(floor))
    unsure = parts["codec"].assign(value=floor["value"].to_numpy() + 0.01 + wide - wide.mean())
    row = select(result_table(pd.concat([ours, floor, unsure])), "sam_net")
    assert (row["brain_share_low"], row["brain_share_high"]) == (-1, 1) and row["mark"] == ""
    below = parts["codec"].assign(value=floor["value"].to_numpy() - 0.2)  # a ceiling that is none
    level = floor.assign(value=ours["value"].mean() - 0.002)
    row = select(result_table(pd.concat([ours, level, below])), "sam_net")
    assert np.isnan(row["brain_share"]) and row["mark"] == "not above floor, share meaningless"


def test_where_the_floor_is_above_the_ceiling_the_share_is_said_to_be_meaningless(parts):
    crossed = pd.concat([parts["sam_net"], parts["train_mean"].assign(value=0.5), parts["codec"].assign(value=0.4)])
    table = result_table(crossed)
    row = select(table, "sam_net")
    assert "share meaningless" in row["mark"] and np.isnan(row["brain_share"])
    shown = render(table)
    assert "meaningless" in shown and "meaningless" in shown.splitlines()[2]
    assert "meaningless" not in render(result_table(pd.concat(parts.values()))).split("value [low")[0]


def test_a_share_is_bounded(parts):
    """A method far below a floor that is hardly below the ceiling: how far says nothing of a brain."""
    for value, share in ((0.0, -1.0), (1.0, 1.0)):
        ours = parts["sam_net"].assign(value=value)
        near = parts["codec"].assign(value=0.51)
        row = select(result_table(pd.concat([ours, parts["train_mean"].assign(value=0.5), near])), "sam_net")
        assert (row["brain_share"], row["brain_share_low"], row["brain_share_high"]) == (share, share, share)


def test_no_floor_is_held_against_a_metric_that_a_still_clip_wins(parts):
    floor = parts["train_mean"].assign(value=1.0)
    rows = pd.concat([parts["sam_net"], floor, parts["codec"]]).assign(metric="clip_consistency")
    row = select(result_table(rows), "sam_net")
    assert np.isnan([row["floor"], row["brain_share"]]).all() and (row["floor_name"], row["mark"]) == ("", "")
    assert "below floor" in select(result_table(rows.assign(metric="ssim")), "sam_net")["mark"]


def test_coverage_counts_the_folds_and_seeds_that_were_not_run(parts):
    """Two subjects of six, each a fold; and all six with the seeds 0 and 2, where 1 was left out."""
    rows = parts["sam_net"].assign(folds=6)
    rows["fold"] = [f"sub{subject:02d}" for subject in rows["subject"]]
    row = select(result_table(rows[rows["subject"] <= 2]), "sam_net")
    assert row["coverage"] == pytest.approx(2 / 6) and "partial" in row["mark"]
    row = select(result_table(pd.concat([rows, rows.assign(seed=2)])), "sam_net")
    assert row["coverage"] == pytest.approx(2 / 3) and "partial" in row["mark"]
    assert select(result_table(rows), "sam_net")["coverage"] == 1


def test_a_score_surely_above_the_ceiling_is_marked(parts):
    above = parts["sam_net"].assign(value=np.minimum(parts["sam_net"]["value"] + 0.58, 1))
    beside = [parts["train_mean"], parts["codec"]]
    assert "above ceiling" in select(result_table(pd.concat([above, *beside])), "sam_net")["mark"]
    at = pd.concat([parts["sam_net"].assign(value=parts["codec"]["value"].mean()), *beside])
    assert "above ceiling" not in select(result_table(at), "sam_net")["mark"]
    low = parts["codec"].assign(value=0.1)  # a ceiling below the floor binds nothing
    assert "above ceiling" not in select(result_table(pd.concat([above, parts["train_mean"], low])), "sam_net")["mark"]


def test_flags_of_the_videos_are_marks(parts):
    flagged = parts["sam_net"].assign(flags="copies, no generator")
    assert select(result_table(flagged), "sam_net")["mark"].endswith("copies, no generator")


def test_coverage_counts_what_scored_the_worst(parts):
    rows = parts["sam_net"].copy()
    rows.loc[:6, ["value", "status"]] = [0.0, "missing"]
    row = select(result_table(rows), "sam_net")
    assert row["coverage"] == pytest.approx(1 - 7 / (6 * CLIPS)) and row["mark"] == "partial"
    assert row["value"] == pytest.approx(rows["value"].mean())


def test_references_belong_to_their_own_setting_and_to_every_split_if_they_see_no_brain(parts):
    new = score_rows(draw(np.random.default_rng(2), 0.3, 2), split="new_subject", subjects=(7, 8))
    elsewhere = parts["codec"].assign(value=0.99, classes=40)
    table = result_table(pd.concat([*parts.values(), new, elsewhere]))
    row = select(table, "sam_net", split="new_subject")
    assert (row["floor_name"], row["ceiling_name"]) == ("train_mean", "codec")
    assert row["ceiling"] == pytest.approx(parts["codec"]["value"].mean())
    without_codec = result_table(pd.concat([parts["sam_net"], parts["ideal_observer"], new]))
    assert select(without_codec, "sam_net", split="cross_subject")["ceiling_name"] == "ideal_observer"
    assert np.isnan(select(without_codec, "sam_net", split="new_subject")["ceiling"])


def test_references_count_over_the_clips_and_subjects_of_the_row(parts):
    some = parts["sam_net"][lambda rows: (rows["clip"] < 6) & (rows["subject"] < 4)]
    table = result_table(pd.concat([some, parts["train_mean"], parts["ideal_observer"]]))
    row = select(table, "sam_net")
    assert row["floor"] == pytest.approx(parts["train_mean"][lambda rows: rows["clip"] < 6]["value"].mean())
    observer = parts["ideal_observer"][lambda rows: (rows["clip"] < 6) & (rows["subject"] < 4)]
    assert row["ceiling"] == pytest.approx(observer["value"].mean())
    short = parts["train_mean"][lambda rows: rows["clip"] < 5]
    assert select(result_table(pd.concat([some, short])), "sam_net")["floor_name"] == "shuffled_brain"


def test_lower_is_better(parts):
    protocol = PROTOCOLS["corrected"]
    lower = dataclasses.replace(protocol["video_40way"], direction="lower", lo=0, hi=1, worst=1)
    protocols = {"corrected": dataclasses.replace(protocol, metrics=(lower,))}
    scores = pd.concat(parts.values()).assign(value=lambda rows: 1 - rows["value"], shuffled=0.9)
    table, mirrored = result_table(scores, protocols=protocols), result_table(pd.concat(parts.values()))
    row, mirror = select(table, "sam_net"), select(mirrored, "sam_net")
    for name in ("floor_name", "ceiling_name", "mark", "best_subject"):
        assert row[name] == mirror[name]
    for name in ("brain_share", "brain_share_low", "brain_share_high"):
        assert row[name] == pytest.approx(mirror[name])
    worse = scores.assign(shuffled=0.0)
    assert select(result_table(worse, protocols=protocols), "sam_net")["mark"] == "n.s., below floor, share meaningless"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda rows: rows.drop(columns=["concept", "seed"]), "lack the columns seed, concept"),
        (lambda rows: rows.assign(value=np.nan), "72 scores are NaN.*sam_net, base, video_40way, 1, 0"),
        (lambda rows: rows.iloc[1:], "subject 1 has no row for clip 0"),
        (
            lambda rows: pd.concat([rows.assign(cell="aa"), rows.assign(cell="bb")]),
            r"two runs \(cells aa, bb\) both claim",
        ),
        (lambda rows: pd.concat([rows, rows.iloc[:3]]), "two runs both claim to be sam_net 'base'.*seed 0"),
        (lambda rows: rows.assign(metric="video_41way"), "no metric 'video_41way'; it has video_2way"),
        (lambda rows: rows.assign(protocol="mine"), "unknown protocol 'mine'; there are eeg2video, .*corrected"),
        (lambda rows: rows.assign(role="boss"), "role 'boss': allowed are method, baseline, control, ceiling"),
        (lambda rows: rows.assign(suite=None), "without a suite"),
    ],
)
def test_scores_that_make_no_honest_table(parts, spoil, words):
    with pytest.raises(TableError, match=words):
        result_table(spoil(parts["sam_net"]))


def test_no_scores_make_an_empty_table(parts):
    table = result_table(parts["sam_net"].iloc[:0])
    assert len(table) == 0 and list(table.columns) == RESULT_COLUMNS
    for format in ("md", "csv", "json", "latex"):
        render(table, format)


def test_csv_and_json_carry_every_digit(parts):
    table = result_table(pd.concat(parts.values()))
    records = json.loads(render(table, "json"))
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert list(records[0]) == list(rows[0]) == RESULT_COLUMNS
    for i, record in enumerate(records):
        for name in ("value", "low", "floor", "brain_share"):
            assert record[name] == table[name][i] == float(rows[i][name])
    codec = next(i for i, record in enumerate(records) if record["method"] == "codec")
    assert records[codec]["best_subject"] is None and rows[codec]["best_subject"] == ""
    assert records[codec]["best_value"] is None and rows[codec]["best_value"] == ""
    assert records[codec]["phantom"] is True and records[codec]["n_clips"] == CLIPS


def test_markdown_shows_three_digits_and_labels_phantoms(parts):
    real = parts["sam_net"].assign(dataset="seed_dv", phantom=False)
    table = result_table(pd.concat([*parts.values(), real]))
    text = render(table, "md")
    header, *rows = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|:")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (header, *rows)]
    by_name = dict(zip(cells[0], cells[1], strict=True))
    row = select(table, "sam_net", phantom=True)
    assert by_name["value"] == f"{row['value']:#.3g} [{row['low']:#.3g}, {row['high']:#.3g}]"
    assert by_name["floor"] == f"{row['floor']:#.3g} (train_mean)"
    assert by_name["dataset"] == "phantom_eeg (phantom)"
    assert sum("(phantom)" in line for line in rows) == 5 and sum("seed_dv" in line for line in rows) == 1
    assert "synthetic" in text and "All rows: suite mini, classes 10, seeds 1." in text
    assert "nan" not in text.lower().replace("nano", "") and "<NA>" not in text


def test_latex_escapes(parts):
    text = render(result_table(parts["sam_net"].assign(variant="50%_&")), "latex")
    assert r"sam\_net" in text and r"50\%\_\&" in text and r"\toprule" in text
    assert all(line.startswith("%") for line in text.split(r"\end{tabular}")[1].splitlines() if line)


def test_any_table_renders():
    table = pd.DataFrame({"what": ["a|b", "c"], "n": [12345678, 2], "x": [0.000123456, 1234567.0], "y": [None, -0.0]})
    text = render(table)
    assert r"a\|b" in text and "12345678" in text and "0.000123" in text and "1234567" in text
    assert json.loads(render(pd.DataFrame({"x": [np.inf, 1.0]}), "json")) == [{"x": None}, {"x": 1.0}]
    with pytest.raises(BenchError, match="unknown format 'xml': allowed are text, md, csv, json, latex"):
        render(table, "xml")


def test_write(tmp_path, capsys):
    write("a table\n", None)
    assert capsys.readouterr().out == "a table\n"
    target = tmp_path / "new" / "table.md"
    write("ä table\n", target)
    assert target.read_text(encoding="utf-8") == "ä table\n" and list(target.parent.iterdir()) == [target]
    with pytest.raises(BenchError, match="cannot write"):
        write("x", target / "below_a_file.md")
