"""The command line as a user meets it: names, errors, and the second door."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.cli import main
from bench.store.video import write_lossless


def run_main(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    with redirect_stdout(out):
        code = main([str(argument) for argument in arguments])
    return code, out.getvalue()


def test_list_names_everything_and_loads_no_torch():
    code = (
        "import sys; from bench.cli import main; main(['list']); "
        "heavy = {'torch', 'pandas', 'numpy', 'diffusers'} & set(sys.modules); assert not heavy, heavy"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    for name in ("sam_net", "--ablation hrt", "phantom_eeg", "new_subject", "corrected", "paper"):
        assert name in out.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--method", "samnet"], ["samnet", "sam_net"]),
        (["run", "--method", "sam_net", "--variant", "wo_hrtt", "--quick"], ["wo_hrtt", "wo_hrt"]),
        (["run", "--method", "sam_net", "--split", "cross", "--quick"], ["cross", "cross_subject"]),
        (["run", "--method", "sam_net", "--set", "widht=3", "--quick"], ["widht", "width"]),
        (["run", "--method", "train_mean", "--set", "width=3", "--quick"], ["train_mean", "width"]),
        (["run", "--method", "train_mean", "--dataset", "phantom_eg"], ["phantom_eg", "phantom_eeg"]),
        (["run", "--method", "train_mean", "--dataset", "seed_dv"], ["seed_dv", "--data-root"]),
        (["run", "--method", "train_mean", "--suite", "minny", "--quick"], ["minny", "mini"]),
        (["table", "--dataset", "phantom_eeg:tiny", "--protocol", "eeg"], ["eeg", "eeg2video"]),
    ],
)
def test_unknown_names_say_what_is_allowed(arguments, words, capsys, tmp_path):
    assert main([*arguments, "--runs", str(tmp_path / "runs")]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in said
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("scored", "arguments", "words"),
    [
        ([], [], ["no scores for phantom_eeg:tiny", "holds cells of nothing", "--dataset phantom_eeg:tiny"]),
        (["train_mean"], [], ["no scores of a method", "train_mean", "--references"]),
        (["train_mean"], ["--method", "sam_net", "--split", "new_subject"], ["sam_net on new_subject", "train_mean"]),
        (
            ["sam_net", "train_mean"],
            ["--ablation", "hrt"],
            ["base alone", "--dataset phantom_eeg:tiny", "--ablation hrt --seeds 3"],
        ),
    ],
)
def test_a_table_of_nothing_says_what_there_is(scored, arguments, words, capsys, monkeypatch, tmp_path, phantom):
    shared = {"dataset": "phantom_eeg:tiny", "classes": 40, "suite": "mini", "protocol": "corrected", "metric": "ssim"}
    shared |= {"variant": "base", "seed": 0, "status": "ok", "parameters": 0, "phantom": True}
    shared |= {"value": 0.5, "shuffled": 0.4}
    kinds = {
        "sam_net": {"role": "method", "split": "cross_subject", "subject": 1},
        "train_mean": {"role": "control", "split": "clips", "subject": 0},
    }
    rows = [
        {**shared, **kinds[method], "method": method, "clip": clip, "concept": clip}
        for method in scored
        for clip in range(4)
    ]
    monkeypatch.setattr("bench.scoring.stored.read_scores", lambda *_: pd.DataFrame(rows))
    assert main(["table", "--dataset", "phantom_eeg:tiny", "--runs", str(tmp_path), *arguments]) == 1
    said = " ".join(capsys.readouterr().err.split())
    for word in words:
        assert word in said


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Four true clips and four predictions, one of them wrong in every way a folder can be wrong."""
    generator = np.random.default_rng(0)
    targets, predictions = tmp_path / "targets", tmp_path / "predictions"
    for folder in (targets, predictions):
        folder.mkdir()
    for name in ("a", "b", "c", "d"):
        clip = generator.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
        write_lossless(targets / f"{name}.mp4", clip, fps=3)
        if name != "d":
            write_lossless(predictions / f"{name}.mp4", clip, fps=3)
    return predictions, targets


def score(predictions: Path, targets: Path) -> tuple[int, dict[str, dict[str, float]]]:
    """Exit code and the values by clip and metric."""
    code, text = run_main(
        *("score", "--predictions", predictions, "--targets", targets),
        *("--metrics", "ssim,psnr", "--format", "json"),
    )
    values: dict[str, dict[str, float]] = {}
    for row in json.loads(text) if text else []:
        values.setdefault(row["clip"], {})[row["metric"]] = row["value"]
    return code, values


def test_a_missing_and_a_broken_clip_score_the_worst_and_are_counted(folders, capsys):
    predictions, targets = folders
    (predictions / "b.mp4").write_bytes((predictions / "b.mp4").read_bytes()[:100])
    code, values = score(predictions, targets)
    assert code == 0
    assert values["a"]["ssim"] == pytest.approx(1.0)
    assert values["b"]["ssim"] == values["d"]["ssim"] == -1.0
    said = capsys.readouterr().err
    assert "1 clips missing" in said
    assert "1 clips invalid" in said


def test_nan_pixels_and_wrong_sizes_are_invalid(folders, capsys):
    predictions, targets = folders
    (predictions / "a.mp4").unlink()
    np.save(predictions / "a.npy", np.full((6, 64, 64, 3), np.nan))
    (predictions / "b.mp4").unlink()
    np.save(predictions / "b.npy", np.zeros((5, 64, 64, 3), np.uint8))
    code, values = score(predictions, targets)
    assert code == 0
    assert values["a"]["ssim"] == values["b"]["ssim"] == -1.0
    assert "2 clips invalid" in capsys.readouterr().err


def test_a_misnamed_clip_is_refused(folders, capsys):
    predictions, targets = folders
    (predictions / "a.mp4").rename(predictions / "aa.mp4")
    assert score(predictions, targets)[0] == 1
    assert "aa" in capsys.readouterr().err


def test_published_reconstructions_stand_beside_their_floors(real):
    """The summary marks that middle grey scores a higher SSIM than the published reconstructions."""
    gifs = real / "seed_dv" / "gifs"
    code, text = run_main(
        *("score", "--predictions", gifs / "reconstructed", "--targets", gifs / "original"),
        *("--protocol", "eeg2video", "--metrics", "ssim,psnr"),
    )
    assert code == 0
    (row,) = [line for line in text.splitlines() if line.startswith("  SSIM ↑")]
    assert "below middle grey" in row and re.search("^image1 ", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 100 and "Not shown to be above brainless answers" in text


def test_list_protocols_says_what_each_computes():
    code, text = run_main("list", "protocols")
    assert code == 0
    for words in ("mind_animator:", "exactly 6", "chance 0.0577", "epe ↓", "beside corrected: three classes count"):
        assert words in text
