"""The second door: videos that others made, scored by the same metrics as a method's own reconstructions.

The targets say what is expected: a missing or broken prediction scores the metric's worst value and is counted. Beside
each score stand floors that need no brain, computed on the same clips:

- `constant_grey`: middle grey in place of the prediction;
- `still_frame`: the middle frame of another true clip, held still;
- `shuffled`: the prediction made for another clip;
- `mean_of_others`: the blurred mean of all other true clips of the same shape.

Another clip is the one before in its party: clips are read and scored in parties of `PARTY` in natural order of names,
so memory does not grow with their number; true clips are read once more before, for their sums. Only the judges'
summaries of a clip (`SUMMARIES`) are kept to the end, for the metrics that compare each clip with all others.

A metric that cannot be computed here has one row, of status `LEFT_OUT`, whose note says why and what to fetch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bench.core.errors import BenchError
from bench.core.progress import say, track
from bench.doors.mean_of_others import OtherClips
from bench.doors.video_pairs import Pair, Pairs, report
from bench.scoring.lookup import MetricError, find_metric, find_protocol, is_outside
from bench.scoring.views import BASE, GALLERIES, Viewer, Views, summarise, unit
from metrics.protocols import Protocol
from metrics.specs import MetricSpec, Scored

GREY = 128  # as in baselines.floors.controls
PARTY = 8  # clips together: enough for the judges to work at full rate, few enough for large videos
FLOORS = ("constant_grey", "still_frame", "shuffled", "mean_of_others")
PER_FRAME = (  # views of one frame alone
    *("frame", "frame_features", "clip", "clip_large", "vifi", "dino", "dinov2"),
    *("clip_vbench", "clip_dynamind", "clip_large_neurons", "vifi_mind_animator", "dino_vbench", "dinov2_dynamind"),
)
ALL_CLIPS = "(all clips)"  # the row of a set metric, and of one that is left out
LEFT_OUT = "left out"  # status of a metric that cannot be computed here
SUMMARIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # what is kept of each clip to the end, by view
    **dict.fromkeys(GALLERIES, summarise),
    "features": lambda seen: seen,
    "frame_features": lambda seen: seen.mean(axis=1, keepdims=True),
}

Columns = dict[str, Scored]  # what is scored, by the name of its column: "value" and the floors


def score_videos(
    pairs: Pairs, viewer: Viewer, *, protocol: str, metrics: str = "all", floors: bool = True
) -> pd.DataFrame:
    """A row a clip and metric: clip, protocol, metric, direction, chance, held, status, value, a column a floor.

    Then suite, judge, note and other. `held` is False of a metric that a clip made without a brain wins by definition
    (`MetricSpec.floor`). `suite` and `judge` name the networks that were asked, `judge` being empty of a metric that
    asks none. A metric that cannot be computed here has one row of status "left out", without a value, whose `note`
    says why. `other` is the clip whose truth and prediction stand as `still_frame` and `shuffled`; empty where there is
    none.

    Raises BenchError for unknown names and where no clip at all could be scored.
    """
    rules = find_protocol(protocol)
    asked = choose_metrics(rules, metrics)
    left_out = find_left_out(asked, pairs, viewer)
    if left_out and "all" not in split_names(metrics):
        name, why = next(iter(left_out.items()))
        raise BenchError(f"{name} cannot be computed: {why}")
    chosen = [metric for metric in asked if metric.name not in left_out]
    if not chosen:
        why = next(iter(left_out.values()))
        raise BenchError(f"protocol {protocol} has no metric that can be computed from what is here: {why}")
    late = [metric for metric in chosen if metric.level == "set" or set(GALLERIES) & set(metric.views)]
    seen: list[Pair] = []
    refused: list[tuple[str, MetricSpec, str]] = []  # clips too short or too small for a metric, and why
    tables: list[pd.DataFrame] = []  # one a party: 100,000 rows as dictionaries would be most of the memory
    kept: list[tuple[list[str], dict[str, dict[str, np.ndarray]]]] = []
    greys: dict[tuple[int, ...], Views] = {}
    before: dict[str, str] = {}
    others = OtherClips(read_truth(pairs, rules) if floors else ())
    for party in gather(track(pairs.read(rules), "scoring", total=len(pairs.names))):
        seen += [replace(pair, prediction=None, target=None) for pair in party]
        ok = [pair for pair in party if pair.status == "ok"]
        if ok:
            shape = shape_of(ok[0])
            fit = [metric for metric in chosen if not metric.refuses(shape)]
            unfit = [metric for metric in chosen if metric.refuses(shape)]
            refused += [(pair.name, metric, metric.refuses(shape)) for pair in ok for metric in unfit]
            views = {view for metric in fit for view in metric.views}
            columns, target = show_party(ok, viewer, views, greys, others, floors=floors)
            names = [pair.name for pair in ok]
            before |= zip(names, [names[-1], *names[:-1]], strict=True) if "shuffled" in columns else ()
            tables.append(
                pd.DataFrame(score_party(names, columns, target, [metric for metric in fit if metric not in late]))
            )
            kept.append((names, {column: keep(scored) for column, scored in {**columns, "target": target}.items()}))
    if not kept:
        raise BenchError(f"none of the {len(seen)} clips can be scored; the first: {seen[0].why or seen[0].status}")
    report(seen)
    for metric in chosen:
        if reasons := [why for _, one, why in refused if one is metric]:
            say(f"{len(reasons)} clips invalid, they score the worst value: {reasons[0]}")
    rows = score_late(kept, late)
    bad = [(pair.name, metric, pair.status) for pair in seen if pair.status != "ok" for metric in chosen]
    bad += [(name, metric, "invalid") for name, metric, _ in refused]
    nothing = dict.fromkeys(FLOORS if floors else (), np.nan)
    clips = sum(len(names) for names, _ in kept)
    rows += [
        {"clip": name, **about(metric, clips), "status": status, "value": metric.worst, **nothing}
        for name, metric, status in bad
        if metric.level == "clip"
    ]
    rows += [
        {"clip": ALL_CLIPS, **about(metric), "status": LEFT_OUT, "value": np.nan, **nothing}
        for metric in asked
        if metric.name in left_out
    ]
    order = {name: i for i, name in enumerate([*pairs.names, ALL_CLIPS])}
    tables = [one for one in (*tables, pd.DataFrame(rows)) if len(one)]
    table = pd.concat(tables, ignore_index=True)
    table = table.sort_values("clip", key=lambda names: names.map(order), kind="stable", ignore_index=True)
    table.insert(1, "protocol", rules.name)
    judges = {metric.name: name_judges(metric, viewer) for metric in chosen}
    return table.reindex(columns=[*table.columns, *(name for name in nothing if name not in table)]).assign(
        suite=viewer.judges.name,
        judge=table["metric"].map(judges).fillna(""),
        note=table["metric"].map(left_out).fillna(""),
        other=table["clip"].map(before).fillna(""),
    )


def choose_metrics(protocol: Protocol, metrics: str) -> list[MetricSpec]:
    """The metrics of a list of names: of the protocol's own ("all" of them), and from outside, `path/file.py:NAME`."""
    known = {metric.name: metric for metric in protocol.metrics}
    chosen: dict[str, MetricSpec] = {}
    for name in split_names(metrics):
        if name != "all" and name not in known and not is_outside(name):
            raise BenchError(
                f"unknown metric {name!r}; protocol {protocol.name} has {', '.join(known)}; all, or path/file.py:NAME "
                "for one of your own"
            )
        for metric in known.values() if name == "all" else [known[name] if name in known else find_metric(name)]:
            if chosen.setdefault(metric.name, metric) is not metric:
                raise MetricError(f"{name} calls its metric {metric.name!r}, and another asked for does too; rename it")
    return list(chosen.values())


def split_names(metrics: str) -> list[str]:
    return [name.strip() for name in metrics.split(",")]


def find_left_out(metrics: Sequence[MetricSpec], pairs: Pairs, viewer: Viewer) -> dict[str, str]:
    """The metrics that cannot be computed here, by name, with the reason, which is said where one can do about it."""
    left_out: dict[str, str] = {}
    by_reason: dict[str, list[str]] = {}
    remedy = ""
    for metric in metrics:
        why = viewer.missing(metric)
        if why and "concept" not in metric.views:
            remedy = "; `python -m bench suite fetch paper --for score` brings judges, --suite paper asks them"
        if not pairs.has_truth and (metric.paired or metric.level == "set"):
            why = "there are no true videos (--targets)"
        if not why:
            continue
        left_out[metric.name] = why
        if "concept" not in metric.views:  # no folder of videos has concepts
            by_reason.setdefault(why.partition(";")[0], []).append(metric.name)
    if by_reason:
        said = "; ".join(f"{', '.join(names)} ({why})" for why, names in by_reason.items())
        say(f"left out {said}{remedy}")
    return left_out


def name_judges(metric: MetricSpec, viewer: Viewer) -> str:
    """The networks that a metric asks, joined by +; empty where it asks none."""
    return "+".join(dict.fromkeys(viewer.judges.source(BASE.get(view, view)) for view in metric.views))


def read_truth(pairs: Pairs, protocol: Protocol) -> Iterator[np.ndarray]:
    """The true clips as they are compared, one at a time; those that cannot be are left out."""
    for pair in track(pairs.read(protocol), "true clips", total=len(pairs.names)) if pairs.has_truth else ():
        if pair.target is not None:
            yield pair.target


def gather(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """Parties of `PARTY` clips whose videos have one shape; the last party takes a clip that would be left alone."""
    party: list[Pair] = []
    shape: tuple[int, ...] | None = None
    held: list[Pair] = []  # a full party waits until it is known that another clip does not stay alone
    for pair in pairs:
        pair_shape = shape if pair.prediction is None else pair.prediction.shape
        if (shape is not None and pair_shape != shape) or len(party) == PARTY:
            if held:
                yield held
            held, party = party, []
        shape = pair_shape
        party.append(pair)
    if held and len(party) == 1 and same_shape(held, party):
        held, party = held + party, []
    for rest in (held, party):
        if rest:
            yield rest


def shape_of(pair: Pair) -> tuple[int, ...]:
    assert pair.prediction is not None
    return pair.prediction.shape


def same_shape(one: Sequence[Pair], other: Sequence[Pair]) -> bool:
    shapes = {pair.prediction.shape for pair in (*one, *other) if pair.prediction is not None}
    return len(shapes) == 1


def show_party(
    party: Sequence[Pair],
    viewer: Viewer,
    views: set[str],
    greys: dict[tuple[int, ...], Views],
    others: OtherClips,
    *,
    floors: bool,
) -> tuple[Columns, Scored]:
    """The predictions, their floors and the truth, with the judges' views of each; truth is judged once and kept."""
    video = np.stack([pair.prediction for pair in party if pair.prediction is not None])
    prediction = Scored(video=video, views=viewer.look(views, video))
    true = np.stack([video[i] if pair.target is None else pair.target for i, pair in enumerate(party)])
    has_truth = party[0].target is not None
    target = prediction
    if has_truth:
        target = Scored(video=true, views=viewer.look_once(views, true))
    columns: Columns = {"value": prediction}
    if not floors:
        return columns, target
    n, frames = true.shape[:2]
    grey = np.full_like(true[:1], GREY)
    if grey.shape not in greys:
        greys[grey.shape] = viewer.look(views, grey)
    repeated = {view: np.repeat(one, n, axis=0) for view, one in greys[grey.shape].items()}
    columns["constant_grey"] = Scored(video=np.repeat(grey, n, axis=0), views=repeated)
    means = [mean for clip in true if has_truth and (mean := others.mean_without(clip)) is not None]
    if len(means) == n:
        columns["mean_of_others"] = Scored(video=np.stack(means), views=viewer.look_once(views, np.stack(means)))
    if n < 2 and has_truth:  # a clip alone: its own frame would be no floor
        return columns, target
    before = np.roll(np.arange(n), 1)
    middle = frames // 2
    still = np.repeat(true[before, middle][:, None], frames, axis=1)
    per_frame = [view for view in target.views if view in PER_FRAME]  # already known: the frame was judged in its clip
    held = {view: np.repeat(target[view][before, middle][:, None], frames, axis=1) for view in per_frame}
    rest = [view for view in target.views if view not in held]
    held |= viewer.look_once(rest, still)
    columns["still_frame"] = Scored(video=still, views=held)
    columns["shuffled"] = prediction.take(before)
    return columns, target


def about(metric: MetricSpec, clips: int = 0) -> dict[str, Any]:
    """`clips` is how many are compared with each other, where chance depends on it; 0 where that is not known."""
    chance = metric.chance_of(clips) if clips or not callable(metric.chance) else np.nan
    return {"metric": metric.name, "direction": metric.direction, "chance": chance, "held": metric.floor}


def score_party(
    names: Sequence[str], columns: Columns, target: Scored, metrics: Sequence[MetricSpec]
) -> list[dict[str, Any]]:
    rows = []
    for metric in metrics:
        values = {column: compute(metric, scored, target, column) for column, scored in columns.items()}
        broken = ~np.isfinite(values["value"])
        values["value"] = np.where(broken, metric.worst, values["value"])
        rows += [
            {"clip": name, **about(metric), "status": "invalid" if broken[i] else "ok"}
            | {column: float(value[i]) for column, value in values.items()}
            for i, name in enumerate(names)
        ]
    return rows


def compute(metric: MetricSpec, scored: Scored, target: Scored, column: str) -> np.ndarray:
    """The metric's values; NaN for the shuffled floor of a metric that never looks at the truth: it has none."""
    if column == "shuffled" and not metric.paired:
        return np.full(len(target.video) if target.video is not None else 0, np.nan)
    return metric.compute(scored, target)


def keep(scored: Scored) -> dict[str, np.ndarray]:
    """What is needed of a party when all are read: the summaries of each clip."""
    there = {view: BASE.get(view, view) for view in SUMMARIES if BASE.get(view, view) in scored.views}
    return {view: SUMMARIES[view](scored[base]) for view, base in there.items()}


def score_late(
    kept: Sequence[tuple[list[str], dict[str, dict[str, np.ndarray]]]], metrics: Sequence[MetricSpec]
) -> list[dict[str, Any]]:
    """The metrics that compare each clip with all true clips, and those of the set."""
    everything, rows = kept, []
    for metric in metrics:
        view = next((view for view in metric.views if view in SUMMARIES), "features")
        kept = [(names, party) for names, party in everything if view in party["target"]]  # not what it refuses
        if not kept:
            rows += [{"clip": ALL_CLIPS, **about(metric), "status": "invalid", "value": metric.worst}] * (
                metric.level == "set"
            )
            continue
        names = [name for party, _ in kept for name in party]
        columns = [column for column in kept[0][1] if all(column in party for _, party in kept)]
        joined = {column: np.concatenate([party[column][view] for _, party in kept]) for column in columns}
        target = joined.pop("target")
        values_of = {}
        for column, rows_of in joined.items():
            if metric.level == "set":
                lone = len(rows_of) < 2 or column == "shuffled"  # a set has no pairs to shuffle
                values_of[column] = [np.nan] if lone else metric.compute(seen(view, rows_of), seen(view, target))
            else:
                likeness = seen(view, unit(rows_of) @ unit(target).T)
                values_of[column] = metric.compute(likeness, Scored(clip=np.arange(len(target))))
        clips = [ALL_CLIPS] if metric.level == "set" else names
        rows += [
            {
                "clip": clip,
                **about(metric, len(target)),
                "status": "ok",
                **{name: float(value[i]) for name, value in values_of.items()},
            }
            for i, clip in enumerate(clips)
        ]
    return rows


def seen(view: str, rows: np.ndarray) -> Scored:
    return Scored(views={view: rows})
