"""Training of the `mini` CLIP and X-CLIP: pictures, or clips, in one space with texts.

CLIP, saved in open_clip's own format, learns in two steps. Texts first: the words of each kind (concepts, scenes,
actions, sizes, tones) are given vectors that stand as far apart as they can, those of two kinds at right angles, and a
caption is to be the sum of its words' vectors. Parts of the captions are left out at random and what they begin with
varies, so that a bare "a cat" is a caption too and prompts may be worded in many ways. Then pictures, with the texts
locked (Zhai et al. 2022, LiT): one frame and its clip's caption make a pair; the loss is CLIP's symmetric cross-entropy
over the batch (Radford et al. 2021, figure 3) and the distance of the two, in which kinds of words are half equalised
(without that, sizes and tones are learned last: .68 and .75 of clips right after 800 steps). One picture cannot
show the action, so its embedding has none.

Training both at once by the cross-entropy alone (1,500 steps of 96) told all concepts apart, but 99 % of the variance
of captions lay in 13 directions, and a ridge from the brain, which shrinks what it cannot see, lost two thirds of what
a ridge to labels finds. `SHARES` says how much of a caption each kind of word is. Concepts have most of it: with an
ideal space (sums of such vectors) and linear responses, a ridge read by the nearest caption loses at most 3 points of
100 where they have .85 of it, 4 at .80, 7 at .60 and 14 at .40 (three seeds, fMRI and EEG).

`suite build mini --only clip` takes twelve minutes of one core. Which of two like clips a caption means is told a
little less well than by the joint training (the card has both); what a concept is called matters less.

X-CLIP (Ni et al. 2022): cross-entropy over the texts that a clip may be, each text made to fit the clip by the prompt
generator. A batch holds a few objects that each do several things, so that the action decides. Eight frames are taken
evenly from six, as at inference. Texts alone taught objects and no action (chance after 1,200 steps, and after 600
with heads on the embedding). So three linear heads learn beside them and are thrown away: object and action from the
embedding, and from each frame where, how large and how tilted the object is.

Half of all frames and clips are degraded the way generators degrade them. CLIP's pictures are learned in bfloat16, all
else in fp32.
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
from torch.nn.attention import SDPBackend, sdpa_kernel
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

TEXT_STEPS, TEXT_BATCH, TEXT_RATE = 600, 256, 2e-3
CLIP_STEPS, CLIP_BATCH, CLIP_RATE, CLIP_REPORT_EVERY = 2000, 64, 1e-3, 200
DISTANCE_WEIGHT = 4.0
WORDS = {  # in the order of a caption
    "size": ("big", "small"),
    "tone": ("bright", "dark"),
    "concept": CONCEPTS,
    "action": ACTIONS,
    "scene": SCENE_PHRASES,
}
SHARES = {"size": 0.02, "tone": 0.02, "concept": 0.85, "action": 0.04, "scene": 0.07}  # of a caption's squared length
LEFT_OUT = {"size": 0.3, "tone": 0.3, "concept": 0.0, "action": 0.4, "scene": 0.3}  # chance of each kind of word
OPENINGS = ("a", "a", "a", "the", "a video of a", "a photo of a", "")
ACTION_STEPS, ACTION_RATE, ACTION_REPORT_EVERY = 2400, 8e-4, 300
OBJECTS, EACH = 6, 5  # EACH actions of OBJECTS objects make a batch of X-CLIP
WEIGHT_DECAY = 0.05
LARGEST_SCALE = float(np.log(100))  # of the logits, as in CLIP's paper
HEAD_SCALE, POSE_WEIGHT = 10.0, 4.0  # embeddings are of unit length
Vectors = dict[str, Float[np.ndarray, "word width"]]  # by kind of words
PICKED = np.linspace(0, len(FRAME_TIMES) - 1, ACTION_FRAMES).round().astype(int)


def spread_words(rng: np.random.Generator, width: int) -> Vectors:
    """A vector for each word: those of one kind form a regular simplex about the origin, kinds are at right angles.

    The squared length is the kind's share, so that a whole caption has unit length. `width` is at least the sum of the
    kinds' numbers of words, less one each.
    """
    axes = np.linalg.qr(rng.standard_normal((width, width)))[0]
    vectors, used = {}, 0
    for kind, words in WORDS.items():
        count = len(words)
        corners = np.linalg.svd(np.eye(count) - 1 / count)[0][:, : count - 1] * np.sqrt(
            SHARES[kind] * count / (count - 1)
        )
        vectors[kind] = corners @ axes[used : used + count - 1]
        used += count - 1
    return vectors


def equalise(vectors: Vectors) -> Float[Tensor, "width width"]:
    """A symmetric map that brings the lengths of all kinds of words half way to that of a whole caption, in logarithms.

    Directions of no word stay as they are.
    """
    longer = np.eye(next(iter(vectors.values())).shape[1])
    for kind, some in vectors.items():
        axes = np.linalg.svd(some)[2][: len(some) - 1]
        longer += (SHARES[kind] ** -0.25 - 1) * axes.T @ axes
    return torch.from_numpy(longer).float()


def draw_texts(
    rng: np.random.Generator, count: int, vectors: Vectors
) -> tuple[list[str], Float[Tensor, "count width"]]:
    """Captions of which parts are left out, and the direction of the sum of their words' vectors."""
    texts, targets = [], []
    for _ in range(count):
        said, total = [str(rng.choice(OPENINGS))], np.zeros(next(iter(vectors.values())).shape[1])
        for kind, words in WORDS.items():
            if rng.random() >= LEFT_OUT[kind]:
                word = int(rng.integers(len(words)))
                said.append(words[word])
                total += vectors[kind][word]
        texts.append(" ".join(said).strip())
        targets.append(total / np.linalg.norm(total))
    return texts, torch.from_numpy(np.stack(targets)).float()


def save_clip(model: nn.Module, folder: Path) -> None:
    """`open_clip_config.json` and `open_clip_model.safetensors` in fp16, as open_clip's `local-dir:` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": CLIP_CONFIG, "preprocess_cfg": CLIP_PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    weights = {name: weight.detach().half().contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


def train_clip(folder: Path, *, seed: int = 0, steps: int = CLIP_STEPS, text_steps: int = TEXT_STEPS) -> None:
    """Train and save to `folder`; a draft is saved with every report."""
    rng = seed_training("clip", seed)
    model = make_clip()
    tokenizer = SimpleTokenizer(context_length=CLIP_CONFIG["text_cfg"]["context_length"])
    vectors = spread_words(rng, CLIP_CONFIG["embed_dim"])
    train_texts(model, tokenizer, vectors, rng, text_steps)
    train_pictures(model, tokenizer, vectors, rng, steps, folder)


def train_texts(
    model: CLIP, tokenizer: SimpleTokenizer, vectors: Vectors, rng: np.random.Generator, steps: int
) -> None:
    """Teach the text tower, in place, to give each caption the sum of its words' vectors."""
    unseen, places = draw_texts(rng, 1000, vectors)

    def measure(step: int) -> Float[Tensor, ""]:
        texts, targets = draw_texts(rng, TEXT_BATCH, vectors)
        return (model.encode_text(tokenizer(texts)) - targets).square().sum(dim=1).mean()

    def report(step: int, loss: float) -> None:
        error = (model.encode_text(tokenizer(unseen)) - places).square().sum(dim=1).mean()
        say(f"clip, texts: step {step}, loss {loss:.4f}, unseen {error:.4f}")

    words = model.token_embedding.weight  # decay would shrink the words that no caption of a step uses
    weights = [weight for name, weight in model.named_parameters() if not name.startswith("visual.")]
    train_steps(
        model, make_optimiser(weights, TEXT_RATE, kept=words), measure, phase="training clip's texts", steps=steps,
        report=report, every=CLIP_REPORT_EVERY,
    )  # fmt: skip


def train_pictures(
    model: CLIP, tokenizer: SimpleTokenizer, vectors: Vectors, rng: np.random.Generator, steps: int, folder: Path
) -> None:
    """Teach the image tower, in place, to meet the texts, which stay as they are."""
    ruler = equalise(vectors)
    basis = draw_coarse_basis(rng)

    def draw(count: int, worse: float) -> tuple[Float[Tensor, "n 3 h w"], list[Recipe]]:
        """Pixels and recipes of new clips."""
        recipes = draw_recipes(rng, count)
        images = render_frames(rng, recipes)
        degrade_some(rng, images[:, None], worse, basis)
        return to_pixels(images), recipes

    def read(texts: Sequence[str]) -> Float[Tensor, "n d"]:
        with torch.no_grad():
            return model.encode_text(tokenizer(list(texts)), normalize=True)

    def measure(step: int) -> Float[Tensor, ""]:
        pixels, recipes = draw(CLIP_BATCH, 0.5)
        texts = read([describe(recipe) for recipe in recipes])
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):  # the fused attention is slow in bf16
            images = model.encode_image(pixels)
        images = images.float()
        logits = model.logit_scale.exp() * F.normalize(images, dim=1) @ texts.T
        target = torch.arange(len(recipes))
        distance = ((images - texts) @ ruler).square().sum(dim=1).mean()
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2 + DISTANCE_WEIGHT * distance

    def report(step: int, loss: float) -> None:
        names = read([f"a {concept}" for concept in CONCEPTS])
        for kind, (pixels, recipes) in unseen.items():
            seen = model.encode_image(pixels)
            texts = read([describe(recipe) for recipe in recipes])
            right = (seen @ names.T).argmax(1) == torch.tensor([recipe.concept for recipe in recipes])
            found = (texts @ F.normalize(seen, dim=1).T).argmax(1) == torch.arange(len(recipes))
            distance = (seen - texts).square().sum(dim=1).mean()
            say(f"clip: step {step}, loss {loss:.3f}, {kind}: object {right.float().mean():.3f}, clip of a caption "
                f"among {len(recipes)} {found.float().mean():.3f}, distance {distance:.3f}")  # fmt: skip
        save_clip(model, folder)

    unseen = {"clean": draw(200, 0.0), "degraded": draw(200, 1.0)}
    weights = [*model.visual.parameters(), model.logit_scale]
    train_steps(
        model, make_optimiser(weights, CLIP_RATE), measure, phase="training clip's pictures", steps=steps,
        report=report, every=CLIP_REPORT_EVERY, after=lambda step: clamp_scale(model),
    )  # fmt: skip


def make_optimiser(weights: Sequence[nn.Parameter], rate: float, kept: Tensor | None = None) -> torch.optim.AdamW:
    """AdamW that decays matrices alone, and not `kept`."""
    decays = [(WEIGHT_DECAY if weight.ndim >= 2 and weight is not kept else 0.0) for weight in weights]
    groups = [{"params": [weight], "weight_decay": decay} for weight, decay in zip(weights, decays, strict=True)]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


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
