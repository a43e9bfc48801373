"""The diffusion prior: from the backbone's tokens to an embedding (or tokens) that CLIP could have given.

A transformer reads [brain tokens, time, noisy targets] and predicts the clean targets at the places of the noisy ones,
as the prior of DALL-E 2 does, which MindEye2 and NeuroClips take over. Cosine schedule, 100 times, 20 steps to sample.

- Sampling is DDIM without fresh noise: all of a trial's randomness is its start, drawn from its own seed.
- A dropped condition (`drop`) is a learned token in place of the brain's; sampling uses no guidance, as MindEye2 does.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


class DiffusionPrior(nn.Module):
    """`measure` gives clean targets predicted from noisy ones, `sample` denoises."""

    kept: Tensor  # (times + 1,): share of variance that is signal, 1 at time 0

    def __init__(
        self, *, tokens: int, targets: int, embedding: int, depth: int, heads: int, times: int, dropout: float
    ) -> None:
        """`tokens` of the brain, `targets` to draw, both of width `embedding`."""
        super().__init__()
        self.times = times
        self.absent = nn.Parameter(0.02 * torch.randn(tokens, embedding))
        self.places = nn.Parameter(0.02 * torch.randn(tokens + 1 + targets, embedding))
        self.clock = nn.Sequential(nn.Linear(1, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                embedding, heads, 4 * embedding, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(embedding)
        self.head = nn.Linear(embedding, embedding)
        steps = (torch.arange(times + 1) / times + 0.008) / 1.008
        curve = torch.cos(steps * math.pi / 2).square()
        self.register_buffer("kept", (curve / curve[0]).clamp(1e-4, 1.0))

    def forward(
        self,
        noisy: Float[Tensor, "trial target embedding"],
        time: Int64[Tensor, " trial"],
        brain: Float[Tensor, "trial token embedding"],
    ) -> Float[Tensor, "trial target embedding"]:
        """The clean targets."""
        clock = self.clock(time[:, None].float() / self.times)[:, None]
        hidden = torch.cat([brain, clock, noisy], dim=1) + self.places
        for layer in self.layers:
            hidden = layer(hidden)
        return self.head(self.norm(hidden[:, -noisy.shape[1] :]))

    def measure(
        self,
        targets: Float[Tensor, "trial target embedding"],
        brain: Float[Tensor, "trial token embedding"],
        generator: torch.Generator,
        *,
        drop: float,
    ) -> Float[Tensor, "trial target embedding"]:
        """What it takes for clean at a random time; the squared error of this to the targets is its loss."""
        time = torch.randint(1, self.times + 1, (len(targets),), generator=generator)
        noise = torch.randn(targets.shape, generator=generator).to(targets)
        dropped = (torch.rand(len(targets), generator=generator) < drop).to(targets.device)
        kept = self.kept[time.to(targets.device)][:, None, None]
        noisy = kept.sqrt() * targets + (1 - kept).sqrt() * noise
        return self(noisy, time.to(targets.device), torch.where(dropped[:, None, None], self.absent, brain))

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
