"""Submitting: a folder of videos that others made becomes cells of a store, whole sets to be ranked or chosen ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.api.chosen import PUBLISHED_AS, name_truth
from bench.api.names import check_metric, check_split, default_protocols
from bench.api.setting import Setting
from bench.core.errors import BenchError
from bench.core.progress import complain, say

if TYPE_CHECKING:
    import numpy as np

    from bench.doors.submission import Origin

NO_LICENCE = "none stated"
MOST_TEXT = 256
# how many clips of a subject are tested, where the data set does not lie here: cc2017's five test films, SEED-DV's last
# block, CineBrain's two test episodes (`bench.datasets`)
TESTED = {"cc2017": 1200, "seed_dv": 200, "cinebrain": 540, "cinebrain_eeg": 540}
SPLIT = "single_subject"
UNKNOWN = 0  # the subject of videos of which nobody says whose brain they are of

Clips = Literal["whole", "chosen"]


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What submitted videos came to."""

    method: str  # the name that they have in tables
    dataset: str
    chosen: bool  # no whole set: scored, and never ranked with whole ones
    cells: tuple[str, ...]  # keys in the store
    clips: int  # that have a video
    of: int | None  # that there are in all; None where nobody knows
    repeat: str  # the options of a command that asks for the same data, suite and store
    flags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # key: flag: reason

    @property
    def verdict(self) -> str:
        """What was submitted, in one sentence."""
        count = f"{self.clips} of {self.of} clips" if self.of else f"{self.clips} clips"
        kind = "chosen: shown apart, never ranked" if self.chosen else "a whole set"
        return f"{self.method} on {self.dataset}: {count}, {kind}; {len(self.cells)} cells"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was asked for, its names checked; folders by subject."""

    folders: Mapping[int, Path]
    origin: Origin
    setting: Setting
    split: str
    clips: Clips | None
    numbered: bool  # whether names or a base were given
    targets: Path | None
    target_name: str
    protocol: tuple[str, ...]

    @property
    def about(self) -> dict[str, Any]:
        return {"dataset_name": self.setting.dataset, "suite_name": self.setting.suite}


def submit(
    videos: str | Path | Sequence[str | Path],
    *,
    dataset: str,
    method: str,
    source: str,
    subject: int | Sequence[int] | None = None,
    names: str | None = None,
    base: int | None = None,
    order: Literal["shown", "concept", "file"] = "shown",
    clips: Clips | None = None,
    licence: str = NO_LICENCE,
    submitter: str = "",
    split: str = SPLIT,
    frames: str = "same",
    resize: bool = False,
    side_by_side: Literal["truth-left", "truth-right"] | None = None,
    targets: str | Path | None = None,
    target_name: str = "{}",
    protocol: Sequence[str] = (),
    suite: str | None = None,
    data_root: str | Path | None = None,
    runs: str | Path = "runs",
) -> Submission:
    """Put videos that others made into the store, with where they come from and without any truth, and score them.

    `videos` is a folder as `bench.score` reads it, or one for each `subject`, whom only chosen sets may leave out.
    Names hold the clip's number: `names` is their pattern ("test{}"), `base` the number of the first tested clip (0 or
    1), `order` what is counted: tested clips as they were "shown" or "concept" by concept, or the number of the
    stimulus' own "file".

    Where the data set lies here (a phantom, `data_root` or BENCH_DATA) and no clip lacks, this is a whole set: a cell
    of `split` as any other. `clips="whole"` counts those that lack as missing. Else, and with `clips="chosen"`, the set
    is chosen: never ranked. Its truth is told by `targets`, `target_name` and `side_by_side`, as for `bench.score`, and
    again whenever it is scored. Where the data set lies here, true videos that come along must be those of its clips.

    `frames` and `resize` bring videos to the frames and the size of the data set's clips. A method of the project is
    submitted as NAME_published. `suite` is by default mini for phantoms, light for real videos.

    Raises BenchError for names that no clip has or that two videos share, for videos of another shape without a rule,
    for true videos of other clips, and where the store holds other videos of that name.
    """
    from bench.doors.clip_names import Naming
    from bench.doors.submission import Origin
    from bench.doors.video_pairs import SIDES, parse_rule

    if side_by_side not in (None, *SIDES):
        raise BenchError(f"side_by_side {side_by_side!r}: allowed are truth-left and truth-right")
    if side_by_side and targets is not None:
        raise BenchError(f"--side-by-side {side_by_side} reads the truth from the same video: leave --targets away")
    if clips not in (None, "whole", "chosen"):
        raise BenchError(f"clips {clips!r}: allowed are whole and chosen")
    check_split(split)
    check_metric(None, protocol)
    setting = Setting(
        dataset=dataset, data_root=data_root, suite=suite or default_suite(dataset), classes=40, runs=runs
    )
    origin = Origin(
        method=name_method(method),
        source=check_source(source),
        licence=check_line(licence, "licence"),
        submitter=check_line(submitter, "submitter") if submitter else "",
        naming=Naming(pattern=names or "{}", base=base, order=order),
        rule=parse_rule(frames),
        resize=resize,
        side=side_by_side,
    )
    asked = Asked(
        folders=pair_folders(videos, subject),
        origin=origin,
        setting=setting,
        split=split,
        clips=clips,
        numbered=names is not None or base is not None or order != "shown",
        targets=None if targets is None else Path(targets),
        target_name=target_name,
        protocol=tuple(protocol),
    )
    return submit_beside(asked) if setting.is_here else submit_alone(asked)


def submit_beside(asked: Asked) -> Submission:
    """Videos whose data set lies here: a whole set's cells, or chosen ones."""
    from bench.core.splits import make_folds
    from bench.doors.clip_names import match_clips, number_clips
    from bench.doors.submission import check_shown, describe_whole, put_whole, refuse_others
    from bench.harness.inputs import measured_clip, measured_subject
    from bench.scoring.flags import flag_cell
    from bench.scoring.score_cell import score_cell
    from bench.store.cells import Store

    opened, loaded = asked.setting.open(make=False)
    folds = make_folds(opened, asked.split, classes=asked.setting.classes)
    found: dict[int, dict[int, Path]] = {}
    tested: dict[int, np.ndarray] = {}
    for fold in folds:
        subjects, shown = measured_subject(opened, fold.test), measured_clip(opened, fold.test)
        tested |= {int(one): shown[subjects == one] for one in sorted(set(subjects.tolist()))}
    for subject, folder in asked.folders.items():
        if subject not in tested:
            raise BenchError(
                f"{asked.split} of {opened.name} tests no subject {subject or 'without a number'}; name one with "
                f"--subject: {', '.join(map(str, tested))}"
            )
        numbers = number_clips(opened, tested[subject], asked.origin.naming)
        videos, truths = find_given(asked, folder)
        found[subject] = match_clips(videos, numbers, asked.origin.naming)
        if asked.origin.side is not None:
            truths = videos
        if truths:
            beside = match_clips(truths, numbers, asked.origin.naming)
            check_shown(opened, beside, asked.origin.side, tested[subject])
    used = [fold for fold in folds if set(measured_subject(opened, fold.test).tolist()) & set(asked.folders)]
    places = {(int(s), int(c)) for fold in used for s, c in zip(
        measured_subject(opened, fold.test), measured_clip(opened, fold.test), strict=True)}  # fmt: skip
    given = {(subject, clip): path for subject, mine in found.items() for clip, path in mine.items()}
    if asked.clips == "chosen" or (len(given) < len(places) and asked.clips is None):
        if len(given) < len(places) and asked.clips is None:
            say(
                f"{len(given)} of {len(places)} tested clips have a video: the set is chosen, scored and never ranked "
                "(--clips whole counts the others as missing, which score the worst)"
            )
        named = {s: {name_video(path): clip for clip, path in sorted(mine.items())} for s, mine in found.items()}
        clips = {s: {name: found[s][clip] for name, clip in mine.items()} for s, mine in named.items()}
        return submit_chosen(asked, opened, loaded, clips, named, whole=max(map(len, map(set, tested.values()))))
    store, cells, flags = Store(asked.setting.runs), [], {}
    protocols = default_protocols(opened.modality, asked.protocol)
    for fold in used:
        mine = {place: path for place, path in given.items() if place[0] in set(measured_subject(opened, fold.test))}
        spec = describe_whole(opened, loaded, asked.origin, fold, mine, classes=asked.setting.classes, **asked.about)
        refuse_others(store, spec)
        cell = put_whole(store, opened, fold, spec, asked.origin, mine)
        score_cell(cell, store, opened, loaded, protocols=protocols)
        flags[cell.key] = flag_cell(cell, opened, loaded)
        cells.append(cell.key)
    return finish(asked, cells, flags, chosen=False, clips=len(given), of=len(places))


def submit_alone(asked: Asked) -> Submission:
    """Videos whose data set does not lie here: chosen, whatever their number, because nobody can look."""
    from bench.doors.chosen import find_targets, name_clips

    loaded = open_judges(asked.setting)
    whole = TESTED.get(asked.setting.dataset.partition(":")[0])
    named: dict[int, dict[str, Path | None]] = {}
    for subject, folder in asked.folders.items():
        videos, _ = find_given(asked, folder)
        targets = None if asked.targets is None else find_targets(asked.targets, asked.target_name)
        if asked.clips == "chosen" and targets is not None:
            targets = {name: path for name, path in targets.items() if name in videos} | {
                name: path for name, path in videos.items() if name not in targets
            }
        clips = name_clips(videos, targets, asked.origin.naming if asked.numbered else None, whole)
        if asked.clips == "whole" and len(clips) != whole:
            raise BenchError(
                f"{folder} has {len(clips)} clips, and a whole set of {asked.setting.dataset} has "
                f"{whole or 'nobody here knows how many'}; leave --clips away, and it is marked as chosen"
            )
        named[subject] = clips
    say(f"{asked.setting.dataset} does not lie here (--data-root): the set is scored by itself and never ranked")
    most = max(map(len, named.values()))
    return submit_chosen(asked, None, loaded, named, {}, whole if whole is not None and whole >= most else None)


def submit_chosen(
    asked: Asked,
    dataset: Any,
    suite: Any,
    named: Mapping[int, Mapping[str, Path | None]],
    numbers: Mapping[int, Mapping[str, int]],
    whole: int | None,
) -> Submission:
    """A chosen set's cell for each subject.

    `named` has the clips of each by their names, `numbers` those of the data set where it lies here, and `whole` is how
    many of a subject are tested.
    """
    from bench.doors.chosen import Truth, describe_chosen, flag_chosen, pair_up, put_chosen
    from bench.doors.submission import refuse_others
    from bench.scoring.lookup import find_protocol
    from bench.store.cells import Store

    store, cells, flags, count = Store(asked.setting.runs), [], {}, 0
    for subject, clips in named.items():
        spec = describe_chosen(
            asked.origin,
            clips,
            numbers.get(subject, {}),
            suite,
            subject=subject,
            data_digest="" if dataset is None else dataset.digest,
            whole=whole,
            **asked.about,
        )
        refuse_others(store, spec)
        shape = None if dataset is None else dataset.video([0]).shape[1:]
        phantom = dataset is not None and dataset.truth is not None
        cell = put_chosen(store, spec, asked.origin, clips, subject=subject, shape=shape, phantom=phantom)
        if dataset is not None:
            truth = Truth(dataset=dataset)
        else:
            truth = name_truth(
                asked.targets or (asked.folders[subject] if asked.origin.side else None),
                asked.target_name,
                asked.origin.side,
            )
        flags[cell.key] = flag_chosen(pair_up(cell, truth), find_protocol("corrected"))
        cells.append(cell.key)
        count += cell.manifest["status_counts"]["ok"]
    of = None if whole is None else whole * len(named)
    return finish(asked, cells, flags, chosen=count != of, clips=count, of=of)


def finish(
    asked: Asked,
    cells: Sequence[str],
    flags: Mapping[str, Mapping[str, str]],
    *,
    chosen: bool,
    clips: int,
    of: int | None,
) -> Submission:
    """What was submitted, and what is flagged in it said."""
    for key, found in flags.items():
        for flag, reason in found.items():
            complain(f"flagged: {asked.origin.method} (cell {key}): {flag}: {reason}")
    return Submission(
        method=asked.origin.method,
        dataset=asked.setting.dataset,
        chosen=chosen,
        cells=tuple(cells),
        clips=clips,
        of=of,
        repeat=asked.setting.repeat(),
        flags=flags,
    )


def find_given(asked: Asked, folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The submitted videos of a folder by name, and the true ones that came along by the name of their clip.

    Raises BenchError for a folder without videos.
    """
    from bench.doors.chosen import find_targets
    from bench.store.video import find_videos

    videos = find_videos(folder)
    truths = {} if asked.targets is None else find_targets(asked.targets, asked.target_name)
    if asked.targets is not None and asked.targets.resolve() == folder.resolve() and asked.target_name != "{}":
        shown = set(truths.values())
        videos = {name: path for name, path in videos.items() if path not in shown}
    if not videos:
        raise BenchError(f"{folder} holds no videos; name the folder of reconstructions (mp4, gif, webm, npy, frames)")
    return videos, truths


def open_judges(setting: Setting) -> Any:
    """The suite alone: the data set does not lie here."""
    from bench.pretrained.suite import load_suite

    return load_suite(setting.suite)


def name_video(path: Path) -> str:
    """The name of a video as `find_videos` gives it."""
    import unicodedata

    return unicodedata.normalize("NFC", path.name if path.is_dir() else path.stem)


def pair_folders(videos: str | Path | Sequence[str | Path], subject: int | Sequence[int] | None) -> dict[int, Path]:
    """The folder of each subject, of `UNKNOWN` where none is named.

    Raises BenchError unless there is one for each, and each subject once.
    """
    folders = [Path(videos)] if isinstance(videos, (str, Path)) else [Path(one) for one in videos]
    if subject is None and len(folders) == 1:
        return {UNKNOWN: folders[0]}
    subjects = [subject] if isinstance(subject, int) else list(subject or ())
    if len(folders) != len(subjects) or not folders or len(set(subjects)) < len(subjects):
        raise BenchError(
            f"{len(folders)} folders of videos for {len(subjects)} subjects; name one folder for each subject"
        )
    if any(not 0 < one < 1000 for one in subjects):
        raise BenchError(f"subject {subjects[0]}: a subject is a number from 1 on, as the data set counts them")
    return dict(zip(subjects, folders, strict=True))


def default_suite(dataset: str) -> str:
    """The judges that know what the videos show: drawn clips, or real ones."""
    return "mini" if dataset.startswith("phantom_") else "light"


def name_method(method: str) -> str:
    """The name that submitted videos have in tables: never one of the project's methods, which are run here.

    Raises BenchError for a name that cannot stand there.
    """
    from bench.core.built_in import BUILT_IN
    from leaderboard.admission import PART, RESERVED, SEES_BRAIN, alike

    if method in BUILT_IN["methods"] and BUILT_IN["methods"][method].role in SEES_BRAIN:
        return f"{method}{PUBLISHED_AS}"
    if not PART.fullmatch(method):
        raise BenchError(f"method {method!r:.80}: a name has letters, digits, _ and -, at most 64")
    if (reserved := RESERVED.get(alike(method))) is not None:
        raise BenchError(
            f"method {method!r} is called as {reserved!r}, a name or a word of the project, or nearly so; give the "
            "videos a name of their own"
        )
    return method


def check_source(source: str) -> str:
    """Where the videos lie. Raises BenchError for what is no URL."""
    from leaderboard.published import URL

    if not URL.fullmatch(source):
        raise BenchError(f"source {source!r:.80} is no URL; say where the videos lie, https://…")
    return source


def check_line(text: str, what: str) -> str:
    """A short line of text as it is recorded. Raises BenchError for anything else."""
    plain = " ".join(text.split())
    if not plain or not plain.isprintable() or len(plain) > MOST_TEXT:
        raise BenchError(f"{what} {text[:40]!r}: it must be one line of 1 to {MOST_TEXT} characters")
    return plain
