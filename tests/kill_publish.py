"""Kill `publish` at random moments: what is read is the old results or the new, and publishing again mends the rest.

    python tests/kill_publish.py --runs runs --dataset phantom_eeg:tiny --method retrieval --method codec --kills 20

The first method stands in the results before (the old ones); each try publishes all methods and is killed once, at a
moment of its uninterrupted time that a seeded generator draws, most of them in its last tenth, where the files move.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from leaderboard.results import read_results


def digest_tree(folder: Path) -> str:
    """Of all names and contents, hidden ones too."""
    state = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        state.update(f"{path.relative_to(folder)}\0".encode() + (path.read_bytes() if path.is_file() else b""))
    return state.hexdigest()


def start(options: argparse.Namespace, results: Path, methods: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bench", "publish", "--runs", options.runs, "--dataset", options.dataset]
    command += ["--results", str(results)] + [part for method in methods for part in ("--method", method)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--dataset", default="phantom_eeg:tiny")
    parser.add_argument("--method", action="append", required=True)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    draw, bad = random.Random(0), 0
    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder, "old"), Path(folder, "new")
        assert start(options, old, options.method[:1]).wait() == 0, "the first publish failed"
        shutil.copytree(old, new)
        clock = time.monotonic()
        assert start(options, new, options.method).wait() == 0, "the uninterrupted publish failed"
        took = time.monotonic() - clock
        cells = [set(read_results(one)["cell"]) for one in (old, new)]
        for number in range(options.kills):
            place = Path(folder, f"killed{number}")
            shutil.copytree(old, place)
            after = took * (draw.uniform(0, 1) if number % 3 == 0 else draw.uniform(0.85, 1.02))
            child = start(options, place, options.method)
            time.sleep(after)
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            seen = set(read_results(place)["cell"])
            again = start(options, place, options.method).wait()
            same = again == 0 and digest_tree(place) == digest_tree(new)
            what = "old" if seen == cells[0] else "new" if seen == cells[1] else "MIXED"
            bad += what == "MIXED" or not same
            print(
                f"killed after {after:6.2f} of {took:.2f} s: {what}; again: {'same' if same else 'OTHER'}", flush=True
            )
    print(f"{options.kills} kills, {bad} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
