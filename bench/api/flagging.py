"""What is flagged of cells in words: their videos (`bench.scoring.flags`), and scores above the ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.setting import Setting
from bench.core.progress import track
from bench.core.spec import EMBEDDING

if TYPE_CHECKING:
    import pandas as pd

    from bench.doors.bundles import Verified
    from bench.store.cells import Cell
    from leaderboard.results import Committed

ABOVE = ("corrected", EMBEDDING)  # protocols by which a score above its ceiling is looked for
Flags = Mapping[str, Mapping[str, str]]  # key of a cell: flag: reason


def flag_cells(cells: Sequence[Cell], dataset: Any, suite: Any) -> Flags:
    """The flags of each cell's videos, looked for where that was not done yet."""
    from bench.scoring.flags import flag_cell

    shown = [cell for cell in cells if cell.shows_videos]
    flags = {cell.key: flag_cell(cell, dataset, suite) for cell in track(shown, "looking at the videos")}
    return {**{cell.key: {} for cell in cells}, **flags}


def flag_brought(cells: Sequence[Cell], dataset: Any, suite: Any) -> Flags:
    """As `flag_cells`, of a bundle that was verified: what this machine found in the same pixels is recalled."""
    from bench.doors.recalled import digest_looked, keep, recall
    from bench.scoring.flags import ALL, flag_key

    flags: dict[str, Mapping[str, str]] = {}
    for cell in cells:
        looked = digest_looked(cell, dataset, suite)
        missing = recall(cell, [flag_key(cell, kind) for kind in ALL], looked)
        flags |= flag_cells([cell], dataset, suite)
        keep(cell, missing, looked)
    return flags


def flag_submission(verified: Verified, data_root: str | Path | None) -> dict[str, str]:
    """Of each cell of a verified bundle what is flagged, in words; empty where nothing is."""
    import pandas as pd

    from bench.scoring.stored import count_folds, read_scores
    from bench.scoring.views import Viewer
    from leaderboard.admission import canonical_dataset

    told: dict[str, list[str]] = {cell.key: [] for cell in verified.cells}
    by_setting: dict[tuple[str, str], list[Cell]] = {}
    for cell in verified.cells:
        by_setting.setdefault((cell.manifest["spec"]["dataset"], cell.manifest["spec"]["suite"]), []).append(cell)
    for (name, networks), mine in by_setting.items():
        dataset, suite = Setting(dataset=name, data_root=data_root, suite=networks).open(make=False)
        for key, flags in flag_brought(mine, dataset, suite).items():
            told[key] += [f"{flag}: {reason}" for flag, reason in flags.items()]
        viewer = Viewer(suite.judges, dataset.concepts)
        scores = read_scores(mine, viewer, verified.protocols)
        scores = count_folds(scores, dataset).assign(dataset=canonical_dataset(name))
        references = read_references(dataset, suite)
        for cell in mine:
            own = pd.concat([references, scores[scores["cell"] == cell.key]], ignore_index=True)
            told[cell.key] += [line.partition(": ")[2] for line in tell_above([cell], own)]
    return {key: "; ".join(lines) for key, lines in told.items()}


def read_references(dataset: Any, suite: Any) -> pd.DataFrame:
    """The committed scores of floors and ceilings on the same data with the same networks."""
    from leaderboard.results import Committed
    from metrics.known import KNOWN_PROTOCOLS

    shelf = Committed()
    same = [
        one["key"]
        for one in shelf.manifests()
        if one["role"] in ("control", "ceiling")
        and (one["spec"]["data_digest"], one["spec"]["suite_digest"]) == (dataset.digest, suite.digest)
    ]
    return shelf.read(same, tuple(KNOWN_PROTOCOLS))


def tell_flags(cells: Sequence[Cell], flags: Flags) -> list[str]:
    """A line for each method variant, split and flag of the cells' videos, with the reason of the first."""
    lines: dict[Any, str] = {}
    for cell in cells:
        spec = cell.manifest["spec"]
        for flag, reason in flags[cell.key].items():
            about = (spec["method"], cell.manifest["variant"], spec["split"], flag)
            lines.setdefault(about, f"{' '.join(about[:3])} ({spec['fold']}): {flag}: {reason}")
    return list(lines.values())


def read_beside(cells: Sequence[Cell], committed: Committed) -> pd.DataFrame:
    """The committed scores that `tell_above` holds the cells' own against, with these."""
    from leaderboard.admission import canonical_dataset

    methods = {cell.manifest["spec"]["method"] for cell in cells}
    sets = {canonical_dataset(cell.manifest["spec"]["dataset"]) for cell in cells}
    asked = [
        one["key"]
        for one in committed.manifests()
        if canonical_dataset(one["spec"]["dataset"]) in sets
        and (one["spec"]["method"] in methods or one["role"] in ("control", "ceiling"))
    ]
    return committed.read(asked, ABOVE)


def tell_above(cells: Sequence[Cell], scores: pd.DataFrame) -> list[str]:
    """A line for each of the cells' method variants and splits with a score that is surely above its ceiling."""
    from leaderboard.admission import CLIPS, canonical_dataset
    from leaderboard.tables import result_table

    mine = {cell.manifest["spec"]["method"] for cell in cells}
    sets = {canonical_dataset(cell.manifest["spec"]["dataset"]) for cell in cells}
    ours = scores["method"].isin(mine)
    splits = set(scores["split"][ours]) | {CLIPS}
    asked = ours | scores["role"].isin(["control", "ceiling"])
    chosen = scores[asked & scores["dataset"].isin(sets) & scores["split"].isin(splits)]
    rows = result_table(chosen[chosen["protocol"].isin(ABOVE)])
    above = rows[rows["method"].isin(mine) & rows["mark"].str.contains("above ceiling")]
    lines: dict[Any, str] = {}
    for _, row in above.iterrows():
        about = f"{row['method']} {row['variant']} {row['split']}"
        why = f"{row['metric']} is {row['value']:.3g}, the ceiling {row['ceiling_name']} {row['ceiling']:.3g}"
        lines.setdefault(about, f"{about}: above ceiling: {why}")
    return list(lines.values())
