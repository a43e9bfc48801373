"""What the training clips are to the frozen encoders: targets of stage 1, contents of memories, latents and texts.

Embeddings of pictures and captions are those of the suite's CLIP, actions those of its video encoder, all at unit
length. phi_v sees some frames of a clip, picked evenly.

What is learned are these embeddings in coordinates in which the training clips' captions vary more evenly (`Spaces`):
centred, turned to principal axes, and each divided by its deviation to the power `whitening`. Pictures are first turned
to where the captions are, by the orthogonal matrix that brings both together (Procrustes), since one vector, f^c, asks
for both. The paper compares embeddings as they are (`whitening="none"`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from bench.core.contracts import TrainingSet
from bench.toolbox.budget import release
from bench.toolbox.encoded import remember
from bench.toolbox.targets import number_captions, pick_frames
from methods.cine_neuron.categories import Extractor, Superclasses, merge_categories

LEAST = 1e-3  # of the greatest variance: axes of less are not made longer still


@dataclass(frozen=True, kw_only=True)
class Targets:
    """One row a clip, on the suite's device."""

    frames: Float[Tensor, "clip frame embedding"]
    text: Float[Tensor, "clip embedding"]
    action: Float[Tensor, "clip action"]
    labels: Float[Tensor, "clip class"]  # no classes where categories are not learned
    caption: Int64[Tensor, " clip"]  # the same number for the same words, in the order of `encode_captions`
    classes: Superclasses | None = None  # that `labels` are of


@torch.no_grad()
def encode_targets(
    suite: Any,
    data: TrainingSet,
    *,
    frames: int,
    least: int = 1,
    extract: Extractor | None = None,
    classes: Superclasses | None = None,
) -> Targets:
    """Targets of all clips. `extract` finds categories in captions (None: none are learned), `least` is the number of
    clips that must show one (`merge_categories`), unless the `classes` are given."""
    picked = pick_frames(data.video.shape[1], frames)

    def embed_images(clips: np.ndarray) -> Tensor:
        seen = suite.embed_images(clips[:, picked].reshape(-1, *clips.shape[2:]))
        return torch.as_tensor(seen).float().unflatten(0, (len(clips), -1))

    def embed_actions(clips: np.ndarray) -> Tensor:
        return torch.as_tensor(suite.embed_actions(clips)).float()

    images = remember(suite, f"pictures {picked}", data.video, embed_images)
    actions = remember(suite, "actions", data.video, embed_actions)
    text = torch.as_tensor(suite.embed_texts(list(data.captions))).float()
    release(suite, "judges")
    labels = torch.zeros(len(data.captions), 0)
    if extract is not None:
        found = extract(data.captions)
        classes = classes or merge_categories(found, least=least)
        labels = classes.label(found)
    return Targets(
        frames=functional.normalize(images, dim=2).to(suite.device),
        text=functional.normalize(text, dim=1).to(suite.device),
        action=functional.normalize(actions, dim=1).to(suite.device),
        labels=labels.to(suite.device),
        caption=number_captions(data.captions)[1].to(suite.device),
        classes=classes,
    )


@dataclass(frozen=True)
class Spaces:
    """For each kind of embedding the mean of the training clips' and a matrix: (x − mean) @ matrix are coordinates."""

    text: tuple[Float[Tensor, " width"], Float[Tensor, "width width"]]
    image: tuple[Float[Tensor, " width"], Float[Tensor, "width width"]]
    action: tuple[Float[Tensor, " width"], Float[Tensor, "width width"]]

    def place(self, targets: Targets) -> Targets:
        """The targets in coordinates."""
        kinds = {"text": self.text, "frames": self.image, "action": self.action}
        return replace(
            targets, **{name: (getattr(targets, name) - mean) @ axes for name, (mean, axes) in kinds.items()}
        )

    def aim(self, seen: Float[Tensor, "trial width"]) -> Float[Tensor, "trial width"]:
        """Vectors whose inner product with a caption's embedding is, up to a constant, that of the coordinates."""
        return seen @ self.text[1].T


def learn_spaces(targets: Targets, power: float) -> Spaces:
    """Spaces of the training clips; `power` 0 keeps the embeddings' own spread, 1 takes all of it away."""
    pictures = targets.frames.mean(dim=1)
    text, image, action = (one - one.mean(dim=0) for one in (targets.text, pictures, targets.action))
    axes, own = whiten(text, power), whiten(action, power)
    left, _, right = torch.linalg.svd(image.T @ text)
    turned = (left @ right) @ axes
    turned = turned / (image @ turned).square().sum(dim=1).mean().sqrt()
    means = targets.text.mean(dim=0), pictures.mean(dim=0), targets.action.mean(dim=0)
    return Spaces((means[0], axes), (means[1], turned), (means[2], own))


def whiten(centred: Float[Tensor, "clip width"], power: float) -> Float[Tensor, "width width"]:
    """Principal axes, greatest first, over their deviation to that power, so scaled that clips have unit length."""
    values, vectors = torch.linalg.eigh((centred.T @ centred).double() / len(centred))
    values = values.flip(0).clamp(min=max(float(values[-1]) * LEAST, 1e-12))
    axes = (vectors.flip(1) * values ** (-power / 2)).to(centred)
    return axes / (centred @ axes).square().sum(dim=1).mean().sqrt().clamp(min=1e-12)
