"""`bench score`: videos that were made elsewhere, beside floors that need no brain."""

from __future__ import annotations

from pathlib import Path

import click

import bench
from bench.api.names import check_output
from bench.cli import options
from bench.cli.options import FOLDER, POSITIVE, Name, refuse, settle_format
from bench.core.progress import say


@click.command(epilog="Example: python -m bench score --predictions DIR --targets DIR --metrics ssim,psnr")
@click.option("--predictions", required=True, type=FOLDER, metavar="DIR", help="Videos: mp4, gif, webm, npy, frames.")
@click.option("--targets", type=FOLDER, metavar="DIR", show_default="none: vbench", help="True videos, named alike.")
@click.option("--target-name", default="{}", metavar="PATTERN", help="How a target is named after its clip: gt_{}.")
@click.option(
    "--side-by-side",
    type=click.Choice(("truth-left", "truth-right")),
    show_default="no",
    help="Both videos are in one picture.",
)
@click.option("--frames", default="same", metavar="RULE", help="Which are compared: same, first:N or even:N.")
@click.option("--protocol", type=Name("protocols"), default="eeg2video", help="A name, file.py:NAME, or all.")
@click.option("--metrics", default="all", metavar="NAMES", help="Names or file.py:NAME, separated by commas; or all.")
@click.option("--suite", default="light", metavar="NAME", help="light, paper, mini (drawn clips only), or a folder.")
@options.device
@click.option(
    "--precision", type=click.Choice(("fp32", "bf16", "fp16")), default="fp32", help="Of the judges; fp32 is exact."
)
@options.memory
@click.option("--threads", type=POSITIVE, show_default="all cores", help="Threads that the judges compute with.")
@click.option("--no-floors", is_flag=True, help="Leave the floors out: fewer passes of the judges.")
@click.option(
    "--table",
    type=click.Choice(("summary", "clips")),
    show_default="both; csv and json: clips",
    help="One table only.",
)
@click.option(
    "--report",
    type=options.FILE,
    metavar="FILE",
    show_default="none",
    help="Also one HTML page that opens anywhere: verdict, floors, clips.",
)
@options.output
def score(
    predictions: Path,
    targets: Path | None,
    target_name: str,
    side_by_side: str | None,
    frames: str,
    protocol: str,
    metrics: str,
    suite: str,
    device: str,
    precision: str,
    memory: str | None,
    threads: int | None,
    no_floors: bool,
    table: str | None,
    report: Path | None,
    format: str,
    output: Path | None,
) -> int:
    """Score videos made elsewhere; a missing or broken clip scores the worst value and is counted."""
    if targets is None:
        refuse(("target_name",), "says how --targets are named")
    check_output(report, (".html", ".htm"), option="--report")
    scored = bench.score(
        predictions,
        targets,
        protocol=protocol,
        metrics=metrics,
        target_name=target_name,
        side_by_side=side_by_side,  # type: ignore[arg-type]
        frames=frames,
        suite=suite,
        device=device,
        precision=precision,  # type: ignore[arg-type]
        memory=memory,
        threads=threads,
        floors=not no_floors,
    )
    from leaderboard.clips import clip_table, tell_scores
    from leaderboard.rendering import render, write

    whole = format in ("csv", "json")
    wanted = [table] if table else ["clips"] if whole else ["summary", "clips"]
    clips = scored if whole else clip_table(scored)
    tables = {"summary": bench.summarise_scores(scored), "clips": clips}
    shown = settle_format(format, output)
    texts = {name: tell_scores(scored) if (name, shown) == ("summary", "text") else render(tables[name], shown)
             for name in wanted}  # fmt: skip
    write("\n".join(texts[name] for name in (reversed(wanted) if shown == "text" else wanted)), output)
    if output is not None:
        say(f"written: {output}")
    if report is not None:
        page = bench.report(
            scored,
            report,
            predictions,
            targets,
            target_name=target_name,
            side_by_side=side_by_side,  # type: ignore[arg-type]
            frames=frames,
            command=options.quote_command(),
        )
        say(f"written: {page}")
    return 0
