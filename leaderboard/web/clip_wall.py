"""The clip wall: the clips that the board shows of each method, committed beside the results, and verified.

    leaderboard/results/<dataset>/<split>/clips/<classes>-<suite>/index.json     what is shown, with digests
    leaderboard/results/<dataset>/<split>/clips/<classes>-<suite>/<digest>.webm  a clip, and .png, its poster

`clip_export` writes them from a store; `read_walls` verifies them, so the board stays a function of committed files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.core.spec import digest
from leaderboard.board import Section
from leaderboard.results import PART, RESULTS, ResultsError, read_manifests

SCHEMA = 1
FOLDER = "clips"
CHOSEN = "chosen"
MEDIA = re.compile(r"[0-9a-f]{24}\.(webm|png)")
AGAIN = "remove its folder and publish the clips again"
Setting = tuple[str, str, int, str]  # data set, split, classes, suite


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A clip on the wall: its files, or the reason why there are none."""

    video: str = ""
    poster: str = ""
    absent: str = ""


@dataclass(frozen=True, kw_only=True)
class Truth:
    clip: int
    concept: str
    caption: str
    shot: Shot


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Truth | method | its shuffled brain."""

    why: str
    method: str
    subject: int
    clip: int
    value: float
    cell: str
    seed: int
    made: Shot
    shuffled: Shot
    shuffled_clip: int  # whose trial the shuffled brain was shown


@dataclass(frozen=True, kw_only=True)
class Wall:
    """All tiles of one section of the board; its files lie in `folder`."""

    dataset: str
    split: str
    classes: int
    suite: str
    metric: str
    fps: int
    truths: Mapping[int, Truth]  # by clip
    tiles: tuple[Tile, ...]
    folder: Path

    @property
    def setting(self) -> Setting:
        return self.dataset, self.split, self.classes, self.suite

    def belongs_to(self, section: Section) -> bool:
        return self.setting == (section.dataset, section.split, section.classes, section.suite)

    def files(self) -> list[str]:
        shots = [truth.shot for truth in self.truths.values()]
        shots += [shot for tile in self.tiles for shot in (tile.made, tile.shuffled)]
        return sorted({name for shot in shots for name in (shot.video, shot.poster) if name})


def wall_folder(folder: Path, setting: Setting) -> Path:
    dataset, split, classes, suite = setting
    for part in (dataset.replace(":", "-"), split, suite):
        if not PART.fullmatch(part):
            raise ResultsError(f"{part!r} cannot be committed: names have letters, digits, _ and -")
    return folder / dataset.replace(":", "-") / split / FOLDER / f"{classes}-{suite}"


def read_walls(folder: Path = RESULTS, published: Collection[str] | None = None) -> list[Wall]:
    """All committed walls, in the order of their files. published: the keys of the committed cells, where known.

    Raises ResultsError for an index or a file that is not what its digest says, and for tiles of cells whose results
    are not committed: the board shows one set of runs.
    """
    if published is None:
        published = {manifest["key"] for manifest in read_manifests(folder)}
    walls = [read_wall(path) for path in sorted(folder.glob(f"*/*/{FOLDER}/*/index.json"))]
    for wall in walls:
        for tile in wall.tiles:
            if tile.cell not in published:
                raise ResultsError(
                    f"{wall.folder} shows clips of {tile.method}, cell {tile.cell}, whose results are not committed; "
                    "publish both again"
                )
    return walls


def read_wall(path: Path) -> Wall:
    """The wall of one index.json. Raises ResultsError where it or a file is not what its digest says."""
    try:
        record = json.loads(path.read_bytes())
        plain = {name: value for name, value in record.items() if name != "index_digest"}
        if record["schema"] != SCHEMA or record["index_digest"] != digest(plain):
            raise ResultsError(f"{path} is not what its own digest says; {AGAIN}")
        truths = [Truth(**truth | {"shot": Shot(**truth["shot"])}) for truth in record["truths"]]
        tiles = [Tile(**tile | {name: Shot(**tile[name]) for name in ("made", "shuffled")}) for tile in record["tiles"]]
        wall = Wall(
            **{name: record[name] for name in ("dataset", "split", "classes", "suite", "metric", "fps")},
            truths={truth.clip: truth for truth in truths},
            tiles=tuple(tiles),
            folder=path.parent,
        )
        digests = dict(record["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{path} holds no clips of the board ({error!r}); {AGAIN}") from error
    if wall_folder(path.parents[4], wall.setting) != path.parent:
        raise ResultsError(f"{path} belongs into another folder; {AGAIN}")
    if any(tile.clip not in wall.truths for tile in wall.tiles) or set(wall.files()) != set(digests):
        raise ResultsError(f"{path} does not list the clips and files that it shows; {AGAIN}")
    for name, expected in digests.items():
        if not MEDIA.fullmatch(name):
            raise ResultsError(f"{path}: {name!r} is no name of a clip's file; {AGAIN}")
        try:
            content = (path.parent / name).read_bytes()
        except OSError as error:
            raise ResultsError(f"{path.parent / name}: {error.strerror}; {AGAIN}") from error
        if hashlib.sha256(content).hexdigest() != expected:
            raise ResultsError(f"{path.parent / name} is not what the index says; {AGAIN}")
    return wall
