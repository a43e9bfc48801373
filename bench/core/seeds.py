"""Seeds: one generator for each purpose, derived from names, so no two purposes share a stream; and the permutations
of trials that every metric and method share."""

from __future__ import annotations

import hashlib
import json

import numpy as np

PERMUTATIONS = 10  # of a subject's trials, over which the shuffled floor is averaged


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed from a path of names and numbers, e.g. `derive_seed("sam_net", "fit", 0)`.

    Stable across processes, platforms and Python versions.
    """
    text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def permute(count: int, subject: int) -> list[np.ndarray]:
    """Uniformly random permutations of a subject's trials, the same for every metric and method.

    Uniform, so a trial may keep its own prediction: the mean is what independence of prediction and clip would give.
    """
    generator = np.random.default_rng(derive_seed("scoring", "permutations", subject))
    return [generator.permutation(count) for _ in range(PERMUTATIONS)]
