"""Where each metric of one set of videos stands among answers that need no brain: the numbers behind a verdict.

A floor is beaten where the paired difference over the clips is above zero with 95 %; chance, where it is known, where
the score's own interval is above it. Only what beats all of them is *above*, so no correction for their number is
needed: the claim is that of the weakest of the comparisons (an intersection–union test).

A clip that is missing or invalid scores the metric's worst value, and its floors, which nobody could compute, are taken
to be the mean of the others'. So nobody gets above a floor by leaving clips out.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from leaderboard.stats import intervals as statistics
from metrics.protocols import PROTOCOLS

ALL_CLIPS = "(all clips)"  # the clip of a row that is of the whole set, as in `bench.doors.videos`
LEFT_OUT = "left out"  # the status of a metric that could not be computed
FLOORS = ("constant_grey", "still_frame", "shuffled", "mean_of_others")
CHANCE = "chance"
ABOVE = "above"  # of every floor, and of chance
UNSURE = "unsure"  # better than each on average, but not surely
LEVEL = "level"  # some floor scores just the same
BELOW = "below"  # some floor scores better on average
ALONE = "alone"  # one number: there is no interval, and nothing can be shown
BARE = "bare"  # no floor was computed
FREE = "free"  # a clip made without a brain is best by definition: no floor is held against it
EQUAL = 1e-9
COLUMNS = [
    *("protocol", "metric", "direction", "value", "low", "high", CHANCE, *FLOORS, "standing", "rival", "rival_value"),
    *("ok", "clips", "suite", "judge"),
]


def stand(scored: pd.DataFrame) -> pd.DataFrame:
    """A row a protocol and metric of what `bench.score` returned, in its order; `COLUMNS` says of what.

    `rival` is the floor (or chance) that the score has to be seen beside: the best of those that it is not surely
    above, or the best of all; `rival_value` is what that scores. `ok` of `clips` clips could be scored. NaN and empty
    where there is none. A metric that was left out has no row.
    """
    rows = []
    computed = scored[scored["status"] != LEFT_OUT]
    for (protocol, metric), group in computed.groupby(["protocol", "metric"], sort=False):
        first = group.iloc[0]
        interval = measure_mean(group)
        row = {
            "protocol": protocol,
            "metric": metric,
            "direction": first["direction"],
            "value": interval.mean,
            "low": interval.low,
            "high": interval.high,
            CHANCE: float(first["chance"]),
            **{floor: float(group[floor].mean()) if floor in group else np.nan for floor in FLOORS},
            "ok": int((group["status"] == "ok").sum()),
            "clips": len(group),
            "suite": first.get("suite", ""),
            "judge": first.get("judge", ""),
        }
        standing, rival = place(group, interval) if first["held"] else (FREE, "")
        rows.append({**row, "standing": standing, "rival": rival, "rival_value": row[rival] if rival else np.nan})
    return pd.DataFrame(rows, columns=COLUMNS)


def measure_mean(group: pd.DataFrame) -> statistics.Interval:
    """The mean of one metric's rows with its interval over clips, within the metric's range where a protocol of the
    project says what that is."""
    interval = statistics.mean_interval(group["value"])
    first = group.iloc[0]
    known = PROTOCOLS[first["protocol"]].metrics if first["protocol"] in PROTOCOLS else ()
    return next((interval.within(one.lo, one.hi) for one in known if one.name == first["metric"]), interval)


def place(group: pd.DataFrame, interval: statistics.Interval) -> tuple[str, str]:
    """The standing of one metric's rows, and the rival that it is owed to."""
    sign = 1.0 if group["direction"].iloc[0] == "higher" else -1.0
    chance = float(group["chance"].iloc[0])
    gains = {floor: gain for floor in FLOORS if floor in group and (gain := gain_over(group, floor)) is not None}
    if not gains:
        return BARE, CHANCE if np.isfinite(chance) else ""
    means = {floor: gain.mean for floor, gain in gains.items()}
    beaten = {floor: gain.low > 0 for floor, gain in gains.items()}
    if np.isfinite(chance):
        means[CHANCE] = sign * (interval.mean - chance)
        beaten[CHANCE] = (interval.low if sign > 0 else interval.high) * sign > chance * sign
    unbeaten = [floor for floor in means if not beaten[floor]] or list(means)
    rival = min(unbeaten, key=lambda floor: means[floor])  # the one that comes nearest, or is furthest ahead
    if np.isnan(interval.se):
        return ALONE, rival
    if all(beaten.values()):
        return ABOVE, rival
    if means[rival] < -EQUAL:
        return BELOW, rival
    return (LEVEL if means[rival] <= EQUAL else UNSURE), rival


def gain_over(group: pd.DataFrame, floor: str) -> statistics.Interval | None:
    """By how much one metric's values are better than a floor, paired over clips; None where no clip has that floor."""
    sign = 1.0 if group["direction"].iloc[0] == "higher" else -1.0
    lost = group["status"] != "ok"
    known = group[floor].where(~lost | group[floor].notna(), group[floor].mean())
    there = np.isfinite(known)
    if not there.any():
        return None
    return statistics.paired_difference(sign * group["value"][there], sign * known[there])
