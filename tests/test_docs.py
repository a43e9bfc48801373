"""The pages of docs/: they make a site without a broken link, and say what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from leaderboard.glossary import explain_metric, write_page
from leaderboard.rendering import MARKS
from leaderboard.tables import NO_ROOM
from metrics.protocols import PROTOCOLS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REMAKE = (
    "from pathlib import Path; from leaderboard.glossary import write_page; from metrics.protocols import PROTOCOLS; "
)
REMAKE += "Path('docs/metrics.md').write_text(write_page({name: one.metrics for name, one in PROTOCOLS.items()}))"


def test_the_page_of_metrics_is_the_glossary_s() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    assert page == write_page({name: one.metrics for name, one in PROTOCOLS.items()}), f'python -c "{REMAKE}"'
    for protocol in PROTOCOLS.values():
        for metric in protocol.metrics:
            if explain_metric(metric.name).measures:
                (row,) = re.findall(rf"^\| [^|]+ \(`{metric.name}`\) \|.*$", page, re.MULTILINE)
                assert re.search(rf"\b{protocol.name}\b", row.rpartition("|")[0].rpartition("|")[2])


def test_every_mark_of_tables_is_explained() -> None:
    page = (DOCS / "statistics.md").read_text(encoding="utf-8")
    for mark in ("n.s.", "below floor", "not above floor", NO_ROOM):
        assert f"{mark}:" in MARKS and f"| {mark} |" in page, mark
    for flag in ("copies", "no generator", "above ceiling", "filled", "renamed", "partial", "one seed"):
        assert re.search(rf"[| ]{flag}[ ,]", page), flag


def test_the_site_is_built_and_no_link_leads_nowhere(tmp_path) -> None:
    pytest.importorskip("mkdocs")
    made = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    pages = {path.parent.name for path in (tmp_path / "site").glob("*/index.html")}
    assert {path.stem for path in DOCS.glob("*.md")} - {"index"} <= pages
