"""The ablation study on the page of all tables: a line for each difference, and how many came to which verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from leaderboard.papers.layout import show_number
from leaderboard.papers.study import KINDS, StudySurvey, kind_of, summarise, tell_few_seeds
from leaderboard.papers.study_text import interval, tell_difference
from leaderboard.rendering import render

LEGEND = """\
A difference is base − variant, paired, with its 95 % interval over clips and seeds: of the subjects that were
measured, as a paper's verdict is of its own; *new subjects* are others like them. The verdict is given at the level
that is named, by the metric and margin that `leaderboard/papers/study.toml` declares, with Holm's correction within
the table. It declares a number of seeds too: *(3 of 5 seeds)* behind a verdict says that fewer are there. *Core-hours*:
what the cells took that were read, by their manifests, scoring and loading aside; tables share cells. *No effect larger
than x*: by two one-sided tests, and x is at most the margin. *Would need*: each by itself; clips of the same concepts,
or as many times the concepts, with their clips. *Planted*: what a reader who knows all of the phantom
loses by the same change (40-way of concepts), a linear one behind it.
"""


def lay_out_study(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `leaderboard.papers.study.study_table` as text, a line for each difference, with their notes."""
    laid = pd.DataFrame([lay_out_row(row) for _, row in table.iterrows()])
    laid.attrs["notes"] = table.attrs.get("notes", [])
    return laid


def lay_out_row(row: pd.Series) -> dict[str, str]:
    at = row["decided_at"]
    return {
        "row": row["row"],
        "column": row["column"],
        "seeds × subjects × clips": f"{row['seeds']} × {row['subjects']} × {row['clips']}"
        if pd.notna(row["seeds"])
        else "",
        "paper": show_number(row["paper_difference"]),
        "at the encoder": show_difference(row, "encoder_"),
        "at the videos": show_difference(row, "video_"),
        "decided at": f"the {'videos' if at == 'video' else at}",
        "verdict": f"{row['verdict']} ({few})" if (few := tell_few_seeds(row)) else str(row["verdict"]),
        "would need": row["needs"] if pd.notna(row["needs"]) else "",
        "new subjects": interval(row, f"{at}_new_low", f"{at}_new_high"),
        "verdict for these": row["new_verdict"] if pd.notna(row["new_verdict"]) else "",
        "matched in size": show_difference(row, "matched_"),
        "planted": show_planted(row),
    }


def show_difference(row: pd.Series, which: str) -> str:
    return tell_difference(row, which) if pd.notna(row[f"{which}difference"]) else ""


def show_planted(row: pd.Series) -> str:
    """What an ideal reader loses, and in brackets a linear one."""
    linear = f"(linear {show_number(row['linear'])})" if pd.notna(row["linear"]) else ""
    return f"{show_number(row['planted'])} {linear}".strip()


def price(survey: StudySurvey, manifests: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Core-hours of each cell that the study reads, by key: of all phases of its manifest, times its threads."""
    read = {job.spec.key for jobs in survey.jobs.values() for job in jobs}
    return {
        one["key"]: sum(one["phases"].values()) * one["provenance"]["threads"] / 3600
        for one in manifests
        if one["key"] in read
    }


def tell_counts(
    studies: Mapping[str, pd.DataFrame], prices: Mapping[str, Mapping[str, float]] | None = None
) -> Iterator[str]:
    """The head of the page: what all studies together come to, in a sentence and table by table."""
    yield f"{summarise(pd.concat(studies.values(), ignore_index=True))}\n"
    yield render(count_verdicts(studies, prices))
    yield LEGEND


def count_verdicts(
    studies: Mapping[str, pd.DataFrame], prices: Mapping[str, Mapping[str, float]] | None = None
) -> pd.DataFrame:
    """How many differences of each table, and of all, have which verdict for these subjects; an empty place is none.

    With `prices`, core-hours of each table's cells by key, their sum stands beside it; in all, a cell counts once.
    """
    rows = []
    prices = {**prices, "all": {key: one for some in prices.values() for key, one in some.items()}} if prices else {}
    for name, table in {**studies, "all": pd.concat(studies.values(), ignore_index=True)}.items():
        kinds = table["verdict"].map(kind_of).value_counts()
        counts = {kind: str(kinds[kind]) if kind in kinds else "" for kind in KINDS}
        cost = {"core-hours": f"{sum(prices[name].values()):.2f}"} if name in prices else {}
        rows.append({"table": name, "differences": str(len(table)), **counts, **cost})
    return pd.DataFrame(rows)
