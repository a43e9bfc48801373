"""How fast scoring is: the harness against a plain script, on the same clips, in one process.

The plain way is written from the description of the published scripts (EEG2Video's `40_class_run_metrics.py` and its
kin): clip by clip and frame by frame, prediction and truth judged anew for each N of each accuracy, 100 drawn sets of
distractors a frame, scikit-image for the SSIM of each frame. The judges are VideoMAE-base and ViT-base with random
weights, of the papers' size, saved in their official format and loaded through the path of any suite; videos are 6
frames of 288×512. Ratios of one run are printed and not asserted: times depend on the machine.

`judge rate` is the judges' arithmetic (as counted by torch while they run) over the time that they take, as a share of
the rate of one large matrix product in the same precision with the same threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from bench.core.hardware import AUTO
from bench.core.progress import say
from bench.core.seeds import derive_seed
from bench.doors.video_pairs import Pairs, find_pairs
from bench.doors.videos import score_videos
from bench.pretrained.judges.observe import Precision
from bench.pretrained.suite import load_suite
from bench.scoring.views import Viewer
from bench.store.video import read_video, write_lossless

SHAPE = (6, 288, 512, 3)
WAYS = (40, 2)
TRIALS = 100
MATRIX = 4096


def measure_scoring(
    clips: int = 16,
    *,
    precision: Precision = "fp32",
    device: str = AUTO,
    memory: int | None = None,
    threads: int | None = None,
) -> pd.DataFrame:
    """Seconds a clip of the plain way and of the harness, their ratios, and the rate that the judges reach.

    Both are on `device`; `memory` bounds what the harness's judges may use of it, in bytes.

    With another `precision` than fp32 also the harness in that precision, and what it changes in each table value
    (beside the exact one, by the mini suite's trained judges).
    """
    threads = threads or os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        os.environ["BENCH_HOME"] = str(folder / "home")  # an empty cache: ground truth is judged anew
        pairs = write_clips(folder, clips)
        suite_folder = write_judges(folder / "suite")
        torch.set_num_threads(threads)
        hardware: dict[str, Any] = {"device": device, "memory": memory, "threads": threads}
        place = load_suite(suite_folder, device=device).device
        say(f"plain way, {clips} clips, on {place}")
        plain, plain_values = clock(lambda: score_plainly(pairs, suite_folder, place))
        rows = [row("plain script", plain, plain, clips)]
        exactnesses: tuple[Precision, ...] = ("fp32", precision)
        for exactness in dict.fromkeys(exactnesses):
            viewer = Viewer(load_suite(suite_folder, precision=exactness, **hardware).judges)
            score_videos(few(pairs, 2), viewer, protocol="eeg2video", floors=False)  # load and warm up
            forget(folder / "home")
            for state in ("not cached", "cached"):
                spent, scored = clock(partial(score_videos, pairs, viewer, protocol="eeg2video", floors=False))
                rows.append(row(f"harness, {exactness}, ground truth {state}", spent, plain, clips))
            forget(folder / "home")
            spent, _ = clock(partial(score_videos, pairs, viewer, protocol="eeg2video"))
            rows.append(row(f"harness, {exactness}, with three floors, not cached", spent, plain, clips))
            rows.append(rate_row(viewer, pairs, exactness))
            if exactness == "fp32":
                exact = mean_values(scored)
                rows += [
                    {"what": f"{metric}: plain (drawn) / harness", "value": value, "beside": exact[metric]}
                    for metric, value in plain_values.items()
                ]
        if precision != "fp32":
            rows += compare_precisions(folder / "drawn", precision, hardware)
    table = pd.DataFrame(rows)
    table.attrs["digits"] = 4
    return table


def compare_precisions(
    folder: Path, precision: Precision, hardware: Mapping[str, Any], clips: int = 64
) -> list[dict[str, Any]]:
    """What the precision changes in each table value: the mini suite's judges on drawn clips and blurred copies.

    Trained judges, because random ones rank the classes of all clips alike and hide every difference.
    """
    import cv2

    from bench.datasets.phantom.stimuli import FRAME_TIMES, draw_recipe, render
    from bench.datasets.seed_dv.concepts import CONCEPTS

    generator = np.random.default_rng(derive_seed("speed", "drawn"))
    (folder / "predictions").mkdir(parents=True)
    (folder / "targets").mkdir()
    for index in range(clips):
        true = render(draw_recipe(generator, index % len(CONCEPTS), pool="benchmark"), FRAME_TIMES)
        blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 3.0) for frame in true])
        write_lossless(folder / "targets" / f"clip{index:04d}.mp4", true, fps=3)
        write_lossless(folder / "predictions" / f"clip{index:04d}.mp4", blurred, fps=3)
    pairs = find_pairs(folder / "predictions", folder / "targets")
    rows = []
    for protocol in ("eeg2video", "corrected", "cinebrain", "neurons"):
        values: dict[Precision, dict[str, float]] = {}
        exactnesses: tuple[Precision, ...] = ("fp32", precision)
        for exactness in exactnesses:
            viewer = Viewer(load_suite("mini", precision=exactness, **hardware).judges)
            scored = score_videos(pairs, viewer, protocol=protocol, floors=False)
            values[exactness] = mean_values(scored)
        rows += [
            {
                "what": f"{protocol} {metric}: fp32 / {precision}",
                "value": value,
                "beside": values[precision][metric],
            }
            for metric, value in values["fp32"].items()
        ]
    return rows


def row(what: str, spent: Spent, plain: Spent, clips: int) -> dict[str, Any]:
    return {
        "what": what,
        "seconds_a_clip": spent.wall / clips,
        "times_plain": plain.wall / spent.wall,
        "processor_seconds_a_clip": spent.processor / clips,
        "times_plain_by_processor": plain.processor / spent.processor,
    }


def rate_row(viewer: Viewer, pairs: Pairs, precision: str) -> dict[str, Any]:
    """The judges' arithmetic a second while they look at a party of clips, and its share of the matrix rate."""
    from torch.utils.flop_counter import FlopCounterMode

    video = np.stack([read_video(path) for path in list(pairs.predictions.values())[:8]])
    with FlopCounterMode(display=False) as counter:
        viewer.look(("video", "frame"), video)
    seconds = min(clock(lambda: viewer.look(("video", "frame"), video))[0].wall for _ in range(3))
    rate = counter.get_total_flops() / seconds
    return {"what": f"judge rate, {precision} (GFLOP/s; share of the matrix rate)", "value": rate / 1e9,
            "beside": rate / matrix_rate(precision, viewer.judges.device)}  # fmt: skip


def matrix_rate(precision: str, device: torch.device, side: int = MATRIX) -> float:
    """Operations a second of a product of two square matrices on the device, the best of five."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    a, b = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))

    def multiply() -> float:
        return (a @ b)[0, 0].item()  # a GPU answers before it is done: a number has to be waited for

    return 2 * side**3 / min(clock(multiply)[0].wall for _ in range(5))


def mean_values(scored: pd.DataFrame) -> dict[str, float]:
    return {str(metric): float(rows["value"].mean()) for metric, rows in scored.groupby("metric", sort=False)}


class Spent(NamedTuple):
    """Seconds by the clock, and seconds of all the process's threads on a processor (steadier on a busy machine)."""

    wall: float
    processor: float


def clock(call: Callable[[], Any]) -> tuple[Spent, Any]:
    wall, processor = time.perf_counter(), time.process_time()
    result = call()
    return Spent(time.perf_counter() - wall, time.process_time() - processor), result


def few(pairs: Pairs, count: int) -> Pairs:
    assert pairs.targets is not None
    names = pairs.names[:count]
    return Pairs(
        predictions={name: pairs.predictions[name] for name in names},
        targets={name: pairs.targets[name] for name in names},
    )


def forget(home: Path) -> None:
    """Empty the cache of what judges said."""
    for path in home.rglob("*.npy"):
        path.unlink()


# The clips and the judges


def write_clips(folder: Path, count: int, shape: tuple[int, ...] = SHAPE) -> Pairs:
    """Smooth random videos and noisy copies of them, as lossless mp4 files."""
    import cv2

    generator = np.random.default_rng(derive_seed("speed", "clips"))
    frames, height, width, _ = shape
    for name in ("predictions", "targets"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        coarse = generator.integers(0, 256, (frames, 9, 16, 3), dtype=np.uint8)
        true = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in coarse])
        noise = generator.integers(-40, 41, true.shape)
        made = np.clip(true.astype(np.int16) + noise, 0, 255).astype(np.uint8)
        write_lossless(folder / "targets" / f"clip{index:04d}.mp4", true, fps=3)
        write_lossless(folder / "predictions" / f"clip{index:04d}.mp4", made, fps=3)
    return find_pairs(folder / "predictions", folder / "targets")


def write_judges(folder: Path) -> Path:
    """A suite folder whose two classifiers have the papers' sizes and random weights; the rest is the mini suite's."""
    from transformers import (
        VideoMAEConfig,
        VideoMAEForVideoClassification,
        VideoMAEImageProcessor,
        ViTConfig,
        ViTForImageClassification,
        ViTImageProcessor,
    )

    torch.manual_seed(derive_seed("speed", "judges"))
    folder.mkdir(parents=True)
    video = VideoMAEForVideoClassification(VideoMAEConfig(num_labels=400, use_mean_pooling=True))
    video.save_pretrained(folder / "video_judge")
    VideoMAEImageProcessor().save_pretrained(folder / "video_judge")
    ViTForImageClassification(ViTConfig(num_labels=1000)).save_pretrained(folder / "frame_judge")
    ViTImageProcessor().save_pretrained(folder / "frame_judge")
    mini = load_suite("mini")
    lines = [f"{key} = {json.dumps(value)}" for key, value in mini.settings.items() if key != "roles"]
    roles = [f'{name} = {{ id = "{role.base / role.id}", subfolder = "{role.subfolder}" }}'
             for name, role in mini.roles.items() if name not in ("video_judge", "frame_judge")]  # fmt: skip
    roles += [f'{name} = {{ id = ".", subfolder = "{name}" }}' for name in ("video_judge", "frame_judge")]
    (folder / "suite.toml").write_text("\n".join([*lines, "", "[roles]", *roles, ""]), encoding="utf-8")
    return folder


# The plain way


def score_plainly(pairs: Pairs, suite: Path, device: torch.device) -> dict[str, float]:
    """The mean of each metric as a plain script computes it, its judges on the device."""
    from skimage.metrics import structural_similarity
    from transformers import (
        VideoMAEForVideoClassification,
        VideoMAEImageProcessor,
        ViTForImageClassification,
        ViTImageProcessor,
    )

    generator = np.random.default_rng(derive_seed("speed", "trials"))
    video_judge = VideoMAEForVideoClassification.from_pretrained(suite / "video_judge", num_frames=SHAPE[0])
    frame_judge = ViTForImageClassification.from_pretrained(suite / "frame_judge")
    video_judge, frame_judge = video_judge.to(device).eval(), frame_judge.to(device).eval()
    video_processor = VideoMAEImageProcessor.from_pretrained(suite / "video_judge")
    frame_processor = ViTImageProcessor.from_pretrained(suite / "frame_judge")
    assert pairs.targets is not None
    scores: dict[str, list[float]] = {}
    for name in pairs.names:
        made, true = read_video(pairs.predictions[name]), read_video(pairs.targets[name])
        for n_way in WAYS:
            for a, b in zip(made, true, strict=True):
                right = torch.argsort(classify(frame_judge, frame_processor, b))[-3:].tolist()
                scores.setdefault(f"frame_{n_way}way", []).append(
                    draw_trials(classify(frame_judge, frame_processor, a), right, n_way, generator)
                )
        for n_way in WAYS:
            right = torch.argsort(classify(video_judge, video_processor, list(true)))[-3:].tolist()
            scores.setdefault(f"video_{n_way}way", []).append(
                draw_trials(classify(video_judge, video_processor, list(made)), right, n_way, generator)
            )
        for a, b in zip(made, true, strict=True):
            scores.setdefault("ssim", []).append(structural_similarity(a, b, data_range=255, channel_axis=-1))
    return {metric: float(np.mean(values)) for metric, values in scores.items()}


@torch.no_grad()
def classify(judge: Any, processor: Any, images: Any) -> torch.Tensor:
    pixels = processor(images, return_tensors="pt")["pixel_values"].to(judge.device)
    return judge(pixels).logits[0].cpu()


def draw_trials(logits: torch.Tensor, right: list[int], n_way: int, generator: np.random.Generator) -> float:
    """The share of drawn sets of distractors that a right class wins."""
    scores = torch.softmax(logits, dim=0).numpy()
    others = [label for label in range(len(scores)) if label not in right]
    hits = 0
    for _ in range(TRIALS):
        drawn = generator.choice(others, n_way - 1, replace=False)
        hits += any(np.argsort([scores[label], *scores[drawn]])[-1] == 0 for label in right)
    return hits / TRIALS


# Memory

MEASURE = """
import resource, sys
from pathlib import Path
from bench.scoring.views import Viewer
from bench.doors.video_pairs import find_pairs
from bench.pretrained.judges.observe import Precision
from bench.pretrained.suite import load_suite
from bench.doors.videos import score_videos
folder = Path(sys.argv[1])
viewer = Viewer(load_suite("mini").judges)
score_videos(find_pairs(folder / "predictions", folder / "targets"), viewer, protocol="corrected")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def measure_memory(counts: tuple[int, ...] = (100, 2000), shape: tuple[int, ...] = (6, 64, 64, 3)) -> pd.DataFrame:
    """Peak memory (MiB) of a process that scores so many clips under `corrected`, one process for each number."""
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as work:
            write_clips(Path(work), count, shape)
            environment = {**os.environ, "BENCH_HOME": f"{work}/home"}
            done = subprocess.run(
                [sys.executable, "-c", MEASURE, work],
                env=environment,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=True,
            )
        rows.append({"clips": count, "peak_mebibytes": float(done.stdout.split()[-1])})
    return pd.DataFrame(rows)
