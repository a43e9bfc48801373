"""What papers report: their tables as TOML files in `reported/`, one file a table, read into frozen dataclasses.

    title = "…"                              # what the table is about
    source = "…"                             # authors and title
    place = "Table 2"                        # where in it; absent where that is not known
    published = "NeurIPS 2025, arXiv …"      # venue or arXiv id, or both
    read = "paper"                           # where the numbers were read: `READ` has the choices
    review = "fmri2video.md §5"              # with read = "review": where in it
    task = "classification"                  # optional: of the EEG, with no reconstruction
    common = { dataset = "seed_dv", … }      # optional: holds for every cell, unless its column or row says otherwise
    notes = ["…"]                            # optional: what a reader has to know
    columns = [{ group = "Video-based", name = "2-way", metric = "eeg2video.video_2way" }, …]
    stub = ["Cls", "Method"]                 # heads of the columns that name a row
    grid = [["10", "DynaMind", "0.847±0.01", "-"], …]       # as printed: names, then numbers; "-": none
    rows = [{ row = "10 / DynaMind", method = "dynamind", classes = 10 }, …]   # optional: of each row, in order

The order of rows and columns is the paper's, a number is the text that is printed. `common`, columns and rows together
say of each cell what it is and what of ours stands beside it:

    metric     protocol.metric, or one for each data set: { cc2017 = "neuroclips.ssim", cinebrain = "cinebrain.ssim" };
               direction and exact chance level come from its `MetricSpec`
    defined    in words, where no protocol has the metric; then also `direction`, and `chance` where it is known
    instead    protocol.metric that is measured where `metric` cannot be
    dataset, method, variant ("base"), split, classes (40)     the cells of ours; no method: the row is reported only
    of         "mean" over subjects, or "best": one subject, the best by the metric `best_by`, as papers print it
    subject    the one subject that the paper reports (of real data only that subject is measured)
    subjects   of how many subjects the reported number is; absent where it is not known
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.core.errors import BenchError
from bench.core.registry import suggest
from metrics.protocols import PROTOCOLS, MetricSpec

FOLDER = Path(__file__).parents[1] / "reported"
NUMBER = re.compile(r"(\d+(?:\.\d+)?)(?:±(\d+(?:\.\d+)?))?(%?)")
ABSENT = "-"
DATASETS = ("seed_dv", "cc2017", "cinebrain", "cinebrain_eeg")
SPLITS = ("single_subject", "cross_subject", "new_subject")
CLASSES = (10, 20, 30, 40)
TEXTS = ("defined", "method", "variant")  # about a cell, any text
CHOICES = {"dataset": DATASETS, "split": SPLITS, "classes": CLASSES, "of": ("mean", "best")}
CHOICES["direction"] = ("higher", "lower")
METRICS = ("metric", "instead", "best_by")
NUMBERS = ("chance", "subject", "subjects")
ABOUT = (*TEXTS, *CHOICES, *METRICS, *NUMBERS)
READ = {
    "paper": "Read in the paper.",
    "abstract": "Read in the abstract alone.",
    "review": "Copied from the project's review of the field ({review}).",
}
TASKS = ("reconstruction", "classification")
NEEDED = ("title", "source", "published", "read", "columns", "stub", "grid")
KEYS = (*NEEDED, "place", "review", "task", "common", "notes", "rows")


class ReportedError(BenchError):
    """A file of reported numbers that cannot be used, or a table that is not there."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """A printed number: its text, its value and what stands after ±, in the units of the paper; None where absent."""

    text: str
    value: float | None = None
    spread: float | None = None


@dataclass(frozen=True, kw_only=True)
class ReportedCell:
    """One number of a table, what it measures, and what of ours stands beside it (`method` None: nothing)."""

    number: Number
    dataset: str
    metric: str | None = None  # protocol.metric
    defined: str = ""
    instead: str | None = None
    direction: Literal["higher", "lower"] = "higher"
    chance: float | None = None
    subjects: int | None = None
    subject: int | None = None
    method: str | None = None
    variant: str = "base"
    split: str | None = None
    classes: int = 40
    of: Literal["mean", "best"] = "mean"
    best_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReportedRow:
    labels: tuple[str, ...]
    cells: tuple[ReportedCell, ...]


@dataclass(frozen=True, kw_only=True)
class ReportedTable:
    """One table of one paper: rows and columns in the paper's order."""

    name: str
    title: str
    source: str
    place: str
    published: str
    read: str
    review: str
    task: Literal["reconstruction", "classification"]
    notes: tuple[str, ...]
    stub: tuple[str, ...]
    columns: tuple[str, ...]  # "Video-based 2-way"
    rows: tuple[ReportedRow, ...]

    @property
    def citation(self) -> str:
        """Authors, title and number of the table."""
        return ", ".join(filter(None, (self.source, self.place)))

    @property
    def origin(self) -> str:
        """The citation, where it was published and where its numbers were read, in sentences."""
        return f"{self.citation} ({self.published}). {READ[self.read].format(review=self.review)}"

    @property
    def about(self) -> str:
        """Data, split, protocol and subjects of its numbers, in the order of their appearance, in sentences."""
        cells = [cell for row in self.rows for cell in row.cells]
        told: dict[str, list[str | None]] = {
            "Data": [cell.dataset for cell in cells],
            "Split": [cell.split and cell.split.replace("_", " ") for cell in cells],
            "Scored by": [cell.metric.partition(".")[0] if cell.metric else "its own definition" for cell in cells],
            "Subjects": [str(cell.subjects) if cell.subjects else None for cell in cells],
        }
        return " ".join(
            f"{head}: {', '.join(dict.fromkeys(value or 'not stated' for value in values))}."
            for head, values in told.items()
        )

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols that its cells are scored by, in order of appearance."""
        named = [
            text.partition(".")[0]
            for row in self.rows
            for cell in row.cells
            for text in (cell.metric, cell.instead, cell.best_by)
            if text
        ]
        return tuple(dict.fromkeys(named))


def table_names(folder: Path | None = None) -> list[str]:
    """All tables, SAM-Net's and CineNeuron's first."""
    names = [path.stem for path in (folder or FOLDER).glob("*.toml")]
    ours = ("sam_net", "cine_neuron")
    return sorted(names, key=lambda name: (not name.startswith(ours), name.startswith("cine_neuron"), name))


def load_table(name: str, folder: Path | None = None) -> ReportedTable:
    """The table of that name; raises ReportedError for one that is not there or whose file is malformed."""
    folder = folder or FOLDER
    path = folder / f"{name}.toml"
    known = table_names(folder)
    if name not in known:
        raise ReportedError(f"unknown table {name!r}{suggest(name, known)}; there are {', '.join(known)}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ReportedError(f"{path} is no valid TOML: {error}") from error
    lacking = [key for key in NEEDED if not content.get(key)]
    strange = [key for key in content if key not in KEYS]
    if lacking or strange:
        problem = f"lacks {', '.join(lacking)}" if lacking else f"has the unknown key {strange[0]!r}"
        raise ReportedError(f"{path} {problem}; a table has {', '.join(KEYS)}")
    check_origin(path, content)
    columns, stub, grid = content["columns"], content["stub"], content["grid"]
    heads = [" ".join(filter(None, (column.get("group"), column.get("name")))) for column in columns]
    if not all(column.get("name") for column in columns) or len(set(heads)) < len(heads):
        raise ReportedError(f"{path}: columns {heads}: each needs a name, and no two the same group and name")
    labels = [read_labels(path, row, len(stub), len(columns)) for row in grid]
    rows = content.get("rows", [{}] * len(grid))
    check_rows(path, rows, labels)
    common = content.get("common", {})
    return ReportedTable(
        name=name,
        title=content["title"],
        source=content["source"],
        place=content.get("place", ""),
        published=content["published"],
        read=content["read"],
        review=content.get("review", ""),
        task=content.get("task", TASKS[0]),
        notes=tuple(content.get("notes", ())),
        stub=tuple(stub),
        columns=tuple(heads),
        rows=tuple(
            ReportedRow(
                labels=label,
                cells=tuple(
                    read_cell(f"{path}: row {join(label)!r}, column {head!r}", text, common, column, row)
                    for head, text, column in zip(heads, line[len(stub) :], columns, strict=True)
                ),
            )
            for label, line, row in zip(labels, grid, rows, strict=True)
        ),
    )


def check_origin(path: Path, content: Mapping[str, Any]) -> None:
    """Raises ReportedError unless it says where the numbers were read, and in which place of that."""
    read, task = content["read"], content.get("task", TASKS[0])
    if read not in READ or task not in TASKS:
        key, value, allowed = ("read", read, READ) if read not in READ else ("task", task, TASKS)
        raise ReportedError(f"{path}: {key} = {value!r}; allowed are {', '.join(allowed)}")
    place = "review" if read == "review" else "place"
    if not content.get(place):
        raise ReportedError(f"{path}: read = {read!r} needs {place}, where in it the numbers stand")
    if read != "review" and content.get("review"):
        raise ReportedError(f"{path}: review = {content['review']!r} goes with read = 'review', not with {read!r}")


def read_labels(path: Path, row: Any, labels: int, columns: int) -> tuple[str, ...]:
    if not isinstance(row, list) or len(row) != labels + columns or not all(isinstance(cell, str) for cell in row):
        raise ReportedError(f"{path}: grid row {row} must hold {labels} names and {columns} numbers, all as text")
    return tuple(row[:labels])


def check_rows(path: Path, rows: Sequence[Any], labels: Sequence[tuple[str, ...]]) -> None:
    """Raises ReportedError unless `rows` has one entry for each row of the grid, in order, under the row's own name."""
    if len(rows) != len(labels):
        raise ReportedError(f"{path}: {len(rows)} entries in rows for a grid of {len(labels)} rows; each needs one")
    for row, label in zip(rows, labels, strict=True):
        if row and row.get("row") != join(label):
            raise ReportedError(f"{path}: rows has {row.get('row')!r} where the grid has {join(label)!r}; same order")


def join(labels: Sequence[str]) -> str:
    return " / ".join(filter(None, labels))


def read_cell(where: str, text: str, *parts: Mapping[str, Any]) -> ReportedCell:
    """A cell of what common, column and row say of it, the last one first; raises ReportedError, naming the place."""
    about: dict[str, Any] = {}
    for part in parts:
        about |= {key: value for key, value in part.items() if key not in ("row", "name", "group")}
    check_about(where, about)
    for name in METRICS:
        if isinstance(about.get(name), dict):
            about[name] = about[name].get(about["dataset"])
    spec = None
    for name in METRICS:
        if about.get(name) is not None:
            found = find_spec(where, about[name])
            spec = found if name == "metric" else spec
    if spec is None and not about.get("defined"):
        raise ReportedError(f"{where}: name its metric as protocol.metric, or say in `defined` what it is")
    if spec is not None:
        exact = spec.chance if isinstance(spec.chance, float) else None
        if "chance" in about and exact is not None:
            raise ReportedError(f"{where}: chance {about['chance']} repeats what {about['metric']} knows ({exact:.4g})")
        about |= {"direction": spec.direction, "chance": about.get("chance", exact)}
    if about.get("of") == "best" and not about.get("best_by"):
        raise ReportedError(f"{where}: the best subject by what? name best_by as protocol.metric")
    if about.get("method") and not about.get("split"):
        raise ReportedError(f"{where}: method {about['method']!r} needs a split ({', '.join(SPLITS)})")
    return ReportedCell(number=read_number(where, text), **about)


def check_about(where: str, about: Mapping[str, Any]) -> None:
    strange = [key for key in about if key not in ABOUT]
    if strange:
        raise ReportedError(f"{where}: unknown key {strange[0]!r}; allowed are {', '.join(ABOUT)}")
    if "dataset" not in about:
        raise ReportedError(f"{where}: needs a dataset, one of {', '.join(DATASETS)}")
    for key, allowed in CHOICES.items():
        if key in about and about[key] not in allowed:
            raise ReportedError(f"{where}: {key} = {about[key]!r}; allowed are {', '.join(map(str, allowed))}")
    for key in TEXTS:
        if not isinstance(about.get(key, ""), str):
            raise ReportedError(f"{where}: {key} = {about[key]!r} must be text")
    for key in NUMBERS:
        value = about.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise ReportedError(f"{where}: {key} = {value!r} must be a number above 0")


def find_spec(where: str, name: Any) -> MetricSpec:
    """The metric behind `protocol.metric`."""
    protocol, _, metric = str(name).partition(".")
    if protocol not in PROTOCOLS:
        raise ReportedError(f"{where}: {name!r} is no protocol.metric; protocols are {', '.join(PROTOCOLS)}")
    try:
        return PROTOCOLS[protocol][metric]
    except KeyError as error:
        raise ReportedError(f"{where}: {error.args[0]}") from error


def read_number(where: str, text: str) -> Number:
    """The printed text as a number; raises ReportedError for anything but 0.123, 0.123±0.01, 12.3% or -."""
    if text == ABSENT:
        return Number(text=text)
    found = NUMBER.fullmatch(text)
    if not found:
        raise ReportedError(f"{where}: {text!r} is no number; allowed are 0.123, 0.123±0.01, 12.3% and {ABSENT}")
    value, spread, _ = found.groups()
    return Number(text=text, value=float(value), spread=None if spread is None else float(spread))
