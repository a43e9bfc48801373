"""Recipes for released sets: the commands of RECIPES.md, run on stand-in folders in each release's layout.

A phantom's files without manifest and truth stand for the data set, at its own small size; videos in the release's
names, numbers, frames, side-by-side geometry and file format stand for the release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from documents import ROOT, bench_words, parse, read_document
from handed_in import find_tested, vague_videos
from PIL import Image
from roots import lay_out_root

from bench.cli import main
from bench.datasets.catalogue import open_dataset
from bench.store.cells import Store
from bench.store.video import write_lossless
from leaderboard.results import read_results

RECIPES = dict(read_document((ROOT / "baselines" / "RECIPES.md").read_text(encoding="utf-8")))
Clips = Mapping[int, np.ndarray]


def enlarge(video: np.ndarray, side: int) -> np.ndarray:
    return np.stack([cv2.resize(frame, (side, side), interpolation=cv2.INTER_NEAREST) for frame in video])


def stretch(video: np.ndarray, frames: int) -> np.ndarray:
    return video[np.linspace(0, len(video) - 1, frames).round().astype(int)]


def write_gif(path: Path, video: np.ndarray) -> None:
    """One palette a picture, as imageio writes gifs; pictures that are the same are told apart by a pixel."""
    pictures = video.copy()
    pictures[:, -1, -1] = np.arange(len(video))[:, None] * 40
    first, *rest = [Image.fromarray(picture) for picture in pictures]
    path.parent.mkdir(parents=True, exist_ok=True)
    first.save(path, save_all=True, append_images=rest, duration=330)


def grid(true: np.ndarray, made: np.ndarray) -> np.ndarray:
    """torchvision's `make_grid` of two pictures: two black pixels around and between them."""
    frames, height, width = true.shape[:3]
    whole = np.zeros((frames, height + 4, 2 * width + 6, 3), np.uint8)
    whole[:, 2:-2, 2 : 2 + width], whole[:, 2:-2, 4 + width : -2] = true, made
    return whole


def mind_video(made: Clips, true: Clips) -> None:
    for i, video in made.items():
        write_gif(Path(f"mind_video/subject1/test{i + 1}.gif"), grid(enlarge(true[i], 128), enlarge(video, 128)))


def mind_animator(made: Clips, true: Clips) -> None:
    for i, video in made.items():
        write_gif(Path(f"mind_animator/test{i + 1}.gif"), enlarge(stretch(video, 8), 256))


def neurons(made: Clips, true: Clips) -> None:
    folder = Path("neurons/EXP/exp_neurons/subj_1/gen_videos_enhance")
    for i, video in made.items():
        name = f"{i}-a-person-with-{i}-dogs,-outside.gif"
        write_gif(folder / name, grid(enlarge(true[i], 128), enlarge(video, 128)))


def neuroclips(made: Clips, true: Clips) -> None:
    for i, video in made.items():
        write_gif(Path(f"neuroclips/{i}.gif"), enlarge(stretch(video, 14), 128))
        write_gif(Path(f"neuroclips/gt_{i}.gif"), enlarge(true[i], 128))


def cinesync(made: Clips, true: Clips) -> None:
    dataset = open_dataset("phantom_cinebrain:tiny")
    numbers = dataset.stimuli.to_pandas().set_index("clip")["number"]
    folder = Path("results/brain_va_5b_sub05")
    folder.mkdir(parents=True)
    for clip, video in zip(find_tested(dataset, 5), made.values(), strict=True):
        write_lossless(folder / f"{numbers[clip]:06d}.mp4", video, fps=8)


def eeg2video(made: Clips, true: Clips) -> None:
    """Concept by concept, as `bench.datasets.seed_dv.geometry` says the papers evaluate them."""
    dataset = open_dataset("phantom_eeg:tiny")
    order = dataset.geometry.concept_order(7)
    first = int(find_tested(dataset).min())
    for i, clip in enumerate(order):
        write_gif(Path(f"40_Classes/{i}.gif"), made[int(clip) - first])


# section: the phantom that stands for its data set, the data set's name, subject, and what lays the release out
LAYOUTS: dict[str, tuple[str, str, int, Callable[[Clips, Clips], None]]] = {
    "MinD-Video": ("phantom_fmri:tiny", "cc2017", 1, mind_video),
    "Mind-Animator": ("phantom_fmri:tiny", "cc2017", 1, mind_animator),
    "NEURONS": ("phantom_fmri:tiny", "cc2017", 1, neurons),
    "NeuroClips": ("phantom_fmri:tiny", "cc2017", 1, neuroclips),
    "CineSync": ("phantom_cinebrain:tiny", "cinebrain", 5, cinesync),
    "EEG2Video's script": ("phantom_eeg:tiny", "seed_dv", 1, eeg2video),
}
HERE = {"publish": ["--results", "results", "--accept-flagged"], "board": ["--results", "results", "--output", "board"]}


def test_every_recipe_has_its_stand_in():
    asked = {title for title, section in RECIPES.items() if any(bench_words(line) for line in section.commands)}
    assert asked == set(LAYOUTS)


@pytest.mark.parametrize("title", LAYOUTS)
def test_a_recipe_makes_a_whole_set_of_the_release(title, bench_home, tmp_path, monkeypatch, capsys):
    phantom, name, subject, lay_out = LAYOUTS[title]
    monkeypatch.chdir(tmp_path)
    dataset = open_dataset(phantom)
    lay_out_root(phantom, Path(name))
    made = vague_videos(dataset, subject, own=0.8, seed=4)
    true = dict(enumerate(dataset.video(find_tested(dataset, subject))))
    lay_out(made, true)
    whole = title == "MinD-Video"  # one recipe to the board: the others end in the same commands
    one_protocol(monkeypatch)
    if not whole:
        monkeypatch.setattr("bench.scoring.score_cell.score_cell", lambda *about, **more: None)
    for line in RECIPES[title].commands:
        words = bench_words(line)
        if words is None or parse(words) == "verify":  # `publish` verifies the same
            continue
        assert main([*words, *HERE.get(words[0], [])]) == 0, (line, capsys.readouterr().err)
    (cell,) = Store("runs").cells()
    assert cell.manifest["status_counts"] == {"ok": len(true)}
    assert (cell.manifest["spec"]["dataset"], cell.manifest["phantom"]) == (name, False)
    assert cell.manifest["video_shape"] == list(dataset.video([0]).shape[1:])
    check_places(cell, dataset, made, subject)
    if whole:
        rows = read_results(Path("results"))
        assert set(rows["door"]) == {"submitted"} and set(rows["status"]) == {"ok"}
        page = Path("board/LEADERBOARD.md").read_text()
        assert "## cc2017: single subject" in page and "| mind_video_published" in page


def one_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """The board's alone: a recipe is about names and places, and scoring by two takes twice as long."""
    for module in ("bench.api.names", "bench.api.submitting"):
        monkeypatch.setattr(f"{module}.default_protocols", lambda modality, more=(): ("corrected",))


def check_places(cell, dataset, made: Clips, subject: int) -> None:
    """Each clip of the cell is the video that was made for it, but for what palettes and sizes change."""
    trials = cell.trials()
    order = {int(clip): place for place, clip in enumerate(find_tested(dataset, subject))}
    for row in range(0, len(trials), 5):
        video = cell.read([row])[0].astype(float)
        apart = [np.abs(video - made[place]).mean() for place in made]
        assert int(np.argmin(apart)) == order[int(trials["clip"][row])]
        assert min(apart) < 12
