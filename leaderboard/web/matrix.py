"""The first screen: methods by data sets and splits, in an EEG and an fMRI part, each column with its verdict in words.

A cell is the score of the column's primary metric, coloured by its brain share and said in words: how much of the way
from the best floor to the ceiling, or that it is not surely above the floor. Verdict, floor and ceiling are those that
`bench table` prints (`leaderboard.narrow`). Rows stand in the order of the best place that they have in any column;
floors and ceilings are no rows of the ranking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from leaderboard.admission import SEES_BRAIN
from leaderboard.board import EEG, FMRI, Row, Section, board_metrics, write_number
from leaderboard.glossary import explain_metric
from leaderboard.narrow import ARROWS, find_levels, summarise, tell_verdict
from leaderboard.published_board import ShownSet, tell_standing
from leaderboard.standing import ABOVE, BELOW, FREE
from leaderboard.tables import NO_ROOM, SHUFFLED
from leaderboard.verdict import choose_headlines, name_of, write_short

PARTS = (("EEG", EEG), ("fMRI", FMRI))
STEPS = (0.05, 0.1, 0.2, 0.4)  # brain shares from which a cell's colour is deeper
OURS = "corrected"


def view_matrix(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """The parts that have sections: groups of columns by data set, columns, rows, best floors and ceilings."""
    parts = []
    for name, metrics in PARTS:
        mine = [section for section in sections if board_metrics(section.dataset) == metrics]
        if mine:
            parts.append(view_part(name, mine))
    return parts


def view_part(name: str, sections: Sequence[Section]) -> dict[str, Any]:
    columns = [view_column(section) for section in sections]
    sets = [(dataset, list(group)) for dataset, group in groupby(columns, key=lambda one: one["dataset"])]
    roles = {row.method: row.role for section in sections for row in section.rows if row.role in SEES_BRAIN}
    rows = [
        {"method": method, "role": roles[method], "cells": [column["cells"].get(method) for column in columns]}
        for method in order_methods(sections)
    ]
    return {
        "name": name,
        "id": name.lower(),
        "sets": [{"name": dataset, "span": len(group), "phantom": group[0]["phantom"]} for dataset, group in sets],
        "columns": columns,
        "rows": rows,
    }


def order_methods(sections: Sequence[Section]) -> list[str]:
    """Methods and baselines by the best place that each has in any section, then by the mean of its places."""
    places: dict[str, list[int]] = {}
    for section in sections:
        for place, row in enumerate(row for row in section.rows if row.role in SEES_BRAIN):
            places.setdefault(row.method, []).append(place)
    return sorted(places, key=lambda method: (min(places[method]), np.mean(places[method]), method))


def view_column(section: Section) -> dict[str, Any]:
    primary = section.primary
    rows = section.table[section.table["metric"] == primary.name]
    levels = find_levels(rows)
    standing = summarise(rows).assign(method=rows["method"]).set_index("method")
    seeing = [row for row in section.rows if row.role in SEES_BRAIN]
    return {
        "link": f"{section.name}.html",
        "dataset": section.dataset,
        "phantom": section.phantom,
        "key": section.split,
        "split": section.split.replace("_", " "),
        "metric": f"{explain_metric(primary.name).title} {ARROWS[primary.direction]}",
        "first": "descending" if primary.direction == "higher" else "ascending",
        "suite": section.suite,
        "chance": write_number(primary.chance) if isinstance(primary.chance, float) else "",
        "cells": {row.method: view_cell(row, place, primary.name, standing) for place, row in enumerate(seeing)},
        "leader": name_leader(section, standing),
        "floor": view_level(levels, "floor"),
        "ceiling": view_level(levels, "ceiling"),
        "verdict": tell_verdict(section.table, section.scores),
    }


def name_leader(section: Section, standing: pd.DataFrame) -> dict[str, Any] | None:
    """Whose score is the best of a column, whether it is above the floor, and how many it is not told from."""
    if not section.ranked:
        return None
    first = section.ranked[0]
    said = standing.loc[first.method]
    colour, words = tell_cell(str(said["standing"]), str(said["rival"]), first)
    return {
        "method": first.method,
        "text": write_number(first.scores[section.primary.name].value),
        "words": "above floor" if words.startswith("share ") else words,
        "colour": "above" if colour.startswith("share") else colour,
        "peers": sum(row.tier == 1 for row in section.ranked) - 1,
    }


def view_cell(row: Row, place: int, metric: str, standing: pd.DataFrame) -> dict[str, Any]:
    """A score, how it stands in words, and the name of its colour: `below`, `unsure`, `share1` to `share5`."""
    said = standing.loc[row.method]
    colour, words = tell_cell(str(said["standing"]), str(said["rival"]), row)
    return {
        "text": write_number(row.scores[metric].value),
        "sort": f"{row.scores[metric].value:.6g}",
        "words": words + (", partial" if row.tier is None else ""),
        "colour": colour,
        "best": row.tier is not None and place == 0,
        "tier": row.tier,
    }


def tell_cell(standing: str, rival: str, row: Row) -> tuple[str, str]:
    if NO_ROOM in row.marks:
        return "unsure", NO_ROOM
    if standing == FREE:
        return "unsure", "no floor holds"
    if standing == BELOW:
        return "below", "below floor"
    if standing != ABOVE:
        return "unsure", "not above its shuffled brain" if rival == SHUFFLED else "not above floor"
    share = row.brain_share.value
    if np.isnan(share):
        return "unsure", "above floor"
    return f"share{1 + int(np.searchsorted(STEPS, share, side='right'))}", f"share {share:.2f}"


def view_level(levels: Mapping[str, Any] | pd.Series, name: str) -> dict[str, str]:
    """The best floor or ceiling, and whose it is."""
    value = float(levels[name])
    there = np.isfinite(value)
    return {"text": write_number(value) if there else "", "whose": str(levels[f"{name}_name"]) if there else ""}


def sum_up(one: ShownSet) -> dict[str, Any]:
    """A set of published videos in one line: under our protocol where it has that, else under its first."""
    part = next((part for part in one.parts if part.protocol == OURS), one.parts[0])
    spoken = choose_headlines(part.summary)
    if spoken:
        words, row = spoken[0]
        value, rival = write_short(row["value"], row["rival_value"])
        line = f"{name_of(words, row)} {value}: {tell_standing(row['standing'], row['rival'])}"
        line += f" ({'best ' if row['standing'] == ABOVE else ''}{rival})" if rival else ""
    else:
        line = "nothing in it is compared with the true clips"
    data = one.name.partition("-")[0]
    return {
        "name": one.name,
        "data": data,
        "title": one.title,
        "phantom": one.phantom,
        "fact": one.facts[0],
        "line": line,
    }
