"""Data sets and suites: opened, made, fetched, verified and described."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.api.names import check_hardware, check_setting
from bench.core.errors import BenchError
from bench.core.progress import say

if TYPE_CHECKING:
    import pandas as pd

    from bench.core.hardware import Precision
    from bench.pretrained.suite import Suite


def open_dataset(name: str, *, data_root: str | Path | None = None, jobs: int | None = None) -> Any:
    """Open a data set (`bench.core.contracts.Dataset`) by name; a phantom is made first where it is not there.

    `data_root`, or BENCH_DATA, is where a real one lies. Raises BenchError for an unknown name, or where files lack.
    """
    from bench.datasets.catalogue import open_dataset as open_it

    check_setting(dataset=name, suite="mini", classes=40, data_root=data_root)
    return open_it(name, data_root=data_root, processes=jobs)


def make_dataset(name: str, *, data_root: str | Path | None = None, jobs: int | None = None) -> Any:
    """Open a data set as `open_dataset` does, and say what it holds."""
    dataset = open_dataset(name, data_root=data_root, jobs=jobs)
    say(f"{name}: {len(dataset.trials)} trials of {len(dataset.subjects)} subjects, {dataset.digest}")
    return dataset


def verify_dataset(name: str, *, data_root: str | Path | None = None) -> pd.DataFrame:
    """What of a data set is there, missing or malformed: file (or part), status, detail."""
    from bench.datasets.catalogue import verify

    check_setting(dataset=name, suite="mini", classes=40)
    return verify(name, data_root)


def describe_dataset(name: str, *, data_root: str | Path | None = None, jobs: int | None = None) -> pd.DataFrame:
    """Figures of a data set: the card of a phantom, the geometry of a real one.

    The cards of most phantoms ship with the code; others are measured, which takes minutes.
    """
    from bench.datasets.catalogue import info, shipped_card

    if data_root is None and (card := shipped_card(name)) is not None:
        return card
    return info(open_dataset(name, data_root=data_root, jobs=jobs))


def load_suite(
    name: str | Path = "mini",
    *,
    device: str = "auto",
    precision: Precision = "fp32",
    memory: str | int | None = None,
    threads: int | None = None,
) -> Suite:
    """The suite of a name, or the one that `<folder>/suite.toml` describes; its networks load when first used.

    `device` is "cpu", "cuda", "cuda:N" or, by default, a GPU where there is one; `precision` is "fp32", "bf16" or
    "fp16", `memory` ("24GiB", or bytes) what of the device may be used, `threads` what the judges compute with.
    """
    from bench.pretrained.suite import load_suite as load_it

    size = check_hardware(device, precision, memory)
    return load_it(name, device=device, precision=precision, memory=size, threads=threads)


def build_suite(name: str, *, only: str | None = None) -> None:
    """Train the small networks of a suite again (hours on two cores), or only one of them."""
    from bench.pretrained.mini_build.build import build_suite as build_it

    build_it(name, only=only)


def fetch_suite(name: str, *, purpose: Literal["all", "score"] = "all") -> None:
    """Download what a suite lacks; only ever called on request. For the purpose "score", the judges alone that scores
    ask: a tenth of all. What cannot be downloaded is said, with the way to come by it."""
    from bench.pretrained.roles import ROLES, SCORING, find_suite, make_roles
    from bench.pretrained.roles import fetch_suite as fetch_it

    if purpose not in ("all", "score"):
        raise BenchError(f"purpose {purpose!r}: allowed are all and score")
    _, settings, base = find_suite(name)
    roles = make_roles(settings, base, SCORING if purpose == "score" else ROLES)
    absent = [role for role in roles.values() if role.find() is None]
    wanted = [role for role in absent if not role.how]
    if wanted:
        size = sum(role.megabytes or 0 for role in wanted)
        say(f"fetching {', '.join(role.name for role in wanted)}: about {size / 1000:.1f} GB")
    fetch_it(name, only=[role.name for role in wanted])
    for role in absent:
        if role.how:
            say(role.explain())


def verify_suite(name: str) -> pd.DataFrame:
    """A row for each role of a suite: where it comes from, whether it is here, its size and licence."""
    from bench.pretrained.roles import verify_suite as verify_it

    return verify_it(name)


def describe_suite(name: str) -> pd.DataFrame:
    """How good a suite's networks are, as measured when it was built; of one that others trained, what it can judge.

    That is a row for each of its networks (source, licence, whether it is here), and one for each protocol: how many
    of its metrics of videos the suite's judges suffice for, and which they do not.
    """
    from bench.pretrained.mini_build.card import card_path, suite_table

    if card_path(name).exists():
        return suite_table(name)
    import pandas as pd

    from bench.pretrained.roles import verify_suite as verify_it
    from bench.pretrained.suite import load_suite as load_it
    from bench.scoring.views import Viewer
    from metrics.protocols import PROTOCOLS

    rows = []
    for role in verify_it(name).to_dict("records"):
        here = "here" if role["present"] else "not here"
        rows.append({"what": role["role"], "is": role["source"], "detail": f"{role['licence']}, {here}"})
    viewer = Viewer(load_it(name).judges, ())
    for protocol in PROTOCOLS.values():
        asked = [metric for metric in protocol.metrics if "concept" not in metric.views]  # those are for data sets
        absent = [metric.name for metric in asked if viewer.missing(metric)]
        count = f"{len(asked) - len(absent)} of {len(asked)} metrics"
        lacking = f"not {', '.join(absent)}" if absent else ""
        rows.append({"what": f"protocol {protocol.name}", "is": count, "detail": lacking})
    return pd.DataFrame(rows)
