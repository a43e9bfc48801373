"""What a table or a comparison asks, and the score rows that answer it: of a store, or of the committed results.

Where the store holds nothing of what was asked for, the committed results are shown, and it is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.setting import Setting
from bench.core.progress import say
from bench.core.variants import (
    MINI,
    is_in_profile,
    name_side,
)

if TYPE_CHECKING:
    import pandas as pd

    from bench.store.cells import Cell
    from metrics.protocols import Protocol

COMMITTED = "what is committed"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a shelf: a setting, protocols as they were named, one metric or all, and which shelf."""

    setting: Setting
    protocols: tuple[str, ...]
    rules: Mapping[str, Protocol]  # the same by what they call themselves, which scores carry
    metric: str | None
    published: bool
    profile: str | None  # None: the sides of a comparison name theirs
    results: Path | None  # a folder of committed results other than the project's

    def repeat(self) -> str:
        """The options of a command that asks for the same setting and profile."""
        return self.setting.repeat() + (f" --profile {self.profile}" if self.profile not in (None, MINI) else "")


def ask(
    setting: Setting,
    protocols: tuple[str, ...],
    rules: Mapping[str, Protocol],
    metric: str | None,
    published: bool,
    results: str | Path | None,
    profile: str | None,
) -> Question:
    """The question; naming a folder of committed results asks for what is committed."""
    folder = None if results is None else Path(results)
    asks = published or folder is not None
    return Question(
        setting=setting,
        protocols=protocols,
        rules=rules,
        metric=metric,
        published=asks,
        profile=profile,
        results=folder,
    )


def find_scores(
    question: Question, choose: Callable[[pd.DataFrame], pd.DataFrame]
) -> tuple[pd.DataFrame, str, pd.DataFrame]:
    """The score rows that `choose` takes, the name of the shelf that they come from, and all that it holds.

    They come from the store; from the committed results where those are asked for, or where the store has none of
    them, which is said. Empty where neither has them, with what is told of the shelf that was asked for. What the rows
    were not made alike in is in `attrs["notes"]`.
    """

    def take(scores: pd.DataFrame) -> pd.DataFrame:
        if scores.empty:
            return scores
        scores = scores[scores["protocol"].isin(list(question.rules))]
        if question.profile is not None:
            scores = scores[in_profile(scores, question.profile)]
        return choose(scores if question.metric is None else scores[scores["metric"] == question.metric])

    setting = question.setting
    if question.published:
        committed = read_committed(setting, question.results)
        return note_committed(take(committed), question.results), COMMITTED, committed
    held, cells, hidden, why = read_store(setting, question.protocols)
    scores = take(held)
    if not scores.empty:
        scores = note_stored(scores, cells, setting, question.protocols)
        scores.attrs["notes"] += note_hidden(scores, hidden)
        return scores, str(setting.runs), held
    committed = read_committed(setting)
    scores = take(committed)
    if scores.empty:
        return scores, str(setting.runs), held
    why = why or f"{setting.runs} holds nothing of it"
    say(f"{why}: these are the committed results, as `--published` shows them")
    return note_committed(scores), COMMITTED, committed


def in_profile(scores: pd.DataFrame, profile: str) -> list[bool]:
    """Which rows a table of a profile shows."""
    named = list(zip(scores["method"], scores["variant"], strict=True))
    shown = {(method, variant): is_in_profile(method, variant, profile) for method, variant in set(named)}
    return [shown[one] for one in named]


def with_notes(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    table.attrs["notes"] = [*scores.attrs.get("notes", []), *note_precisions(scores)]
    return table


def note_precisions(scores: pd.DataFrame) -> list[str]:
    """A line for each precision other than fp32, naming what was computed in it."""
    if "precision" not in scores:
        return []
    inexact = scores[scores["precision"].notna() & (scores["precision"] != "fp32")]
    found = inexact[["precision", "method", "variant"]].drop_duplicates()
    return [
        f"computed in {precision}: " + ", ".join(map(name_side, zip(part["method"], part["variant"], strict=True)))
        for precision, part in found.groupby("precision")
    ]


def note_stored(
    scores: pd.DataFrame, cells: Sequence[Cell], setting: Setting, protocols: tuple[str, ...]
) -> pd.DataFrame:
    """The rows, with what their cells and scores were not made alike in."""
    from bench.scoring.stored import compare_makings
    from bench.scoring.views import Viewer

    dataset, suite = setting.open(make=False)
    shown = set(scores["cell"])
    viewer = Viewer(suite.judges, dataset.concepts)
    scores.attrs["notes"] = compare_makings([cell for cell in cells if cell.key in shown], viewer, protocols)
    return scores


def note_committed(scores: pd.DataFrame, results: Path | None = None) -> pd.DataFrame:
    """The rows, with what their cells were not made alike in."""
    from bench.store.provenance import list_differences
    from leaderboard.results import RESULTS, read_manifests

    shown = set(scores["cell"]) if len(scores) else set()
    scores.attrs["notes"] = list_differences(
        (one["spec"]["method"], one.get("provenance", {}))
        for one in read_manifests(results or RESULTS)
        if one["key"] in shown
    )
    return scores


def note_hidden(scores: pd.DataFrame, hidden: Sequence[Cell]) -> list[str]:
    """What `tell_hidden` says of cells whose method and variant have rows here."""
    from bench.harness.shelf import tell_hidden

    there = set(zip(scores["method"], scores["variant"], strict=True))
    manifests = [cell.manifest for cell in hidden]
    return tell_hidden(one for one in manifests if (one["spec"]["method"], one["variant"]) in there)


def read_store(setting: Setting, protocols: tuple[str, ...]) -> tuple[pd.DataFrame, list[Cell], list[Cell], str]:
    """Score rows of the store's current cells, these cells, those in another precision, and why there can be none.

    The data set is opened and never made.
    """
    import pandas as pd

    if not setting.has_store:
        return pd.DataFrame(), [], [], f"there is no store {setting.runs}"
    from bench.datasets.catalogue import NotMade
    from bench.harness.shelf import current_cells
    from bench.scoring.stored import count_folds, read_scores
    from bench.scoring.views import Viewer
    from bench.store.cells import Store

    try:
        dataset, suite = setting.open(make=False)
    except NotMade:
        why = f"{setting.dataset} is not on this machine, so nothing in {setting.runs} is current"
        return pd.DataFrame(), [], [], why
    store = Store(setting.runs)
    cells: list[Cell] = []
    hidden: list[Cell] = []
    options: dict[str, Any] = {"precision": setting.precision, "hidden": hidden}
    for embeddings in {protocol == "embedding" for protocol in protocols}:
        cells += current_cells(store, dataset, suite, setting.classes, embeddings=embeddings, **options)
    scores = read_scores(cells, Viewer(suite.judges, dataset.concepts), protocols)
    return count_folds(scores, dataset), cells, hidden, ""


def read_committed(setting: Setting, results: Path | None = None) -> pd.DataFrame:
    """The committed score rows of a setting."""
    from leaderboard.results import RESULTS, read_results

    scores = read_results(results or RESULTS, dataset=setting.dataset)
    if scores.empty:
        return scores
    return scores[(scores["suite"] == setting.suite) & (scores["classes"] == setting.classes)]


def describe_holdings(question: Question, held: pd.DataFrame) -> str:
    """What there is instead: the data sets that the shelf has cells of, and the methods that it has scores of here."""
    from bench.store.cells import Store
    from leaderboard.results import RESULTS, read_manifests

    setting = question.setting
    if question.published:
        specs = [manifest["spec"] for manifest in read_manifests(question.results or RESULTS)]
    else:
        specs = [cell.manifest["spec"] for cell in Store(setting.runs).cells()] if setting.has_store else []
    sets = ", ".join(sorted({str(spec["dataset"]) for spec in specs})) or "nothing"
    told = f"it holds cells of {sets} (--dataset, --suite and --classes choose)"
    if held.empty:
        return told
    methods = ", ".join(dict.fromkeys(held["method"]))
    return f"{told}, and scores of {methods} here (--method NAME or --references shows these)"


def read_captions(setting: Setting, shelf: str) -> dict[int, str] | None:
    """The clips' captions where the store's own data set is open; the committed results come without."""
    if shelf == COMMITTED:
        return None
    dataset, _ = setting.open(make=False)
    stimuli = dataset.stimuli.to_pandas()
    return dict(zip(stimuli["clip"], stimuli["caption"], strict=True))
