"""Tables and comparisons of what a store holds, or of the committed results. Nothing is made or run for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api import names
from bench.api.questions import Question, ask, describe_holdings, find_scores, read_captions, with_notes
from bench.api.setting import Setting
from bench.core.errors import BenchError
from bench.core.progress import say
from bench.core.registry import modality_of
from bench.core.registry import names as registered
from bench.core.variants import (
    MINI,
    check_profile,
    find_group,
    find_owner,
    find_profile,
    group_split,
    name_where_sized,
    parse_side,
    split_profiled,
)

if TYPE_CHECKING:
    import pandas as pd

    from bench.core.hardware import Precision


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two methods on the same subjects and clips."""

    table: pd.DataFrame  # a row for each split and metric: both means, the difference with its interval and tests
    extremes: pd.DataFrame | None  # of one metric on one split: the clips where both differ most


def table(
    *,
    method: str | None = None,
    ablation: str | None = None,
    split: str | None = None,
    dataset: str | None = None,
    data_root: str | Path | None = None,
    suite: str = "mini",
    classes: int = 40,
    runs: str | Path = "runs",
    protocol: str = "corrected",
    metric: str | None = None,
    profile: str = MINI,
    references: bool = False,
    floors: bool = False,
    readouts: bool = False,
    published: bool = False,
    results: str | Path | None = None,
    precision: Precision = "fp32",
) -> pd.DataFrame:
    """A row for each method, variant, split and metric; or, with `ablation`, paired differences to the group's base.

    `floors` asks for a row for each split and metric with a column for each floor in its place, `readouts` for a row
    for each method with a column for each read-out, of two metrics unless one is asked for, of both phantoms unless
    there is a data set.

    Without `method` it is about all methods and baselines, without `dataset` about the phantom of what is decoded.
    `protocol` is a name, `path/file.py:NAME` or "all". `profile` takes the variants of that size alone, and what has no
    sizes. `references` adds rows of floors and ceilings. `published` reads the committed results, as does a call for
    what the store does not hold; `results` names another folder of committed results, which are read then. Of what the
    store has in two precisions, `precision` is shown, else fp32. Raises BenchError for names that are not there, and
    where neither holds what was asked for.
    """
    if ablation and references:
        raise BenchError("a table of an ablation has its variants alone; leave the references out")
    if floors and (ablation or method or references):
        raise BenchError("a table of the floors has nothing else; leave out --method, --ablation and --references")
    if readouts and (ablation or method or references or floors):
        raise BenchError(
            "a table of read-outs has all methods; leave out --method, --ablation, --references and --floors"
        )
    if ablation:
        method = method or find_owner(ablation)
        find_group(method, ablation, profile)
    check_profile(profile)
    submitted = names.find_submitted(method, runs, results) if method else None
    if method and submitted is None:
        find_profile(method, profile)
    names.check_split(split)
    protocols = tuple(registered("protocols")) if protocol == "all" else (protocol,)
    rules = names.check_metric(metric, protocols)
    asked = [dataset] if dataset else ["phantom_eeg", "phantom_fmri"] if readouts else []
    where: dict[str, Any] = {"data_root": data_root, "suite": suite, "classes": classes, "runs": runs}
    where["precision"] = precision
    if readouts:
        settings = [Setting(dataset=one, **where) for one in asked]
        return cross([ask(one, protocols, rules, metric, published, results, profile) for one in settings], split)
    dataset = dataset or submitted or (names.default_dataset(method) if method else "phantom_eeg")
    setting = Setting(dataset=dataset, **where)
    question = ask(setting, protocols, rules, metric, published, results, profile)
    if ablation and method:
        return ablate(question, method, ablation, split)
    if not floors:
        return tabulate(question, method, split, references)
    from leaderboard.floors import floor_table

    rows = tabulate(question, None, split, references=True)
    made = floor_table(rows, rules)
    made.attrs["notes"] += rows.attrs["notes"]
    return made


def tabulate(question: Question, method: str | None, split: str | None, references: bool) -> pd.DataFrame:
    """Rows of methods (or of one), each held against the floors and ceilings of its split."""
    from leaderboard.narrow import note_verdicts
    from leaderboard.tables import CLIPS, SEES_BRAIN, result_table

    def choose(scores: pd.DataFrame) -> pd.DataFrame:
        asked = scores["method"] == method if method else scores["role"].isin(SEES_BRAIN)
        if split:
            there = scores["split"].isin([split, CLIPS])
            scores, asked = scores[there], asked[there]
        return scores[asked | (scores["role"] != "method")] if asked.any() or references else scores[:0]

    scores, shelf, held = find_scores(question, choose)
    if scores.empty:
        setting = question.setting
        wanted = f" of {method}" if method else " of a method" if len(held) else ""
        on = f" on {split}" if split else ""
        raise BenchError(
            f"{shelf} holds no scores{wanted}{on} for {setting.dataset} with suite {setting.suite} and "
            f"{setting.classes} classes; {describe_holdings(question, held)}; make them with "
            f"`python -m bench run --method {method or 'METHOD'} --split {split or 'cross_subject'} "
            f"{question.repeat()}`"
        )
    rows = result_table(scores, protocols=question.rules)
    asked = rows["method"] == method if method else rows["role"].isin(SEES_BRAIN)
    made = with_notes(rows[asked | references].reset_index(drop=True), scores)
    return note_verdicts(made, scores, question.rules)


def cross(questions: Sequence[Question], split: str | None) -> pd.DataFrame:
    """Methods × read-outs of each data set; that nothing is there of one is said, and refused where it is the only."""
    import pandas as pd

    from leaderboard.crossing import METRICS, crossing_table

    made, missing = [], []
    for question in questions:
        try:
            rows = tabulate(question, None, split, references=True)
        except BenchError as error:
            missing.append(error)
            continue
        shown = rows if question.metric else rows[rows["metric"].isin(METRICS)]
        shown = shown.assign(variant=[split_profiled(one)[0] for one in shown["variant"]])  # of one profile
        made.append(crossing_table(shown, modality_of("datasets", question.setting.dataset)))
        made[-1].attrs["notes"] += rows.attrs["notes"]
    if not made:
        raise missing[0]
    for absent in missing:
        say(str(absent))
    table = pd.concat(made, ignore_index=True)
    table.attrs["notes"] = list(dict.fromkeys(note for part in made for note in part.attrs["notes"]))
    return table


def ablate(question: Question, method: str, ablation: str, split: str | None) -> pd.DataFrame:
    """Paired differences between the base of a group and its variants."""
    from leaderboard.ablations import ablation_table
    from leaderboard.tables import CLIPS

    group = find_group(method, ablation, question.profile or MINI)
    base, *variants = group
    split = split or group_split(method, ablation) or "cross_subject"

    def choose(scores: pd.DataFrame) -> pd.DataFrame:
        mine = (scores["method"] == method) & (scores["split"] == split)
        there = set(scores["variant"][mine])
        beside = (scores["role"] != "method") & scores["split"].isin([split, CLIPS])
        return scores[mine | beside] if base in there and there & set(variants) else scores[:0]

    scores, shelf, held = find_scores(question, choose)
    rest = f"{question.repeat()} --ablation {ablation} --seeds 3"
    make = f"`python -m bench run --method {method} --split {split} {rest}`"
    if scores.empty:
        mine = held[(held["method"] == method) & (held["split"] == split)] if len(held) else held
        alone = "scores of its base alone" if len(mine) and base in set(mine["variant"]) else "no scores of its base"
        raise BenchError(
            f"{shelf} holds, of {ablation} on {split}, {alone}, so there is nothing to compare with; "
            f"{describe_holdings(question, held)}; make them with {make}"
        )
    there = set(scores["variant"][scores["method"] == method])
    if missing := [name for name in group if name not in there]:
        say(f"not in {shelf}: {', '.join(missing)}; fill in with {make}")
    made = ablation_table(scores, base, [name for name in variants if name in there], protocols=question.rules)
    return with_notes(made, scores)


def compare(
    a: str,
    b: str,
    *,
    split: str | None = None,
    dataset: str | None = None,
    data_root: str | Path | None = None,
    suite: str = "mini",
    classes: int = 40,
    runs: str | Path = "runs",
    protocol: str = "corrected",
    metric: str | None = None,
    profile: str = MINI,
    published: bool = False,
    results: str | Path | None = None,
    precision: Precision = "fp32",
) -> Comparison:
    """Two methods, or `method:variant`, paired on subjects and clips, with Holm's correction over the metrics.

    `profile` is that of each side whose method has it; a side may name its own (`sam_net:base@paper`).

    Where one metric on one split is asked for, the clips where both differ most come along. `published`, `results` and
    `precision` are as in `table`. Raises BenchError for names that are not there, and where neither the store nor the
    committed results hold both sides.
    """
    sides = parse_side(a), parse_side(b)
    submitted = [names.find_submitted(method, runs, results) for method, _ in sides]
    check_profile(profile)
    first, second = ((method, name_where_sized(method, variant, profile)) for method, variant in sides)
    sides = first, second
    names.check_split(split)
    rules = names.check_metric(metric, (protocol,))
    dataset = dataset or next(filter(None, submitted), None) or names.default_dataset(sides[0][0])
    where: dict[str, Any] = {"data_root": data_root, "suite": suite, "classes": classes, "runs": runs}
    setting = Setting(dataset=dataset, precision=precision, **where)
    question = ask(setting, (protocol,), rules, metric, published, results, None)

    def choose(scores: pd.DataFrame) -> pd.DataFrame:
        scores = scores[scores["split"] == split] if split else scores
        there = set(zip(scores["method"], scores["variant"], strict=True))
        return scores if set(sides) <= there else scores[:0]

    from leaderboard.comparison import compare_methods, list_extremes

    scores, shelf, held = find_scores(question, choose)
    if scores.empty:
        raise BenchError(
            f"{shelf} holds no scores of {a} and {b}{f' on {split}' if split else ''} for {setting.dataset} with suite "
            f"{suite} and {classes} classes; {describe_holdings(question, held)}; run both methods first "
            f"with {setting.repeat()}"
        )
    rows = with_notes(compare_methods(scores, *sides, protocols=rules), scores)
    if metric is None or rows["split"].nunique() > 1:
        return Comparison(table=rows, extremes=None)
    return Comparison(table=rows, extremes=list_extremes(scores, *sides, captions=read_captions(setting, shelf)))
