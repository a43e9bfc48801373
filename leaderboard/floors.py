"""Floors side by side: under each protocol and metric what every floor scores, the best of them, and the ceiling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from leaderboard.admission import CLIPS
from leaderboard.glossary import explain_metric
from leaderboard.narrow import ARROWS, wrap
from leaderboard.tables import NO_ROOM, is_ahead
from leaderboard.verdict import write_short
from metrics.protocols import MetricSpec, Protocol

KEYS = ["dataset", "classes", "suite", "protocol", "metric"]
NO_FLOOR = "no floor"
NOTES = [
    "best_constant and position_only answer otherwise under each metric (bench/scoring/answers.py). "
    f"{NO_FLOOR}: a clip made without a brain wins by definition, so no floor is held against it. "
    f"{NO_ROOM}: the best floor is not worse than the best ceiling."
]


def floor_table(rows: pd.DataFrame, protocols: Mapping[str, Protocol]) -> pd.DataFrame:
    """A row for each split, protocol and metric: a column for each floor, then `floor`, `ceiling` and `verdict`.

    rows: a `result_table` with the rows of floors and ceilings. Floors and ceilings that see no brain stand beside
    every split; where nothing else was run, their split "clips" is the only one. `verdict` says why there is no share.
    """
    shown = rows[rows["role"].isin(["control", "ceiling"])]
    controls = shown.loc[shown["role"] == "control", "method"].drop_duplicates().tolist()
    splits = [split for split in rows["split"].unique() if split != CLIPS] or [CLIPS]
    made = []
    for split in splits:
        for (dataset, classes, suite, protocol, metric), group in shown.groupby(KEYS, sort=False):
            spec = protocols[str(protocol)][str(metric)]
            here = group[group["split"].isin([split, CLIPS])]
            by_role = {role: part.set_index("method")["value"] for role, part in here.groupby("role")}
            floors, ceilings = (by_role.get(role, pd.Series(dtype=float)) for role in ("control", "ceiling"))
            (floor, floor_name), (ceiling, ceiling_name) = (find_best(some, spec) for some in (floors, ceilings))
            if not spec.floor:
                floor, floor_name, verdict = np.nan, "", NO_FLOOR
            else:
                crossed = bool(len(floors) and len(ceilings)) and is_ahead(floor, ceiling, spec)
                verdict = NO_ROOM if crossed else ""
            row = {"dataset": dataset, "split": split, "protocol": protocol, "metric": metric}
            row |= {"direction": spec.direction, "phantom": bool(group["phantom"].any())}
            row |= {name: floors.get(name, np.nan) for name in controls}
            row |= {"floor": floor, "floor_name": floor_name, "ceiling": ceiling, "ceiling_name": ceiling_name}
            made.append({**row, "verdict": verdict, "classes": classes, "suite": suite})
    table = pd.DataFrame(made)
    table.attrs["notes"] = list(NOTES)
    return table


def find_best(values: pd.Series, metric: MetricSpec) -> tuple[float, str]:
    """The best of some methods' values, and whose it is; NaN where there is none."""
    if values.empty:
        return float("nan"), ""
    place = int(values.argmax() if metric.direction == "higher" else values.argmin())
    return float(values.iloc[place]), str(values.index[place])


def tell_floors(table: pd.DataFrame) -> str:
    """A `floor_table` within 100 columns: the best floor and the best ceiling of each metric, then what that says."""
    parts = ["\n".join(tell_place(rows)) for _, rows in table.groupby(["dataset", "split", "protocol"], sort=False)]
    return "\n\n".join([*parts, "\n".join(wrap("Every floor by itself, under each metric: --wide."))]) + "\n"


def tell_place(rows: pd.DataFrame) -> Iterator[str]:
    first = rows.iloc[0]
    phantom = " (phantom)" if first["phantom"] else ""
    yield f"{first['dataset']}{phantom}, {first['split']}, protocol {first['protocol']}, suite {first['suite']}"
    yield ""
    titles = [f"{explain_metric(row['metric']).title} {ARROWS[row['direction']]}" for _, row in rows.iterrows()]
    width = max(map(len, titles))
    yield f"  {'':<{width}}  {'best floor':<26}  ceiling"
    for title, (_, row) in zip(titles, rows.iterrows(), strict=True):
        floor, ceiling = (
            f"{write_short(row[name])[0]} ({row[f'{name}_name']})" if np.isfinite(row[name]) else "none"
            for name in ("floor", "ceiling")
        )
        said = "  floor not worse than the ceiling: no share" if row["verdict"] == NO_ROOM else ""
        yield f"  {title:<{width}}  {floor:<26}  {ceiling}{said}".rstrip()
    yield ""
    yield from wrap(sum_up(rows))


def sum_up(rows: pd.DataFrame) -> str:
    """How often each floor is the hardest, and of how many metrics there is no share."""
    held = rows[rows["floor_name"] != ""]
    counts = held["floor_name"].value_counts(sort=True)
    best = [f"{name} in {number}" for name, number in counts.items()]
    said = [f"Of {len(held)} metrics with a floor the hardest is {', '.join(best)}"] if best else ["No floor was run"]
    if free := int((rows["verdict"] == NO_FLOOR).sum()):
        said.append(f"{free} have none, since a clip made without a brain wins them by definition")
    crossed = int((rows["verdict"] == NO_ROOM).sum())
    said.append(f"{crossed or 'no'} floor{'s reach their' if crossed > 1 else ' reaches its'} ceiling")
    return "; ".join(said) + "."
