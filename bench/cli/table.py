"""`bench table`: what a store, or the committed results, hold of methods, ablations and papers' tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import bench
from bench.cli import options
from bench.cli.options import Name, refuse, show
from bench.cli.paper import ALL, check_page, show_all_papers, show_differences, show_paper, show_study
from bench.core.errors import BenchError

SETTLED = ("method", "ablation", "split", "classes", "metric", "protocol", "references", "floors", "readouts")


@click.command(epilog="Example: python -m bench table --ablation hrt")
@click.option("--paper", metavar="TABLE", show_default="none", help="A paper's table (sam_net.1), or all of them.")
@click.option(
    "--differences", is_flag=True, help="With --paper: what its ablations claim, and whether it was measured."
)
@click.option(
    "--study", is_flag=True, help="With --paper: each difference decided, for these subjects and for new ones."
)
@click.option("--published", is_flag=True, help="Of the committed results, not of --runs.")
@click.option(
    "--results",
    type=options.FOLDER,
    metavar="DIR",
    show_default="none",
    help="Of the committed results of this folder.",
)
@click.option("--ablation", metavar="GROUP", show_default="none", help="Paired differences of a group to its base.")
@click.option(
    "--method", type=Name("methods"), show_default="all; with --ablation the one that has it", help="Only this method."
)
@click.option("--split", type=Name("splits"), show_default="all", help="Only this split.")
@options.profile
@options.setting
@click.option("--protocol", type=Name("protocols"), default="corrected", help="A name, file.py:NAME, or all.")
@click.option("--metric", metavar="NAME", show_default="all", help="Only this metric.")
@options.chosen_precision
@options.references
@click.option("--floors", is_flag=True, help="Instead: each floor under each metric, the best, and the ceiling.")
@click.option(
    "--readouts",
    is_flag=True,
    help="Instead: methods × read-outs, of both phantoms unless there is --dataset.",
)
@options.output
def table(
    paper: str | None,
    differences: bool,
    study: bool,
    published: bool,
    format: str,
    output: Path | None,
    **asked: Any,
) -> int:
    """Tables of what the store holds; where it holds nothing of it, of the committed results.

    Nothing is made or run.
    """
    if published or asked["results"]:
        refuse(("runs",), "names a store, and --published and --results read committed results")
    shared = {name: asked[name] for name in ("dataset", "data_root", "suite", "profile", "runs", "results")}
    precision = asked.pop("precision")
    if published or asked["results"]:
        refuse(("precision",), "chooses among the cells of a store; a row of committed results says its own")
    if paper is None:
        if differences or study:
            option = "--study" if study else "--differences"
            raise BenchError(f"{option} is about a paper's table; name it with --paper, or ask for --ablation")
        asked["classes"] = int(asked["classes"])
        show(bench.table(published=published, precision=precision, **asked), format, output)
        return 0
    refuse(SETTLED, "is settled by --paper, which names methods, variants, splits and classes itself")
    if shared["data_root"] and not shared["dataset"]:
        raise BenchError("--data-root is the folder of a real data set: name it with --dataset")
    if differences and study:
        raise BenchError("--differences and --study are two tables; ask for one")
    if paper == ALL:
        check_page(format, differences or study)
        show_all_papers(output, published=published, precision=precision, **shared)
        return 0
    if study:
        show_study(bench.study(paper, published=published, precision=precision, **shared), format, output)
        return 0
    made = bench.paper_table(paper, published=published, precision=precision, **shared)
    print_it = show_differences if differences else show_paper
    print_it(made, format, output, runs=asked["runs"], data_root=asked["data_root"], precision=precision)
    return 0
