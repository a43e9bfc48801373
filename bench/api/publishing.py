"""Publishing: a store's results or a submission into the committed results, and the board that they make."""

from __future__ import annotations

import functools
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api import names
from bench.api.setting import Setting
from bench.core.errors import BenchError
from bench.core.paths import find_checkout
from bench.core.progress import say

if TYPE_CHECKING:
    import pandas as pd

    from bench.doors.bundles import Verified
    from bench.store.cells import Cell, Store


def publish(
    *,
    dataset: str = "phantom_eeg",
    data_root: str | Path | None = None,
    suite: str = "mini",
    classes: int | None = None,
    runs: str | Path = "runs",
    results: str | Path | None = None,
) -> list[Path]:
    """Copy manifests, scores and a few clips of a store's current cells into the committed results; returns the files.

    `classes` None takes all subsets. Raises BenchError where the store holds nothing current of the data set, and
    without `results` where the package is no checkout.
    """
    place = choose_place(results, "leaderboard/results", "--results")
    from bench.harness.shelf import current_cells
    from bench.store.cells import Store
    from leaderboard.results import REPRODUCED
    from metrics.protocols import PROTOCOLS

    asked = (classes,) if classes else names.CLASSES
    setting = Setting(dataset=dataset, data_root=data_root, suite=suite, classes=asked[0], runs=runs)
    nothing = f"{runs} holds no cells of {dataset} as it is now; run a method first"
    if not setting.has_store:
        raise BenchError(nothing)
    opened, loaded = setting.open(make=False)
    store = Store(runs)
    cells = {cell.key: cell for number in asked for cell in current_cells(store, opened, loaded, number)}
    tried = "["  # --set tries things out: such variants are named so
    whole = [cell for _, cell in sorted(cells.items()) if tried not in cell.manifest["variant"]]
    whole = [cell for cell in whole if cell.manifest["spec"]["dataset"] == dataset]
    if not whole:
        raise BenchError(nothing)
    return commit_cells(store, whole, tuple(PROTOCOLS), opened, loaded, place, REPRODUCED)


def publish_bundle(
    bundle: str | Path, *, data_root: str | Path | None = None, results: str | Path | None = None
) -> list[Path]:
    """Verify a submission and put it into the committed results; returns the files.

    Raises BenchError for a bundle of several data sets, and for what would stand as a floor or ceiling.
    """
    place = choose_place(results, "leaderboard/results", "--results")
    from leaderboard.results import SUBMITTED
    from leaderboard.tables import SEES_BRAIN

    with open_submission(bundle, data_root=data_root) as verified:
        manifests = [cell.manifest for cell in verified.cells]
        sets = sorted({manifest["spec"]["dataset"] for manifest in manifests})
        if len(sets) > 1:
            raise BenchError(f"{bundle} is of {', '.join(sets)}; publish a bundle of each data set")
        setting = Setting(dataset=sets[0], data_root=data_root, suite=manifests[0]["spec"]["suite"])
        opened, loaded = setting.open(make=False)
        for manifest in manifests:
            if manifest["role"] not in SEES_BRAIN:
                raise BenchError(f"{bundle} holds a {manifest['role']}; only methods and baselines are submitted")
            if manifest["phantom"] != (opened.truth is not None):
                raise BenchError(f"{bundle} is wrong about whether {sets[0]} is a phantom; pack it again")
        return commit_cells(verified.store, verified.cells, verified.protocols, opened, loaded, place, SUBMITTED)


def commit_cells(
    store: Store,
    cells: list[Cell],
    protocols: tuple[str, ...],
    dataset: Any,
    suite: Any,
    place: Path,
    door: str,
) -> list[Path]:
    """Write the cells' manifests, scores and clips below the folder of results."""
    from bench.scoring.stored import read_scores
    from bench.scoring.views import Viewer
    from leaderboard.results import publish
    from leaderboard.web.clip_export import export_clips

    scores = read_scores(cells, Viewer(suite.judges, dataset.concepts), protocols)
    written = publish(cells, scores, place, door=door)
    clips = export_clips(cells, dataset, scores, place)
    size = sum(path.stat().st_size for path in clips) / 2**20
    say(f"{len(cells)} cells in {len(written)} files, and {size:.1f} MiB of clips, below {place}; next: board")
    return [*written, *clips]


def make_board(*, results: str | Path | None = None, output: str | Path | None = None) -> list[Path]:
    """Write LEADERBOARD.md, its exports and its site from the committed results; returns the files.

    Raises BenchError without `output` where the package is no checkout.
    """
    place = choose_place(output, "leaderboard", "--output")
    names.check_output(place / "LEADERBOARD.md")
    written = write_board_files(read_committed(results), results, place)
    say(f"{len(written)} files of the board, the first {written[0]}, its site {place / 'site' / 'index.html'}")
    return written


def check_board(*, results: str | Path | None = None, output: str | Path | None = None) -> list[str]:
    """The names of the board's files that are not what the committed results make; writes nothing there."""
    from leaderboard.web.site import list_media

    place = choose_place(output, "leaderboard", "--output")
    scores = read_committed(results)
    with tempfile.TemporaryDirectory() as folder:
        made = write_board_files(scores, results, Path(folder))
        file_names = [str(path.relative_to(folder)) for path in made]
        stale = [name for name in file_names if differ(Path(folder) / name, place / name)]
    return stale + [
        name for path in list_media(place / "site") if (name := str(path.relative_to(place))) not in file_names
    ]


def export_hub(folder: str | Path, *, results: str | Path | None = None) -> list[Path]:
    """Write every committed clip's scores as a data set for the Hugging Face hub, with its card; returns the files."""
    from leaderboard.web.hub import write_hub

    scores = read_committed(results)
    card, *files = write_hub(scores, Path(folder))
    say(f"{len(scores)} scores in {len(files)} files below {folder}, with a card: {card}")
    return [card, *files]


def choose_place(named: str | Path | None, default: str, option: str) -> Path:
    """The folder that was named, or that of the checkout. Raises BenchError where the package is installed instead."""
    if named is not None:
        return Path(named)
    checkout = find_checkout()
    if checkout is None:
        raise BenchError(
            f"this package is installed, and its {default} is not yours to write: name a folder with {option} DIR, or "
            "work in a checkout of the sources"
        )
    return checkout / default


def read_committed(results: str | Path | None) -> pd.DataFrame:
    """The committed score rows. Raises BenchError where there are none."""
    from leaderboard.results import RESULTS, read_results

    scores = read_results(Path(results or RESULTS))
    if scores.empty:
        raise BenchError(f"no committed results below {results or RESULTS}; `publish` puts some there")
    return scores


def write_board_files(scores: pd.DataFrame, results: str | Path | None, place: Path) -> list[Path]:
    """All files of a board below `place`, the page first."""
    from leaderboard import publication
    from leaderboard.board import make_board as make_sections
    from leaderboard.results import RESULTS
    from leaderboard.web.clip_wall import read_walls
    from leaderboard.web.site import write_site

    sections, walls = make_sections(scores), read_walls(Path(results or RESULTS))
    return [*publication.write_board(sections, place), *write_site(sections, walls, place / "site")]


def differ(made: Path, there: Path) -> bool:
    return not there.is_file() or made.read_bytes() != there.read_bytes()


def pack(
    method: str,
    *,
    variant: str = "base",
    split: str | None = None,
    dataset: str | None = None,
    data_root: str | Path | None = None,
    suite: str = "mini",
    classes: int = 40,
    runs: str | Path = "runs",
    bundle: str | Path | None = None,
) -> Path:
    """Put a method's current cells with their scores and videos into one zip to submit; returns its path."""
    from bench.doors.bundles import pack_cells
    from bench.harness.shelf import current_cells
    from bench.scoring.views import Viewer
    from bench.store.cells import Store

    names.name_of(method)
    names.check_split(split)
    path = Path(bundle or f"{Path(method.partition(':')[0]).stem}.{variant}.zip")
    names.check_output(path, option="--bundle")
    setting = Setting(
        dataset=dataset or names.default_dataset(method), data_root=data_root, suite=suite, classes=classes, runs=runs
    )
    cells = []
    if setting.has_store:
        opened, loaded = setting.open(make=False)
        for cell in current_cells(Store(runs), opened, loaded, classes):
            spec = cell.manifest["spec"]
            asked = (method, variant, setting.dataset, split or spec["split"])
            if (spec["method"], cell.manifest["variant"], spec["dataset"], spec["split"]) == asked:
                cells.append(cell)
    if not cells:
        raise BenchError(
            f"{runs} holds no cells of {method} {variant} on {setting.dataset}, {split or 'any split'}, {classes} "
            f"classes, suite {suite}; run it first, or name what was run with --dataset, --split, --variant and --runs"
        )
    pack_cells(cells, Viewer(loaded.judges, opened.concepts), names.default_protocols(opened.modality), path)
    say(f"{len(cells)} cells, {path.stat().st_size / 2**20:.1f} MiB: {path}")
    return path


def verify(bundle: str | Path, *, data_root: str | Path | None = None) -> pd.DataFrame:
    """Check a bundle offline and score it again: a row a cell. Raises BadBundle for the first thing that is wrong."""
    with open_submission(bundle, data_root=data_root) as verified:
        return verified.report


def open_submission(bundle: str | Path, *, data_root: str | Path | None) -> AbstractContextManager[Verified]:
    """The bundle that was named, verified on the data that lie here."""
    from bench.datasets.catalogue import open_dataset
    from bench.doors.bundles import open_bundle
    from bench.pretrained.suite import load_suite

    open_data = functools.cache(lambda name: open_dataset(name, data_root=data_root))
    return open_bundle(Path(bundle), open_data, functools.cache(load_suite))
