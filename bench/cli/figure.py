"""`bench figure`: pictures of the store and of fitted methods, with the numbers behind them."""

from __future__ import annotations

from typing import Any

import click

import bench
from bench.cli import options
from bench.cli.options import FILE, POSITIVE, Name, show, stack
from bench.core.errors import BenchError

drawn = stack(
    options.seed,
    options.table_format,
    click.option(
        "--output", type=FILE, metavar="FILE", show_default="a png in figures/", help="A png, pdf or svg to write."
    ),
)


@click.group(epilog="Example: python -m bench figure clips --method sam_net --method retrieval")
def figure() -> None:
    """One picture, and the numbers behind it on standard output."""


@figure.command(epilog="Example: python -m bench figure clips --ablation conditions --count 6")
@click.option("--method", type=Name("methods"), multiple=True, show_default="all methods", help="Again for more.")
@click.option("--variant", multiple=True, metavar="NAME", show_default="base", help="Of the methods that have it.")
@click.option("--ablation", metavar="GROUP", show_default="none", help="Every variant of a group.")
@click.option("--split", type=Name("splits"), default="cross_subject", help="On which split they were run.")
@click.option("--clips", metavar="N,N", show_default="by hash, so nobody picks", help="These clips.")
@click.option("--count", type=POSITIVE, default=4, help="How many clips the hash chooses.")
@click.option("--frames", type=POSITIVE, default=3, help="Of a clip, evenly spread.")
@click.option("--subject", type=int, show_default="by hash for each clip", help="Whose reconstructions.")
@options.setting
@options.chosen_precision
@drawn
def clips(clips: str | None, classes: str, format: str, **asked: Any) -> int:
    """True clips against reconstructions in the store; runs nothing."""
    drawing = bench.draw_clips(clips=None if clips is None else read_numbers(clips), classes=int(classes), **asked)
    show(drawing.table, format, None)
    return 0


@figure.command(epilog="Example: python -m bench figure subjects")
@options.settings
@click.option("--dataset", type=Name("datasets"), default="phantom_eeg", help="Whose subjects.")
@options.data_root
@options.suite
@options.classes
@drawn
def subjects(**asked: Any) -> int:
    """Subjects before and after C-SA and New2Source; fits SAM-Net twice."""
    return draw_scalp("subjects", asked)


@figure.command(epilog="Example: python -m bench figure electrodes --set epochs=5")
@options.settings
@click.option("--dataset", type=Name("datasets"), default="phantom_eeg", help="Whose electrodes.")
@options.data_root
@options.suite
@options.classes
@drawn
def electrodes(**asked: Any) -> int:
    """Scalp maps of what HRT reads; fits SAM-Net."""
    return draw_scalp("electrodes", asked)


@figure.command(epilog="Example: python -m bench figure voxels")
@options.settings
@click.option("--dataset", type=Name("datasets"), default="phantom_fmri", help="Whose voxels.")
@options.data_root
@options.suite
@drawn
def voxels(settings: tuple[str, ...], format: str, **asked: Any) -> int:
    """What CineNeuron's first layer reads by region; fits its first stage."""
    from bench.core.variants import parse_settings

    show(bench.draw_voxels(parameters=parse_settings(settings), **asked).table, format, None)
    return 0


@figure.command(epilog="Example: python -m bench figure learning --method sam_net --vary epochs=[5,10,20]")
@click.option("--method", type=Name("methods"), multiple=True, required=True, help="Again for more.")
@click.option("--split", type=Name("splits"), default="cross_subject", help="Whose training trials.")
@click.option("--vary", metavar="NAME=[V,V]", show_default="shares of the clips", help="A parameter and its values.")
@click.option("--folds", type=POSITIVE, show_default="all", help="The first few of the split alone.")
@options.settings
@click.option("--dataset", type=Name("datasets"), show_default="the phantom of the method", help="Whose trials.")
@options.data_root
@options.suite
@options.classes
@drawn
def learning(vary: str | None, settings: tuple[str, ...], classes: str, format: str, **asked: Any) -> int:
    """Learning curves on validation trials: by clips trained on, or by a parameter; fits the methods."""
    from bench.core.variants import parse_settings

    values = None if vary is None else parse_settings([vary])
    drawing = bench.draw_learning(vary=values, parameters=parse_settings(settings), classes=int(classes), **asked)
    show(drawing.table, format, None)
    return 0


def draw_scalp(kind: Any, asked: dict[str, Any]) -> int:
    from bench.core.variants import parse_settings

    format, parameters = asked.pop("format"), parse_settings(asked.pop("settings"))
    asked["classes"] = int(asked["classes"])
    show(bench.draw_scalp(kind, parameters=parameters, **asked).table, format, None)
    return 0


def read_numbers(text: str) -> list[int]:
    """Whole numbers separated by commas. Raises BenchError."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise BenchError(f"--clips {text!r} is no list of numbers like 12,40") from None
