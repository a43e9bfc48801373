"""The prior: a diffusion model from the mapper's embeddings to the text encoder's tokens (77 x D).

As in DALL-E 2's prior, a transformer reads the conditions, the time and the noisy tokens, and says what the clean
tokens are (x0); sampling walks down from noise in a few steps of DDIM. The released configuration has width 768, depth
12, 12 heads of 64 and 1,000 steps. Where the sources leave a choice:

- Each of the 77 learned queries is added to its noisy token, and the answer is read there. (In the released network
  noisy tokens and queries stand one behind the other: twice the length for the same information.)
- The noise level follows a cosine in continuous time.
- Its conditions are the text, the image and the common embedding of the mapper; the last is taken for what the released
  code calls "contra".
- `TokenCode` may reduce the tokens to their principal coefficients (the mini size does), which the prior then walks
  through as a short sequence. Of rank 0 the tokens are all there, centred and scaled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from bench.toolbox.columns import Targets, find_vectors, walk_columns
from bench.toolbox.encoded import CaptionTokens
from bench.toolbox.rows import collect, fit_part


class TokenCode(nn.Module):
    """Text tokens as a sequence of about unit variance, and back; learned from the training captions.

    Of `rank` > 0: the coefficients of so many principal directions, `length` of them a step, largest first, in units
    that keep their proportions. Of rank 0: the 77 tokens.
    """

    mean: Tensor  # (P,)
    basis: Tensor  # (R, P), orthonormal; empty for rank 0
    scale: Tensor  # (), deviation of a number of the code

    def __init__(self, tokens: int, width: int, *, rank: int, length: int) -> None:
        super().__init__()
        self.token_shape = (tokens, width)
        self.shape = (rank // length, length) if rank else (tokens, width)
        self.register_buffer("mean", torch.zeros(tokens * width))
        self.register_buffer("basis", torch.zeros(rank, tokens * width))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def learn(self, tokens: Targets, caption: Int64[Tensor, " clip"] | None = None) -> None:
        """From the clips' tokens, of which some numbers, or those of some clips, are on the device at a time.

        `caption` says which row of `tokens` each clip has (None: each its own).
        """
        caption = torch.arange(len(tokens)) if caption is None else caption
        clips, rank, device = len(caption), min(len(caption), len(self.basis)), self.mean.device
        mean, products = self.mean.double(), torch.zeros(clips, clips, dtype=torch.float64, device=device)
        for columns, some in walk_columns(tokens, caption):
            flat = some.to(device).double()
            mean[columns] = flat.mean(dim=0)
            if rank:
                products += (flat - mean[columns]) @ (flat - mean[columns]).T
        self.mean.copy_(mean)
        if rank:
            values, vectors = find_vectors(products, rank)
            weights = (vectors / values.clamp_min(1e-12).sqrt()).T
            self.basis.zero_()
            for columns, some in walk_columns(tokens, caption):
                self.basis[:rank, columns] = (weights @ (some.to(device).double() - mean[columns])).to(self.basis)
        self.scale.fill_(1.0)
        squares = [code.square().mean() * (len(code) / clips) for code in self.walk(tokens, caption)]
        self.scale.copy_(torch.stack(squares).sum().sqrt().clamp_min(1e-6))

    def walk(self, tokens: Targets, caption: Int64[Tensor, " clip"]) -> Iterator[Float[Tensor, "n step number"]]:
        """The code of these captions, some at a time."""
        for rows in caption.split(fit_part(self.mean.numel(), self.mean.element_size())):
            yield self.encode(tokens[rows])

    @torch.no_grad()
    def encode_all(self, tokens: CaptionTokens) -> Float[Tensor, "caption number"]:
        """The code of all captions in a row each, off the device, and in a file where it is large."""
        made = (code.flatten(1).cpu().numpy() for code in self.walk(tokens, torch.arange(len(tokens))))
        return torch.from_numpy(collect(made, len(tokens)))

    def encode(self, tokens: Float[Tensor, "n token width"]) -> Float[Tensor, "n step number"]:
        flat = tokens.flatten(1).to(self.mean) - self.mean
        return (flat @ self.basis.T if len(self.basis) else flat).unflatten(1, self.shape) / self.scale

    def decode(self, code: Float[Tensor, "n step number"]) -> Float[Tensor, "n token width"]:
        flat = code.flatten(1) * self.scale
        return ((flat @ self.basis if len(self.basis) else flat) + self.mean).unflatten(1, self.token_shape)


class Prior(nn.Module):
    """Says the clean code from a noisy one, the time and the conditions."""

    def __init__(
        self,
        shape: tuple[int, int],
        conditions: Sequence[int],
        *,
        width: int,
        depth: int,
        heads: int,
        head_width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        steps, numbers = shape
        self.conditions = nn.ModuleList(nn.Linear(one, width) for one in conditions)
        self.time = nn.Sequential(nn.Linear(64, width), nn.GELU(), nn.Linear(width, width))
        self.noisy = nn.Linear(numbers, width)
        self.queries = nn.Parameter(0.02 * torch.randn(steps, width))
        self.places = nn.Parameter(0.02 * torch.randn(len(conditions) + 1, width))
        self.layers = nn.ModuleList(Layer(width, heads, head_width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.clean = nn.Linear(width, numbers)

    def forward(
        self,
        noisy: Float[Tensor, "n step number"],
        time: Float[Tensor, " n"],
        conditions: Sequence[Float[Tensor, "n _"]],
    ) -> Float[Tensor, "n step number"]:
        given = [read(one) for read, one in zip(self.conditions, conditions, strict=True)]
        given.append(self.time(encode_time(time)))
        hidden = torch.cat([torch.stack(given, dim=1) + self.places, self.noisy(noisy) + self.queries], dim=1)
        for layer in self.layers:
            hidden = layer(hidden)
        return self.clean(self.norm(hidden[:, len(given) :]))


class Layer(nn.Module):
    """Attention among all, then a feed-forward layer of four times the width, both behind a norm."""

    def __init__(self, width: int, heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.asked = nn.Linear(width, 3 * inner, bias=False)
        self.answered = nn.Linear(inner, width, bias=False)
        self.forward_layer = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, width),
        )

    def forward(self, hidden: Float[Tensor, "n token width"]) -> Float[Tensor, "n token width"]:
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.asked(self.before(hidden)).chunk(3, 2)
        )
        read = nn.functional.scaled_dot_product_attention(query, key, value)
        hidden = hidden + self.answered(read.transpose(1, 2).flatten(2))
        return hidden + self.forward_layer(hidden)


def encode_time(time: Float[Tensor, " n"]) -> Float[Tensor, "n 64"]:
    """Cosines and sines of times in 0..1, at 32 frequencies from half a turn to 500."""
    angles = torch.pi * time[:, None] * 1000.0 ** torch.linspace(0, 1, 32).to(time)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def mix(
    clean: Float[Tensor, "n step number"], noise: Float[Tensor, "n step number"], time: Float[Tensor, " n"]
) -> Float[Tensor, "n step number"]:
    """cos(pi t / 2) clean + sin(pi t / 2) noise: clean at time 0, noise at time 1."""
    angle = (torch.pi / 2 * time)[:, None, None]
    return angle.cos() * clean + angle.sin() * noise


def measure_prior(
    prior: Prior,
    clean: Float[Tensor, "n step number"],
    conditions: Sequence[Float[Tensor, "n _"]],
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """Squared error of the clean code, at times drawn evenly; mean over everything."""
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    time = torch.rand(len(clean), generator=generator).to(clean)
    return (prior(mix(clean, noise, time), time, conditions) - clean).square().mean()


def draw_code(
    prior: Prior, conditions: Sequence[Float[Tensor, "n _"]], noise: Float[Tensor, "n step number"], *, steps: int
) -> Float[Tensor, "n step number"]:
    """DDIM from noise to a clean code in `steps` equal steps of time; the noise alone decides which one."""
    code = noise
    for step in range(steps, 0, -1):
        time = torch.full((len(noise),), step / steps).to(noise)
        clean = prior(code, time, conditions)
        angle, before = (torch.pi / 2 * torch.tensor(one / steps) for one in (step, step - 1))
        left = (code - angle.cos() * clean) / angle.sin()
        code = before.cos() * clean + before.sin() * left
    return code
