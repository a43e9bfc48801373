"""Figures: what the store holds, or what a fitted method reads, as a picture with the numbers behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.api import names
from bench.api.setting import Setting
from bench.core.errors import BenchError
from bench.core.progress import say

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from bench.core.hardware import Precision

Scalp = Literal["subjects", "electrodes"]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A picture, the numbers behind it, and the file that it was written to."""

    figure: Figure
    table: pd.DataFrame
    path: Path


def draw_clips(
    *,
    method: Sequence[str] = (),
    variant: Sequence[str] = (),
    ablation: str | None = None,
    split: str = "cross_subject",
    clips: Sequence[int] | None = None,
    count: int = 4,
    frames: int = 3,
    subject: int | None = None,
    seed: int = 0,
    dataset: str | None = None,
    data_root: str | Path | None = None,
    suite: str = "mini",
    classes: int = 40,
    runs: str | Path = "runs",
    output: str | Path | None = None,
    precision: Precision = "fp32",
) -> Drawing:
    """True clips against reconstructions in the store; runs nothing.

    A hash chooses the clips unless `clips` names some. Of what the store has in two precisions, `precision` is shown,
    else fp32. Raises BenchError where the store holds none of what was asked for, with the commands that make it.
    """
    submitted = [names.find_submitted(name, runs) for name in method]
    names.check_split(split)
    setting = Setting(
        dataset=dataset or next(filter(None, submitted), None) or names.default_dataset((*method, "sam_net")[0]),
        data_root=data_root,
        suite=suite,
        classes=classes,
        runs=runs,
        precision=precision,
    )
    name = "_".join(("clips", *filter(None, (ablation, split))))  # a name of its own for each group and split
    path = choose_path(output, name, setting)
    from leaderboard import figures

    rest = f"--split {split} {setting.repeat()} --seeds {seed + 1}"
    cells, opened = find_cells(setting, seed)
    rows = figures.find_rows(cells, list(method), list(variant), ablation, split)
    missing = [
        f"python -m bench run --method {one} --variant {other} {rest}"
        for (one, other), found in rows.items()
        if not found
    ]
    if len(missing) == len(rows):
        raise BenchError(
            f"{runs} holds no such reconstructions of {setting.dataset}; make them with: "
            + ("; ".join(missing) or f"python -m bench run --method sam_net {rest}")
        )
    for command in missing:
        say(f"not in {runs}, left out of the figure; make it with `{command}`")
    figure, table = figures.draw_store(
        {name: found for name, found in rows.items() if found},
        opened,
        describe(setting, opened),
        split=split,
        seed=seed,
        clips=None if clips is None else list(clips),
        count=count,
        frames=frames,
        subject=subject,
    )
    return save(figure, table, path)


def draw_scalp(
    kind: Scalp,
    *,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    dataset: str = "phantom_eeg",
    data_root: str | Path | None = None,
    suite: str = "mini",
    classes: int = 40,
    output: str | Path | None = None,
) -> Drawing:
    """What SAM-Net, fitted here, makes of subjects before and after C-SA and New2Source, or reads at each electrode."""
    names.check_modality("sam_net", dataset)
    setting = Setting(dataset=dataset, data_root=data_root, suite=suite, classes=classes)
    path = choose_path(output, kind, setting)
    from methods.sam_net.analysis import distributions, electrodes, figures

    opened, loaded = setting.open(make=True)
    asked: dict[str, Any] = {"classes": classes, "seed": seed, "parameters": dict(parameters or {})}
    if kind == "electrodes":
        table = electrodes.measure_electrodes(opened, loaded, **asked)
        return save(figures.draw_electrodes(table, describe(setting, opened)), table, path)
    stages = distributions.collect_stages(opened, loaded, **asked)
    table = distributions.tabulate_stages(stages)
    return save(figures.draw_distributions(stages, table, describe(setting, opened)), table, path)


def draw_voxels(
    *,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    dataset: str = "phantom_fmri",
    data_root: str | Path | None = None,
    suite: str = "mini",
    output: str | Path | None = None,
) -> Drawing:
    """What CineNeuron's first layer, fitted here, reads of each region."""
    names.check_modality("cine_neuron", dataset)
    setting = Setting(dataset=dataset, data_root=data_root, suite=suite)
    path = choose_path(output, "voxels", setting)
    from methods.cine_neuron.analysis import interpretation

    opened, loaded = setting.open(make=True)
    tables, tuned = interpretation.interpret(opened, loaded, seed=seed, **dict(parameters or {}))
    for groups, part in tuned.groupby("tuned to", sort=False):
        found = ", ".join(
            f"{name} {one['correlation'].mean():.2f}" for name, one in part.groupby("variant", sort=False)
        )
        say(f"Spearman's correlation of a voxel's weight with its true tuning to {groups}: {found}")
    figure = interpretation.draw_regions(tables, describe(setting, opened))
    return save(figure, interpretation.average_subjects(tables), path)


def draw_learning(
    *,
    method: Sequence[str],
    split: str = "cross_subject",
    vary: Mapping[str, Sequence[Any]] | None = None,
    shares: Sequence[float] | None = None,
    folds: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    dataset: str | None = None,
    data_root: str | Path | None = None,
    suite: str = "mini",
    classes: int = 40,
    output: str | Path | None = None,
) -> Drawing:
    """How what methods read of validation trials grows with the clips they are trained on, or with a parameter.

    `vary` is one parameter with its values, such as {"epochs": [5, 10, 20]}; without it, `shares` of the training clips
    (a fifth to all). `folds` takes the first few of the split. Fits each method once a value and fold, in this process;
    looks at no test trial. Raises BenchError as `bench.audit.learning.measure_learning` does.
    """
    if vary is not None and (len(vary) != 1 or shares is not None):
        raise BenchError("one parameter is varied, or the shares of clips; not both, and no two parameters")
    names.check_split(split)
    for name in method:
        names.check_modality(name, dataset or names.default_dataset(method[0]))
    setting = Setting(
        dataset=dataset or names.default_dataset(method[0]), data_root=data_root, suite=suite, classes=classes
    )
    path = choose_path(output, "learning", setting)
    import pandas as pd

    from bench.audit import learning

    opened, loaded = setting.open(make=True)
    (parameter, values), *_ = (vary or {"": shares or learning.SHARES}).items()
    table = pd.concat(
        [
            learning.measure_learning(
                name,
                opened,
                loaded,
                split=split,
                classes=classes,
                seed=seed,
                folds=folds,
                parameters=parameters,
                vary=parameter,
                values=values,
            )
            for name in method
        ],
        ignore_index=True,
    )
    return save(learning.draw_learning(table, describe(setting, opened)), table, path)


def find_cells(setting: Setting, seed: int) -> tuple[list[Any], Any]:
    """The store's current cells of a seed, and the data set, which is opened and never made.

    Raises BenchError where there is no store.
    """
    from bench.harness.shelf import current_cells
    from bench.store.cells import Store

    if not setting.has_store:
        raise BenchError(
            f"there is no store {setting.runs}; make one with `python -m bench run --method sam_net {setting.repeat()}`"
        )
    dataset, suite = setting.open(make=False)
    cells = current_cells(Store(setting.runs), dataset, suite, setting.classes, precision=setting.precision)
    return [cell for cell in cells if cell.manifest["spec"]["seed"] == seed], dataset


def choose_path(output: str | Path | None, name: str, setting: Setting) -> Path:
    """Where the figure goes. Raises BenchError for what cannot be written, before hours go into a figure."""
    from bench.toolbox.plotting import SUFFIXES, default_path

    path = default_path(name, setting.dataset) if output is None else Path(output)
    names.check_output(path, SUFFIXES)
    return path


def describe(setting: Setting, dataset: Any) -> str:
    from bench.toolbox.plotting import describe_setting

    return describe_setting(dataset, setting.suite)


def save(figure: Figure, table: pd.DataFrame, path: Path) -> Drawing:
    from bench.toolbox.plotting import save_figure

    save_figure(figure, path)
    say(f"written: {path}")
    return Drawing(figure=figure, table=table, path=path)
