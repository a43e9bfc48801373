"""Training clips as frozen networks encode them: once, and kept for whoever asks next.

Encoding takes half of the time of a small cell and hours at the papers' size, and the folds and variants of a run see
the same clips.
"""

from __future__ import annotations

import hashlib
import inspect
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from bench.core.progress import track
from bench.store.cache import digest_code, open_cache
from bench.store.provenance import find_versions

ENCODED = 32  # clips encoded at once
KEPT = (torch.float16, torch.float32)  # numbers of latents that the cache takes
REMEMBERED = 4  # results of a suite that a process keeps
_MEMORY: weakref.WeakKeyDictionary[Any, dict[str, Tensor]] = weakref.WeakKeyDictionary()


def remember(
    suite: Any, what: str, video: UInt8[np.ndarray, "clip ..."], encode: Callable[[np.ndarray], Tensor]
) -> Float[Tensor, "clip ..."]:
    """`encode` of all clips, in chunks, unless these networks have done just that to just these clips.

    Encoding takes half of the time of a small cell and hours at the papers' size, and the folds and variants of a run
    see the same clips: what was made lately is in memory, the rest in the cache. `what` names the encoding with
    everything that changes it and is no setting of the suite.
    """
    key = f"{what} {digest_video(video)}"
    kept = _MEMORY.setdefault(suite, {})
    if key not in kept:
        made_from = describe_encoding(suite, key, video, encode)
        found = None if made_from is None else open_cache().find_array(made_from)
        if found is not None:
            keep(suite, key, torch.from_numpy(np.array(found)))
            return kept[key]
        chunks = track(range(0, len(video), ENCODED), f"encoding training clips: {what.split()[0]}")
        keep(suite, key, torch.cat([encode(video[at : at + ENCODED]) for at in chunks]))
        if made_from is not None and kept[key].dtype in KEPT and kept[key].device.type == "cpu":
            open_cache().keep_array(made_from, kept[key].detach().numpy())
    return kept[key]


def describe_encoding(
    suite: Any, key: str, video: UInt8[np.ndarray, "clip ..."], encode: Callable[[np.ndarray], Tensor]
) -> dict[str, Any] | None:
    """All that determines an encoding, for the cache: clips, networks, code, and what computes it.

    None where the networks or the code cannot be told, as in a notebook.
    """
    networks, source = getattr(suite, "contents", None), inspect.getsourcefile(encode)
    if networks is None or source is None or not Path(source).is_file():
        return None
    versions = find_versions()
    return {
        "what": f"latents, {key}",
        "shape": list(video.shape),
        "networks": networks,
        "code": digest_code("bench.pretrained.suite", __name__, Path(source).resolve()),
        "device": f"{suite.device} {torch.get_num_threads()}",
        "versions": {name: versions[name] for name in ("torch", "transformers", "diffusers") if name in versions},
    }


def keep(suite: Any, key: str, value: Any) -> None:
    """Put a result into the suite's memory, and the oldest out of it."""
    kept = _MEMORY.setdefault(suite, {})
    kept[key] = value
    for old in list(kept)[:-REMEMBERED]:
        del kept[old]


def digest_video(video: UInt8[np.ndarray, "clip ..."]) -> str:
    return hashlib.sha256(np.ascontiguousarray(video).data).hexdigest()
