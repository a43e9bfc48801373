"""Figures against what was planted: the right pixels in the right panels, and bars of the right heights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from figure_images import images

from bench.cli import main
from bench.core.errors import BenchError
from bench.core.job import Run
from bench.core.splits import make_folds
from bench.harness.inputs import describe_trials
from bench.harness.plan import plan
from bench.pretrained.suite import load_suite
from bench.store.cells import Cell, Store
from bench.store.predictions import write_predictions
from bench.toolbox.plotting import new_figure, save_figure
from leaderboard.figures import (
    Place,
    Row,
    choose_clips,
    choose_places,
    draw_clips,
    draw_store,
    find_rows,
    lay_side_by_side,
    pick_frames,
    read_rows,
)
from methods.cine_neuron.analysis.interpretation import draw_regions

TINY = "phantom_eeg:tiny"


@pytest.fixture(scope="module")
def suite() -> Any:
    return load_suite("mini")


@pytest.fixture(scope="module")
def store(phantom: Any, suite: Any, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Predictions whose pixels say what they are: red is the method, green the clip, blue the subject.

    `retrieval` lacks one trial; `train_mean` sees no brain; `sam_net` is there as it is and without latents.
    """
    store = Store(tmp_path_factory.mktemp("runs"))
    variants = {"base": {}, "wo_latent": {"use_latents": False}}
    publish(store, phantom, suite, "sam_net", red=10, variants={"base": variants["base"]})
    publish(store, phantom, suite, "sam_net", red=20, variants={"wo_latent": variants["wo_latent"]})
    publish(store, phantom, suite, "retrieval", red=30, missing=True)
    publish(store, phantom, suite, "train_mean", red=40)
    return store


def publish(store: Store, dataset: Any, suite: Any, method: str, *, red: int, **how: Any) -> None:
    missing = how.pop("missing", False)
    run = Run(method=method, split="cross_subject", dataset=TINY, **how)
    job = next(job for job in plan(run, dataset, suite) if job.spec.method == method)
    (fold,) = make_folds(dataset, job.spec.split)
    trials = describe_trials(dataset, fold.test, job.spec)
    video = [np.full((6, 64, 64, 3), (red, row.clip, row.subject), np.uint8) for row in trials.itertuples()]
    for frame in range(6):
        for clip in video:
            clip[frame, 0, 0] = frame
    with store.publishing(job.spec.key) as draft:
        write_predictions(draft, trials, [None if missing and not n else clip for n, clip in enumerate(video)])
        draft.manifest.update(spec=job.spec.as_dict(), variant=job.variant, role=job.role)


# Files


def test_figures_are_written_whole_and_the_same_each_time(tmp_path: Path) -> None:
    for suffix, start in ((".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")):
        for name in ("one", "two"):
            figure = new_figure(2, 2)
            figure.subplots().plot([1, 2])
            save_figure(figure, tmp_path / "deep" / f"{name}{suffix}")
        one, two = ((tmp_path / "deep" / f"{name}{suffix}").read_bytes() for name in ("one", "two"))
        assert one.startswith(start)
        assert one == two or suffix == ".svg"  # its ids are drawn at random
    assert len(list((tmp_path / "deep").iterdir())) == 6
    with pytest.raises(BenchError, match=r"\.gif.*\.png, \.pdf"):
        save_figure(figure, tmp_path / "figure.gif")


# Clips


def test_the_hash_chooses_and_nothing_else_does(phantom: Any, store: Store) -> None:
    chosen = choose_clips(range(60, 70), "digest", 4)
    assert (
        chosen == choose_clips([*reversed(range(60, 70)), 61], "digest", 4) == choose_clips(range(60, 70), "digest", 4)
    )
    assert chosen[:2] == choose_clips(range(60, 70), "digest", 2)
    assert chosen != choose_clips(range(60, 70), "another digest", 4)
    first = [choose_clips(range(40), f"digest {n}", 1)[0] for n in range(2000)]
    assert np.bincount(first, minlength=40).min() > 20  # expected 50 each: every clip has its chance

    cells = list(store.cells())
    places = [
        choose_places(find_rows(cells, methods, [], None, "cross_subject"), phantom.digest, count=5)
        for methods in (["sam_net"], ["retrieval", "sam_net"], ["retrieval", "train_mean"])
    ]
    assert places[0] == places[1] == places[2]
    assert len({place.subject for place in places[0]}) > 1


def test_each_panel_shows_the_frames_of_its_clip(phantom: Any, store: Store) -> None:
    cells = find_rows(list(store.cells()), ["sam_net", "train_mean"], ["wo_latent", "base"], None, "cross_subject")
    assert list(cells) == [("sam_net", "wo_latent"), ("sam_net", "base"), ("train_mean", "base")]
    figure, table = draw_store(cells, phantom, "setting", split="cross_subject", seed=0, count=3, frames=2)
    axes = np.array(figure.axes).reshape(6, 3)  # truth, two rows a variant, one for what sees no brain
    assert [one.get_ylabel() for one in axes[:, 0]] == [
        "truth",
        *("sam_net\nwo_latent", "sam_net\nwo_latent\nshuffled brain", "sam_net", "sam_net\nshuffled brain"),
        "train_mean",
    ]
    shown = np.array(images(figure)).reshape(6, 3, 64, 64 * 2 + 2, 3)
    captions = phantom.stimuli.to_pandas().set_index("clip")["caption"]
    for column, place in enumerate(table.itertuples()):
        truth = phantom.video([place.clip])[0]
        np.testing.assert_array_equal(shown[0, column][:, :64], truth[0])
        np.testing.assert_array_equal(shown[0, column][:, 66:], truth[-1])
        assert (shown[0, column][:, 64:66] == 255).all()
        for row, red in ((1, 20), (2, 20), (3, 10), (4, 10)):
            assert shown[row, column, 5, 5, 0] == red
            assert shown[row, column, 5, 5, 2] == place.subject  # shuffled within the subject
            assert (shown[row, column, 5, 5, 1] == place.clip) == (row in (1, 3))
        assert shown[5, column, 5, 5].tolist() == [40, place.clip, 0]
        assert shown[1, column, 0, 0].tolist() == [0, 0, 0]
        assert shown[1, column, 0, 66].tolist() == [5, 5, 5]
        assert axes[0, column].get_title() == f"clip {place.clip}, subject {place.subject}"
        assert axes[-1, column].get_xlabel().replace("\n", " ") == captions[place.clip] == place.caption
    assert "setting" in figure.get_suptitle()
    assert "nobody picked" in figure.get_supxlabel()
    np.testing.assert_array_equal(shown[4, :, 5, 5, 1], shown[2, :, 5, 5, 1])  # one permutation for every method


def test_a_missing_reconstruction_keeps_its_place(store: Store) -> None:
    (cell,) = find_rows(list(store.cells()), ["retrieval"], [], None, "cross_subject")["retrieval", "base"]
    lost = cell.trials().iloc[0]
    rows = read_rows("retrieval", [cell], [Place(int(lost["clip"]), int(lost["subject"])), Place(999, 1)])
    assert rows[0].videos == ("missing", "not made")
    videos: tuple[Any, ...] = (np.zeros((6, 64, 64, 3), np.uint8), "missing")
    figure = draw_clips(
        [Row("truth", videos)], [Place(1, 1), Place(2, 1)], ["a", "b"], frames=3, title="title", notes="notes"
    )
    assert len(images(figure)) == 1
    assert [text.get_text() for text in figure.axes[1].texts] == ["missing"]


def test_frames_are_spread_from_the_first_to_the_last() -> None:
    video = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 128, 3), np.uint8)
    assert pick_frames(video, 3)[:, 0, 0, 0].tolist() == [0, 2, 5]
    assert len(pick_frames(video, 1)) == 1
    assert lay_side_by_side(video).shape == (4, 6 * 128 + 5 * 4, 3)
    with pytest.raises(BenchError, match="--frames 7: the videos have 6"):
        draw_clips([Row("truth", (video,))], [Place(1, 1)], ["a"], frames=7, title="", notes="")


def test_the_command_draws_from_the_store_and_says_what_is_lacking(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = ("figure", "clips", "--dataset", TINY, "--runs", str(store.root), "--output", str(tmp_path / "clips.png"))
    assert main([*there, "--method", "sam_net", "--method", "caption", "--clips", "62,65", "--subject", "2"]) == 0
    said = capsys.readouterr()
    assert (tmp_path / "clips.png").stat().st_size > 10_000
    assert [line.split()[:2] for line in said.out.splitlines()[2:4]] == [["62", "2"], ["65", "2"]]
    assert "python -m bench run --method caption" in said.err
    for asked, words in (
        (("--clips", "62,3"), ("clip 3", "60, 61")),
        (("--method", "sam_net", "--variant", "wo_latents"), ("wo_latents", "list methods")),
        (("--method", "sam_nett"), ("sam_nett", "sam_net")),
        (
            ("--method", "caption", "--seed", "4"),
            ("--method caption --variant base --split cross_subject", "--seeds 5"),
        ),
        (("--subject", "9"), ("subject 9", "1, 2, 3")),
        (("--frames", "60"), ("--frames 60", "6")),
        (("--output", "clips.gif"), ("clips.gif", ".pdf")),
    ):
        assert main([*there, *asked]) == 1
        error = " ".join(capsys.readouterr().err.split())
        assert "Traceback" not in error
        for word in words:
            assert word in error


def test_figures_of_the_wrong_recordings_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figure", "voxels", "--dataset", TINY, "--output", str(tmp_path / "voxels.png")]) == 1
    assert "cine_neuron decodes fmri" in capsys.readouterr().err


# Voxels


def test_regions_are_bars_of_mean_weights() -> None:
    rows = [(1, "V1", 0.2), (1, "MT", 0.4), (2, "V1", 0.4), (2, "MT", 0.6)]
    table = pd.DataFrame(rows, columns=["subject", "region", "weight"])
    figure = draw_regions({"one": table, "two": table.assign(weight=2 * table["weight"])}, "setting")
    (axes,) = figure.axes
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == pytest.approx([0.3, 0.5, 0.6, 1.0])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["V1", "MT"]
    assert "setting" in figure.get_suptitle()


def test_cells_are_the_store_s_own(store: Store) -> None:
    assert all(isinstance(cell, Cell) for cell in store.cells())
    rows = find_rows(list(store.cells()), ["sam_net"], [], "conditions", "cross_subject")
    assert {variant: len(cells) for (_, variant), cells in rows.items()} == {
        "base": 1,
        "wo_latent": 1,
        "wo_embedding": 0,
        "wo_keyframe": 0,
    }
    assert list(find_rows(list(store.cells()), [], [], None, "cross_subject")) == [("sam_net", "base")]
