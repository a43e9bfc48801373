"""Mutated media and bundles, seeded: what becomes of each, in how many seconds and megabytes.

    python tests/doors/mutate_media.py --count 10000 --bundles 300

Every container and codec that can be written here is changed in the ways of `MUTATIONS` and handed to the second door
as a prediction beside a true clip. Counted are the outcomes (read, or refused with a reason), tracebacks, ends of the
process that asked, and reads of another file: a secret clip lies beside the files, whose pixels must never come back,
and the kernel is asked (inotify) whether anybody opened it or anything else in its folder. The script ends with 1 where
there is a traceback, an end, such a read, or a file that took more than 2 s of processor time or 500 MB.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "worlds"))
from mutated_files import MUTATIONS, SHAPE, draw_film, make_files, make_seeds

from bench.core.errors import BenchError
from bench.doors.video_pairs import Pairs, find_pairs
from bench.store.decoder import DECODER
from bench.store.video import encode_lossless, read_file
from metrics.protocols import PROTOCOLS

SLICE = 500
SECONDS, MEGABYTES = 2.0, 500.0
ASKED = 0x20 | 0x1  # IN_OPEN, IN_ACCESS


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one file."""

    name: str
    mutation: str
    end: str  # read, refused, traceback
    why: str
    seconds: float  # of processor time, of both processes
    wall: float
    megabytes: float  # of both processes, beyond what they hold before
    secret: bool  # whether pixels of another file came back
    other: bool = False  # whether it is read, and not as the whole file is


# One after the other


class Watch:
    """Asks the kernel whether a folder, or a file in it, is opened."""

    def __init__(self, folder: Path) -> None:
        self.library = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self.library.inotify_init1(os.O_NONBLOCK)
        assert self.library.inotify_add_watch(self.descriptor, str(folder).encode(), ASKED) >= 0

    def opened(self) -> bool:
        try:
            return bool(os.read(self.descriptor, 65536))
        except BlockingIOError:
            return False


def high_water(process: int) -> float:
    """Megabytes that a process held at most since `reset_water`."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    return float(status.split("VmHWM:")[1].split()[0]) / 1024 if "VmHWM:" in status else 0.0


def reset_water(process: int) -> None:
    with open(f"/proc/{process}/clear_refs", "w") as file:  # noqa: PTH123
        file.write("5")


def try_files(root: Path, count: int, seed: int) -> list[Outcome]:
    """Hand `count` mutated files to the second door."""
    folder, secrets = root / "predictions", root / "secrets"
    for place in (folder, secrets):
        place.mkdir(parents=True)
    secret = np.tile(np.array([13, 201, 77], np.uint8), (*SHAPE[:3], 1))
    (secrets / "secret.mp4").write_bytes(encode_lossless(secret, fps=6))
    os.environ["SECRET"] = str(secrets / "secret.mp4")
    mutations = dict(make_files(folder, count, seed))
    np.save(root / "true.npy", draw_film(np.random.default_rng(1)))
    whole = {}
    for source, content in make_seeds(seed % 7).items():
        (root / f"whole.{source}").write_bytes(content)
        whole[source.replace(".", "_")] = read_file(root / f"whole.{source}")
    watch, protocol = Watch(secrets), PROTOCOLS["mind_animator"]  # which takes any size
    given = find_pairs(folder, None).predictions
    assert set(given) == set(mutations)
    return [
        try_file(name, given[name], mutation, root / "true.npy", watch, protocol, whole[source_of(name, mutation)])
        for name, mutation in sorted(mutations.items())
    ]


def source_of(name: str, mutation: str) -> str:
    return name[6:].removesuffix(f"_{mutation}")


def try_file(
    name: str, path: Path, mutation: str, truth: Path, watch: Watch, protocol: object, whole: np.ndarray
) -> Outcome:
    """Hand one file to the door, as it stands beside a true clip."""
    pairs = Pairs(predictions={name: path}, targets={name: truth})
    DECODER.ensure()
    child, before_children = DECODER.process.pid, resource.getrusage(resource.RUSAGE_CHILDREN)
    for process in (os.getpid(), child):
        reset_water(process)
    held, held_child = high_water(os.getpid()), high_water(child)
    before, wall, pair = time.process_time(), time.monotonic(), None
    spent = child_seconds(child)
    try:
        (pair,) = pairs.read(protocol)
        end, why = {"ok": "read"}.get(pair.status, "refused"), pair.why
    except BenchError as error:
        end, why = "traceback", f"the door ends: {error}"
    except BaseException:
        end, why = "traceback", traceback.format_exc()
    wall = time.monotonic() - wall
    ended = DECODER.process is None or DECODER.process.pid != child
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended:
        spent = after.ru_utime + after.ru_stime - before_children.ru_utime - before_children.ru_stime - spent
        grown = 0.0  # the limit ended it, or it says that it has grown: its memory is bounded by the limit
    else:
        spent, grown = child_seconds(child) - spent, high_water(child) - held_child
    shown = pair.prediction if pair is not None and pair.prediction is not None else None
    return Outcome(
        name=name,
        mutation=mutation,
        end=end,
        why=why,
        seconds=time.process_time() - before + max(0.0, spent),
        wall=wall,
        megabytes=high_water(os.getpid()) - held + grown,
        secret=watch.opened() or (shown is not None and bool((shown == [13, 201, 77]).all(axis=-1).mean() > 0.5)),
        other=shown is not None and not (shown.shape[1:] == whole.shape[1:] and is_part(shown, whole)),
    )


def is_part(shown: np.ndarray, whole: np.ndarray) -> bool:
    """Whether these are the frames of the whole file, of a picture each of them."""
    if len(whole) == 1:
        return all(np.array_equal(frame, whole[0]) for frame in shown)
    return np.array_equal(shown, whole)


def child_seconds(process: int) -> float:
    """Processor time of a process, by the scheduler's own count."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return 0.0


# Bundles


def try_bundles(root: Path, count: int, seed: int) -> list[Outcome]:
    """Hand `count` mutated bundles to `verify`: bytes of the zip, and members changed with digests that agree again."""
    from forgery import cell_of, read_members, seal, write_members

    from bench.core.job import Run
    from bench.datasets.catalogue import open_dataset
    from bench.doors.bundles import open_bundle, pack_cells
    from bench.harness.plan import plan
    from bench.harness.run_cell import run_job
    from bench.pretrained.suite import load_suite
    from bench.scoring.views import Viewer
    from bench.store.cells import Store

    dataset, suite, store = open_dataset("phantom_eeg:tiny"), load_suite("mini"), Store(root / "runs")
    run = Run(method="random_clip", split="cross_subject", dataset="phantom_eeg:tiny", protocols=("eeg2video",))
    key = run_job(plan(run, dataset, suite)[0], store)
    pack_cells([store.find(key)], Viewer(suite.judges, dataset.concepts), ("eeg2video",), root / "whole.zip")
    whole, seeds, draw = (root / "whole.zip").read_bytes(), make_seeds(0), random.Random(seed)
    (root / "secrets").mkdir()
    (root / "secrets" / "secret.mp4").write_bytes(encode_lossless(np.zeros(SHAPE, np.uint8), fps=6))
    os.environ["SECRET"] = str(root / "secrets" / "secret.mp4")
    watch, outcomes = Watch(root / "secrets"), []
    for number in range(count):
        mutation = draw.choice([one for one in MUTATIONS if one not in ("array_head", "other_name")])
        if draw.random() < 0.5:
            content, where = MUTATIONS[mutation](whole, draw, seeds), "zip"
        else:
            members = read_members(whole)
            where = draw.choice([name for name in members if name.endswith((".mp4", ".parquet", ".json"))])
            members[where] = MUTATIONS[mutation](members[where], draw, seeds)
            if where.endswith(".mp4"):
                seal(members, cell_of(members))
            content = write_members(members)
        (root / "bundle.zip").write_bytes(content)
        before, wall = sum(os.times()[:4]), time.monotonic()
        reset_water(os.getpid())
        held = high_water(os.getpid())
        try:
            with open_bundle(root / "bundle.zip", open_dataset, load_suite):
                end, why = "read", ""
        except BenchError as error:
            end, why = "refused", str(error)
        except BaseException:
            end, why = "traceback", traceback.format_exc()
        outcomes.append(
            Outcome(
                name=f"bundle {number} {where.rpartition('/')[2]}",
                mutation=f"{mutation}, {where.rpartition('.')[2]} of a bundle",
                end=end,
                why=why,
                seconds=sum(os.times()[:4]) - before,
                wall=time.monotonic() - wall,
                megabytes=high_water(os.getpid()) - held,
                secret=watch.opened(),
            )
        )
    return outcomes


# The table


def run_slice(kind: str, count: int, seed: int) -> list[Outcome] | int:
    """Outcomes of a slice, tried in a process of its own; that process's exit status where it ended."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "outcomes.json"
        asked = [kind, str(count), str(seed), str(Path(folder) / "work"), str(place)]
        done = subprocess.run([sys.executable, __file__, "--slice", *asked], check=False)
        if done.returncode or not place.is_file():
            return done.returncode or 1
        return [Outcome(**one) for one in json.loads(place.read_text())]


def print_table(outcomes: list[Outcome], ends: list[int]) -> bool:
    """The table; whether nothing is in it that must not be."""
    heads = ("mutation", "files", "read", "of other pixels", "refused", "tracebacks", "s (processor)", "s (wall)", "MB")
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    groups = collections.defaultdict(list)
    for one in outcomes:
        groups[one.mutation].append(one)
    for name, group in [*sorted(groups.items()), ("all", outcomes)]:
        ends_of = collections.Counter(one.end for one in group)
        cells = [name, len(group), ends_of["read"], sum(one.other for one in group), ends_of["refused"]]
        most = [f"{max(getattr(one, what) for one in group):.2f}" for what in ("seconds", "wall", "megabytes")]
        print("| " + " | ".join(map(str, [*cells, ends_of["traceback"], *most])) + " |")
    media = [one for one in outcomes if "bundle" not in one.mutation]
    slow = [one for one in media if one.seconds > SECONDS or one.megabytes > MEGABYTES]
    bad = [one for one in outcomes if one.end == "traceback" or one.secret]
    for one in [*bad, *slow][:20]:
        print(f"{one.name}: {one.end}, {one.seconds:.2f} s, {one.megabytes:.0f} MB, other file {one.secret}\n{one.why}")
    if os.environ.get("VERBOSE"):
        for one in outcomes:
            if one.other:
                print("other pixels:", one.name)
    print(
        f"{len(outcomes)} files: {sum(one.end == 'traceback' for one in outcomes)} tracebacks, {len(ends)} ends of the "
        f"process that asked, {sum(one.secret for one in outcomes)} reads of another file, {len(slow)} beyond "
        f"{SECONDS:g} s or {MEGABYTES:g} MB"
    )
    return not bad and not slow and not ends


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--bundles", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slice", nargs=5)
    asked = parser.parse_args()
    if asked.slice:
        kind, count, seed, work, place = asked.slice
        attempt = {"files": try_files, "bundles": try_bundles}[kind]
        Path(work).mkdir()
        Path(place).write_text(json.dumps([asdict(one) for one in attempt(Path(work), int(count), int(seed))]))
        return 0
    outcomes: list[Outcome] = []
    ends: list[int] = []
    slices = [("files", min(SLICE, asked.count - start), asked.seed + start) for start in range(0, asked.count, SLICE)]
    for kind, count, seed in [*slices, *([("bundles", asked.bundles, asked.seed)] if asked.bundles else [])]:
        part = run_slice(kind, count, seed)
        if isinstance(part, int):
            ends.append(part)
        else:
            outcomes += part
    return 0 if print_table(outcomes, ends) else 1


if __name__ == "__main__":
    sys.exit(main())
