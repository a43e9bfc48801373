"""The board as files: `LEADERBOARD.md`, a CSV, a JSON, and Hugging Face evaluation results (YAML model index).

Published videos stand beside the sections, in files of their own: `published.csv` and `published.json`. All are pure
functions of the sections, the published sets and the papers' reported numbers: the same results give the same bytes, so
CI can make them again and compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from huggingface_hub import EvalResult, ModelCardData

from bench.core.registry import describe, names
from leaderboard.board import Row, Section, write_number
from leaderboard.papers.reported import ReportedTable, load_table, table_names
from leaderboard.papers.unread import Work, load_unread
from leaderboard.published_board import ShownSet, set_rows, write_sets
from leaderboard.rendering import render

FOLDER = Path(__file__).parent
HEAD = """\
# Leaderboard

Made by `python -m bench board` from the committed results in `results/`; do not edit.

Every score stands between floors that see no brain and ceilings that cheat openly. Read a section so:

- **score [low, high]**: mean over clips within a subject, then over subjects, with its 95 % interval, as far
  as the metric goes (an accuracy from 0 to 1). As accuracies are skewed, the truth is more often above an interval than
  below (`leaderboard/stats/intervals.py` has the figures).
- **tier**: methods that the data cannot tell from the best of them share one; so one with wide intervals can be in the
  first tier below another that is shown to be worse. Behind it the ranks that a method can have, all of a section
  together with 95 %. Methods are ranked among themselves: the first tier may be no better than a floor.
- **brain share**: (score − best floor) / (ceiling − best floor), with its interval, bounded to −1..1. *share
  meaningless*: the best floor is not worse than the best ceiling, so nothing can be told of a brain.
- **coverage**: share of trials with a reconstruction, over all folds of the split; below 1 a row is listed, not ranked.
- **door**: *reproduced* here from code, or *submitted* as videos.
- *copies*, *no generator*, *above ceiling*: flags, no proofs. Videos that are near-copies of the true clips; that no
  generator of the suite makes; a score surely above its ceiling. A method is given no true test clip, but its process
  could read the files of a phantom, and submitted videos could be made by any means: so the videos are looked at. Of
  submitted ones also *filled* (one colour, or one video, for several clips) and *renamed* (other names fit far better).
- **↓**: worse than the best floor of that column. *not above floor*: not surely better than it.
- *n.s.*: not above its own shuffled brain. *partial*: some trials have no reconstruction. *one seed*: trained once, so
  nothing is known of its spread between seeds.
- A **phantom** is a synthetic recording: it shows that a method works here, and says nothing of a brain. `mini` is the
  suite of small networks that ships with the project.
- Methods are **rebuilt here** from what papers say of them, at the suite's size; each one's page says what is faithful.
  SAM-Net and CineNeuron were worked on longest. A low place says nothing of the method that its authors published.
"""
PHANTOMS = "**All that is ranked here is measured on phantoms, synthetic recordings: it says nothing about a brain.**\n"
REAL = """\
What was published of real recordings stands under *Published videos*: chosen by its authors, ranked with nothing.
"""
REPORTED = """\
## Reported by papers

As printed, on real data; never ranked with what was measured here. Most have no interval, and their metrics differ from
ours (`python -m bench list protocols`). *chance* is what guessing gets under the definition that the paper used. Each
table says where its numbers were read; what a paper leaves open is *not stated*.
[PAPERS.md](PAPERS.md) has the ten tables of SAM-Net and CineNeuron beside what was measured here.
"""
CLASSIFIED = """\
## Reported by papers: classification

Concepts or properties of a clip, told from the EEG (EEG-VP). No video is made, so it compares with no other table.
"""
UNREAD = """\
## Known, and not read

Works whose numbers are missing above in whole or in part, as their tables could not be read.
"""
COLUMNS = (
    "section",
    "dataset",
    "split",
    "classes",
    "suite",
    "phantom",
    "method",
    "role",
    "tier",
    "rank_low",
    "rank_high",
)


def write_board(
    sections: Sequence[Section], folder: Path = FOLDER, *, published: Sequence[ShownSet] = ()
) -> list[Path]:
    """Write `LEADERBOARD.md`, `board.csv`, `board.json` and `evaluation-results/<method>.yaml`; return their paths.

    Where there are published sets, also `published.csv` and `published.json`. Evaluation results of an earlier board,
    those of methods that have no row now, are removed.
    """
    rows = board_rows(sections)
    files = {
        "LEADERBOARD.md": write_markdown(
            sections, [load_table(name) for name in table_names()], load_unread(), published=published
        ),
        "board.csv": render(rows, "csv"),
        "board.json": render(rows, "json"),
    }
    if published:
        files |= {f"published.{format}": render(set_rows(published), format) for format in ("csv", "json")}
    for method in sorted({row.method for section in sections for row in section.ranked}):
        files[f"evaluation-results/{method}.yaml"] = write_evaluation(method, sections)
    for old in folder.glob("evaluation-results/*.yaml"):
        if f"evaluation-results/{old.name}" not in files and "\nmodel-index:\n" in old.read_text(encoding="utf-8"):
            old.unlink()
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [folder / name for name in files]


def write_markdown(
    sections: Sequence[Section],
    reported: Sequence[ReportedTable],
    unread: Sequence[Work] = (),
    *,
    published: Sequence[ShownSet] = (),
) -> str:
    """The whole of `LEADERBOARD.md`."""
    synthetic = [PHANTOMS] if sections and all(section.phantom for section in sections) else []
    if synthetic and any(not one.phantom for one in published):
        synthetic.append(REAL)
    parts = [HEAD, *synthetic, *(write_section(section) for section in sections)]
    if published:
        parts.append(write_sets(published))
    for head, task in ((REPORTED, "reconstruction"), (CLASSIFIED, "classification")):
        tables = [write_reported(table) for table in reported if table.task == task]
        parts += [head, *tables] if tables else []
    if unread:
        parts += [UNREAD, "\n".join(f"- **{work.name}**: {work.text}" for work in unread) + "\n"]
    return "\n".join(parts)


def write_section(section: Section) -> str:
    """Heading, table of at most eight columns, and what it generalises to."""
    kind = " (phantom)" if section.phantom else ""
    names = [metric.name.replace("_", " ").replace("way", "-way") for metric in section.metrics]
    rows = []
    for row in section.rows:
        rows.append([write_place(row), row.method, *write_scores(row, section), str(row.brain_share) or "–"])
        rows[-1] += [f"{row.coverage:.3g}", row.door]
    heads = ["tier (ranks)", "method", *names, "brain share", "coverage", "door"]
    table = render(pd.DataFrame(rows, columns=heads), "md")
    primary = section.primary
    chance = f", chance {primary.chance:.3g}" if isinstance(primary.chance, float) else ""
    about = (
        f"Ranked by {names[0]} ({primary.direction} is better{chance}); {section.design}; "
        f"suite {section.suite}, {section.classes} classes. "
        f"Intervals are for new {section.generalises_to}."
    )
    return f"## {section.dataset}{kind}: {section.split.replace('_', ' ')}\n\n{about}\n\n{table}"


def write_place(row: Row) -> str:
    if row.tier is None:
        return {"control": "floor", "ceiling": "ceiling"}.get(row.role, "not ranked")
    ranks = str(row.rank_low) if row.rank_low == row.rank_high else f"{row.rank_low}–{row.rank_high}"
    return f"{row.tier} ({ranks})"


def write_scores(row: Row, section: Section) -> list[str]:
    """The scores in the section's order; marks go with the first."""
    texts = [str(row.scores[metric.name]) if metric.name in row.scores else "" for metric in section.metrics]
    marks = [*row.marks, *(["one seed"] if row.role == "method" and row.seeds == 1 else [])]
    if np.isfinite(row.seed_sd):
        texts[0] += f" (seeds ± {write_number(row.seed_sd)})"
    texts[0] += "".join(f" *{mark}*" for mark in marks)
    return texts


def write_reported(table: ReportedTable) -> str:
    heads = [*table.stub, *table.columns]
    rows = []
    for row in table.rows:
        rows.append([*row.labels, *(cell.number.text for cell in row.cells)])
    chances = [cell.chance for cell in table.rows[0].cells] if table.rows else []
    if any(chance is not None for chance in chances):
        rows.append(
            ["*chance*", *[""] * (len(table.stub) - 1), *("" if c is None else write_number(c) for c in chances)]
        )
    body = render(pd.DataFrame(rows, columns=pd.Index(heads)), "md")
    notes = f"\n{' '.join(table.notes)}\n" if table.notes else ""
    return f"### {table.name}: {table.title}\n\n{table.origin} {table.about}\n\n{body}{notes}"


def board_rows(sections: Sequence[Section]) -> pd.DataFrame:
    """Every row of every section with all its numbers, a column a number: for programs."""
    records = []
    for section in sections:
        for row in section.rows:
            record = {
                "section": section.name,
                **{name: getattr(section, name) for name in ("dataset", "split", "classes", "suite", "phantom")},
                **{name: getattr(row, name) for name in ("method", "role", "tier", "rank_low", "rank_high")},
                **{name: getattr(row, name) for name in ("best_share", "coverage", "door", "parameters", "seeds")},
                "marks": " ".join(row.marks),
                "seed_sd": row.seed_sd,
                "shuffled": row.shuffled,
                "ranked_by": section.primary.name,
            }
            for name, score in (*row.scores.items(), ("brain_share", row.brain_share)):
                record |= {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high}
            records.append(record)
    table = pd.DataFrame(records)
    for name in table.select_dtypes("float").columns:  # six digits: the last ones differ between processors
        table[name] = [float(f"{value:.6g}") for value in table[name]]
    whole = [name for name in ("tier", "rank_low", "rank_high", "classes", "parameters", "seeds") if name in table]
    return table.astype(dict.fromkeys(whole, "Int64"))


def list_evaluations(method: str, sections: Sequence[Section]) -> list[EvalResult]:
    """The method's scores where it is ranked, as the Hugging Face hub's model cards hold them."""
    results = []
    for section in sections:
        for row in section.ranked:
            if row.method != method:
                continue
            results += [
                EvalResult(
                    task_type="brain-to-video",
                    task_name="Video reconstruction from brain recordings",
                    dataset_type=section.dataset,
                    dataset_name=f"{section.dataset}{' (phantom, synthetic)' if section.phantom else ''}",
                    dataset_split=section.split,
                    dataset_config=f"{section.classes} classes, suite {section.suite}",
                    metric_type=metric.name,
                    metric_name=f"corrected/{metric.name}",
                    metric_value=float(f"{score.value:.6g}"),
                    metric_config=f"95 % interval {score.low:.6g} to {score.high:.6g}",
                )
                for metric in section.metrics
                if (score := row.scores.get(metric.name)) is not None
            ]
    return results


def write_evaluation(method: str, sections: Sequence[Section]) -> str:
    """The method's scores as the metadata of a model card on the Hugging Face hub."""
    card = ModelCardData(model_name=method, eval_results=list_evaluations(method, sections))
    about = describe("methods", method) if method in names("methods") else method  # results outlive a package
    return f"# {about}\n{card.to_yaml()}\n"
