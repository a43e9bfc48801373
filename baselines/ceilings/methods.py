"""Ceilings: methods that cheat openly, to show how far a perfect decoder could come with the same generator."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64

from bench.core.contracts import Answers, BrainData, Modality, Space, TrainingSet, VideoBatch
from bench.core.errors import BenchError
from bench.toolbox.resize import fit_clips


class CeilingBase:
    """What ceilings share: they train nothing, and are shown the answers before they reconstruct."""

    modality: Modality = "none"
    version = 1
    parameter_count = 0

    def __init__(self, *, suite: Any, seed: int = 0) -> None:
        self.suite = suite
        self.seed = seed

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        self.train = train

    def adapt(self, calibration: TrainingSet) -> None:
        """Nothing: a ceiling knows the answers already."""

    def reveal(self, answers: Answers) -> None:
        self.answers = answers


class Codec(CeilingBase):
    """The true clip through the suite's autoencoder: what perfect latents would give."""

    def reconstruct(self, brain: BrainData) -> VideoBatch:
        test = self.answers.test
        shown, g = test.video[test.clip], self.suite.geometry
        latents = self.suite.encode_video(fit_clips(shown, (g.frames, g.height, g.width)))
        return fit_clips(self.suite.decode_latents(latents), shown.shape[1:])


class Caption(CeilingBase):
    """The true caption through the text-to-video generator: what perfect text embeddings alone would give."""

    embeds: Space = "words"

    def reconstruct(self, brain: BrainData) -> VideoBatch:
        return fit_clips(self.suite.generate_video(self.read(), brain.seed), self.answers.test.video.shape[1:])

    def embed(self, brain: BrainData) -> Float32[np.ndarray, "trial d"]:
        return self.read().float().mean(dim=1).cpu().numpy()

    def read(self) -> Any:
        """Embeddings of the true captions' tokens, (trial, token, d)."""
        test = self.answers.test
        return self.suite.encode_text([test.captions[clip] for clip in test.clip])


class IdealObserver(CeilingBase):
    """A training clip of the concept that the phantom's own likelihood prefers (open set; no generator involved).

    Only phantoms have it: it knows the head model, the noise and the distribution of a concept's clips, but not the
    test clips. It bounds what any decoder of the concept can reach from these recordings.
    """

    modality: Modality = "any"
    embeds: Space = "words"

    def reconstruct(self, brain: BrainData) -> VideoBatch:
        shown, posteriors = self.observe()
        decided = shown[np.argmax(posteriors, axis=1)]
        chosen = [
            np.random.default_rng(seed).choice(np.flatnonzero(self.train.concepts == concept))
            for seed, concept in zip(brain.seed, decided, strict=True)
        ]
        return self.train.video[chosen]

    def embed(self, brain: BrainData) -> Float32[np.ndarray, "trial d"]:
        """The mean caption of each concept's training clips, weighted by how probable the concept is."""
        shown, posteriors = self.observe()
        words = self.suite.encode_text(list(self.train.captions)).float().mean(dim=1).cpu().numpy()
        means = np.stack([words[self.train.concepts == concept].mean(axis=0) for concept in shown])
        shares = np.exp(posteriors - posteriors.max(axis=1, keepdims=True))
        return (shares / shares.sum(axis=1, keepdims=True)) @ (means - means.mean(axis=0))

    def observe(self) -> tuple[Int64[np.ndarray, " concept"], Float64[np.ndarray, "trial concept"]]:
        """The concepts that training clips show, and the logarithm of how probable each is on each trial."""
        truth = self.answers.truth
        if truth is None:
            raise BenchError("ideal_observer needs a phantom: real recordings come without their likelihood model")
        shown = np.unique(self.train.concepts)
        return shown, truth.concept_posteriors(self.answers.trials)[:, shown]
