"""Training of the `mini` CLIP and X-CLIP: pictures, or clips, in one space with texts.

CLIP, saved in open_clip's own format: one frame and one caption of each clip make a pair; the loss is the symmetric
cross-entropy over the batch (Radford et al. 2021, figure 3). Parts of the captions are left out at random, so that a
bare "a cat" is a caption too and zero-shot prompts need no template. Only a picture is seen, so what a caption says of
the action can hardly be learned: the card measures what was.

X-CLIP (Ni et al. 2022): cross-entropy over the texts that a clip may be, each text made to fit the clip by the prompt
generator. A batch holds a few objects that each do several things, so that the action decides. Eight frames are taken
evenly from six, as at inference. Texts alone taught objects and no action (chance after 1,200 steps, and after 600
with heads on the embedding). So three linear heads learn beside them and are thrown away: object and action from the
embedding, and from each frame where, how large and how tilted the object is.

Half of all frames and clips are degraded the way generators degrade them. fp32 throughout: at these sizes attention in
bfloat16 is slower on a CPU.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from open_clip import CLIP, SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import XCLIPModel
from transformers.models.x_clip.modeling_x_clip import XCLIPOutput

from bench.core.progress import say
from bench.datasets.phantom.stimuli import (
    ACTIONS,
    FRAME_TIMES,
    SCENE_PHRASES,
    VIDEO_CLASSES,
    Recipe,
    describe,
    draw_recipe,
    pose_object,
)
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
    ACTION_FRAMES,
    CLIP_CONFIG,
    CLIP_PREPROCESSING,
    make_action_encoder,
    make_clip,
    make_clip_processor,
    make_tokenizer,
)
from bench.pretrained.mini_build.training import save_half, seed_training, train_steps

CLIP_STEPS, CLIP_BATCH, CLIP_RATE, CLIP_REPORT_EVERY = 1500, 96, 1e-3, 250
ACTION_STEPS, ACTION_RATE, ACTION_REPORT_EVERY = 2400, 8e-4, 300
OBJECTS, EACH = 6, 5  # EACH actions of OBJECTS objects make a batch of X-CLIP
WEIGHT_DECAY = 0.05
LARGEST_SCALE = float(np.log(100))  # of the logits, as in CLIP's paper
HEAD_SCALE, POSE_WEIGHT = 10.0, 4.0  # embeddings are of unit length
PICKED = np.linspace(0, len(FRAME_TIMES) - 1, ACTION_FRAMES).round().astype(int)


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
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    weights = {name: weight.detach().half().contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


def train_clip(folder: Path, *, seed: int = 0, steps: int = CLIP_STEPS) -> None:
    """Train and save to `folder`; a draft is saved with every report."""
    rng = seed_training("clip", seed)
    model = make_clip()
    tokenizer = SimpleTokenizer(context_length=CLIP_CONFIG["text_cfg"]["context_length"])
    basis = draw_coarse_basis(rng)

    def draw(count: int, worse: float) -> tuple[Float[Tensor, "n 3 h w"], Int[Tensor, "n token"], Int[Tensor, " n"]]:
        """Pixels, captions and concepts of new clips."""
        recipes = draw_recipes(rng, count)
        images = render_frames(rng, recipes)
        degrade_some(rng, images[:, None], worse, basis)
        captions = tokenizer([shorten_caption(rng, recipe) for recipe in recipes])
        return to_pixels(images), captions, torch.tensor([recipe.concept for recipe in recipes])

    def measure(step: int) -> Float[Tensor, ""]:
        pixels, captions, _ = draw(CLIP_BATCH, 0.5)
        images = model.encode_image(pixels, normalize=True)
        texts = model.encode_text(captions, normalize=True)
        logits = model.logit_scale.exp() * images @ texts.T
        target = torch.arange(CLIP_BATCH)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    def report(step: int, loss: float) -> None:
        names = model.encode_text(prompts, normalize=True)
        for kind, (pixels, _, concepts) in unseen.items():
            right = (model.encode_image(pixels, normalize=True) @ names.T).argmax(1) == concepts
            say(f"clip: step {step}, loss {loss:.3f}, {kind}: object {right.float().mean():.3f}")
        save_clip(model, folder)

    unseen = {"clean": draw(200, 0.0), "degraded": draw(200, 1.0)}
    prompts = tokenizer([f"a {concept}" for concept in CONCEPTS])
    words = model.token_embedding.weight  # decay would shrink the words that no caption of a step uses
    groups = [
        {"params": [weight], "weight_decay": 0.0 if weight.ndim < 2 or weight is words else WEIGHT_DECAY}
        for weight in model.parameters()
    ]
    train_steps(
        model, torch.optim.AdamW(groups, lr=CLIP_RATE, betas=(0.9, 0.98)), measure, phase="training clip", steps=steps,
        report=report, every=CLIP_REPORT_EVERY, after=lambda step: clamp_scale(model),
    )  # fmt: skip


def train_action_encoder(folder: Path, *, seed: int = 0, steps: int = ACTION_STEPS) -> None:
    """Train X-CLIP and save it with its tokenizer and image processor; a draft is saved with every report."""
    rng = seed_training("action", seed)
    tokenizer = make_tokenizer(sorted({describe(recipe) for recipe in draw_recipes(rng, 4000)}))
    model = make_action_encoder(tokenizer)
    basis = draw_coarse_basis(rng)

    def tokenize(pairs: Sequence[tuple[int, int]]) -> Int[Tensor, "n token"]:
        """The names of object-action classes."""
        names = [VIDEO_CLASSES[concept * len(ACTIONS) + action] for concept, action in pairs]
        return tokenizer(names, padding=True, return_tensors="pt").input_ids

    def draw(
        pairs: Sequence[tuple[int, int]], worse: float
    ) -> tuple[Float[Tensor, "n 8 3 h w"], Float[Tensor, "n 8 5"]]:
        """Pixels, and the object's pose in each frame: of about unit size."""
        recipes = [draw_recipe(rng, concept, action, pool="suite") for concept, action in pairs]
        video = render_clips(recipes)
        poses = [[pose_object(recipe, time) for time in FRAME_TIMES[PICKED]] for recipe in recipes]
        x, y, scale, angle = torch.tensor(poses, dtype=torch.float32).movedim(-1, 0)
        degrade_some(rng, video, worse, basis)
        pose = torch.stack([4 * x, 4 * y, 4 * scale - 2.5, angle.cos(), angle.sin()], dim=-1)
        return to_pixels(video[:, PICKED]), pose

    tested = [(int(rng.integers(len(CONCEPTS))), index % len(ACTIONS)) for index in range(200)]
    unseen = {"clean": draw(tested, 0.0), "degraded": draw(tested, 1.0)}
    choices = [tokenize([(concept, action) for action in range(len(ACTIONS))]) for concept, _ in tested]
    heads = nn.ModuleList(nn.Linear(model.config.projection_dim, len(names)) for names in (CONCEPTS, ACTIONS))
    place = nn.Linear(model.config.vision_config.hidden_size, 5)

    def measure(step: int) -> Float[Tensor, ""]:
        pairs = [
            (int(concept), int(action))
            for concept in rng.choice(len(CONCEPTS), OBJECTS, replace=False)
            for action in rng.choice(len(ACTIONS), EACH, replace=False)
        ]
        texts = tokenize(pairs)
        pixels, pose = draw(pairs, 0.5)
        seen = model(input_ids=texts, pixel_values=pixels)
        loss = F.cross_entropy(seen.logits_per_video, torch.arange(len(pairs)))
        for head, labels in zip(heads, torch.tensor(pairs).T, strict=True):
            loss = loss + F.cross_entropy(head(HEAD_SCALE * seen.video_embeds), labels)
        return loss + POSE_WEIGHT * F.mse_loss(find_pose(seen), pose)

    def find_pose(seen: XCLIPOutput) -> Float[Tensor, "n 8 5"]:
        return place(seen.vision_model_output.pooler_output).unflatten(0, (-1, ACTION_FRAMES))

    def report(step: int, loss: float) -> None:
        for kind, (video, poses) in unseen.items():
            right, errors = [], []
            for clip, pose, texts, (_, action) in zip(video, poses, choices, tested, strict=True):
                seen = model(input_ids=texts, pixel_values=clip[None])
                right.append(int(seen.logits_per_video.argmax()) == action)
                errors.append(F.mse_loss(find_pose(seen)[0], pose).item())
            say(f"action: step {step}, loss {loss:.3f}, {kind}: action among ten {np.mean(right):.3f}, "
                f"pose error {np.mean(errors):.3f}")  # fmt: skip
        save_half(model, folder)

    trained = [*model.parameters(), *heads.parameters(), *place.parameters()]
    train_steps(
        model, torch.optim.AdamW(trained, lr=ACTION_RATE, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY), measure,
        phase="training X-CLIP", steps=steps, report=report, every=ACTION_REPORT_EVERY,
        after=lambda step: clamp_scale(model),
    )  # fmt: skip
    make_clip_processor().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def clamp_scale(model: CLIP | XCLIPModel) -> None:
    model.logit_scale.data.clamp_(0, LARGEST_SCALE)
