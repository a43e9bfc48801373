"""What a site says of itself: its version, of when and of which results it is, and where its repository is.

All of it comes from the committed results and the package, never from the clock or the machine that makes the pages:
the same results give the same bytes. The date is that of the newest result, the digest that of all scores
(`leaderboard.results.Committed.digest`).
"""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.core.spec import digest
from bench.core.version import __version__

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
PACKAGE = "brain2video-bench"
NAMES = ("repository", "source", "homepage")  # of addresses, the first that is there


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Of what a site was made. Empty texts: nothing is known of it."""

    version: str
    newest: str  # day of the newest result, as 2026-11-27
    digest: str  # of all scores
    commit: str  # of the code that made the newest result
    repository: str  # address, without a slash at its end


def describe_origin(records: Sequence[Mapping[str, Any]]) -> Origin:
    """records: of `leaderboard.results.read_records`, in the order of their files."""
    cells = [cell for record in records for cell in record["cells"]]
    newest = max(cells, key=lambda cell: (cell.get("started", 0), cell["key"]), default=None)
    return Origin(
        version=__version__,
        newest=tell_day(newest),
        digest=digest([record["scores_sha256"] for record in records])[:16] if records else "",
        commit=tell_commit(newest),
        repository=find_repository(),
    )


def tell_day(manifest: Mapping[str, Any] | None) -> str:
    """The day, in UTC, on which a cell was started; empty where its manifest does not say it."""
    started = (manifest or {}).get("started")
    return datetime.fromtimestamp(started, UTC).strftime("%Y-%m-%d") if started else ""


def tell_commit(manifest: Mapping[str, Any] | None) -> str:
    """The commit of the code that made a cell; empty where it is not known, or was not committed."""
    provenance = (manifest or {}).get("provenance", {})
    return "" if provenance.get("dirty") else str(provenance.get("commit") or "")


def find_repository(project: Path = PROJECT) -> str:
    """The repository's address: of `[project.urls]` in a checkout, else of the installed package; empty without one.

    Only an https address is one.
    """
    if project.is_file():
        named = tomllib.loads(project.read_text(encoding="utf-8"))["project"].get("urls", {})
    else:
        try:
            held = importlib.metadata.metadata(PACKAGE).get_all("Project-URL") or []
        except importlib.metadata.PackageNotFoundError:
            held = []
        named = dict(one.split(", ", 1) for one in held)
    lower = {name.lower(): address for name, address in named.items()}
    address = next((lower[name] for name in NAMES if name in lower), "")
    return address.rstrip("/") if address.startswith("https://") else ""
