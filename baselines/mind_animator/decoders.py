"""Three decoders: what is seen (semantics), how it lies in the picture (structure), how it moves (motion).

    semantics: voxels → CLIP-like embedding → text tokens        structure: voxels → latent of the first frame
    motion:    latents of the frames so far, voxels → latents of the next frames

Sizes and layers are those of the released code (the README names file and line). Each decoder has an input layer for
every subject, since voxel counts differ; the rest is shared. A trial's volumes are laid side by side (cc2017 has one).

What is not as released:

- Text and first frame add to the mean of the training clips, so that an untrained decoder gives it.
- The hidden state of the semantic decoder is the embedding, so it is as wide as CLIP's; where `width` is another, a
  linear layer lies between.
- `tokens` says how many text tokens are decoded after the start token, which all captions share: 19 in the release, of
  20. None decodes all that the text encoder has (the mini text encoder says a caption again and again).
- `predict="change"` adds what the motion decoder says to the frame before, and starts at nothing: a still video.
- The mask of earlier frames is drawn anew for every batch; the release draws one for the whole training.
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


class VoxelBlocks(nn.Module):
    """A subject's voxels → norm, GELU, dropout → residual blocks of linear layer, norm, GELU, dropout."""

    def __init__(self, inputs: FlatLayers, *, blocks: int, dropout: float) -> None:
        super().__init__()
        width = inputs.shape[0]
        self.inputs = inputs
        self.enter = nn.Sequential(nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout / 2))
            for _ in range(blocks)
        )

    def forward(
        self, signals: Float[Tensor, "trial column volume"], subject: Int64[Tensor, " trial"]
    ) -> Float[Tensor, "trial width"]:
        hidden = self.enter(self.inputs(signals, subject))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return hidden


class SemanticDecoder(nn.Module):
    """Voxels → an embedding beside CLIP's → the generator's text tokens by an MLP."""

    mean: Tensor  # (token, D)

    def __init__(
        self,
        inputs: FlatLayers,
        *,
        blocks: int,
        hidden: tuple[int, int],
        dropout: float,
        embedding: int,
        tokens: int | None,
        mean: Float[Tensor, "token D"],
    ) -> None:
        """`hidden`: widths of the MLP to the tokens; `mean`: of the training captions' tokens, all of them."""
        super().__init__()
        width = inputs.shape[0]
        self.tokens = min(tokens or len(mean), len(mean) - 1)
        self.body = VoxelBlocks(inputs, blocks=blocks, dropout=dropout)
        self.to_clip = nn.Identity() if width == embedding else nn.Linear(width, embedding)
        layers: list[nn.Module] = []
        for before, after in zip((width, *hidden), (*hidden, self.tokens * mean.shape[1]), strict=True):
            layers += [nn.LayerNorm(before), nn.GELU(), nn.Linear(before, after)]
        self.to_text = nn.Sequential(*layers)
        nn.init.zeros_(layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(layers[-1].bias)  # type: ignore[arg-type]
        self.scale = nn.Parameter(torch.tensor(1 / 0.07).log())  # of the cosines that the contrast compares
        self.register_buffer("mean", mean[: 1 + self.tokens].clone())

    @property
    def inputs(self) -> FlatLayers:
        return self.body.inputs

    def forward(
        self, signals: Float[Tensor, "trial column volume"], subject: Int64[Tensor, " trial"]
    ) -> tuple[Float[Tensor, "trial embedding"], Float[Tensor, "trial token D"]]:
        """The embedding, of no particular length, and the start token with those that are decoded."""
        hidden = self.body(signals, subject)
        change = self.to_text(hidden).unflatten(1, (self.tokens, -1))
        return self.to_clip(hidden), self.mean + functional.pad(change, (0, 0, 1, 0))


class StructureDecoder(nn.Module):
    """Voxels → the latent of the first frame."""

    mean: Tensor  # (c, y, x)

    def __init__(self, inputs: FlatLayers, *, blocks: int, dropout: float, mean: Float[Tensor, "c y x"]) -> None:
        super().__init__()
        width = inputs.shape[0]
        self.inputs = inputs
        self.register_buffer("mean", mean.clone())
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, mean.numel())
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self, signals: Float[Tensor, "trial column volume"], subject: Int64[Tensor, " trial"]
    ) -> Float[Tensor, "trial c y x"]:
        hidden = self.dropout(self.inputs(signals, subject))
        for block in self.blocks:
            hidden = hidden + self.dropout(block(hidden))
        made = self.leave(functional.relu(self.norm(hidden)))
        return self.mean + made.view(-1, *self.mean.shape)


def bar_frames(frames: int, chance: float, generator: torch.Generator | None = None) -> Bool[Tensor, "frame frame"]:
    """True where a frame (row) may not ask another (column), as the released `subsequent_mask` draws it.

    Later frames are barred. From the third frame on each frame but the first, itself among them, is barred with
    `chance`: 1 leaves the first alone.
    """
    barred = torch.ones(frames, frames, dtype=torch.bool).triu(1)
    drawn = torch.rand(frames, frames, generator=generator) < chance
    drawn[:2], drawn[:, 0] = False, False
    return barred | drawn


class NarrowAttention(nn.Module):
    """Multi-head attention whose queries, keys and values are narrower than what they are made of."""

    def __init__(self, width: int, inner: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.queries, self.keys, self.values = (nn.Linear(width, inner) for _ in range(3))
        self.leave = nn.Linear(inner, width)

    def forward(
        self,
        asking: Float[Tensor, "trial frame width"],
        asked: Float[Tensor, "trial token width"],
        barred: Bool[Tensor, "frame token"] | None = None,
    ) -> Float[Tensor, "trial frame width"]:
        queries, keys, values = (
            layer(one).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, one in ((self.queries, asking), (self.keys, asked), (self.values, asked))
        )
        seen = functional.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=None if barred is None else ~barred,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.leave(seen.transpose(1, 2).flatten(2))


class SampleNorm(nn.Module):
    """A layer norm by the sample's deviation (n - 1), to which eps is added, as the Annotated Transformer has it."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.gain, self.bias, self.eps = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width)), eps

    def forward(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        centred = hidden - hidden.mean(-1, keepdim=True)
        return self.gain * centred / (hidden.std(-1, keepdim=True) + self.eps) + self.bias


class MotionLayer(nn.Module):
    """Attention over frames, to the fMRI, and an MLP; what each says is dropped out, normed and then added."""

    def __init__(self, width: int, inner: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(SampleNorm(width) for _ in range(3))
        self.over_frames = NarrowAttention(width, inner, heads, dropout)
        self.to_fmri = NarrowAttention(width, inner, heads, dropout)
        self.mlp = nn.Sequential(
            nn.Linear(width, feedforward), nn.ReLU(), nn.Dropout(dropout), nn.Linear(feedforward, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        hidden: Float[Tensor, "trial frame width"],
        fmri: Float[Tensor, "trial token width"],
        barred: Bool[Tensor, "frame frame"],
    ) -> Float[Tensor, "trial frame width"]:
        hidden = hidden + self.norms[0](self.dropout(self.over_frames(hidden, hidden, barred)))
        hidden = hidden + self.norms[1](self.dropout(self.to_fmri(hidden, fmri)))
        return hidden + self.norms[2](self.dropout(self.mlp(hidden)))


class MotionDecoder(nn.Module):
    """Latents of frames and voxels to the latents of the frame after each; a frame is one token, as wide as its latent.

    The fMRI enters by cross-attention, as `fmri_tokens` tokens of the frame's width (1 in the release).
    """

    places: Tensor  # (frame, width)

    def __init__(
        self,
        inputs: FlatLayers,
        *,
        frames: int,
        shape: Sequence[int],
        blocks: int,
        layers: int,
        inner: int,
        heads: int,
        feedforward: int,
        fmri_tokens: int,
        dropout: float,
        change: bool,
    ) -> None:
        """`shape` of a frame's latent: (c, y, x); with `change` the answer adds to the frame, else it is the next."""
        super().__init__()
        width = int(torch.Size(shape).numel())
        self.shape, self.frames, self.fmri_tokens, self.change = tuple(shape), frames, fmri_tokens, change
        self.body = VoxelBlocks(inputs, blocks=blocks, dropout=0.3)
        self.to_fmri = nn.Linear(inputs.shape[0], fmri_tokens * width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(MotionLayer(width, inner, heads, feedforward, dropout) for _ in range(layers))
        self.norm = SampleNorm(width)
        if change:
            nn.init.zeros_(self.norm.gain)
        self.register_buffer("places", encode_places(frames, width), persistent=False)

    @property
    def inputs(self) -> FlatLayers:
        return self.body.inputs

    def forward(
        self,
        latents: Float[Tensor, "trial frame c y x"],
        signals: Float[Tensor, "trial column volume"],
        subject: Int64[Tensor, " trial"],
        barred: Bool[Tensor, "frame frame"],
    ) -> Float[Tensor, "trial frame c y x"]:
        """The frame after each of these; `barred`: `bar_frames`."""
        fmri = self.to_fmri(self.body(signals, subject)).unflatten(1, (self.fmri_tokens, -1))
        return self.read(latents, fmri, barred)

    def read(
        self,
        latents: Float[Tensor, "trial frame c y x"],
        fmri: Float[Tensor, "trial token width"],
        barred: Bool[Tensor, "frame frame"],
    ) -> Float[Tensor, "trial frame c y x"]:
        hidden = self.dropout(latents.flatten(2) + self.places[: latents.shape[1]])
        for layer in self.layers:
            hidden = layer(hidden, fmri, barred.to(hidden.device))
        made = self.norm(hidden).unflatten(2, self.shape)
        return latents + made if self.change else made

    def animate(
        self,
        first: Float[Tensor, "trial c y x"],
        signals: Float[Tensor, "trial column volume"],
        subject: Int64[Tensor, " trial"],
        chance: float,
    ) -> Float[Tensor, "trial frame c y x"]:
        """A clip from its first frame, one frame after the other. As released, a frame asks with `chance` 1 the first
        frame alone."""
        fmri = self.to_fmri(self.body(signals, subject)).unflatten(1, (self.fmri_tokens, -1))
        latents = first[:, None]
        while latents.shape[1] < self.frames:
            barred = bar_frames(latents.shape[1], chance)
            latents = torch.cat([latents, self.read(latents, fmri, barred)[:, -1:]], dim=1)
        return latents


def encode_places(frames: int, width: int) -> Float[Tensor, "frame width"]:
    """Sines and cosines by turns, of wavelengths from 2 π to 10,000 · 2 π (Vaswani et al. 2017)."""
    rates = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(0, width, 2) / width)
    angles = torch.arange(frames)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]
