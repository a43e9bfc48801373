"""Published sets: what is written is read back, and nothing that was altered or may not be there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from published_sets import ABOUT, make_scored

from bench.core.spec import digest
from leaderboard.published import ResultsError, read_published, write_published
from leaderboard.standing import ALL_CLIPS, FLOORS


def test_what_is_written_is_read_back(tmp_path: Path):
    scored = make_scored()
    written = write_published(tmp_path, ABOUT, scored)
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "published/seed_dv-eeg2video.json", "published/seed_dv-eeg2video.parquet",
    ]  # fmt: skip
    [found] = read_published(tmp_path)
    assert found.name == "seed_dv-eeg2video" and not found.phantom
    assert {name: found.record[name] for name in ABOUT} == ABOUT
    assert found.record["clips"] == 3 and found.record["door"] == "submitted"
    assert found.record["protocols"] == ["corrected"]
    assert set(found.record["metric_versions"]) == {"corrected.ssim", "corrected.frame_40way", "corrected.fvd"}
    assert found.rows["clip"].tolist() == [*(names := ["image1", "image2", "image10"]), ALL_CLIPS, *names]
    merged = found.rows.merge(scored, on=["clip", "protocol", "metric"], suffixes=("", "_before"), validate="1:1")
    assert len(merged) == len(scored)
    for column in ("value", "constant_grey", "still_frame", "shuffled", "chance"):
        np.testing.assert_allclose(merged[column], merged[f"{column}_before"], rtol=1e-6)
    assert merged["mean_of_others"].isna().all() and set(FLOORS) <= set(found.rows)
    assert set(found.rows["suite"]) == {"light"} and merged["judge"].tolist() == merged["judge_before"].tolist()


def test_the_same_set_gives_the_same_bytes_and_takes_its_own_place(tmp_path: Path):
    def read_all() -> list[bytes]:
        return [path.read_bytes() for path in write_published(tmp_path, ABOUT, make_scored())]

    assert read_all() == read_all()
    write_published(tmp_path, {**ABOUT, "name": "other"}, make_scored(clips=4))
    write_published(tmp_path, ABOUT, make_scored(clips=5))
    assert [(one.name, one.record["clips"]) for one in read_published(tmp_path)] == [("other", 4), (ABOUT["name"], 5)]


def test_no_results_no_sets(tmp_path: Path):
    assert read_published(tmp_path / "nothing") == []


def test_another_owner_keeps_out_of_a_name(tmp_path: Path):
    write_published(tmp_path, ABOUT, make_scored())
    with pytest.raises(ResultsError, match=r"belongs to who published it first \(somebody\)"):
        write_published(tmp_path, {**ABOUT, "owner": "another"}, make_scored(clips=4))
    [found] = read_published(tmp_path)
    assert found.record["clips"] == 3


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"name": "../up"}, "cannot be committed"),
        ({"name": "a" * 65}, "cannot be committed"),
        ({"method": "E.E.G"}, "cannot be committed"),
        ({"method": "eeg2vide0"}, "called nearly as 'eeg2video'"),
        ({"method": "shuffled"}, "called nearly as 'shuffled'"),
        ({"method": "constant_grey"}, "is a control here"),
        ({"dataset": "seed dv"}, "no plain name of a data set"),
        ({"dataset": "seeddv"}, "called nearly as 'seed_dv'"),
        ({"source": "javascript:alert(1)"}, "is no URL"),
        ({"source": 'https://a.b/"onclick='}, "is no URL"),
        ({"licence": ""}, "must be one line"),
        ({"owner": "two\x00"}, "1 to 128 characters"),
        ({"video_digest": "no"}, "must be 16 to 64 hex digits"),
        ({"judges": {"vit-judge": 5}}, "must be 16 to 64 hex digits"),
        ({"judges": {}}, "whose digest its record does not say"),
        ({"suite": "mini"}, "with another suite"),
        ({"of": 2}, "3 clips of 2"),
        ({"of": True}, "whole number above 0"),
        ({"subject": "one"}, "whole number above 0"),
        ({"chosen": False}, "only a whole set"),
        ({"chosen": 1}, "it must be bool"),
        ({"provenance": {"time": float("nan")}}, "no plain JSON"),
        ({"provenance": {"text": "x" * 5000}}, "text of 5000 characters"),
        ({"extra": 1}, "says 'extra'"),
    ],
)  # fmt: skip
def test_what_may_not_be_there(tmp_path: Path, changed: dict[str, Any], why: str):
    scored = make_scored()
    with pytest.raises(ResultsError, match=why):
        write_published(tmp_path / "results", {**ABOUT, **changed}, scored)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"value": 1.2}, "no number of"),
        ({"value": np.nan}, "no number of"),
        ({"value": np.inf}, "no number of"),
        ({"constant_grey": -3.0}, "no number of"),
        ({"direction": "lower"}, "is better"),
        ({"chance": 1.5}, "no one number of 0 to 1"),
        ({"status": "fine"}, "scores of status 'fine'"),
        ({"metric": "beauty"}, "no metric of the project"),
        ({"protocol": "mine"}, "no metric of the project"),
        ({"clip": "a\nb"}, "a name is a line"),
        ({"clip": "image1"}, "two scores of one clip"),
        ({"judge": "somebody"}, "whose digest its record does not say"),
    ],
)
def test_scores_that_may_not_be_there(tmp_path: Path, changed: dict[str, Any], why: str):
    scored = make_scored()
    scored.loc[0 if "clip" not in changed else 1, list(changed)] = list(changed.values())
    with pytest.raises(ResultsError, match=why):
        write_published(tmp_path / "results", ABOUT, scored)
    assert not (tmp_path / "results").exists()


def test_a_clip_may_not_be_left_out_of_one_metric(tmp_path: Path):
    with pytest.raises(ResultsError, match="2 scores of corrected/ssim; there must be 3"):
        write_published(tmp_path, ABOUT, make_scored().drop(index=1))


def test_what_was_left_out_is_kept_with_its_reason(tmp_path: Path):
    absent = {**make_scored().iloc[0].to_dict(), "metric": "video_40way", "clip": ALL_CLIPS, "value": np.nan}
    absent |= {"status": "left out", "note": "fetch a judge"}
    write_published(tmp_path, ABOUT, pd.concat([make_scored(), pd.DataFrame([absent])], ignore_index=True))
    [found] = read_published(tmp_path)
    assert found.record["left_out"] == {"corrected.video_40way": "fetch a judge"}
    assert (
        "video_40way" not in set(found.rows["metric"])
        and "corrected.video_40way" not in found.record["metric_versions"]
    )


def test_a_metric_may_ask_two_judges(tmp_path: Path):
    both = make_scored(judge="vit-judge+other")
    with pytest.raises(ResultsError, match="judged by 'other'"):
        write_published(tmp_path, ABOUT, both)
    write_published(tmp_path, {**ABOUT, "judges": {"vit-judge": "a" * 64, "other": "b" * 64}}, both)


def test_a_whole_set_is_not_chosen(tmp_path: Path):
    write_published(tmp_path, {**ABOUT, "chosen": False, "of": 3}, make_scored())
    assert not read_published(tmp_path)[0].record["chosen"]


def test_files_that_were_altered_are_refused(tmp_path: Path):
    record, scores = write_published(tmp_path, ABOUT, make_scored())
    before = record.read_bytes(), scores.read_bytes()

    def refused(why: str) -> None:
        with pytest.raises(ResultsError, match=why):
            read_published(tmp_path)
        record.write_bytes(before[0])
        scores.write_bytes(before[1])
        assert len(read_published(tmp_path)) == 1

    scores.write_bytes(before[1][:-1] + bytes([before[1][-1] ^ 1]))
    refused("is not what seed_dv-eeg2video.json says")
    record.write_bytes(before[0].replace(b"example.org", b"example.com"))
    refused("not what its own digest says")
    record.write_bytes(b"{")
    refused("holds no published set")
    record.write_bytes(b"[]")
    refused("holds no published set of schema 1")
    scores.unlink()
    refused("cannot be read")
    record.unlink()
    refused("is missing, and its scores are there")


def test_a_record_that_was_signed_anew_still_meets_the_rules(tmp_path: Path):
    record, _ = write_published(tmp_path, ABOUT, make_scored())
    changed: dict[str, Any] = json.loads(record.read_bytes()) | {"source": "javascript:alert(1)"}
    del changed["record_digest"]
    record.write_text(json.dumps(changed | {"record_digest": digest(changed)}), encoding="utf-8")
    with pytest.raises(ResultsError, match="is no URL"):
        read_published(tmp_path)


def test_a_set_stands_under_its_own_name(tmp_path: Path):
    for path in write_published(tmp_path, ABOUT, make_scored()):
        path.rename(path.with_stem("other"))
    with pytest.raises(ResultsError, match=r"belongs into seed_dv-eeg2video\.json"):
        read_published(tmp_path)


def test_names_that_look_alike_are_refused(tmp_path: Path):
    write_published(tmp_path, ABOUT, make_scored())
    with pytest.raises(ResultsError, match="called nearly as"):
        write_published(tmp_path, {**ABOUT, "name": "seed_dv_eeg2video"}, make_scored())
    assert len(read_published(tmp_path)) == 1
