"""Training of the `mini` Wan: the autoencoder, and the transformer with its text encoder.

The latents are fixed before anything is trained: half whitened principal components of 8 x 8 patches of the first
frame, and of patches that last four frames for those after it (`LatentBasis`). The autoencoder's encoder is regressed
on them and its decoder learns to draw from them, which a convolutional decoder does better than the components' own
linear one. So the transformer needs no trained autoencoder, and both can be trained side by side.

The transformer and the text encoder learn together, by flow matching with Wan's shift of 3 (the velocity from clip to
noise, `bench/pretrained/decoders.py`), in float32, because attention in bf16 is slow on a CPU. What is saved is
the moving average of the weights. The loss says little: the share of clips whose object and action the video judge
recognises is reported instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from bench.core.progress import say, track
from bench.core.seeds import derive_seed
from bench.datasets.phantom.stimuli import ACTIONS, CLIP_SECONDS, FRAME_TIMES, SCENE_PHRASES, Recipe, describe, render
from bench.datasets.seed_dv.concepts import CONCEPTS
from bench.pretrained.mini_build.batches import PatchBasis, draw_recipes, to_pixels
from bench.pretrained.mini_build.networks import (
    FACTOR,
    WAN_CHANNELS,
    WAN_FRAMES,
    WAN_LATENT,
    make_wan_autoencoder,
    make_wan_text_encoder,
    make_wan_tokenizer,
    make_wan_transformer,
)
from bench.pretrained.mini_build.training import (
    measure_psnr,
    pixel_loss,
    sample_guided,
    save_half,
    seed_training,
    train_steps,
)

AUTOENCODER_STEPS, DECODER_STEPS, AUTOENCODER_BATCH, AUTOENCODER_RATE = 1200, 1800, 4, 2e-3
STEPS, BATCH, RATE, WARMUP, HOLD = 4000, 32, 1.5e-3, 200, 0.4
CLIPS = 12_000  # in the pool of latents
CAPTION_DROPOUT, SHIFT = 0.1, 3.0
ENCODER_WEIGHT = 1.0  # of the encoder's regression beside the decoder's error
LATENT_NOISE = 0.03  # on the components that the decoder sees: the encoder is not exact
AUTOENCODER_REPORT_EVERY, REPORT_EVERY = 200, 500
WAN_TOKENS = 16
PICKED = np.linspace(0, len(FRAME_TIMES) - 1, WAN_FRAMES).round().astype(int)  # of six frames, as a method brings them


class LatentBasis:
    """The latents of nine frames: 16 components of the first frame's patches, 16 of those of each four that follow."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(derive_seed("suite", "wan", "basis", seed))
        video = draw_clips(rng, draw_recipes(rng, 800))
        self.first = PatchBasis(video[:, 0], FACTOR, WAN_CHANNELS)
        self.after = PatchBasis(np.concatenate([stack_four(video, part) for part in (0, 1)]), FACTOR, WAN_CHANNELS)
        self.scale = 1.0
        self.scale = float(self.encode(video).std())

    def encode(self, video: UInt8[np.ndarray, "n 9 h w 3"]) -> Float[Tensor, "n 16 3 y x"]:
        """Of unit variance over everything; colour and layout keep most of it."""
        parts = [self.first.half_whiten(to_pixels(video[:, 0]))]
        parts += [self.after.half_whiten(to_pixels(stack_four(video, part))) for part in (0, 1)]
        return torch.stack(parts, dim=2) / self.scale


def stack_four(video: UInt8[np.ndarray, "n 9 h w 3"], part: int) -> UInt8[np.ndarray, "n h w 12"]:
    """The `part`-th four frames after the first, in the channels."""
    four = video[:, 1 + 4 * part : 5 + 4 * part]
    return np.ascontiguousarray(np.moveaxis(four, 1, 3)).reshape(len(four), *four.shape[2:4], 12)


def draw_clips(rng: np.random.Generator, recipes: Sequence[Recipe]) -> UInt8[np.ndarray, "n 9 h w 3"]:
    """Nine frames of each: for half of them the six frames of a clip with some repeated, for the others evenly new."""
    even = np.linspace(0, CLIP_SECONDS, WAN_FRAMES)
    return np.stack([render(recipe, FRAME_TIMES[PICKED] if rng.random() < 0.5 else even) for recipe in recipes])


def train_wan_autoencoder(
    folder: Path, *, seed: int = 0, steps: int = AUTOENCODER_STEPS, decoder_steps: int = DECODER_STEPS
) -> None:
    """Train both halves, then the decoder alone: latents are learned long before pictures are.

    Saves to `folder` in the official format; a draft is saved with every report.
    """
    rng = seed_training("wan_vae", seed)
    vae, basis = make_wan_autoencoder(), LatentBasis(seed)
    fit_autoencoder(vae, basis, folder, list(vae.parameters()), steps, rng)
    decoder = [*vae.post_quant_conv.parameters(), *vae.decoder.parameters()]
    rng = np.random.default_rng(derive_seed("suite", "wan_vae", "decoder", seed))
    fit_autoencoder(vae, basis, folder, decoder, decoder_steps, rng)


def fit_autoencoder(
    vae: AutoencoderKLWan, basis: LatentBasis, folder: Path, parameters: list[nn.Parameter], steps: int,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Train these parameters of the autoencoder; the encoder runs only if they are all of it."""
    whole = len(parameters) == len(list(vae.parameters()))
    optimiser = torch.optim.AdamW(parameters, lr=AUTOENCODER_RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    unseen = to_pixels(draw_clips(rng, draw_recipes(rng, 32))).transpose(1, 2)

    def measure(step: int) -> Float[Tensor, ""]:
        video = draw_clips(rng, draw_recipes(rng, AUTOENCODER_BATCH))
        pixels, target = to_pixels(video).transpose(1, 2), basis.encode(video)
        with torch.autocast("cpu", torch.bfloat16):
            rebuilt = vae.decode(target + LATENT_NOISE * torch.randn_like(target)).sample
        loss = pixel_loss(rebuilt, pixels)
        if not whole:
            return loss
        with torch.autocast("cpu", torch.bfloat16):
            mean = vae.encode(pixels).latent_dist.mean
        return loss + ENCODER_WEIGHT * (mean.float() - target).square().mean()

    def report(step: int, loss: float) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            rebuilt = vae.decode(vae.encode(unseen).latent_dist.mode()).sample.float()
        say(f"Wan's autoencoder: step {step}, loss {loss:.4f}, PSNR {measure_psnr(rebuilt, unseen):.2f} dB")
        save_half(vae, folder)

    phase = f"training Wan's {'autoencoder' if whole else 'decoder'}"
    train_steps(vae, optimiser, measure, phase=phase, steps=steps, report=report, every=AUTOENCODER_REPORT_EVERY)


def list_captions() -> list[str]:
    """Captions that hold every word."""
    sides = [f"a {size} {tone}" for size in ("big", "small") for tone in ("bright", "dark")]
    return [*sides, *CONCEPTS, *ACTIONS, *SCENE_PHRASES]


def encode_words(text_encoder: PreTrainedModel, ids: Int[Tensor, "n token"], pad: int) -> Float[Tensor, "n token text"]:
    """As Wan's pipeline has it: zero where the caption has ended."""
    mask = ids != pad
    return text_encoder(ids, mask.long()).last_hidden_state * mask[..., None]


def train_wan(folder: Path, judge: PreTrainedModel, *, seed: int = 0, steps: int = STEPS) -> None:
    """Train transformer and text encoder; saves `wan_transformer`, `wan_text_encoder` and `wan_tokenizer`.

    Reports draw with the components' own linear decoder, which is blurred: `judge`, the video judge, has seen such.
    """
    rng = seed_training("wan", seed)
    basis = LatentBasis(seed)
    recipes = draw_recipes(rng, CLIPS)
    chunks = track(range(0, CLIPS, 100), "drawing clips for Wan")
    latents = torch.cat([basis.encode(draw_clips(rng, recipes[at : at + 100])).half() for at in chunks])
    tokenizer = make_wan_tokenizer(list_captions())
    text_encoder, transformer = make_wan_text_encoder(tokenizer), make_wan_transformer()

    def tokenize(captions: Sequence[str]) -> Int[Tensor, "n token"]:
        return tokenizer(list(captions), padding="max_length", max_length=WAN_TOKENS, return_tensors="pt").input_ids

    ids, empty = tokenize([describe(recipe) for recipe in recipes]), tokenize([""])
    both = nn.ModuleList([text_encoder, transformer])
    optimiser = torch.optim.AdamW(both.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=1e-2)
    tested = draw_recipes(rng, 80)
    truth = torch.tensor([recipe.video_class for recipe in tested])

    def measure(step: int) -> Float[Tensor, ""]:
        rows = torch.from_numpy(rng.integers(CLIPS, size=BATCH))
        clean, words = latents[rows].float(), ids[rows].clone()
        words[torch.from_numpy(rng.random(BATCH) < CAPTION_DROPOUT)] = empty[0]
        uniform = torch.from_numpy(rng.random(BATCH, dtype=np.float32))
        sigma = SHIFT * uniform / (1 + (SHIFT - 1) * uniform)
        broad, noise = sigma[:, None, None, None, None], torch.randn_like(clean)
        context = encode_words(text_encoder, words, tokenizer.pad_token_id)
        velocity = transformer((1 - broad) * clean + broad * noise, sigma * 1000, context, return_dict=False)[0]
        return F.mse_loss(velocity, noise - clean)

    def predict(noisy: Tensor, time: Tensor, context: Tensor) -> Tensor:
        return transformer(noisy, time.expand(len(noisy)), context).sample

    def report(step: int, loss: float) -> None:
        context, negative = (
            encode_words(text_encoder, words, tokenizer.pad_token_id)
            for words in (tokenize([describe(recipe) for recipe in tested]), empty)
        )
        for guidance in (1.0, 2.5):
            scheduler, shape = FlowMatchEulerDiscreteScheduler(shift=SHIFT), (WAN_CHANNELS, *WAN_LATENT)
            made = sample_guided(predict, scheduler, context, negative, shape, steps=8, guidance=guidance)
            seen = judge(see_six(basis, made)).logits.argmax(1)
            objects = (seen // len(ACTIONS) == truth // len(ACTIONS)).float().mean()
            actions = (seen % len(ACTIONS) == truth % len(ACTIONS)).float().mean()
            say(f"Wan: step {step}, loss {loss:.3f}, guidance {guidance}: "
                f"object {objects:.3f}, action {actions:.3f}")  # fmt: skip
        save_half(transformer, folder / "wan_transformer")
        save_half(text_encoder, folder / "wan_text_encoder")
        tokenizer.save_pretrained(folder / "wan_tokenizer")

    train_steps(
        both, optimiser, measure, phase="training Wan's transformer", steps=steps, report=report, every=REPORT_EVERY,
        warmup=WARMUP, hold=HOLD, averaged=True,
    )  # fmt: skip


def see_six(basis: LatentBasis, latents: Float[Tensor, "n 16 3 y x"]) -> Float[Tensor, "n 6 3 h w"]:
    """Six of the nine frames, drawn by the components themselves."""
    scaled = latents * basis.scale

    def draw(one: PatchBasis, codes: Tensor) -> Tensor:
        return one.decode(codes * one.spread).clamp(-1, 1)

    frames = [draw(basis.first, scaled[:, :, 0])[:, None]]
    for part in (1, 2):  # the stacked channels are (frame, colour)
        frames.append(draw(basis.after, scaled[:, :, part]).unflatten(1, (4, 3)))
    kept = [int(np.flatnonzero(frame == PICKED)[0]) for frame in range(len(FRAME_TIMES))]
    return torch.cat(frames, dim=1)[:, kept]
