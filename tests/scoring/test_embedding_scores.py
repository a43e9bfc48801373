"""Scores of embeddings that were planted: where each trial's clip comes in the order of nearness is known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pandas as pd
import pytest

from bench.scoring import embeddings
from bench.scoring.embeddings import place_concepts, score_embeddings
from bench.store.cells import Store
from bench.store.predictions import write_embeddings
from metrics.embedding import EMBEDDING

CLIPS, CONCEPTS = np.arange(20, 28), np.array([3, 3, 3, 5, 5, 9, 9, 9])
SHOWN = np.array([20, 27, 23, 25, 22])  # clip of each trial
RANKS = np.array([0, 1, 4, 5, 7])  # how many other clips are nearer than it


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Clips at right angles, and embeddings that lean towards as many others as was planted more than to their own."""
    gallery = np.eye(len(CLIPS), dtype=np.float32)
    vectors = np.zeros((len(SHOWN), len(CLIPS)), np.float32)
    for row, (clip, rank) in enumerate(zip(SHOWN, RANKS, strict=True)):
        others = [place for place in range(len(CLIPS)) if CLIPS[place] != clip]
        vectors[row, others[:rank]] = 2.0
        vectors[row, list(CLIPS).index(clip)] = 1.0
    vectors[-1] *= 7.0  # a cosine sees no length
    trials = pd.DataFrame({"trial": np.arange(5), "subject": [1, 1, 1, 2, 2], "clip": SHOWN})
    trials = trials.assign(concept=CONCEPTS[SHOWN - 20], block=0, seed=0)
    every = pd.DataFrame({"trial": np.arange(5, 8), "subject": 2, "clip": [21, 24, 26]})
    trials = pd.concat([trials, every.assign(concept=CONCEPTS[every["clip"] - 20], block=0, seed=0)])
    vectors = np.concatenate([vectors, np.full((3, len(CLIPS)), np.nan, np.float32)])
    monkeypatch.setattr(embeddings, "place_clips", lambda space, clips, dataset, suite: gallery[clips - 20])
    dataset = SimpleNamespace(stimuli=datasets.Dataset.from_dict({"clip": CLIPS, "concept": CONCEPTS}))
    store = Store(tmp_path)
    with store.publishing("a") as draft:
        write_embeddings(draft, trials, vectors, "words")
    cell = store.find("a")
    wanted = [("embedding", metric, metric.name) for metric in EMBEDDING.metrics[:3]]
    score_embeddings(cell, wanted, dataset, None)
    return pd.concat([cell.scores(metric.name) for _, metric, _ in wanted])


def test_ranks_are_those_that_were_planted(scored: pd.DataFrame) -> None:
    values = scored.set_index(["metric", "clip"])["value"]
    for name, most in (("embedding_top1", 1), ("embedding_top5", 5)):
        assert values[name].loc[SHOWN].tolist() == [float(rank < most) for rank in RANKS]
    concepts = values["embedding_concept_2way"]
    assert concepts[20] == 1.0  # alone in its concept
    # clip 27 of concept 9 (three clips): 1 / 3; clip 20, of concept 3 (three clips), is nearer: 2 / 3; concept 5: 0
    assert concepts[27] == 0.5


def test_what_is_no_number_is_the_worst_and_invalid(scored: pd.DataFrame) -> None:
    lost = scored[scored["clip"].isin([21, 24, 26])]
    assert (lost["value"] == 0).all() and (lost["status"] == "invalid").all() and len(lost) == 9
    assert (scored[scored["clip"].isin(SHOWN)]["status"] == "ok").all()


def test_a_concept_is_the_mean_of_its_clips() -> None:
    target, belongs = place_concepts(CONCEPTS)
    assert target.concept.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    near = np.arange(8.0)
    np.testing.assert_allclose(near @ belongs, [1.0, 3.5, 6.0])
