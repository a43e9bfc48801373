"""The ablation study of a paper's table: each difference that it claims, decided or not, by what was declared before.

A difference is base − variant, paired over subjects, clips and seeds, read at two levels where both are there: at the
*encoder* (protocol `embedding`, before any generator) and at the *videos* (the paper's own metric). `study.toml` says
which level decides, in which metric, and how small an effect is of no interest. Both questions stand side by side
(`leaderboard.stats.crossed`): these subjects, by which the verdict is given as a paper's is of its own, and new ones.

    agrees                  Holm's p within the table is at most the level, and the sign is the paper's
    disagrees               it is, and the sign is not the paper's (or the paper prints no difference)
    no effect larger than x  it is not, and x, the bound of two one-sided tests, is at most the declared margin
    undecided               neither; `needs` says what would decide it
    not run                 nothing of it was measured

One training says nothing of what another would, so a difference of one seed is undecided. One of several, but fewer
than are declared, is judged as it is, and is told with how many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.core.job import Job
from bench.core.variants import name_profiled, split_profiled
from leaderboard.board import BASE
from leaderboard.papers.checked import tell_checked
from leaderboard.papers.declared import LEVELS, Declared, Level
from leaderboard.papers.differences import difference, pair_cells
from leaderboard.papers.measure import Need, Shelf, choose_metric, find_keys, find_need, first_part
from leaderboard.papers.reported import ReportedCell, ReportedTable
from leaderboard.stats import intervals as statistics
from leaderboard.stats.crossed import (
    QUESTIONS,
    Group,
    Parts,
    Question,
    bound_effect,
    count_needed,
    error_to_find,
    error_to_settle,
    interval_of,
    join_parts,
)
from leaderboard.stats.panels import TableError, build_panels, check_same
from metrics.specs import MetricSpec

AGREES, DISAGREES, BOUNDED, UNDECIDED, NOT_RUN = "agrees", "disagrees", "no effect larger than", "undecided", "not run"
KINDS = (AGREES, DISAGREES, f"{BOUNDED} x", UNDECIDED, NOT_RUN)  # of verdicts
SHORT = {"these subjects": "", "new subjects": "new_"}  # of columns
MEASURED = [
    *("difference", "low", "high", "new_low", "new_high", "p", "p_holm", "new_p", "new_p_holm"),
    *("smallest_detectable", "new_smallest_detectable", "bound", "new_bound", "seed_sd"),
]
COLUMNS = [
    *("row", "column", "paper_difference", "decided_at", "decided_by", "primary", "margin"),
    *("verdict", "needs", "new_verdict", "new_needs"),
    *(f"{level}_{name}" for level in LEVELS for name in ("metric", *MEASURED)),
    *(f"matched_{name}" for name in ("difference", "low", "high", "parameters_ratio")),
    *("planted", "planted_low", "planted_high", "planted_what", "linear", "parameters_ratio"),
    *("seeds", "seeds_declared", "subjects", "clips"),
    *("method", "variant", "split", "dataset", "suite", "classes", "phantom"),
]
Planted = Callable[[str, str], Sequence[float]]  # a data set and a figure of its card: each subject's, or none


@dataclass(frozen=True, kw_only=True)
class StudySurvey:
    """A table with the cells of each of its variants, and of their capacity-matched forms, at each level."""

    table: ReportedTable
    asked: str | None
    suite: str
    profile: str
    declared: Declared
    missing: Mapping[str, Callable[[MetricSpec], str]]
    jobs: Mapping[tuple[Need, Level], Sequence[Job]]
    absent: Mapping[tuple[Need, Level], str]


@dataclass(frozen=True)
class Found:
    """A paired difference: its parts, how far seeds are apart, of how many, and the variant's size by the base's."""

    parts: Parts
    seed_sd: float
    clips: int
    ratio: float
    phantom: bool


Test = tuple[Need, Level, str]  # what a difference is of: a variant, at a level, in a protocol.metric


def list_needs(table: ReportedTable, asked: str | None, profile: str) -> list[tuple[Need, Need]]:
    """Each variant of the table that has its base there, with that base."""
    pairs: dict[tuple[Need, Need], None] = {}
    for _, _, variant, base in pair_cells(table):
        ours, other = (find_need(cell, asked, profile) for cell in (variant, base))
        if ours is not None and other is not None:
            pairs[ours, other] = None
    return list(pairs)


def matched_of(need: Need) -> Need:
    """The same with as many parameters as the base, which a method need not have."""
    plain, profile = split_profiled(need.variant)
    return Need(
        dataset=need.dataset,
        method=need.method,
        variant=name_profiled(f"{plain}_matched", profile),
        split=need.split,
        classes=need.classes,
    )


def study_table(survey: StudySurvey, shelf: Shelf, planted: Planted) -> pd.DataFrame:
    """A row (`COLUMNS`) for each difference that the table's ablations claim. `planted` looks a phantom's card up.

    `attrs["notes"]` say what was checked of those that disagree.
    """
    declared = survey.declared
    cells: list[tuple[str, str, ReportedCell, ReportedCell, Need, Need, dict[Level, str | None]]] = []
    for row, column, variant, base in pair_cells(survey.table):
        need, other = (find_need(cell, survey.asked, survey.profile) for cell in (variant, base))
        if need is None or other is None:
            continue
        shown, _ = choose_metric(variant, survey.missing[need.dataset])
        by = {level: declared.metric_at(level, shown) if shown else None for level in LEVELS}
        cells.append((row, column, variant, base, need, other, by))
    found: dict[Test, Found] = {}
    wanted = {(need, other) for *_, need, other, _ in cells}
    for need, other in wanted:
        metrics = {(level, by[level]) for *_, one, _, by in cells if one == need for level in LEVELS}
        for variant_need in (need, matched_of(need)):
            for level in LEVELS:
                names = sorted(name for at, name in metrics if at == level and name)
                found |= measure_difference(survey, shelf, variant_need, other, level, names)
    deciding: dict[Test, None] = {}
    for _, _, _, _, need, _, by in cells:
        level = decide_at(declared, need, by)
        if by[level] is not None and (need, level, by[level]) in found:
            deciding[need, level, str(by[level])] = None
    adjusted = adjust(found, list(deciding), declared)
    records = [
        {"row": row, "column": column, "paper_difference": difference(base, variant), "suite": survey.suite}
        | {"seeds_declared": declared.seeds}
        | about_need(need, other)
        | decide(survey, found, adjusted, need, by, difference(base, variant))
        | tell_planted(declared, need, planted)
        for row, column, variant, base, need, other, by in cells
    ]
    whole = dict.fromkeys(("seeds", "seeds_declared", "subjects", "clips", "classes"), "Int64")
    table = pd.DataFrame(records, columns=COLUMNS).astype(whole)
    table.attrs["notes"] = list(tell_checked(survey.table.name, table[table["verdict"] == DISAGREES]))
    return table


def about_need(need: Need, base: Need) -> dict[str, Any]:
    assert split_profiled(base.variant)[0] == BASE
    return {name: getattr(need, name) for name in ("method", "variant", "split", "dataset", "classes")}


def decide_at(declared: Declared, need: Need, by: Mapping[Level, str | None]) -> Level:
    """The level that decides a column of a variant: its row's, but the videos where the encoder has no such column."""
    level = declared.find(need.method, need.variant).read_at
    return level if by[level] is not None else "video"


def measure_difference(
    survey: StudySurvey, shelf: Shelf, need: Need, base: Need, level: Level, names: Sequence[str]
) -> dict[Test, Found]:
    """Base − variant at a level in each protocol.metric, where both have scores with common seeds."""
    sides = [survey.jobs.get((one, level), ()) for one in (base, need)]
    keys = [find_keys(jobs, shelf) for jobs in sides]
    first = [{job.spec.key for job in jobs if job.spec.seed == 0} for jobs in sides]
    if not names or not all(sides) or not all(one <= set(there) for one, there in zip(first, keys, strict=True)):
        return {}
    protocols = sorted({name.partition(".")[0] for name in names})
    scores = [shelf.read(found, protocols) for found in keys]
    if any(one.empty for one in scores):
        return {}
    made: dict[Test, Found] = {}
    for name in names:
        protocol, _, metric = name.partition(".")
        rows = [one[(one["protocol"] == protocol) & (one["metric"] == metric)] for one in scores]
        if not any(one.empty for one in rows):
            made[need, level, name] = pair_rows(rows[0], rows[1], f"variant {need.variant!r}")
    return made


def pair_rows(base: pd.DataFrame, variant: pd.DataFrame, name: str) -> Found:
    """The difference of two variants' score rows of one metric, over their common seeds that have all subjects.

    Raises TableError for other subjects or clips, and where no seed is common.
    """
    seeds = sorted(set(base["seed"]) & set(variant["seed"]))
    subjects = set(base["subject"])
    seeds = [
        seed
        for seed in seeds
        if all(set(rows.loc[rows["seed"] == seed, "subject"]) == subjects for rows in (base, variant))
    ]
    if not seeds:
        raise TableError(f"{name} and its base have no whole seed in common; run both with the same --seeds")
    tables: list[list[np.ndarray]] = []
    for seed in seeds:
        ours, others = (build_panels(rows[rows["seed"] == seed]) for rows in (base, variant))
        check_same(others, ours, name, "its base")
        tables.append([one.value - other.value for one, other in zip(ours, others, strict=True)])
    groups: list[Group] = [
        (np.stack([tables[place][group] for place in range(len(seeds))]), panel.concepts)
        for group, panel in enumerate(ours)
    ]
    weights = np.array([len(panel.subjects) for panel in ours], np.float64)
    by_seed = [float(np.average([one.mean() for one in each], weights=weights)) for each in tables]
    return Found(
        parts=join_parts(groups),
        seed_sd=float(np.std(by_seed, ddof=1)) if len(seeds) > 1 else float("nan"),
        clips=sum(len(panel.clips) for panel in ours),
        ratio=float(variant["parameters"].iloc[0] / base["parameters"].iloc[0]),
        phantom=bool(base["phantom"].iloc[0]),
    )


def adjust(
    found: Mapping[Test, Found], deciding: Sequence[Test], declared: Declared
) -> dict[tuple[Test, str], tuple[float, int]]:
    """Holm's p of each test that decides, question by question, and of how many tests; primary ones apart."""
    adjusted: dict[tuple[Test, str], tuple[float, int]] = {}
    for primary in (True, False):
        family = [test for test in deciding if (test[2].partition(".")[2] in declared.primary) == primary]
        for question in QUESTIONS:
            p = [statistics.p_value(interval_of(found[test].parts, question)) for test in family]
            for test, one in zip(family, statistics.holm(p), strict=True):
                adjusted[test, question] = float(one), len(family)
    return adjusted


def decide(
    survey: StudySurvey,
    found: Mapping[Test, Found],
    adjusted: Mapping[tuple[Test, str], tuple[float, int]],
    need: Need,
    by: Mapping[Level, str | None],
    printed: float,
) -> dict[str, Any]:
    """What was measured of one difference at both levels, and the verdicts."""
    declared = survey.declared
    deciding = decide_at(declared, need, by)
    record: dict[str, Any] = {"decided_at": deciding, "decided_by": by[deciding] or "n/a", "verdict": NOT_RUN}
    for level in LEVELS:
        name = by[level]
        record[f"{level}_metric"] = name or "n/a"
        if name is not None and (one := found.get((need, level, name))) is not None:
            told = {q: adjusted.get(((need, level, name), q), (float("nan"), 1)) for q in QUESTIONS}
            record |= {f"{level}_{key}": value for key, value in tell_found(one, told).items()}
    name = by[deciding]
    if name is None:
        return {**record, "needs": "a metric that is measured here"}
    record |= {"primary": name.partition(".")[2] in declared.primary, "margin": declared.margin(name)}
    if (matched := found.get((matched_of(need), deciding, name))) is not None:
        interval = interval_of(matched.parts, "these subjects")
        record |= {"matched_difference": interval.mean, "matched_low": interval.low, "matched_high": interval.high}
        record["matched_parameters_ratio"] = matched.ratio
    one = found.get((need, deciding, name))
    if one is None:
        return {**record, **tell_unmeasured(survey, need, deciding)}
    record |= {"seeds": one.parts.seeds.levels, "subjects": one.parts.subjects.levels, "clips": one.clips}
    record |= {"parameters_ratio": one.ratio, "phantom": one.phantom}
    for question in QUESTIONS:
        p, comparisons = adjusted[(need, deciding, name), question]
        verdict, needs = judge(one.parts, question, printed, p, comparisons, declared, declared.margin(name))
        record |= {f"{SHORT[question]}verdict": verdict, f"{SHORT[question]}needs": needs}
    return record


def tell_unmeasured(survey: StudySurvey, need: Need, level: Level) -> dict[str, str]:
    """Of a difference without scores: undecided for want of videos where the study makes none of them, else not run."""
    if reason := survey.absent.get((need, level)):
        return {"verdict": NOT_RUN, "needs": first_part(reason)}
    if level == "video" and survey.declared.find(need.method, need.variant).read_at == "encoder":
        return {"verdict": UNDECIDED, "needs": "videos: an encoder has no such metric"}
    return {"verdict": NOT_RUN, "needs": ""}


def tell_found(found: Found, told: Mapping[Question, tuple[float, int]]) -> dict[str, float]:
    """The measured columns of a difference at a level."""
    record: dict[str, float] = {"difference": found.parts.mean, "seed_sd": found.seed_sd}
    for question in QUESTIONS:
        if question == "new subjects" and found.parts.subjects.levels < 2:
            continue  # of one subject nothing is known of others
        interval, short = interval_of(found.parts, question), SHORT[question]
        p_holm, comparisons = told[question]
        record |= {f"{short}low": interval.low, f"{short}high": interval.high}
        record |= {f"{short}p": statistics.p_value(interval), f"{short}p_holm": p_holm}
        record[f"{short}smallest_detectable"] = statistics.smallest_detectable(interval, comparisons=comparisons)
        record[f"{short}bound"] = bound_effect(interval)
    return record


def judge(
    parts: Parts, question: Question, printed: float, p_holm: float, comparisons: int, declared: Declared, margin: float
) -> tuple[str, str]:
    """The verdict on a paper's printed difference, and what an undecided one needs."""
    if parts.seeds.levels < 2:
        return UNDECIDED, f"{declared.seeds} seeds"
    if question == "new subjects" and parts.subjects.levels < 2:
        return UNDECIDED, "more than one subject"
    interval = interval_of(parts, question)
    if p_holm <= declared.level and not math.isnan(printed):
        return (AGREES if printed * interval.mean > 0 else DISAGREES), ""
    bound = bound_effect(interval, level=declared.level)
    if bound <= margin:
        return f"{BOUNDED} {bound:.2g}", ""
    aim = margin if math.isfinite(margin) else abs(printed)
    if not aim > 0:
        return UNDECIDED, "a declared margin"
    needed = count_needed(parts, question, error_to_find(aim, comparisons))
    if needed:
        return UNDECIDED, tell_needed(needed)
    # An effect of that size would have been found: this one is smaller, and too near to it to be bounded by it.
    needed = count_needed(parts, question, error_to_settle(interval.mean, margin, comparisons))
    return UNDECIDED, f"{tell_needed(needed)}, if it stays as it is" if needed else "a few more seeds or concepts"


def tell_needed(needed: Mapping[str, float]) -> str:
    """
    >>> tell_needed({"seeds": 12.0, "clips": 2.34}), tell_needed({"concepts": 3.0}), tell_needed({"all": 4.2})
    ('12 seeds, or 2.4 × the clips', '3.0 × the concepts', '4.2 × subjects, clips and seeds')
    """
    words = {
        "seeds": lambda n: f"{n:.0f} seeds",
        "subjects": lambda n: f"{n:.0f} subjects",
        "clips": lambda n: f"{math.ceil(10 * n) / 10:.1f} × the clips",
        "concepts": lambda n: f"{math.ceil(10 * n) / 10:.1f} × the concepts",
        "all": lambda n: f"{math.ceil(10 * n) / 10:.1f} × subjects, clips and seeds",
    }
    return ", or ".join(words[name](number) for name, number in needed.items())


def tell_planted(declared: Declared, need: Need, planted: Planted) -> dict[str, Any]:
    """What an ideal reader (and a linear one) loses by the same change, over subjects, with its 95 % interval."""
    row = declared.find(need.method, need.variant)
    if row.zero:
        return {"planted": 0.0, "planted_low": 0.0, "planted_high": 0.0, "planted_what": row.zero}
    sign = -1.0 if row.gains else 1.0
    told: dict[str, Any] = {}
    for figure in row.planted:
        values = sign * np.asarray(planted(need.dataset, f"lost without {figure}"), np.float64)
        if not len(values):
            continue
        if "linear reader" in figure:
            told["linear"] = float(values.mean())
            continue
        interval = statistics.mean_interval(values[None]) if len(values) > 1 else None
        told |= {"planted": float(values.mean()), "planted_what": f"lost without {figure}"}
        if interval is not None:
            told |= {"planted_low": interval.low, "planted_high": interval.high}
    return told


def kind_of(verdict: str) -> str:
    """The verdict without its number.

    >>> kind_of("no effect larger than 0.012"), kind_of("agrees")
    ('no effect larger than x', 'agrees')
    """
    return f"{BOUNDED} x" if verdict.startswith(BOUNDED) else verdict


def tell_few_seeds(row: pd.Series) -> str:
    """Of how many seeds a difference is, where these are fewer than declared; else nothing.

    >>> tell_few_seeds(pd.Series({"seeds": 3, "seeds_declared": 5})), tell_few_seeds(pd.Series({"seeds": pd.NA}))
    ('3 of 5 seeds', '')
    """
    if pd.isna(row["seeds"]) or row["seeds"] >= row["seeds_declared"]:
        return ""
    return f"{row['seeds']} of {row['seeds_declared']} seeds"


def summarise(table: pd.DataFrame) -> str:
    """The sentence that a study ends in."""
    counts = table["verdict"].map(kind_of).value_counts()
    told = ", ".join(f"{number} {kind}" for kind, number in counts.items())
    told = f"Of {len(table)} differences, for these subjects: {told}"
    shown = int(table["new_verdict"].isin([AGREES, DISAGREES]).sum())
    told += f"; {shown} of them hold for new subjects too" if shown else ""
    decided = ~table["verdict"].isin([UNDECIDED, NOT_RUN])
    few = table[decided & (table["seeds"] < table["seeds_declared"]).fillna(False)]
    if len(few):
        told += f"; {len(few)} of these verdicts rest on fewer seeds than the {few['seeds_declared'].iloc[0]} declared"
    return f"{told}."
