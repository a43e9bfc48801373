"""The fMRI encoder: patches of voxels → transformer over space and time → text tokens and a CLIP embedding.

    a subject's voxels, cut to patches → spatial attention, attention over the window, MLP (× layers)
    → a subject's map from all patches of all volumes to tokens; their mean → embeddings beside CLIP's
    → text tokens: the captions' mean + linear in the caption's embedding + a small residual MLP of the tokens

Where the descriptions leave a choice:

- MinD-Video trains one model a subject. Here the layers that depend on the number of voxels (patch embedding,
  positions, map from patches to tokens) are a subject's own, and the rest is shared, so one model can hold several.
- Voxels are padded to whole patches by wrapping around, as theirs are. Their code adds a patch even where none is
  needed; this one does not.
- The patch embedding is a convolution, as theirs: one set of weights for all patches of a subject, told apart by their
  positions. `own_patches` gives every patch weights of its own, as voxels have no order that a filter could use.
- The window is the volumes of a trial: a reconstruction may not see its neighbours' trials. With one volume a trial
  (cc2017) the attention over time has nothing to attend to, and is left out.
- Positions are the release's sines and cosines, one for each patch and the same for every volume: the map to tokens
  tells the volumes apart. The release's class and mask tokens, which its `forward` never reads, are left out.
- Text tokens start at the training captions' mean. What is made of the tokens is the published way, learned through
  the generator. What is linear in the embedding that is aligned with the caption's (`caption_path`) is added here and
  learned from captions: in the steps that a small cell has, the generator's loss teaches little. A squared error on the
  77 tokens themselves, each read from the brain on its own, overfits: 1.03 to 1.07 of the variance on other trials.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from bench.toolbox.voxels import SubjectLayers


class PatchLayers(nn.Module):
    """What depends on a subject's voxels: patch embedding, positions, and the map from patches to tokens."""

    wrapped: Tensor  # (P × patch,): the column of the signals at each place of the patches
    positions: Tensor  # (P, width)

    def __init__(
        self, columns: Int64[Tensor, " voxel"], *, patch: int, width: int, volumes: int, tokens: int, own_patches: bool
    ) -> None:
        super().__init__()
        self.patch = patch
        self.count = -(-len(columns) // patch)
        places = torch.arange(self.count * patch, device=columns.device) % len(columns)
        self.register_buffer("wrapped", columns[places], persistent=False)
        self.weight = nn.Parameter(torch.randn(self.count if own_patches else 1, patch, width) * patch**-0.5)
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("positions", encode_positions(self.count, width).to(columns.device), persistent=False)
        seen = volumes * self.count
        self.to_tokens = nn.Parameter(torch.randn(tokens, seen) * seen**-0.5)

    def cut(self, signals: Float[Tensor, "trial column volume"]) -> Float[Tensor, "trial volume patch voxel"]:
        return signals[:, self.wrapped].transpose(1, 2).unflatten(2, (self.count, self.patch))

    def embed(self, patches: Float[Tensor, "trial volume patch voxel"]) -> Float[Tensor, "trial volume patch width"]:
        weight = self.weight.expand(self.count, -1, -1)
        return torch.einsum("ntpv,pvw->ntpw", patches, weight) + self.bias + self.positions


def encode_positions(count: int, width: int) -> Float[Tensor, "place width"]:
    """Sines, then cosines, of places 1 to `count` (0 is the class token's), as MAE has them (He et al. 2022)."""
    rates = 10000.0 ** -(torch.arange(width // 2) / (width / 2))
    angles = torch.arange(1, count + 1)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class TextHead(nn.Module):
    """A linear layer to the text's width and a residual one behind GELU; it starts at nothing."""

    def __init__(self, width: int, text: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(width, text, bias=False)
        self.mix = nn.Linear(text, text, bias=False)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.project.weight)

    def forward(self, tokens: Float[Tensor, "trial token width"]) -> Float[Tensor, "trial token D"]:
        projected = self.project(tokens)
        return projected + self.dropout(self.mix(functional.gelu(projected)))


class Attention(nn.Module):
    """Pre-norm multi-head self-attention over the second to last dimension, with its residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.enter = nn.Linear(width, 3 * width)
        self.leave = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Float[Tensor, "*batch place width"]) -> Float[Tensor, "*batch place width"]:
        parts = self.enter(self.norm(hidden)).unflatten(-1, (3, self.heads, -1))  # (…, place, 3, heads, d)
        queries, keys, values = (one.transpose(-2, -3) for one in parts.unbind(-3))  # (…, heads, place, d)
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        return hidden + self.dropout(self.leave(mixed.transpose(-2, -3).flatten(-2)))


class Layer(nn.Module):
    """Attention over patches, attention over the volumes of each patch (if any), MLP."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float, *, temporal: bool) -> None:
        super().__init__()
        self.spatial = Attention(width, heads, dropout)
        self.temporal = Attention(width, heads, dropout) if temporal else None
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, feedforward),
            nn.GELU(),
            nn.Linear(feedforward, width),
            nn.Dropout(dropout),
        )

    def forward(self, hidden: Float[Tensor, "trial volume patch width"]) -> Float[Tensor, "trial volume patch width"]:
        hidden = self.spatial(hidden)
        if self.temporal is not None:
            hidden = self.temporal(hidden.transpose(1, 2)).transpose(1, 2)
        return hidden + self.mlp(hidden)


class FmriEncoder(nn.Module):
    """Subjects are added one by one with `add_subject`; the rest is shared."""

    mean_text: Tensor  # (token, D)

    def __init__(
        self,
        *,
        volumes: int,
        patch: int,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        own_patches: bool,
        temporal: bool,
        caption_path: bool,
        embedding: int,
        mean_text: Float[Tensor, "token D"],
    ) -> None:
        """`volumes` of a trial, `embedding`: the width of CLIP, `mean_text`: the mean tokens of the captions."""
        super().__init__()
        self.volumes, self.patch, self.width, self.own_patches = volumes, patch, width, own_patches
        self.subjects = SubjectLayers()
        self.layers = nn.ModuleList(
            Layer(width, heads, feedforward, dropout, temporal=temporal and volumes > 1) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.register_buffer("mean_text", mean_text.clone())
        self.to_text = TextHead(width, mean_text.shape[1], dropout)
        self.to_image = nn.Linear(width, embedding)
        self.to_caption = nn.Linear(width, embedding)
        self.from_caption = nn.Linear(embedding, mean_text.numel()) if caption_path else None
        if self.from_caption is not None:
            for one in self.from_caption.parameters():
                nn.init.zeros_(one)

    def add_subject(self, number: int, columns: Int64[Tensor, " voxel"]) -> PatchLayers:
        """Fresh layers for the subject whose voxels are in these columns; they replace those that are there."""
        layers = PatchLayers(
            columns,
            patch=self.patch,
            width=self.width,
            volumes=self.volumes,
            tokens=len(self.mean_text),
            own_patches=self.own_patches,
        ).to(self.mean_text.device)
        self.subjects.put(number, layers)
        return layers

    def find(self, number: int) -> PatchLayers:
        """A subject's layers; raises UnknownSubject."""
        layers = self.subjects.find(number)
        assert isinstance(layers, PatchLayers)
        return layers

    def run(self, hidden: Float[Tensor, "trial volume patch width"]) -> Float[Tensor, "trial volume patch width"]:
        """The shared transformer, over whichever patches there are."""
        for layer in self.layers:
            hidden = layer(hidden)
        return self.norm(hidden)

    def encode(
        self, signals: Float[Tensor, "trial column volume"], subject: Int64[Tensor, " trial"]
    ) -> Float[Tensor, "trial token width"]:
        """Tokens of each trial, by its subject's layers. Raises UnknownSubject."""
        made = signals.new_empty(len(signals), *self.mean_text.shape[:1], self.width)
        for number in subject.unique().tolist():
            layers = self.find(number)
            rows = (subject == number).nonzero()[:, 0]
            hidden = self.run(layers.embed(layers.cut(signals[rows]))).flatten(1, 2)  # (n, T × P, width)
            made = made.index_copy(0, rows, (layers.to_tokens @ hidden).to(made))
        return made

    def read_text(self, tokens: Float[Tensor, "trial token width"]) -> Float[Tensor, "trial token D"]:
        """What conditions the generator."""
        return self.read_caption(tokens) + self.to_text(tokens)

    def read_caption(self, tokens: Float[Tensor, "trial token width"]) -> Float[Tensor, "trial token D"]:
        """The part that is learned from captions."""
        if self.from_caption is None:
            return self.mean_text.expand(len(tokens), -1, -1)
        embedding = functional.normalize(self.to_caption(tokens.mean(dim=1)), dim=1)
        return self.mean_text + self.from_caption(embedding).view(-1, *self.mean_text.shape)

    def read_clip(
        self, tokens: Float[Tensor, "trial token width"]
    ) -> tuple[Float[Tensor, "trial embedding"], Float[Tensor, "trial embedding"]]:
        """Embeddings to compare with CLIP's of the pictures and of the caption; of no particular length."""
        pooled = tokens.mean(dim=1)
        return self.to_image(pooled), self.to_caption(pooled)

    def forward(
        self, signals: Float[Tensor, "trial column volume"], subject: Int64[Tensor, " trial"]
    ) -> Float[Tensor, "trial token D"]:
        return self.read_text(self.encode(signals, subject))
