"""Ablations: a base and its variants, paired over subjects, clips and common seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from leaderboard.stats import intervals as statistics
from leaderboard.stats.panels import TableError, build_panels, check_same, paired_difference
from leaderboard.tables import (
    IDENTITY,
    RESULT_COLUMNS,
    SEEDS_NEEDED,
    SETTING,
    check_scores,
    mean_of,
    result_table,
)
from metrics.known import KNOWN_PROTOCOLS
from metrics.protocols import MetricSpec, Protocol


def ablation_table(
    scores: pd.DataFrame,
    base_variant: str,
    variants: Sequence[str],
    *,
    protocols: Mapping[str, Protocol] = KNOWN_PROTOCOLS,
) -> pd.DataFrame:
    """The base and its variants: their result rows, and base − variant paired over subjects, clips and common seeds.

    scores: rows of one method's variants, with the controls and ceilings to hold them against. Added columns:
    `difference` (base − variant) with `difference_to_base_low`, `_high`; `p`, and `p_holm` over the variants of the
    same metric, protocol and split; `smallest_detectable` at 80 % power and the level of Holm's first step; `seed_sd`,
    the standard deviation of the difference between seeds; `parameters_ratio` to the base, since an ablation that
    takes parameters away measures their number as well; `verdict`, empty while there is a `warning`.
    Raises TableError as `result_table`, for a variant without scores, and for one scored on other subjects or clips.
    """
    check_scores(scores)
    ours = scores[scores["role"] == "method"]
    check_variants(ours, base_variant, variants)
    chosen = (scores["role"] != "method") | scores["variant"].isin([base_variant, *variants])
    table = result_table(scores[chosen], protocols=protocols)
    table = table[table["role"] == "method"]
    rows_of = dict(iter(ours.groupby(IDENTITY, sort=False)))
    compared = []
    for _, family in table.groupby([*SETTING, "method"], sort=False):
        metric = protocols[family["protocol"].iloc[0]][family["metric"].iloc[0]]
        about = tuple(family[[*SETTING, "method"]].iloc[0])
        for name in (base_variant, *variants):
            if (*about, name) not in rows_of:
                raise TableError(
                    f"variant {name!r} has no scores on {', '.join(map(str, about))}; finish its run first"
                )
        base = rows_of[*about, base_variant]
        rows = [compare(base, rows_of[*about, name], name, metric, len(variants)) for name in variants]
        for row, p_holm in zip(rows, statistics.holm([row["p"] for row in rows]), strict=True):
            row["p_holm"] = p_holm
            row["verdict"] = "" if row["warning"] else judge(row, metric)
        ranked = family.set_index("variant").loc[[base_variant, *variants]].reset_index()
        ranked["parameters_ratio"] = (ranked["parameters"] / ranked["parameters"].iloc[0]).astype(float)
        compared.append(ranked.merge(pd.DataFrame(rows), on="variant", how="left"))
    table = pd.concat(compared, ignore_index=True)
    return table[[*RESULT_COLUMNS[:10], *ABLATION_COLUMNS, *RESULT_COLUMNS[10:]]]


ABLATION_COLUMNS = [
    *("difference", "difference_to_base_low", "difference_to_base_high", "p", "p_holm", "smallest_detectable"),
    *("seed_sd", "parameters_ratio", "verdict", "warning"),
]


def compare(
    base: pd.DataFrame, variant: pd.DataFrame, name: str, metric: MetricSpec, comparisons: int
) -> dict[str, Any]:
    seeds = sorted(set(base["seed"]) & set(variant["seed"]))
    if not seeds:
        raise TableError(
            f"variant {name!r} has seeds {sorted(set(variant['seed']))} and its base {sorted(set(base['seed']))}: "
            "a paired difference needs common seeds; run both with the same --seeds"
        )
    of_base, of_variant = (build_panels(rows[rows["seed"].isin(seeds)]) for rows in (base, variant))
    check_same(of_variant, of_base, f"variant {name!r}", "its base")
    interval = paired_difference(of_base, of_variant)
    by_seed = [mean_of(base[base["seed"] == seed]) - mean_of(variant[variant["seed"] == seed]) for seed in seeds]
    warnings = [f"needs {SEEDS_NEEDED} seeds"] if len(seeds) < SEEDS_NEEDED else []
    unpaired = len(set(base["seed"]) | set(variant["seed"])) - len(seeds)
    warnings += [f"{unpaired} seeds not in both"] if unpaired else []
    return {
        "variant": name,
        "difference": interval.mean,
        "difference_to_base_low": interval.low,
        "difference_to_base_high": interval.high,
        "p": statistics.p_value(interval),
        "smallest_detectable": statistics.smallest_detectable(interval, comparisons=comparisons),
        "seed_sd": float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else np.nan,
        "warning": ", ".join(warnings),
    }


def judge(row: Mapping[str, Any], metric: MetricSpec) -> str:
    if not row["p_holm"] <= 0.05:
        return "not distinguished"
    worse = (row["difference"] > 0) == (metric.direction == "higher")
    return "worse than base" if worse else "better than base"


def check_variants(ours: pd.DataFrame, base_variant: str, variants: Sequence[str]) -> None:
    known = list(dict.fromkeys(ours["variant"]))
    for name in (base_variant, *variants):
        if name not in known:
            raise TableError(f"no scores of variant {name!r}; there are scores of {', '.join(known) or 'none'}")
    if len({base_variant, *variants}) != len(variants) + 1:
        raise TableError(f"variants {', '.join(variants)} beside base {base_variant}: name each once")
