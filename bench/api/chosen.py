"""Chosen sets of submitted videos: found in a store, their truth named, and put beside what else was published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.names import PUBLISHED
from bench.api.setting import Setting
from bench.core.errors import BenchError
from bench.core.progress import complain, say
from bench.core.registry import modality_of
from bench.core.spec import CHOSEN, is_submitted

if TYPE_CHECKING:
    import pandas as pd

    from bench.doors.bundles import FindTruth, Verified
    from bench.doors.chosen import Truth
    from bench.doors.video_pairs import Side
    from bench.store.cells import Cell, Store

OF_PAPERS = {"cc2017": "neuroclips"}  # the protocol of a data set's papers, where the field's own is another
PUBLISHED_AS = "_published"  # behind the name of a method of the project: those are its authors' own videos


def chosen_protocols(dataset: str) -> tuple[str, ...]:
    """What chosen sets are scored by: ours, that of their papers, and what the judge of real frames can say."""
    papers = OF_PAPERS.get(dataset.partition(":")[0], PUBLISHED[modality_of("datasets", dataset)])
    return ("corrected", papers, *(() if dataset.startswith("phantom_") else ("real",)))


def find_chosen(store: Store, method: str, dataset: str) -> list[Cell]:
    """The chosen sets of that name. Raises BenchError where two are of one subject."""
    cells = [
        cell
        for cell in store.cells()
        for spec in [cell.manifest["spec"]]
        if (spec["split"], spec["method"], spec["dataset"]) == (CHOSEN, method, dataset) and is_submitted(spec)
    ]
    folds = [cell.manifest["spec"]["fold"] for cell in cells]
    if len(set(folds)) < len(folds):
        raise BenchError(
            f"{store.root} holds {len(cells)} chosen sets of {method} on {dataset}, some of one subject (of another "
            "suite, or with the data set at hand and without); remove all but one, or submit into another --runs"
        )
    return cells


def name_truth(targets: Path | None, target_name: str, side: Side | None) -> Truth:
    """The true videos that were named: a folder of them, or of the side-by-side ones; none without a folder."""
    from bench.doors.chosen import Truth, find_targets

    return Truth() if targets is None else Truth(videos=find_targets(targets, target_name), side=side)


def truth_finder(
    targets: str | Path | None, target_name: str, side: Side | None, data_root: str | Path | None
) -> FindTruth:
    """What finds the truth of a chosen set: in the folder that was named, else in its data set where that lies here."""
    if targets is None and (side is not None or target_name != "{}"):
        raise BenchError("--side-by-side and --target-name say what is in --targets; name that folder too")
    folder = None if targets is None else Path(targets)

    def find(manifest: Mapping[str, Any]) -> Truth:
        from bench.doors.chosen import Truth

        spec = manifest["spec"]
        if folder is not None or not spec["data_digest"]:
            return name_truth(folder, target_name, side)
        setting = Setting(dataset=spec["dataset"], data_root=data_root, suite=spec["suite"])
        opened, _ = setting.open(make=False)
        if opened.digest != spec["data_digest"]:
            raise BenchError(f"the set was submitted beside other {spec['dataset']} data than lie here; name --targets")
        return Truth(dataset=opened)

    return find


def publish_chosen(verified: Verified, place: Path, *, owner: str | None, accept_flagged: bool) -> list[Path]:
    """Put verified chosen sets into the committed results; returns the files.

    Raises BenchError for videos that look like no decoding unless `accept_flagged`, and for what may not be there.
    """
    from bench.doors.chosen import digest_names
    from bench.pretrained.suite import load_suite
    from bench.store import provenance
    from leaderboard.published import write_published

    flagged = verified.report[verified.report["flags"] != ""]
    lines = [f"{row['method']} ({row['fold']}): {row['flags']}" for _, row in flagged.iterrows()]
    if lines and not accept_flagged:
        raise BenchError(
            f"{'; '.join(lines)}. Nothing was published: ask how the videos were made, and publish them with "
            "--accept-flagged where the answer holds"
        )
    for line in lines:
        complain(f"flagged: {line}")
    written: list[Path] = []
    for cell in verified.cells:
        spec, scored = cell.manifest["spec"], verified.scored[cell.key]
        told, videos = spec["parameters"], digest_names(cell)
        method, subject = name_authors(spec["method"]), int(spec["fold"][3:]) or None
        about = {
            "name": "-".join([spec["dataset"].replace(":", "-"), method, *([f"sub{subject:02d}"] if subject else [])]),
            "dataset": spec["dataset"],
            "subject": subject,
            "method": method,
            "source": told["source"],
            "licence": told["licence"],
            "chosen": told["of"] != len(told["clips"]),
            "of": told["of"],
            "owner": owner or f"whoever made {videos[:12]}",
            "suite": spec["suite"],
            "judges": digest_judges(scored, load_suite(spec["suite"]).judges),
            "provenance": provenance.describe(),
            "video_digest": videos,
        }
        written += write_published(place, about, scored)
    say(f"{len(verified.cells)} chosen sets in {len(written)} files below {place}; next: board")
    return written


def name_authors(method: str) -> str:
    """What the authors call the method whose videos were submitted as NAME_published."""
    from bench.core.built_in import BUILT_IN

    own = method.removesuffix(PUBLISHED_AS)
    return own if own in BUILT_IN["methods"] else method


def digest_judges(scored: pd.DataFrame, judges: Any) -> dict[str, str]:
    """The digest of the networks behind each name of a judge in the scores."""
    from bench.core.spec import digest
    from bench.doors.videos import name_judges
    from bench.scoring.lookup import find_protocol
    from bench.scoring.views import BASE, Viewer

    asked: dict[str, set[str]] = {}
    viewer = Viewer(judges)
    for protocol, metric, judge in scored[["protocol", "metric", "judge"]].drop_duplicates().itertuples(index=False):
        views = find_protocol(protocol)[metric].views if judge else ()
        if views:
            assert judge == name_judges(find_protocol(protocol)[metric], viewer)
            asked.setdefault(judge, set()).update(judges.digest(BASE.get(view, view)) for view in views)
    return {judge: digest(sorted(digests)) for judge, digests in sorted(asked.items())}
