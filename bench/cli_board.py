"""Verbs of comparing, publishing and submitting; loaded by `bench.cli` when one of them is asked for."""

from __future__ import annotations

import argparse
import functools
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli import PUBLISHED, default_dataset, open_setting, show
from bench.cli_tables import is_current, name_shelf, read_shelf
from bench.core.errors import BenchError
from bench.core.progress import say
from bench.parser import CLASSES

if TYPE_CHECKING:
    import pandas as pd

    from bench.doors.bundles import Verified
    from bench.store.cells import Cell, Store


def compare(options: argparse.Namespace) -> int:
    from bench.scoring.lookup import find_protocols
    from leaderboard.comparison import compare_methods, list_extremes, parse_side
    from leaderboard.rendering import render, write

    a, b = parse_side(options.a), parse_side(options.b)
    options.dataset = options.dataset or default_dataset(a[0])
    rules = find_protocols([options.protocol])
    scores, captions = read_sides(options)
    scores = scores[scores["protocol"].isin(rules)]
    for name in ("split", "metric"):
        if asked := getattr(options, name):
            known = sorted(scores[name].unique())
            if asked not in known:
                raise BenchError(f"no scores of {name} {asked!r}; there are {', '.join(map(str, known)) or 'none'}")
            scores = scores[scores[name] == asked]
    table = compare_methods(scores, a, b, protocols=rules)
    if not options.metric or table["split"].nunique() > 1:
        show(table, options)
        return 0
    extremes = list_extremes(scores, a, b, captions=captions)
    write("\n".join(render(one, options.format) for one in (table, extremes)), options.output)
    return 0


def read_sides(options: argparse.Namespace) -> tuple[pd.DataFrame, dict[int, str] | None]:
    """Scores of the store, with the clips' captions; or the committed ones, without."""
    scores = read_shelf(options, (options.protocol,))
    if scores.empty:
        raise BenchError(
            f"{name_shelf(options)} holds no scores of {options.dataset} with suite {options.suite} and "
            f"{options.classes} classes; run both methods first, or name another --dataset"
        )
    if options.published:
        return scores, None
    dataset, _ = open_setting(options)
    stimuli = dataset.stimuli.to_pandas()
    return scores, dict(zip(stimuli["clip"], stimuli["caption"], strict=True))


def publish_results(options: argparse.Namespace) -> int:
    """Copy what the store holds of a data set, or a submission, into the committed results."""
    from bench.store.cells import Store
    from leaderboard.results import REPRODUCED
    from metrics.protocols import PROTOCOLS

    if options.bundle:
        return publish_bundle(options)
    options.dataset = options.dataset or "phantom_eeg"
    dataset, suite = open_setting(options)
    store = Store(options.runs)
    every = [cell for cell in store.cells() if cell.manifest["spec"]["dataset"] == options.dataset]
    classes = (options.classes,) if options.classes else CLASSES
    cells = [cell for cell in every if any(is_current(cell.manifest, dataset, suite, one) for one in classes)]
    cells = [cell for cell in cells if "[" not in cell.manifest["variant"]]  # --set tries things out
    if not cells:
        raise BenchError(f"{options.runs} holds no cells of {options.dataset} as it is now; run a method first")
    commit_cells(store, cells, tuple(PROTOCOLS), dataset, suite, options.results, REPRODUCED)
    return 0


def publish_bundle(options: argparse.Namespace) -> int:
    """Raises BenchError for a bundle of several data sets, and for what would stand as a floor or ceiling."""
    from leaderboard.results import SUBMITTED
    from leaderboard.tables import SEES_BRAIN

    with open_submission(options) as verified:
        manifests = [cell.manifest for cell in verified.cells]
        sets = sorted({manifest["spec"]["dataset"] for manifest in manifests})
        if len(sets) > 1:
            raise BenchError(f"{options.bundle} is of {', '.join(sets)}; publish a bundle of each data set")
        options.dataset, options.suite = sets[0], manifests[0]["spec"]["suite"]
        dataset, suite = open_setting(options)
        for manifest in manifests:
            if manifest["role"] not in SEES_BRAIN:
                raise BenchError(
                    f"{options.bundle} holds a {manifest['role']}; only methods and baselines are submitted"
                )
            if manifest["phantom"] != (dataset.truth is not None):
                raise BenchError(f"{options.bundle} is wrong about whether {sets[0]} is a phantom; pack it again")
        commit_cells(verified.store, verified.cells, verified.protocols, dataset, suite, options.results, SUBMITTED)
    return 0


def commit_cells(
    store: Store,
    cells: list[Cell],
    protocols: tuple[str, ...],
    dataset: Any,
    suite: Any,
    folder: Path | None,
    door: str,
) -> None:
    from bench.scoring.stored import read_scores
    from bench.scoring.views import Jury
    from leaderboard.results import RESULTS, publish
    from leaderboard.web.clip_export import export_clips

    place = folder or RESULTS
    scores = read_scores(store, [cell.key for cell in cells], Jury(suite.judges, dataset.concepts), protocols)
    written = publish(cells, scores, place, door=door)
    clips = export_clips(cells, dataset, scores, place)
    size = sum(path.stat().st_size for path in clips) / 2**20
    say(f"{len(cells)} cells in {len(written)} files, and {size:.1f} MiB of clips, below {place}; next: board")


def make_board(options: argparse.Namespace) -> int:
    import tempfile

    from leaderboard import board, publication
    from leaderboard.results import RESULTS, read_results
    from leaderboard.web.clip_wall import read_walls
    from leaderboard.web.site import list_media, write_site

    scores = read_results(options.results or RESULTS)
    if scores.empty:
        raise BenchError(f"no committed results below {options.results or RESULTS}; `publish` puts some there")
    if options.hub:
        from leaderboard.web.hub import write_hub

        card, *files = write_hub(scores, options.hub)
        say(f"{len(scores)} scores in {len(files)} files below {options.hub}, with a card: {card}")
        return 0
    sections, walls = board.make_board(scores), read_walls(options.results or RESULTS)
    place = options.output or publication.FOLDER
    if not options.check:
        written = publication.write_board(sections, place)
        page, *media = write_site(sections, walls, place / "site")
        say(f"{len(sections)} sections; written: {', '.join(str(path) for path in (*written, page))}")
        say(f"{len(media)} files of clips: {sum(path.stat().st_size for path in media) / 2**20:.1f} MiB")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        made = [*publication.write_board(sections, Path(folder)), *write_site(sections, walls, Path(folder) / "site")]
        names = [str(path.relative_to(folder)) for path in made]
        stale = [name for name in names if differ(Path(folder) / name, place / name)]
    stale += [name for path in list_media(place / "site") if (name := str(path.relative_to(place))) not in names]
    some = ", ".join(stale[:8]) + (f" and {len(stale) - 8} more" if len(stale) > 8 else "")
    say(f"not what the results make: {some}; run `python -m bench board`" if stale else "up to date")
    return 1 if stale else 0


def differ(made: Path, there: Path) -> bool:
    return not there.is_file() or made.read_bytes() != there.read_bytes()


def check(options: argparse.Namespace) -> int:
    from bench.core.variants import parse_settings
    from bench.harness.check import check_method
    from bench.pretrained.suite import load_suite

    report = check_method(options.method, load_suite(options.suite), parameters=parse_settings(options.set))
    show(report, options)
    return 0 if (report["status"] == "ok").all() else 1


def start_method(options: argparse.Namespace) -> int:
    from bench.harness.scaffold import write_method

    made = write_method(options.name, options.folder, modality=options.modality)
    title = "".join(part.capitalize() for part in options.name.split("_"))
    say(f"written: {', '.join(map(str, made))}; next: python -m bench check {made[0]}:{title}")
    return 0


def pack_method(options: argparse.Namespace) -> int:
    from bench.doors.bundles import pack_cells
    from bench.scoring.views import Jury
    from bench.store.cells import Store

    options.dataset = options.dataset or default_dataset(options.method)
    dataset, suite = open_setting(options)
    current = (
        cell for cell in Store(options.runs).cells() if is_current(cell.manifest, dataset, suite, options.classes)
    )
    cells = []
    for cell in current:
        spec = cell.manifest["spec"]
        asked = (options.method, options.variant, options.dataset, options.split or spec["split"])
        if (spec["method"], cell.manifest["variant"], spec["dataset"], spec["split"]) == asked:
            cells.append(cell)
    if not cells:
        where = f"{options.dataset}, {options.split or 'any split'}, {options.classes} classes, suite {options.suite}"
        raise BenchError(
            f"{options.runs} holds no cells of {options.method} {options.variant} on {where}; run it first, or name "
            "what was run with --dataset, --split, --variant and --runs"
        )
    path = options.bundle or Path(f"{Path(options.method.partition(':')[0]).stem}.{options.variant}.zip")
    pack_cells(cells, Jury(suite.judges, dataset.concepts), ("corrected", PUBLISHED[dataset.modality]), path)
    say(f"{len(cells)} cells, {path.stat().st_size / 2**20:.1f} MiB: {path}")
    return 0


def verify_file(options: argparse.Namespace) -> int:
    with open_submission(options) as verified:
        show(verified.report, options)
    return 0


def open_submission(options: argparse.Namespace) -> AbstractContextManager[Verified]:
    """The bundle that was named, verified on the data that lie here."""
    from bench.datasets.catalogue import open_dataset
    from bench.doors.bundles import open_bundle
    from bench.pretrained.suite import load_suite

    open_data = functools.cache(lambda name: open_dataset(name, data_root=options.data_root))
    return open_bundle(options.bundle, open_data, functools.cache(load_suite))


VERBS: dict[str, Any] = {
    verb.__name__: verb
    for verb in (compare, publish_results, make_board, check, start_method, pack_method, verify_file)
}
