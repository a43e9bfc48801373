"""What the training clips are to the frozen encoders: targets of stage 1, contents of memories, latents and texts.

Embeddings of pictures and captions are those of the suite's CLIP, actions those of its video encoder, all at unit
length. phi_v sees some frames of a clip, picked evenly.
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
from bench.pretrained.decoders import Decoder
from bench.toolbox.training import ENCODED, remember
from methods.cine_neuron.categories import Extractor, merge_categories


@dataclass(frozen=True, kw_only=True)
class Targets:
    """One row a clip, on the suite's device."""

    frames: Float[Tensor, "clip frame embedding"]
    text: Float[Tensor, "clip embedding"]
    action: Float[Tensor, "clip action"]
    labels: Float[Tensor, "clip class"]  # no classes where categories are not learned
    caption: Int64[Tensor, " clip"]  # the same number for the same words, in the order of `list_captions`


@torch.no_grad()
def encode_targets(
    suite: Any, data: TrainingSet, *, frames: int, least: int = 1, extract: Extractor | None = None
) -> Targets:
    """Targets of all clips. `extract` finds categories in captions (None: none are learned), `least` is the number of
    clips that must show one (`merge_categories`)."""
    picked = np.linspace(0, data.video.shape[1] - 1, frames).round().astype(int)

    def embed_images(clips: np.ndarray) -> Tensor:
        seen = suite.embed_images(clips[:, picked].reshape(-1, *clips.shape[2:]))
        return torch.as_tensor(seen).float().unflatten(0, (len(clips), -1))

    def embed_actions(clips: np.ndarray) -> Tensor:
        return torch.as_tensor(suite.embed_actions(clips)).float()

    images = remember(suite, f"pictures {picked}", data.video, embed_images)
    actions = remember(suite, "actions", data.video, embed_actions)
    text = torch.as_tensor(suite.embed_texts(list(data.captions))).float()
    labels = torch.zeros(len(data.captions), 0)
    if extract is not None:
        found = extract(data.captions)
        labels = merge_categories(found, least=least).label(found)
    place = {caption: number for number, caption in enumerate(list_captions(data.captions))}
    return Targets(
        frames=functional.normalize(images, dim=2).to(suite.device),
        text=functional.normalize(text, dim=1).to(suite.device),
        action=functional.normalize(actions, dim=1).to(suite.device),
        labels=labels.to(suite.device),
        caption=torch.tensor([place[caption] for caption in data.captions]).to(suite.device),
    )


def list_captions(captions: Sequence[str]) -> list[str]:
    """The different captions, in the order of their first use."""
    return list(dict.fromkeys(captions))


@torch.no_grad()
def encode_captions(decoder: Decoder, captions: Sequence[str]) -> Float[Tensor, "caption token text"]:
    """Different captions in the decoder's tokens, off the device."""
    texts = list_captions(captions)
    return torch.cat([decoder.encode_text(texts[at : at + ENCODED]).cpu() for at in range(0, len(texts), ENCODED)])


@torch.no_grad()
def encode_clips(
    suite: Any, decoder: Decoder, video: UInt8[np.ndarray, "clip frame height width 3"]
) -> Float[Tensor, "clip ..."]:
    """Latents of all clips in half precision, off the device: at the paper's size they fill 13 GB."""
    what = f"latents of {type(decoder).__name__} at {decoder.shape}"
    return remember(suite, what, video, lambda clips: decoder.encode_video(clips).half().cpu())
