"""Figures of a fitted SAM-Net: subjects' distributions (Figure 1a) and what HRT reads of the scalp.

What the numbers are and are not is said in `distributions.py` and `electrodes.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.core.errors import BenchError
from bench.toolbox.plotting import COLOURS, MARKERS, add_words, new_figure
from methods.sam_net.analysis.distributions import Stage, find_plane
from methods.sam_net.analysis.electrodes import MEASURES, correlate_truth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "#BBBBBB"
NAMED = 12  # subjects named in the legend at most
PANELS = {
    "attention": "attention: mean gate\nof equation (1)",
    "reading": "attention × weights of the extractor\n(1: untrained weights)",
    "silenced": "change of E's concept part\nwhen silenced",
    "truth": "planted: share of variance\nthat tells clips apart",
}


def draw_distributions(stages: Sequence[Stage], table: pd.DataFrame, setting: str) -> Figure:
    """A panel a stage, its rows of `table` (`tabulate_stages`) in its title; the last panel is the legend."""
    columns = 3
    rows = -(-(len(stages) + 1) // columns)
    figure = new_figure(11, 1.3 + 3.7 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    subjects = np.unique(np.concatenate([stage.trials.subject for stage in stages]))
    new = {int(one) for stage in stages for one in stage.trials.subject[stage.trials.new]}
    style = {  # new ones first: they never get the palette's grey
        subject: (COLOURS[place % len(COLOURS)], MARKERS[(place + place // len(COLOURS)) % len(MARKERS)])
        for place, subject in enumerate(sorted(subjects, key=lambda one: one not in new))
    }
    for stage, axes in zip(stages, panels, strict=False):
        draw_stage(axes, stage, style)
        lines = [stage.title, *(describe_row(row) for _, row in table[table["stage"] == stage.title].iterrows())]
        axes.set_title("\n".join(lines), fontsize=9)
    alike = [number for number, stage in enumerate(stages) if stage.trials.new.any() and stage.learned]
    if alike:  # the same plane: the same limits, or the eye is misled
        share_limits([panels[number] for number in alike])
    for axes in panels[len(stages) :]:
        axes.set_axis_off()
    for subject in subjects[:NAMED]:
        colour, marker = style[subject]
        label = f"subject {subject}{' (new)' if subject in new else ''}"
        panels[len(stages)].scatter([], [], c=colour, marker=marker, s=30, label=label)
    more = f"and {len(subjects) - NAMED} more" if len(subjects) > NAMED else None
    panels[len(stages)].legend(loc="center", frameon=False, fontsize=9, title=more)
    add_words(
        figure,
        f"SAM-Net: trials of each subject before and after C-SA and New2Source\n{setting}",
        "Held-out trials on their two main components (of the known subjects' trials where new ones are shown); a "
        "large mark is a subject's mean, grey are known subjects. Accuracies are of linear classifiers on all "
        "features, cross-validated, ± one deviation over clips; 'which concept' of a new subject is learned from "
        "known ones. Signals stand as log-covariances of channels: their accuracy is not to be compared with the "
        "other panels'.",
    )
    return figure


def draw_stage(axes: Axes, stage: Stage, style: dict[Any, tuple[str, str]]) -> None:
    points, shares = find_plane(stage)
    mixed = bool(stage.trials.new.any()) and stage.learned
    for subject in np.unique(stage.trials.subject):
        mine = stage.trials.subject == subject
        faded = mixed and not stage.trials.new[mine].any()
        colour, marker = (GREY, "o") if faded else style[subject]
        axes.scatter(
            points[mine, 0],
            points[mine, 1],
            c=colour,
            marker=marker,
            s=9,
            alpha=0.6,
            linewidths=0,
            zorder=1 if faded else 2,
        )
        middle = points[mine].mean(axis=0)
        axes.scatter(middle[0], middle[1], c=colour, marker=marker, s=90, edgecolors="black", linewidths=0.8, zorder=3)
    axes.set_xlabel(f"component 1 ({shares[0]:.0%} of variance)", fontsize=8)
    axes.set_ylabel(f"component 2 ({shares[1]:.0%})", fontsize=8)
    axes.tick_params(labelsize=7)


def describe_row(row: pd.Series) -> str:
    return f"{row['told apart']}: {row['right']:.2f} ± {row['deviation']:.2f} (chance {row['chance']:.3g})"


def share_limits(panels: Sequence[Axes]) -> None:
    x, y = (np.array([getattr(axes, f"get_{side}lim")() for axes in panels]) for side in "xy")
    for axes in panels:
        axes.set_xlim(x[:, 0].min(), x[:, 1].max())
        axes.set_ylim(y[:, 0].min(), y[:, 1].max())


def draw_electrodes(table: pd.DataFrame, setting: str) -> Figure:
    """Scalp maps of the rows of `electrodes.measure_electrodes`, one a measure; last the truth where it is known."""
    import mne

    info = locate(table["electrode"].tolist())
    shown = [name for name in (*MEASURES, "truth") if name in table]
    found = correlate_truth(table)
    figure = new_figure(1 + 2.9 * len(shown), 5.2)
    for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        values = table[name].to_numpy(np.float64)
        limits = float(values.min()), float(max(values.max(), values.min() + 1e-9))
        image, _ = mne.viz.plot_topomap(
            values, info, axes=axes, show=False, cmap="viridis", vlim=limits, contours=0, extrapolate="head", size=3
        )
        left, right, bottom, top = image.get_extent()  # electrodes below the equator lie outside the drawn head
        axes.set(xlim=(left, right), ylim=(bottom, top))
        for part in (image, *axes.collections, *axes.lines):  # unclipped: they would count as larger than they are
            part.set_in_layout(False)
        bar = figure.colorbar(image, ax=axes, orientation="horizontal", shrink=0.8)
        bar.ax.tick_params(labelsize=8)
        bar.ax.locator_params(nbins=4)
        title = PANELS[name]
        axes.set_title(
            f"{title}\nwith the planted truth: ρ = {found[name]:.2f}" if name in found else title, fontsize=9
        )
    add_words(
        figure,
        f"SAM-Net: what HRT reads of the scalp, known subjects\n{setting}",
        f"The gate varies over trials by {table['varies'].mean():.2g} (deviation), over electrodes by "
        f"{table['attention'].std():.2g}; the weights that follow can undo its scale. With sphering HRT sees mixtures "
        "close to an electrode, and no map shows places in a brain. ρ is Spearman's over electrodes, which are not "
        "independent of each other.",
    )
    return figure


def locate(electrodes: Sequence[str]) -> Any:
    """MNE's description of these electrodes, placed as the phantom's head has them (CB1 and CB2 by hand)."""
    import mne

    from bench.datasets.phantom.eeg.montage import electrode_positions
    from bench.datasets.seed_dv.geometry import CHANNELS

    places = dict(zip(CHANNELS, electrode_positions(), strict=True))
    if strange := [name for name in electrodes if name not in places]:
        raise BenchError(f"no position is known of electrode {strange[0]!r}; a scalp map knows SEED-DV's 62")
    with mne.utils.use_log_level("ERROR"):
        info = mne.create_info(list(electrodes), 200.0, "eeg")
        info.set_montage(mne.channels.make_dig_montage({name: places[name] for name in electrodes}, coord_frame="head"))
    return info
