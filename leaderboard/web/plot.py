"""The plot of a section: each row's subjects between chance, the best floor and the best ceiling, on one axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from leaderboard.board import Section, write_number
from leaderboard.narrow import find_levels

EDGE = 2.0  # per cent of a strip left free at both ends
TICKS = 5  # at most


def view_dots(section: Section) -> dict[str, Any] | None:
    """A strip for each row that has subjects (ceilings aside): places along a common axis, in per cent.

    The axis holds the best floor, the best ceiling and chance too, where they are known; what is no better than the
    floor and no worse than the ceiling are bands behind the dots.
    """
    name = section.primary.name
    rows = [row for row in section.rows if row.by_subject and row.role != "ceiling" and name in row.scores]
    if not rows:
        return None
    chance = section.primary.chance if isinstance(section.primary.chance, float) else None
    levels = find_levels(section.table[section.table["metric"] == name])
    floor, ceiling = float(levels["floor"]), float(levels["ceiling"])
    values = [floor, ceiling, *([] if chance is None else [chance])]
    values += [value for row in rows for value in row.by_subject.values()]
    for row in rows:
        score = row.scores[name]
        values += [score.value, score.low, score.high, row.shuffled]
    known = [value for value in values if np.isfinite(value)]
    low, high = min(known), max(known)
    if low == high:
        low, high = low - 0.5, high + 0.5

    def at(value: float) -> str | None:
        part = (value - low) / (high - low)
        return f"{EDGE + (100 - 2 * EDGE) * part:.2f}%" if np.isfinite(value) else None

    strips = []
    for row in rows:
        score = row.scores[name]
        subjects = [
            {"subject": subject, "text": write_number(value), "x": at(value)}
            for subject, value in row.by_subject.items()
        ]
        strips.append(
            {
                "method": row.method,
                "role": row.role,
                "text": str(score),
                "mean": at(score.value),
                "low": at(score.low),
                "high": at(score.high),
                "shuffled": at(row.shuffled),
                "shuffled_text": write_number(row.shuffled) if np.isfinite(row.shuffled) else "",
                "subjects": subjects,
            }
        )
    ticks = [{"x": at(tick), "text": f"{tick:.6g}"} for tick in choose_ticks(low, high)]
    higher = section.primary.direction == "higher"
    return {
        "strips": strips,
        "ticks": ticks,
        "chance": None if chance is None else {"x": at(chance), "text": write_number(chance)},
        "floor": view_band(at(floor), floor, str(levels["floor_name"]), left=higher),
        "ceiling": view_band(at(ceiling), ceiling, str(levels["ceiling_name"]), left=not higher),
    }


def view_band(place: str | None, value: float, whose: str, *, left: bool) -> dict[str, str] | None:
    """A level with the band from it to an end of the axis; None where there is none."""
    if place is None:
        return None
    x, width = ("0%", place) if left else (place, f"{100 - float(place.rstrip('%')):.2f}%")
    return {"place": place, "x": x, "width": width, "text": f"{write_number(value)}, {whose}"}


def choose_ticks(low: float, high: float) -> list[float]:
    """Round numbers within low..high, at most TICKS."""
    rough = (high - low) / TICKS
    unit = 10.0 ** np.floor(np.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    first, last = int(np.ceil(low / step)), int(np.floor(high / step))
    return [round(number * step, 12) for number in range(first, last + 1)][:TICKS]
