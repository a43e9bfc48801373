"""The report page as a file: its words and numbers are those of the scores, and nothing of it comes from elsewhere."""

from __future__ import annotations

import base64
import html
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from small_report import COMMAND, HOSTILE, draw_pictures, make_report, make_rows, make_scored

from leaderboard.standing import stand
from leaderboard.verdict import write_verdict
from leaderboard.web.media import encode_moving, encode_still
from leaderboard.web.report import choose_picks, count_clips, view_metric, write_report


class Reader(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.text = re.sub(r"\s+", " ", "".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def page() -> Reader:
    return Reader(make_report())


def test_the_verdict_comes_first_and_is_that_of_the_scores(page):
    verdict = write_verdict(stand(make_scored()))
    assert verdict.startswith("Above every brainless answer in frames (40-way 0.60, best floor 0.050), but in SSIM")
    assert verdict in page.text
    assert page.text.index(verdict) < page.text.index("Every metric among its floors")


def test_every_metric_has_its_numbers_its_words_and_its_floors(page):
    for words in (
        "0.600 [0.332, 0.868]", "Frames, 40-way", "worse than middle grey", "above every floor", "no floor holds",
        "Flat grey and blur score high", "less is better", "judged by efficientnet-lite0", "another clip held still",
    ):  # fmt: skip
        assert words in page.text, words
    assert "Video, 40-way: fetch a video judge." in page.text
    assert COMMAND in page.text and "6 scored, 0 missing, 0 invalid" in page.text


def test_nothing_is_fetched_and_nothing_runs(page):
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "video", "base", "form"}
    assert not [name for _, about in page.tags for name in about if name.startswith("on") or name in ("style", "href")]
    sources = [about[name] for _, about in page.tags for name in ("src", "srcset") if name in about]
    assert len(sources) == 3 * 3 * 2
    assert all(re.fullmatch(r"data:image/webp;base64,[A-Za-z0-9+/=]+", str(one)) for one in sources)
    (policy,) = [about["content"] for _, about in page.tags if about.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy).startswith("default-src 'none'; style-src 'sha256-") and "script-src" not in str(policy)
    assert "img-src data:;" in str(policy)


def test_the_page_is_the_same_every_time():
    assert make_report() == make_report()


def test_the_page_stays_small_whatever_is_shown():
    """A clip takes no more room for being large or long, even of noise, which no encoder makes small."""
    ((clip, *_),) = draw_pictures(1, frames=40, height=360, width=640)
    content = encode_moving(clip.video)
    picture = Image.open(io.BytesIO(content))
    assert (picture.n_frames, picture.size) == (24, (160, 90)) and len(content) < 250_000
    assert len(encode_still(clip.video)) < 15_000


def test_moving_pictures_move():
    found = re.search(r'img src="data:image/webp;base64,([^"]+)"', make_report())
    assert found is not None
    picture = Image.open(io.BytesIO(base64.b64decode(found[1])))
    assert picture.n_frames == 6 and max(picture.size) == 128


def test_names_are_escaped(page):
    assert html.escape(HOSTILE, quote=False) not in page.words
    assert HOSTILE in page.text.replace("_ ", "_")


def test_best_median_and_worst_are_by_what_the_verdict_speaks_of():
    scored = make_scored()
    choice = choose_picks(scored)
    assert choice is not None
    assert (choice.protocol, choice.metric, choice.floor) == ("corrected", "frame_40way", "still_frame")
    assert [(one.why, one.clip, one.value) for one in choice.picks] == [
        ("best", "clip2", 1.0), ("median", HOSTILE, 0.6), ("worst", "clip4", 0.25),
    ]  # fmt: skip
    assert [one.other for one in choice.picks] == ["clip1", "clip4", "clip3"]
    lower = choose_picks(scored[scored["metric"] == "epe_dis"])
    assert lower is not None and [one.clip for one in lower.picks] == ["clip3", "clip4", "clip2"]
    assert lower.floor == "constant_grey"


@pytest.mark.parametrize(
    ("clips", "words"), [(1, ["the only clip"]), (2, ["best", "worst"]), (3, ["best", "median", "worst"])]
)
def test_few_clips(clips, words):
    choice = choose_picks(make_rows("ssim", [0.1, 0.2, 0.3][:clips], constant_grey=0.2))
    assert choice is not None and [one.why for one in choice.picks] == words


def test_clips_that_were_lost_are_counted_and_not_shown():
    lost = make_rows("ssim", [0.5, 0.2, 0.3, 0.4], constant_grey=0.2).assign(status=["missing", "ok", "invalid", "ok"])
    counts = count_clips(lost)
    assert (counts["all"], counts["ok"], counts["missing"], counts["invalid"]) == (4, 2, 1, 1)
    assert counts["named"] == ["clip0 (missing)", "clip2 (invalid)"]
    choice = choose_picks(lost)
    assert choice is not None and {one.clip for one in choice.picks} == {"clip1", HOSTILE}
    many = make_rows("ssim", np.zeros(50)).assign(status="missing")
    assert len(count_clips(many)["named"]) == 21 and count_clips(many)["named"][-1] == "and 30 more"
    assert choose_picks(many) is None


def test_bars_begin_at_zero_and_keep_their_proportions():
    row = stand(make_rows("ssim", [0.2, 0.2], constant_grey=0.4, still_frame=0.1)).iloc[0].to_dict()
    view = view_metric(row)
    assert [(one["label"], one["width"]) for one in view["floors"]] == [
        ("middle grey", "100.00%"), ("another clip held still", "25.00%"),
    ]  # fmt: skip
    assert view["bar"] == {"x": "0.00%", "width": "50.00%"}
    below = view_metric(stand(make_rows("ssim", [-0.1, -0.1], constant_grey=0.3)).iloc[0].to_dict())
    assert below["bar"] == {"x": "0.00%", "width": "25.00%"} and below["floors"][0]["x"] == "25.00%"


def test_a_folder_whose_name_is_no_text_does_not_stop_the_page():
    page = write_report(make_scored(), None, [], subject="b\udcff")
    assert "videos in b?" in page.encode("utf-8").decode() and "<figure" not in page
