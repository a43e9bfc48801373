"""Three decoders: what is seen (semantics), how it lies in the picture (structure), how it moves (motion).

    semantics: voxels → CLIP-like embedding → text tokens        structure: voxels → latent of the first frame
    motion:    latents of the frames so far, voxels → latents of all frames

Each has an input layer for every subject, since voxel counts differ; the rest is shared. A trial's volumes are laid
side by side (cc2017 has one). All outputs add to the mean of the training clips, so that an untrained decoder gives it.

Where the descriptions leave a choice:

- The published semantic decoder gives 19 tokens of 768 numbers. `tokens` says how many are decoded; the others are
  those of the training captions' mean. The mini text encoder says a caption again and again, so there all 77 count.
- In the published motion decoder a frame is one token as wide as its latent (4 × 64 × 64 = 16,384, "4,096 · 4"). So it
  is here. It predicts a frame's change from the first frame: without training, a still video.
- The fMRI enters the motion decoder by cross-attention, as several tokens (`fmri_tokens`) of the frame's width.
- Sparse-causal: a frame asks the first, the previous and itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from bench.toolbox.voxels import FlatLayers, Voxels


def add_inputs(voxels: Voxels, *, volumes: int, width: int) -> FlatLayers:
    """A linear layer a subject, from its voxels at all volumes to `width` numbers."""
    inputs = FlatLayers(partial(nn.Linear, out_features=width), volumes=volumes, shape=(width,))
    for number, columns in voxels.items():
        inputs.add_subject(number, columns)
    return inputs


class Residual(nn.Module):
    """x + MLP(norm(x))."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def forward(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return hidden + self.inner(hidden)


class SemanticDecoder(nn.Module):
    """Voxels → an embedding beside CLIP's, of unit length → the generator's text tokens, linear in it."""

    mean: Tensor  # (77, D)

    def __init__(
        self,
        inputs: FlatLayers,
        *,
        blocks: int,
        dropout: float,
        embedding: int,
        tokens: int | None,
        mean: Float[Tensor, "token D"],
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.blocks = nn.Sequential(
            nn.Dropout(dropout),
            *(Residual(inputs.shape[0], dropout) for _ in range(blocks)),
            nn.LayerNorm(inputs.shape[0]),
        )
        self.register_buffer("mean", mean.clone())
        self.tokens = min(tokens or len(mean), len(mean))
        self.to_clip = nn.Linear(inputs.shape[0], embedding)
        self.to_text = nn.Linear(embedding, self.tokens * mean.shape[1])
        nn.init.zeros_(self.to_text.weight)
        nn.init.zeros_(self.to_text.bias)

    def forward(
        self, signals: Float[Tensor, "trial column volume"], subject: Int64[Tensor, " trial"]
    ) -> tuple[Float[Tensor, "trial embedding"], Float[Tensor, "trial token D"]]:
        hidden = self.blocks(self.inputs(signals, subject))
        embedding = functional.normalize(self.to_clip(hidden), dim=1)
        change = self.to_text(embedding).unflatten(1, (self.tokens, -1))
        decoded = self.mean[: self.tokens] + change
        rest = self.mean[self.tokens :].expand(len(decoded), -1, -1)
        return embedding, torch.cat([decoded, rest], dim=1)


class StructureDecoder(nn.Module):
    """Voxels → the latent of the first frame."""

    mean: Tensor  # (c, y, x)

    def __init__(self, inputs: FlatLayers, *, dropout: float, mean: Float[Tensor, "c y x"]) -> None:
        super().__init__()
        self.inputs = inputs
        self.register_buffer("mean", mean.clone())
        self.shared = nn.Sequential(nn.LayerNorm(inputs.shape[0]), nn.GELU(), nn.Dropout(dropout))
        self.leave = nn.Linear(inputs.shape[0], mean.numel())
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self, signals: Float[Tensor, "trial column volume"], subject: Int64[Tensor, " trial"]
    ) -> Float[Tensor, "trial c y x"]:
        made = self.leave(self.shared(self.inputs(signals, subject)))
        return self.mean + made.view(-1, *self.mean.shape)


def sparse_causal(frames: int) -> Bool[Tensor, "frame frame"]:
    """True where a frame (row) may not ask another (column): any but the first, the previous and itself."""
    asked, asking = torch.arange(frames)[None, :], torch.arange(frames)[:, None]
    return ~((asked == 0) | (asked == asking - 1) | (asked == asking))


class MotionLayer(nn.Module):
    """Sparse-causal self-attention over frames, cross-attention to the fMRI, MLP."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.over_frames = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.to_fmri = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(width, feedforward), nn.GELU(), nn.Dropout(dropout), nn.Linear(feedforward, width)
        )

    def forward(
        self,
        hidden: Float[Tensor, "trial frame width"],
        fmri: Float[Tensor, "trial token width"],
        barred: Bool[Tensor, "frame frame"],
    ) -> Float[Tensor, "trial frame width"]:
        frames = self.norms[0](hidden)
        hidden = hidden + self.over_frames(frames, frames, frames, attn_mask=barred, need_weights=False)[0]
        hidden = hidden + self.to_fmri(self.norms[1](hidden), fmri, fmri, need_weights=False)[0]
        return hidden + self.mlp(self.norms[2](hidden))


class MotionDecoder(nn.Module):
    """Latents of the frames that are known, and voxels, to the latents of all; a learned token fills the gaps."""

    barred: Tensor  # (frame, frame)

    def __init__(
        self,
        inputs: FlatLayers,
        *,
        frames: int,
        shape: Sequence[int],
        layers: int,
        heads: int,
        feedforward: int,
        fmri_tokens: int,
        dropout: float,
    ) -> None:
        """`shape` of a frame's latent: (c, y, x)."""
        super().__init__()
        width = int(torch.Size(shape).numel())
        self.shape, self.frames, self.fmri_tokens = tuple(shape), frames, fmri_tokens
        self.inputs = inputs
        self.to_fmri = nn.Sequential(
            nn.LayerNorm(inputs.shape[0]), nn.GELU(), nn.Linear(inputs.shape[0], fmri_tokens * width)
        )
        self.gap = nn.Parameter(0.02 * torch.randn(width))
        self.positions = nn.Parameter(0.02 * torch.randn(frames, width))
        self.layers = nn.ModuleList(MotionLayer(width, heads, feedforward, dropout) for _ in range(layers))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        last = self.leave[1]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.register_buffer("barred", sparse_causal(frames), persistent=False)

    def forward(
        self,
        latents: Float[Tensor, "trial frame c y x"],
        known: Bool[Tensor, "trial frame"],
        signals: Float[Tensor, "trial column volume"],
        subject: Int64[Tensor, " trial"],
    ) -> Float[Tensor, "trial frame c y x"]:
        """All frames, the known ones too, as the first frame and a change. The first must be known."""
        fmri = self.to_fmri(self.inputs(signals, subject)).unflatten(1, (self.fmri_tokens, -1))
        hidden = torch.where(known[:, :, None], latents.flatten(2), self.gap) + self.positions
        for layer in self.layers:
            hidden = layer(hidden, fmri, self.barred)
        return latents[:, :1] + self.leave(hidden).unflatten(2, self.shape)

    def animate(
        self,
        first: Float[Tensor, "trial c y x"],
        signals: Float[Tensor, "trial column volume"],
        subject: Int64[Tensor, " trial"],
    ) -> Float[Tensor, "trial frame c y x"]:
        """A clip from its first frame, one frame after the other: what was predicted is known from then on."""
        latents = first[:, None].repeat(1, self.frames, 1, 1, 1)
        known = torch.zeros(len(first), self.frames, dtype=torch.bool, device=first.device)
        known[:, 0] = True
        for frame in range(1, self.frames):
            latents[:, frame] = self(latents, known, signals, subject)[:, frame]
            known[:, frame] = True
        return latents
