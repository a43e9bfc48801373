"""Integration of memories into the fMRI embedding (§3.2), equations (6) to (8).

Where the paper leaves a choice, or contradicts itself:

- e_txt^mem is a single vector of CLIP's in (5), but (7) and (8) have to give the video model what it knows: the tokens
  of its own text encoder. So the retrieved text is the *caption of the best entry* in that encoder's tokens.
  The paper's 512 fMRI tokens are as many as Wan's text tokens, which is what the sum (8) needs. With fewer fMRI tokens
  (mini sizes) they are added to the first tokens of the text.
- (6) is the sum of two cross-attentions, without f^e itself: from K memories each, fMRI would reach the decoder only as
  weights over memories. The text calls it "injecting cues into the fMRI embedding", so f^e is added
  (`residual=True`). `residual=False` is (6) to the letter.
- W_Q is shared by both attentions, as it is written. Images and actions live in different spaces, so each has its own
  W_K and W_V. A linear layer takes the result to the width of the text tokens.
- Norm, "to scale it comparably to the text embeddings", is RMSNorm (as in SANA, which is cited) whose gain starts at
  the root mean square of the memories' text tokens.
- A zero-convolution over tokens with kernel 1 is a linear layer that starts at zero; it is written as that.
- alpha is 1, fixed: Z_fMRI is linear and learns any other.

"w/o integration" (Table 6) conditions on Norm(f^e) alone ("directly conditions the generator on raw fMRI features").
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from bench.core.errors import BenchError

MEASURED = 2**26  # numbers of texts that are looked at at once


class CrossAttention(nn.Module):
    """Keys and values of one modality; the query comes ready, since both modalities share it."""

    def __init__(self, width: int, memory: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.key = nn.Linear(memory, width)
        self.value = nn.Linear(memory, width)

    def forward(
        self, query: Float[Tensor, "trial token width"], memories: Float[Tensor, "trial k memory"]
    ) -> Float[Tensor, "trial token width"]:
        parts = [
            x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (query, self.key(memories), self.value(memories))
        ]
        return functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)


class ScaledProjection(nn.Module):
    """To the width of the text tokens, at their scale: `Norm` of equation (7)."""

    def __init__(self, width: int, text: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, text)
        self.norm = nn.RMSNorm(text, eps=1e-6)

    def set_scale(self, scale: float) -> None:
        """Root mean square of the text tokens, where the gain starts."""
        nn.init.constant_(self.norm.weight, scale)

    def forward(self, tokens: Float[Tensor, "trial token width"]) -> Float[Tensor, "trial token text"]:
        return self.norm(self.project(tokens))


class Fusion(nn.Module):
    """f^fuse from f^e and the memories. At initialisation it equals the retrieved text, exactly."""

    def __init__(
        self, *, width: int, image: int, action: int, text: int, heads: int, alpha: float, residual: bool
    ) -> None:
        super().__init__()
        if width % heads:
            raise BenchError(f"{heads} heads do not divide a width of {width}; change heads or width")
        self.alpha, self.residual = alpha, residual
        self.query = nn.Linear(width, width)
        self.image = CrossAttention(width, image, heads)
        self.action = CrossAttention(width, action, heads)
        self.scaled = ScaledProjection(width, text)
        self.zero_fmri = start_at_zero(nn.Linear(text, text))
        self.zero_text = start_at_zero(nn.Linear(text, text))

    def set_scale(self, scale: float) -> None:
        self.scaled.set_scale(scale)

    def enhance(
        self,
        tokens: Float[Tensor, "trial token width"],
        images: Float[Tensor, "trial k image"],
        actions: Float[Tensor, "trial k action"],
    ) -> Float[Tensor, "trial token width"]:
        """Equation (6)."""
        query = self.query(tokens)
        made = self.image(query, images) + self.action(query, actions)
        return tokens + made if self.residual else made

    def forward(
        self,
        tokens: Float[Tensor, "trial token width"],
        images: Float[Tensor, "trial k image"],
        actions: Float[Tensor, "trial k action"],
        text: Float[Tensor, "trial texttoken text"],
    ) -> Float[Tensor, "trial texttoken text"]:
        """Equations (7) and (8); `tokens` are f^e, `text` the tokens of the top entry's caption."""
        z_f = self.zero_fmri(self.scaled(self.enhance(tokens, images, actions)))
        z_t = self.zero_text(text) + text
        return z_t + self.alpha * fill_tokens(z_f, text.shape[1])


def start_at_zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def fill_tokens(tokens: Float[Tensor, "trial token text"], count: int) -> Float[Tensor, "trial count text"]:
    """The tokens, then zeros, up to `count`. Raises BenchError where there are more."""
    missing = count - tokens.shape[1]
    if missing < 0:
        raise BenchError(f"{tokens.shape[1]} fMRI tokens do not fit a text of {count} tokens; lower tokens")
    return functional.pad(tokens, (0, 0, 0, missing)) if missing else tokens


def measure_scale(tokens: Float[Tensor, "text token width"]) -> float:
    """Root mean square of the tokens that are not padding (all zero), of some texts at a time."""
    means, counts = [], []
    for part in tokens.split(max(1, MEASURED // max(1, tokens[:1].numel()))):
        used = part.abs().amax(dim=-1) > 0
        means.append(part[used].square().mean().nan_to_num())
        counts.append(used.sum())
    weights = torch.stack(counts).to(tokens.dtype)
    mean = torch.stack(means) @ (weights / weights.sum().clamp(min=1))
    return float(mean.sqrt()) if bool(mean > 0) else 1.0


@torch.no_grad()
def shift_from_text(fused: Float[Tensor, "trial token text"], text: Float[Tensor, "trial token text"]) -> float:
    """How far the fused embedding has moved from the retrieved text, as a share of the text's norm: 0 at first."""
    return float((fused - text).norm() / text.norm())
