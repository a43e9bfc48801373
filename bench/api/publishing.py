"""Publishing: a store's results or a submission into the committed results, and the board that they make."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.api import names
from bench.api.setting import Setting
from bench.core.errors import BenchError
from bench.core.paths import find_checkout
from bench.core.progress import complain, say
from bench.core.spec import CHOSEN, EMBEDDING, is_submitted

if TYPE_CHECKING:
    import pandas as pd

    from bench.core.hardware import Precision
    from bench.scoring.views import Viewer
    from bench.store.cells import Cell, Store
    from leaderboard.results import Committed


def publish(
    *,
    method: Sequence[str] = (),
    dataset: str = "phantom_eeg",
    data_root: str | Path | None = None,
    suite: str = "mini",
    classes: int | None = None,
    runs: str | Path = "runs",
    results: str | Path | None = None,
    precision: Precision = "fp32",
) -> list[Path]:
    """Copy manifests, scores and a few clips of a store's current cells into the committed results; returns the files.

    Cells of embeddings (`run --no-video`) stand in files of their own. Beside videos they are made unasked; those that
    were never scored are left out, and it is said.

    `method` names whose cells, floors and ceilings among them; none takes all that have a name, and says which have
    none (a `path/file.py:Class`, a class of a notebook, a variant made with `--set`). `classes` None takes all subsets.
    Of what the store has in two precisions, `precision` is taken, else fp32.
    Raises BenchError where the store holds nothing current of what was asked for, where something may not be published
    (`leaderboard.admission`), where no board could be made with it, and without `results` where the package is no
    checkout; then nothing has changed.
    """
    place = choose_place(results, "leaderboard/results", "--results")
    for name in method:
        names.find_submitted(name, runs)
        if is_unnamed(name):
            raise BenchError(f"{name} has no name of its own: register it (docs/add_method.md), and run it again")
    from bench.harness.shelf import current_cells
    from bench.scoring.views import Viewer
    from bench.store.cells import Store
    from leaderboard.admission import REPRODUCED, canonical_dataset
    from metrics.known import KNOWN_PROTOCOLS

    asked = (classes,) if classes else names.CLASSES
    where: dict[str, Any] = {"data_root": data_root, "suite": suite, "classes": asked[0], "runs": runs}
    setting = Setting(dataset=canonical_dataset(dataset), precision=precision, **where)
    of = f" of {', '.join(method)}" if method else ""
    nothing = f"{runs} holds no cells{of} on {setting.dataset} as it is now; run a method first"
    if not setting.has_store:
        raise BenchError(nothing)
    opened, loaded = setting.open(make=False)
    store = Store(runs)
    cells = {
        cell.key: cell
        for number in asked
        for embeddings in (False, True)
        for cell in current_cells(store, opened, loaded, number, embeddings=embeddings, precision=precision)
    }
    whole = [
        cell
        for _, cell in sorted(cells.items())
        if canonical_dataset(cell.manifest["spec"]["dataset"]) == setting.dataset
        and (not method or cell.manifest["spec"]["method"] in method)
    ]
    if handed := sorted({cell.manifest["spec"]["method"] for cell in whole if is_submitted(cell.manifest["spec"])}):
        say(f"left out, as they were submitted (`pack`, then `publish --bundle`): {', '.join(handed)}")
        whole = [cell for cell in whole if not is_submitted(cell.manifest["spec"])]
    named = [cell for cell in whole if not (is_unnamed(cell.manifest["spec"]["method"]) or is_tried(cell))]
    if left := name_cells(one for one in whole if one not in named):
        say(f"left out, as they have no name of their own: {left}")
    viewer = Viewer(loaded.judges, opened.concepts)
    scored = [cell for cell in named if cell.shows_videos or is_scored(cell, viewer)]
    if left := name_cells(one for one in named if one not in scored):
        say(f"embeddings left out, as they are not scored (the same run with --no-video scores them): {left}")
    if not scored:
        raise BenchError(nothing)
    return commit_cells(store, scored, tuple(KNOWN_PROTOCOLS), opened, loaded, place, door=REPRODUCED)


def name_cells(cells: Iterable[Cell]) -> str:
    """Each method and variant that the cells are of, once."""
    return ", ".join(sorted({f"{one.manifest['spec']['method']} {one.manifest['variant']}" for one in cells}))


def is_scored(cell: Cell, viewer: Viewer) -> bool:
    """Whether a cell of embeddings has a score that is current."""
    from bench.scoring.stored import list_scores

    return any(cell.has_scores(key) for _, _, key in list_scores(cell, viewer, (EMBEDDING,)))


def is_unnamed(method: str) -> bool:
    """Whether a method is known by its file, or only in this process."""
    from bench.core.registry import LIVE

    return ".py:" in method or method in LIVE


def is_tried(cell: Cell) -> bool:
    """Whether a cell's variant was made with `--set`, which tries things out."""
    return "[" in cell.manifest["variant"]


def publish_bundle(
    bundle: str | Path,
    *,
    data_root: str | Path | None = None,
    results: str | Path | None = None,
    submitter: str | None = None,
    accept_flagged: bool = False,
    targets: str | Path | None = None,
    target_name: str = "{}",
    side_by_side: Literal["truth-left", "truth-right"] | None = None,
) -> list[Path]:
    """Verify a submission and put it into the committed results; returns the files.

    A chosen set is scored against the true videos that are named (as in `verify`) and stands in the section of what was
    published. `submitter` is whose the method's name is from then on; a bundle without one owns its name by its videos,
    so only the very same may be published under it again. Raises BenchError for a bundle of several data sets or
    methods, for what may not be published, and, unless `accept_flagged`, for videos that look like no decoding; nothing
    has changed then.
    """
    place = choose_place(results, "leaderboard/results", "--results")
    from bench.core.built_in import BUILT_IN
    from bench.core.spec import digest
    from bench.harness.shelf import is_current
    from leaderboard.admission import SUBMITTED, canonical_dataset, check_owner

    owner = None if submitter is None else check_owner(submitter)
    from bench.api.chosen import publish_chosen, truth_finder
    from bench.api.packing import open_submission

    find_truth = truth_finder(targets, target_name, side_by_side, data_root)
    with open_submission(bundle, data_root=data_root, check=check_submission, find_truth=find_truth) as verified:
        if verified.scored:
            return publish_chosen(verified, place, owner=owner, accept_flagged=accept_flagged)
        manifests = [cell.manifest for cell in verified.cells]
        spec = manifests[0]["spec"]
        setting = Setting(dataset=canonical_dataset(spec["dataset"]), data_root=data_root, suite=spec["suite"])
        opened, loaded = setting.open(make=False)
        for one in manifests:
            if spec["method"] in BUILT_IN["methods"] and not is_current(one, opened, loaded, one["spec"]["classes"]):
                raise BenchError(
                    f"{bundle} is of {spec['method']}, a method of the project, but not as it is here now (version, "
                    "code, variant, parameters); run it again, or give the method a name of its own"
                )
        if any(manifest["phantom"] != (opened.truth is not None) for manifest in manifests):
            raise BenchError(f"{bundle} is wrong about whether {spec['dataset']} is a phantom; pack it again")
        unnamed = digest(sorted(manifest["prediction_digest"] for manifest in manifests))[:12]
        return commit_cells(
            verified.store,
            verified.cells,
            verified.protocols,
            opened,
            loaded,
            place,
            door=SUBMITTED,
            owner=owner or f"whoever made {unnamed}",
            accept_flagged=accept_flagged,
        )


def check_submission(manifests: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what may not be published, by its manifests alone. Raises BenchError."""
    from leaderboard.admission import SUBMITTED, admit, admit_group, check_variant

    if manifests and all(one["spec"]["split"] == CHOSEN for one in manifests):
        return  # `leaderboard.published` says what a chosen set must be
    for manifest in manifests:
        admit({name: value for name, value in manifest.items() if name != "manifest_digest"}, door=SUBMITTED)
    for kind, word in (("dataset", "data set"), ("method", "method"), ("suite", "suite")):
        if len(some := sorted({manifest["spec"][kind] for manifest in manifests})) > 1:
            raise BenchError(f"the bundle is of {', '.join(some[:8])}; publish a bundle of each {word}")
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for manifest in manifests:
        check_variant(manifest)
        spec = manifest["spec"]
        place = (manifest["variant"], spec["split"], spec["classes"], spec.get("output", ""))
        groups.setdefault(place, []).append(manifest)
    for (variant, split, classes, _), group in groups.items():
        admit_group(group, f"{variant} on {split} with {classes} classes")


def commit_cells(
    store: Store,
    cells: list[Cell],
    protocols: tuple[str, ...],
    dataset: Any,
    suite: Any,
    place: Path,
    *,
    door: str,
    owner: str = "",
    accept_flagged: bool = False,
) -> list[Path]:
    """Put the cells' manifests, scores, flags and clips into the results, all or nothing.

    A board is made of what would be there first: where that fails, the cells are refused.
    """
    from bench.api.flagging import flag_brought, flag_cells, read_beside, tell_above, tell_flags
    from bench.scoring.stored import read_scores
    from bench.scoring.views import Viewer
    from leaderboard.admission import SUBMITTED, canonical_dataset
    from leaderboard.amending import amending
    from leaderboard.results import stage
    from leaderboard.web.clip_export import export_clips

    scores = read_scores(cells, Viewer(suite.judges, dataset.concepts), protocols)
    if not scores.empty:
        scores = scores.assign(dataset=scores["dataset"].map(canonical_dataset))
    flags = (flag_brought if door == SUBMITTED else flag_cells)(cells, dataset, suite)
    with amending(place) as draft:
        written = stage(cells, scores, draft, door=door, owner=owner, folds=list_folds(cells, dataset), flags=flags)
        clips = export_clips(cells, dataset, scores, draft)
        size = sum(path.stat().st_size for path in clips) / 2**20
        there = try_board(draft)
        flagged = tell_flags(cells, flags)
        if door == SUBMITTED:  # of what was reproduced, tables and the board show it
            flagged += tell_above(cells, read_beside(cells, there))
        if flagged and door == SUBMITTED and not accept_flagged:
            raise BenchError(
                f"{'; '.join(flagged)}. Nothing was published: ask how the videos were made, and publish them with "
                "--accept-flagged where the answer holds; the board then shows the flag"
            )
    for line in flagged:
        complain(f"flagged: {line}")
    say(f"{len(cells)} cells in {len(written)} files, and {size:.1f} MiB of clips, below {place}; next: board")
    return [place / path.relative_to(draft) for path in (*written, *clips)]


def list_folds(cells: Sequence[Cell], dataset: Any) -> dict[tuple[str, str, int], list[str]]:
    """The names of all folds of each split and class subset that the cells are of."""
    from bench.core.splits import make_folds
    from leaderboard.results import setting_of

    settings = {setting_of(cell.manifest) for cell in cells}
    return {one: [fold.name for fold in make_folds(dataset, one[1], classes=one[2])] for one in settings}


def try_board(results: Path) -> Committed:
    """Make the board of these results where nobody sees it; returns them, verified.

    Raises BenchError where that fails, whatever fails.
    """
    from leaderboard.results import Committed

    try:
        committed = Committed(results)
        with tempfile.TemporaryDirectory(prefix="board-") as folder:
            write_board_files(committed, committed.read_all(list_metrics()), Path(folder), may_be_empty=True)
        return committed
    except Exception as error:
        raise BenchError(f"no board could be made with it, so nothing was published: {error}") from error


def make_board(*, results: str | Path | None = None, output: str | Path | None = None) -> list[Path]:
    """Write LEADERBOARD.md, its exports and its site from the committed results; returns the files.

    Of the checkout's own results and board also the tables that stand in its pages (`leaderboard.pages`). Raises
    BenchError without `output` where the package is no checkout.
    """
    place = choose_place(output, "leaderboard", "--output")
    names.check_output(place / "LEADERBOARD.md")
    ours = results is None and output is None
    committed = open_committed(results, sets=True)
    scores = committed.read_all(list_metrics(place.parent if ours else None))
    if ours:  # first, for the site shows these pages
        for path in stale_pages(committed, scores, place.parent, write=True):
            say(f"made anew: the tables of {path}")
    written = write_board_files(committed, scores, place)
    say(f"{len(written)} files of the board, the first {written[0]}, its site {place / 'site' / 'index.html'}")
    return written


def check_board(*, results: str | Path | None = None, output: str | Path | None = None) -> list[str]:
    """The names of the board's files that are not what the committed results make; writes nothing there.

    Also of files that lie there as if the board had made them, and that it would not write: these say so.
    """
    from leaderboard.web.site import find_strays

    place = choose_place(output, "leaderboard", "--output")
    ours = results is None and output is None
    committed = open_committed(results, sets=True)
    scores = committed.read_all(list_metrics(place.parent if ours else None))
    with tempfile.TemporaryDirectory() as folder:
        made = write_board_files(committed, scores, Path(folder))
        file_names = [path.relative_to(folder).as_posix() for path in made]
        stale = [name for name in file_names if differ(Path(folder) / name, place / name)]
    stale += [f"{name} (the board does not write it: remove it)" for name in find_strays(place, file_names)]
    return stale + (stale_pages(committed, scores, place.parent) if ours else [])


def stale_pages(committed: Committed, scores: pd.DataFrame, root: Path, *, write: bool = False) -> list[str]:
    """The pages of the checkout with a table that is not what the results make; made anew where `write` says so.

    scores: what was read of these results for the boards' tables (`list_metrics`).
    """
    from bench.api.paper_study import study
    from leaderboard.pages import remake_pages

    studies = cache(lambda name: study(name, results=committed).table)
    made = remake_pages(root, scores, studies)
    stale = {path: text for path, text in made.items() if path.read_text("utf-8") != text}
    for path, text in stale.items() if write else ():
        path.write_text(text, encoding="utf-8")
    return [str(path.relative_to(root)) for path in stale]


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
    """The committed score rows. Raises BenchError without any."""
    return open_committed(results).read_all()


def open_committed(results: str | Path | None, *, sets: bool = False) -> Committed:
    """What is committed. Raises BenchError without any; `sets`: unless published videos are."""
    from leaderboard.published import read_published
    from leaderboard.results import RESULTS, Committed

    committed = Committed(Path(results or RESULTS))
    if not committed.records and not (sets and read_published(committed.folder)):
        raise BenchError(f"no committed results below {results or RESULTS}; `publish` puts some there")
    return committed


def list_metrics(pages: Path | None = None) -> set[tuple[str, str]]:
    """The protocols and metrics that a board is made of, and the marked tables of the pages below a folder."""
    from leaderboard.board import EEG, FMRI, PROTOCOL
    from leaderboard.pages import list_metrics as list_asked

    return {(PROTOCOL, metric) for metric in (*EEG, *FMRI)} | (list_asked(pages) if pages is not None else set())


def write_board_files(
    committed: Committed, scores: pd.DataFrame, place: Path, *, may_be_empty: bool = False
) -> list[Path]:
    """All files of a board below `place`, the page first. scores: committed rows of `list_metrics`, or more.

    Raises BenchError where no method stands on it.
    """
    from leaderboard import publication
    from leaderboard.board import make_board as make_sections
    from leaderboard.published import read_published
    from leaderboard.published_board import show_sets
    from leaderboard.web.clip_wall import read_walls
    from leaderboard.web.history import read_releases
    from leaderboard.web.site import write_site

    source = committed.folder
    sections = [] if scores.empty else make_sections(scores)
    walls, published = read_walls(source, committed.place), show_sets(read_published(source))
    if not sections and not published and not may_be_empty:
        raise BenchError(
            f"{source} holds no method or baseline with its base variant and all classes, so the board "
            "would be empty; run one on single_subject, cross_subject or new_subject, then `publish` and `board`"
        )
    releases = read_releases(source.parent / "retired", sections)
    records = list(committed.records.values())
    return [
        *publication.write_board(sections, place, published=published),
        *write_site(sections, walls, place / "site", published=published, records=records, releases=releases),
    ]


def differ(made: Path, there: Path) -> bool:
    return not there.is_file() or made.read_bytes() != there.read_bytes()
