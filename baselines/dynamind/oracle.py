"""The released script's conditions as what they are: a ceiling.

`inference.py` of the release gives the generator the embeddings of the *true* captions and starts it from the
DDIM-inverted latents of the *true* clips; the EEG embeddings that it loads go nowhere. With `latents=False` the start
is noise: then the true caption alone is known, through the same tuned generator.
"""

from __future__ import annotations

from typing import Any

from baselines.ceilings.methods import CeilingBase
from baselines.dynamind.parameters import read_oracle_parameters
from bench.core.contracts import BrainData, TrainingSet, VideoBatch
from bench.pretrained.generators.pipelines import draw_noise
from bench.pretrained.generators.tune_a_video import encode_clips, invert, sample, tune
from bench.toolbox.joined import join_sets
from bench.toolbox.resize import fit_clips
from bench.toolbox.sizes import count_parameters


class DynaMindOracle(CeilingBase):
    """True captions and inverted true latents through the generator that DynaMind tunes."""

    version = 2

    def __init__(self, *, suite: Any, seed: int = 0, **parameters: Any) -> None:
        super().__init__(suite=suite, seed=seed)
        self.parameters = read_oracle_parameters(parameters)

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        known = join_sets([train, validation])  # as DynaMind has them
        self.unet = tune(
            self.suite,
            known.video,
            known.captions,
            epochs=self.parameters.tuning_epochs,
            batch_size=self.parameters.tuning_batch_size,
            learning_rate=self.parameters.tuning_learning_rate,
            seed=self.seed,
        )
        self.parameter_count = count_parameters(self.unet.trained_parameters())

    def reconstruct(self, brain: BrainData) -> VideoBatch:
        test, suite, g = self.answers.test, self.suite, self.suite.geometry
        text = suite.encode_text([test.captions[clip] for clip in test.clip])
        steps = suite.settings["steps"] if self.parameters.steps is None else self.parameters.steps
        if self.parameters.latents:
            true = encode_clips(suite, test.video)[test.clip].transpose(1, 2)
            start = invert(suite, self.unet, true, text, steps=steps)
        else:
            start = draw_noise(brain.seed.tolist(), (g.latent_channels, g.frames, g.latent_height, g.latent_width))
        made = sample(suite, self.unet, text, start, steps=steps, guidance=self.parameters.guidance)
        return fit_clips(made, test.video.shape[1:])
