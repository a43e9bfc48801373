"""What a linear reader of the brain finds in a suite's spaces, beside what it finds when it is given the labels.

Methods that align the brain with CLIP can be no better than the space lets them be: a ridge shrinks what it cannot see,
and a concept that is little of a caption's vector is lost to what is more of it. So the concepts of test trials are
read three times by the same ridge, each subject by itself: to labels (the largest), and to the embeddings of captions
and of pictures (the concept of the nearest training caption, by cosine). The strength is the one of `STRENGTHS` with
which most validation trials of all subjects are right.

    python -m bench.pretrained.mini_build.measures reading

makes the phantoms of the development seeds (2.4 GB in the cache; once) and writes the means into the card of `mini`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64, Int64

from bench.core.splits import Fold, make_folds
from bench.datasets.catalogue import AnySpec, load_dataset, make_phantom, phantom_folder
from bench.datasets.phantom.eeg.spec import find_spec
from bench.datasets.phantom.fmri.spec import find_fmri_spec
from bench.pretrained.suite import Suite
from bench.toolbox.read_signals import read_resampled

SEEDS = (101, 102, 103)  # development seeds: none is reported by a benchmark
KINDS = {"phantom_fmri": "fMRI", "phantom_eeg": "EEG"}
RATE = 25.0  # Hz to which signals are resampled
WHITENED = 256  # channels at most; voxels are local
STRENGTHS = tuple(10.0 ** (half / 2) for half in range(-6, 9))  # of the kernel's mean eigenvalue
PARTS = ("validation", "test")
LABELS, CAPTIONS, PICTURES = "ridge to labels", "ridge to captions", "ridge to pictures, nearest caption"
TOKENS = "ridge to the generator's text, mean token"


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One subject's ridge in its dual form: the kernel of its training trials, and of others with them, decomposed."""

    clip: dict[str, Int64[np.ndarray, " trial"]]
    values: Float64[np.ndarray, " k"]
    vectors: Float64[np.ndarray, "trial k"]
    others: dict[str, Float64[np.ndarray, "other k"]]

    def predict(
        self, part: str, described: Float64[np.ndarray, "clip d"], strength: float
    ) -> Float64[np.ndarray, "other d"]:
        """What the clips of a part's trials are predicted to be; the ridge has an intercept."""
        targets = described[self.clip["train"]]
        middle = targets.mean(axis=0)
        weights = self.vectors.T @ (targets - middle) / (self.values + strength * self.values.mean())[:, None]
        return self.others[part] @ weights + middle


def make_reader(dataset: Any, fold: Fold) -> Reader:
    """The reader of a fold of one subject: its signals at `RATE`, as `measure_whitener` says."""
    rows = {"train": fold.train, "validation": fold.validation, "test": fold.test}
    x = {part: read_resampled(dataset.signals(some), dataset.sampling_rate, RATE) for part, some in rows.items()}
    mix = measure_whitener(x["train"])
    flat = {part: (some.transpose(0, 2, 1) @ mix).reshape(len(some), -1).astype(np.float64) for part, some in x.items()}
    middle = flat["train"].mean(axis=0)
    flat = {part: some - middle for part, some in flat.items()}
    values, vectors = np.linalg.eigh(flat["train"] @ flat["train"].T)
    clip = np.asarray(dataset.trials["clip"])
    return Reader(
        clip={part: clip[some] for part, some in rows.items()},
        values=np.maximum(values, 0),
        vectors=vectors,
        others={part: flat[part] @ flat["train"].T @ vectors for part in PARTS},
    )


def measure_whitener(x: Float32[np.ndarray, "n channel time"]) -> Float64[np.ndarray, "channel channel"]:
    """Makes channels uncorrelated with unit power, about the mean trial; tiny directions are left small.

    More than `WHITENED` channels are brought to unit power alone.
    """
    rest = (x - x.mean(axis=0)).astype(np.float64)
    if x.shape[1] > WHITENED:
        power = np.square(rest).mean(axis=(0, 2))
        return np.diag(1 / np.sqrt(np.where(power > 0, power, 1)))
    covariance = np.einsum("nct,ndt->cd", rest, rest, optimize=True) / (len(x) * x.shape[2])
    values, vectors = np.linalg.eigh(covariance)
    return (vectors / np.sqrt(values + 1e-3 * values.mean())) @ vectors.T


def find_nearest(said: Float64[np.ndarray, "n d"], known: Float64[np.ndarray, "m d"]) -> Int64[np.ndarray, " n"]:
    """Which of the known each is nearest to, by cosine."""
    return (said @ unit(known).T).argmax(axis=1)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def score_space(
    readers: Iterable[Reader], concepts: Int64[np.ndarray, " clip"], described: np.ndarray, entries: np.ndarray | None
) -> float:
    """Share of test trials whose concept is read from `described`, of each clip, at the strength that validation chose.

    `entries` are what the clips are known by: the concept of the nearest entry of a training clip is read. Without them
    `described` has a number for each concept, and the largest is read.
    """

    def judge(reader: Reader, part: str, strength: float) -> Bool[np.ndarray, " trial"]:
        said = reader.predict(part, described, strength)
        if entries is None:
            read = said.argmax(axis=1)
        else:
            known = np.unique(reader.clip["train"])
            read = concepts[known][find_nearest(said, entries[known])]
        return read == concepts[reader.clip[part]]

    def share(part: str, strength: float) -> float:
        return float(np.concatenate([judge(reader, part, strength) for reader in readers]).mean())

    readers = list(readers)
    return share("test", max(STRENGTHS, key=lambda strength: share("validation", strength)))


def read_spaces(dataset: Any, suite: Suite) -> dict[str, float]:
    """Concepts of test trials read by ridge to labels and to each space of the suite, over all subjects alike."""
    readers = [make_reader(dataset, fold) for fold in make_folds(dataset, "single_subject")]
    concepts, captions = np.asarray(dataset.stimuli["concept"]), list(dataset.stimuli["caption"])
    frames = np.concatenate([dataset.video([clip])[:, 2] for clip in range(len(concepts))])
    texts = unit(suite.embed_texts(captions).astype(np.float64))
    pictures = unit(suite.embed_images(frames).astype(np.float64))
    tokens = suite.encode_text(captions).mean(dim=1).double().numpy()
    return {
        LABELS: score_space(readers, concepts, np.eye(len(dataset.concepts))[concepts], None),
        CAPTIONS: score_space(readers, concepts, texts, texts),
        PICTURES: score_space(readers, concepts, pictures, texts),
        TOKENS: score_space(readers, concepts, tokens, tokens),
    }


def list_specs(seeds: Iterable[int] = SEEDS) -> list[tuple[str, AnySpec]]:
    """The default size of each phantom at each seed, by its kind."""
    sizes = {kind: find_spec("small") if kind == "phantom_eeg" else find_fmri_spec(kind, "small") for kind in KINDS}
    return [(kind, replace(spec, seed=seed)) for kind, spec in sizes.items() for seed in seeds]


def list_phantoms() -> list[str]:
    """The names of the folders of the phantoms that are read, which tell what they are made from."""
    return [phantom_folder(spec).name for _, spec in list_specs()]


def tabulate_reading(suite: Suite, seeds: Iterable[int] = SEEDS) -> pd.DataFrame:
    """`read_spaces` of each phantom at each seed: modality, seed, and a column for each space."""
    rows = []
    for kind, spec in list_specs(seeds):
        dataset = load_dataset(kind, make_phantom(spec))
        rows.append({"modality": KINDS[kind], "seed": spec.seed, **read_spaces(dataset, suite)})
    return pd.DataFrame(rows)
