"""Flags: near-copies of true clips are found whatever was done to them, and what honest methods show is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.core.splits import make_folds
from bench.pretrained.suite import load_suite
from bench.scoring.flags import COPIES, NO_GENERATOR, find_copies, find_foreign, flag_cell, read_flags
from bench.scoring.likeness import CHANGES, compare, see, transform
from bench.store.cells import Cell, Store
from bench.store.predictions import write_predictions

Change = Callable[[np.ndarray], np.ndarray]  # u8 (n, f, h, w, 3) to the same


def frames(change: Change) -> Change:
    """A change of single pictures as one of videos."""
    return lambda video: np.stack([np.stack([change(frame) for frame in clip]) for clip in video])


def add_noise(video: np.ndarray, level: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, level, video.shape)
    return np.clip(video + noise, 0, 255).astype(np.uint8)


def crop(top: int, left: int, side: int) -> Change:
    return frames(lambda frame: cv2.resize(frame[top : top + side, left : left + side], frame.shape[1::-1]))


def as_jpeg(frame: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 10])[1], cv2.IMREAD_COLOR)


COPIED: dict[str, Change] = {
    "as they are": lambda video: video,
    "noise": lambda video: add_noise(video, 40),
    "one corner": crop(0, 0, 50),
    "the middle": crop(8, 8, 48),
    "re-encoded": frames(as_jpeg),
    "darker": lambda video: (video * 0.5 + 30).astype(np.uint8),
    "negative": lambda video: 255 - video,
    "mirrored": lambda video: video[..., ::-1, :],
    "backwards": lambda video: video[:, ::-1],
    "moved": lambda video: np.roll(video, (5, -4), (2, 3)),
    "blurred": frames(lambda frame: cv2.GaussianBlur(frame, (0, 0), 2)),
    "grey": lambda video: np.repeat(video.mean(axis=-1, keepdims=True), 3, axis=-1).astype(np.uint8),
    "turned": frames(
        lambda frame: cv2.warpAffine(frame, cv2.getRotationMatrix2D((32, 32), 6, 1), frame.shape[1::-1], borderMode=1)
    ),
    "a still frame": lambda video: np.repeat(video[:, 2:3], video.shape[1], axis=1),
    "a third of them": lambda video: np.where(np.arange(len(video))[:, None, None, None, None] % 3, 128, video).astype(
        np.uint8
    ),
}


@pytest.fixture(scope="module")
def suite():
    return load_suite("mini")


@pytest.fixture(scope="module")
def fold(phantom):
    (one,) = make_folds(phantom, "cross_subject")
    return one


def make_cell(folder: Path, phantom, fold, video: np.ndarray, *, role: str = "method", most: int = 10) -> Cell:
    """A cell of the first subject's test trials, with these videos; of the first `most` trials alone."""
    trials = phantom.trials.to_pandas().set_index("trial").loc[fold.test].reset_index()
    trials = trials[trials["subject"] == trials["subject"].min()].reset_index(drop=True)
    stimuli = phantom.stimuli.to_pandas().set_index("clip")
    trials = trials.assign(concept=stimuli.loc[trials["clip"], "concept"].to_numpy(), block=0, seed=0)
    spec = {"split": "cross_subject", "fold": fold.name, "classes": 40, "data_digest": "d", "suite_digest": "s"}
    store = Store(folder)
    with store.publishing("aa") as draft:
        write_predictions(draft, trials.iloc[:most], list(video[:most]))
        draft.manifest.update(spec=spec, role=role)
    cell = store.find("aa")
    assert cell is not None
    return cell


def true_clips(phantom, fold) -> np.ndarray:
    shown = np.asarray(phantom.trials["clip"])[fold.test]
    subjects = np.asarray(phantom.trials["subject"])[fold.test]
    return phantom.video(shown[subjects == subjects.min()])


@pytest.mark.parametrize("how", COPIED)
def test_copies_are_found_whatever_was_done_to_them(how, phantom, fold, suite, tmp_path):
    most = 10 if how == "a third of them" else 3
    cell = make_cell(tmp_path, phantom, fold, COPIED[how](true_clips(phantom, fold)), most=most)
    assert "near-copies of their true clips" in find_copies(cell, phantom, suite)


def training_clips(phantom, fold, video: np.ndarray) -> np.ndarray:
    """For each true clip the training clip that looks most like it: the best that a retrieval could show."""
    clips = np.unique(np.asarray(phantom.trials["clip"])[fold.train])
    known = phantom.video(clips)
    plain = [transform(see(clip), CHANGES[:1])[0] for clip in known]
    return np.stack(
        [known[int(np.argmax([compare(one, transform(see(clip), CHANGES[:4])) for one in plain]))] for clip in video]
    )


def test_training_clips_are_no_copies_and_no_strange_pixels(phantom, fold, suite, tmp_path):
    best = training_clips(phantom, fold, true_clips(phantom, fold))
    for name, video in (("plain", best), ("mirrored", best[..., ::-1, :]), ("noisy", add_noise(best, 15))):
        cell = make_cell(tmp_path / name, phantom, fold, video)
        assert find_copies(cell, phantom, suite) == "", name
    assert find_foreign(make_cell(tmp_path / "foreign", phantom, fold, best), phantom, suite) == ""


def test_what_no_generator_makes_is_told_from_what_one_makes(phantom, fold, suite, tmp_path):
    true = true_clips(phantom, fold)[:, :, ::-1].copy()  # upside down: no training clip
    cell = make_cell(tmp_path / "noise", phantom, fold, add_noise(true, 20))
    assert "no generator of this suite makes such videos: vae changes them by" in find_foreign(cell, phantom, suite)
    made = suite.decode_latents(suite.encode_video(true))
    assert find_foreign(make_cell(tmp_path / "made", phantom, fold, made), phantom, suite) == ""


def test_what_is_found_is_kept_and_references_are_left_alone(phantom, fold, suite, tmp_path, monkeypatch):
    true = true_clips(phantom, fold)
    cell = make_cell(tmp_path / "copies", phantom, fold, true)
    assert read_flags(cell) == []
    assert set(flag_cell(cell, phantom, suite, (COPIES,))) == {COPIES} and read_flags(cell) == [COPIES]
    monkeypatch.setattr("bench.scoring.flags.compare", None)  # nothing is looked at again
    assert "near-copies" in flag_cell(cell, phantom, suite, (COPIES,))[COPIES]
    shutil.rmtree(tmp_path / "copies")
    ceiling = make_cell(tmp_path / "ceiling", phantom, fold, true, role="ceiling")
    assert flag_cell(ceiling, phantom, suite) == {} and NO_GENERATOR != COPIES


def test_no_method_of_a_quick_run_is_flagged(finished, phantom, suite):
    for cell in Store(finished).cells():
        if cell.shows_videos and cell.manifest["role"] in ("method", "baseline", "control"):
            assert find_copies(cell, phantom, suite) == "", cell.manifest["spec"]["method"]
