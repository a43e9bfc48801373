"""Names and choices, held against what there is before anything is read, made or run.

Nothing here imports torch or opens a data set, so that a misspelt name ends at once and leaves nothing behind. Each
check raises BenchError naming the bad value, what is allowed and, where one is near, the name that was meant.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.built_in import BUILT_IN
from bench.core.errors import BenchError
from bench.core.progress import complain
from bench.core.registry import UnknownName, modality_of, names, problems, resolve, suggest, target

CLASSES = (10, 20, 30, 40)
MOST_SEEDS = 1000
MOST_PROCESSES = 1024
MOST_SECONDS = 365 * 86_400
PUBLISHED = {"eeg": "eeg2video", "fmri": "cinebrain"}  # the field's own protocol, scored beside `corrected`


def check_setting(*, dataset: str, suite: str, classes: int, data_root: str | Path | None = None) -> None:
    """The data set, the suite and the class subset are there to be asked for; a folder that is named exists."""
    from bench.datasets.catalogue import is_outside, phantom_spec
    from bench.pretrained.roles import find_suite

    if is_outside(dataset):
        target("datasets", dataset)
    else:
        phantom_spec(dataset)
    find_suite(suite)
    if classes not in CLASSES:
        raise BenchError(f"no class subset of {classes}; there are {', '.join(map(str, CLASSES))}")
    if data_root is not None and not Path(data_root).is_dir():
        raise BenchError(f"there is no folder {data_root}; name the folder of the data set with --data-root")


def check_split(split: str | None) -> None:
    """The split is one of those registered; None asks for all."""
    known = names("splits")
    if split is not None and split not in known:
        raise BenchError(f"unknown split {split!r}{suggest(split, known)}; there are {', '.join(known)}")


def check_modality(method: str, dataset: str) -> None:
    """The method is there, is one, and reads what the data set holds, as far as that is known without opening it."""
    check_contract(method)
    reads, held = modality_of("methods", method), modality_of("datasets", dataset)
    if reads in ("eeg", "fmri") and held and reads != held:
        raise BenchError(
            f"{method} decodes {reads}, {dataset} holds {held} recordings; its phantom is {default_dataset(method)}"
        )


def check_contract(method: str) -> None:
    """A method from outside has what the harness calls; `python -m bench check` looks at all of it."""
    if method in BUILT_IN["methods"]:
        return
    found = resolve("methods", method)
    lacking = [one for one in ("modality", "version", "fit", "reconstruct") if not hasattr(found, one)]
    if lacking:
        raise BenchError(
            f"{method} is no method: the class lacks {', '.join(lacking)}; see docs/add_method.md, and try "
            f"`python -m bench check {method}`"
        )


def default_dataset(method: str) -> str:
    """The phantom of the kind of recordings that a method decodes."""
    return "phantom_fmri" if modality_of("methods", method) == "fmri" else "phantom_eeg"


def default_protocols(modality: str, more: Sequence[str] = ()) -> tuple[str, ...]:
    """Ours, the field's own for such recordings, and `more`, each once."""
    return tuple(dict.fromkeys(("corrected", PUBLISHED[modality], *more)))


def check_output_kind(protocols: Sequence[str], *, video: bool) -> None:
    """Videos are asked for where protocols look at them, and `embedding` where none is made."""
    if video and "embedding" in protocols:
        raise BenchError("protocol embedding looks at no video: give --no-video (video=False) in its place")
    if not video and set(protocols) - {"embedding"}:
        raise BenchError(
            f"protocol {sorted(set(protocols) - {'embedding'})[0]} looks at videos, and --no-video (video=False) makes "
            "none: leave one of both out"
        )


def check_metric(metric: str | None, protocols: Sequence[str]) -> Mapping[str, Any]:
    """The protocols of these names, which have the metric; None asks for all metrics."""
    from bench.scoring.lookup import find_protocols

    rules = find_protocols(protocols)
    known = sorted({spec.name for protocol in rules.values() for spec in protocol.metrics})
    if metric is not None and metric not in known:
        raise BenchError(
            f"unknown metric {metric!r}{suggest(metric, known)}; {', '.join(rules)} has {', '.join(known)}"
        )
    return rules


def choose_variants(
    method: str,
    variant: Sequence[str] = (),
    ablation: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    profile: str = "mini",
) -> dict[str, dict[str, Any]]:
    """Named parameter sets: the base, those named, or those of an ablation, in a profile; `parameters` changes each.

    A variant is called after its profile and its change, as `base@paper[epochs=5]`.
    """
    from bench.core.variants import MINI, find_group, find_variant, name_in

    if ablation and variant:
        raise BenchError("an ablation names its variants itself: give --ablation or --variant, not both")
    if ablation:
        chosen = find_group(method, ablation, profile)
    elif variant or profile != MINI:
        named = [name_in(method, name, profile) for name in variant or ("base",)]
        chosen = {name: find_variant(method, name) for name in named}
    else:
        chosen = {"base": {}}
    if parameters:
        shown = {name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()}
        suffix = ",".join(f"{name}={value}" for name, value in shown.items())
        chosen = {f"{name}[{suffix}]": {**own, **parameters} for name, own in chosen.items()}
    return chosen


def check_seeds(seeds: int) -> None:
    """How many seeds are asked for: 1 to `MOST_SEEDS`."""
    if not 1 <= seeds <= MOST_SEEDS:
        raise BenchError(f"{seeds} seeds: allowed are 1 to {MOST_SEEDS}; 3 to 10 tell a difference from its spread")


def check_loggers(log: Sequence[str]) -> None:
    """Raises BenchError for a logger that is not there or not installed, and for one word in place of several."""
    if isinstance(log, str):
        raise BenchError(f"log={log!r} is one word; give a list of them, as ('tensorboard',)")
    if log:
        from bench.harness.loggers import check_logger

        for name in log:
            check_logger(name)


def check_processes(jobs: int | None, threads: int, scheduler: str | None = None, *, device: str = "auto") -> None:
    """How many processes and threads are asked for: more than any machine has is a slip of the hand.

    Devices that work on one cell together leave none for other cells beside it.
    """
    from bench.core.hardware import list_devices

    if len(list_devices(device)) > 1:
        if jobs not in (None, 1):
            raise BenchError(f"--jobs {jobs} with --device {device}: these work on one cell at a time; leave one out")
        if scheduler is not None and scheduler.startswith("local:") and scheduler != "local:1":
            raise BenchError(
                f"--scheduler {scheduler} with --device {device}: its workers would share these; use local:1"
            )
    if jobs is not None and scheduler is not None:
        raise BenchError("--jobs counts processes of this machine; how many make cells on a cluster are its workers")
    for what, count in (("jobs", jobs), ("threads", threads)):
        if count is not None and not 1 <= count <= MOST_PROCESSES:
            raise BenchError(f"{count} {what}: allowed are 1 to {MOST_PROCESSES}; one a core is the most that helps")


def check_hardware(
    device: str, precision: str, memory: str | int | None, *, here: bool = True, several: bool = False
) -> int | None:
    """The device, the precision and the size of memory can be had; `here` asks whether a named GPU is. Gives bytes.

    `several` allows devices that work on one cell together.
    """
    from bench.core.hardware import check_device, check_devices, check_precision, parse_size

    check_precision(precision)
    size = None if memory is None else parse_size(memory)
    (check_devices if several else check_device)(device, here=here)
    return size


def parse_time_limit(limit: str | float | None) -> float | None:
    """Seconds of `90s`, `30m`, `2h`, `1d`, `1h30m` or a plain number; None where there is no limit."""
    if limit is None:
        return None
    parts = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", str(limit).strip())
    sizes = (86_400, 3600, 60, 1)
    seconds = sum(float(part or 0) * size for part, size in zip(parts.groups(), sizes, strict=True)) if parts else 0.0
    if not 0 < seconds <= MOST_SECONDS:
        raise BenchError(
            f"a time limit of {limit!r} is refused; write it as 90s, 30m, 2h or 1h30m, more than 0 and at most 365d"
        )
    return seconds


def parse_shard(shard: str | None) -> tuple[int, int]:
    """The part and the number of parts of `i/n`; all of it without one."""
    if shard is None:
        return 1, 1
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", shard)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise BenchError(f"--shard {shard!r} is not i/n with 1 <= i <= n, for example 2/8")
    return int(match[1]), int(match[2])


def parse_workers(text: str | int) -> tuple[int, ...]:
    """The numbers of workers to measure, ascending, one among them: "4" is 1 and 4, "2,4" is 1, 2 and 4."""
    parts = str(text).split(",")
    counts = [int(part) for part in parts if re.fullmatch(r"[0-9]{1,4}", part.strip())]
    if len(counts) < len(parts) or not all(1 <= count <= MOST_PROCESSES for count in counts):
        raise BenchError(
            f"--workers {text!r} is no number from 1 to {MOST_PROCESSES}, and no several of them separated by commas, "
            "for example 1,2,4"
        )
    if twice := [count for count in dict.fromkeys(counts) if counts.count(count) > 1]:
        raise BenchError(f"--workers {text!r} names {twice[0]} twice; name each number once, for example 1,2,4")
    return tuple(sorted({1, *counts}))


def shrink(dataset: str) -> str:
    """The tiny phantom of a data set's kind; raises BenchError for one that has a size already, or is no phantom."""
    kind, _, size = dataset.partition(":")
    if size and size != "tiny":
        raise BenchError(f"--quick runs on {kind}:tiny, and --dataset {dataset} names another size; leave one out")
    if not kind.startswith("phantom_"):
        raise BenchError(f"--quick runs on a tiny phantom, and {dataset} is none; leave one out")
    return f"{kind}:tiny"


def check_output(path: Path | None, suffixes: Iterable[str] = (), *, option: str = "--output") -> None:
    """A file can be written there: it is no folder, its name ends as it must, its folder is there or can be made.

    What a disk or a name allows is tried and not guessed, by a file that is removed again. Raises BenchError.
    """
    if path is None:
        return
    if suffixes and path.suffix.lower() not in suffixes:
        raise BenchError(f"{option} {path}: its name must end in one of {', '.join(suffixes)}")
    try:
        if path.is_dir():
            raise BenchError(f"{option} {path} is a folder; name a file in it")
        if path.exists() and not (path.is_file() and os.access(path, os.W_OK)):
            raise BenchError(f"{option} {path} is there and cannot be written to; name another file")
        existing = next(parent for parent in path.absolute().parents if parent.exists())
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".tmp-output-"):
            pass
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise BenchError(
            f"{option} {path}: nothing can be written there ({why}); name a file in a folder of yours"
        ) from error


def find_submitted(method: str, runs: str | Path, results: str | Path | None = None) -> str | None:
    """The data set on which videos of that name were submitted; None of a method that is registered here.

    It is looked for in the store, then among the committed results. Raises UnknownName for a name of neither.
    """
    try:
        name_of(method)
    except UnknownName:
        from bench.store.submitted import list_submitted
        from leaderboard.results import RESULTS, read_manifests

        if (dataset := list_submitted(runs).get(method)) is not None:
            return dataset
        for manifest in read_manifests(Path(results or RESULTS)):
            if manifest["spec"]["method"] == method:
                return str(manifest["spec"]["dataset"])
        raise
    return None


def name_of(method: str | type) -> str:
    """The name of a method, or the name that its class itself is given here."""
    if isinstance(method, str):
        target("methods", method)
        for problem in problems("methods"):
            if problem.name == method:  # ours is meant, and somebody else's has its name
                complain(f"warning: {problem.text}")
        return method
    from bench.core.registry import LIVE, add_class

    if not isinstance(method, type):
        raise UnknownName(f"a method is a name, path/file.py:Class, or a class, not {type(method).__name__}")
    return method.__name__ if LIVE.get(method.__name__) is method else add_class(method)
