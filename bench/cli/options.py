"""Options that many verbs share, and what is done with a table in the end."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bench.core.errors import BenchError
from bench.core.progress import say

if TYPE_CHECKING:
    import pandas as pd

Command = TypeVar("Command", bound=Callable[..., Any])
FORMATS = ("text", "md", "csv", "json", "latex")
POSITIVE = click.IntRange(min=1)
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path)


class Name(click.ParamType):
    """A registered name of a kind, or `path/file.py:Class`; a shell completes it, the verb refuses wrong ones."""

    def __init__(self, kind: str) -> None:
        self.kind = self.name = kind

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "NAME"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        from bench.core.registry import names

        return [CompletionItem(name) for name in names(self.kind) if name.startswith(incomplete)]


def stack(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, in the order that the help shows them."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


data_root = click.option(
    "--data-root", type=FOLDER, metavar="DIR", show_default="BENCH_DATA", help="Where a real data set lies."
)
suite = click.option("--suite", default="mini", metavar="NAME", help="mini, paper, or a folder with a suite.toml.")
classes = click.option(
    "--classes", type=click.Choice(("10", "20", "30", "40")), default="40", help="Subset of the concepts."
)
runs = click.option("--runs", type=FOLDER, default=Path("runs"), metavar="DIR", help="The store of results.")
dataset = click.option(
    "--dataset",
    type=Name("datasets"),
    show_default="the phantom of the kind that the method decodes",
    help="A name of `list datasets`, or path/file.py:Class.",
)
setting = stack(dataset, data_root, suite, classes, runs)
profile = click.option(
    "--profile",
    default="mini",
    metavar="NAME",
    help="Size of networks and training: mini, or paper, as a method's paper states them.",
)
device = click.option(
    "--device", metavar="NAME", default="auto", help="cpu, cuda, cuda:N; auto is a GPU where there is one."
)
precision = click.option(
    "--precision",
    type=click.Choice(("fp32", "bf16", "fp16")),
    default="fp32",
    help="Of generators and what trains, in the key; fp32 is exact.",
)
chosen_precision = click.option(
    "--precision",
    type=click.Choice(("fp32", "bf16", "fp16")),
    default="fp32",
    help="Of cells that the store holds in two, this one is taken.",
)
memory = click.option(
    "--memory", metavar="SIZE", show_default="all that is free", help="What of the device a process may use: 24GiB."
)
devices = click.option(
    "--device",
    metavar="NAME",
    default="auto",
    help="cpu, cuda, cuda:N; auto is a GPU where there is one; cuda:0,cuda:1 share each cell.",
)
hardware = stack(devices, precision, memory)
references = click.option("--references", is_flag=True, help="Also a row for each floor, baseline and ceiling.")
settings = click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A parameter of the method (again for more)."
)
seed = click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the runs.")
table_format = click.option("--format", "format", type=click.Choice(FORMATS), default="text", help="Of the table.")


truth = stack(
    click.option("--targets", type=FOLDER, metavar="DIR", show_default="none", help="True videos of a chosen set."),
    click.option("--target-name", default="{}", metavar="PATTERN", help="How a target is named after its clip: gt_{}."),
    click.option(
        "--side-by-side",
        type=click.Choice(("truth-left", "truth-right")),
        show_default="no",
        help="The targets hold truth and reconstruction in one picture.",
    ),
)


def check_file(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a file that cannot be written, before any work is done for it."""
    from bench.api.names import check_output

    check_output(path)
    return path


output = stack(
    click.option(
        "--format",
        type=click.Choice(FORMATS),
        default="text",
        help="Of the table; text fits 100 columns. A file gets md in its place.",
    ),
    click.option("--wide", "format", flag_value="md", help="Every metric and column: --format md."),
    click.option(
        "--output",
        type=FILE,
        callback=check_file,
        metavar="FILE",
        show_default="standard output",
        help="Write it there.",
    ),
)


def refuse(names: Sequence[str], why: str) -> None:
    """Refuse options that were given and would be ignored. `names` are those of the command's parameters."""
    ctx = click.get_current_context()
    for parameter in ctx.command.params:
        if parameter.name in names and is_given(parameter.name):
            shown = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name
            raise BenchError(f"{shown} {why}; leave it out")


def is_given(name: str) -> bool:
    """Whether the user gave the option."""
    from click.core import ParameterSource

    source = click.get_current_context().get_parameter_source(name)
    return source not in (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)


def quote_command() -> str:
    """The command as it was given, quoted for a shell: the verb, and each option that the user gave."""
    ctx = click.get_current_context()
    words = ctx.command_path.split()
    for parameter in ctx.command.params:
        if isinstance(parameter, click.Option) and is_given(parameter.name):
            value = ctx.params[parameter.name]
            for one in value if parameter.multiple else [value]:
                words += [parameter.opts[0]] if parameter.is_flag else [parameter.opts[0], str(one)]
    return shlex.join(words)


def to_text(table: pd.DataFrame, format: str, output: Path | None) -> str:
    """The table in the format asked for; text is for a terminal alone, a file gets Markdown in its place."""
    from leaderboard import crossing, floors, narrow
    from leaderboard.papers.narrow import tell_differences
    from leaderboard.rendering import render

    if format != "text" or output is not None:
        return render(table, settle_format(format, output))
    if narrow.knows(table):
        return narrow.tell(table)
    for column, tell in (("reads", crossing.tell_crossing), ("floor_name", floors.tell_floors),
                         ("paper_difference", tell_differences)):  # fmt: skip
        if column in table and len(table):
            return tell(table)
    return render(table, "text")


def settle_format(format: str, output: Path | None) -> str:
    """Markdown in place of text, for a file."""
    return "md" if format == "text" and output is not None else format


def show(table: pd.DataFrame, format: str, output: Path | None, *, verdict: str = "") -> None:
    """Print the table in the format asked for, or write it to the file; text ends in the verdict, if there is one."""
    from leaderboard.rendering import wrap_notes, write

    text = to_text(table, format, output)
    if verdict and format == "text" and output is None:
        text += "\n".join([*wrap_notes([verdict]), ""])
    write(text, output)
    if output is not None:
        say(f"written: {output}")
