"""Which clips the wall shows, and their videos out of a store, small enough to be committed beside the results.

Of each method and baseline a wall shows

- `chosen`: the clips whose hash with the data set's digest is smallest, each of the subject that the hash says. It is
  the choice of `leaderboard.figures`: nobody picked, and it depends on no result. The same for all methods: those that
  come later are shown with the clips that most of the others are shown with, though the data's digest be another now.
- `best`, `median`, `worst`: single trials by the section's primary metric. Picked by result, and labelled so. Equal
  scores are ordered by hash.

All of the method's lowest seed. Beside truth and reconstruction stands the same method's *shuffled brain*: what the
same weights made of another trial of the same subject, by the first of the permutations behind the printed floor
(`bench.core.seeds.permute`) that gives another clip's trial (`figures.swap_trial`; the floor itself keeps the
trials that a permutation leaves in place, but two equal videos would show nothing).

Real data sets come under licences that let nobody pass their frames on. Only a phantom's true clips and captions are
written; of the others a wall holds the reason instead. Their reconstructions are left out too where a frame is nearly
a true one (a retrieval shows training clips as they are, and a generator may have learnt some by heart).

Size: a clip and its poster take about 3.3 kB on `phantom_eeg` and `phantom_fmri`, 5.2 kB on `phantom_cinebrain`, and a
tile has two of each. With six tiles a method, nine sections of twelve methods (three a phantom) are 5.1 MB.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.core.contracts import Dataset
from bench.core.seeds import derive_seed
from bench.core.spec import digest
from bench.store.cells import Cell
from bench.store.predictions import FRAMES_PER_SECOND
from leaderboard import figures
from leaderboard.admission import SEES_BRAIN
from leaderboard.board import BASE, CLASSES, PROTOCOL, board_metrics
from leaderboard.results import RESULTS, ResultsError, read_manifests
from leaderboard.web.clip_wall import CHOSEN, SCHEMA, Shot, Tile, Truth, Wall, read_wall, wall_folder
from leaderboard.web.media import Video, encode_poster, encode_webm, name_content, summarise_frames
from metrics.protocols import PROTOCOLS

COUNT = 3
RESULT_PICKS = ("best", "median", "worst")
COPY = 0.95  # correlation of a frame with a true one from which it counts as that frame
WITHHELD = "not shown: the licence of {} does not let anybody pass its frames on"
TOO_CLOSE = "not shown: it is nearly a frame of {}, whose licence does not let anybody pass them on"
CHUNK = 64  # true clips read at once


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A trial to show, and why: `chosen` by hash, or `best`, `median` or `worst` by the metric."""

    why: str
    method: str
    subject: int
    clip: int
    value: float
    cell: str
    seed: int


def choose_clips(
    scores: pd.DataFrame,
    data_digest: str,
    *,
    direction: str = "higher",
    count: int = COUNT,
    beside: Sequence[tuple[int, int]] = (),
) -> list[Choice]:
    """The trials to show of each method, methods in the order of their rows.

    scores: rows of one section and one metric, of what sees a brain: method, seed, cell, subject, clip, value.
    beside: clips and subjects that methods of the wall are shown with; chosen again, where there are enough of them.
    """
    choices = []
    trials = scores[["subject", "clip"]].drop_duplicates()
    there = set(zip(trials["clip"], trials["subject"], strict=True))
    places = [place for place in beside if place in there][:count]
    if len(places) < count:
        clips = figures.choose_clips(trials["clip"].tolist(), data_digest, count)
        places = [(clip, choose_subject(trials, clip, data_digest)) for clip in clips]
    for method in dict.fromkeys(scores["method"]):
        mine = scores[scores["method"] == method]
        mine = mine[mine["seed"] == mine["seed"].min()].drop_duplicates(["subject", "clip"])
        seen = zip(mine["clip"], mine["subject"], strict=True)
        hashes = [derive_seed("figure", data_digest, int(clip), int(subject)) for clip, subject in seen]
        signed = mine["value"] if direction == "lower" else -mine["value"]
        order = mine.assign(signed=signed, hash=hashes).sort_values(["signed", "hash"], ignore_index=True)
        by_place = {(int(row["clip"]), int(row["subject"])): row for _, row in order.iterrows()}
        picked = [(CHOSEN, by_place[place]) for place in places if place in by_place]
        last = len(order) - 1
        picked += [(why, order.iloc[at]) for why, at in zip(RESULT_PICKS, (0, last // 2, last), strict=True)]
        choices += [
            Choice(
                why=why,
                method=str(method),
                subject=int(row["subject"]),
                clip=int(row["clip"]),
                value=float(row["value"]),
                cell=str(row["cell"]),
                seed=int(row["seed"]),
            )
            for why, row in picked
        ]
    return choices


def choose_subject(trials: pd.DataFrame, clip: int, data_digest: str) -> int:
    """Of the subjects who saw the clip, the one whose hash is smallest, as in `figures.choose_places`."""
    saw = [int(one) for one in trials["subject"][trials["clip"] == clip]]
    return min(saw, key=lambda one: derive_seed("figure", data_digest, clip, one))


def export_clips(
    cells: Iterable[Cell], dataset: Dataset, scores: pd.DataFrame, folder: Path = RESULTS, *, count: int = COUNT
) -> list[Path]:
    """Write the walls of the data set's sections and return their files.

    cells: of the store, any; used are those that the scores name. scores: rows of `read_results` or
    `bench.scoring.stored.read_scores`. Methods that the scores do not have stay on the wall as they are while their
    results are committed: they may come from another store. Raises ResultsError where a cell that is to be shown is not
    among `cells`, or was made from other data.
    """
    by_key = {cell.key: cell for cell in cells}
    published = {manifest["key"] for manifest in read_manifests(folder)}
    licensed = None if dataset.truth is not None else summarise_dataset(dataset)
    used = scores[
        (scores["protocol"] == PROTOCOL)
        & (scores["variant"] == BASE)
        & (scores["classes"] == CLASSES)
        & scores["role"].isin(SEES_BRAIN)
        & (scores["dataset"] == dataset.name)
    ]
    written = []
    for (split, classes, suite), part in used.groupby(["split", "classes", "suite"]):
        present = set(part["metric"])
        primary = next(name for name in board_metrics(dataset.name) if name in present)
        metric = PROTOCOLS[PROTOCOL][primary]
        rows = part[part["metric"] == metric.name]
        place = wall_folder(folder, (dataset.name, str(split), int(str(classes)), str(suite)))
        rest = keep_rest(place, metric.name, published, set(rows["method"]))
        beside = find_shared(rest, dataset) if rest is not None else []
        choices = choose_clips(rows, dataset.digest, direction=metric.direction, count=count, beside=beside)
        about = {"dataset": dataset.name, "split": split, "classes": int(str(classes)), "suite": suite}
        about |= {"metric": metric.name, "fps": FRAMES_PER_SECOND}
        written += write_wall(place, about, choices, by_key, dataset, licensed, rest)
    return written


def keep_rest(place: Path, metric: str, published: set[str], methods: set[str]) -> Wall | None:
    """The wall that is there, with the tiles that stay: of other methods whose results are committed."""
    if not (place / "index.json").is_file():
        return None
    old = read_wall(place / "index.json")
    stay = [tile for tile in old.tiles if tile.cell in published and tile.method not in methods]
    tiles = tuple(stay) if old.metric == metric else ()
    truths = {tile.clip: old.truths[tile.clip] for tile in tiles}
    return replace(old, tiles=tiles, truths=truths)


def find_shared(wall: Wall, dataset: Dataset) -> list[tuple[int, int]]:
    """The clips and subjects that most methods of a wall are shown with, as far as the data still has these clips."""
    chosen: dict[str, list[tuple[int, int]]] = {}
    for tile in wall.tiles:
        if tile.why == CHOSEN:
            chosen.setdefault(tile.method, []).append((tile.clip, tile.subject))
    alike = Counter(map(tuple, chosen.values()))
    places = max(alike, key=lambda one: (alike[one], one), default=())
    return [place for place in places if is_unchanged(wall.truths[place[0]], dataset)]


def is_unchanged(truth: Truth, dataset: Dataset) -> bool:
    """Whether the data set has the clip still, with the same concept and, where it is shown, the same pictures."""
    stimuli = dataset.stimuli.to_pandas().set_index("clip")
    if truth.clip not in stimuli.index or dataset.concepts[int(stimuli.loc[truth.clip, "concept"])] != truth.concept:
        return False
    shown = truth.shot.video
    return not shown or shown == name_content(encode_webm(dataset.video([truth.clip])[0]), ".webm")


def write_wall(
    place: Path,
    about: Mapping[str, Any],
    choices: Sequence[Choice],
    cells: Mapping[str, Cell],
    dataset: Dataset,
    licensed: np.ndarray | None,  # summaries of the frames that nobody may pass on; None: all may be shown
    rest: Wall | None,
) -> list[Path]:
    files = {} if rest is None else {name: (place / name).read_bytes() for name in rest.files()}
    free = licensed is None
    stimuli = dataset.stimuli.to_pandas().set_index("clip")
    truths = {} if rest is None else dict(rest.truths)
    for clip in sorted({choice.clip for choice in choices}):
        shot = keep(dataset.video([clip])[0], files) if free else Shot(absent=WITHHELD.format(dataset.name))
        caption = str(stimuli.loc[clip, "caption"]) if free else ""
        concept = dataset.concepts[int(stimuli.loc[clip, "concept"])]
        truths[clip] = Truth(clip=clip, concept=concept, caption=caption, shot=shot)
    tiles = [] if rest is None else list(rest.tiles)
    for choice in choices:
        cell = find_cell(choice, cells, dataset)
        trials = cell.trials()
        mine = np.flatnonzero(trials["subject"] == choice.subject)
        clips = trials["clip"].to_numpy()[mine]
        row = int(np.flatnonzero(clips == choice.clip)[0])
        other = figures.swap_trial(clips, row, choice.subject)
        made, shuffled = (
            show_trial(cell, trials, int(mine[one]), files, dataset.name, licensed) for one in (row, other)
        )
        tiles.append(Tile(**asdict(choice), made=made, shuffled=shuffled, shuffled_clip=int(clips[other])))
    record = {
        "schema": SCHEMA,
        **about,
        "truths": [asdict(truths[clip]) for clip in sorted(truths)],
        "tiles": [asdict(tile) for tile in sorted(tiles, key=lambda one: one.method)],
        "files": {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)},
    }
    record["index_digest"] = digest(record)
    if place.exists():
        shutil.rmtree(place)
    place.mkdir(parents=True)
    for name in sorted(files):
        (place / name).write_bytes(files[name])
    index = place / "index.json"
    index.write_text(json.dumps(record, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n", "utf-8")
    return [index, *(place / name for name in sorted(files))]


def find_cell(choice: Choice, cells: Mapping[str, Cell], dataset: Dataset) -> Cell:
    cell = cells.get(choice.cell)
    if cell is None:
        raise ResultsError(
            f"cell {choice.cell} of {choice.method} is not in the store, so its clips cannot be shown; run it again "
            "into this store, or name the one that has it with --runs"
        )
    if cell.manifest["spec"]["data_digest"] != dataset.digest:
        raise ResultsError(f"cell {choice.cell} was made from other {dataset.name} data; run it again")
    return cell


def show_trial(
    cell: Cell, trials: pd.DataFrame, row: int, files: dict[str, bytes], name: str, licensed: np.ndarray | None
) -> Shot:
    video = figures.read_video(cell, trials, row)
    if isinstance(video, str):
        return Shot(absent=f"no reconstruction ({video})")
    if licensed is not None and (summarise_frames([video]) @ licensed.T).max() >= COPY:
        return Shot(absent=TOO_CLOSE.format(name))
    return keep(video, files)


def keep(video: Video, files: dict[str, bytes]) -> Shot:
    film, poster = encode_webm(video), encode_poster(video)
    names = name_content(film, ".webm"), name_content(poster, ".png")
    files |= {names[0]: film, names[1]: poster}
    return Shot(video=names[0], poster=names[1])


def summarise_dataset(dataset: Dataset) -> np.ndarray:
    """All frames of the data set's clips, as `summarise_frames` gives them."""
    clips = np.asarray(dataset.stimuli.to_pandas()["clip"])
    parts = [clips[start : start + CHUNK] for start in range(0, len(clips), CHUNK)]
    return np.concatenate([summarise_frames(dataset.video(part)) for part in parts])
