"""Training clips as frozen networks encode them: once, and kept for whoever asks next.

Encoding takes half of the time of a small cell and hours at the papers' size, and the folds and variants of a run see
the same clips. Nothing here grows with the number of clips: clips are read some at a time, and encodings that are large
(Wan's latents of 5,000 clips of 33 × 480 × 720 are 8 GB in half precision, the tokens of their captions, padded, 42 GB)
lie in files.
"""

from __future__ import annotations

import inspect
import itertools
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from bench.core.progress import track
from bench.store.cache import digest_code, open_cache
from bench.store.provenance import find_versions
from bench.toolbox.ranks import all_have, is_first, wait_for_all
from bench.toolbox.rows import allocate, collect, digest_video, fit_part, is_small, rows_at_once, walk

ENCODED = 32  # clips encoded at once, and fewer where these are more bytes
ENCODED_BYTES = 2**28
KEPT = (torch.float16, torch.float32)  # numbers of latents that the cache takes
REMEMBERED = 4  # results of a suite that a process keeps
WIDER = 64  # tokens by which room for captions grows
_MEMORY: weakref.WeakKeyDictionary[Any, dict[str, Tensor]] = weakref.WeakKeyDictionary()


def remember(
    suite: Any, what: str, video: UInt8[np.ndarray, "clip ..."], encode: Callable[[np.ndarray], Tensor]
) -> Float[Tensor, "clip ..."]:
    """`encode` of all clips, some at a time, unless these networks have done just that to just these clips.

    What was made lately is at hand, the rest in the cache. `what` names the encoding with everything that changes it
    and is no setting of the suite. The tensor is off the device. One of more than `bench.toolbox.rows.HELD` bytes lies
    in a file and is read where it is indexed: take rows of it (`latents[rows].to(device)`), never all.
    """
    key = f"{what} {digest_video(video)}"
    kept = _MEMORY.setdefault(suite, {})
    if key not in kept:
        made_from = describe_encoding(suite, key, video, encode)
        found = None if made_from is None else find_rows(made_from)
        keep(suite, key, found if all_have(found) else encode_all(what, video, encode, made_from))
    return kept[key]


def encode_all(
    what: str,
    video: UInt8[np.ndarray, "clip ..."],
    encode: Callable[[np.ndarray], Tensor],
    made_from: dict[str, Any] | None,
) -> Float[Tensor, "clip ..."]:
    """Encode all clips, part by part, and keep what was made in the cache where it has a name there."""
    parts = track(
        walk(video, most=ENCODED, size=ENCODED_BYTES),
        f"encoding training clips: {what.split()[0]}",
        total=-(-len(video) // rows_at_once(video, most=ENCODED, size=ENCODED_BYTES)),
    )
    given = (encode(part).detach() for part in parts)
    made = (one if one.is_meta else one.cpu() for one in given)
    first = next(made)
    if first.is_meta or first.dtype not in KEPT:  # shapes alone, or numbers that no array has
        return torch.cat([first, *made])
    whole = collect((part.numpy() for part in itertools.chain([first], made)), len(video))
    if made_from is not None:
        if is_first():
            open_cache().keep_array(made_from, whole)
        wait_for_all()
        if isinstance(whole, np.memmap) and (found := find_rows(made_from)) is not None:
            return found  # and the file without a name can go
    return torch.from_numpy(whole)


def find_rows(made_from: dict[str, Any]) -> Tensor | None:
    """An encoding that the cache has: in memory where it is small, else where it lies; None where it has none."""
    found = open_cache().find_array(made_from, writable=True)
    if found is None:
        return None
    return torch.from_numpy(np.array(found) if is_small(found) else found)


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


def encode_tokens(
    captions: Sequence[str], encode: Callable[[Sequence[str]], Float[Tensor, "n token width"]]
) -> CaptionTokens:
    """Tokens of all captions, encoded some at a time, without the zeros that all of them end with."""
    held: np.ndarray | None = None
    used = full = 0
    for start in range(0, len(captions), ENCODED):
        made = encode(captions[start : start + ENCODED]).detach().float()
        if made.is_meta:  # shapes alone
            return CaptionTokens(made.new_empty(len(captions), *made.shape[1:]), made.shape[1])
        part = made.cpu().numpy()
        longest = np.flatnonzero(part.any(axis=(0, 2)))
        used, full = max(used, 1, *(longest[-1:] + 1)), part.shape[1]
        if held is None or used > held.shape[1]:
            wide = min(full, -(-used // WIDER) * WIDER)
            wider = allocate((len(captions), wide, part.shape[2]), part.dtype)
            for at, row in enumerate(held[:start] if held is not None else ()):
                wider[at, : len(row)] = row
            held = wider
        held[start : start + len(part)] = part[:, : held.shape[1]]
    assert held is not None, "no captions"
    return CaptionTokens(torch.from_numpy(held)[:, :used], full)


@dataclass(frozen=True)
class CaptionTokens:
    """Captions' tokens off the device, cut behind the longest caption; indexed by rows they are whole again.

    UMT5 pads some 30 tokens of 4,096 numbers to 512: 8 MB a caption. Clips tell which caption each has, so that what
    several say is here once; what is asked of clips' tokens is computed from some of them at a time.
    """

    used: Float[Tensor, "caption used width"]
    tokens: int  # of a caption as the generator takes it: what is cut off is zero

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.used), self.tokens, self.used.shape[2]

    def __len__(self) -> int:
        return len(self.used)

    def __getitem__(self, rows: Any) -> Float[Tensor, "n token width"]:
        some = self.used[rows.to(self.used.device) if isinstance(rows, Tensor) else rows]
        return functional.pad(some, (0, 0, 0, self.tokens - some.shape[-2]))

    def cut(self, tokens: int) -> CaptionTokens:
        """The first tokens of each."""
        return CaptionTokens(self.used[:, :tokens], tokens)

    def walk_places(
        self, caption: Int64[Tensor, " clip"]
    ) -> Iterator[tuple[slice, slice, Float[Tensor, "clip place number"]]]:
        """The tokens of the clips that have these captions: which places and which numbers of them, and these of all
        clips, in parts of at most `bench.toolbox.rows.PART` bytes. The parts behind the longest caption, where all is
        zero, are left out."""
        caption = caption.to(self.used.device)
        width, at_once = self.used.shape[2], fit_part(len(caption), self.used.element_size())
        places, numbers = max(1, at_once // width), min(at_once, width)
        for place in range(0, self.used.shape[1], places):
            end = min(place + places, self.tokens)
            for number in range(0, width, numbers):
                part = slice(number, min(number + numbers, width))
                some = self.used[:, place:end, part][caption]
                yield slice(place, end), part, functional.pad(some, (0, 0, 0, end - place - some.shape[1]))

    def average(self, caption: Int64[Tensor, " clip"]) -> Float[Tensor, "token width"]:
        """The mean tokens of clips that have these captions."""
        mean = self.used.new_zeros(self.shape[1:])
        for places, numbers, some in self.walk_places(caption):
            mean[places, numbers] = some.mean(dim=0)
        return mean

    def measure_spread(self, caption: Int64[Tensor, " clip"], mean: Float[Tensor, "token width"]) -> Float[Tensor, ""]:
        """The mean squared distance of these clips' tokens from others, a number of a token; zeros count too."""
        mean, total = mean.to(self.used), self.used.new_zeros(())
        behind = mean.clone()
        for places, numbers, some in self.walk_places(caption):
            total += (some - mean[places, numbers]).square().sum()
            behind[places, numbers] = 0
        return (total + len(caption) * behind.square().sum()) / (len(caption) * mean.numel())
