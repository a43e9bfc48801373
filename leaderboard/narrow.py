"""Tables that fit a terminal of 100 columns: the primary metrics between floor and ceiling, then a verdict in words.

    phantom_eeg (phantom), cross_subject, protocol corrected, suite mini: 6 subjects, 120 clips

    Video, 40-way ↑   chance 0.025 · best floor 0.065 (position_only) · ceiling 1.00 (codec)
      glow      0.193 [0.149, 0.238]    │··─●─···············│
      lda       0.132 [0.104, 0.160]    │·●─·················│
      dim       0.0623 [0.0378, 0.0868] ◂●···················│  below floor

    glow is first of 3 in Video, 40-way. Above the best brainless answer in …

The bar runs from the best floor to the ceiling, `●` is the score and `─` its interval; `◂` and `▸` say that the score
lies beyond the end. Of a metric that no floor is held against, or whose floor is above its ceiling, there is no bar.
The whole table, every metric and column, is `--wide`; CSV and JSON carry it at full precision.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.core.progress import wrap_words
from bench.core.variants import split_profiled
from leaderboard.board import board_metrics
from leaderboard.comparison import compare_methods
from leaderboard.glossary import explain_metric
from leaderboard.standing import ABOVE, BELOW, FREE, UNSURE
from leaderboard.stats.panels import TableError
from leaderboard.tables import NO_ROOM, SEES_BRAIN, SHUFFLED
from leaderboard.verdict import choose_headlines, tell_standing, write_interval, write_short
from metrics.known import KNOWN_PROTOCOLS
from metrics.protocols import Protocol

WIDTH = 100
PLACE = ["dataset", "split", "protocol"]  # what has a verdict of its own
BAR = 20
NAME = 24
MOST = 3  # metrics of a protocol that the board has no primary ones of
ARROWS = {"higher": "↑", "lower": "↓"}
ORDER = {"method": 0, "baseline": 0, "control": 1, "ceiling": 2}


def knows(table: pd.DataFrame) -> bool:
    """Whether the table is of results, of an ablation or of a comparison."""
    return {*PLACE, "metric", "direction"} <= set(table) and bool({"value", "a_minus_b"} & set(table))


def tell(table: pd.DataFrame) -> str:
    """Rows of results, of an ablation or of a comparison as text of at most 100 columns that ends with a line break.

    Each data set and split ends in its verdict: of an ablation and of a comparison made here, of results what
    `note_verdicts` left. Raises KeyError for a table of another kind.
    """
    show = tell_comparison if "a_minus_b" in table else tell_ablation if "difference" in table else tell_results
    parts = ["\n".join(show(rows, table.attrs)) for _, rows in table.groupby(PLACE, sort=False)]
    notes = list(table.attrs.get("notes", []))
    if "phantom" in table and table["phantom"].any():
        notes.insert(0, "(phantom): a synthetic recording; it says nothing of real brains.")
    hidden = table["metric"].nunique() - max(len(choose_metrics(rows)) for _, rows in table.groupby(PLACE, sort=False))
    if hidden > 0:
        notes.append(f"{hidden} more metric{'s' if hidden > 1 else ''} and all columns: --wide.")
    return "\n\n".join([*parts, "\n".join(line for note in notes for line in wrap(note))]).rstrip() + "\n"


def tell_results(rows: pd.DataFrame, attrs: Mapping[Any, Any]) -> Iterator[str]:
    """A block a metric, then the verdict."""
    yield head(rows)
    yield ""
    for metric in choose_metrics(rows):
        yield from tell_metric(rows[rows["metric"] == metric], metric)
        yield ""
    yield from wrap(attrs.get("verdicts", {}).get(name_place(rows.iloc[0][PLACE])) or tell_verdict(rows))


def note_verdicts(
    table: pd.DataFrame, scores: pd.DataFrame, protocols: Mapping[str, Protocol], *, asked: str = ""
) -> pd.DataFrame:
    """The same table of results with a verdict for each data set, split and protocol, from the scores behind it."""
    table.attrs["verdicts"] = {
        name_place(place): tell_verdict(rows, scores, protocols, asked=asked)
        for place, rows in table.groupby(PLACE, sort=False)
    }
    return table


def name_place(place: Iterable[Any]) -> str:
    """A key that a file of the table can hold beside it."""
    return " ".join(map(str, place))


def tell_comparison(rows: pd.DataFrame, attrs: Mapping[Any, Any]) -> Iterator[str]:
    """A line a metric: both means, the difference with its interval, and who is better."""
    a, b = attrs["sides"]
    first = rows.iloc[0]
    yield f"{a} (A) and {b} (B) on {first['dataset']}, {first['split']}, protocol {first['protocol']}:"
    yield from wrap(f"{count(first, 'n_subjects', 'subject')}, {int(first['n_clips'])} clips, "
                    f"{count(first, 'seeds', 'seed')}; 95 % intervals, p by Holm over all metrics")  # fmt: skip
    yield ""
    shown = rows if len(rows) <= MOST else rows[rows["metric"].isin(choose_metrics(rows))]
    titles = [f"{explain_metric(row['metric']).title} {ARROWS[row['direction']]}" for _, row in shown.iterrows()]
    yield f"  {'':<{max(map(len, titles))}}  {'A':>8}  {'B':>8}  A − B"
    for title, (_, row) in zip(titles, shown.iterrows(), strict=True):
        both = "  ".join(f"{write_short(row[side])[0]:>8}" for side in ("a", "b"))
        difference = tell_interval(row, ("a_minus_b", "a_minus_b_low", "a_minus_b_high"))
        better = f"{row['better']} is better" if row["better"] else "not distinguished"
        yield f"  {title:<{max(map(len, titles))}}  {both}  {difference:<26}  {better}"[:WIDTH].rstrip()
    yield ""
    yield from wrap(tell_difference(rows, a, b))


def tell_difference(rows: pd.DataFrame, a: str, b: str) -> str:
    """In how many metrics either is better, and how many are not distinguished."""
    won = {side: [explain_metric(one).title for one in rows.loc[rows["better"] == side, "metric"]] for side in (a, b)}
    said = [
        f"{side} is better in {len(titles)} of {len(rows)} metrics ({', '.join(titles[:4])}"
        f"{', …' if len(titles) > 4 else ''})"
        for side, titles in won.items()
        if titles
    ]
    rest = int(rows["better"].eq("").sum())
    if rest:
        said.append(f"{rest} {'is' if rest == 1 else 'are'} not distinguished, which is no proof of equality")
    return "; ".join(said) + "."


def tell_ablation(rows: pd.DataFrame, attrs: Mapping[Any, Any]) -> Iterator[str]:
    """A line a variant and metric: base − variant with its interval, and what could have been found."""
    yield head(rows)
    yield ""
    for metric in choose_metrics(rows):
        there = rows[rows["metric"] == metric]
        base = there[there["difference"].isna()].iloc[0]
        title = f"{explain_metric(metric).title} {ARROWS[base['direction']]}"
        yield f"{title}   {name_row(base)} {tell_interval(base)}; below it: base − variant"[:WIDTH]
        variants = there[there["difference"].notna()]
        width = min(NAME, max((len(str(name)) for name in variants["variant"]), default=0))
        for _, row in variants.iterrows():
            difference = tell_interval(row, ("difference", "difference_to_base_low", "difference_to_base_high"))
            said = row["verdict"] or row["warning"]
            found = f"detectable {write_short(row['smallest_detectable'])[0]}"
            yield f"  {str(row['variant'])[:width]:<{width}}  {difference:<26}  {found:<18}  {said}"[:WIDTH].rstrip()
        yield ""
    yield from wrap(tell_ablated(rows[rows["metric"].isin(choose_metrics(rows)) & rows["difference"].notna()]))


def tell_ablated(rows: pd.DataFrame) -> str:
    """What of an ablation was found, in one sentence. A row with a warning is not judged."""
    parts = []
    for verdict in ("worse than base", "better than base"):
        found = rows[rows["verdict"] == verdict]
        if len(found):
            named = [f"{row['variant']} in {explain_metric(row['metric']).title}" for _, row in found.iterrows()]
            parts.append(f"{verdict}: {', '.join(named)}")
    for word, left in (
        ("not told from the base", rows[rows["verdict"] == "not distinguished"]),
        ("not judged", rows[rows["warning"] != ""]),
    ):
        if len(left):
            why = f" ({'; '.join(dict.fromkeys(left['warning']))})" if word == "not judged" else ""
            parts.append(f"{len(left)} of {len(rows)} differences {word}{why}")
    said = "; ".join(parts) + "."
    return said[0].upper() + said[1:]


def choose_metrics(rows: pd.DataFrame) -> list[str]:
    """The board's primary metrics of the rows' data set, or the first few if none is there, and those from outside."""
    there = list(dict.fromkeys(rows["metric"]))
    primary = [name for name in board_metrics(str(rows["dataset"].iloc[0])) if name in there] or there[:MOST]
    return primary + [name for name in there if not explain_metric(name).measures and name not in primary]


def head(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    phantom = " (phantom)" if first["phantom"] else ""
    seen = rows[rows["role"].isin(SEES_BRAIN)]
    subjects = f"{count(seen.iloc[0], 'n_subjects', 'subject')}, " if len(seen) else ""
    where = f"{first['dataset']}{phantom}, {first['split']}, protocol {first['protocol']}, suite {first['suite']}"
    return f"{where}: {subjects}{int(rows['n_clips'].max())} clips"


def count(row: pd.Series, column: str, thing: str) -> str:
    number = int(row[column])
    return f"{number} {thing}{'' if number == 1 else 's'}"


def tell_metric(rows: pd.DataFrame, metric: str) -> Iterator[str]:
    """A line of the levels, the highest floor of the rows among them, and one for each row, the best first."""
    direction = rows["direction"].iloc[0]
    rows = rows.assign(place=rows["role"].map(ORDER), rank=rows["value"] * (-1 if direction == "higher" else 1))
    rows = rows.sort_values(["place", "rank", "method"], kind="stable")
    shared = find_levels(rows)
    told = [
        f"{word} {write_short(shared[name])[0]}{f' ({shared[of]})' if of and shared[of] else ''}"
        for word, name, of in (
            ("chance", "chance", ""),
            ("best floor", "floor", "floor_name"),
            ("ceiling", "ceiling", "ceiling_name"),
        )
        if isinstance(shared[name], float) and np.isfinite(shared[name])
    ]
    yield f"{explain_metric(metric).title} {ARROWS[direction]}   {' · '.join(told)}"[:WIDTH]
    width = min(NAME, max(len(name_row(row)) for _, row in rows.iterrows()))
    numbers = [tell_interval(row) for _, row in rows.iterrows()]
    for (_, row), text in zip(rows.iterrows(), numbers, strict=True):
        drawn = draw_bar(row)
        line = f"  {name_row(row)[:width]:<{width}}  {text:<{max(map(len, numbers))}}  {drawn}"
        mark = textwrap.shorten(short_mark(row["mark"]), max(2, WIDTH - len(line) - 2), placeholder=" …")
        yield f"{line}  {mark}".rstrip()[:WIDTH]


def find_levels(rows: pd.DataFrame) -> pd.Series:
    """Of one metric's rows the one with the hardest floor, whose levels all are held against: `floor`, `ceiling`, …"""
    levels = rows[rows["role"].isin(SEES_BRAIN)] if rows["role"].isin(SEES_BRAIN).any() else rows
    if rows["direction"].iloc[0] == "higher":
        return levels.iloc[levels["floor"].fillna(-np.inf).argmax()]
    return levels.iloc[levels["floor"].fillna(np.inf).argmin()]


def name_row(row: pd.Series) -> str:
    return str(row["method"]) if row["variant"] in ("base", "") else f"{row['method']}:{row['variant']}"


def tell_interval(row: Mapping[str, Any] | pd.Series, names: Sequence[str] = ("value", "low", "high")) -> str:
    value, low, high = (float(row[name]) for name in names)
    return write_interval(value, low, high)


def draw_bar(row: Mapping[str, Any] | pd.Series) -> str:
    """Score and interval between floor and ceiling; blank where one of these is missing or they are crossed."""
    floor, ceiling = float(row["floor"]), float(row["ceiling"])
    room = (ceiling - floor) * (1 if row["direction"] == "higher" else -1)
    if not np.isfinite(room) or room <= 0 or NO_ROOM in str(row["mark"]):
        return " " * (BAR + 2)
    ends = [float(row[name]) for name in ("value", "low", "high")]
    at = [(one - floor) / (ceiling - floor) * (BAR - 1) for one in ends]
    cells = ["·"] * BAR
    if np.isfinite(at).all():
        low, high = sorted(np.clip(np.round(at[1:]), 0, BAR - 1).astype(int).tolist())
        cells[low : high + 1] = ["─"] * (high + 1 - low)
    place = round(at[0])
    cells[min(max(place, 0), BAR - 1)] = "●"
    return f"{'◂' if place < 0 else '│'}{''.join(cells)}{'▸' if place >= BAR else '│'}"


def short_mark(mark: str) -> str:
    """What a row is marked with, without what the missing bar says."""
    return ", ".join(one for one in str(mark).split(", ") if one and one != NO_ROOM)


def tell_verdict(
    rows: pd.DataFrame,
    scores: pd.DataFrame | None = None,
    protocols: Mapping[str, Protocol] = KNOWN_PROTOCOLS,
    *,
    asked: str = "",
) -> str:
    """Who is first in the first primary metric, how it stands to answers that need no brain, and to the next one.

    Of a method that was `asked` about this is told of its row, wherever that stands: the best other then is next. A
    method stands here by its base alone: the best of its variants was chosen by looking at these very scores.

    rows: of one data set, split and protocol; those that lack trials are ranked only where all do. How it stands to
    the next is said where the scores behind the rows are given.
    """
    metrics = choose_metrics(rows)
    seeing = rows[rows["role"].isin(SEES_BRAIN)]
    seeing = seeing[seeing["coverage"] == 1] if seeing["coverage"].eq(1).any() else seeing
    ranked = seeing[seeing["metric"] == metrics[0]]
    base = ranked["variant"].map(lambda variant: split_profiled(variant)[0]).eq("base")
    ranked = ranked[base | ~ranked["method"].isin(ranked["method"][base])]
    if ranked.empty:
        return "No method is among these rows: floors and ceilings alone."
    ranked = ranked.sort_values("value", ascending=ranked["direction"].iloc[0] == "lower", kind="stable")
    place = next((place for place, name in enumerate(ranked["method"]) if name == asked), 0)
    first = ranked.iloc[place]
    mine = seeing[(seeing["method"] == first["method"]) & (seeing["variant"] == first["variant"])]
    spoken = choose_headlines(summarise(mine[mine["metric"].isin(metrics)]))
    said = tell_standing(spoken, floors="the best brainless answer") + "."  # the marks are held against that one
    if len(ranked) > 1:
        stands = "first" if place == 0 else f"number {place + 1}"
        said = f"{name_row(first)} is {stands} of {len(ranked)} in {explain_metric(metrics[0]).title}. {said}"
    else:
        said = f"{name_row(first)}: {said[0].lower()}{said[1:]}"
    return said if scores is None else said + tell_next(first, scores, protocols)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a result table in the words of `leaderboard.standing`.

    The rival is the best floor, or the method's own shuffled brain where the score is above the one and not the other.
    """

    def stand(row: pd.Series) -> tuple[str, str, float]:
        marks, best = str(row["mark"]).split(", "), (row["floor_name"], row["floor"])
        if not row["floor_name"]:
            return FREE, *best
        if "below floor" in marks:
            return BELOW, *best
        if "not above floor" in marks:
            return UNSURE, *best
        return (UNSURE, SHUFFLED, row["shuffled"]) if "n.s." in marks else (ABOVE, *best)

    said = rows[["metric", "direction", "value"]].assign(clips=rows["n_clips"].astype(int))
    said[["standing", "rival", "rival_value"]] = [stand(row) for _, row in rows.iterrows()]
    return said


def tell_next(first: pd.Series, scores: pd.DataFrame, protocols: Mapping[str, Protocol]) -> str:
    """How the first stands to the best other that sees the brain, by the paired difference; empty where none is.

    Others of which some subjects, clips or seeds are missing, as in a run that is not done, are passed over.
    """
    mine = first["method"], first["variant"]
    there = scores[scores["role"].isin(SEES_BRAIN)]
    for name in (*PLACE, "metric"):
        there = there[there[name] == first[name]]
    whole = there["variant"].map(lambda variant: split_profiled(variant)[0]).eq("base")
    others = there[(there["method"] != first["method"]) & whole]
    means = others.groupby(["method", "variant"])["value"].mean().sort_values(ascending=first["direction"] == "lower")
    for side in means.index:
        other = str(side[0])
        try:
            made = compare_methods(there, mine, side, protocols=protocols).iloc[0]
        except TableError:
            continue
        ends = (made["a_minus_b_low"], made["a_minus_b_high"])
        low, high = ends if first["direction"] == "higher" else (-ends[1], -ends[0])
        difference = tell_interval(made, ("a_minus_b", "a_minus_b_low", "a_minus_b_high"))
        if low > 0:
            return f" It is better than {other}: {difference}."
        return f" {other} is better: {difference}." if high < 0 else f" It is not told from {other}: {difference}."
    return ""


def wrap(text: str) -> list[str]:
    return wrap_words(text, WIDTH)
