"""Frames as judges want them: resized, cropped and normalised exactly as the official processors do, but faster.

The official processors (PIL backend) convert each frame between three layouts and four types. What they compute is a
PIL resize of the bytes, a crop, and a function of each byte: so here PIL resizes the bytes where they lie, several
frames at a time, and the rest is one table of 256 values a channel, which the official processor itself computes. The
result is the same to the last bit (tests compare them), at less than half of the time.

PIL is part of the metric: torch's and OpenCV's resizing differ from it by whole grey levels where they shrink a frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from bench.core.errors import BenchError

VERSION = 1  # of the pixels that judges see; part of their digests
Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]  # mean and deviation of values of 0 to 1


class UnknownPreparation(BenchError):
    """A processor that this module does not reproduce."""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What happens to a frame before a network sees it. `table` is float32 [3, 256] as bytes, so that it can be hashed.

    `resize` is "squash" (to `height` x `width`), "shortest" (the shorter edge to `edge`, ratio kept, the longer one
    rounded down), or "none"; then the middle `height` x `width` is cut out.
    """

    resize: Literal["squash", "shortest", "none"]
    height: int
    width: int
    edge: int
    resample: int  # PIL's number: 2 is bilinear, 3 bicubic
    rounds: bool  # where an odd margin is halved: torchvision rounds (half to even), transformers rounds down
    table: bytes

    @property
    def normal(self) -> Normalisation:
        """The mean and deviation that make up `table`."""
        black, white = np.frombuffer(self.table, np.float32).reshape(3, 256)[:, [0, -1]].T.astype(float)
        red, green, blue = (float(value) for value in -black / (white - black))
        deviations = (float(value) for value in 1 / (white - black))
        return (red, green, blue), tuple(deviations)  # type: ignore[return-value]

    def measure(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the pixels made of frames of any size."""
        return self.height, self.width

    def prepare(self, frames: UInt8[np.ndarray, "m h w 3"], *, threads: int = 1) -> Float32[np.ndarray, "m 3 H W"]:
        """The frames as pixel values; PIL lets go of the interpreter, so `threads` of them work side by side."""
        made = np.empty((len(frames), 3, self.height, self.width), np.float32)
        table = np.frombuffer(self.table, np.float32).reshape(3, 1, 256)

        def prepare_one(index: int) -> None:
            picture = self._crop(self._resize(frames[index]))
            for channel in range(3):
                plane = np.ascontiguousarray(picture[..., channel])
                made[index, channel] = cv2.LUT(plane, table[channel])

        if threads == 1 or len(frames) < 4:
            for index in range(len(frames)):
                prepare_one(index)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(prepare_one, range(len(frames))))
        return made

    def _resize(self, frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "y x 3"]:
        height, width = frame.shape[:2]
        if self.resize == "squash":
            goal = (self.height, self.width)
        elif self.resize == "shortest":
            goal = shortest_edge(height, width, self.edge)
        else:
            goal = (height, width)
        if goal == (height, width):
            return frame
        return np.asarray(Image.fromarray(frame).resize(goal[::-1], self.resample))

    def _crop(self, picture: UInt8[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "H W 3"]:
        height, width = picture.shape[:2]
        if (height, width) == (self.height, self.width):
            return picture
        margins = height - self.height, width - self.width
        top, left = (round(margin / 2) if self.rounds else margin // 2 for margin in margins)
        if top < 0 or left < 0:
            raise UnknownPreparation(
                f"a frame of {height} x {width} after resizing is smaller than the crop, {self.height} x {self.width}; "
                "the official processors pad it in ways that differ, so give larger frames"
            )
        return picture[top : top + self.height, left : left + self.width]


def shortest_edge(height: int, width: int, edge: int) -> tuple[int, int]:
    """Height and width when the shorter edge becomes `edge`; the longer one is rounded down, as transformers and
    torchvision both do."""
    if height <= width:
        return edge, int(edge * width / height)
    return int(edge * height / width), edge


def make_table(normal: Normalisation, *, by_255: Literal["divided", "multiplied"] = "divided") -> bytes:
    """What torchvision's `ToTensor` and `Normalize` make of each byte, float32 [3, 256]; "multiplied" by 1/255 (in
    float64) is transformers' way, which differs in the last bit."""
    mean, std = (np.array(values, np.float32)[:, None] for values in normal)
    levels = np.arange(256)
    values = (levels * (1 / 255)).astype(np.float32) if by_255 == "multiplied" else levels / np.float32(255)
    return ((values.astype(np.float32) - mean) / std).tobytes()


def read_processor(processor: Any, source: str | Path) -> Preparation:
    """The preparation that a transformers image processor (PIL backend) describes.

    Raises `UnknownPreparation` for one that pads, or resizes to a longest edge.
    """
    levels = np.arange(256, dtype=np.uint8)
    planes = np.broadcast_to(levels[None, None], (3, 1, 256)).copy()
    values: np.ndarray = planes
    if processor.do_rescale:
        values = processor.rescale(values, processor.rescale_factor)
    if processor.do_normalize:
        values = processor.normalize(values, processor.image_mean, processor.image_std)
    size, crop = processor.size, getattr(processor, "crop_size", None)
    crops = bool(getattr(processor, "do_center_crop", False))
    resize: Literal["squash", "shortest", "none"] = "none"
    if processor.do_resize:
        resize = "shortest" if size.shortest_edge else "squash"
    edge = int(size.shortest_edge or 0)
    height, width = (crop.height, crop.width) if crops and crop else (size.height or edge, size.width or edge)
    if getattr(processor, "do_pad", False) or size.longest_edge or not height or (resize == "shortest" and not crops):
        raise UnknownPreparation(
            f"the processor of {source} (size {size}, crop {crop}) is not one that is reproduced here: squash, or "
            "shortest edge with a centre crop; add its rule to bench/pretrained/judges/preparation.py"
        )
    return Preparation(
        resize=resize,
        height=int(height),
        width=int(width),
        edge=edge,
        resample=int(processor.resample),
        rounds=False,
        table=np.ascontiguousarray(values, np.float32).tobytes(),
    )


def read_timm(config: Mapping[str, Any], source: str | Path) -> Preparation:
    """The preparation that a timm `pretrained_cfg` describes (`timm.data.transforms_imagenet_eval`).

    The shorter edge becomes the input's side / `crop_pct`, rounded down, and the middle is cut out ("center"); or both
    edges do ("squash"). Raises `UnknownPreparation` for other ways, and inputs that are not square.
    """
    from timm.data import resolve_data_config

    known = resolve_data_config({}, pretrained_cfg=dict(config))
    height, width = known["input_size"][1:]
    resample = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}.get(known["interpolation"])
    edge = math.floor(height / known["crop_pct"])
    mode = known["crop_mode"]
    if height != width or resample is None or mode not in ("center", "squash") or (mode == "squash" and edge != height):
        raise UnknownPreparation(
            f"the preparation of {source} ({known}) is not one that is reproduced here: a square input, nearest to "
            "bicubic, center or squash; add its rule to bench/pretrained/judges/preparation.py"
        )
    return Preparation(
        resize="shortest" if mode == "center" else "squash",
        height=height,
        width=width,
        edge=edge if mode == "center" else 0,
        resample=resample,
        rounds=True,
        table=make_table((known["mean"], known["std"])),
    )


def read_open_clip(config: dict[str, Any]) -> Preparation:
    """The preparation that an open_clip preprocessing config describes (`open_clip.transform.image_transform_v2`)."""
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    mode = config.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash") or (mode == "shortest" and height != width):
        raise UnknownPreparation(f"open_clip's resize mode {mode!r} to {height} x {width} is not reproduced here")
    return Preparation(
        resize=mode,
        height=height,
        width=width,
        edge=height if mode == "shortest" else 0,
        resample=2 if config.get("interpolation") == "bilinear" else 3,
        rounds=True,
        table=make_table((config["mean"], config["std"])),
    )
