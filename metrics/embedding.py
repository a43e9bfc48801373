"""What an embedding tells: which of the test clips, and which concept, lies nearest to it; and the protocol of these.

No video is made or looked at: a method says for each trial where in a space of the suite its encoder places what was
seen (`bench.core.contracts.Embedder`), and every clip of the test set has a place there too. The likeness of both is
the cosine. That is what papers from EEG to images report (NICE, ATM: top-1 and top-5 of 200), and what NeuralBench's
video task scores. Chance is exact: k / m for the k nearest of m clips, 1 / N for N concepts.

The likeness to a concept is the mean of those to its test clips.
"""

from __future__ import annotations

from functools import partial

from metrics.n_way import n_way_accuracy
from metrics.protocols import Protocol
from metrics.retrieval import retrieval_accuracy
from metrics.specs import Array, MetricSpec, Scored

CLIP, CONCEPT = "embedding", "embedding_concept"  # views of a prediction: f [n, m] and f [n, K], cosines


def find_clip(prediction: Scored, target: Scored, *, k: int) -> Array:
    """Whether the clip that was seen is among the k test clips nearest to the embedding.

    Reads view "embedding" of the prediction and `clip` of the target. Range, ties and errors are those of
    `metrics.retrieval.retrieval_accuracy`.

    >>> import numpy as np
    >>> likeness = Scored(views={"embedding": np.array([[0.9, 0.5, 0.1]])})
    >>> [find_clip(likeness, Scored(clip=np.array([1])), k=k).item() for k in (1, 2)]
    [0.0, 1.0]
    """
    assert target.clip is not None, "needs the place of each clip among the test clips"
    return retrieval_accuracy(prediction[CLIP], target.clip, k)


def find_concept(prediction: Scored, target: Scored, *, n_way: int) -> Array:
    """Whether the concept that was seen is nearer than N−1 others drawn at random, in expectation over the draws.

    Reads view "embedding_concept" of the prediction and `concept` of the target. Range, ties and errors are those of
    `metrics.n_way.n_way_accuracy`.

    >>> import numpy as np
    >>> likeness = Scored(views={"embedding_concept": np.array([[0.9, 0.5, 0.1]])})
    >>> find_concept(likeness, Scored(concept=np.array([1])), n_way=2).item()
    0.5
    """
    assert target.concept is not None, "needs the concept of each clip"
    return n_way_accuracy(prediction[CONCEPT], target.concept, n_way=n_way)


def share_of(clips: int, *, k: int) -> float:
    """The chance of one of so many clips to be among k.

    >>> share_of(200, k=5)
    0.025
    """
    return min(1.0, k / clips)


def clip_spec(k: int) -> MetricSpec:
    """The spec of `find_clip`.

    >>> clip_spec(5).chance_of(100)
    0.05
    """
    return MetricSpec(
        name=f"embedding_top{k}",
        compute=partial(find_clip, k=k),
        summary=f"share of trials whose clip is among the {k} test clips nearest to the embedding",
        views=(CLIP,),
        chance=partial(share_of, k=k),
    )


def concept_spec(n_way: int) -> MetricSpec:
    """The spec of `find_concept`.

    >>> concept_spec(40).chance_of(100)
    0.025
    """
    return MetricSpec(
        name=f"embedding_concept_{n_way}way",
        compute=partial(find_concept, n_way=n_way),
        summary=f"share of trials whose concept is the nearest of {n_way} to the embedding",
        views=(CONCEPT,),
        chance=1 / n_way,
    )


EMBEDDING = Protocol(
    name="embedding",
    summary="what the encoder says before any generator, by retrieval among the test clips (run --no-video)",
    differs="looks at no video: at the method's own embedding, in a space of the suite that it names",
    metrics=(clip_spec(1), clip_spec(5), concept_spec(2), concept_spec(40)),
)
