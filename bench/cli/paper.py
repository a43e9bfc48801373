"""A paper's table as `bench run --paper` and `bench table --paper` print it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench
from bench.cli.options import settle_format, show
from bench.core.errors import BenchError
from bench.core.progress import complain, say

if TYPE_CHECKING:
    import pandas as pd

    from bench.core.hardware import Precision
    from leaderboard.papers.measure import Survey

ALL = "all"


def show_paper(
    table: bench.PaperTable,
    format: str,
    output: Path | None,
    *,
    runs: Path,
    data_root: Path | None,
    precision: Precision = "fp32",
) -> None:
    """Reported beside measured, and the command that fills what is not."""
    from leaderboard.papers.narrow import tell_paper
    from leaderboard.rendering import render, write

    named = table.survey.table
    if format == "text" and output is None:
        write(tell_paper(table.records, table.differences, named), output)
    else:
        format = settle_format(format, output)
        text = render(table.records if format in ("csv", "json") else table.lay_out(), format)
        write(f"{named.name}: {named.title}\n\n{text}" if format == "md" else text, output)
    if output is not None:
        say(f"written: {output}")
    if table.lacking:
        say(
            f"{table.lacking} of {len(table.records)} numbers are not run, or only in part; fill in with "
            f"`{fill_in(table.survey, runs, data_root, precision)}`"
        )
    tell_absent(table.survey)
    tell_notes(table.notes)


def show_differences(
    table: bench.PaperTable,
    format: str,
    output: Path | None,
    *,
    runs: Path,
    data_root: Path | None,
    precision: Precision = "fp32",
) -> None:
    """What a paper's ablations claim, and whether it was measured."""
    show(table.differences, format, output)
    lacking = int((table.differences["verdict"] == "not run").sum())
    if lacking:
        say(
            f"{lacking} of {len(table.differences)} differences are not run; fill in with "
            f"`{fill_in(table.survey, runs, data_root, precision)} --seeds 3`"
        )
    tell_notes(table.notes)


def show_study(study: bench.Study, format: str, output: Path | None) -> None:
    """Each difference that a table's ablations claim, with its verdict."""
    from leaderboard.papers.study_text import tell_study
    from leaderboard.rendering import write

    if len(study.table) and format == "text" and output is None:
        write(tell_study(study.table), output)
    else:
        if len(study.table):
            show(study.table, format, output)
        say(study.sentence)
    for (need, level), reason in study.survey.absent.items():
        complain(
            f"cannot be read at the {level}: {need.method} {need.variant} on {need.dataset}, {need.split}: {reason}"
        )
    tell_notes(study.notes)


def show_all_papers(
    output: Path | None,
    *,
    dataset: str | None,
    data_root: Path | None,
    suite: str,
    profile: str,
    runs: Path,
    published: bool,
    results: Path | None,
    precision: Precision = "fp32",
) -> None:
    """The tables of both papers in one page of Markdown, each with the study of what its ablations claim."""
    from bench.api.papers import read_committed
    from leaderboard.papers.study_page import lay_out_study, price, tell_counts
    from leaderboard.rendering import render, write

    command = "python -m bench table --paper all"
    command += f" --results {results}" if results else " --published" if published else ""
    command += f" --dataset {dataset}" if dataset else ""
    command += f" --profile {profile}" if profile != "mini" else ""
    command += f" --precision {precision}" if precision != "fp32" else ""
    committed = read_committed(results) if published or results else None  # once for all tables
    asked: dict[str, Any] = {"dataset": dataset, "data_root": data_root, "suite": suite, "profile": profile}
    asked |= {"runs": runs, "results": committed, "precision": precision}
    parts, lacking, notes = [], 0, dict[str, None]()
    studies: dict[str, pd.DataFrame] = {}
    prices: dict[str, dict[str, float]] = {}
    for name in bench.paper_names():
        table = bench.paper_table(name, **asked)
        notes |= dict.fromkeys(f"{name}: {note}" for note in table.notes)
        parts.append(f"## {name}: {table.survey.table.title}\n\n{render(table.lay_out())}")
        if table.lacking:
            fill = fill_in(table.survey, runs, data_root, precision)
            parts.append(f"{table.lacking} of {len(table.records)} numbers are not run, or only in part: `{fill}`.\n")
            lacking += table.lacking
        if len(table.differences):
            study = bench.study(name, **asked)
            notes |= dict.fromkeys(f"{name}: {note}" for note in study.notes)
            studies[name] = study.table
            if committed:
                prices[name] = price(study.survey, committed.manifests())
            where = ", ".join(dict.fromkeys(study.table["dataset"]))
            told = f"What its ablations claim, and what was found on {where} "
            told += f"(`python -m bench table --paper {name} --study`):"
            parts.append(f"{told}\n\n{render(lay_out_study(studies[name]))}")
    made = f" from the committed results ({committed.digest})" if committed else ""
    head = [f"# The tables of both papers, reported beside measured\n\nMade by `{command}`{made}.\n"]
    head += [f"{note}.\n" for note in notes]
    head += tell_counts(studies, prices) if studies else []
    write("\n".join([*head, *parts]), output)
    say(f"{lacking} numbers are not run, or only in part")
    tell_notes(notes)


def check_page(format: str, differences: bool) -> None:
    """Raises BenchError for options that do not go with the page of all tables."""
    if format not in ("text", "md") or differences:
        raise BenchError("--paper all is one page of Markdown with the differences in it; leave the other options out")


def fill_in(survey: Survey, runs: Path, data_root: Path | None, precision: Precision) -> str:
    """The command that runs what the table lacks."""
    parts = [f"python -m bench run --paper {survey.table.name}"]
    parts += [f"--dataset {survey.asked}"] if survey.asked else []
    parts += [f"--data-root {data_root}"] if data_root else []
    parts += [f"--suite {survey.suite}"] if survey.suite != "mini" else []
    parts += [f"--profile {survey.profile}"] if survey.profile != "mini" else []
    parts += [f"--precision {precision}"] if precision != "fp32" else []
    parts += [f"--runs {runs}"] if str(runs) != "runs" else []
    return " ".join(parts)


def tell_notes(notes: Iterable[str]) -> None:
    """Say what the store holds that is left out."""
    for note in notes:
        say(note)


def tell_absent(survey: Survey) -> None:
    """Say what of a table cannot be run, and why."""
    for need, reason in survey.absent.items():
        complain(f"cannot be run: {need.method} {need.variant} on {need.dataset}, {need.split}: {reason}")
