"""Training of the `mini` CLIP: pictures and captions in one space, saved in open_clip's own format.

One frame and one caption of each clip make a pair; the loss is CLIP's symmetric cross-entropy over the batch (Radford
et al. 2021, figure 3). Half of the frames are degraded the way generators degrade them. Parts of the captions are left
out at random, so that a bare "a cat" is a caption too and zero-shot prompts need no template. Only a picture is seen,
so what a caption says of the action can hardly be learned: the card measures what was.

fp32 throughout: at these sizes attention in bfloat16 is slower on a CPU.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.progress import say, track
from bench.core.seeds import derive_seed
from bench.datasets.phantom.stimuli import ACTIONS, SCENE_PHRASES, Recipe
from bench.datasets.seed_dv.concepts import CONCEPTS
from bench.pretrained.mini_build.batches import PatchBasis, degrade, draw_recipes, render_frames, to_pixels
from bench.pretrained.mini_build.networks import CLIP_CONFIG, CLIP_PREPROCESSING, make_clip
from bench.pretrained.mini_build.train_autoencoder import cosine

STEPS, BATCH = 1500, 96
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.05
LARGEST_SCALE = float(np.log(100))  # of the logits, as in the paper
SAVE_EVERY = 250


def shorten_caption(rng: np.random.Generator, recipe: Recipe) -> str:
    """The clip's caption with parts left out: the action in half of them, each other part in a quarter."""
    size = "big" if recipe.size >= 0.63 else "small"
    tone = "bright" if recipe.brightness >= 0.975 else "dark"
    parts = (size, tone, CONCEPTS[recipe.concept], ACTIONS[recipe.action], SCENE_PHRASES[recipe.scene])
    kept = rng.random(5) >= (0.25, 0.25, 0, 0.5, 0.25)
    return " ".join(["a", *(part for part, keep in zip(parts, kept, strict=True) if keep)])


def save_clip(model: nn.Module, folder: Path) -> None:
    """`open_clip_config.json` and `open_clip_model.safetensors` in fp16, as open_clip's `local-dir:` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": CLIP_CONFIG, "preprocess_cfg": CLIP_PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n")
    weights = {name: weight.detach().half().contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


def train_clip(folder: Path, *, seed: int = 0, steps: int = STEPS) -> None:
    """Train and save to `folder`; a draft is saved every few hundred steps."""
    torch.manual_seed(derive_seed("suite", "clip", "weights", seed))
    rng = np.random.default_rng(derive_seed("suite", "clip", seed))
    model = make_clip()
    tokenizer = open_clip.SimpleTokenizer(context_length=CLIP_CONFIG["text_cfg"]["context_length"])
    basis = PatchBasis(render_frames(rng, draw_recipes(rng, 600)), 8, 16)

    def draw(count: int, worse: float) -> tuple[Tensor, Tensor, Tensor]:
        recipes = draw_recipes(rng, count)
        images = render_frames(rng, recipes)
        for index in np.flatnonzero(rng.random(count) < worse):
            images[index] = degrade(rng, images[index, None], basis)[0]
        captions = tokenizer([shorten_caption(rng, recipe) for recipe in recipes])
        return to_pixels(images), captions, torch.tensor([recipe.concept for recipe in recipes])

    unseen = {"clean": draw(200, 0.0), "degraded": draw(200, 1.0)}
    prompts = tokenizer([f"a {concept}" for concept in CONCEPTS])
    plain = [weight for weight in model.parameters() if weight.ndim < 2]
    plain.append(model.token_embedding.weight)  # decay would shrink the words that no caption of a step uses
    decayed = [weight for weight in model.parameters() if all(weight is not other for other in plain)]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: cosine(step, steps))
    model.train()
    for step in track(range(steps), "training clip"):
        pixels, captions, _ = draw(BATCH, 0.5)
        images = model.encode_image(pixels, normalize=True)
        texts = model.encode_text(captions, normalize=True)
        logits = model.logit_scale.exp() * images @ texts.T
        target = torch.arange(BATCH)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        model.logit_scale.data.clamp_(0, LARGEST_SCALE)
        if (step + 1) % SAVE_EVERY == 0:
            model.eval()
            with torch.inference_mode():
                names = model.encode_text(prompts, normalize=True)
                for kind, (pixels, _, concepts) in unseen.items():
                    right = (model.encode_image(pixels, normalize=True) @ names.T).argmax(1) == concepts
                    say(f"clip: step {step + 1}, loss {loss.item():.3f}, {kind}: object {right.float().mean():.3f}")
            save_clip(model, folder)
            model.train()
    save_clip(model.eval(), folder)
