"""Two methods on the same subjects and clips: how far apart, how surely, for whom, and on which clips most.

A row a metric. `a_minus_b` is the difference with the two-way interval over subjects and concepts, `p` its test, with
Holm's correction over the metrics of the table (`p_holm`). Beside it stand tests that assume less and claim less:
`p_concepts` flips the signs of the concepts' differences, averaged over subjects, and holds for new concepts with
these subjects; `p_subjects` flips those of the subjects, and holds for new subjects with these concepts (empty below
six subjects: not testable). `smallest_detectable` is the difference that this design would find four times in five.
`better` is the side that the metric favours, empty where Holm's p is above .05: "not distinguished" is no proof of
equality.

Only seeds that both have are compared; `seed_sd` is the deviation of the difference between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bench.core.variants import Side, name_side
from leaderboard.stats import intervals as statistics
from leaderboard.stats.panels import Panel, TableError, build_panels, check_same, mean_interval, paired_difference
from leaderboard.stats.resampling import flip_signs, mean_by, seed_from
from leaderboard.tables import check_scores, find_metric
from metrics.known import KNOWN_PROTOCOLS
from metrics.protocols import Protocol


def compare_methods(
    scores: pd.DataFrame, a: Side, b: Side, *, protocols: Mapping[str, Protocol] = KNOWN_PROTOCOLS
) -> pd.DataFrame:
    """A row for each split, protocol and metric that both have. scores: rows as `result_table` needs.

    Raises TableError where a side has no scores, where they share none, and as `result_table` does.
    """
    check_scores(scores)
    rows = []
    for (dataset, split, protocol, name), part in pairs_of(scores, a, b):
        metric = find_metric(part, protocols)
        left, right, seeds = pair_panels(part, a, b)
        interval = paired_difference(left, right)
        differences = [one.value - other.value for one, other in zip(left, right, strict=True)]
        generator = seed_from(*differences)
        by_seed = [paired_difference(*pair_panels(part[part["seed"] == seed], a, b)[:2]).mean for seed in seeds]
        rows.append(
            {
                "dataset": dataset,
                "split": split,
                "protocol": protocol,
                "metric": name,
                "direction": metric.direction,
                "a": mean_interval(left).mean,
                "b": mean_interval(right).mean,
                "a_minus_b": interval.mean,
                "a_minus_b_low": interval.low,
                "a_minus_b_high": interval.high,
                "p": statistics.p_value(interval),
                "p_concepts": flip_signs(mean_by_concept(differences, left), generator=generator),
                "p_subjects": flip_signs(
                    np.concatenate([difference.mean(axis=1) for difference in differences]), generator=generator
                ),
                "smallest_detectable": statistics.smallest_detectable(interval),
                "seed_sd": float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else np.nan,
                "seeds": len(seeds),
                "n_subjects": sum(len(panel.subjects) for panel in left),
                "n_clips": sum(len(panel.clips) for panel in left),
                "generalises_to": interval.generalises_to,
            }
        )
    table = pd.DataFrame(rows)
    family = [*("dataset", "split", "protocol")]
    table["p_holm"] = table.groupby(family, sort=False)["p"].transform(lambda p: statistics.holm(p.to_numpy()))
    table["better"] = [name_better(row, a, b) for _, row in table.iterrows()]
    table.attrs["sides"] = [name_side(a), name_side(b)]
    return table


def list_extremes(
    scores: pd.DataFrame, a: Side, b: Side, *, count: int = 5, captions: Mapping[int, str] | None = None
) -> pd.DataFrame:
    """The clips where A and B differ most, for and against A, in one metric of one split, means over subjects and
    seeds.

    Raises TableError where `scores` holds more than one metric or split.
    """
    parts = list(pairs_of(scores, a, b))
    if len(parts) != 1:
        raise TableError(f"{len(parts)} metrics and splits: clips are listed for one; name it with --metric, --split")
    ((_, _, _, name), part) = parts[0]
    left, right, _ = pair_panels(part, a, b)
    values = pd.DataFrame(
        {
            "metric": name,
            "clip": np.concatenate([panel.clips for panel in left]),
            "concept": np.concatenate([panel.concepts for panel in left]),
            "a": np.concatenate([panel.value.mean(axis=0) for panel in left]),
            "b": np.concatenate([panel.value.mean(axis=0) for panel in right]),
        }
    )
    values["a_minus_b"] = values["a"] - values["b"]
    if captions is not None:
        values["caption"] = [captions.get(int(clip), "") for clip in values["clip"]]
    ordered = values.sort_values(["a_minus_b", "clip"], ascending=[False, True], ignore_index=True)
    if len(ordered) <= 2 * count:
        return ordered
    return pd.concat([ordered.head(count), ordered.tail(count)], ignore_index=True)


def pairs_of(scores: pd.DataFrame, a: Side, b: Side) -> list[tuple[tuple[str, str, str, str], pd.DataFrame]]:
    """(data set, split, protocol, metric) and rows, where both sides have some. Raises TableError where none has."""
    if a == b:
        raise TableError(f"{name_side(a)} against itself: name two methods, or two variants as method:variant")
    side = [(method, variant) for method, variant in zip(scores["method"], scores["variant"], strict=True)]
    for one in (a, b):
        if one not in side:
            known = ", ".join(dict.fromkeys(name_side(some) for some in side)) or "none"
            raise TableError(f"no scores of {name_side(one)}; there are {known}; run it, or name one of these")
    mine = scores[[one in (a, b) for one in side]]
    if len(settings := mine[["suite", "classes"]].drop_duplicates()) > 1:
        raise TableError(f"scores of {len(settings)} suites or class subsets: name one with --suite and --classes")
    made = []
    for key, part in mine.groupby(["dataset", "split", "protocol", "metric"], sort=False):
        if part.groupby(["method", "variant"]).ngroups == 2:
            dataset, split, protocol, metric = map(str, key)
            made.append(((dataset, split, protocol, metric), part))
    if not made:
        raise TableError(f"{name_side(a)} and {name_side(b)} have no split and metric in common; run both on one split")
    return made


def pair_panels(part: pd.DataFrame, a: Side, b: Side) -> tuple[list[Panel], list[Panel], list[int]]:
    """Both sides over the seeds that both have. Raises TableError for other subjects or clips, or no common seed."""
    sides = [rows_of(part, one) for one in (a, b)]
    seeds = sorted(set(sides[0]["seed"]) & set(sides[1]["seed"]))
    if not seeds:
        raise TableError(f"{name_side(a)} and {name_side(b)} have no seed in common; run both with the same --seeds")
    left, right = (build_panels(rows[rows["seed"].isin(seeds)]) for rows in sides)
    check_same(left, right, name_side(a), name_side(b))
    return left, right, seeds


def mean_by_concept(differences: Sequence[np.ndarray], panels: Sequence[Panel]) -> np.ndarray:
    """[C]: the mean over subjects and clips of each concept, in the order of sorted concepts."""
    single = [np.repeat(panel.concepts[None], len(panel.subjects), axis=0).ravel() for panel in panels]
    return mean_by(np.concatenate([one.ravel() for one in differences])[None], np.concatenate(single))


def rows_of(part: pd.DataFrame, side: Side) -> pd.DataFrame:
    return part[(part["method"] == side[0]) & (part["variant"] == side[1])]


def name_better(row: pd.Series, a: Side, b: Side) -> str:
    if not row["p_holm"] <= 0.05:
        return ""
    return name_side(a if (row["a_minus_b"] > 0) == (row["direction"] == "higher") else b)
