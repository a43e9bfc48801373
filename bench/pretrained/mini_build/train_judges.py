"""Training of the `mini` judges: VideoMAE over object-action classes, ViT over object-scene classes.

Half of their training clips are degraded the way generators degrade them, because a judge that has only seen sharp
drawings calls a blurry cat no cat. Both learn two small heads (object and action, object and scene) which are then
folded exactly into the official linear classifier: the weight of class (a, b) is the sum of the two heads' weights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, VideoMAEImageProcessor, ViTImageProcessor

from bench.core.progress import say, track
from bench.core.seeds import derive_seed
from bench.datasets.phantom.stimuli import ACTIONS, SCENES
from bench.datasets.seed_dv.concepts import CONCEPTS
from bench.pretrained.mini_build.batches import (
    PatchBasis,
    degrade,
    draw_recipes,
    render_clips,
    render_frames,
    to_pixels,
)
from bench.pretrained.mini_build.networks import SIZE, make_frame_judge, make_video_judge
from bench.pretrained.mini_build.train_autoencoder import cosine

VIDEO_STEPS, VIDEO_BATCH = 4800, 16
FRAME_STEPS, FRAME_BATCH = 2800, 32
LEARNING_RATE, WEIGHT_DECAY, SMOOTHING = 1e-3, 0.05, 0.05
HALF = [0.5, 0.5, 0.5]


def fold_heads(
    first: Float[Tensor, "a h"], second: Float[Tensor, "b h"], biases: tuple[Tensor, Tensor]
) -> tuple[Float[Tensor, "ab h"], Float[Tensor, " ab"]]:
    """Weight and bias of the linear classifier whose logit of class a * B + b is the sum of both heads' logits."""
    weight = (first[:, None] + second[None]).flatten(0, 1)
    return weight, (biases[0][:, None] + biases[1][None]).flatten()


def _train(model: PreTrainedModel, name: str, steps: int, batch: int, second: int, seed: int, video: bool) -> None:
    rng = np.random.default_rng(derive_seed("suite", name, seed))
    objects = len(CONCEPTS)
    head = nn.Linear(model.config.hidden_size, objects + second)
    nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    model.classifier = head
    model.set_attn_implementation("eager")  # the fused CPU attention is slow in bf16
    basis = PatchBasis(render_frames(rng, draw_recipes(rng, 600)), 8, 16)

    def draw(count: int, worse: float) -> tuple[Tensor, Tensor]:
        recipes = draw_recipes(rng, count)
        images = render_clips(recipes) if video else render_frames(rng, recipes)[:, None]
        for index in np.flatnonzero(rng.random(count) < worse):
            images[index] = degrade(rng, images[index], basis)
        labels = [(recipe.concept, recipe.action if video else recipe.scene) for recipe in recipes]
        pixels = to_pixels(images)
        return pixels if video else pixels[:, 0], torch.tensor(labels)

    def right(pixels: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            objects_, others = model(pixels).logits.split([objects, second], dim=1)
        return torch.stack([objects_.argmax(1), others.argmax(1)], dim=1) == labels

    unseen = {"clean": draw(200, 0.0), "degraded": draw(200, 1.0)}
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: cosine(step, steps, warmup=200))
    model.train()
    for step in track(range(steps), f"training the {name}"):
        pixels, labels = draw(batch, 0.5)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(pixels).logits.float().split([objects, second], dim=1)
        losses = [F.cross_entropy(part, labels[:, k], label_smoothing=SMOOTHING) for k, part in enumerate(logits)]
        optimiser.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % 400 == 0:
            model.eval()
            for kind, batch_ in unseen.items():
                hits = right(*batch_)
                say(f"{name}: step {step + 1}, {kind}: object {hits[:, 0].float().mean():.3f}, other "
                    f"{hits[:, 1].float().mean():.3f}, both {hits.all(1).float().mean():.3f}")  # fmt: skip
            model.train()
    model.eval()
    classifier = nn.Linear(head.in_features, model.config.num_labels)
    (first, last), biases = head.weight.data.split([objects, second]), head.bias.data.split([objects, second])
    classifier.weight.data, classifier.bias.data = fold_heads(first, last, biases)
    model.classifier = classifier


def train_video_judge(folder: Path, *, seed: int = 0, steps: int = VIDEO_STEPS) -> None:
    """Train the VideoMAE classifier and save it with its image processor."""
    torch.manual_seed(derive_seed("suite", "video_judge", "weights", seed))
    model = make_video_judge()
    _train(model, "video_judge", steps, VIDEO_BATCH, len(ACTIONS), seed, video=True)
    model.half().save_pretrained(folder)
    crop = {"height": SIZE, "width": SIZE}
    processor = VideoMAEImageProcessor(size={"shortest_edge": SIZE}, crop_size=crop, image_mean=HALF, image_std=HALF)
    processor.save_pretrained(folder)


def train_frame_judge(folder: Path, *, seed: int = 0, steps: int = FRAME_STEPS) -> None:
    """Train the ViT classifier and save it with its image processor."""
    torch.manual_seed(derive_seed("suite", "frame_judge", "weights", seed))
    model = make_frame_judge()
    _train(model, "frame_judge", steps, FRAME_BATCH, len(SCENES), seed, video=False)
    model.half().save_pretrained(folder)
    size = {"height": SIZE, "width": SIZE}
    ViTImageProcessor(size=size, image_mean=HALF, image_std=HALF).save_pretrained(folder)
