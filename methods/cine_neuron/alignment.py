"""What the global token is aligned with (§3.1): images, texts and actions by InfoNCE, equations (1) to (3).

Where the paper leaves a choice:

- (2) multiplies vectors without saying that they are of unit length; here they are, as CLIP's and ViCLIP's embeddings
  are compared everywhere else. Without it f^c could lower the loss by growing.
- (2) looks one way, from fMRI to the embeddings. So does this.
- (2) counts every other trial of a batch as a wrong answer. Trials of the same clip (repeats, other subjects) and clips
  with the same caption are no wrong answers: `groups` leaves them out of the denominator.
- phi_v is the frames' mean plus a learned correction that starts at zero: a random head would throw away at first what
  CLIP knows. Its output is also what the memories hold, so it is trained in stage 1 and frozen in stage 2; otherwise
  the memories would be out of date after every step. Where the first layer is solved it stays the frames' mean, which
  is what the layer was solved for.
- The temperature is 0.07, fixed; lambda_1 and lambda_2 are 1.
- ViCLIP is in no maintained package. `suite.embed_actions` is the suite's own encoder (X-CLIP). `ViClip` takes the
  model of a local checkout, such as the one that VBench carries, and can be put in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

VICLIP_FRAMES, VICLIP_SIZE = 8, 224
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def info_nce(
    queries: Float[Tensor, "batch width"],
    targets: Float[Tensor, "batch width"],
    temperature: float,
    groups: Int64[Tensor, " batch"] | None = None,
) -> Float[Tensor, ""]:
    """Equation (2) on unit vectors: mean of -log softmax of each query's own target among the batch's.

    Targets of the same group as the query's own are left out of the denominator. Lies in [0, log B + 2 / temperature].
    """
    return choose_own(
        functional.normalize(queries, dim=1) @ functional.normalize(targets, dim=1).T, temperature, groups
    )


def choose_own(
    similarity: Float[Tensor, "batch batch"], temperature: float, groups: Int64[Tensor, " batch"] | None = None
) -> Float[Tensor, ""]:
    """InfoNCE of a matrix of similarities whose diagonal is right."""
    logits = similarity / temperature
    if groups is not None:
        others = (groups[:, None] == groups[None, :]) & ~torch.eye(len(groups), dtype=torch.bool, device=groups.device)
        logits = logits.masked_fill(others, -torch.inf)
    return functional.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


class FrameProjection(nn.Module):
    """phi_v: embeddings of a clip's frames to one of the clip, at first their mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.enter = nn.Linear(width, width)
        self.leave = nn.Linear(width, width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, frames: Float[Tensor, "clip frame width"]) -> Float[Tensor, "clip width"]:
        return (frames + self.leave(functional.gelu(self.enter(self.norm(frames))))).mean(dim=1)


class Alignment(nn.Module):
    """The heads of stage 1: phi_v over frames, phi_a to actions, phi_c to categories."""

    def __init__(self, *, embedding: int, action: int, categories: int, dropout: float) -> None:
        super().__init__()
        self.frames = FrameProjection(embedding)
        self.action = nn.Sequential(
            nn.Linear(embedding, embedding), nn.GELU(), nn.Dropout(dropout), nn.Linear(embedding, action)
        )
        self.categories = nn.Linear(embedding, categories)


class ViClip:
    """Actions of videos by ViCLIP: `network` is the model of a local checkout, loaded by its own code.

    The call is `network.encode_vision(frames, test=True)` with frames f32 [n, 8, 3, 224, 224], normalised as ImageNet
    is; the embeddings come out at unit length.
    """

    def __init__(self, network: Any, device: torch.device | str = "cpu") -> None:
        self.network = network.to(device).eval().requires_grad_(False)
        self.device = device

    @torch.inference_mode()
    def __call__(self, video: UInt8[np.ndarray, "clip frame height width 3"]) -> Float[Tensor, "clip width"]:
        picked = np.linspace(0, video.shape[1] - 1, VICLIP_FRAMES).round().astype(int)
        pixels = torch.from_numpy(video[:, picked]).to(self.device).float().div(255).movedim(-1, 2)
        shape = pixels.shape[:2]
        size = (VICLIP_SIZE, VICLIP_SIZE)
        pixels = functional.interpolate(pixels.flatten(0, 1), size, mode="bicubic", antialias=True).clamp(0, 1)
        pixels = (pixels - channel(IMAGENET_MEAN, pixels)) / channel(IMAGENET_DEVIATION, pixels)
        return functional.normalize(self.network.encode_vision(pixels.unflatten(0, shape), test=True).float(), dim=-1)


def channel(values: Sequence[float], like: Tensor) -> Float[Tensor, "3 1 1"]:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]
