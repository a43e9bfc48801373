"""What the board says of published videos: each set under each protocol, its verdict, and every score among its floors.

A pure function of the committed sets (`leaderboard.published`). Sets are listed, never ranked: most hold samples that
their authors chose, and sets of different clips say nothing about each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from leaderboard.board import write_number
from leaderboard.glossary import FLOOR_WORDS, explain_metric
from leaderboard.published import PublishedSet
from leaderboard.rendering import render
from leaderboard.standing import ABOVE, ALONE, BELOW, FLOORS, FREE, LEVEL, UNSURE, stand
from leaderboard.verdict import write_interval, write_verdict
from metrics.protocols import PROTOCOLS

HEADS = ("metric", "score", "chance", *(FLOOR_WORDS[name].removeprefix("the ") for name in FLOORS), "stands")
RESCALED = r".*_normalised"  # the same numbers on another scale
OURS = ("corrected", "real")  # protocols of one kind: what both have is shown once
ABOUT = """\
## Published videos{kind}

Reconstructions that authors showed in public, scored clip by clip with the same judges; the videos stay where they are.
**They are ranked with nothing**: authors choose what they show, clips differ between sets, and a published picture has
been compressed. Each score stands beside answers that need no brain: middle grey, the blurred mean of the set's other
true clips, another true clip held still, and the reconstruction that was published for another clip. *above every
floor*: the 95 % interval of the paired difference over clips excludes zero for each of them, and the score's own
excludes chance. *not told from*: better on average, and no more. *worse than*: worse on average. *no floor holds*: a
clip made without a brain is best by definition. Intervals are over clips, of these sets alone.
"""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A set under one protocol: its verdict, and the rows of `standing.stand` that are shown."""

    protocol: str
    verdict: str
    summary: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class ShownSet:
    """One set as the board shows it: `facts` are short texts, the first says how many clips and who chose them."""

    name: str
    title: str
    phantom: bool
    chosen: bool
    source: str
    facts: tuple[str, ...]
    parts: tuple[Part, ...]


def show_sets(sets: Sequence[PublishedSet]) -> list[ShownSet]:
    """What is shown of the sets, by data set and method."""
    ordered = sorted(sets, key=lambda one: (one.record["dataset"], one.record["method"], one.name))
    return [show_set(one) for one in ordered]


def show_set(one: PublishedSet) -> ShownSet:
    record = one.record
    parts = []
    seen: set[str] = set()
    for protocol in sorted(record["protocols"], key=lambda name: (name in OURS, name)):
        rows = one.rows[one.rows["protocol"] == protocol]
        if protocol in OURS:
            rows, seen = rows[~rows["metric"].isin(seen)], seen | set(rows["metric"])
        summary = stand(rows[~rows["metric"].str.fullmatch(RESCALED)].sort_values("metric", key=rank_metrics(protocol)))
        parts.append(Part(protocol=protocol, verdict=write_verdict(summary, chosen=record["chosen"]), summary=summary))
    return ShownSet(
        name=one.name,
        title=f"{record['dataset']}: {record['method']}",
        phantom=one.phantom,
        chosen=record["chosen"],
        source=record["source"],
        facts=tell_facts(one),
        parts=tuple(parts),
    )


def rank_metrics(protocol: str) -> Callable[[pd.Series], pd.Series]:
    """Gives the places of metrics in their protocol's own order."""
    places = {metric.name: place for place, metric in enumerate(PROTOCOLS[protocol].metrics)}
    return lambda names: names.map(places)


def tell_facts(one: PublishedSet) -> tuple[str, ...]:
    """Short texts about a set: its size, subject, licence, door, suite and judges."""
    record = one.record
    whole = "" if record["of"] is None else f" of {record['of']}"
    clips = f"{record['clips']}{whole} clip{'' if record['clips'] == 1 else 's'}"
    judges = ", ".join(sorted(record["judges"])) or "none"
    there = {name_kind(name) for name in one.rows["metric"].unique()}
    absent = dict.fromkeys(name_kind(name.partition(".")[2]) for name in record["left_out"])
    lacking = [kind for kind in absent if kind not in there]
    return (
        f"{clips}, chosen by their authors" if record["chosen"] else f"{clips}, the whole set",
        "subject not said" if record["subject"] is None else f"subject {record['subject']}",
        f"licence: {record['licence']}",
        f"{record['door']} by {record['owner']}",
        f"suite {record['suite']}, judge {judges}",
        *([f"not computed: {', '.join(lacking)}"] if lacking else []),
    )


def name_kind(metric: str) -> str:
    """The first words of a metric's title: `Frames` of "Frames, 40-way", `Consistency` of "Consistency (dtc)"."""
    return re.split(r"[,(]", explain_metric(metric).title)[0].strip()


def tell_standing(standing: str, rival: str) -> str:
    """A standing in two or three words."""
    who = FLOOR_WORDS.get(rival, "").removeprefix("the ")
    return {
        ABOVE: "above every floor",
        UNSURE: f"not told from {who}",
        LEVEL: f"same as {who}",
        BELOW: f"worse than {who}",
        ALONE: "no interval",
        FREE: "no floor holds",
    }.get(standing, "no floors computed")


def set_rows(shown: Sequence[ShownSet]) -> pd.DataFrame:
    """A row a set, protocol and metric with all its numbers, six digits of each: for programs."""
    parts = []
    for one in shown:
        about: dict[str, Any] = {"set": one.name, "phantom": one.phantom, "chosen": one.chosen, "source": one.source}
        parts += [part.summary.assign(**about, verdict=part.verdict) for part in one.parts]
    if not parts:
        return pd.DataFrame()
    first = ["set", "phantom", "chosen", "source"]
    table = pd.concat(parts, ignore_index=True)
    for name in table.select_dtypes("float").columns:
        table[name] = [float(f"{value:.6g}") for value in table[name]]
    return table[[*first, *(name for name in table if name not in first)]]


def write_sets(shown: Sequence[ShownSet]) -> str:
    """The board's section in Markdown."""
    kind = "" if any(one.phantom for one in shown) else " (real recordings)"
    return "\n".join([ABOUT.format(kind=kind), *(write_set(one) for one in shown)])


def write_set(one: ShownSet) -> str:
    heading = f"### {one.title}{' (phantom)' if one.phantom else ''}{' · *chosen*' if one.chosen else ''}"
    about = f"{'; '.join(escape(fact) for fact in one.facts)}; <{one.source}>"
    parts = [f"**{part.protocol}**: {part.verdict}\n\n{render(table_part(part), 'md')}" for part in one.parts]
    return "\n\n".join([heading, about, *parts])


def table_part(part: Part) -> pd.DataFrame:
    """A part's rows as texts, for people."""
    rows = []
    for row in part.summary.to_dict("records"):
        floors = [write_value(row[name]) for name in FLOORS]
        chance = write_value(row["chance"])
        rows.append([name_metric(row), write_score(row), chance, *floors, tell_standing(row["standing"], row["rival"])])
    return pd.DataFrame(rows, columns=pd.Index(HEADS))


def name_metric(row: dict) -> str:
    """`Frames, 40-way ↑`: the arrow says which direction is better."""
    return f"{explain_metric(row['metric']).title} {'↑' if row['direction'] == 'higher' else '↓'}"


def write_score(row: dict) -> str:
    return write_interval(row["value"], row["low"], row["high"])


def write_value(value: float) -> str:
    return "" if np.isnan(value) else write_number(value)


def escape(text: str) -> str:
    """What somebody wrote, so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", text)
