"""Frames of true clips against reconstructions, read from the store (SAM-Net's Figures 5 to 7, CineNeuron's 3, 4, 6).

Nobody picks what is shown: the clips are those of the test block whose hash with the data set's digest is smallest, and
each is of the subject whose hash with it is smallest. The choice depends neither on the methods shown nor on how well
they do; clips that somebody named are labelled so. Beneath each method stands its own shuffled brain: what the same
weights made of another trial of the same subject. What looks alike in both rows was not read from the brain.

A clip without a reconstruction keeps its place, empty, with the word for it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from bench.core.contracts import Dataset
from bench.core.errors import BenchError
from bench.core.seeds import derive_seed, permute
from bench.core.variants import find_owner, find_variant, load_variants
from bench.store.cells import Cell
from bench.toolbox.plotting import add_words, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Video = UInt8[np.ndarray, "frame height width 3"]
NOBODY = 0  # the subject of a method that sees no brain
CLIPS = "clips"  # their split
GAP = 2  # white pixels between frames of 64, more between larger ones


@dataclass(frozen=True)
class Place:
    """What a column shows: a clip as one subject saw it."""

    clip: int
    subject: int


@dataclass(frozen=True)
class Row:
    """A line of the figure: a video for each place, or the word for why there is none."""

    name: str
    videos: tuple[Video | str, ...]


def find_rows(
    cells: Sequence[Cell], methods: Sequence[str], variants: Sequence[str], ablation: str | None, split: str
) -> dict[tuple[str, str], list[Cell]]:
    """The cells of each method and variant that is asked for, empty where none was made.

    Without a method: the one that owns the ablation, else all that are neither floor, baseline nor ceiling. A method
    is shown in all variants of the ablation if it has that, else in the named ones that it has, else as it is. Cells
    are told by their parameters, not by the name that a variant had when they were made.
    """
    cells = [cell for cell in cells if cell.shows_videos and cell.manifest["spec"]["split"] in (split, CLIPS)]
    if not methods:
        every = {cell.manifest["spec"]["method"] for cell in cells if cell.manifest["role"] == "method"}
        methods = [find_owner(ablation)] if ablation else sorted(every)
    rows: dict[tuple[str, str], list[Cell]] = {}
    shown = set()
    for method in methods:
        groups = load_variants(method)
        known = {"base", *(variant for group in groups.values() for variant in group)}
        mine = list(groups[ablation]) if ablation in groups else [one for one in variants if one in known]
        shown |= {ablation, *mine} if ablation in groups else set(mine)
        for variant in mine or ["base"]:
            asked = method, find_variant(method, variant)
            specs = [(cell, cell.manifest["spec"]) for cell in cells]
            rows[method, variant] = [cell for cell, spec in specs if (spec["method"], spec["parameters"]) == asked]
    for strange in (one for one in (*variants, ablation) if one is not None and one not in shown):
        raise BenchError(
            f"none of {', '.join(methods) or 'no methods'} has a variant or ablation {strange!r}; "
            "`python -m bench list methods` names them"
        )
    return rows


def draw_store(
    cells: Mapping[tuple[str, str], Sequence[Cell]],
    dataset: Dataset,
    setting: str,
    *,
    split: str,
    seed: int,
    clips: Sequence[int] | None = None,
    count: int = 4,
    frames: int = 3,
    subject: int | None = None,
) -> tuple[Figure, pd.DataFrame]:
    """The figure of these cells, and a table of what its columns show: clip, subject, concept, caption."""
    named = {method if variant == "base" else f"{method}\n{variant}": made for (method, variant), made in cells.items()}
    places = choose_places(named, dataset.digest, count=count, clips=clips, subject=subject)
    truth = Row("truth", tuple(dataset.video([place.clip])[0] for place in places))
    rows = [truth, *(row for name, made in named.items() for row in read_rows(name, made, places))]
    stimuli = dataset.stimuli.to_pandas().set_index("clip").loc[[place.clip for place in places]]
    captions = stimuli["caption"].tolist()
    how = (
        "named by hand" if clips else f"the {len(places)} whose hash with the data's digest is smallest: nobody picked"
    )
    notes = (
        f"Clips: {how}. Shuffled brain: what the same weights made of another trial of the same subject; what is alike "
        "in both rows was not read from the brain. Beneath: the clip's true caption."
    )
    title = f"True clips and their reconstructions, {split}, seed {seed}\n{setting}"
    figure = draw_clips(rows, places, captions, frames=frames, title=title, notes=notes)
    concepts = [dataset.concepts[one] for one in stimuli["concept"]]
    shown = {"clip": [place.clip for place in places], "subject": [place.subject for place in places]}
    return figure, pd.DataFrame({**shown, "concept": concepts, "caption": captions})


def choose_clips(clips: Sequence[int], digest: str, count: int) -> list[int]:
    """The `count` clips whose hash with the data set's digest is smallest, in that order."""
    return sorted({int(clip) for clip in clips}, key=lambda clip: derive_seed("figure", digest, clip))[:count]


def choose_places(
    cells: Mapping[str, Sequence[Cell]],
    digest: str,
    *,
    count: int,
    clips: Sequence[int] | None = None,
    subject: int | None = None,
) -> list[Place]:
    """The columns: hash-chosen clips, or those that are named; each of the subject that is named or that the hash says.

    cells: those of each row that is to be drawn. Raises BenchError for clips and subjects that nothing was made of.
    """
    tables = [cell.trials()[["subject", "clip"]] for row in cells.values() for cell in row]
    made = pd.concat(tables).drop_duplicates() if tables else pd.DataFrame({"subject": [], "clip": []})
    with_brain = made[made["subject"] != NOBODY]
    made = with_brain if len(with_brain) else made
    known = sorted({int(one) for one in made["subject"]})
    if subject is not None:
        if subject not in known:
            raise BenchError(f"no reconstruction of subject {subject}; there are {', '.join(map(str, known))}")
        made = made[made["subject"] == subject]
    there = sorted({int(clip) for clip in made["clip"]})
    if absent := [clip for clip in clips or () if clip not in there]:
        some = ", ".join(map(str, there[:8])) + (" …" if len(there) > 8 else "")
        raise BenchError(f"no reconstruction of clip {absent[0]}; of the test block there are {some}")
    places = []
    for clip in clips or choose_clips(there, digest, count):
        saw = [int(one) for one in made["subject"][made["clip"] == clip]]
        places.append(Place(clip, min(saw, key=lambda one: derive_seed("figure", digest, clip, one))))
    return places


def read_rows(name: str, cells: Sequence[Cell], places: Sequence[Place]) -> list[Row]:
    """The row of a method variant's cells (one a fold), and the row of its shuffled brain where it sees one."""
    own, shuffled = [], []
    sees = False
    for place in places:
        videos: tuple[Video | str, Video | str] = ("not made", "not made")
        for cell in cells:
            trials = cell.trials()
            brainless = (trials["subject"] == NOBODY).all()
            mine = np.flatnonzero(trials["subject"] == (NOBODY if brainless else place.subject))
            rows = np.flatnonzero(trials["clip"].to_numpy()[mine] == place.clip)
            if len(rows):
                sees |= not brainless
                other = swap_trial(trials["clip"].to_numpy()[mine], int(rows[0]), place.subject)
                videos = read_video(cell, trials, mine[rows[0]]), read_video(cell, trials, mine[other])
                break
        own.append(videos[0])
        shuffled.append(videos[1])
    return [Row(name, tuple(own)), *([Row(f"{name}\nshuffled brain", tuple(shuffled))] if sees else [])]


def swap_trial(clips: np.ndarray, row: int, subject: int) -> int:
    """The trial whose brain a shuffled row gets: by the first of the scores' permutations that gives another clip's."""
    for pairing in permute(len(clips), subject):
        if clips[pairing[row]] != clips[row]:
            return int(pairing[row])
    return row


def read_video(cell: Cell, trials: pd.DataFrame, row: int) -> Video | str:
    status = str(trials["status"].iloc[row])
    return cell.read([row])[0] if status == "ok" else status


def draw_clips(
    rows: Sequence[Row], places: Sequence[Place], captions: Sequence[str], *, frames: int, title: str, notes: str
) -> Figure:
    """A line a row and a column a clip: `frames` frames, evenly spread, side by side; the caption beneath.

    Raises BenchError where a video has fewer frames than that.
    """
    sizes = [video.shape for row in rows for video in row.videos if not isinstance(video, str)]
    if not sizes:
        raise BenchError("no video to draw: every trial chosen is missing; name others with --clips")
    if frames > min(shape[0] for shape in sizes):
        raise BenchError(f"--frames {frames}: the videos have {min(shape[0] for shape in sizes)}; ask for fewer")
    _, height, width, _ = sizes[0]
    column = max(2.0, 0.85 * frames)  # inches
    line = column / frames * height / width + 0.08
    figure = new_figure(1.6 + column * len(places), 1.6 + line * len(rows) + 0.5)
    panels = figure.subplots(len(rows), len(places), squeeze=False)
    for row, line_of in zip(rows, panels, strict=True):
        for video, axes in zip(row.videos, line_of, strict=True):
            show_strip(axes, video, frames)
        line_of[0].set_ylabel(row.name, rotation=0, ha="right", va="center", fontsize=8)
    for place, top, bottom, caption in zip(places, panels[0], panels[-1], captions, strict=True):
        saw = "" if place.subject == NOBODY else f", subject {place.subject}"
        top.set_title(f"clip {place.clip}{saw}", fontsize=8)
        bottom.set_xlabel(textwrap.fill(caption, int(15 * column)), fontsize=8, style="italic")
    add_words(figure, title, notes)
    return figure


def show_strip(axes: Axes, video: Video | str, frames: int) -> None:
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if isinstance(video, str):
        axes.text(0.5, 0.5, video, ha="center", va="center", fontsize=8, transform=axes.transAxes)
    else:
        axes.imshow(lay_side_by_side(pick_frames(video, frames)))


def pick_frames(video: Video, frames: int) -> Video:
    """Evenly spread, the first and the last among them; the middle one where one is asked for."""
    last = len(video) - 1
    places = np.linspace(0, last, frames) if frames > 1 else np.array([last / 2])
    return video[places.round().astype(int)]


def lay_side_by_side(video: Video) -> UInt8[np.ndarray, "height width 3"]:
    """The frames in a row, with white between them."""
    gap = GAP * max(1, video.shape[2] // 64)
    padded = np.pad(video, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
    return np.concatenate(list(padded), axis=1)[:, :-gap]
