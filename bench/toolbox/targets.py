"""What the frozen encoders and a video decoder make of the training clips: what a decoder of the brain learns to hit.

Clips are encoded once a process (`bench.toolbox.encoded.remember`). No test clip comes near this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from bench.core.contracts import TrainingSet
from bench.toolbox.budget import release
from bench.toolbox.encoded import CaptionTokens, encode_tokens, remember


@dataclass(frozen=True, kw_only=True)
class ClipTargets:
    """What each clip is to learn from, on the suite's device; the tokens are off it, each caption's once."""

    image: Float[Tensor, "clip embedding"]  # CLIP of some frames, their mean, at unit length
    text: Float[Tensor, "clip embedding"]  # CLIP of the caption, at unit length
    tokens: CaptionTokens  # of the different captions, as a generator reads them
    caption: Int64[Tensor, " clip"]  # row of `tokens`: the same number for the same words


@torch.no_grad()
def encode_targets(
    suite: Any, data: TrainingSet, *, frames: int, clip: str = "clip_large", reader: Any = None
) -> ClipTargets:
    """Targets of all clips of a training set; CLIP, of that name, sees `frames` of each clip, picked evenly.

    `reader`, a video decoder, makes the tokens; by default the suite does. The suite then lets go what it asked for
    them.
    """
    tokens = encode_captions(suite if reader is None else reader, data.captions)
    picked = pick_frames(data.video.shape[1], frames)

    def embed(clips: np.ndarray) -> Tensor:
        pictures = clips[:, picked].reshape(-1, *clips.shape[2:])
        large = clip == "clip_large"
        seen = suite.embed_images(pictures) if large else suite.judges.observe(clip, pictures[:, None])[:, 0]
        return functional.normalize(torch.as_tensor(seen).float(), dim=1).unflatten(0, (len(clips), -1)).mean(dim=1)

    captions, caption = number_captions(data.captions)
    read = suite.embed_texts(captions) if clip == "clip_large" else suite.judges.embed_captions(clip, captions)
    text = torch.as_tensor(read).float()
    what = f"pictures {picked} as a mean" + ("" if clip == "clip_large" else f" of {clip}")
    image = remember(suite, what, data.video, embed)
    release(suite, "judges", "text_encoder")
    return ClipTargets(
        image=functional.normalize(image, dim=1).to(suite.device),
        text=functional.normalize(text, dim=1)[caption].to(suite.device),
        tokens=tokens,
        caption=caption.to(suite.device),
    )


def pick_frames(available: int, wanted: int) -> Int64[np.ndarray, " wanted"]:
    """Frames picked evenly, the first and the last among them."""
    return np.linspace(0, available - 1, wanted).round().astype(int)


def number_captions(captions: Sequence[str]) -> tuple[list[str], Int64[Tensor, " clip"]]:
    """The different captions in the order of their first use, and which of them each clip has."""
    place = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    return list(place), torch.tensor([place[caption] for caption in captions])


@torch.no_grad()
def encode_captions(reader: Any, captions: Sequence[str]) -> CaptionTokens:
    """The different captions in a suite's or a video decoder's text space, numbered as by `number_captions`, off the
    device. A decoder then lets its text encoder go, if it can.
    """
    tokens = encode_tokens(number_captions(captions)[0], reader.encode_text)
    if hasattr(reader, "release_text"):
        reader.release_text()
    return tokens


@torch.no_grad()
def encode_clips(
    suite: Any, decoder: Any, video: UInt8[np.ndarray, "clip frame height width 3"]
) -> Float[Tensor, "clip ..."]:
    """A video decoder's latents of all clips in half precision, off the device: at the paper's size they fill 13 GB.

    The decoder then lets its autoencoder go, if it can.
    """
    what = f"latents of {type(decoder).__name__} at {decoder.shape}"
    latents = remember(suite, what, video, lambda clips: decoder.encode_video(clips).half().cpu())
    if hasattr(decoder, "release_autoencoder"):
        decoder.release_autoencoder()
    return latents
