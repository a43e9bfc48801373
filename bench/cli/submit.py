"""`bench submit`: a folder of videos that others made into cells of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import bench
from bench.cli import options
from bench.cli.options import FOLDER, Name, refuse


@click.command(
    epilog="Example: python -m bench submit --videos DIR --dataset cc2017 --names test{} --base 1 --side-by-side "
    "truth-left --method mind_video --source https://github.com/jqin4749/MindVideo"
)
@click.option(
    "--videos",
    type=FOLDER,
    required=True,
    multiple=True,
    metavar="DIR",
    help="Reconstructions (again for more subjects).",
)
@click.option("--dataset", type=Name("datasets"), required=True, help="Whose clips they reconstruct.")
@click.option("--method", required=True, metavar="NAME", help="Whose they are; a method of `list` gets NAME_published.")
@click.option("--source", required=True, metavar="URL", help="Where the videos lie.")
@click.option("--licence", default="none stated", metavar="TEXT", help="Of the videos.")
@click.option("--submitter", metavar="TEXT", show_default="nobody", help="Who submits them: a name or an address.")
@click.option(
    "--subject",
    type=click.IntRange(min=1),
    multiple=True,
    show_default="not said",
    help="Whose brain: one for each --videos.",
)
@click.option(
    "--names",
    metavar="PATTERN",
    show_default="{}",
    help="How a video is named after its clip's number: test{}, or {}-*.",
)
@click.option("--base", type=click.IntRange(0, 1), show_default="none", help="Number of the first tested clip.")
@click.option(
    "--order",
    type=click.Choice(("shown", "concept", "file")),
    default="shown",
    help="What is counted: tested clips as shown, or by concept; or the stimulus file's own number.",
)
@click.option(
    "--clips",
    type=click.Choice(("whole", "chosen")),
    show_default="whole where none lacks",
    help="Whole: those that lack count as missing. Chosen: never ranked.",
)
@click.option(
    "--split", type=Name("splits"), default="single_subject", help="How the model that made them was trained."
)
@click.option("--frames", default="same", metavar="RULE", help="Which are taken: same, first:N or even:N.")
@click.option("--resize", is_flag=True, help="Bring videos to the size of the data set's clips.")
@click.option(
    "--side-by-side",
    type=click.Choice(("truth-left", "truth-right")),
    show_default="no",
    help="Truth and reconstruction are in one picture.",
)
@click.option("--targets", type=FOLDER, metavar="DIR", show_default="none", help="True videos that came along.")
@click.option("--target-name", default="{}", metavar="PATTERN", help="How one is named after its clip: gt_{}.")
@click.option(
    "--protocol",
    type=Name("protocols"),
    multiple=True,
    show_default="corrected, and the field's own",
    help="Score by this one too.",
)
@click.option("--suite", metavar="NAME", show_default="light; mini for phantoms", help="Whose judges score them.")
@options.data_root
@options.runs
def submit(videos: tuple[Path, ...], subject: tuple[int, ...], submitter: str | None, **asked: Any) -> int:
    """Put videos that others made into the store: whole sets to be ranked, chosen ones to be shown apart.

    Where the data set lies here, a video of every tested clip makes a whole set, and true videos that came along must
    be those of its clips. Else the set is chosen: its truth is named again when it is verified and published. No truth
    is copied.
    """
    if asked["targets"] is None:
        refuse(("target_name",), "says how --targets are named")
    made = bench.submit(videos, subject=subject or None, submitter=submitter or "", **asked)
    click.echo(made.verdict)
    click.echo(f"next: python -m bench pack --method {made.method} {made.repeat}")
    return 0
