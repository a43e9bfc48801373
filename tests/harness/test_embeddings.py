"""Embeddings: made beside videos or alone, and scored by retrieval among the test clips as by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import bench
from bench.core.errors import BenchError
from bench.harness.shelf import current_cells
from bench.pretrained.suite import load_suite
from bench.store.cells import Store

METHODS = """
import numpy as np

class Says:
    modality, version, parameter_count, embeds, width, kind = "eeg", 1, 0, "image", None, np.float32
    asks = ("clip_large",)
    def __init__(self, *, suite, seed=0):
        self.suite = suite
    def fit(self, train, validation):
        self.vectors = np.stack([self.place(clip) for clip in train.video[:4]])
        self.shape = train.video.shape[1:]
    def place(self, clip):
        return self.suite.embed_images(clip).mean(axis=0)
    def adapt(self, calibration):
        pass
    def reconstruct(self, brain):
        return np.zeros((len(brain.subject), *self.shape), np.uint8)
    def embed(self, brain):
        rows = [np.random.default_rng(seed).normal(size=self.vectors.shape[1]) for seed in brain.seed]
        return np.stack(rows).astype(self.kind)[:, : self.width]
class InText(Says):
    embeds = "text"
    def place(self, clip):
        return self.suite.embed_texts(["a clip"])[0]
class InActions(Says):
    embeds, asks = "action", ("action",)
    def place(self, clip):
        return self.suite.embed_actions(clip[None])[0]
class Double(Says):
    kind = np.float64
class Narrow(Says):
    width = 3
class Whole(Says):
    kind = np.int64
class Nowhere(Says):
    embeds = "dreams"
class HalfLost(Says):
    def embed(self, brain):
        vectors = super().embed(brain)
        vectors[::2, 0] = np.nan
        return vectors
class Raises(Says):
    def embed(self, brain):
        raise ValueError("no words")
class Silent(Says):
    embeds = None
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("says") / "says.py"
    place.write_text(METHODS)
    return place


@pytest.fixture(scope="module")
def ended(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which a run with videos has ended, and the embeddings that it left are scored."""
    place = Path(shutil.copytree(finished, tmp_path_factory.mktemp("ended") / "runs"))
    before = sorted(path.name for path in place.iterdir())
    bench.run("retrieval", quick=True, runs=place, jobs=1, video=False)
    assert sorted(path.name for path in place.iterdir()) == before  # nothing was made again
    return place


@pytest.fixture
def runs(ended: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ended, tmp_path / "runs"))


def find_cell(runs: Path, phantom, method: str):
    suite = load_suite("mini")
    cells = current_cells(Store(runs), phantom, suite, 40, embeddings=True)
    (cell,) = [cell for cell in cells if cell.manifest["spec"]["method"] == method]
    return cell


def retrieve_by_hand(vectors, trials, phantom) -> dict[str, np.ndarray]:
    """For each trial, one clip after the other: the share of draws in which its clip, and its concept, is found."""
    stimuli = phantom.stimuli.to_pandas().set_index("clip")
    clips = sorted(set(trials["clip"]))
    places = {}
    for clip in clips:
        words = load_suite("mini").encode_text([stimuli["caption"][clip]])[0].double().numpy().mean(axis=0)
        places[clip] = words / np.sqrt((words**2).sum())
    concepts = sorted({int(stimuli["concept"][clip]) for clip in clips})
    found = {name: [] for name in ("embedding_top1", "embedding_top5", "embedding_concept_2way")}
    for vector, shown in zip(vectors.astype(float), trials["clip"], strict=True):
        near = {clip: float(vector @ place) / np.sqrt((vector**2).sum()) for clip, place in places.items()}
        order = sorted(clips, key=lambda clip: -near[clip])
        found["embedding_top1"].append(order[0] == shown)
        found["embedding_top5"].append(shown in order[:5])
        by_concept = {
            one: np.mean([near[clip] for clip in clips if stimuli["concept"][clip] == one]) for one in concepts
        }
        mine = by_concept[int(stimuli["concept"][shown])]
        found["embedding_concept_2way"].append(sum(mine > other for other in by_concept.values()) / (len(concepts) - 1))
    return {name: np.array(values, float) for name, values in found.items()}


def test_a_run_with_videos_leaves_embeddings_that_are_scored_as_by_hand(runs: Path, phantom) -> None:
    cell = find_cell(runs, phantom, "retrieval")
    result = bench.run("retrieval", quick=True, runs=runs, jobs=1, video=False)
    trials, vectors = cell.trials(), cell.embeddings()
    assert vectors.dtype == np.float32 and len(vectors) == len(trials) == cell.manifest["trial_count"]
    scores = result.scores[result.scores["method"] == "retrieval"]
    assert set(scores["protocol"]) == {"embedding"} and set(result.table["metric"]) == set(scores["metric"])
    for metric, wanted in retrieve_by_hand(vectors, trials, phantom).items():
        rows = scores[scores["metric"] == metric].set_index(["subject", "clip"])
        ours = rows.loc[list(zip(trials["subject"], trials["clip"], strict=True)), "value"].to_numpy()
        np.testing.assert_allclose(ours, wanted, atol=1e-6)
        assert wanted.std() > 0
    chance = result.table.set_index("metric")["chance"]
    clips = len(set(trials["clip"]))
    assert chance["embedding_top1"] == 1 / clips and chance["embedding_top5"] == 5 / clips
    assert chance["embedding_concept_2way"] == 0.5 and "embedding_concept_40way" not in chance  # of ten concepts


def test_floors_and_ceilings_are_beside_it(runs: Path) -> None:
    result = bench.run("retrieval", quick=True, runs=runs, jobs=1, video=False)
    best = result.references.set_index(["method", "metric"])["value"]
    assert best["caption", "embedding_top1"] == 1.0 and best["caption", "embedding_concept_2way"] == 1.0
    assert best["ideal_observer", "embedding_concept_2way"] > result.table.set_index("metric")["value"].min()
    assert set(result.references["method"]) == {"caption", "ideal_observer", "noise_brain"}


def test_alone_is_the_cell_that_is_left_beside_videos(runs: Path, phantom, tmp_path: Path) -> None:
    bench.run("retrieval", quick=True, runs=tmp_path / "alone", jobs=1, video=False)
    alone, beside = (find_cell(place, phantom, "retrieval") for place in (tmp_path / "alone", runs))
    assert alone.key == beside.key
    assert alone.manifest["prediction_digest"] == beside.manifest["prediction_digest"]
    assert not list(current_cells(Store(tmp_path / "alone"), phantom, load_suite("mini"), 40))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Narrow", r"embed returned ndarray of float32 \[(\d+), 3\]; it must return float32 \(\1, \d+\)"),
        ("Whole", r"embed returned ndarray of int64 .* it must return float32"),
        ("Nowhere", "embeds in 'dreams'; a space is one of image, text, words, action"),
        ("Silent", "embeds nothing, so there is nothing without its videos"),
    ],
)
def test_what_is_no_embedding_is_named(file: Path, runs: Path, name: str, words: str) -> None:
    with pytest.raises(BenchError, match=words):
        bench.run(f"{file}:{name}", quick=True, runs=runs, jobs=1, video=False)


@pytest.mark.parametrize("name", ["Says", "InText", "InActions", "Double"])
def test_every_space_has_its_clips(file: Path, runs: Path, name: str) -> None:
    result = bench.run(f"{file}:{name}", quick=True, runs=runs, jobs=1, video=False)
    rows = result.table.set_index("metric")
    assert (rows["coverage"] == 1).all() and rows["low"]["embedding_concept_2way"] < 0.5  # noise finds nothing


def test_a_vector_that_is_none_scores_the_worst_and_is_counted(file: Path, runs: Path) -> None:
    result = bench.run(f"{file}:HalfLost", quick=True, runs=runs, jobs=1, video=False)
    scores = result.scores[result.scores["method"].str.endswith("HalfLost")]
    lost = scores["status"] == "invalid"
    assert 0.4 < lost.mean() < 0.6 and (scores["value"][lost] == 0).all()
    assert result.table["coverage"].eq(1 - lost.mean()).all()


def test_videos_and_embeddings_are_not_mixed(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="corrected looks at videos"):
        bench.run("retrieval", quick=True, runs=runs, video=False, protocol=["corrected"])
    with pytest.raises(BenchError, match="embedding looks at no video"):
        bench.run("retrieval", quick=True, runs=runs, protocol=["embedding"])
    with pytest.raises(BenchError, match="embedding looks at no video"):
        bench.score(tmp_path, protocol="embedding")
    scored = bench.run("retrieval", quick=True, runs=runs, jobs=1, video=False)
    table = bench.table(dataset="phantom_eeg:tiny", runs=runs, protocol="embedding", method="retrieval")
    assert table["value"].tolist() == scored.table["value"].tolist()


def test_what_is_published_is_what_the_store_shows(ended: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    asked = {"dataset": "phantom_eeg:tiny", "protocol": "embedding", "references": True}
    bench.publish(method=["retrieval", "caption"], dataset="phantom_eeg:tiny", runs=ended, results=results)
    names = sorted(path.relative_to(results / "phantom_eeg-tiny").as_posix() for path in results.glob("*/*/*.json"))
    embedded = [f"{place}.embedding.json" for place in ("clips/caption.base.40", "cross_subject/retrieval.base.40")]
    assert [name for name in names if "embedding" in name] == embedded
    assert "cross_subject/retrieval.base.40.json" in names
    shown, there = (
        made.set_index(["method", "metric"]).sort_index()[["value", "low", "high", "chance", "shuffled"]].astype(float)
        for made in (bench.table(results=results, **asked), bench.table(runs=ended, **asked))
    )
    assert set(shown.index.get_level_values("method")) == {"retrieval", "caption"}
    np.testing.assert_allclose(shown, there.loc[shown.index], rtol=1e-6)


def test_embeddings_that_fail_cost_no_videos(file: Path, runs: Path, phantom) -> None:
    name = f"{file}:Raises"
    with pytest.raises(BenchError, match=r"ValueError: no words .* in embed"):
        bench.run(name, quick=True, runs=runs, jobs=1)
    cells = current_cells(Store(runs), phantom, load_suite("mini"), 40)
    assert name in {cell.manifest["spec"]["method"] for cell in cells}
    scored = bench.run(name, quick=True, runs=runs, jobs=1)
    assert not scored.failures and len(scored.table)
