"""`bench suite`: build, fetch, verify and describe suites of pretrained networks."""

from __future__ import annotations

from pathlib import Path

import click

import bench
from bench.cli import options
from bench.cli.options import refuse, show
from bench.cli.sentences import tell_card, tell_suite, tell_what_it_judges


@click.command(epilog="Example: python -m bench suite verify paper")
@click.argument("action", type=click.Choice(("build", "fetch", "verify", "info")))
@click.argument("suite")
@click.option("--only", metavar="NETWORK", show_default="all", help="Build this network only.")
@click.option(
    "--for", "purpose", type=click.Choice(("all", "score")), default="all", help="Fetch the judges of `score` alone."
)
@options.output
def suite(action: str, suite: str, only: str | None, purpose: str, format: str, output: Path | None) -> int:
    """Build the small suite again; fetch, verify or describe a suite: mini, light, paper or a folder."""
    if action in ("build", "fetch"):
        refuse(("format", "output"), f"is about a table, and `suite {action}` prints none")
    if action != "build":
        refuse(("only",), "is about `suite build`")
    if action != "fetch":
        refuse(("purpose",), "is about `suite fetch`")
    if action == "build":
        bench.build_suite(suite, only=only)
    elif action == "fetch":
        bench.fetch_suite(suite, purpose=purpose)  # type: ignore[arg-type]
    elif action == "verify":
        report = bench.verify_suite(suite)
        show(report, format, output, verdict=tell_suite(report, suite))
    else:
        report = bench.describe_suite(suite)
        show(report, format, output, verdict=(tell_card if "measure" in report else tell_what_it_judges)(report, suite))
    return 0
