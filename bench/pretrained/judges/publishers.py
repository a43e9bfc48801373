"""Pixels as a publisher's own script prepares them, whatever the checkpoint's processor says.

A view of `bench.pretrained.judges.observe.VIEWS` may name one of `PUBLISHERS`: a function of the network's side that
says what that script does to a frame. What a script says with numbers for a side of 224 (256, 512) is in proportion for
a network of another side, as ViFi-CLIP's own `int(256 / 224 * INPUT_SIZE)` has it. Each is compared with its script,
written anew, at many sizes (`tests/pretrained/test_publishers.py`). A network that was trained on values of its own
(the role's `own_normalisation`) gets those in place of the publisher's mean and deviation.

Two things are the decoder's and not repeated here: VBench, DynaMind and Mind-Animator read files with decord or OpenCV,
the bench with PyAV; and Mind-Animator writes its videos to Xvid once more before ViFi-CLIP sees them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from bench.pretrained.judges.preparation import Normalisation, Preparation, make_table, shortest_edge

VERSION = 1  # of the pixels that these make, beside what their fields say; part of the digests of views
CHUNK_PIXELS = 2**21  # of frames that are resized at once: as floats they take 12 bytes a pixel
IMAGENET: Normalisation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP: Normalisation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, kw_only=True)
class FloatFrames:
    """Torchvision's transforms of float tensors without antialiasing: what VBench does to mp4 and GIF files.

    The shorter side becomes `edge`, not rounded to grey levels (bicubic may leave 0..255); `crop` cuts the middle.
    """

    edge: int
    mode: Literal["bilinear", "bicubic"]
    crop: bool
    normal: Normalisation

    def measure(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the pixels made of frames of this size."""
        return (self.edge, self.edge) if self.crop else shortest_edge(height, width, self.edge)

    def prepare(self, frames: UInt8[np.ndarray, "m h w 3"], *, threads: int = 1) -> Float32[np.ndarray, "m 3 H W"]:
        """The frames as pixel values; `threads` are torch's own here."""
        import torch
        from torch.nn.functional import interpolate

        height, width = frames.shape[1:3]
        goal = shortest_edge(height, width, self.edge)
        mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in self.normal)
        parts = [np.empty((0, 3, *self.measure(height, width)), np.float32)]
        step = max(1, CHUNK_PIXELS // (height * width))
        for start in range(0, len(frames), step):
            pixels = torch.from_numpy(frames[start : start + step]).movedim(-1, 1).float()
            if goal != (height, width):
                pixels = interpolate(pixels, goal, mode=self.mode, align_corners=False, antialias=False)
            if self.crop:
                top, left = (round((side - self.edge) / 2) for side in goal)
                pixels = pixels[..., top : top + self.edge, left : left + self.edge]
            parts.append(((pixels / 255 - mean) / std).numpy())
        return np.concatenate(parts)


@dataclass(frozen=True, kw_only=True)
class AviFrames:
    """Mind-Animator's way to ViFi-CLIP: squashed to `first` squared, halved, the middle cut, red and blue exchanged."""

    first: int
    second: int
    side: int
    normal: Normalisation

    def measure(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the pixels made of frames of any size."""
        return self.side, self.side

    def prepare(self, frames: UInt8[np.ndarray, "m h w 3"], *, threads: int = 1) -> Float32[np.ndarray, "m 3 H W"]:
        """The frames as pixel values; OpenCV has threads of its own."""
        mean, std = (255 * np.array(values) for values in self.normal)
        start = (self.second - self.side) // 2
        cut = slice(start, start + self.side)
        made = np.empty((len(frames), 3, self.side, self.side), np.float32)
        for index, frame in enumerate(frames):
            large = cv2.resize(frame, (self.first, self.first), interpolation=cv2.INTER_LINEAR)
            small = cv2.resize(large, (self.second, self.second), interpolation=cv2.INTER_LINEAR)
            picture = small[cut, cut, ::-1].astype(np.float32)
            cv2.subtract(picture, mean, picture)  # in mmcv's order of rounding
            cv2.multiply(picture, 1 / std, picture)
            made[index] = picture.transpose(2, 0, 1)
        return made


Pixels = Preparation | FloatFrames | AviFrames


def vbench_dino(side: int, normal: Normalisation = IMAGENET) -> FloatFrames:
    """`dino_transform(224)` of `vbench/utils.py`: DINO sees the whole frame, in its own shape.

    VBench has two modes. Files (mp4, GIF) come as tensors and are resized without antialiasing; folders of pictures
    (`read_frame`) come as PIL's, which it resizes with. `read_frame` is off by default and what is scored here are
    files of videos, so the first mode is ours.
    """
    return FloatFrames(edge=side, mode="bilinear", crop=False, normal=normal)


def vbench_clip(side: int, normal: Normalisation = CLIP) -> FloatFrames:
    """`clip_transform(224)` of `vbench/utils.py`, of files; pictures (`read_frame`) are prepared as for view "clip"."""
    return FloatFrames(edge=side, mode="bicubic", crop=True, normal=normal)


def mind_animator_vifi(side: int, normal: Normalisation = IMAGENET) -> AviFrames:
    """`VIFI_CLIP_score.py` of Mind-Animator, whose frames are 512 x 512 (`step2_get_video_frames.py` squashes to that).

    `gif_to_avi.py` hands RGB frames to OpenCV's writer, which takes them for BGR: ViFi-CLIP sees red where blue is.
    """
    return AviFrames(first=512 * side // 224, second=256 * side // 224, side=side, normal=normal)


def dynamind_dino(side: int, normal: Normalisation = IMAGENET) -> Preparation:
    """`ctc_dtc.py` of DynaMind: `Resize(256)` of pictures is bilinear, then the middle 224."""
    return Preparation(
        resize="shortest",
        height=side,
        width=side,
        edge=256 * side // 224,
        resample=2,
        rounds=True,
        table=make_table(normal),
    )


def transformers_clip(side: int, normal: Normalisation = CLIP) -> Preparation:
    """`CLIPProcessor` of transformers, as NEURONS' `eval_metrics.py` and DynaMind's `ctc_dtc.py` call it: half of an
    odd margin is rounded down, where OpenAI's own transform and open_clip round it to the even number."""
    return Preparation(
        resize="shortest",
        height=side,
        width=side,
        edge=side,
        resample=3,
        rounds=False,
        table=make_table(normal, by_255="multiplied"),
    )


PUBLISHERS: dict[str, Callable[..., Pixels]] = {
    one.__name__: one for one in (vbench_dino, vbench_clip, mind_animator_vifi, dynamind_dino, transformers_clip)
}
