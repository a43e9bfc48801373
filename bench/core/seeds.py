"""Seeds: one generator for each purpose, derived from names, so no two purposes share a stream."""

from __future__ import annotations

import hashlib
import json


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed from a path of names and numbers, e.g. `derive_seed("sam_net", "fit", 0)`.

    Stable across processes, platforms and Python versions.
    """
    text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
