"""Kills at random moments: what is there afterwards is whole, and the next command makes what it always makes.

    python tests/kills.py [--kills 20] [--seed 0] [--only run …]

Each verb that writes is started again and again in a process of its own and killed (SIGKILL, to the process alone or to
all that it started, by turns) at a random moment of the time that it takes. Then the command is given once more and may
finish; what it made must be, digest for digest, what one that nobody killed made, no draft may lie in the store, the
home or the results, and no process may live on. A fit keeps a checkpoint of every step, and goes on from it. Two and
three runs at once on one store, and two users and two machines on one home (simulated by user ids and host names, for
root alone), must come to the same. Prints a Markdown table; the exit status is 1 unless all is as it must be.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

METHOD, SPLIT = "retrieval", "cross_subject"
TRAINED = "contrastive_eeg"
LACKING = (METHOD, "train_mean", "codec")
RUN = ("run", "--method", METHOD, "--split", SPLIT, "--quick")
FIT = ("run", "--method", TRAINED, "--split", SPLIT, "--quick", "--jobs", "1")
NOBODY = 65534


@dataclass(frozen=True)
class Verb:
    """A command that writes: how its folder is prepared, the command there, and the digest of what it made."""

    name: str
    prepare: Callable[[Path, Path], None]  # from a finished world into an empty folder
    command: tuple[str, ...]
    digest: Callable[[Path], str]


def start(command: Sequence[str], folder: Path, **options: object) -> subprocess.Popen[bytes]:
    """A command in the folder, whose home and temporary files lie there too."""
    environment = {**os.environ, "BENCH_HOME": str(folder / "home"), "TMPDIR": str(folder / "temporary")}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[1]), "BENCH_CHECKPOINT_SECONDS": "0"}
    (folder / "temporary").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "said").open("wb"),
        start_new_session=True,
        **options,  # type: ignore[call-overload]
    )


def finish(command: Sequence[str], folder: Path) -> None:
    process = start(command, folder)
    if process.wait() != 0:
        raise SystemExit(
            f"{' '.join(command)} ended with {process.returncode}:\n{(folder / 'said').read_text(encoding='utf-8')}"
        )


def copy_home(world: Path, folder: Path) -> None:
    shutil.copytree(world / "home", folder / "home", symlinks=True)


def copy_store(world: Path, folder: Path) -> None:
    copy_home(world, folder)
    shutil.copytree(world / "runs", folder / "runs")


def copy_begun(world: Path, folder: Path) -> None:
    """A store that lacks some of the run's cells, so that a round is short: the method's, a floor's and a ceiling's."""
    copy_store(world, folder)
    for manifest in (folder / "runs").glob("*/manifest.json"):
        if json.loads(manifest.read_text(encoding="utf-8"))["spec"]["method"] in LACKING:
            shutil.rmtree(manifest.parent)


def copy_unscored(world: Path, folder: Path) -> None:
    copy_store(world, folder)
    for scores in (folder / "runs").glob("*/scores/*"):
        scores.unlink()
    shutil.rmtree(folder / "home" / "cache", ignore_errors=True)


def digest_store(folder: Path) -> str:
    """Of all cells' predictions and of all score tables' numbers."""
    import pyarrow.parquet as pq

    told = []
    for manifest in sorted((folder / "runs").glob("*/manifest.json")):
        told.append(json.loads(manifest.read_text(encoding="utf-8"))["prediction_digest"])
        for scores in sorted(manifest.parent.glob("scores/*.parquet")):
            told.append(f"{scores.name} {pq.read_table(scores).replace_schema_metadata().to_pandas().to_csv()}")
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def digest_files(*parts: str) -> Callable[[Path], str]:
    """Of names and contents of all files below these parts of the folder."""

    def tell(folder: Path) -> str:
        files = sorted(path for part in parts for path in folder.glob(part) if path.is_file())
        hashes = [f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
        return hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    return tell


def digest_phantom(folder: Path) -> str:
    """Of what its manifest lists; how long it took stands there too and is no content."""
    (manifest,) = (folder / "home" / "phantoms").glob("*/manifest.json")
    return str(json.loads(manifest.read_text(encoding="utf-8"))["digest"]) + digest_files("home/phantoms/*/*/**/*")(
        folder
    )


VERBS = (
    Verb("run", copy_begun, (*RUN, "--jobs", "1"), digest_store),
    Verb("run with two workers", copy_begun, (*RUN, "--jobs", "2"), digest_store),
    Verb("fit", copy_store, FIT, digest_store),
    Verb("fit on two devices", copy_store, (*FIT, "--device", "cpu,cpu"), digest_store),
    Verb("scoring", copy_unscored, (*RUN, "--jobs", "1"), digest_store),
    Verb(
        "publish",
        copy_store,
        ("publish", "--dataset", "phantom_eeg:tiny", "--results", "results"),
        digest_files("results/**/*"),
    ),
    Verb(
        "pack",
        copy_store,
        ("pack", "--method", METHOD, "--dataset", "phantom_eeg:tiny", "--split", SPLIT, "--bundle", "bundle.zip"),
        digest_files("bundle.zip"),
    ),
    Verb("phantom", lambda world, folder: None, ("data", "make", "phantom_eeg:tiny"), digest_phantom),
)


def list_drafts(folder: Path) -> list[str]:
    """Drafts of killed processes below the folder, but for its temporary files, which no other process can know of."""
    found = (path for pattern in (".tmp-*", ".making-*") for path in folder.rglob(pattern))
    drafts = (path for path in found if "temporary" not in path.relative_to(folder).parts)
    return sorted(str(path.relative_to(folder)) for path in drafts)


def count_living(folder: Path, patience: float = 10.0) -> int:
    """Processes that were started in the folder and have not ended after so many seconds."""
    started = f"BENCH_HOME={folder}/home".encode()
    end = time.monotonic() + patience
    while True:
        living = 0
        for about in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                living += started in about.read_bytes().split(b"\0")
        if not living or time.monotonic() > end:
            return living
        time.sleep(0.1)


def kill_at_random(verb: Verb, world: Path, kills: int, generator: random.Random) -> dict[str, object]:
    """Kill the verb so often, finishing it after every few kills; a row of the table."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "whole"
        folder.mkdir()
        verb.prepare(world, folder)
        began = time.monotonic()
        finish(verb.command, folder)
        seconds, wanted = time.monotonic() - began, verb.digest(folder)
        killed = other = left = living = 0
        while killed < kills:
            folder = Path(place) / f"killed{killed}"
            folder.mkdir()
            verb.prepare(world, folder)
            for _ in range(generator.randint(1, 3)):
                process = start(verb.command, folder)
                try:
                    process.wait(generator.uniform(0.2, 1.0) * seconds)
                except subprocess.TimeoutExpired:
                    killed += 1
                    end = os.killpg if killed % 2 else os.kill
                    end(process.pid, signal.SIGKILL)
                    process.wait()
                    living += count_living(folder)
            finish(verb.command, folder)
            other += verb.digest(folder) != wanted
            left += bool(list_drafts(folder))
            shutil.rmtree(folder)
    return {"verb": verb.name, "kills": killed, "other digests": other, "drafts left": left, "living on": living}


def run_at_once(world: Path, count: int) -> dict[str, object]:
    """So many runs of one command at once on one store and home."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        copy_home(world, folder)
        processes = [start((*RUN, "--jobs", "1"), folder) for _ in range(count)]
        failed = sum(process.wait() != 0 for process in processes)
        same = digest_store(folder) == digest_store(world)
        return {
            "verb": f"{count} runs at once",
            "kills": 0,
            "other digests": int(failed or not same),
            "drafts left": len(list_drafts(folder)),
            "living on": count_living(folder),
        }


def share_home(world: Path) -> dict[str, object]:
    """Two users, one of them on a machine of another name, on one home and one store that both may write to."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o777)
        copy_home(world, folder)
        (folder / "runs").mkdir()
        for path in [folder / "home", *(folder / "home").rglob("*"), folder / "runs"]:
            path.chmod(0o777 if path.is_dir() else 0o666)
        (folder / "temporary").mkdir()
        (folder / "temporary").chmod(0o777)

        def leave() -> None:
            os.umask(0)
            libc_unshare_hosts()
            os.setuid(NOBODY)

        mine = start((*RUN, "--jobs", "1"), folder, umask=0)
        theirs = start((*RUN, "--jobs", "1"), folder, preexec_fn=leave)
        failed = sum(process.wait() != 0 for process in (mine, theirs))
        again = start((*RUN, "--jobs", "1"), folder, preexec_fn=leave).wait()
        same = digest_store(folder) == digest_store(world)
        return {
            "verb": "two users and two machines on one home",
            "kills": 0,
            "other digests": int(bool(failed or again) or not same),
            "drafts left": len(list_drafts(folder)),
            "living on": count_living(folder),
        }


def can_be_shared() -> bool:
    if os.geteuid() != 0:
        return False
    try:
        return subprocess.run([sys.executable, "-c", "import torch"], user=NOBODY, check=False).returncode == 0
    except PermissionError:
        return False


def libc_unshare_hosts() -> None:
    """This process on a machine of another name (CLONE_NEWUTS)."""
    import ctypes
    import socket

    if ctypes.CDLL(None).unshare(0x04000000) == 0:
        socket.sethostname("another-machine")


def make_world(folder: Path) -> None:
    """A finished quick run, and the home that it filled."""
    finish((*RUN, "--jobs", "2"), folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each verb")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="+", default=[], choices=[*(verb.name for verb in VERBS), "at once", "shared"], metavar="VERB"
    )
    asked = parser.parse_args()
    generator = random.Random(asked.seed)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        world = Path(place)
        make_world(world)
        for verb in VERBS:
            if not asked.only or verb.name in asked.only:
                rows.append(kill_at_random(verb, world, asked.kills, generator))
                print(rows[-1], file=sys.stderr, flush=True)
        for count in (2, 3) if not asked.only or "at once" in asked.only else ():
            rows.append(run_at_once(world, count))
            print(rows[-1], file=sys.stderr, flush=True)
        if not asked.only or "shared" in asked.only:
            if can_be_shared():
                rows.append(share_home(world))
            else:
                print("two users: not tried, it takes root and a Python that everybody may run", file=sys.stderr)
    if not rows:
        return 1
    print("| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")
    return int(any(row["other digests"] or row["drafts left"] or row["living on"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
