"""`bench board`: the leaderboard from the committed results."""

from __future__ import annotations

from pathlib import Path

import click

import bench
from bench.cli.options import FOLDER, refuse
from bench.core.errors import BenchError
from bench.core.progress import complain


@click.command(epilog="Example: python -m bench board --check")
@click.option("--results", type=FOLDER, metavar="DIR", show_default="leaderboard/results", help="What it is made of.")
@click.option("--output", type=FOLDER, metavar="DIR", show_default="leaderboard", help="Where it goes.")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if files would change or are not the board's.")
@click.option("--hub", type=FOLDER, metavar="DIR", show_default="none", help="Instead: every clip's scores for a hub.")
@click.option(
    "--push", metavar="OWNER/NAME", show_default="nowhere", help="Instead: send every clip's scores there, to the hub."
)
@click.option(
    "--card", metavar="METHOD", show_default="none", help="With --push: its results into the model card there."
)
def board(
    results: Path | None, output: Path | None, check: bool, hub: Path | None, push: str | None, card: str | None
) -> int:
    """LEADERBOARD.md, its exports and its site, from the committed results."""
    if card is not None and push is None:
        raise BenchError("--card is about --push OWNER/NAME, the model whose card it is; give both")
    if push is not None:
        refuse(("output", "check", "hub"), "writes here, and --push sends to the hub")
        if card is None:
            bench.push_scores(push, results=results)
        else:
            bench.push_card(card, push, results=results)
        return 0
    if hub is not None:
        refuse(("output", "check"), "is about the board, and --hub writes a data set")
        bench.export_hub(hub, results=results)
        return 0
    if not check:
        bench.make_board(results=results, output=output)
        return 0
    stale = bench.check_board(results=results, output=output)
    some = ", ".join(stale[:8]) + (f" and {len(stale) - 8} more" if len(stale) > 8 else "")
    complain(f"not what the results make: {some}; run `python -m bench board`" if stale else "up to date")
    return 1 if stale else 0
