"""`bench publish`: a store's results, or a submission, into the committed results."""

from __future__ import annotations

from pathlib import Path

import click

import bench
from bench.cli import options
from bench.cli.options import FILE, FOLDER, Name, refuse


@click.command(epilog="Example: python -m bench publish --dataset phantom_eeg")
@click.option("--bundle", type=FILE, metavar="FILE", show_default="none", help="A submission in place of --runs.")
@click.option("--submitter", metavar="TEXT", show_default="nobody", help="Whose its name is: a name or an address.")
@click.option("--accept-flagged", is_flag=True, help="Publish a submission whose videos look like no decoding, marked.")
@options.truth
@click.option("--results", type=FOLDER, metavar="DIR", show_default="leaderboard/results", help="Where they go.")
@click.option(
    "--method", "methods", type=Name("methods"), multiple=True, show_default="all", help="Only these, floors too."
)
@click.option("--dataset", type=Name("datasets"), default="phantom_eeg", help="Whose cells are published.")
@options.data_root
@options.suite
@click.option(
    "--classes", type=click.Choice(("10", "20", "30", "40")), show_default="all", help="Only this subset of concepts."
)
@options.runs
@options.chosen_precision
def publish(
    bundle: Path | None,
    submitter: str | None,
    accept_flagged: bool,
    targets: Path | None,
    target_name: str,
    side_by_side: str | None,
    results: Path | None,
    methods: tuple[str, ...],
    dataset: str,
    data_root: Path | None,
    suite: str,
    classes: str | None,
    runs: Path,
    precision: str,
) -> int:
    """Copy manifests, scores and a few clips of a store, or of a bundle that is verified first, into the results.

    All or nothing: a board is made of what would be there first, and a kill leaves the old results or the new ones.
    """
    if bundle is not None:
        refuse(("methods", "dataset", "suite", "classes", "runs", "precision"), "is told by the bundle")
        bench.publish_bundle(
            bundle,
            data_root=data_root,
            results=results,
            submitter=submitter,
            accept_flagged=accept_flagged,
            targets=targets,
            target_name=target_name,
            side_by_side=side_by_side,  # type: ignore[arg-type]
        )
        return 0
    refuse(("submitter", "accept_flagged", "targets", "target_name", "side_by_side"), "is about a --bundle")
    bench.publish(
        method=methods,
        dataset=dataset,
        data_root=data_root,
        suite=suite,
        classes=None if classes is None else int(classes),
        runs=runs,
        results=results,
        precision=precision,  # type: ignore[arg-type]
    )
    return 0
