"""Submissions in one file: cells of a store packed, and a bundle verified."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.api import names
from bench.api.chosen import chosen_protocols, find_chosen, truth_finder
from bench.api.setting import Setting
from bench.core.errors import BenchError
from bench.core.progress import say
from bench.core.spec import EMBEDDING

if TYPE_CHECKING:
    import pandas as pd

    from bench.core.hardware import Precision
    from bench.doors.bundles import FindTruth, Verified
    from bench.store.cells import Cell


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
    video: bool = True,
    precision: Precision = "fp32",
) -> Path:
    """Put a method's current cells with their scores and videos into one zip to submit; returns its path.

    `video=False`: its embeddings alone, with their scores by retrieval. Of what the store has in two precisions,
    `precision` is packed, else fp32.
    """
    from bench.doors.bundles import pack_cells
    from bench.harness.shelf import current_cells
    from bench.scoring.views import Viewer
    from bench.store.cells import Store

    submitted = names.find_submitted(method, runs)
    names.check_split(split)
    path = Path(bundle or f"{Path(method.partition(':')[0]).stem}.{variant}.zip")
    names.check_output(path, option="--bundle")
    setting = Setting(
        dataset=dataset or submitted or names.default_dataset(method),
        data_root=data_root,
        suite=suite,
        classes=classes,
        runs=runs,
        precision=precision,
    )
    cells: list[Cell] = []
    viewer: Viewer | None = None
    protocols: tuple[str, ...] = ()
    if setting.has_store and (setting.is_here or submitted is None):
        opened, loaded = setting.open(make=False)
        viewer = Viewer(loaded.judges, opened.concepts)
        protocols = names.default_protocols(opened.modality) if video else (EMBEDDING,)
        for cell in current_cells(Store(runs), opened, loaded, classes, embeddings=not video, precision=precision):
            spec = cell.manifest["spec"]
            asked = (method, variant, setting.dataset, split or spec["split"])
            if (spec["method"], cell.manifest["variant"], spec["dataset"], spec["split"]) == asked:
                cells.append(cell)
    if not cells and submitted is not None and split is None and video:
        viewer, cells = None, find_chosen(Store(runs), method, setting.dataset)
        protocols = chosen_protocols(setting.dataset)
    if not cells:
        raise BenchError(
            f"{runs} holds no {'' if video else 'embeddings in '}cells of {method} {variant} on {setting.dataset}, "
            f"{split or 'any split'}, {classes} classes, suite {suite}; run it first, or name what was run with "
            "--dataset, --split, --variant and --runs"
        )
    pack_cells(cells, viewer, protocols, path)
    say(f"{len(cells)} cells, {path.stat().st_size / 2**20:.1f} MiB: {path}")
    return path


def verify(
    bundle: str | Path,
    *,
    data_root: str | Path | None = None,
    targets: str | Path | None = None,
    target_name: str = "{}",
    side_by_side: Literal["truth-left", "truth-right"] | None = None,
) -> pd.DataFrame:
    """Check a bundle offline and score it again: a row a cell. Raises BadBundle for the first thing that is wrong.

    The truth of a chosen set lies in the folder `targets`, named `target_name` after its clips, or as one side of the
    side-by-side videos there; or it is the data set's own. Without it, what needs no truth is scored.

    The column `flags` says what in the videos looks as if it had not been decoded (`bench.scoring.flags`), and which
    scores are above the ceilings that are committed for the same data and networks.
    """
    find_truth = truth_finder(targets, target_name, side_by_side, data_root)
    with open_submission(bundle, data_root=data_root, find_truth=find_truth) as verified:
        if verified.scored:
            return verified.report
        from bench.api.flagging import flag_submission

        flags = flag_submission(verified, data_root)
        return verified.report.assign(flags=[flags[key] for key in verified.report["cell"]])


def open_submission(
    bundle: str | Path,
    *,
    data_root: str | Path | None,
    check: Callable[[Sequence[Mapping[str, Any]]], None] = lambda manifests: None,
    find_truth: FindTruth | None = None,
) -> AbstractContextManager[Verified]:
    """The bundle that was named, verified on the data that lie here; `check` is shown its manifests first."""
    from bench.datasets.catalogue import open_dataset
    from bench.doors.bundles import find_no_truth, open_bundle
    from bench.pretrained.suite import load_suite

    open_data = functools.cache(lambda name: open_dataset(name, data_root=data_root))
    load = functools.cache(load_suite)
    return open_bundle(Path(bundle), open_data, load, check=check, find_truth=find_truth or find_no_truth)
