"""The first training stage (§3.5): HRT learns text embeddings and video latents while C-SA grows the training set.

`L_1 = MSE(E) + MSE(L) + L_subject`, each MSE in units of the training targets' variance: raw, the latents' would drown
the embeddings' or the other way round, depending on the suite. Optimiser, schedule and budget are not in the paper:
AdamW under one cycle of the learning rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from bench.toolbox.training import Optimiser
from methods.sam_net.augmentation import augment
from methods.sam_net.heads import Decoder, measure_error
from methods.sam_net.subjects import Stage, SubjectClassifier, ramp, reverse_gradient, subject_loss
from methods.sam_net.views import Views


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Training trials on the device, with the coefficients of what they should give."""

    views: Views
    subject: Int64[Tensor, " trial"]  # 0-based index of the subject
    text: Float[Tensor, "trial rank"]
    latents: Float[Tensor, "trial rank"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How HRT is trained; the fields are explained where `Parameters` declares them."""

    batch_size: int
    learning_rate: float
    weight_decay: float
    adversary: float
    text_weight: float
    latent_weight: float
    noise_mean: float
    noise_deviation: float
    electrode_dropout: float


def train_decoder(
    decoder: Decoder,
    classifiers: Sequence[SubjectClassifier],
    examples: Examples,
    stages: Sequence[Stage],
    recipe: Recipe,
    *,
    batches: torch.Generator,
    augmentation: torch.Generator,
    phase: str,
) -> None:
    """Train in place through all stages; `classifiers` are the adversaries, one for each encoder, or none.

    The learning rate rises until everybody has joined, and falls from there on.
    """
    parameters = [parameter for module in (decoder, *classifiers) for parameter in module.parameters()]
    total = sum(stage.steps for stage in stages)
    optimise = Optimiser(
        [(parameters, recipe.learning_rate)],
        steps=total,
        weight_decay=recipe.weight_decay,
        rise=max(0.1, 1 - stages[-1].steps / total),
        fused=True,
    )
    subjects = int(examples.subject.max()) + 1
    decoder.train()
    walk = walk_stages(stages, examples.subject.cpu(), recipe.batch_size, batches)
    for step, (rows, stage) in optimise.walk(walk, phase, modules=[decoder, *classifiers]):
        rows = rows.to(examples.subject.device)
        views = augment(
            examples.views[rows],
            noise_mean=recipe.noise_mean,
            noise_deviation=recipe.noise_deviation,
            electrode_dropout=recipe.electrode_dropout,
            generator=augmentation,
        )
        features, text, latents = decoder(views)
        loss = recipe.text_weight * measure_error(decoder.text, text, examples.text[rows])
        loss = loss + recipe.latent_weight * measure_error(decoder.latents, latents, examples.latents[rows])
        if classifiers and len(stage.subjects) > 1:
            present = torch.zeros(subjects, dtype=torch.bool, device=rows.device)
            present[list(stage.subjects)] = True
            for classifier, shown in zip(classifiers, features, strict=True):
                hidden = reverse_gradient(shown, recipe.adversary * ramp(step / total))
                loss = loss + subject_loss(classifier(hidden), examples.subject[rows], present)
        optimise.step(loss)
    decoder.eval()


def walk_stages(
    stages: Sequence[Stage], subject: Int64[Tensor, " trial"], batch_size: int, generator: torch.Generator
) -> Iterator[tuple[Int64[Tensor, " row"], Stage]]:
    """Rows of each step's batch: within a stage its subjects' trials are shuffled and walked through, again and again.

    Batches are full (a stage with fewer trials than a batch gives what it has): batch normalisation needs two at least.
    """
    for stage in stages:
        members = torch.isin(subject, torch.tensor(stage.subjects)).nonzero()[:, 0]
        size = min(batch_size, len(members))
        pool = torch.empty(0, dtype=torch.int64)
        for _ in range(stage.steps):
            if len(pool) < size:
                pool = members[torch.randperm(len(members), generator=generator)]
            yield pool[:size], stage
            pool = pool[size:]


@torch.inference_mode()
def predict(
    decoder: Decoder, views: Views, *, batch_size: int = 256
) -> tuple[Float[Tensor, "trial rank"], Float[Tensor, "trial rank"]]:
    """Coefficients of E and of L for each trial, independent of the other trials."""
    decoder.eval()
    made = [decoder(part)[1:] for part in views.split(batch_size)]
    return torch.cat([text for text, _ in made]), torch.cat([latents for _, latents in made])
