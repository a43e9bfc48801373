"""The memory pool, the modality router and the retrieval of memories (§3.2), equations (4) and (5).

Where the paper leaves a choice, or contradicts itself:

- (5) compares f^e (L tokens of width D') with embeddings of width D, which has no meaning without a map, and f^e has
  been aligned with nothing: §3.1 aligns f^c, and says that f^e is for fusion. So f^c asks here for images and texts,
  and phi_a(f^c) for actions (`query="global"`). `query="embedding"` is the nearest to the letter: the tokens' mean goes
  through the heads of the global token.
- The choice of the top entries passes no gradient, so by the losses of the paper the router would never learn. It
  learns by InfoNCE over the *mixture scores* of a batch, whose diagonal is right (`router_weight`, in stage 2).
- R is a linear layer on the mean token that starts at zero: at first the modalities weigh the same.
- The paper does not say that a trial's own clip is kept out of its memories in training. Kept in, the top text would be
  the true caption, and the decoder would learn to believe a retrieval that is never so good on a new clip. So the own
  clip is left out in training (`own_clip=True` keeps it in).
- K is 5.

The mixture score of unit vectors is a sum of inner products of entries with queries that carry their weights: a chunk
of queries meets the whole pool in one matrix product a modality, no copy of the pool is made, and of a chunk's scores
only the K best are kept.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from bench.core.errors import BenchError
from methods.cine_neuron.parameters import Modality

MODALITIES = get_args(Modality)
SCORES = 16_000_000  # scores held at once (64 MB), whatever the numbers of queries and memories


class BadRetrieval(BenchError):
    """A memory pool or a query that cannot be used."""


class Router(nn.Module):
    """R of equation (4): a weight for each modality, from f^e."""

    def __init__(self, width: int, modalities: int) -> None:
        super().__init__()
        self.route = nn.Linear(width, modalities)
        nn.init.zeros_(self.route.weight)
        nn.init.zeros_(self.route.bias)

    def forward(self, tokens: Float[Tensor, "trial token width"]) -> Float[Tensor, "trial modality"]:
        return self.route(tokens.mean(dim=1)).softmax(dim=1)


@dataclass(frozen=True)
class MemoryPool:
    """N entries, one a training clip: its embeddings by modality, each [N, width of the modality], at unit length.

    Raises BenchError where a modality is unknown, or where the numbers of entries differ or are zero.
    """

    embeddings: dict[str, Float[Tensor, "entry width"]]

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.embeddings) - set(MODALITIES)):
            raise BadRetrieval(f"unknown modality {', '.join(unknown)}; there are {', '.join(MODALITIES)}")
        sizes = {name: len(values) for name, values in self.embeddings.items()}
        if len(set(sizes.values())) != 1 or not next(iter(sizes.values())):
            raise BadRetrieval(f"every modality must have the same number of entries, at least one; found {sizes}")

    def __len__(self) -> int:
        return len(next(iter(self.embeddings.values())))


def make_pool(embeddings: dict[str, Float[Tensor, "entry width"]]) -> MemoryPool:
    """A pool of these embeddings, brought to unit length."""
    return MemoryPool({name: functional.normalize(values.float(), dim=1) for name, values in embeddings.items()})


def score_entries(
    queries: dict[str, Float[Tensor, "trial width"]],
    weights: Float[Tensor, "trial modality"],
    pool: MemoryPool,
) -> Float[Tensor, "trial entry"]:
    """The mixture score S, equation (5), in [-1, 1]. `weights` are in the order of `queries`.

    Holds trials × entries scores: `retrieve` does it in chunks.
    """
    scores = torch.zeros(len(weights), len(pool), device=weights.device)
    for i, (name, query) in enumerate(queries.items()):
        scores = torch.addmm(scores, weights[:, [i]] * functional.normalize(query, dim=1), pool.embeddings[name].T)
    return scores


@torch.no_grad()
def retrieve(
    queries: dict[str, Float[Tensor, "trial width"]],
    weights: Float[Tensor, "trial modality"],
    pool: MemoryPool,
    *,
    k: int,
    exclude: Int64[Tensor, " trial"] | None = None,
) -> tuple[Float[Tensor, "trial k"], Int64[Tensor, "trial k"]]:
    """The K entries of the highest mixture score for each trial, best first: their scores and their indices.

    `exclude[i]` is an entry that trial i may not have. Raises BenchError where the pool has fewer entries than are
    asked for, or where a queried modality is missing. Exact; of equal scores any may come first.
    """
    if absent := [name for name in queries if name not in pool.embeddings]:
        raise BadRetrieval(f"the pool has no {', '.join(absent)}; it has {', '.join(pool.embeddings)}")
    available = len(pool) - (exclude is not None)
    if not 1 <= k <= available:
        raise BadRetrieval(f"k={k} memories are asked for, 1 to {available} can be had; lower memories (K)")
    scores, entries = [], []
    step = max(1, SCORES // len(pool))
    for start in range(0, len(weights), step):
        rows = slice(start, start + step)
        mixture = score_entries({name: query[rows] for name, query in queries.items()}, weights[rows], pool)
        if exclude is not None:
            mixture.scatter_(1, exclude[rows, None], -torch.inf)
        best = mixture.topk(k, dim=1)  # sorted, best first
        scores.append(best.values)
        entries.append(best.indices)
    return torch.cat(scores), torch.cat(entries)


def retrieve_singly(
    queries: dict[str, Float[Tensor, "trial width"]],
    weights: Float[Tensor, "trial modality"],
    pool: MemoryPool,
    *,
    k: int,
) -> Int64[Tensor, "trial k"]:
    """The same entries by equation (5) as it is written, entry by entry: what `measure_retrieval` compares with."""
    found = []
    for row in range(len(weights)):
        scores = []
        for entry in range(len(pool)):
            total = 0.0
            for i, name in enumerate(queries):
                similarity = functional.cosine_similarity(queries[name][row], pool.embeddings[name][entry], dim=0)
                total += float(weights[row, i] * similarity)
            scores.append(total)
        found.append(torch.tensor(scores).argsort(descending=True, stable=True)[:k])
    return torch.stack(found)


def measure_retrieval(*, entries: int = 100_000, width: int = 512, trials: int = 64, k: int = 5) -> dict[str, float]:
    """Seconds a trial of both ways for a pool of random embeddings, their ratio, and how many scores were held.

    Entry by entry, one trial is timed over at most 2,000 of the entries and scaled up: it is linear in them.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> dict[str, Tensor]:
        return {name: torch.randn(count, width, generator=generator) for name in MODALITIES}

    pool, queries = make_pool(draw(entries)), draw(trials)
    weights = torch.rand(trials, 3, generator=generator).softmax(dim=1)
    retrieve(queries, weights, pool, k=k)
    start = time.perf_counter()
    retrieve(queries, weights, pool, k=k)
    batched = (time.perf_counter() - start) / trials
    part = MemoryPool({name: values[:2000] for name, values in pool.embeddings.items()})
    start = time.perf_counter()
    retrieve_singly({name: query[:1] for name, query in queries.items()}, weights[:1], part, k=k)
    singly = (time.perf_counter() - start) * entries / len(part)
    return {"batched": batched, "singly": singly, "ratio": singly / batched, "held": min(trials * entries, SCORES)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    took = measure_retrieval()
    print(
        f"100,000 memories, 3 modalities of 512, top 5, one thread: {1e3 * took['batched']:.2f} ms a trial batched "
        f"({took['held'] * 4 / 1e6:.0f} MB of scores at most), {1e3 * took['singly']:.0f} ms entry by entry: "
        f"{took['ratio']:.0f} times as fast"
    )
