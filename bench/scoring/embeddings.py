"""Scoring of embeddings: where the clips of a test set lie in a space of the suite, and how near a method comes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32

from bench.core.contracts import Dataset, Space, digest_content
from bench.core.seeds import permute
from bench.scoring.score_pairings import describe_scores, score_pairings
from bench.scoring.stored import Wanted
from bench.scoring.views import BEHIND, LOOKED, summarise, unit
from bench.store.cache import digest_code, open_cache
from bench.store.cells import Cell
from bench.toolbox.rows import Clips, rows_at_once
from metrics.embedding import CLIP, CONCEPT
from metrics.retrieval import cosine_scores
from metrics.specs import Scored

CHUNK = 64  # clips looked at at once, and fewer where these are more bytes

Vectors = Float32[np.ndarray, "clip d"]


def see_images(suite: Any, video: np.ndarray, captions: list[str]) -> Vectors:
    frames = suite.embed_images(video.reshape(-1, *video.shape[2:]))
    return summarise(np.asarray(frames).reshape(*video.shape[:2], -1))


def read_text(suite: Any, video: np.ndarray, captions: list[str]) -> Vectors:
    return np.asarray(suite.embed_texts(captions))


def read_words(suite: Any, video: np.ndarray, captions: list[str]) -> Vectors:
    return suite.encode_text(captions).float().mean(dim=1).cpu().numpy()


def see_actions(suite: Any, video: np.ndarray, captions: list[str]) -> Vectors:
    return np.asarray(suite.embed_actions(video))


# How a clip comes into each space (`bench.core.contracts.Embedder`).
SPACES: dict[Space, Callable[[Any, np.ndarray, list[str]], Vectors]] = {
    "image": see_images,
    "text": read_text,
    "words": read_words,
    "action": see_actions,
}


def place_clips(space: Space, clips: np.ndarray, dataset: Dataset, suite: Any) -> Vectors:
    """Where these clips lie in a space of the suite, as vectors of length 1; kept in the cache."""
    captions = dataset.stimuli.to_pandas().set_index("clip")["caption"].loc[clips].tolist()
    words = space in ("text", "words")
    made_from = {
        "what": f"clips in {space}",
        "suite": suite.judges.digest(BEHIND[space]) if space in BEHIND else [suite.digest, suite.drawing_settings],
        "data": digest_content(dataset),
        "clips": hashlib.sha256(np.ascontiguousarray(clips, np.int64).data).hexdigest(),
        "code": digest_code(__name__),
        "device": str(suite.device),
    }
    cache = open_cache()
    kept = cache.find_array(made_from)
    if kept is not None:
        return np.array(kept)
    parts = []
    step = CHUNK if words else rows_at_once(Clips(dataset, clips), most=CHUNK, size=LOOKED)
    for start in range(0, len(clips), step):
        some = clips[start : start + step]
        video = np.empty((0, 0, 0, 0, 3), np.uint8) if words else dataset.video(some)
        parts.append(SPACES[space](suite, video, captions[start : start + step]))
    placed = unit(np.concatenate(parts)).astype(np.float32)
    cache.keep_array(made_from, placed)
    return placed


def score_embeddings(cell: Cell, wanted: list[Wanted], dataset: Dataset, suite: Any) -> None:
    """Score the embeddings of a cell by retrieval, and the same for its own shuffled brain."""
    trials = cell.trials()
    clips, place = np.unique(trials["clip"].to_numpy(), return_inverse=True)
    concept = dataset.stimuli.to_pandas().set_index("clip")["concept"].loc[clips].to_numpy(np.int64)
    gallery = place_clips(cell.manifest["embedding"]["space"], clips, dataset, suite)
    target, belongs = place_concepts(concept)
    nearness = cosine_scores(cell.embeddings(), gallery)  # (trial, clip)
    subjects = trials["subject"].to_numpy()
    parts: dict[str, list[pd.DataFrame]] = {key: [] for _, _, key in wanted}
    for subject in np.unique(subjects):
        rows = np.flatnonzero(subjects == subject)
        prediction = Scored(views={CLIP: nearness[rows], CONCEPT: nearness[rows] @ belongs})
        pairings = [np.arange(len(rows)), *permute(len(rows), int(subject))]
        metrics = [metric for _, metric, _ in wanted]
        scored = score_pairings(metrics, prediction, target, place[rows], np.arange(len(rows)), pairings)
        for (_, metric, key), values in zip(wanted, scored, strict=True):
            parts[key].append(describe_scores(trials.iloc[rows], metric, values))
    for protocol, metric, key in wanted:
        cell.add_scores(key, pd.concat(parts[key], ignore_index=True).assign(protocol=protocol, metric=metric.name))


def place_concepts(concept: np.ndarray) -> tuple[Scored, np.ndarray]:
    """The clips as targets, and f64 [clip, K], which averages over the clips of each concept that is among them."""
    _, column, count = np.unique(concept, return_inverse=True, return_counts=True)
    belongs = (column[:, None] == np.arange(len(count))) / count
    return Scored(concept=column, clip=np.arange(len(concept))), belongs
