"""Quick verbs wherever people start them: no home, poor encodings, closed streams, odd paths, a folder that is gone.

What each of them prints and how it ends is what it is elsewhere; none ends in a traceback.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from bench.core import paths
from bench.core.paths import bench_home
from bench.core.progress import say
from bench.store.video import write_lossless

ROOT = Path(__file__).parents[2]
POOR = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ENVIRONMENTS: dict[str, Mapping[str, str]] = {
    "no home": {},
    "an empty home": {"HOME": ""},
    "a home that is not there": {"HOME": "/nonexistent"},
    "ascii": {"LC_ALL": "C", **POOR},
    "cp1252": {"PYTHONIOENCODING": "cp1252", **POOR},
    "a terminal without room": {"COLUMNS": "20", "TERM": "dumb", "NO_COLOR": "1", "TZ": "Nowhere/None"},
    "no place for temporary files": {"TMPDIR": "/nonexistent"},
    "no git, no path": {"PATH": ""},
}
# the verbs share a process; each is named where it does not end as it should
VERBS = """
import sys
from bench.cli import main
for words in (["list"], ["list", "protocols"], ["--version"], ["run", "--help"], ["table", "--metric", "sssim"]):
    code = main(words)
    assert code == (1 if "sssim" in words else 0), (words, code)
"""


def start(words: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    whole = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, *words], cwd=folder, env=whole, capture_output=True, check=False)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_quick_verbs_work_there(name: str, tmp_path: Path) -> None:
    done = start(["-c", VERBS], tmp_path, ENVIRONMENTS[name])
    said = done.stderr.decode("utf-8", errors="replace")
    assert done.returncode == 0, said
    assert "Traceback" not in said and "Exception ignored" not in said
    assert b"sam_net" in done.stdout and b"corrected:" in done.stdout
    assert (b"\\u2191" in done.stdout) == (name in ("ascii", "cp1252"))  # the arrow of a metric, as its number
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("-m bench list | head -1", 0, ""),
        ("-m bench list >&-", 0, ""),
        ("-m bench list protocols 2>&-", 0, ""),
        ("-m bench list protocols >/dev/full", 1, "No space left"),
        ("-m bench --version >/dev/full", 1, "No space left"),
        ("-m bench run --method nobody 2>/dev/full", 1, ""),
        ("-m bench run --method nobody >&- 2>&-", 1, ""),
        ("-m bench list <&- >&- 2>&-", 0, ""),
    ],
)
def test_streams_may_be_closed_or_full(line: str, code: int, words: str, tmp_path: Path) -> None:
    if "/dev/full" in line and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    whole = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        f"'{sys.executable}' {line}", shell=True, cwd=tmp_path, env=whole, capture_output=True, check=False
    )
    said = done.stderr.decode()
    assert done.returncode == code, said
    assert words in said and "Traceback" not in said and "Exception ignored" not in said
    assert said.count("\n") <= 1


def test_a_closed_output_is_not_written_into_the_next_file(tmp_path: Path) -> None:
    """With standard output closed, the next file that is opened would get its number, and what is printed."""
    code = "from bench.cli import main; main(['--version']); f = open('f', 'w'); print('spilt'); f.close()"
    whole = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(f'"{sys.executable}" -c "{code}" >&-', shell=True, cwd=tmp_path, env=whole, check=False)
    assert done.returncode == 0 and (tmp_path / "f").read_text() == ""


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    for verb in ("list", "score --predictions a --targets b"):
        folder.mkdir(exist_ok=True)
        line = f"cd '{folder}' && rmdir '{folder}' && '{sys.executable}' -m bench {verb}"
        whole = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        done = subprocess.run(line, shell=True, env=whole, capture_output=True, check=False)
        assert done.returncode == 1 and not done.stdout
        assert done.stderr.decode().startswith("error: the folder that this was started in is not there any more")


STRANGE = ["with a space", "quote'\"s", "two\nlines", "100%", "#1", "-dash", "a:b", "ü中", "x" * 200, "$HOME", "a.py"]


def test_paths_with_anything_in_them(tmp_path: Path) -> None:
    """Videos, a table and a class of one's own in folders with strange names; for the class a name that is no text."""
    nameless = os.fsdecode(b"no\xfftext")
    strange = [*STRANGE, nameless]
    clip = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    for name in strange:
        for part in ("p", "t"):
            (tmp_path / name / part).mkdir(parents=True)
            write_lossless(tmp_path / name / part / "a.mp4", clip, fps=3)
        (tmp_path / name / "mine.py").write_text("class Mine: modality = 'eeg'", encoding="utf-8")
    code = (
        "import os, sys; from bench.cli import main\n"
        "for name in sys.argv[1:]:\n"
        "    os.environ['BENCH_HOME'] = os.path.join(os.getcwd(), name, 'home')\n"
        "    place = os.path.abspath(name) if ':' in name else os.path.join('.', name)\n"
        "    if '\\udcff' in name: place = './with a space'\n"
        "    words = ['score', '--predictions', place + '/p', '--targets', place + '/t', '--metrics', 'ssim']\n"
        "    assert main([*words, '--output', place + '/table.md']) == 0, name\n"
        "    place = os.path.join('.', name)\n"
        "    assert main(['run', '--method', place + '/mine.py:Mine', '--quick', '--runs', place + '/runs']) == 1\n"
    )
    done = start(["-c", code, *strange], tmp_path, {"LC_ALL": "C.UTF-8"})
    said = done.stderr.decode("utf-8", errors="surrogateescape")
    assert done.returncode == 0 and "Traceback" not in said, said
    assert said.count("the class lacks version, fit, reconstruct") == len(strange)
    for name in STRANGE:
        assert "ssim" in (tmp_path / name / "table.md").read_text(encoding="utf-8")


def test_a_limit_of_the_system_is_named_with_what_raises_it(tmp_path: Path) -> None:
    for name in ("made", "true"):
        (tmp_path / name).mkdir()
        write_lossless(tmp_path / name / "clip.mp4", np.zeros((6, 64, 64, 3), np.uint8), fps=3)
    # -B: Python itself would leave what it compiles cut off
    words = ["-B", "-m", "bench", "score", "--predictions", "made", "--targets", "true", "--metrics", "ssim"]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 4; exec "$@"', "sh", sys.executable, *words],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "error: File too large; " in done.stderr and "`ulimit -f`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_user_whom_nobody_knows_has_a_home_of_sorts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container that runs under a number: no HOME, and no entry in the list of users."""
    pwd = pytest.importorskip("pwd")

    def unknown(number: int) -> None:
        raise KeyError(number)

    for name in ("HOME", "BENCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(paths.tempfile, "gettempdir", lambda: str(tmp_path))
    assert bench_home() == tmp_path / f"brain2video-bench-{os.getuid()}"
    monkeypatch.setenv("HOME", "")
    assert bench_home() == tmp_path / f"brain2video-bench-{os.getuid()}"
    monkeypatch.setenv("BENCH_HOME", "~nobody-of-this-name/home")
    assert bench_home().parent == tmp_path
    monkeypatch.setenv("BENCH_HOME", "/named")
    assert bench_home() == Path("/named")


def test_progress_needs_no_stream(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    say("nobody hears this")
    assert capsys.readouterr().out == ""
