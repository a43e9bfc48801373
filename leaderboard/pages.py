"""Tables of committed results that stand in pages written by hand: each below a comment that says what it is of.

    <!-- board dataset=phantom_eeg split=cross_subject methods=sam_net,retrieval metrics=ssim minus=retrieval -->
    | cross_subject, 6 subjects | `sam_net` | minus shuffled | `retrieval` | `sam_net` − `retrieval` |

The table is what follows the comment up to the first line that is none of a table. `python -m bench board` makes every
such table anew from the committed results, `board --check` says which pages are not what they make. So a number in a
page is changed by publishing, never by hand. Rows are metrics (of `protocol`, by default corrected), columns methods or
variants of them as in `sam_net.wo_latent`: the first with its interval and less its own shuffled brain, the others as
they are, and at last, with `minus`, the paired difference to that method over the seeds that both have.

A comment `study` asks for what a paper's ablations came to (`leaderboard.papers.study_block`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from bench.core.errors import BenchError
from leaderboard.comparison import compare_methods
from leaderboard.glossary import explain_metric
from leaderboard.papers.study_block import MARK as STUDY
from leaderboard.papers.study_block import Studies, remake_studies, show
from leaderboard.tables import result_table

PAGES = ("README.md", "docs/*.md", "methods/*/README.md", "baselines/*/README.md")
MARK = re.compile(r"^<!-- board (?P<about>[^\n]*?) -->\n(?P<table>(?:\|[^\n]*\n)*)", re.MULTILINE)
KEYS = ("dataset", "split", "methods", "metrics", "protocol", "minus", "suite", "classes")
PLACE = ("dataset", "split", "protocol", "suite")  # what every table has one of
Parts = Mapping[tuple[str, ...], pd.DataFrame]
NEEDED = ("dataset", "split", "methods", "metrics")


class PageError(BenchError):
    """A comment of a page that asks for a table which cannot be made."""


def find_pages(root: Path) -> list[Path]:
    """The pages below the checkout's root, in order."""
    return [path for pattern in PAGES for path in sorted(root.glob(pattern))]


def list_metrics(root: Path) -> set[tuple[str, str]]:
    """The protocols and metrics that marked tables ask for."""
    texts = [(path, path.read_text(encoding="utf-8")) for path in find_pages(root)]
    asked = [read_about(found["about"], str(path)) for path, text in texts for found in MARK.finditer(text)]
    return {(place_of(about)["protocol"], metric) for about in asked for metric in about["metrics"].split(",")}


def remake_pages(root: Path, scores: pd.DataFrame, studies: Studies) -> dict[Path, str]:
    """What each page with a marked table should say. scores: rows of `leaderboard.results.read_results`, and `studies`
    finds the study of a paper's table in the same results.

    Raises PageError for a comment with another key, and for a method, split or metric that is not committed.
    """
    pages = {path: path.read_text(encoding="utf-8") for path in find_pages(root)}
    marked = {path: text for path, text in pages.items() if MARK.search(text) or STUDY.search(text)}
    parts = part_scores(scores) if marked else {}
    return {path: remake_studies(remake(text, parts, str(path)), studies, str(path)) for path, text in marked.items()}


def part_scores(scores: pd.DataFrame) -> Parts:
    """The rows by data set, split, protocol and suite: told apart once, for all tables."""
    return {tuple(map(str, place)): rows for place, rows in scores.groupby(list(PLACE))}


def remake(text: str, parts: Parts, where: str) -> str:
    """The page with every marked table made anew."""

    def replace(found: re.Match[str]) -> str:
        about = read_about(found["about"], where)
        place = tuple(place_of(about).values())
        if place not in parts:
            raise PageError(f"{where}: no committed scores for {', '.join(place)}")
        lines = make_table(about, parts[place], where)
        return f"<!-- board {found['about']} -->\n" + "".join(f"{line}\n" for line in lines)

    return MARK.sub(replace, text)


def read_about(text: str, where: str) -> dict[str, str]:
    """The comment's `key=value` words; raises PageError for a strange key or a lacking one."""
    words = [word.partition("=") for word in shlex.split(text)]
    about = {key: value for key, _, value in words}
    strange = [key for key, _, value in words if key not in KEYS or not value]
    lacking = [key for key in NEEDED if key not in about]
    if strange or lacking:
        problem = f"has {strange[0]!r}" if strange else f"lacks {lacking[0]}="
        raise PageError(f"{where}: <!-- board {text} --> {problem}; it may hold {', '.join(f'{key}=' for key in KEYS)}")
    return about


def place_of(about: Mapping[str, str]) -> dict[str, str]:
    """The values of `PLACE` that a comment asks for."""
    return {**dict.fromkeys(PLACE, ""), "protocol": "corrected", "suite": "mini"} | {
        name: about[name] for name in PLACE if name in about
    }


def make_table(about: Mapping[str, str], scores: pd.DataFrame, where: str) -> Iterator[str]:
    """The lines of a table in Markdown."""
    methods, metrics = about["methods"].split(","), about["metrics"].split(",")
    asked = place_of(about)
    minus = about.get("minus")
    needed = dict.fromkeys([*methods, *([minus] if minus else [])])
    rows = scores[(scores[list(asked)] == pd.Series(asked)).all(axis=1)]
    rows = rows[(rows["classes"] == int(about.get("classes", 40))) & rows["metric"].isin(metrics)]
    rows = rows[pd.MultiIndex.from_frame(rows[["method", "variant"]]).isin([split_name(one) for one in needed])]
    named = rows[["method", "variant", "metric"]].drop_duplicates()
    there = set(zip(map(join_name, named["method"], named["variant"]), named["metric"], strict=True))
    if absent := [(method, metric) for method in needed for metric in metrics if (method, metric) not in there]:
        raise PageError(f"{where}: no committed scores of {' in '.join(absent[0])} for {', '.join(asked.values())}")
    found = {(join_name(row["method"], row["variant"]), row["metric"]): row for _, row in result_table(rows).iterrows()}
    first, *others = methods
    subjects = int(found[first, metrics[0]]["n_subjects"])
    counted = f"{about['split']}, {subjects} subject{'s' * (subjects > 1)}"
    heads = [counted, f"`{first}`", "minus shuffled", *(f"`{one}`" for one in others)]
    heads += [f"`{first}` − `{minus}`"] if minus else []
    yield tell_line(heads)
    yield "|" + "---|" * len(heads)
    differences: dict[str, pd.Series] = {}
    if minus:
        pair = split_name(first), split_name(minus)
        both = rows[pd.MultiIndex.from_frame(rows[["method", "variant"]]).isin(pair)]
        compared = compare_methods(both, *pair)
        differences = {row["metric"]: row for _, row in compared.iterrows()}
    for metric in metrics:
        ours = found[first, metric]
        cells = [explain_metric(metric).title, tell(ours, "value", "low", "high")]
        cells.append(tell(ours, "difference_to_shuffled", "difference_low", "difference_high"))
        cells += [show(found[one, metric]["value"]) for one in others]
        if minus:
            cells.append(tell(differences[metric], "a_minus_b", "a_minus_b_low", "a_minus_b_high"))
        yield tell_line(cells)


def split_name(name: str) -> tuple[str, str]:
    """A column's method and variant.

    >>> split_name("sam_net"), split_name("sam_net.wo_latent")
    (('sam_net', 'base'), ('sam_net', 'wo_latent'))
    """
    method, _, variant = name.partition(".")
    return method, variant or "base"


def join_name(method: str, variant: str) -> str:
    """The column of a method and a variant: what `split_name` takes apart."""
    return method if variant == "base" else f"{method}.{variant}"


def tell_line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def tell(row: pd.Series, value: str, low: str, high: str) -> str:
    return f"{show(row[value])} [{show(row[low])}, {show(row[high])}]"
