"""Logits of the judges: a VideoMAE classifier of clips and a ViT classifier of frames, each with its own processor.

Images go through the official processors with their PIL backend, so scores do not depend on torchvision's version.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from transformers import BaseImageProcessor, VideoMAEForVideoClassification, ViTForImageClassification

VIDEO_CHUNK, FRAME_CHUNK = 16, 64


@torch.no_grad()
def classify_videos(
    judge: VideoMAEForVideoClassification, processor: BaseImageProcessor, videos: UInt8[np.ndarray, "n f h w 3"]
) -> Float32[np.ndarray, "n classes"]:
    parts = [np.zeros((0, judge.config.num_labels), np.float32)]
    for start in range(0, len(videos), VIDEO_CHUNK):
        clips = [list(video) for video in videos[start : start + VIDEO_CHUNK]]
        pixels = processor(clips, return_tensors="pt")["pixel_values"].to(judge.device)
        parts.append(judge(pixels).logits.float().cpu().numpy())
    return np.concatenate(parts)


@torch.no_grad()
def classify_frames(
    judge: ViTForImageClassification, processor: BaseImageProcessor, frames: UInt8[np.ndarray, "m h w 3"]
) -> Float32[np.ndarray, "m classes"]:
    parts = [np.zeros((0, judge.config.num_labels), np.float32)]
    for start in range(0, len(frames), FRAME_CHUNK):
        images = list(frames[start : start + FRAME_CHUNK])
        pixels = processor(images, return_tensors="pt")["pixel_values"].to(judge.device)
        parts.append(judge(pixels).logits.float().cpu().numpy())
    return np.concatenate(parts)
