"""Which voxels and regions the Brain Model reads (§4.4, Figure 5): the weights of the first regression layer.

    python -m methods.cine_neuron.analysis.interpretation [--dataset phantom_fmri] [--output DIR]

trains stage 1 for each subject, with and without category and action learning, and writes a table by region and a plot.
On a phantom it also prints how a voxel's weight goes with its true tuning.

The paper averages a voxel's weights and normalises them to [0, 1]. The average is taken here of absolute values, since
signs differ from output to output and would cancel.

What fools it: the weight of a voxel says how much it is read, not how much it says. Correlated voxels share a weight
that one of them would have alone, so a region of many voxels has small weights. A voxel of pure noise gains weight too,
if less: ridge regression of few trials fits some of its noise, and a learned layer's steps have the same size for all
weights (they start at zero, brain_model.py).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float64

from bench.toolbox.voxels import TokenLayer
from methods.cine_neuron.brain_model import BrainModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from methods.cine_neuron.method import CineNeuron

Weights = Mapping[int, Float64[np.ndarray, " voxel"]]
VARIANTS: dict[str, dict[str, Any]] = {  # Figure 5 compares these two
    "CLIP alone": {"action_weight": 0.0, "category_weight": 0.0, "modalities": ("text", "image")},
    "with categories and actions": {},
}


def measure_voxel_weights(brain: BrainModel) -> dict[int, Float64[np.ndarray, " voxel"]]:
    """For each subject, the mean absolute weight of each voxel that is read, over all outputs; in the layer's order."""
    weights = {}
    for number, layer in brain.inputs.items():
        assert isinstance(layer, TokenLayer)
        weights[int(number)] = layer.regress.weight.detach().abs().mean(dim=0).double().cpu().numpy()
    return weights


def tabulate_regions(weights: Weights, regions: Mapping[int, Sequence[str]]) -> pd.DataFrame:
    """One row a subject and region: voxels, mean weight normalised to [0, 1] within the subject, and the region's share
    of all absolute weight beside its share of voxels (a ratio of 1 is a region read as much as its size says).

    `regions[subject]` names the region of each voxel of `weights[subject]` (`VoxelChoice.regions`).
    """
    rows = []
    for subject, strengths in weights.items():
        low, high = strengths.min(), strengths.max()
        scaled = (strengths - low) / (high - low) if high > low else np.zeros_like(strengths)
        names = np.asarray(regions[subject])
        for name in dict.fromkeys(names.tolist()):
            mask = names == name
            share, size = strengths[mask].sum() / strengths.sum(), mask.mean()
            rows.append((subject, name, int(mask.sum()), scaled[mask].mean(), share, size, share / size))
    columns = ["subject", "region", "voxels", "weight", "weight_share", "voxel_share", "ratio"]
    return pd.DataFrame(rows, columns=columns)


def average_subjects(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a variant and region: the means over subjects."""
    table = pd.concat([one.assign(variant=name) for name, one in tables.items()], ignore_index=True)
    columns = ["voxels", "weight", "weight_share", "ratio"]
    return table.groupby(["variant", "region"], sort=False)[columns].mean().reset_index()


def correlate_tuning(weights: Weights, tuning: Weights) -> dict[int, float]:
    """Spearman's correlation, over a subject's voxels, of the weight and the strength of the true tuning."""
    from scipy.stats import spearmanr

    return {subject: float(spearmanr(own, tuning[subject]).statistic) for subject, own in weights.items()}


def read_tuning(dataset: Any, method: CineNeuron, groups: Sequence[str]) -> dict[int, Float64[np.ndarray, " voxel"]]:
    """Of a phantom: how strongly each voxel that is read answers to these groups of features, in units of its noise."""
    from bench.datasets.phantom.fmri.features import GROUPS

    columns = np.concatenate([np.arange(GROUPS[name].start, GROUPS[name].stop) for name in groups])
    strengths = {}
    for subject, choice in method.choices.items():
        cortex = dataset.truth.cortex(subject)
        strength = np.linalg.norm(cortex.weights[:, columns], axis=1) / cortex.own
        strengths[subject] = strength[choice.columns].astype(np.float64)
    return strengths


def draw_regions(tables: Mapping[str, pd.DataFrame], setting: str = "") -> Figure:
    """The mean weight of each region by variant, a dot a subject (the paper's Figure 5 as numbers)."""
    from bench.toolbox.plotting import COLOURS, add_words, new_figure

    names = list(dict.fromkeys(next(iter(tables.values()))["region"]))
    figure = new_figure(max(7.5, 1 + 0.8 * len(names)), 4.4)
    axes = figure.subplots()
    width = 0.8 / len(tables)
    for place, (variant, table) in enumerate(tables.items()):
        x = np.arange(len(names)) + (place - (len(tables) - 1) / 2) * width
        by_region = table.groupby("region")["weight"]
        axes.bar(x, by_region.mean()[names], width, label=variant, color=COLOURS[place % len(COLOURS)], alpha=0.7)
        for _, one in table.groupby("subject"):
            axes.plot(x, one.set_index("region")["weight"][names], "k.", markersize=4)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_ylabel("mean voxel weight, 0 to 1")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(tables), frameon=False)
    add_words(
        figure,
        f"CineNeuron: how much the first layer reads each region\n{setting}",
        "Bars are means over subjects, a dot is a subject. A weight says how much a voxel is read, not how much it "
        "says: correlated voxels share a weight, so a region of many has small ones, and a voxel of noise has some.",
    )
    return figure


def plot_regions(tables: Mapping[str, pd.DataFrame], path: Path, setting: str = "") -> None:
    from bench.toolbox.plotting import save_figure

    save_figure(draw_regions(tables, setting), path)


def interpret(
    dataset: Any, suite: Any, *, seed: int = 0, **parameters: Any
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Tables by region of each variant, and on a phantom the correlations with the true tuning (else empty).

    One model a subject, trained on its training trials. All regions are read, those that the base leaves out too.
    """
    from bench.core.splits import make_folds
    from bench.harness.inputs import fold_scalings, training_set
    from methods.cine_neuron.method import CineNeuron

    tables: dict[str, pd.DataFrame] = {}
    rows = []
    for variant, changes in VARIANTS.items():
        parts = []
        for fold in make_folds(dataset, "single_subject"):
            method = CineNeuron(suite=suite, seed=seed, leave_out=(), **{**changes, **parameters})
            method.align(training_set(dataset, fold.train, fold_scalings(dataset, fold)))
            weights = measure_voxel_weights(method.trained().brain)
            regions = {subject: choice.regions for subject, choice in method.choices.items()}
            parts.append(tabulate_regions(weights, regions))
            if dataset.truth is None:
                continue
            for groups in (("light", "edges", "colour"), ("motion",), ("object", "action", "scene"), ("memory",)):
                found = correlate_tuning(weights, read_tuning(dataset, method, groups))
                rows += [(variant, subject, " ".join(groups), value) for subject, value in found.items()]
        tables[variant] = pd.concat(parts, ignore_index=True)
    return tables, pd.DataFrame(rows, columns=["variant", "subject", "tuned to", "correlation"])


def main() -> None:
    from bench.datasets.catalogue import open_dataset
    from bench.pretrained.suite import load_suite
    from bench.toolbox.plotting import describe_setting

    parser = argparse.ArgumentParser(description="voxel weights of the Brain Model by region")
    parser.add_argument("--dataset", default="phantom_fmri")
    parser.add_argument("--data-root", metavar="DIR", help="where a real data set lies")
    parser.add_argument("--suite", default="mini")
    parser.add_argument("--output", type=Path, default=Path("interpretation"), metavar="DIR")
    options = parser.parse_args()
    dataset = open_dataset(options.dataset, data_root=options.data_root)
    tables, tuned = interpret(dataset, load_suite(options.suite))
    options.output.mkdir(parents=True, exist_ok=True)
    table = pd.concat([one.assign(variant=name) for name, one in tables.items()], ignore_index=True)
    table.to_csv(options.output / "regions.csv", index=False)
    plot_regions(tables, options.output / "regions.png", describe_setting(dataset, options.suite))
    print(average_subjects(tables).round(3).to_markdown(index=False))
    if len(tuned):
        tuned.to_csv(options.output / "tuning.csv", index=False)
        print("\nSpearman's correlation of a voxel's weight with its true tuning, mean over subjects:\n")
        print(tuned.pivot_table("correlation", "tuned to", "variant", sort=False).round(3).to_markdown())


if __name__ == "__main__":
    main()
