"""Training of the `mini` DINO: a ViT that no label has taught, by self-distillation (Caron et al. 2021).

A student sees two large and some small crops; a teacher, the moving average of the student, sees the two large ones.
Each student output is to match each teacher output of another crop, and the teacher is kept. Half of the large crops
are degraded the way generators degrade frames, the counterpart of the paper's blur.

Two things are not the paper's, because minutes on one core stand where it had days on 16 GPUs. DINO keeps its outputs
from collapsing by centring the teacher's; after 300 to 1,200 steps of that, neighbours shared an object no more often
(0.21) than with random weights (0.26). Here the other clips of the batch keep them apart, as in MoCo v3 (Chen et al.
2021). And because the drawn scenes are smooth and fill much of a frame, crops of one frame are best matched by their
background: so the crops come from two frames of a clip, and most often the second shows the same object before another
scene (background augmentation, Ryali et al. 2021).

fp32 throughout: at these sizes attention in bfloat16 is slower on a CPU.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ViTModel

from bench.core.progress import say
from bench.datasets.phantom.stimuli import SCENES, Recipe
from bench.datasets.seed_dv.concepts import CONCEPTS
from bench.pretrained.mini_build.batches import degrade, draw_coarse_basis, draw_recipes, render_frames, to_pixels
from bench.pretrained.mini_build.networks import SIZE, make_dino, make_frame_processor
from bench.pretrained.mini_build.training import save_half, seed_training, train_steps

STEPS, BATCH = 700, 48
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.05
CODE = 64  # numbers by which views are matched
SMALL, SMALL_CROPS = 32, 2  # pixels and number of the small crops
LARGE_AREA, SMALL_AREA = (0.45, 1.0), (0.15, 0.5)  # shares of the frame that a crop covers
NEW_SCENE = 0.7  # share of clips whose second frame has another scene
HEAT = 0.1  # temperature of the likeness of two views
MOMENTUM = 0.98  # of the teacher at the start; 1 at the end
NEIGHBOURS, NEIGHBOUR_HEAT = 10, 0.07
REPORT_EVERY = 100


class Head(nn.Module):
    """Projection of the class token to a code of unit length."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, CODE))

    def forward(self, hidden: Float[Tensor, "n width"]) -> Float[Tensor, "n code"]:
        return F.normalize(self.layers(hidden), dim=-1)


class Network(nn.Module):
    def __init__(self, body: ViTModel) -> None:
        super().__init__()
        self.body, self.head = body, Head(body.config.hidden_size)

    def embed(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n width"]:
        return self.body(pixels, interpolate_pos_encoding=pixels.shape[-1] != SIZE).last_hidden_state[:, 0]

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n code"]:
        return self.head(self.embed(pixels))


def change_scene(rng: np.random.Generator, recipe: Recipe) -> Recipe:
    """The same object doing the same before another scene, still a clip of the suite's pool."""
    while True:
        light_x, light_y, exposure, pan_x, pan_y = np.round(rng.random(5), 4).tolist()
        other = replace(
            recipe,
            scene=int(rng.integers(len(SCENES))),
            light_x=light_x,
            light_y=light_y,
            exposure=round(0.85 + 0.25 * exposure, 4),
            pan_x=round(-0.12 + 0.24 * pan_x, 4),
            pan_y=round(-0.05 + 0.10 * pan_y, 4),
        )
        if not other.is_reserved:
            return other


def crop_frame(
    rng: np.random.Generator, frame: UInt8[np.ndarray, "h w 3"], area: tuple[float, float], size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """A random square crop, enlarged to `size`, mirrored half of the time, its colours shifted a little."""
    side = max(8, round(math.sqrt(rng.uniform(*area)) * len(frame)))
    top, left = rng.integers(len(frame) - side + 1, size=2)
    crop = frame[top : top + side, left : left + side]
    crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    if rng.random() < 0.8:
        gain, shift = rng.uniform(0.6, 1.4), rng.uniform(-40, 40, 3)
        crop = np.clip(crop * (gain * rng.uniform(0.75, 1.25, 3)) + shift, 0, 255).astype(np.uint8)
    if rng.random() < 0.15:
        crop = np.repeat(cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY)[..., None], 3, -1)
    return crop


def match_views(student: list[Float[Tensor, "n code"]], teacher: list[Float[Tensor, "n code"]]) -> Tensor:
    """Mean cross-entropy of finding, from a student view, the teacher's view of the same clip by another crop."""
    target = torch.arange(len(teacher[0]))
    losses = [
        F.cross_entropy(guess @ key.T / HEAT, target)
        for i, key in enumerate(teacher)
        for j, guess in enumerate(student)
        if i != j
    ]
    return torch.stack(losses).mean()


def vote_neighbours(
    known: Float[Tensor, "m d"], labels: Tensor, asked: Float[Tensor, "n d"], classes: int
) -> Float[Tensor, "n classes"]:
    """Weighted votes of the nearest neighbours by cosine, the paper's k-NN evaluation (weights exp(cosine / 0.07))."""
    cosines, nearest = (F.normalize(asked, dim=-1) @ F.normalize(known, dim=-1).T).topk(min(NEIGHBOURS, len(known)))
    votes = torch.zeros(len(asked), classes)
    return votes.scatter_add_(1, labels[nearest], (cosines / NEIGHBOUR_HEAT).exp())


def train_dino(folder: Path, *, seed: int = 0, steps: int = STEPS) -> None:
    """Train and save the teacher's ViT to `folder`; a draft is saved with every report."""
    rng = seed_training("dino", seed)
    student = Network(make_dino())
    teacher = copy.deepcopy(student).eval().requires_grad_(False)
    basis = draw_coarse_basis(rng)
    recipes = [draw_recipes(rng, 1000), draw_recipes(rng, 200)]
    known, asked = (to_pixels(render_frames(rng, part)) for part in recipes)
    labels = [torch.tensor([recipe.concept for recipe in part]) for part in recipes]

    def draw_views() -> list[Float[Tensor, "n 3 h w"]]:
        """Two large crops of each of a batch's clips, then the small ones."""
        recipes = draw_recipes(rng, BATCH)
        others = [change_scene(rng, one) if rng.random() < NEW_SCENE else one for one in recipes]
        large: list[list[np.ndarray]] = [[], []]
        small: list[list[np.ndarray]] = [[] for _ in range(SMALL_CROPS)]
        for pair in zip(render_frames(rng, recipes), render_frames(rng, others), strict=True):
            for which, views in enumerate(large):
                crop = crop_frame(rng, pair[which], LARGE_AREA, SIZE)
                views.append(degrade(rng, crop[None].copy(), basis)[0] if rng.random() < 0.5 else crop)
            for which, views in enumerate(small):
                views.append(crop_frame(rng, pair[which % 2], SMALL_AREA, SMALL))
        return [to_pixels(np.stack(views)) for views in (*large, *small)]

    def measure(step: int) -> Float[Tensor, ""]:
        views = draw_views()
        with torch.no_grad():
            targets = list(teacher(torch.cat(views[:2])).chunk(2))
        guesses = [*student(torch.cat(views[:2])).chunk(2), *student(torch.cat(views[2:])).chunk(SMALL_CROPS)]
        return match_views(guesses, targets)

    @torch.no_grad()
    def follow_student(step: int) -> None:
        momentum = 1 - (1 - MOMENTUM) * (1 + math.cos(math.pi * step / steps)) / 2
        for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
            slow.lerp_(fast, 1 - momentum)

    def report(step: int, loss: float) -> None:
        bank = torch.cat([teacher.embed(part) for part in known.split(100)])
        votes = vote_neighbours(bank, labels[0], teacher.embed(asked), len(CONCEPTS))
        right = (votes.argmax(1) == labels[1]).float().mean()
        say(f"dino: step {step}, loss {loss:.3f}, nearest neighbours: object {right:.3f}")
        save_half(copy.deepcopy(teacher.body), folder)
        make_frame_processor().save_pretrained(folder)

    optimiser = torch.optim.AdamW(student.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    train_steps(
        student, optimiser, measure, phase="training dino", steps=steps, report=report, every=REPORT_EVERY,
        after=follow_student,
    )  # fmt: skip
