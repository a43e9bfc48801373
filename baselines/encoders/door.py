"""The common door of the encoders: what all of them learn to hit, how they are read out, and the one generator.

    brain ──encoder──> coordinates of the caption ──read-out──> text tokens ──AnimateDiff──> video

All encoders, of EEG and of fMRI, trained by steps or in closed form, share everything but the first arrow:

- *targets*: the coordinates of the clip's caption (`bench.toolbox.read_outs`): its mean token in the generator's text
  space, whitened. No label enters them;
- *trials*: those of the training and of the validation block. Nothing is chosen by validation, so nothing is lost;
- *training* (`bench.toolbox.training`): AdamW, one cycle of the rate, a number of epochs that is the same on every
  split, no stopping, a seeded generator for each purpose;
- *read-out*: the nearest concept; as regressed and the nearest caption are variants (`--ablation readouts`);
- *generator*: `suite.generate_video` from noise, conditioned on the text alone.

`embed` is the encoder before any read-out: the direction in the space "words" along which a caption comes nearer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from torch.nn import functional

from baselines.encoders.parameters import READERS
from bench.core.contracts import BrainData, Modality, Space, TrainingSet, VideoBatch
from bench.core.errors import require_fitted
from bench.toolbox.budget import release
from bench.toolbox.read_outs import Captions, learn_captions, read_out
from bench.toolbox.resize import make_videos
from bench.toolbox.targets import encode_captions, number_captions
from bench.toolbox.training import make_generator, plan_steps, seeded, train_steps

PREDICTED = 128  # trials through a network at once
DRAWN = 32  # trials whose tokens are there, and videos made, at once
PLACED = 256  # captions whose coordinates are computed at once


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Trials of one or more training sets in a row, and what is to be read from each."""

    parts: tuple[TrainingSet, ...]
    subject: Int64[np.ndarray, " trial"]
    clip: Int64[np.ndarray, " trial"]  # counted through all parts
    targets: Float[Tensor, "trial rank"]
    caption: Int64[Tensor, " trial"]  # the same number for the same words


class Encoder:
    """An encoder as the harness runs it; a kind defines `learn` and `predict`, and `adapt` where it can.

    Raises BenchError for unknown parameters or values.
    """

    name: ClassVar[str]  # under which it is registered
    modality: Modality
    version = 2
    drawn_by = ("read_out", "steps", "guidance")  # parameters that no fit reads
    embeds: Space = "words"

    def __init__(self, *, suite: Any, seed: int = 0, **parameters: Any) -> None:
        self.parameters = READERS[type(self).__name__](parameters)
        self.suite = suite
        self.seed = seed
        self.device = torch.device(suite.device)
        self.captions: Captions | None = None

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Learn the captions' coordinates, then to read them; from the validation trials like from all others."""
        parts = (train, validation) if self.parameters.use_validation else (train,)
        self.clip_shape = train.video.shape[1:]
        captions = [caption for part in parts for caption in part.captions]
        concepts = torch.from_numpy(np.concatenate([part.concepts for part in parts]))
        self.captions = learn_captions(encode_captions(self.suite, captions), concepts, number_captions(captions)[1])
        self.learn(self.make_lesson(*parts))

    def make_lesson(self, *parts: TrainingSet) -> Lesson:
        """The trials of some sets with the coordinates of their captions."""
        starts = np.cumsum([0, *(len(part.captions) for part in parts)])
        clip = np.concatenate([part.clip + start for part, start in zip(parts, starts, strict=False)])
        captions = [caption for part in parts for caption in part.captions]
        tokens, caption = encode_captions(self.suite, captions), number_captions(captions)[1]
        release(self.suite, "text_encoder")
        place = require_fitted(self.captions, self.name).place
        placed = torch.cat([place(tokens[rows]) for rows in torch.arange(len(tokens)).split(PLACED)])
        return Lesson(
            parts=parts,
            subject=np.concatenate([part.subject for part in parts]),
            clip=clip,
            targets=placed[caption[clip]],
            caption=caption[clip],
        )

    def learn(self, lesson: Lesson) -> None:
        """Make of the lesson whatever `predict` needs."""
        raise NotImplementedError

    def adapt(self, calibration: TrainingSet) -> None:
        """What new subjects need of their own; nothing where a kind has no use for it."""

    def predict(self, brain: BrainData) -> Float[Tensor, "trial rank"]:
        """The coordinates that are read from each trial, off the device."""
        raise NotImplementedError

    def reconstruct(self, brain: BrainData) -> VideoBatch:
        """What is read out of each trial, through the generator, in the size of the training clips."""
        parameters, captions = self.parameters, require_fitted(self.captions, self.name)
        read = self.predict(brain)

        def make(rows: np.ndarray) -> VideoBatch:
            text = read_out(captions.expand(read[rows]), captions, parameters.read_out)
            options = {"steps": parameters.steps, "guidance": parameters.guidance}
            return np.asarray(self.suite.generate_video(text, brain.seed[rows], **options))

        return make_videos(len(read), make, at_once=DRAWN, shape=self.clip_shape)

    def embed(self, brain: BrainData) -> Float32[np.ndarray, "trial width"]:
        """Where each trial is aimed at in the space "words", before any read-out."""
        return require_fitted(self.captions, self.name).aim(self.predict(brain)).numpy()

    @property
    def parameter_count(self) -> int:
        raise NotImplementedError

    # What encoders share that are trained by steps

    def train(
        self,
        network: nn.Module,
        read: Any,
        targets: Float[Tensor, "trial rank"],
        caption: Int64[Tensor, " trial"],
        *,
        parameters: Iterable[nn.Parameter],
        purpose: str,
    ) -> list[float]:
        """Train `parameters` of a network in place; `read(rows)` gives what the network is called with.

        Returns the loss of each step. `purpose` names the generators, beside the method and the seed.
        """
        p, trials = self.parameters, len(targets)
        targets, caption = targets.to(self.device), caption.to(self.device)

        def measure(rows: np.ndarray) -> Float[Tensor, ""]:
            return self.measure_loss(network(*read(rows)), targets[rows], caption[rows])

        with seeded(self.device, self.name, f"{purpose} dropout", self.seed):
            return train_steps(
                network,
                measure,
                parameters=list(parameters),
                trials=trials,
                steps=plan_steps(p.epochs, trials, p.batch_size),
                batch_size=p.batch_size,
                learning_rate=p.learning_rate,
                weight_decay=p.weight_decay,
                batches=make_generator(self.name, f"{purpose} batches", self.seed),
                phase=f"training {self.name}",
            )

    def measure_loss(
        self, predicted: Float[Tensor, "n rank"], targets: Float[Tensor, "n rank"], caption: Int64[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        """Squared error, in shares of the coordinates' variance."""
        return functional.mse_loss(predicted, targets)

    @torch.inference_mode()
    def run(self, network: nn.Module, read: Any, trials: int) -> Float[Tensor, "trial rank"]:
        """What a network says of all trials, off the device."""
        rows = np.arange(trials)
        return torch.cat([network(*read(rows[at : at + PREDICTED])).cpu() for at in range(0, trials, PREDICTED)])
