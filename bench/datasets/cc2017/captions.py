"""Captions of cc2017's clips, in the forms in which NeuroClips and NEURONS release them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import DatasetError

FETCH = "the tensors are gongzx/cc2017_dataset on Hugging Face (recordings: purr.purdue.edu/publications/2809)"


def caption_path(root: Path, part: str) -> Path:
    """The captions that are there: NeuroClips', or NEURONS'; raises DatasetError where there are none."""
    found = find_captions(root, part)
    if found is None:
        own, tagged, _ = (path.relative_to(root).as_posix() for path in caption_paths(root, part))
        raise DatasetError(f"{root} lacks {own} (or {tagged}); {FETCH}")
    return found


def find_captions(root: Path, part: str) -> Path | None:
    return next((path for path in caption_paths(root, part) if path.is_file()), None)


def caption_paths(root: Path, part: str) -> tuple[Path, Path, Path]:
    """Where captions may lie, those that are preferred first."""
    folder = root / "qwen_annotation"
    return (
        root / f"GT_{part}_caption.pt",
        folder / f"qwen_{part}_caption_tag_category_id.json",
        folder / f"qwen_{part}_caption_tag.json",
    )


def read_captions(root: Path, part: str, count: int) -> list[str]:
    """A caption a clip; raises DatasetError for another number of them or a file that holds none."""
    path = caption_path(root, part)
    captions = read_caption_json(path, count) if path.suffix == ".json" else read_caption_pickle(path)
    if len(captions) != count:
        raise DatasetError(f"{path} has {len(captions)} captions, expected {count} (one a clip); fetch it again")
    return captions


def read_caption_pickle(path: Path) -> list[str]:
    """NeuroClips saves a NumPy array of strings: of what a pickle can hold, only that and plain lists are let in."""
    import torch

    rebuild = np.empty(0).__reduce__()[0]  # what an array's pickle calls, under its old name and its new one
    allowed: list[Any] = [
        rebuild,
        (rebuild, "numpy.core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        np.dtypes.StrDType,
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise DatasetError(f"{path} holds no array or list of strings; fetch it again") from error
    texts = np.asarray(stored)
    if texts.ndim != 1 or texts.dtype.kind != "U":
        raise DatasetError(f"{path} is {texts.dtype} {list(texts.shape)}, expected a string a clip; fetch it again")
    return texts.tolist()


def read_caption_json(path: Path, count: int) -> list[str]:
    """NEURONS' list of {idx, caption, …}, in any order; its ids may start at 0 or at 1."""
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
        texts = {int(item["idx"]): str(item["caption"]) for item in items}
    except (ValueError, TypeError, KeyError) as error:
        raise DatasetError(f"{path} is no list of {{idx, caption}} ({error}); fetch it again") from error
    base = find_base(texts, count, path)
    return [texts[base + clip] for clip in range(count)]


def find_base(ids: Mapping[int, Any], count: int, what: Path | str) -> int:
    """0 or 1: whether `count` ids are 0…count−1 or 1…count; raises DatasetError for anything else."""
    for base in (0, 1):
        if set(ids) == set(range(base, base + count)):
            return base
    span = f"{min(ids)} to {max(ids)}" if ids else "none"
    raise DatasetError(f"{what} has {len(ids)} ids ({span}), expected {count} from 0 or from 1; fetch it again")
