"""Views: what a suite's judges say of videos, as metrics read it.

Most views are one judge's output (`bench.pretrained.judges.observe`). Four are made of them here: "concept", the
likeness of a clip to each of a data set's concepts, and "gallery", its likeness to each true clip, both by the mean
CLIP embedding of its frames; "frame_gallery", the same likeness by the frame judge's features; and "amt", VBench's
smoothness with the user's own AMT.

What is said of true clips is kept in the cache, under the judge (its files and precision) and the clips' pixels, so
that ground truth is judged once and not once a method.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from bench.store.cache import digest_code, open_cache
from bench.store.provenance import find_versions
from bench.toolbox.rows import collect_all, digest_video, is_small, walk
from metrics.motion import motion_smoothness
from metrics.specs import MetricSpec

GALLERIES = {"gallery": "clip", "frame_gallery": "frame_features"}  # likeness to each true clip, and by which view
BASE = {"concept": "clip", **GALLERIES}  # what a view is made of, where it is no judge's own
OWN = {"embedding", "embedding_concept"}  # what a method says itself, and no judge (`bench.scoring.embeddings`)
BEHIND = {"image": "clip_large", "text": "clip_large", "action": "action"}  # the view that makes a space of embeddings
PROMPT = "a video of a {}"
TOO_LARGE = ("raft", "raft_vbench")  # flow fields are larger than the videos: computed again rather than kept
LOOKED = 2**28  # bytes of clips that are looked at at once
JUDGING = ("bench.pretrained.judges.observe", "bench.pretrained.judges.networks")  # the code of a judge
COMPUTE = ("torch", "torchvision", "transformers", "open_clip_torch")  # packages that the judges compute with

Views = dict[str, np.ndarray]


class Viewer:
    """Makes the views that metrics read, of a suite's judges and a data set's concepts (none without a data set)."""

    def __init__(self, judges: Any, concepts: Sequence[str] = ()) -> None:
        self.judges = judges
        self.concepts = tuple(concepts)

    def missing(self, metric: MetricSpec) -> str:
        """Why the metric cannot be computed here; empty where it can."""
        for view in metric.views:
            if view in OWN:
                continue
            if view == "concept" and not self.concepts:
                return "these clips have no concepts"
            if view == "concept" and isinstance(metric.chance, float) and round(1 / metric.chance) > len(self.concepts):
                return f"the data set has {len(self.concepts)} concepts"
            base = BASE.get(view, view)
            if not self.judges.available(base):
                return str(self.judges.explain(base))
        return ""

    def digest(self, metric: MetricSpec) -> str:
        """Of all judges behind a metric, and of the concepts where it asks for them; empty without a judge."""
        if not set(metric.views) - OWN:
            return ""
        parts = [f"{view} {self.judges.digest(BASE.get(view, view))}" for view in metric.views]
        if "concept" in metric.views:
            parts += [PROMPT, *self.concepts]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def look(self, views: Iterable[str], video: UInt8[np.ndarray, "n f h w 3"]) -> Views:
        """The judges' own views of the videos, some at a time; "concept" and the galleries come from `compare`."""
        wanted = base_views(views)
        if not wanted:
            return {}
        parts = walk(video, most=len(video), size=LOOKED)
        return collect_all((self.look_at(wanted, part) for part in parts), len(video))

    def look_at(self, wanted: Sequence[str], video: UInt8[np.ndarray, "n f h w 3"]) -> Views:
        seen: Views = self.judges.observe_many([view for view in wanted if view != "amt"], video)
        if "amt" in wanted:
            seen["amt"] = motion_smoothness(video, interpolate=self.judges.interpolator())
        return seen

    def look_once(self, views: Iterable[str], video: UInt8[np.ndarray, "n f h w 3"]) -> Views:
        """`look`, kept in the cache under the judges and the very pixels."""
        cache, wanted = open_cache(), base_views(views)
        pixels = digest_video(video)
        names = {view: self.made_from(view, pixels, video.shape) for view in wanted if view not in TOO_LARGE}
        found = {view: cache.find_array(name) for view, name in names.items()}
        seen = {view: np.array(kept) if is_small(kept) else kept for view, kept in found.items() if kept is not None}
        lacking = [view for view in wanted if view not in seen]
        if lacking:
            seen |= self.look(lacking, video)
            for view in lacking:
                if view in names:
                    cache.keep_array(names[view], seen[view])
        return seen

    def made_from(self, view: str, pixels: str, shape: Sequence[int]) -> dict[str, Any]:
        """All that determines what a judge says of videos: itself, the videos, the code and what it computes with."""
        versions = find_versions()
        return {
            "what": f"judged {view}",
            "judge": self.judges.digest(view),
            "video": [pixels, *shape],
            "code": digest_code(__name__, *JUDGING),
            "device": str(getattr(self.judges, "device", "cpu")),
            "versions": {name: versions[name] for name in COMPUTE if name in versions},
        }

    def compare(self, views: Iterable[str], seen: Mapping[str, np.ndarray], galleries: Views) -> Views:
        """`seen` with the views that compare clips with words ("concept") and with true clips added.

        `galleries` holds summaries of the true clips, f32 [m, d], by the view that compares with them.
        """
        compared = dict(seen)
        if "concept" in views:
            compared["concept"] = summarise(seen["clip"]) @ self.words.T
        for view in galleries:
            if view in views:
                compared[view] = summarise(seen[GALLERIES[view]]) @ galleries[view].T
        return compared

    @cached_property
    def words(self) -> Float32[np.ndarray, "K d"]:
        """Each concept in words, a unit vector of CLIP's text encoder."""
        return unit(self.judges.embed_captions("clip", [PROMPT.format(concept) for concept in self.concepts]))


def base_views(views: Iterable[str]) -> list[str]:
    """The judges' own views behind `views`, sorted."""
    return sorted({BASE.get(view, view) for view in views})


def make_galleries(views: Iterable[str], seen: Mapping[str, np.ndarray]) -> Views:
    """A summary of each true clip for each view that compares with them, of what the judges say of these clips."""
    return {view: summarise(seen[base]) for view, base in GALLERIES.items() if view in views}


def summarise(embeddings: Float32[np.ndarray, "n f d"]) -> Float32[np.ndarray, "n d"]:
    """One unit vector a clip: the direction of the mean of its frames' unit vectors."""
    return np.concatenate([unit(unit(part).mean(axis=1)) for part in walk(embeddings, most=len(embeddings))])


def unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(length, 1e-12)
