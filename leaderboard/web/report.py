"""A report of one set of videos as a single HTML file that opens anywhere: no script, no request, pictures inside.

It begins with the verdict in words. Every metric stands between its floors, with one sentence that says what it
measures and what fools it; then the best, a median and the worst clip beside truth and floor; then what was left out,
and the command that made it. A pure function of the scores and of the clips that are shown: the same give the same
bytes. Everything that comes from outside is escaped. Template: `templates/report.*`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.core.version import __version__
from leaderboard.board import write_number
from leaderboard.glossary import FLOOR_WORDS, explain_metric
from leaderboard.published_board import tell_standing
from leaderboard.standing import (
    ABOVE,
    ALL_CLIPS,
    ALONE,
    BELOW,
    CHANCE,
    FLOORS,
    FREE,
    LEFT_OUT,
    LEVEL,
    UNSURE,
    stand,
)
from leaderboard.verdict import choose_headlines, write_interval, write_verdict
from leaderboard.web.media import Video, encode_moving, encode_still
from leaderboard.web.page import INSIDE, fill_page

PICKS = ("best", "median", "worst")
NAMED = 20  # clips that could not be scored whose names are shown
MARKS = {ABOVE: "good", BELOW: "bad", LEVEL: "bad", UNSURE: "open", ALONE: "open"}  # how a standing is coloured


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A clip that is shown, under its label."""

    label: str
    video: Video


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A clip of the set with its value and those beside which it is seen; `other` is the clip that a floor is of."""

    why: str
    clip: str
    value: float
    other: str = ""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The clips that are shown: the best, a median and the worst under one metric, and the floor beside them."""

    protocol: str
    metric: str
    floor: str
    picks: tuple[Pick, ...]


def choose_picks(scored: pd.DataFrame) -> Choice | None:
    """Best, median and worst of the clips that could be scored, by the first metric that the verdict speaks of.

    Where there is none, by the first that scores single clips. Of equal ones the first by name. None without such.
    """
    for protocol, rows in scored.groupby("protocol", sort=False):
        summary = stand(rows)
        names = [row["metric"] for _, row in choose_headlines(summary)] or list(summary["metric"])
        for name in names:
            part = rows[(rows["metric"] == name) & (rows["status"] == "ok") & (rows["clip"] != ALL_CLIPS)]
            if part.empty:
                continue
            row = summary[summary["metric"] == name].iloc[0]
            return Choice(
                protocol=str(protocol),
                metric=str(name),
                floor=choose_floor(row),
                picks=tuple(pick_clips(part, lower=row["direction"] == "lower")),
            )
    return None


def choose_floor(row: pd.Series) -> str:
    """The floor that scores best, chance aside; empty without any."""
    known = {floor: row[floor] for floor in FLOORS if np.isfinite(row[floor])}
    sign = 1 if row["direction"] == "higher" else -1
    return max(known, key=lambda floor: sign * known[floor]) if known else ""


def pick_clips(part: pd.DataFrame, *, lower: bool) -> list[Pick]:
    order = part.assign(signed=part["value"] if lower else -part["value"]).sort_values(["signed", "clip"])
    last = len(order) - 1
    places = dict.fromkeys((0, last // 2, last)) if last > 1 else dict.fromkeys((0, last))
    words = PICKS if len(places) == 3 else ("best", "worst") if len(places) == 2 else ("the only clip",)
    picked = zip(words, (order.iloc[at] for at in places), strict=True)
    return [
        Pick(why=why, clip=str(row["clip"]), value=float(row["value"]), other=str(row.get("other", "") or ""))
        for why, row in picked
    ]


def write_report(
    scored: pd.DataFrame,
    choice: Choice | None,
    pictures: Sequence[Sequence[Picture]],
    *,
    subject: str,
    command: str = "",
) -> str:
    """The page as text. scored: what `bench.score` returned. pictures: of each of the choice's picks, in its order.

    `subject` names the videos, `command` is what made the report, quoted for a shell.
    """
    protocols = []
    for protocol, rows in scored.groupby("protocol", sort=False):
        summary = stand(rows)
        protocols.append(
            {
                "name": protocol,
                "verdict": write_verdict(summary),
                "metrics": [view_metric(row) for row in summary.to_dict("records")],
                "left_out": view_left_out(rows),
            }
        )
    page = fill_page(
        "report",
        media=INSIDE,
        subject=subject,
        protocols=protocols,
        counts=count_clips(scored),
        suites=sorted({str(one) for one in scored["suite"]}) if "suite" in scored else [],
        judges=sorted({str(one) for one in scored["judge"] if one}) if "judge" in scored else [],
        clips=None if choice is None else view_clips(choice, pictures),
        command=command,
        version=__version__,
    )
    return page.encode("utf-8", "replace").decode("utf-8")  # names of files need not be text


def count_clips(scored: pd.DataFrame) -> dict[str, Any]:
    """How many clips there are, how many are missing or invalid under any metric, and the names of these."""
    rows = scored[scored["clip"] != ALL_CLIPS]
    worst_last = ("ok", "invalid", "missing")
    status = rows.groupby("clip", sort=False)["status"].agg(lambda one: max(one, key=worst_last.index))
    lost = {word: list(status.index[status == word]) for word in ("missing", "invalid")}
    named = [f"{clip} ({word})" for word, clips in lost.items() for clip in clips]
    more = len(named) - NAMED
    return {
        "all": len(status),
        "ok": int((status == "ok").sum()),
        **{word: len(clips) for word, clips in lost.items()},
        "named": named[:NAMED] + ([f"and {more} more"] if more > 0 else []),
    }


def view_left_out(rows: pd.DataFrame) -> list[dict[str, str]]:
    """The metrics that could not be computed, by reason."""
    if "note" not in rows:
        return []
    missing = rows[rows["status"] == LEFT_OUT]
    return [
        {"why": str(why), "metrics": ", ".join(explain_metric(name).title for name in part["metric"])}
        for why, part in missing.groupby("note", sort=False)
    ]


def view_metric(row: dict[Any, Any]) -> dict[str, Any]:
    """A metric's card: its words, its standing, and a bar for the score and for each floor."""
    words = explain_metric(row["metric"])
    bars = [(FLOOR_WORDS[name], row[name], name) for name in (*FLOORS, CHANCE) if np.isfinite(row[name])]
    sign = -1 if row["direction"] == "higher" else 1
    bars.sort(key=lambda bar: sign * bar[1])
    known = [row["value"], row["low"], row["high"], 0.0, *(value for _, value, _ in bars)]
    known = [value for value in known if np.isfinite(value)]
    low, high = min(known), max(known)
    span = (high - low) or 1.0

    def at(value: float) -> str:
        return f"{100 * (value - low) / span:.2f}%"

    def bar(value: float) -> dict[str, str]:
        left, right = sorted((value, 0.0))
        return {"x": at(left), "width": f"{100 * (right - left) / span:.2f}%"}

    whisker = {"low": at(row["low"]), "high": at(row["high"])} if np.isfinite(row["low"]) else None
    return {
        "title": words.title,
        "direction": row["direction"],
        "sentence": f"{words.measures}. {words.fooled}." if words.measures else "",
        "standing": tell_standing(row["standing"], row["rival"]),
        "mark": MARKS.get(row["standing"], "open"),
        "free": row["standing"] == FREE,
        "value": write_interval(row["value"], row["low"], row["high"]),
        "bar": bar(row["value"]),
        "whisker": whisker,
        "floors": [{"label": label, "text": write_number(value), **bar(value)} for label, value, _ in bars],
        "judge": row["judge"],
        "name": row["metric"],
    }


def view_clips(choice: Choice, pictures: Sequence[Sequence[Picture]]) -> dict[str, Any]:
    shown = [
        {
            "why": pick.why,
            "clip": pick.clip,
            "value": "< 0.001" if 0 < pick.value < 0.001 else write_number(pick.value),
            "pictures": [
                {
                    "label": one.label,
                    "moving": name_data(encode_moving(one.video)),
                    "still": name_data(encode_still(one.video)),
                    "width": one.video.shape[2],
                    "height": one.video.shape[1],
                }
                for one in row
            ],
        }
        for pick, row in zip(choice.picks, pictures, strict=True)
    ]
    return {"metric": explain_metric(choice.metric).title, "protocol": choice.protocol, "shown": shown}


def name_data(content: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(content).decode()
