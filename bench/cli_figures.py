"""`figure`: the verb of `bench.cli` that draws what the store holds, or a method that it fits."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from bench.cli import default_dataset, open_setting
from bench.cli_tables import is_current
from bench.core.errors import BenchError
from bench.core.progress import say
from bench.core.variants import parse_settings
from bench.toolbox.plotting import check_path, default_path, describe_setting, save_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Drawn = tuple["Figure", "pd.DataFrame"]  # a picture and the numbers behind it


def draw(options: argparse.Namespace) -> int:
    """Write one picture, and print the numbers behind it."""
    from leaderboard.rendering import render, write

    painters = {"clips": draw_clips, "subjects": draw_scalp, "electrodes": draw_scalp, "voxels": draw_voxels}
    if options.dataset is None:
        first = getattr(options, "method", None) or ["cine_neuron" if options.figure == "voxels" else "sam_net"]
        options.dataset = default_dataset(first[0])
    path = options.output or default_path(name_figure(options), options.dataset)
    check_path(path)
    dataset, suite = open_setting(options)
    figure, table = painters[options.figure](options, dataset, suite, describe_setting(dataset, options.suite))
    save_figure(figure, path)
    write(render(table, options.format), None)
    say(f"written: {path}")
    return 0


def name_figure(options: argparse.Namespace) -> str:
    """A name of its own for each group and split, so that one picture does not overwrite another."""
    if options.figure != "clips":
        return options.figure
    return "_".join(("clips", *filter(None, (options.ablation, options.split))))


def draw_clips(options: argparse.Namespace, dataset: Any, suite: Any, setting: str) -> Drawn:
    from bench.store.cells import Store
    from leaderboard import figures

    made = [cell for cell in Store(options.runs).cells() if is_current(cell.manifest, dataset, suite, options.classes)]
    made = [cell for cell in made if cell.manifest["spec"]["seed"] == options.seed]
    rows = figures.find_rows(made, options.method, options.variant, options.ablation, options.split)
    rest = (
        f"--split {options.split} --dataset {options.dataset} --suite {options.suite} --classes {options.classes} "
        f"--seeds {options.seed + 1} --runs {options.runs}"
    )
    rest += f" --data-root {options.data_root}" if options.data_root else ""
    missing = [
        f"python -m bench run --method {method} --variant {variant} {rest}"
        for (method, variant), cells in rows.items()
        if not cells
    ]
    if len(missing) == len(rows):
        raise BenchError(
            f"{options.runs} holds no such reconstructions of {options.dataset}; make them with: "
            + ("; ".join(missing) or f"python -m bench run --method sam_net {rest}")
        )
    for command in missing:
        say(f"not in {options.runs}, left out of the figure; make it with `{command}`")
    return figures.draw_store(
        {name: cells for name, cells in rows.items() if cells},
        dataset,
        setting,
        **{name: getattr(options, name) for name in ("split", "seed", "clips", "count", "frames", "subject")},
    )


def draw_scalp(options: argparse.Namespace, dataset: Any, suite: Any, setting: str) -> Drawn:
    from methods.sam_net.analysis import distributions, electrodes, figures

    require(dataset, "eeg", options.figure)
    asked = {"classes": options.classes, "seed": options.seed, "parameters": parse_settings(options.set)}
    if options.figure == "electrodes":
        table = electrodes.measure_electrodes(dataset, suite, **asked)
        return figures.draw_electrodes(table, setting), table
    stages = distributions.collect_stages(dataset, suite, **asked)
    table = distributions.tabulate_stages(stages)
    return figures.draw_distributions(stages, table, setting), table


def draw_voxels(options: argparse.Namespace, dataset: Any, suite: Any, setting: str) -> Drawn:
    from methods.cine_neuron.analysis import interpretation

    require(dataset, "fmri", options.figure)
    tables, tuned = interpretation.interpret(dataset, suite, seed=options.seed, **parse_settings(options.set))
    for groups, part in tuned.groupby("tuned to", sort=False):
        found = ", ".join(
            f"{name} {one['correlation'].mean():.2f}" for name, one in part.groupby("variant", sort=False)
        )
        say(f"Spearman's correlation of a voxel's weight with its true tuning to {groups}: {found}")
    return interpretation.draw_regions(tables, setting), interpretation.average_subjects(tables)


def require(dataset: Any, modality: str, figure: str) -> None:
    if dataset.modality != modality:
        raise BenchError(f"figure {figure} is about {modality}; {dataset.name} holds {dataset.modality} recordings")
