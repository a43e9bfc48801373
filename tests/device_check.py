"""What only a device can say, in one command: does every method run on it, how much memory, how fast.

    tests/device_check.sh               on a machine with a GPU, some minutes
    DEVICE_CHECK=tiny tests/device_check.sh     the same steps at tiny sizes, on a processor

Prints a table: each line is a measurement with its unit, or what went wrong. Nothing is asserted about times.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent / "worlds"))

import random_suite

from bench.audit.speed import SHAPE, clock, matrix_rate
from bench.audit.speed_device import animate, compare
from bench.cli import main
from bench.core.registry import names, role_of
from bench.pretrained.decoders import WanDecoder, list_lora
from bench.pretrained.suite import load_suite
from bench.toolbox.training import Optimiser

TINY = os.environ.get("DEVICE_CHECK") == "tiny"
DEVICE = torch.device("cpu" if TINY or not torch.cuda.is_available() else "cuda")
PRECISION: Any = "fp32" if TINY else "bf16"
CLIPS, STEPS = (1, 2) if TINY else (16, 25)
WAN = (9, 64, 96) if TINY else (33, 480, 720)
QUICK = ["random_clip"] if TINY else [name for name in names("methods") if role_of(name) in ("method", "baseline")]
GIB = 2**30
LATEST = 480  # seconds from the start after which no further method is begun, so that the whole stays below ten minutes
BEGUN = time.perf_counter()


def show(what: str, told: str) -> None:
    print(f"| {what} | {told} |", flush=True)


def attempt(what: str, call: Callable[[], str]) -> None:
    """One line of the table; what goes wrong is told there, and the others are made."""
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    try:
        told = call()
    except Exception as error:
        traceback.print_exc()
        told = f"FAILED: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    peak = f", peak {torch.cuda.max_memory_allocated() / GIB:.1f} GiB" if DEVICE.type == "cuda" else ""
    show(what, f"{told} ({time.perf_counter() - begun:.0f} s{peak})")


def run_quick(folder: Path) -> str:
    """`run --quick` of all methods; the references beside them are made once."""
    failed, done = [], 0
    for name in QUICK:
        if time.perf_counter() - BEGUN > LATEST:
            break
        done += 1
        with contextlib.redirect_stdout(io.StringIO()):
            split = [] if role_of(name) == "control" else ["--split", "single_subject"]
            code = main(["run", "--method", name, *split, "--quick", "--runs", str(folder / "runs")])
        failed += [name] if code else []
    left = f", not begun: {', '.join(QUICK[done:])}" if QUICK[done:] else ""
    return f"{done - len(failed)} of {len(QUICK)} methods{left}" + (f", FAILED: {', '.join(failed)}" if failed else "")


def draw_sam_net(suite: Any) -> str:
    """SAM-Net's three calls for some clips."""
    g = suite.geometry
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(CLIPS, g.tokens, g.text_width, generator=generator)
    latents = torch.randn(CLIPS, g.frames, g.latent_channels, g.latent_height, g.latent_width, generator=generator)
    seeds = list(range(CLIPS))

    def draw() -> np.ndarray:
        blurry = suite.decode_latents(latents[:, :1])[:, 0]
        shown = suite.refine_keyframe(embeddings, blurry, seeds, strength=0.5, steps=STEPS)
        return suite.generate_video(
            embeddings, seeds, latents=latents, keyframes=shown, start="renoised", strength=0.8, steps=STEPS
        )

    draw()
    spent, made = clock(draw)
    assert made.shape == (CLIPS, g.frames, g.height, g.width, 3)
    size = f"{CLIPS} clips x {STEPS} steps at {g.frames}x{g.height}x{g.width}"
    return f"{size}: {60 * CLIPS / spent.wall:.3g} clips a minute"


def compare_with_bare(suite: Any) -> str:
    ours, plain = compare(*animate(suite, CLIPS, STEPS), DEVICE)
    rates = f"{60 * CLIPS / ours:.3g} clips a minute, bare {60 * CLIPS / plain:.3g}"
    return f"{rates}: {plain / ours:.3f} times the bare pipeline"


def tune_wan(suite: Any) -> str:
    """One step of LoRA, forward, backward and AdamW, of one clip."""
    decoder = WanDecoder(suite, clip_shape=WAN, rank=16, scale=16, checkpointing=True)
    latents = decoder.encode_video(np.zeros((1, *WAN, 3), np.uint8)).float()
    condition = torch.randn(1, suite.settings["wan_tokens"], suite.wan.config.text_dim, device=DEVICE)
    optimise = Optimiser([(list_lora(decoder.network), 1e-4)], steps=2, weight_decay=0.0)
    decoder.network.train()
    noise = torch.Generator().manual_seed(0)
    for _ in range(2):
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=not TINY):
            loss = decoder.measure_loss(latents, condition, noise)
        spent, value = clock(lambda loss=loss: optimise.step(loss))  # type: ignore[misc]
    assert np.isfinite(value)
    return f"{'x'.join(map(str, decoder.shape))}, loss {value:.3g}, backward and step {spent.wall:.2f} s"


def time_scoring(clips: int) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = main(["speed", "scoring", "--precision", "bf16", "--clips", str(clips), "--format", "csv"])
    lines = [line for line in said.getvalue().splitlines() if line.startswith(("plain", "harness", "judge"))]
    return f"exit {code}: " + "; ".join(lines)


def check(folder: Path) -> None:
    print("| what | measured |\n|---|---|", flush=True)
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "processor"
    rate = matrix_rate("bf16", DEVICE, 512 if TINY else 8192)
    show("device", f"{name}, torch {torch.__version__}, matrix product {rate / 1e12:.3g} TFLOP/s in bf16")
    with torch.device(DEVICE):
        built = random_suite.build(folder / "suite", small=TINY)
    options = {"precision": PRECISION}
    suite = load_suite(built, **options)
    if TINY:
        suite.settings |= {"frames": 2, "height": 64, "width": 64}
    attempt(f"SAM-Net's calls, {PRECISION}", lambda: draw_sam_net(suite))
    attempt(f"AnimateDiff beside the bare pipeline, {PRECISION}", lambda: compare_with_bare(suite))
    attempt("a step of LoRA on Wan", lambda: tune_wan(suite))
    if not TINY:
        attempt(f"speed scoring, 16 clips of {'x'.join(map(str, SHAPE[:3]))}", lambda: time_scoring(16))
    attempt("run --quick", lambda: run_quick(folder))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        check(Path(work))
