"""Training of the `mini` X-CLIP: clips and the names of what happens in them in one space.

As X-CLIP was trained (Ni et al. 2022): cross-entropy over the texts that a clip may be, each text made to fit the clip
by the prompt generator. A batch holds a few objects that each do several things, so that the action decides. Half of
the clips are degraded the way generators degrade them; eight frames are taken evenly from six, as at inference.

Texts alone taught objects and no action (chance after 1,200 steps, and after 600 with heads on the embedding). So three
linear heads learn beside them and are thrown away: object and action from the embedding, and from each frame where,
how large and how tilted the object is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import VideoMAEImageProcessor

from bench.core.progress import say, track
from bench.core.seeds import derive_seed
from bench.datasets.phantom.stimuli import ACTIONS, FRAME_TIMES, VIDEO_CLASSES, describe, draw_recipe, pose_object
from bench.datasets.seed_dv.concepts import CONCEPTS
from bench.pretrained.mini_build.batches import (
    PatchBasis,
    degrade,
    draw_recipes,
    render_clips,
    render_frames,
    to_pixels,
)
from bench.pretrained.mini_build.networks import SIZE, make_tokenizer
from bench.pretrained.mini_build.train_autoencoder import cosine
from bench.pretrained.mini_build.train_judges import HALF
from bench.pretrained.mini_build.wan_networks import ACTION_FRAMES, make_action_encoder

STEPS, OBJECTS, EACH = 2400, 6, 5  # EACH actions of OBJECTS objects make a batch
LEARNING_RATE, WEIGHT_DECAY = 8e-4, 0.05
HEAD_SCALE, POSE_WEIGHT = 10.0, 4.0  # embeddings are of unit length
REPORT_EVERY = 300
PICKED = np.linspace(0, len(FRAME_TIMES) - 1, ACTION_FRAMES).round().astype(int)


def train_action_encoder(folder: Path, *, seed: int = 0, steps: int = STEPS) -> None:
    """Train and save with its tokenizer and image processor; a draft is saved with every report."""
    rng = np.random.default_rng(derive_seed("suite", "action", seed))
    torch.manual_seed(derive_seed("suite", "action", "weights", seed))
    tokenizer = make_tokenizer(sorted({describe(recipe) for recipe in draw_recipes(rng, 4000)}))
    model = make_action_encoder(tokenizer).train()
    basis = PatchBasis(render_frames(rng, draw_recipes(rng, 600)), 8, 16)

    def tokenize(texts: list[str]) -> Int[Tensor, "n token"]:
        return tokenizer(texts, padding=True, return_tensors="pt").input_ids

    def draw(pairs: list[tuple[int, int]], worse: float) -> tuple[Tensor, Tensor]:
        """Pixels, and the object's pose in each frame."""
        recipes = [draw_recipe(rng, concept, action, pool="suite") for concept, action in pairs]
        video = render_clips(recipes)
        poses = [[pose_object(recipe, time) for time in FRAME_TIMES[PICKED]] for recipe in recipes]
        x, y, scale, angle = torch.tensor(poses, dtype=torch.float32).movedim(-1, 0)
        pose = torch.stack([4 * x, 4 * y, 4 * scale - 2.5, angle.cos(), angle.sin()], dim=-1)  # of about unit size
        for index in np.flatnonzero(rng.random(len(pairs)) < worse):
            video[index] = degrade(rng, video[index], basis)
        return to_pixels(video[:, PICKED]), pose

    tested = [(int(rng.integers(len(CONCEPTS))), index % len(ACTIONS)) for index in range(200)]
    unseen = {kind: draw(tested, worse)[0] for kind, worse in (("clean", 0.0), ("degraded", 1.0))}
    own = [tokenize([VIDEO_CLASSES[concept * len(ACTIONS) + a] for a in range(len(ACTIONS))]) for concept, _ in tested]

    @torch.no_grad()
    def report(step: int) -> None:
        model.eval()
        for kind, video in unseen.items():
            right = [
                int(model(input_ids=texts, pixel_values=clip[None]).logits_per_video.argmax()) == action
                for clip, texts, (_, action) in zip(video, own, tested, strict=True)
            ]
            say(f"action: step {step}, loss {loss.item():.3f}, {kind}: action among ten {np.mean(right):.3f}")
        say(f"action: step {step}, pose error {F.mse_loss(found, pose).item():.3f}")
        model.half().save_pretrained(folder)
        model.float().train()

    heads = nn.ModuleList(nn.Linear(model.config.projection_dim, len(names)) for names in (CONCEPTS, ACTIONS))
    place = nn.Linear(model.config.vision_config.hidden_size, 5)
    trained = [*model.parameters(), *heads.parameters(), *place.parameters()]
    optimiser = torch.optim.AdamW(trained, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: cosine(step, steps))
    for step in track(range(steps), "training X-CLIP"):
        pairs = [
            (int(concept), int(action))
            for concept in rng.choice(len(CONCEPTS), OBJECTS, replace=False)
            for action in rng.choice(len(ACTIONS), EACH, replace=False)
        ]
        texts = tokenize([VIDEO_CLASSES[concept * len(ACTIONS) + action] for concept, action in pairs])
        pixels, pose = draw(pairs, 0.5)
        seen = model(input_ids=texts, pixel_values=pixels)
        loss = F.cross_entropy(seen.logits_per_video, torch.arange(len(pairs)))
        for head, labels in zip(heads, torch.tensor(pairs).T, strict=True):
            loss = loss + F.cross_entropy(head(HEAD_SCALE * seen.video_embeds), labels)
        found = place(seen.vision_model_output.pooler_output).unflatten(0, pose.shape[:2])
        loss = loss + POSE_WEIGHT * F.mse_loss(found, pose)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        model.logit_scale.data.clamp_(0, float(np.log(100)))
        if (step + 1) % REPORT_EVERY == 0 or step + 1 == steps:
            report(step + 1)
    crop = {"height": SIZE, "width": SIZE}
    processor = VideoMAEImageProcessor(size={"shortest_edge": SIZE}, crop_size=crop, image_mean=HALF, image_std=HALF)
    processor.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
