"""The diffusion prior: from the projected tokens of the brain to tokens that CLIP could have given.

A transformer reads [brain tokens, time, noisy targets] and predicts the clean targets at the places of the noisy ones,
as the prior of DALL-E 2 does, which MindEye2 and NeuroClips take over from dalle2-pytorch: cosine similarities of one
key and value for all heads, rotary positions, a bias for each distance, SwiGLU, norms without bias. Cosine schedule,
100 times, 20 steps to sample.

- Sampling is DDIM without fresh noise: all of a trial's randomness is its start, drawn from its own seed. The release
  adds noise at each step (eta 1).
- A dropped condition (`drop`) is a learned token in place of the brain's; sampling uses no guidance, as MindEye2 does.
  The release can drop the noisy targets as well, which nothing asks for; its token for that is left out.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

BUCKETS, FARTHEST = 32, 128  # of the bias for each distance: half of them one a step, the rest up to the farthest
ROTATED = 32  # of a head's numbers, at most
SHARPNESS = 16.0  # that cosines are multiplied by


class Norm(nn.Module):
    """A layer norm with a gain and no bias; `stable` divides by the largest number first (dalle2-pytorch: by the most
    positive one, which few numbers need not have)."""

    def __init__(self, width: int, *, stable: bool = False) -> None:
        super().__init__()
        self.gain, self.stable = nn.Parameter(torch.ones(width)), stable

    def forward(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        if self.stable:
            hidden = hidden / hidden.abs().amax(dim=-1, keepdim=True).clamp_min(1e-12).detach()
        return functional.layer_norm(hidden, hidden.shape[-1:], eps=1e-5) * self.gain


class Attention(nn.Module):
    """Cosine attention of many queries to one key and value, and to a learned place beside all that there are."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.head = heads, width // heads
        self.norm = Norm(width)
        self.beside = nn.Parameter(torch.randn(2, self.head))
        self.queries = nn.Linear(width, width, bias=False)
        self.keys_values = nn.Linear(width, 2 * self.head, bias=False)
        self.leave = nn.Sequential(nn.Linear(width, width, bias=False), Norm(width))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, hidden: Float[Tensor, "trial place width"], bias: Float[Tensor, "head place asked"]
    ) -> Float[Tensor, "trial place width"]:
        hidden = self.norm(hidden)
        queries = rotate(self.queries(hidden).unflatten(2, (self.heads, -1)).transpose(1, 2))
        keys, values = self.keys_values(hidden).chunk(2, dim=2)
        keys, values = (
            torch.cat([own.expand(len(hidden), 1, -1), given], dim=1)
            for own, given in zip(self.beside, (rotate(keys), values), strict=True)
        )
        cosines = functional.normalize(queries, dim=-1) @ functional.normalize(keys, dim=-1)[:, None].transpose(2, 3)
        shares = self.dropout((SHARPNESS * cosines + bias).softmax(dim=-1))
        return self.leave((shares @ values[:, None]).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU of four times the width."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.dropout = Norm(width), nn.Dropout(dropout)
        self.enter, self.leave = nn.Linear(width, 8 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, hidden: Float[Tensor, "trial place width"]) -> Float[Tensor, "trial place width"]:
        values, gate = self.enter(self.norm(hidden)).chunk(2, dim=-1)
        return self.leave(self.dropout(values * functional.silu(gate)))


class DiffusionPrior(nn.Module):
    """`forward` predicts clean targets from the noisy ones of `disturb`; `sample` denoises."""

    kept: Tensor  # (times + 1,): share of variance that is signal, 1 at time 0

    def __init__(
        self, *, tokens: int, targets: int, embedding: int, depth: int, heads: int, times: int, dropout: float
    ) -> None:
        """`tokens` of the brain, `targets` to draw, both of width `embedding`."""
        super().__init__()
        self.times = times
        self.absent = nn.Parameter(torch.randn(tokens, embedding))
        self.places = nn.Parameter(torch.randn(targets, embedding) * embedding**-0.5)
        self.clock = nn.Sequential(
            nn.Linear(embedding, 2 * embedding),
            nn.SiLU(),
            nn.Linear(2 * embedding, 2 * embedding),
            nn.SiLU(),
            nn.Linear(2 * embedding, embedding),
        )
        self.distances = nn.Embedding(BUCKETS, heads)
        self.attentions = nn.ModuleList(Attention(embedding, heads, dropout) for _ in range(depth))
        self.feeds = nn.ModuleList(FeedForward(embedding, dropout) for _ in range(depth))
        self.norm = Norm(embedding, stable=True)
        self.head = nn.Linear(embedding, embedding, bias=False)
        curve = torch.cos((torch.arange(times + 1).double() / times + 0.008) / 1.008 * math.pi / 2).square()
        left = 1 - (1 - curve[1:] / curve[:-1]).clamp(0, 0.999)
        self.register_buffer("kept", torch.cat([curve.new_ones(1), left.cumprod(0)]).float(), persistent=False)

    def forward(
        self,
        noisy: Float[Tensor, "trial target embedding"],
        time: Int64[Tensor, " trial"],
        brain: Float[Tensor, "trial token embedding"],
    ) -> Float[Tensor, "trial target embedding"]:
        """The clean targets, from noisy ones at a time of 1 to `times`."""
        clock = self.clock(encode_time(time - 1, noisy.shape[2]))[:, None]
        hidden = torch.cat([brain, clock, noisy + self.places], dim=1)
        bias = self.distances(find_buckets(hidden.shape[1]).to(hidden.device)).movedim(-1, 0)
        for attention, feed in zip(self.attentions, self.feeds, strict=True):
            hidden = hidden + attention(hidden, bias)
            hidden = hidden + feed(hidden)
        return self.head(self.norm(hidden))[:, -noisy.shape[1] :]

    def disturb(
        self,
        targets: Float[Tensor, "trial target embedding"],
        brain: Float[Tensor, "trial token embedding"],
        generator: torch.Generator,
        *,
        drop: float,
    ) -> tuple[
        Float[Tensor, "trial target embedding"], Int64[Tensor, " trial"], Float[Tensor, "trial token embedding"]
    ]:
        """What `forward` learns by, the squared error to the targets its loss: they, at random times, and the brain's
        tokens, of which the share `drop` is left out."""
        time = torch.randint(1, self.times + 1, (len(targets),), generator=generator)
        noise = torch.randn(targets.shape, generator=generator).to(targets)
        dropped = (torch.rand(len(targets), generator=generator) < drop).to(targets.device)
        kept = self.kept[time.to(targets.device)][:, None, None]
        noisy = kept.sqrt() * targets + (1 - kept).sqrt() * noise
        return noisy, time.to(targets.device), torch.where(dropped[:, None, None], self.absent, brain)

    def sample(
        self,
        brain: Float[Tensor, "trial token embedding"],
        noise: Float[Tensor, "trial target embedding"],
        *,
        steps: int,
    ) -> Float[Tensor, "trial target embedding"]:
        """DDIM from the noise down to time 0."""
        path = torch.linspace(self.times, 0, steps + 1).round().long().tolist()
        drawn = noise
        for now, then in pairwise(path):
            clean = self(drawn, torch.full((len(drawn),), now, device=drawn.device), brain)
            kept, left = self.kept[now], self.kept[then]
            noise = (drawn - kept.sqrt() * clean) / (1 - kept).sqrt()
            drawn = left.sqrt() * clean + (1 - left).clamp_min(0).sqrt() * noise
        return drawn


def encode_time(time: Int64[Tensor, " trial"], width: int) -> Float[Tensor, "trial width"]:
    """Sines, then cosines, of wavelengths from 2 π to 10,000 · 2 π."""
    rates = torch.exp(torch.arange(width // 2, device=time.device) * (-math.log(10000) / (width // 2 - 1)))
    angles = time[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def rotate(hidden: Float[Tensor, "*batch place width"]) -> Float[Tensor, "*batch place width"]:
    """Rotary positions (Su et al. 2021): pairs of neighbours among the first numbers turn with their place."""
    turned = min(ROTATED, hidden.shape[-1])
    rates = 10000.0 ** -(torch.arange(0, turned, 2, device=hidden.device) / turned)
    angles = torch.arange(hidden.shape[-2], device=hidden.device)[:, None] * rates
    even, odd = hidden[..., 0:turned:2], hidden[..., 1:turned:2]
    pairs = [even * angles.cos() - odd * angles.sin(), odd * angles.cos() + even * angles.sin()]
    return torch.cat([torch.stack(pairs, dim=-1).flatten(-2), hidden[..., turned:]], dim=-1)


def find_buckets(places: int) -> Int64[Tensor, "place asked"]:
    """The bucket of the distance from each place back to each that it asks; the learned place comes first (T5's)."""
    back = (torch.arange(places)[:, None] - torch.arange(places + 1)).clamp_min(0)
    near = BUCKETS // 2
    far = near + ((back.clamp_min(1) / near).log() / math.log(FARTHEST / near) * (BUCKETS - near)).long()
    return torch.where(back < near, back, far.clamp(max=BUCKETS - 1))
