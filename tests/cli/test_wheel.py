"""The wheel: what it holds, and whether it does its work where there is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from copied import copy_store

from bench.core.version import __version__
from bench.store.video import write_lossless

ROOT = Path(__file__).parents[2]
PACKAGES = ("bench", "baselines", "methods", "metrics", "leaderboard")
LEFT_OUT = ("leaderboard/retired/",)  # results of data that have been replaced
MADE = (  # what `bench board` and `bench table --paper all` make of the rest: in a checkout only
    *("leaderboard/site/", "leaderboard/evaluation-results/", "leaderboard/board.csv", "leaderboard/board.json"),
    *("leaderboard/LEADERBOARD.md", "leaderboard/PAPERS.md", "leaderboard/published.csv", "leaderboard/published.json"),
)
pytestmark = pytest.mark.slow


def list_tracked() -> list[str]:
    """The files of the project, as git has them; what is new and not ignored too."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("git does not say which files are the project's: this is no clone")
    return [name for name in sorted(set(listed.stdout.split("\0"))) if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of the project's files alone, in a folder of its own: a `build/` of earlier would go into it."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in list_tracked():
        if not name.startswith(("leaderboard/site/", *LEFT_OUT)):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    (source / "leaderboard" / "site").mkdir()
    (source / "leaderboard" / "site" / "index.html").write_text("the site of an earlier board")
    pip("wheel", str(source), "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(built))
    (path,) = built.glob("*.whl")
    return path


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel in it; everything else it borrows from this one."""
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    pip("--python", str(place / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel))
    borrowed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    # a plain path in a .pth is appended, and its own .pth files, an editable install among them, are not read
    (find_packages(place) / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return place


def find_packages(environment: Path) -> Path:
    (place,) = environment.glob("lib/python*/site-packages")
    return place


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


def ask(environment: Path, folder: Path, *words: str, code: int = 0, **more: str) -> str:
    """Run a program of the environment in a folder; returns what it prints and says."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    program, *arguments = words
    done = subprocess.run(
        [str(environment / "bin" / program), *arguments],
        cwd=folder, capture_output=True, text=True, env=clean | more, check=False,
    )  # fmt: skip
    assert done.returncode == code and "Traceback" not in done.stderr, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_the_wheel_holds_every_file_of_the_packages_but_what_is_made_of_them(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    tracked = {name for name in list_tracked() if name.split("/")[0] in PACKAGES}
    assert held == {name for name in tracked if not name.startswith((*MADE, *LEFT_OUT))}
    assert any(name.endswith(".parquet") for name in held)  # 190 files of scores, and weights
    assert any(name.endswith(".safetensors") for name in held)
    assert wheel.stat().st_size < 100e6  # as much as the package index takes


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["version"], cited["license"]) == (__version__, "Apache-2.0")
    assert [len(one["authors"]) for one in cited["references"]] == [2, 8]
    page = " ".join((ROOT / "docs" / "cite.md").read_text(encoding="utf-8").split())
    assert f"title = {{{cited['title']}}}" in page and f"version = {{{__version__}}}" in page
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_it_is_the_wheel_that_answers(environment, elsewhere):
    told = ask(environment, elsewhere, "python", "-c", "import bench, leaderboard; print(bench.__file__)").strip()
    assert Path(told) == find_packages(environment) / "bench" / "__init__.py"
    assert __version__ in ask(environment, elsewhere, "bench", "--version")
    listed = ask(environment, elsewhere, "bench", "list")
    assert "sam_net" in listed and "--ablation hrt" in listed
    assert "complete -o nosort -F _bench_completion bench" in ask(
        environment, elsewhere, "bench", _BENCH_COMPLETE="bash_source"
    )


def test_committed_results_are_read_and_make_the_board(environment, elsewhere):
    asked = ("--method", "sam_net", "--split", "cross_subject", "--metric", "ssim")
    assert "\n  sam_net " in ask(environment, elsewhere, "bench", "table", "--published", *asked)
    page = ask(environment, elsewhere, "bench", "table", "--paper", "sam_net.3", "--published")
    assert page.startswith("sam_net.3: ")
    frame = "import bench; print(bench.table(method='cine_neuron', published=True)['variant'].unique())"
    assert "base" in ask(environment, elsewhere, "python", "-c", frame)
    ask(environment, elsewhere, "bench", "board", "--output", "X")
    for name in ("LEADERBOARD.md", "board.csv", "board.json"):
        made = (elsewhere / "X" / name).read_bytes()
        assert made == (ROOT / "leaderboard" / name).read_bytes(), f"{name}: `python -m bench board` makes it again"
    assert len(list((elsewhere / "X" / "site" / "media").iterdir())) > 50


def test_an_installed_package_is_not_written_into(environment, elsewhere):
    def look() -> set[Path]:
        return {path for path in find_packages(environment).rglob("*") if "__pycache__" not in path.parts}

    before = look()
    for words, named in [
        (("board",), "--output DIR"),
        (("board", "--check"), "--output DIR"),
        (("publish", "--dataset", "phantom_eeg:tiny"), "--results DIR"),
        (("publish", "--bundle", "theirs.base.zip"), "--results DIR"),
        (("suite", "build", "mini"), "a checkout of the sources"),
    ]:
        said = " ".join(ask(environment, elsewhere, "bench", *words, code=1).split())
        assert "this package is installed" in said and named in said
    assert look() == before


def test_videos_are_scored(environment, elsewhere):
    generator = np.random.default_rng(0)
    for name in ("videos", "truth"):
        (elsewhere / name).mkdir()
    for number in range(3):
        clip = generator.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
        write_lossless(elsewhere / "truth" / f"{number}.mp4", clip, fps=3)
        write_lossless(elsewhere / "videos" / f"{number}.mp4", clip if number else 255 - clip, fps=3)
    asked = ("--predictions", "videos", "--targets", "truth", "--table", "summary", "--format", "csv")
    scored = ask(environment, elsewhere, "bench", "score", *asked)
    for metric in ("video_40way", "ssim", "psnr"):
        assert metric in scored


def test_a_method_is_run_and_published(environment, elsewhere, finished):
    copy_store(finished, elsewhere / "runs", without=("retrieval", "constant_grey"))
    asked = ("run", "--method", "retrieval", "--split", "cross_subject", "--quick")
    assert "\n  retrieval " in ask(environment, elsewhere, "bench", *asked)
    ask(environment, elsewhere, "bench", "publish", "--dataset", "phantom_eeg:tiny", "--results", "results")
    assert list((elsewhere / "results").glob("*/cross_subject/retrieval.base.40.parquet"))
