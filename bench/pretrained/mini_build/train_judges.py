"""Training of the `mini` judges: VideoMAE over object-action classes, ViT over object-scene classes.

Half of their training clips are degraded the way generators degrade them, because a judge that has only seen sharp
drawings calls a blurry cat no cat. Both learn two small heads (object and action, object and scene) which are then
folded exactly into the official linear classifier: the weight of class (a, b) is the sum of the two heads' weights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from bench.core.progress import say
from bench.datasets.phantom.stimuli import ACTIONS, SCENES
from bench.datasets.seed_dv.concepts import CONCEPTS
from bench.pretrained.mini_build.batches import (
    degrade_some,
    draw_coarse_basis,
    draw_recipes,
    render_clips,
    render_frames,
    to_pixels,
)
from bench.pretrained.mini_build.networks import (
    make_clip_processor,
    make_frame_judge,
    make_frame_processor,
    make_video_judge,
)
from bench.pretrained.mini_build.training import save_half, seed_training, train_steps

VIDEO_STEPS, VIDEO_BATCH = 4800, 16
FRAME_STEPS, FRAME_BATCH = 2800, 32
LEARNING_RATE, WEIGHT_DECAY, SMOOTHING, WARMUP = 1e-3, 0.05, 0.05, 200
REPORT_EVERY = 400


def fold_heads(
    first: Float[Tensor, "a h"], second: Float[Tensor, "b h"], biases: tuple[Tensor, Tensor]
) -> tuple[Float[Tensor, "ab h"], Float[Tensor, " ab"]]:
    """Weight and bias of the linear classifier whose logit of class a * B + b is the sum of both heads' logits."""
    weight = (first[:, None] + second[None]).flatten(0, 1)
    return weight, (biases[0][:, None] + biases[1][None]).flatten()


def train_video_judge(folder: Path, *, seed: int = 0, steps: int = VIDEO_STEPS) -> None:
    """Train the VideoMAE classifier and save it with its image processor."""
    rng = seed_training("video_judge", seed)
    model = make_video_judge()
    fit_judge(model, "video_judge", len(ACTIONS), steps, VIDEO_BATCH, rng)
    save_half(model, folder)
    make_clip_processor().save_pretrained(folder)


def train_frame_judge(folder: Path, *, seed: int = 0, steps: int = FRAME_STEPS) -> None:
    """Train the ViT classifier and save it with its image processor."""
    rng = seed_training("frame_judge", seed)
    model = make_frame_judge()
    fit_judge(model, "frame_judge", len(SCENES), steps, FRAME_BATCH, rng)
    save_half(model, folder)
    make_frame_processor().save_pretrained(folder)


def fit_judge(model: PreTrainedModel, role: str, others: int, steps: int, batch: int, rng: np.random.Generator) -> None:
    """Train a classifier of objects and `others` more classes in place: actions of clips, or scenes of frames."""
    video, parts = role == "video_judge", [len(CONCEPTS), others]
    head = nn.Linear(model.config.hidden_size, sum(parts))
    nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    model.classifier = head
    model.set_attn_implementation("eager")  # the fused CPU attention is slow in bf16
    basis = draw_coarse_basis(rng)

    def draw(count: int, worse: float) -> tuple[Float[Tensor, "n ... 3 h w"], Int[Tensor, "n 2"]]:
        recipes = draw_recipes(rng, count)
        images = render_clips(recipes) if video else render_frames(rng, recipes)[:, None]
        degrade_some(rng, images, worse, basis)
        labels = [(recipe.concept, recipe.action if video else recipe.scene) for recipe in recipes]
        return to_pixels(images if video else images[:, 0]), torch.tensor(labels)

    def classify(pixels: Float[Tensor, "n ... 3 h w"]) -> tuple[Float[Tensor, "n objects"], Float[Tensor, "n others"]]:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(pixels).logits
        return logits.float().split(parts, dim=1)

    def measure(step: int) -> Float[Tensor, ""]:
        pixels, labels = draw(batch, 0.5)
        pairs = zip(classify(pixels), labels.T, strict=True)
        return torch.stack([F.cross_entropy(*pair, label_smoothing=SMOOTHING) for pair in pairs]).sum()

    def report(step: int, loss: float) -> None:
        for kind, (pixels, labels) in unseen.items():
            hits = torch.stack([logits.argmax(1) for logits in classify(pixels)], dim=1) == labels
            objects, other = hits.float().mean(0)
            both = hits.all(1).float().mean()
            say(f"{role}: step {step}, {kind}: object {objects:.3f}, other {other:.3f}, both {both:.3f}")

    unseen = {"clean": draw(200, 0.0), "degraded": draw(200, 1.0)}
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    train_steps(
        model, optimiser, measure, phase=f"training the {role}", steps=steps, report=report, every=REPORT_EVERY,
        warmup=WARMUP,
    )  # fmt: skip
    classifier = nn.Linear(head.in_features, model.config.num_labels)
    (first, second), biases = head.weight.data.split(parts), head.bias.data.split(parts)
    classifier.weight.data, classifier.bias.data = fold_heads(first, second, biases)
    model.classifier = classifier
