"""Tables of results: score rows of many cells in, one row a method variant and metric out; and their rendering.

Everything here is a data frame in and a data frame or text out; nothing is run or read. A row's value is the mean over
clips within a subject, then over subjects, seeds averaged inside; its interval is that of `statistics.mean_interval`
with the clips of a concept as one cluster. Beside it stand

- `floor`: the best of the controls' means and of the method's own shuffled brain; `ceiling`: the best of the ceilings;
  `brain_share` between the two, with the interval of `statistics.brain_share_interval`, both bounded to −1..1: beyond,
  it would tell how little room there is and not what was read. Taking the best floor and the best ceiling errs towards
  smaller shares. A baseline sees the brain, so it is no floor. References that see no brain (subject 0, split "clips")
  belong to every split of the same data set, classes and suite; they count only over the very clips (and subjects) of
  the row. No floor is held against a metric that a clip made without a brain wins by definition (`MetricSpec.floor`);
  where the best floor is not worse than the best ceiling the row is marked "share meaningless", and there is no
  share: between the two nothing can be told of a brain.
- `difference_to_shuffled` with its paired interval; a method not above its own shuffled brain is marked "n.s.".
  One whose mean is worse than the best floor's is marked "below floor", and one whose paired difference to it may be 0
  or less "not above floor".
- `best_value` of `best_subject`: the subject with the best mean, as papers print it. It is chosen on the test set.
- `coverage`: the share of trials with a reconstruction, over all folds of the split and all seeds up to the largest;
  what is missing scored the worst value, what was not run has no trial with one. Below 1 the row is marked "partial":
  listed, not ranked.
- A row of cells that were made in another precision than fp32 is marked with it, "bf16"; one of cells in several with
  all of them.
- A row of cells that were made by code changed since its commit is marked "dirty".
- A committed score of an older version of its metric is marked "metric v1 (now v2)": its values would differ today.
- Marks of what looks like no decoding: "above ceiling" where the paired difference to the ceiling is surely positive
  and the ceiling binds (the metric looks at the truth and can be held to a floor, which is below it), and what
  `bench.scoring.flags` found in the videos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from leaderboard.admission import CLIPS, ROLES, SEES_BRAIN
from leaderboard.stats import intervals as statistics
from leaderboard.stats.panels import Panel, TableError, build_panels, mean_interval, paired_difference, weigh
from metrics.known import KNOWN_PROTOCOLS
from metrics.protocols import MetricSpec, Protocol

SETTING = ["dataset", "split", "classes", "suite", "protocol", "metric"]
IDENTITY = [*SETTING, "method", "variant"]
NEEDED = [
    *IDENTITY,
    "role",
    "seed",
    "subject",
    "clip",
    "concept",
    "value",
    "shuffled",
    "status",
    "parameters",
    "phantom",
]
RESULT_COLUMNS = [
    *("method", "variant", "dataset", "split", "protocol", "metric", "value", "low", "high", "mark"),
    *("floor", "ceiling", "brain_share", "brain_share_low", "brain_share_high", "n_subjects", "n_clips", "coverage"),
    *("floor_name", "ceiling_name"),
    *("shuffled", "difference_to_shuffled", "difference_low", "difference_high", "chance", "best_subject"),
    *("best_value", "parameters", "seeds", "classes", "suite", "role", "generalises_to", "phantom", "direction"),
]
SHUFFLED = "shuffled_brain"
NO_ROOM = "share meaningless"
SEEDS_NEEDED = 3


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A control, a ceiling or a baseline, as a level to hold a row against."""

    name: str
    variant: str
    role: str
    split: str
    panel: Panel

    def over(self, panel: Panel) -> npt.NDArray[np.float64] | None:
        """Its scores of the clips (and, unless it sees no brain, the subjects) of `panel`; None if it lacks any."""
        rows = slice(None) if self.split == CLIPS else np.isin(self.panel.subjects, panel.subjects)
        columns = np.isin(self.panel.clips, panel.clips)
        values = self.panel.value[rows][:, columns]
        complete = values.shape[1] == len(panel.clips) and (self.split == CLIPS or len(values) == len(panel.subjects))
        return values if complete else None


def result_table(scores: pd.DataFrame, *, protocols: Mapping[str, Protocol] = KNOWN_PROTOCOLS) -> pd.DataFrame:
    """One row for each method variant, split and metric, with the columns `RESULT_COLUMNS`.

    scores: the rows of all cells to show *and* of the controls and ceilings they are held against; columns `NEEDED`
    (those of `bench.scoring.stored.read_scores`). Raises TableError for missing columns, a protocol or metric
    unknown to `protocols`, NaN scores, clips that some subjects of a row lack, and two cells that claim the same row
    and seed.
    """
    check_scores(scores)
    rows = []
    for _, setting in scores.groupby(["dataset", "classes", "suite", "protocol", "metric"], sort=False):
        metric = find_metric(setting, protocols)
        groups = [(group, build_panels(group)) for _, group in setting.groupby(IDENTITY, sort=False)]
        references = [
            Reference(panel=panel, name=first["method"], **first[["variant", "role", "split"]])
            for first, panels in ((group.iloc[0], panels) for group, panels in groups)
            for panel in panels
            if first["role"] != "method"
        ]
        rows += [_result_row(group, panels, references, metric) for group, panels in groups]
    table = pd.DataFrame(rows, columns=RESULT_COLUMNS)
    for column in ("n_subjects", "n_clips", "best_subject", "parameters", "seeds", "classes"):
        table[column] = table[column].astype("Int64")
    order = _appearance(scores, [*SETTING, "method", "variant"])
    order["role"] = {role: i for i, role in enumerate(ROLES)}
    by = ["dataset", "classes", "suite", "split", "protocol", "metric", "role", "method", "variant"]
    return table.sort_values(by, key=lambda column: column.map(order[str(column.name)]), ignore_index=True)


def _result_row(
    group: pd.DataFrame, panels: Sequence[Panel], references: Sequence[Reference], metric: MetricSpec
) -> dict[str, Any]:
    first = group.iloc[0]
    weights, interval = weigh(panels), mean_interval(panels).within(metric.lo, metric.hi)
    versus = paired_difference(panels, [panel.shuffled for panel in panels])
    floors, ceilings = (levels_over(panels, references, role, first["split"]) for role in ("control", "ceiling"))
    if not metric.floor:
        floors = {}
    elif first["role"] in SEES_BRAIN:
        floors[SHUFFLED, "", first["split"]] = [panel.shuffled for panel in panels]
    pick = max if metric.direction == "higher" else min
    (floor, best_floor), (ceiling, best_ceiling) = (
        pick(
            ((float(weights @ [part.mean() for part in parts]), about) for about, parts in levels.items()),
            key=lambda level: level[0],
            default=(np.nan, ("", "", "")),
        )
        for levels in (floors, ceilings)
    )
    share_low, share_high = np.nan, np.nan
    if best_floor in floors and best_ceiling in ceilings:
        levels = zip(panels, floors[best_floor], ceilings[best_ceiling], strict=True)
        share_low, share_high = statistics.pooled_share_interval(
            [(panel.value, lowest, highest, panel.concepts) for panel, lowest, highest in levels],
            direction=metric.direction,
        )
    subjects = np.concatenate([panel.subjects for panel in panels])
    by_subject = np.concatenate([panel.value.mean(axis=1) for panel in panels])
    best = int(by_subject.argmax() if metric.direction == "higher" else by_subject.argmin())
    sees_brain = bool((subjects != 0).all())
    coverage = measure_coverage(group)
    tested = first["role"] in SEES_BRAIN and metric.paired  # other metrics are the same for a shuffled brain
    share = statistics.brain_share(interval.mean, floor, ceiling, metric.direction)
    share, share_low, share_high = np.clip([share, share_low, share_high], -1.0, 1.0).tolist()
    marks = ["n.s."] if tested and not _is_better(versus, metric) else []
    if first["role"] in SEES_BRAIN and best_floor[0]:
        worse = interval.mean < floor if metric.direction == "higher" else interval.mean > floor
        if worse:
            marks.append("below floor")
        elif not (marks and best_floor[0] == SHUFFLED):  # of the shuffled brain "n.s." says it
            gained = paired_difference(panels, floors[best_floor])
            marks += [] if _is_better(gained, metric) else ["not above floor"]
    marks += ["partial"] if coverage < 1 else []
    marks += list_precisions(group)
    marks += ["dirty"] if "dirty" in group and group["dirty"].eq(True).any() else []  # code of no commit
    older = group["version"].min() if "version" in group else np.nan  # rows of a store are of today's version
    if older < metric.version:
        marks.append(f"metric v{older:.0f} (now v{metric.version})")
    if best_floor in floors and best_ceiling in ceilings and is_ahead(floor, ceiling, metric):
        marks += [NO_ROOM]
    elif tested and metric.floor and best_ceiling in ceilings:
        beyond = paired_difference(panels, ceilings[best_ceiling])
        marks += ["above ceiling"] if _is_better(beyond, metric) else []
    marks += list_flags(group)
    return {
        **{name: first[name] for name in (*IDENTITY, "role")},
        "value": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "mark": ", ".join(marks),
        "floor": floor,
        "floor_name": best_floor[0],
        "ceiling": ceiling,
        "ceiling_name": best_ceiling[0],
        "brain_share": share,
        "brain_share_low": share_low,
        "brain_share_high": share_high,
        "n_subjects": len(subjects) if sees_brain else 0,
        "n_clips": sum(len(panel.clips) for panel in panels),
        "coverage": coverage,
        "shuffled": float(weights @ [panel.shuffled.mean() for panel in panels]),
        "difference_to_shuffled": versus.mean,
        "difference_low": versus.low,
        "difference_high": versus.high,
        "chance": metric.chance_of(group["clip"].nunique()),
        "best_subject": subjects[best] if sees_brain else pd.NA,
        "best_value": by_subject[best] if sees_brain else np.nan,
        "parameters": group["parameters"].max(),
        "seeds": group.groupby("subject")["seed"].nunique().min(),
        "generalises_to": interval.generalises_to,
        "phantom": bool(first["phantom"]),
        "direction": metric.direction,
    }


def list_precisions(group: pd.DataFrame) -> list[str]:
    """A mark of the precisions of a row's cells, unless all are exact; nothing of rows that do not say theirs."""
    made = sorted(set(group["precision"].dropna())) if "precision" in group else []
    return [] if made in ([], ["fp32"]) else [" and ".join(made)]


def measure_coverage(group: pd.DataFrame) -> float:
    """The mean share of trials with a reconstruction over the folds of the split and the seeds from 0.

    A fold with a seed that was not run has none. `folds` says how many the split has; rows that come without are all.
    """
    there = group["status"] == "ok"
    if "folds" not in group:
        return float(there.mean())
    shares = there.groupby([group["fold"], group["seed"]]).mean()
    return float(shares.sum() / (group["folds"].iloc[0] * (group["seed"].max() + 1)))


def list_flags(group: pd.DataFrame) -> list[str]:
    """What was flagged in the videos of a row's cells, where that was looked for."""
    if "flags" not in group:
        return []
    return list(dict.fromkeys(flag for text in group["flags"].unique() for flag in str(text).split(", ") if flag))


Levels = dict[tuple[str, str, str], list[npt.NDArray[np.float64]]]


def levels_over(panels: Sequence[Panel], references: Sequence[Reference], role: str, split: str) -> Levels:
    """Of each reference of a role that covers all panels (name, variant, split): its scores over each of them."""
    levels: Levels = {}
    for reference in references:
        if reference.role == role and reference.split in (split, CLIPS):
            found = [level for panel in panels if (level := reference.over(panel)) is not None]
            levels.setdefault((reference.name, reference.variant, reference.split), []).extend(found)
    return {about: parts for about, parts in levels.items() if len(parts) == len(panels)}


def check_scores(scores: pd.DataFrame) -> None:
    """Raises TableError for missing columns, NaN scores, unknown roles, or two cells with the same row and seed."""
    lacking = [name for name in NEEDED if name not in scores.columns]
    if lacking:
        raise TableError(f"score rows lack the columns {', '.join(lacking)}; a table needs {', '.join(NEEDED)}")
    unnamed = [name for name in (*IDENTITY, "seed", "subject", "clip") if scores[name].isna().any()]
    if unnamed:
        raise TableError(f"score rows without a {unnamed[0]}: every row needs one; score the runs again")
    strange = sorted(set(scores["role"].unique()) - set(ROLES))
    if strange:
        raise TableError(f"role {strange[0]!r}: allowed are {', '.join(ROLES)}")
    bad = scores[~np.isfinite(scores[["value", "shuffled"]].to_numpy(dtype=float)).all(axis=1)]
    if len(bad):
        where = ", ".join(str(bad.iloc[0][name]) for name in ("method", "variant", "metric", "subject", "clip"))
        raise TableError(
            f"{len(bad)} scores are NaN or infinite, the first of {where} (method, variant, metric, subject, clip): "
            "a clip that cannot be scored counts as the metric's worst value; score the run again"
        )
    claim = [*IDENTITY, "seed", "subject", "clip"]
    repeated = scores.duplicated(claim)
    if repeated.any():
        first = scores[repeated].iloc[0]
        same = scores[(scores[claim] == first[claim]).all(axis=1)]
        cells = f" (cells {', '.join(same['cell'].unique())})" if "cell" in same else ""
        raise TableError(
            f"two runs{cells} both claim to be {first['method']} {first['variant']!r} on {first['split']} with seed "
            f"{first['seed']}: averaging them would hide which one is meant, as after a change of the method's version "
            "or of a variant's parameters; remove the one you do not mean from the runs, or use another --runs folder"
        )


def find_metric(setting: pd.DataFrame, protocols: Mapping[str, Protocol]) -> MetricSpec:
    protocol, metric = setting["protocol"].iloc[0], setting["metric"].iloc[0]
    if protocol not in protocols:
        raise TableError(f"unknown protocol {protocol!r}; there are {', '.join(protocols)}")
    known = [spec.name for spec in protocols[protocol].metrics]
    if metric not in known:
        raise TableError(f"protocol {protocol} has no metric {metric!r}; it has {', '.join(known)}")
    return protocols[protocol][metric]


def mean_of(rows: pd.DataFrame) -> float:
    """The mean over clips within a subject, then over subjects."""
    return float(rows.groupby("subject")["value"].mean().mean())


def is_ahead(value: float, other: float, metric: MetricSpec) -> bool:
    return value >= other if metric.direction == "higher" else value <= other


def _is_better(interval: statistics.Interval, metric: MetricSpec) -> bool:
    return interval.low > 0 if metric.direction == "higher" else interval.high < 0


def _appearance(scores: pd.DataFrame, columns: Sequence[str]) -> dict[str, dict[object, int]]:
    """Of each column, the place of its values in order of appearance."""
    return {name: {value: i for i, value in enumerate(scores[name].unique())} for name in columns}
