"""Chosen sets: submitted videos that nothing ranks, because their authors picked the clips or their data are not here.

A chosen set is a cell of the split "chosen", which no data set has, so no table, board or floor ever takes it for a
part of one. It holds predictions alone; the truth stays where it lies and is named again whenever the set is scored
(`Truth`), as `bench.doors.video_pairs` reads it: a folder of true videos, the other half of side-by-side ones, or the
data set itself. Scores are those of `bench.doors.videos`, made by whoever verifies the set: none come along.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.core.errors import BenchError
from bench.core.spec import CHOSEN, SUBMITTED, CellSpec, digest, is_submitted
from bench.doors.clip_names import Naming
from bench.doors.submission import Brought, Origin, Place, digest_videos, put_cell
from bench.doors.unpacking import BadBundle, check_tables
from bench.doors.video_pairs import BrokenTruth, FrameRule, Pair, Pairs, Side, Video, parse_rule, split_sides
from bench.scoring.likeness import CHANGES, compare, see, transform
from bench.scoring.submitted import find_repeated, find_taken, is_copy, is_flat, sketch, tell_filled, tell_renamed
from bench.store.cells import Cell, Store, StoreError
from bench.store.predictions import TRIAL_COLUMNS
from bench.store.video import VideoError, find_videos, read_video
from metrics.protocols import Protocol, ShapeMismatch

ALIKE = 0.7  # likeness to the true clip from which a prediction may be a copy, as in `bench.scoring.flags`
CERTAIN = 0.9  # and from which a single one is
MOST_CLIPS = 100_000
NAME = re.compile(r"[^/\\\x00]{1,128}")
TOLD = ("source", "licence", "submitter", "names", "order")


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Where the true clips of a chosen set are: videos by name (of which one `side` is true), or an open data set."""

    videos: Mapping[str, Path] | None = None
    side: Side | None = None
    dataset: Any = None


@dataclass(frozen=True, kw_only=True)
class ChosenPairs(Pairs):
    """The clips of a chosen set's cell with their truth, as the scorer of videos takes them."""

    clips: Sequence[str] = ()  # all that the cell names, with or without a video
    broken: frozenset[str] = frozenset()
    numbers: Mapping[str, int] = field(default_factory=dict)  # the data set's clip of each name
    dataset: Any = None

    @property
    def names(self) -> list[str]:
        return list(self.clips)

    @property
    def has_truth(self) -> bool:
        return self.targets is not None or self.dataset is not None

    def read_one(self, name: str, protocol: Protocol) -> Pair:
        """As of any pair; what was submitted and was no video is invalid."""
        if name in self.broken:
            return Pair(name=name, prediction=None, target=None, status="invalid", why="it was submitted as no video")
        return super().read_one(name, protocol)

    def read_sides(self, name: str, protocol: Protocol) -> tuple[Video, Video | None]:
        """Prediction and truth. The half of a side-by-side video is put back, so that a protocol may keep its border.

        Raises VideoError, ShapeMismatch, and BrokenTruth for a true video.
        """
        made = read_video(self.predictions[name])
        if self.dataset is not None:
            return made, self.dataset.video([self.numbers[name]])[0]
        if self.targets is None:
            return made, None
        try:
            true = read_video(self.targets[name])
        except VideoError as error:
            raise BrokenTruth(f"the true video: {error}") from error
        if self.side is None:
            try:
                self.rule.pick(true)
            except ShapeMismatch as error:
                raise BrokenTruth(f"the true video: {error}") from error
            return made, true
        if (len(true), true.shape[1], true.shape[2]) != (len(made), made.shape[1], 2 * made.shape[2]):
            raise BrokenTruth(f"the true video: {list(true.shape)} is not twice as wide as {list(made.shape)}")
        left, right = np.split(true, 2, axis=2)
        whole = np.concatenate([left, made] if self.side == "truth-left" else [made, right], axis=2)
        return split_sides(whole, self.side, border=protocol.border)


def describe_chosen(
    origin: Origin,
    clips: Mapping[str, Path | None],
    numbers: Mapping[str, int],
    suite: Any,
    *,
    subject: int,
    dataset_name: str,
    suite_name: str,
    data_digest: str,
    whole: int | None,
) -> CellSpec:
    """The spec of a chosen set's cell: of these names, of which the data set has `whole` in all (None: unknown)."""
    videos: dict[Place, Path] = {(subject, i): path for i, path in enumerate(clips.values()) if path is not None}
    parameters = {**origin.told, "clips": list(clips), "of": whole, "videos": digest_videos(videos)}
    if data_digest:
        parameters["numbers"] = [numbers[name] for name in clips]
    return CellSpec(
        dataset=dataset_name,
        data_digest=data_digest,
        split=CHOSEN,
        fold=f"sub{subject:02d}",
        classes=40,
        method=origin.method,
        method_version=1,
        parameters=parameters,
        suite=suite_name,
        suite_digest=suite.digest,
        seed=0,
        source=SUBMITTED,
        settings=origin.settings,
        rules={"chosen": 1},
    )


def put_chosen(
    store: Store,
    spec: CellSpec,
    origin: Origin,
    clips: Mapping[str, Path | None],
    *,
    subject: int,
    shape: Sequence[int] | None,
    phantom: bool,
) -> Cell:
    """The cell of a chosen set, made unless it is there; brought to `shape` where the data set lies here."""
    trials = list_trials(spec, subject)
    return put_cell(store, spec, trials, Brought(list(clips.values()), origin, shape), phantom=phantom)


def list_trials(spec: CellSpec, subject: int) -> pd.DataFrame:
    """A row a clip, in order: its number in the data set where that is known, else its place."""
    count = len(spec.parameters["clips"])
    clips = spec.parameters.get("numbers", range(count))
    table = pd.DataFrame({"trial": np.arange(count), "subject": subject, "clip": clips})
    return table.assign(concept=0, block=0, seed=0)[list(TRIAL_COLUMNS)].astype("int64")


def name_clips(
    videos: Mapping[str, Path], targets: Mapping[str, Path] | None, naming: Naming | None, whole: int | None
) -> dict[str, Path | None]:
    """The clips of a set whose data are not here, by name: those of its true videos where there are such, else its own.

    A true video without a prediction is a clip without one: it is counted. With a naming, names must fit it, and
    numbers must be below `whole`. Raises BenchError for names that do not.
    """
    if targets is not None and (extra := sorted(set(videos) - set(targets))):
        raise BenchError(f"{len(extra)} videos have no true video of their name: {', '.join(extra[:5])}; rename them")
    names = list(videos if targets is None else targets)
    if naming is not None:
        numbers = naming.read_numbers(names)
        if naming.base is not None and whole is not None:
            strange = [name for one, name in numbers.items() if not naming.base <= one < whole + naming.base]
            if strange:
                raise BenchError(
                    f"{len(strange)} videos are of no tested clip: {', '.join(strange[:5])}; numbers go from "
                    f"{naming.base} to {whole + naming.base - 1}"
                )
        names = [numbers[one] for one in sorted(numbers)]
    return {name: videos.get(name) for name in names}


def find_targets(folder: Path, target_name: str) -> dict[str, Path]:
    """True videos by the name of their clip. Raises BenchError for a folder without any of that name."""
    if target_name.count("{}") != 1:
        raise BenchError(f"target name {target_name!r}: it needs {{}} once, for the clip's name, such as gt_{{}}")
    before, after = unicodedata.normalize("NFC", target_name).split("{}")
    pattern = re.compile(re.escape(before) + "(.+)" + re.escape(after))
    found = {match[1]: path for name, path in find_videos(folder).items() if (match := pattern.fullmatch(name))}
    if not found:
        raise BenchError(f"{folder} holds no videos named {target_name!r}; name the folder of true clips")
    return found


def pair_up(cell: Cell, truth: Truth) -> ChosenPairs:
    """The clips of a chosen set with their truth.

    Raises BenchError where a clip has no true video, and where a set that came with its data set is given none.
    """
    spec = cell.manifest["spec"]
    clips, trials = spec["parameters"]["clips"], cell.trials().sort_values("trial")
    files = {
        name: cell.path / file
        for name, file, status in zip(clips, trials["file"], trials["status"], strict=True)
        if status == "ok"
    }
    broken = frozenset(
        name for name, status in zip(clips, trials["status"], strict=True) if status not in ("ok", "missing")
    )
    side = spec["settings"]["side"] or None
    if side and truth.videos is not None and truth.side != side and not spec["data_digest"]:
        raise BenchError(
            f"these videos were half of side-by-side ones: name those with --targets and --side-by-side {side}"
        )
    if truth.videos is not None and (absent := [name for name in clips if name not in truth.videos]):
        raise BenchError(
            f"{len(absent)} clips have no true video, the first {absent[0]}; name the folder with --targets"
        )
    if truth.dataset is not None and "numbers" not in spec["parameters"]:
        raise BenchError(
            f"nothing tells which clips of {spec['dataset']} these are; name their true videos with --targets"
        )
    return ChosenPairs(
        predictions=files,
        targets=None if truth.videos is None else dict(truth.videos),
        side=truth.side,
        # videos beside the data set's were brought to its frames when they were submitted
        rule=FrameRule() if truth.dataset is not None else parse_rule(spec["settings"]["frames"]),
        clips=tuple(clips),
        broken=broken,
        numbers=dict(zip(clips, spec["parameters"].get("numbers", ()), strict=False)),
        dataset=truth.dataset,
    )


def flag_chosen(pairs: ChosenPairs, protocol: Protocol) -> dict[str, str]:
    """What in the videos looks like no decoding, by flag: there are no training clips to explain it by."""
    made, true, flat, copied, alike, places, names = [], [], [], [], [], [], []
    for place, pair in enumerate(pairs.read(protocol)):
        if pair.prediction is None:
            continue
        made.append(sketch(pair.prediction))
        names.append(pair.name)
        flat.append(is_flat(pair.prediction))
        if pair.target is None:
            continue
        places.append(place)
        true.append(sketch(pair.target))
        likeness = compare(transform(see(pair.prediction), CHANGES[:1])[0], transform(see(pair.target), CHANGES))
        if is_copy(pair.prediction, pair.target) or likeness >= CERTAIN:
            copied.append(pair.name)
        if likeness >= ALIKE:
            alike.append(pair.name)
    if not made:
        return {}
    told = {}
    if true:
        copied += [names[i] for i in np.flatnonzero(find_taken(np.stack(made), np.stack(true)))]
    if copied or len(alike) > 1:
        told["copies"] = (
            f"{len({*copied, *alike})} of {len(made)} predictions are near-copies of their true clips "
            f"({', '.join(sorted({*copied, *alike})[:3])})"
        )
    whole = len(true) == len(made)
    beside = true if whole else [one + 1e3 * place for place, one in enumerate(made)]  # without a truth all differ
    repeated = find_repeated(np.stack(made), np.stack(beside), flat)
    told["filled"] = tell_filled(flat, repeated)
    if whole:
        told["renamed"] = tell_renamed(np.stack(made), np.stack(true), np.array(places))
    return {flag: why for flag, why in told.items() if why}


def check_chosen(cell: Cell) -> CellSpec:
    """The spec of a chosen set's cell out of a bundle, all of it checked. Raises BadBundle."""
    what = f"cell {cell.key}"
    try:
        spec = CellSpec(**cell.manifest["spec"])
    except TypeError as error:
        raise BadBundle(f"{what}: its manifest has no spec of this version ({error})") from error
    if spec.key != cell.key:
        raise BadBundle(f"{what} is not the cell of its own spec ({spec.key})")
    told, side = spec.parameters, spec.settings.get("side")
    clips, numbers = told.get("clips"), told.get("numbers")
    if (
        not is_submitted(cell.manifest["spec"])
        or cell.manifest["role"] != "method"
        or cell.manifest["variant"] != "base"
    ):
        raise BadBundle(f"{what} is of split {CHOSEN} and was not submitted; `python -m bench submit` makes such cells")
    if not isinstance(clips, list) or not 0 < len(clips) <= MOST_CLIPS or len(set(map(str, clips))) < len(clips):
        raise BadBundle(f"{what} names no clips, or one twice; submit and pack it again")
    if any(not isinstance(one, str) or not NAME.fullmatch(one) or not one.isprintable() for one in clips):
        raise BadBundle(f"{what}: a clip's name is a line of 1 to 128 characters without / and \\; rename the videos")
    if any(unicodedata.normalize("NFC", one) != one for one in clips):
        raise BadBundle(f"{what}: a clip's name is not in Unicode's form NFC; submit and pack it again")
    whole = told.get("of")
    if whole is not None and (type(whole) is not int or whole < len(clips)):
        raise BadBundle(f"{what} has {len(clips)} clips of {whole!r:.40}; of is how many the whole set has, or null")
    if side not in ("", "truth-left", "truth-right"):
        raise BadBundle(f"{what}: side {side!r:.40}; allowed are truth-left, truth-right and nothing")
    try:
        parse_rule(str(spec.settings.get("frames")))
    except BenchError as error:
        raise BadBundle(f"{what}: {error}") from error
    if bool(spec.data_digest) != (numbers is not None):
        raise BadBundle(f"{what} says which clips of the data set its videos are of, or not which data set's")
    if numbers is not None:
        whole_numbers = isinstance(numbers, list) and all(type(one) is int and 0 <= one < 10**6 for one in numbers)
        if not whole_numbers or len(set(numbers)) < len(numbers) or len(numbers) != len(clips):
            raise BadBundle(f"{what} numbers its clips wrongly; submit and pack it again")
    check_videos(cell, spec, what)
    check_told(cell, spec)
    return spec


def check_told(cell: Cell, spec: CellSpec) -> None:
    """What must be told of submitted videos is told, and which of them are there agrees. Raises BadBundle."""
    told, trials = spec.parameters, cell.trials()
    if any(not isinstance(told.get(name), str) or not told[name].isprintable() for name in TOLD):
        raise BadBundle(f"cell {cell.key}: it must say {', '.join(TOLD)}, a line each; submit and pack it again")
    there = (trials["file"] != "").to_numpy()
    if set(trials["status"]) - {"ok", "missing", "invalid"} or ((trials["status"] == "ok").to_numpy() != there).any():
        raise BadBundle(f"cell {cell.key}: its table of trials says other videos to be there than are; pack it again")


def check_videos(cell: Cell, spec: CellSpec, what: str) -> None:
    """The table of trials is that of the clips, and every video decodes to the pixels promised. Raises BadBundle."""
    check_tables(cell.path, {"predictions/trials.parquet": "trials"}, len(spec.parameters["clips"]), what)
    trials = cell.trials().sort_values("trial", ignore_index=True)
    subject = re.fullmatch(r"sub([0-9]{2,4})", spec.fold)
    if subject is None or len(trials) != len(spec.parameters["clips"]):
        raise BadBundle(f"{what} has {len(trials)} trials of fold {spec.fold!r:.40}; it must have one a clip")
    if not trials[list(TRIAL_COLUMNS)].equals(list_trials(spec, int(subject[1]))):
        raise BadBundle(f"{what}: its trials are not those of its clips; submit and pack it again")
    if strange := sorted(set(trials["file"]) - {""} - set(cell.manifest["files"])):
        raise BadBundle(f"{what}: its table of trials points to {strange[0]!r}, no file of the cell")
    rows = cell.trials()
    told = {name: rows[name].tolist() for name in (*TRIAL_COLUMNS, "status", "pixels")}
    if digest(told) != cell.manifest["prediction_digest"]:
        raise BadBundle(f"{what}: its predictions are not those of its digest; pack it again")
    for row in np.flatnonzero(rows["status"] == "ok"):
        try:
            cell.read(np.array([row]))
        except (StoreError, VideoError, FileNotFoundError) as error:
            raise BadBundle(f"{what}, {rows['file'].iloc[row]}: {error}") from error


def digest_names(cell: Cell) -> str:
    """sha256 of the names and pixels of a chosen set."""
    trials = cell.trials().sort_values("trial")
    lines = zip(cell.manifest["spec"]["parameters"]["clips"], trials["pixels"], strict=True)
    return hashlib.sha256("".join(f"{name}\t{pixels}\n" for name, pixels in lines).encode()).hexdigest()
