"""Tables of one set of videos that others made: each metric between its floors, and each clip.

A metric's row says whether a floor that needs no brain scores as well:

- "below X": the floor X scores better on average;
- "not above X": the prediction scores better, but its paired 95 % interval over the clips does not exclude zero.

A metric that a clip made without a brain wins by definition, as a still one does in consistency, has no mark. One that
could not be computed is marked so, with the reason; what would compute it stands in the notes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from leaderboard.glossary import RIVAL_WORDS, explain_metric
from leaderboard.narrow import ARROWS, tell_interval, wrap
from leaderboard.standing import (
    ABOVE,
    ALONE,
    BARE,
    BELOW,
    FLOORS,
    FREE,
    LEFT_OUT,
    LEVEL,
    UNSURE,
    gain_over,
    measure_mean,
    stand,
)
from leaderboard.verdict import write_short, write_verdict

NOTES = [
    "Floors need no brain: constant_grey, still_frame (another true clip's middle frame, held), shuffled (the "
    "prediction made for another clip), mean_of_others (the blurred mean of the other true clips). below X: X scores "
    "better on average; not above X: the 95 % interval of the paired difference does not exclude zero; a metric that a "
    "clip made without a brain wins by definition has no mark."
]
MINI = "Suite mini: its judges know drawn clips only; what they say of real videos means nothing (--suite light)."
WORDS = {  # of how a score stands to the brainless answer that comes nearest
    ABOVE: "above",
    UNSURE: "not surely above",
    LEVEL: "the same as",
    BELOW: "below",
    ALONE: "one clip, beside",
    BARE: "beside",
}
SUMMARY_COLUMNS = ["protocol", "metric", "value", "low", "high", "chance", *FLOORS, "clips", "suite", "judge", "mark"]


def summary_table(scored: pd.DataFrame) -> pd.DataFrame:
    """A row a metric: its mean with the interval over clips, its chance level, its floors, and a mark.

    scored: rows of `bench.doors.videos.score_videos`: clip, protocol, metric, direction, chance, held, status, value, a
    column for each floor, suite, judge and note. A floor is averaged over the clips that have it. An arrow says which
    direction is better. `suite` and `judge` name the networks that were asked.
    """
    floors = [floor for floor in FLOORS if floor in scored]
    rows = []
    for (protocol, metric), group in scored.groupby(["protocol", "metric"], sort=False):
        first = group.iloc[0]
        named = f"{metric} {'↑' if first['direction'] == 'higher' else '↓'}"
        about = {"protocol": protocol, "metric": named, "chance": first["chance"]}
        about |= {"suite": first["suite"], "judge": first["judge"]}
        if first["status"] == LEFT_OUT:
            rows.append({**about, "mark": f"{LEFT_OUT}: {first['note'].partition(';')[0]}"})
            continue
        interval = measure_mean(group)
        ok = int((group["status"] == "ok").sum())
        rows.append(
            {
                **about,
                "value": interval.mean,
                "low": interval.low,
                "high": interval.high,
                **{floor: group[floor].mean() for floor in floors},
                "clips": f"{ok}/{len(group)}",
                "mark": mark(group, floors) if first["held"] else "",
            }
        )
    table = pd.DataFrame(rows, columns=[name for name in SUMMARY_COLUMNS if name not in FLOORS or name in floors])
    table.attrs["notes"] = [*(NOTES if floors else ()), *suite_notes(scored)]
    return table


def suite_notes(scored: pd.DataFrame) -> list[str]:
    """What the suite's judges are worth, where that is little, and what the metrics that are left out need."""
    absent = scored[scored["status"] == LEFT_OUT]
    needs = [f"{LEFT_OUT}: {why}" for why in dict.fromkeys(absent["note"]) if ";" in why]
    return [*([MINI] if "mini" in set(scored["suite"]) else ()), *needs]


def mark(group: pd.DataFrame, floors: list[str]) -> str:
    """Which floors the metric's values are below, and which they are not above for certain."""
    below, unsure = [], []
    for floor in floors:
        gain = gain_over(group, floor)
        if gain is None:
            continue
        if gain.mean < 0:
            below.append(floor)
        elif not gain.low > 0:
            unsure.append(floor)
    words = [f"below {', '.join(below)}"] if below else []
    return "; ".join(words + ([f"not above {', '.join(unsure)}"] if unsure else []))


def clip_table(scored: pd.DataFrame) -> pd.DataFrame:
    """A row a clip and a column a metric (with its protocol, where there are several), rendered with 8 digits.

    A note names the suite and its judges. Metrics that were left out have no column.
    """
    scored = scored[scored["status"] != LEFT_OUT]
    several = scored["protocol"].nunique() > 1
    name = scored["protocol"] + " " + scored["metric"] if several else scored["metric"]
    named = scored.assign(metric=name)
    clips = list(dict.fromkeys(named["clip"]))
    wide = named.pivot(index="clip", columns="metric", values="value").loc[clips, list(dict.fromkeys(name))]
    wide = wide.reset_index()
    wide.insert(1, "status", wide["clip"].map(named.drop_duplicates("clip").set_index("clip")["status"]))
    wide = wide.rename_axis(columns=None)
    wide.attrs["digits"] = 8
    judges = ", ".join(one for one in dict.fromkeys(scored["judge"]) if one)
    wide.attrs["notes"] = [f"Suite {', '.join(dict.fromkeys(scored['suite']))}; judges: {judges or 'none'}."]
    return wide


def tell_scores(scored: pd.DataFrame) -> str:
    """The summary within 100 columns: a line a metric beside the brainless answer to be seen with it, and a verdict."""
    summary = stand(scored)
    parts = ["\n".join(tell_protocol(rows)) for _, rows in summary.groupby("protocol", sort=False)]
    absent = scored[scored["status"] == LEFT_OUT].drop_duplicates(["protocol", "metric"])
    left = [f"left out: {row['protocol']} {row['metric']}: {row['note']}" for _, row in absent.iterrows()]
    notes = [*([MINI] if "mini" in set(scored["suite"]) else ()), *left, "Every floor of every metric: --wide."]
    return "\n\n".join(["\n".join(line for note in notes for line in wrap(note)), *parts]) + "\n"


def tell_protocol(rows: pd.DataFrame) -> Iterator[str]:
    first = rows.iloc[0]
    ok = f"{first['ok']} of {first['clips']} clips" if first["ok"] < first["clips"] else f"{first['clips']} clips"
    yield f"protocol {first['protocol']}, suite {first['suite']}: {ok}"
    yield ""
    titles = [f"{explain_metric(row['metric']).title} {ARROWS[row['direction']]}" for _, row in rows.iterrows()]
    width = max(map(len, titles))
    for title, (_, row) in zip(titles, rows.iterrows(), strict=True):
        said = f"{WORDS[row['standing']]} {RIVAL_WORDS.get(row['rival'], row['rival'])}" if row["rival"] else ""
        value = f" ({write_short(row['rival_value'])[0]})" if row["rival"] else ""
        beside = "a clip made without a brain wins it" if row["standing"] == FREE else f"{said}{value}"
        yield f"  {title:<{width}}  {tell_interval(row):<24}  {beside}".rstrip()
    yield ""
    yield from wrap(write_verdict(rows))
