"""The study of a paper's table in a page written by hand: what stands below a comment that says which columns it has.

    <!-- study table=sam_net.3 columns="Video-based 2-way,SSIM" rows="A,B,C" -->
    | base − row, these subjects | Video-based 2-way | SSIM | planted, 40-way |

A line is a row of the paper's table, with our variant, and how many seeds, subjects and clips its first measured column
has; a cell is the difference at the level that decides it, with its interval and its verdict. `rows` names those that
are shown by how they begin, by default all. `leaderboard.pages` makes these tables anew beside those of the board.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping

import pandas as pd

from bench.core.errors import BenchError
from leaderboard.papers.study import BOUNDED, tell_few_seeds

MARK = re.compile(r"^<!-- study (?P<about>[^\n]*?) -->\n(?P<table>(?:\|[^\n]*\n)*)", re.MULTILINE)
KEYS = ("table", "columns", "rows")
Studies = Callable[[str], pd.DataFrame]  # by a paper's table: rows of `leaderboard.papers.study.study_table`


class StudyBlockError(BenchError):
    """A comment of a page that asks for a study which cannot be shown."""


def remake_studies(text: str, studies: Studies, where: str) -> str:
    """The page with every marked study made anew.

    Raises StudyBlockError for a comment with a strange key, and for a column or row that the study does not have.
    """

    def replace(found: re.Match[str]) -> str:
        about = read_about(found["about"], where)
        lines = lay_out_block(about, studies(about["table"]), where)
        return f"<!-- study {found['about']} -->\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)

    return MARK.sub(replace, text)


def read_about(text: str, where: str) -> dict[str, str]:
    words = [word.partition("=") for word in shlex.split(text)]
    about = {key: value for key, _, value in words if value}
    if len(about) != len(words) or set(about) - set(KEYS) or not {"table", "columns"} <= set(about):
        raise StudyBlockError(
            f"{where}: <!-- study {text} --> must hold table= and columns=, and may hold rows=, each with a value"
        )
    return about


def lay_out_block(about: Mapping[str, str], study: pd.DataFrame, where: str) -> Iterator[list[str]]:
    """The lines of a table, the head and its rule first."""
    columns = about["columns"].split(",")
    begins = tuple(about["rows"].split(",")) if "rows" in about else ("",)
    shown = study[study["row"].str.startswith(begins)]
    absent = [one for one in columns if one not in set(study["column"])]
    absent += [one for one in begins if not study["row"].str.startswith(one).any()]
    if absent:
        raise StudyBlockError(f"{where}: the study of {about['table']} has nothing that is named {absent[0]!r}")
    planted = shown["planted"].notna().any()
    heads = ["base − row, these subjects", *columns, *(["planted, 40-way"] if planted else [])]
    yield heads
    yield ["---"] * len(heads)
    for row, rows in shown.groupby("row", sort=False):
        by = {str(one["column"]): one for _, one in rows.iterrows()}
        first = rows.iloc[0]
        lines = [by.get(one) for one in columns]
        of = next((one for one in lines if one is not None and pd.notna(one["seeds"])), None)
        size = "" if of is None else f" ({of['seeds']} × {of['subjects']} × {of['clips']})"
        worth = [] if not planted else ["" if pd.isna(first["planted"]) else show(first["planted"])]
        yield [f"{row}, `{first['variant']}`{size}", *("" if one is None else tell_cell(one) for one in lines), *worth]


def tell_cell(row: pd.Series) -> str:
    """The difference where it is decided, its interval, and the verdict, with how many seeds where these are few."""
    at, verdict = row["decided_at"], str(row["verdict"])
    if pd.isna(row[f"{at}_difference"]):
        return verdict
    if verdict.startswith(BOUNDED):
        verdict = f"no effect larger than {show(row[f'{at}_bound'])}"
    value, low, high = (show(row[f"{at}_{name}"]) for name in ("difference", "low", "high"))
    few = tell_few_seeds(row)
    return f"{value} [{low}, {high}], {verdict}" + (f" ({few})" if few else "")


def show(value: float) -> str:
    """Three digits behind the point, without the zero before it, as all tables in pages.

    >>> show(0.1987), show(-0.0004)
    ('.199', '.000')
    """
    rounded = f"{float(value):.3f}"
    return re.sub(r"^(-?)0\.", r"\1.", "0.000" if float(rounded) == 0 else rounded)
