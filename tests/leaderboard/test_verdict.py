"""The verdict in words says what the numbers say: planted scores and floors, ties, one clip, no floors, lost clips."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from leaderboard.glossary import FLOOR_WORDS, explain_metric
from leaderboard.standing import ABOVE, ALONE, BARE, BELOW, CHANCE, FLOORS, FREE, LEVEL, UNSURE, stand
from leaderboard.verdict import write_digits, write_short, write_verdict
from metrics.protocols import PROTOCOLS


def make_rows(metric: str, value: Any, *, status: Any = "ok", held: bool = True, **floors: Any) -> pd.DataFrame:
    """Rows of `bench.score` of one metric, a clip a value."""
    chance = floors.pop("chance", np.nan)
    direction = floors.pop("direction", "higher")
    clips = len(value)
    about = {"protocol": "corrected", "metric": metric, "direction": direction, "chance": chance, "held": held}
    known = {name: floors.get(name, np.nan) for name in FLOORS}
    return pd.DataFrame({"clip": [f"c{i}" for i in range(clips)], **about, "status": status, "value": value} | known)


FRAMES = make_rows(
    "frame_40way", [0.5, 0.6, 0.7, 0.5], constant_grey=0.01, still_frame=[0.0, 0.1, 0.0, 0.1], shuffled=0.02,
    chance=0.025,
)  # fmt: skip
SSIM = make_rows("ssim", [0.2, 0.3, 0.25, 0.29], constant_grey=[0.3, 0.3, 0.31, 0.33], still_frame=0.1, shuffled=0.2)


def say(*parts: pd.DataFrame, **about: Any) -> str:
    return write_verdict(stand(pd.concat(parts, ignore_index=True)), **about)


def test_above_in_one_thing_and_below_in_another():
    assert say(FRAMES, SSIM) == (
        "Above every brainless answer in frames (40-way 0.57, best floor 0.050), but in SSIM middle grey scores higher "
        "(0.31 against 0.26)."
    )


def test_the_summary_holds_the_numbers_of_the_rows():
    frames, ssim = stand(pd.concat([FRAMES, SSIM])).to_dict("records")
    value = np.array([0.5, 0.6, 0.7, 0.5])
    low, high = stats.t.interval(0.95, 3, value.mean(), stats.sem(value))
    np.testing.assert_allclose([frames["value"], frames["low"], frames["high"]], [value.mean(), low, high])
    assert (frames["standing"], frames["rival"], frames["ok"], frames["clips"]) == (ABOVE, "still_frame", 4, 4)
    assert (ssim["standing"], ssim["rival"]) == (BELOW, "constant_grey")
    np.testing.assert_allclose([frames["rival_value"], ssim["rival_value"]], [0.05, 0.31])
    np.testing.assert_allclose([ssim["still_frame"], ssim["shuffled"]], [0.1, 0.2])
    assert np.isnan(ssim["mean_of_others"]) and np.isnan(ssim["chance"])


def test_every_floor_must_be_beaten_for_sure_and_chance_too():
    value = np.array([0.4, 0.5, 0.6, 0.7])
    sure, unsure = value - [0.2, 0.21, 0.19, 0.2], value - [0.5, -0.3, 0.4, -0.2]  # better by .2 and by .1 on average
    assert stand(make_rows("ssim", value, constant_grey=sure))["standing"].item() == ABOVE
    both = stand(make_rows("ssim", value, constant_grey=sure, shuffled=unsure))
    assert (both["standing"].item(), both["rival"].item()) == (UNSURE, "shuffled")
    low = stats.t.interval(0.95, 3, value.mean(), stats.sem(value))[0]
    for chance, standing in ((low - 0.001, ABOVE), (low + 0.001, UNSURE), (0.56, BELOW), (0.55, LEVEL)):
        found = stand(make_rows("frame_40way", value, constant_grey=sure, chance=chance))
        assert found["standing"].item() == standing
        assert found["rival"].item() == ("constant_grey" if standing == ABOVE else CHANCE)


def test_the_nearest_of_the_floors_that_are_not_beaten_is_named():
    value = np.array([0.4, 0.5, 0.6, 0.7])
    wide, near = value - [0.9, -0.6, 0.8, -0.7], value - [0.5, -0.48, 0.4, -0.4]  # better by .1 and by .005 on average
    found = stand(make_rows("ssim", value, constant_grey=wide, still_frame=near, shuffled=value - 0.001))
    assert (found["standing"].item(), found["rival"].item()) == (UNSURE, "still_frame")  # shuffled is surely beaten
    assert say(make_rows("ssim", value, still_frame=near)) == (
        "Not shown to be above brainless answers: in SSIM 4 clips do not tell it from another clip held still (0.545 "
        "against 0.550)."
    )


def test_less_is_better_where_the_metric_says_so():
    error = make_rows("epe_dis", [1.0, 1.2, 1.1], direction="lower", constant_grey=[3.0, 3.3, 3.1], still_frame=1.05)
    assert stand(error)["standing"].item() == BELOW
    assert say(error).endswith("in motion another clip held still scores better (1.05 against 1.10).")
    assert stand(error.drop(columns="still_frame"))["standing"].item() == ABOVE


def test_ties():
    same = make_rows("ssim", [0.2, 0.3, 0.4], constant_grey=[0.4, 0.3, 0.2])
    assert stand(same)["standing"].item() == LEVEL
    assert say(same) == "Not shown to be above brainless answers: in SSIM middle grey scores the same (0.30)."
    assert stand(make_rows("ssim", [0.2, 0.2], constant_grey=0.2))["standing"].item() == LEVEL
    assert stand(make_rows("ssim", [0.2, 0.2], constant_grey=0.1))["standing"].item() == ABOVE  # without any spread


def test_one_clip_shows_nothing():
    one = [
        make_rows("frame_40way", [1.0], constant_grey=0.01, chance=0.025),
        make_rows("ssim", [0.26], constant_grey=0.31),
    ]
    assert set(stand(pd.concat(one))["standing"]) == {ALONE}
    assert say(*one, chosen=True) == (
        "One clip has no interval, so nothing is shown: frames (40-way) 1.0 (best floor 0.025) and SSIM 0.26 (best "
        "floor 0.31); their authors chose this clip, so nothing follows for the others."
    )


def test_without_floors_nothing_is_claimed():
    bare = [make_rows("frame_40way", [0.5, 0.6], chance=0.025), make_rows("ssim", [0.2, 0.4])]
    assert set(stand(pd.concat(bare))["standing"]) == {BARE}
    assert say(*bare) == (
        "No floors were computed, so nothing is said of what a brain adds: frames (40-way) 0.55 and SSIM 0.30."
    )


def test_what_a_still_clip_wins_is_not_spoken_of():
    free = make_rows("dtc", [0.9, 0.8], held=False, constant_grey=1.0)
    assert stand(free)["standing"].item() == FREE
    assert say(free).startswith("Nothing here tells what a brain adds:")
    assert "dtc" not in say(free, SSIM)


def test_chosen_samples_and_lost_clips_are_said():
    lost = FRAMES.assign(status=["ok", "ok", "ok", "missing"])
    assert say(lost, chosen=True).endswith(
        "; 1 of 4 clips could not be scored and count as the worst; their authors chose these 4 clips, so nothing "
        "follows for the others."
    )
    assert say(FRAMES).count(";") == 0


def test_leaving_clips_out_does_not_lift_anybody_above_a_floor():
    value, grey = np.array([0.5, 0.52, 0.51, 0.53, 0.49, 0.5]), 0.3
    assert stand(make_rows("ssim", value, constant_grey=grey))["standing"].item() == ABOVE
    status, worst = ["ok"] * 3 + ["missing"] * 3, np.where(np.arange(6) < 3, value, -1.0)
    left_out = make_rows("ssim", worst, status=status, constant_grey=[grey] * 3 + [np.nan] * 3)
    assert stand(left_out)["standing"].item() == BELOW


def test_a_metric_of_all_clips_together_has_no_interval():
    fvd = make_rows("fvd", [3.0], direction="lower", constant_grey=9.0)
    assert stand(fvd)["standing"].item() == ALONE
    assert say(SSIM, fvd) == say(SSIM)


def test_one_verdict_a_protocol():
    with pytest.raises(ValueError, match="corrected, eeg2video"):
        say(SSIM, SSIM.assign(protocol="eeg2video"))


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((0.3141, 0.3143), ["0.3141", "0.3143"]),
        ((0.3149, 0.3151), ["0.31", "0.32"]),
        ((0.5, 0.5), ["0.50", "0.50"]),
        ((0.567, 0.0533), ["0.57", "0.053"]),
        ((8.654, 161.2), ["8.7", "161"]),
        ((0.0, np.nan), ["0", ""]),
        ((-0.25, 1.0), ["-0.25", "1.0"]),
        ((0.999, 1.0), ["0.999", "1.00"]),
    ],
)
def test_numbers_that_differ_look_different(values, texts):
    assert write_short(*values) == texts


def test_no_number_is_written_with_an_exponent():
    assert [write_digits(value, 2) for value in (1e-5, 123456.0, 1e-9)] == ["0.000010", "123456", "0"]


def test_every_metric_of_the_project_has_words():
    for protocol in PROTOCOLS.values():
        for metric in protocol.metrics:
            words = explain_metric(metric.name)
            assert words.measures and words.fooled and "{" not in "".join(vars(words).values()), metric.name
    assert explain_metric("frame_50way").measures.endswith("than 49 other names")
    assert explain_metric("frame_2way").measures.endswith("than 1 other name")
    assert explain_metric("frame_40way_normalised").title == "Frames, 40-way, rescaled"
    assert set(FLOOR_WORDS) == {*FLOORS, CHANCE}


def test_an_interval_does_not_pass_the_end_of_the_metric():
    near_one, near_nought = np.array([1, 1, 1, 0.8]), np.array([0, 0, 0, 0.2])
    for value, low, high in ((near_one, 0.791, 1.0), (near_nought, 0.0, 0.209)):
        (row,) = stand(make_rows("frame_40way", value)).to_dict("records")
        assert (row["low"], row["high"]) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))
    (row,) = stand(make_rows("of_my_own", near_one)).to_dict("records")
    assert row["high"] > 1  # nobody said where it ends
