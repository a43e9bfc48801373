"""`score --report` and `bench.report`: the page of real and of made folders, and what it says that made it."""

from __future__ import annotations

import base64
import html
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bench
from bench.cli import main
from bench.store.video import write_lossless

PIXELS = ("--metrics", "ssim,psnr", "--protocol", "corrected")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Five true clips, each of one grey on black, and predictions that are nearly so; one is missing."""
    for folder in ("my videos", "truth"):
        (tmp_path / folder).mkdir()
    generator = np.random.default_rng(0)
    for number in range(5):
        true = np.zeros((6, 32, 48, 3), np.uint8)
        true[:, 8:24, 8 + 4 * number : 24 + 4 * number] = 100 + 20 * number
        noise = generator.integers(0, 10 * (number + 1), true.shape)
        write_lossless(tmp_path / "truth" / f"gt_{number}.mp4", true, fps=3)
        if number != 3:
            ours = np.clip(true.astype(int) + noise, 0, 255).astype(np.uint8)
            write_lossless(tmp_path / "my videos" / f"{number}.mp4", ours, fps=3)
    return tmp_path / "my videos", tmp_path / "truth"


def read_pictures(page: str) -> list[np.ndarray]:
    """The first frames of the moving pictures of a page."""
    found = re.findall(r'img src="data:image/webp;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB")) for one in found]


def test_the_page_says_what_made_it_and_shows_truth_prediction_and_floor(folders, tmp_path, capsys):
    predictions, targets = folders
    path = tmp_path / "out" / "report.html"
    asked = ["score", "--predictions", predictions, "--targets", targets, "--target-name", "gt_{}", *PIXELS]
    arguments = [*map(str, asked), "--report", str(path)]
    assert main(arguments) == 0
    page = html.unescape(path.read_text(encoding="utf-8"))
    command = next(line for line in page.splitlines() if "<code>python -m bench score" in line)
    words = shlex.split(re.sub(r"<[^>]+>", "", command))
    pairs = dict(zip(words[4::2], words[5::2], strict=True))
    assert words[:4] == ["python", "-m", "bench", "score"]
    assert pairs == dict(zip(arguments[1::2], arguments[2::2], strict=True))
    assert "4 scored, 1 missing, 0 invalid" in page and "3 (missing)" in page
    pictures = read_pictures(page)
    assert len(pictures) == 9  # best, median and worst: truth, prediction, floor
    best, worst = pictures[:3], pictures[6:]
    assert best[0][16, 12].mean() == pytest.approx(100, abs=12) and best[0][2, 2].mean() < 12  # clip 0
    assert worst[0][16, 28].mean() == pytest.approx(180, abs=12)  # clip 4
    assert np.abs(best[1].astype(int) - best[0]).mean() < np.abs(worst[1].astype(int) - worst[0]).mean()
    assert "written:" in capsys.readouterr().err


def test_the_floor_beside_a_clip_is_the_one_that_it_was_scored_against(folders, tmp_path):
    predictions, targets = folders
    rows = bench.score(predictions, targets, target_name="gt_{}", metrics="ssim", protocol="corrected")
    others = rows.set_index("clip")["other"].to_dict()
    assert others == {"0": "4", "1": "0", "2": "1", "3": "", "4": "2"}
    from bench.api.report import draw_floor
    from bench.doors.video_pairs import find_pairs
    from leaderboard.web.report import Choice
    from metrics.protocols import PROTOCOLS
    from metrics.specs import Scored

    pairs = find_pairs(predictions, targets, target_name="gt_{}")
    corrected = PROTOCOLS["corrected"]
    by_clip = rows.set_index("clip")
    for floor in ("constant_grey", "still_frame", "shuffled", "mean_of_others"):
        choice = Choice(protocol="corrected", metric="ssim", floor=floor, picks=())
        for name in ("0", "2"):
            pair, other = pairs.read_one(name, corrected), pairs.read_one(others[name], corrected)
            drawn = draw_floor(choice, pair, other, pairs)
            assert drawn is not None and pair.target is not None
            value = corrected["ssim"].compute(Scored(video=drawn[None]), Scored(video=pair.target[None]))
            assert value[0] == pytest.approx(by_clip.loc[name, floor], abs=1e-6), (floor, name)


def test_python_writes_the_same_page_without_a_command(folders, tmp_path):
    predictions, targets = folders
    rows = bench.score(predictions, targets, target_name="gt_{}", metrics="ssim", protocol="corrected")
    path = bench.report(rows, tmp_path / "report.html", predictions, targets, target_name="gt_{}")
    assert path == tmp_path / "report.html" and "Made by" not in path.read_text(encoding="utf-8")


def test_videos_without_truth_get_a_page(folders, tmp_path):
    predictions, _ = folders
    rows = bench.score(predictions, protocol="vbench", metrics="temporal_flickering")
    page = bench.report(rows, tmp_path / "report.html", predictions).read_text(encoding="utf-8")
    assert "Nothing here tells what a brain adds" in page and "no floor holds" in page
    assert len(read_pictures(page)) == 6  # prediction and grey


@pytest.mark.parametrize("name", ["report.txt", "report"])
def test_a_page_that_cannot_be_written_is_refused_before_any_work(folders, tmp_path, name, capsys):
    predictions, targets = folders
    asked = ["score", "--predictions", str(predictions), "--targets", str(targets), "--report", str(tmp_path / name)]
    assert main(asked) == 1
    told = capsys.readouterr()
    assert "--report" in told.err and ".html" in told.err and told.out == ""


def test_the_page_of_real_videos_speaks_of_grey(real, tmp_path):
    folder = real / "cc2017" / "mind_video"
    path = tmp_path / "report.html"
    asked = ["--side-by-side", "truth-left", *PIXELS, "--report", str(path)]
    assert main(["score", "--predictions", str(folder), *asked]) == 0
    page = path.read_text(encoding="utf-8")
    assert "in SSIM" in page and len(read_pictures(page)) == 9 and len(page) < 1_000_000
