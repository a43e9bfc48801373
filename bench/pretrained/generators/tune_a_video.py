"""Tune-A-Video: an image UNet inflated to video and tuned on clips (Wu et al., ICCV 2023, §4).

EEG2Video, DynaMind, MinD-Video and Mind-Animator generate with it. `inflate` copies the suite's image UNet and changes
three things, which keep every pretrained weight:

- frames go through the convolutions one by one, as images in a batch;
- self-attention (attn1) is sparse-causal: a frame asks the first and the previous frame (§4.1);
- behind each transformer block lies an attention over time, at each place of the picture; its output starts at zero.

`tune` trains attn1.to_q, attn2.to_q and the attention over time, as the released code does; all else stays frozen, and
is shared with the suite's network. What is trained is in float32 and computes in the suite's precision.

Chosen where the sources differ or are silent:

- Group norms take one frame's statistics. Tune-A-Video's took all frames', so a frame would depend on later ones.
- The network predicts what the suite's scheduler names: the noise (Stable Diffusion) or the velocity (mini).
- The learning rate has one cycle; Tune-A-Video kept it constant over a few hundred steps on a single clip.
- `invert` can solve each step of DDIM exactly by a fixed point (Pan et al., ICCV 2023); one iteration is the usual
  inversion, whose error at few steps is large.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from bench.core.errors import BenchError
from bench.pretrained.generators.pipelines import PartialDDIMScheduler, count_steps
from bench.toolbox.budget import release, run_parts
from bench.toolbox.encoded import CaptionTokens, remember
from bench.toolbox.parts import mean_in_parts
from bench.toolbox.precision import autocast
from bench.toolbox.resize import fit_clips
from bench.toolbox.rows import digest_video
from bench.toolbox.sharing import copy_sharing
from bench.toolbox.targets import encode_captions, number_captions
from bench.toolbox.training import Optimiser, make_generator, plan_steps, seeded, walk_batches

KEPT = 3  # tuned networks that a process keeps for each suite
MOST_CLIPS = 16  # through the network at once
_TUNED: weakref.WeakKeyDictionary[Any, dict[str, InflatedUNet]] = weakref.WeakKeyDictionary()


class BadTuning(BenchError):
    """Clips, texts or latents that do not go together."""


class SparseCausalAttention(nn.Module):
    """Self-attention in which frame i asks frames 0 and i - 1, by an image network's own attention."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.frames = 1

    def forward(
        self, hidden: Float[Tensor, "n*f place d"], encoder_hidden_states: None = None, **options: Any
    ) -> Float[Tensor, "n*f place d"]:
        frames = hidden.unflatten(0, (-1, self.frames))
        first, previous = frames[:, :1].expand_as(frames), torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
        asked = torch.cat([first, previous], dim=2).flatten(0, 1)  # (n*f, 2 place, d)
        return self.attention(hidden, encoder_hidden_states=asked, **options)


class VideoBlock(nn.Module):
    """A transformer block with sparse-causal self-attention, and an attention over time behind it."""

    def __init__(self, block: BasicTransformerBlock) -> None:
        super().__init__()
        image: Any = block.attn1
        self.block = block
        self.block.attn1 = SparseCausalAttention(image)
        width = image.to_q.in_features
        self.norm = nn.LayerNorm(width)
        self.temporal = Attention(width, heads=image.heads, dim_head=image.inner_dim // image.heads)
        output: Any = self.temporal.to_out
        nn.init.zeros_(output[0].weight)
        nn.init.zeros_(output[0].bias)

    def forward(self, hidden: Float[Tensor, "n*f place d"], *given: Any, **options: Any) -> Any:
        frames = self.block.attn1.frames
        hidden = self.block(hidden, *given, **options)
        paths = hidden.unflatten(0, (-1, frames)).transpose(1, 2)  # (n, place, f, d)
        moved = self.temporal(self.norm(paths).flatten(0, 1)).view_as(paths)
        return (paths + moved).transpose(1, 2).flatten(0, 1)


class InflatedUNet(nn.Module):
    """A copy of an image UNet that denoises videos; see `inflate`."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.dtype = unet.dtype
        images: Any = [one for one in unet.modules() if isinstance(one, BasicTransformerBlock)]
        queries = [one.to_q for block in images for one in (block.attn1, block.attn2) if one is not None]
        own = [parameter for query in queries for parameter in query.parameters()]
        self.unet = copy_sharing(unet, own=own).requires_grad_(False)
        self.blocks: list[VideoBlock] = []
        self.losses: list[float] = []  # of each step of `tune`
        for part in list(self.unet.modules()):
            blocks: Any = getattr(part, "transformer_blocks", ())
            for place, block in enumerate(blocks):
                made = VideoBlock(block).to(self.unet.device).requires_grad_(False)
                made.norm.to(self.dtype)
                blocks[place] = made
                self.blocks.append(made)
        if not self.blocks:
            raise BadTuning(
                "this UNet has no transformer blocks to inflate; give a UNet2DConditionModel with attention"
            )
        for parameter in self.trained_parameters():
            parameter.data = parameter.data.float()

    def forward(
        self,
        noisy: Float[Tensor, "n c f y x"],
        times: Int64[Tensor, " n"],
        text: Float[Tensor, "n token d"],
    ) -> Float[Tensor, "n c f y x"]:
        """The predicted noise (or velocity, where the scheduler says so) of all frames."""
        clips, frames = noisy.shape[0], noisy.shape[2]
        for block in self.blocks:
            block.block.attn1.frames = frames
        images = noisy.transpose(1, 2).flatten(0, 1).to(self.dtype)
        every = text.repeat_interleave(frames, dim=0).to(self.dtype)
        with autocast(images.device, self.dtype):
            made = self.unet(images, times.expand(clips).repeat_interleave(frames), every, return_dict=False)[0]
        return made.to(noisy.dtype).unflatten(0, (clips, frames)).transpose(1, 2)

    def trained_parameters(self) -> list[nn.Parameter]:
        """Queries of both attentions and the attention over time."""
        found: list[nn.Parameter] = []
        for block in self.blocks:
            own: Any = block.block
            found += [*own.attn1.attention.to_q.parameters(), *block.temporal.parameters()]
            if own.attn2 is not None:
                found += own.attn2.to_q.parameters()
        return found


def inflate(unet: UNet2DConditionModel, *, seed: int = 0) -> InflatedUNet:
    """A video network of the image network's weights; with one frame it makes what the image network makes.

    `seed` is of the queries, keys and values over time, which a zero output hides until they are trained.
    """
    with seeded(unet.device, "tune_a_video", "temporal", seed):
        return InflatedUNet(unet).eval()


def tune(
    suite: Any,
    video: UInt8[np.ndarray, "clip frame height width 3"],
    captions: Sequence[str],
    *,
    epochs: float,
    batch_size: int,
    learning_rate: float,
    seed: int,
    text: Float[Tensor, "clip token d"] | None = None,
    tokens: CaptionTokens | None = None,
    weight_decay: float = 0.01,
) -> InflatedUNet:
    """The suite's image UNet, inflated and tuned on these clips and captions (or `text` in the captions' place).

    `epochs` of the clips; at least one step is made. `tokens` are those of the different captions
    (`bench.toolbox.targets.encode_captions`), from whoever has them at hand.

    One and the same network comes back for the same clips, texts and settings in a process, frozen: change a copy.
    `inflated.losses` holds the loss of each step. Raises BadTuning where clips and texts are not as many.
    """
    if len(video) != len(captions if text is None else text):
        raise BadTuning(f"{len(video)} clips and {len(captions if text is None else text)} texts; give each clip one")
    steps = plan_steps(epochs, len(video), batch_size)
    settings = f"steps={steps} batch={batch_size} rate={learning_rate} seed={seed} decay={weight_decay}"
    texts = "\n".join(captions).encode() if text is None else text.float().cpu().contiguous().numpy().tobytes()
    key = f"{settings} {digest_video(video)} {hashlib.sha256(texts).hexdigest()}"
    kept = _TUNED.setdefault(suite, {})
    if key in kept:
        return kept[key]
    latents = encode_clips(suite, video).transpose(1, 2)  # (clip, c, f, y, x)
    condition: CaptionTokens | Tensor  # off the device, as the latents are
    if text is not None:
        condition, caption = text.float(), torch.arange(len(text))
    else:
        condition = encode_captions(suite, captions) if tokens is None else tokens
        caption = number_captions(captions)[1]
    release(suite, "text_encoder", "judges")
    network, scheduler, device = inflate(suite.unet, seed=seed), load_scheduler(suite), torch.device(suite.device)
    trained = network.trained_parameters()
    for parameter in trained:
        parameter.requires_grad_(True)
    memory = getattr(suite, "memory", None)
    optimise = Optimiser([(trained, learning_rate)], steps=steps, weight_decay=weight_decay, memory=memory)
    batches = walk_batches(len(video), batch_size, steps, make_generator("tune_a_video", "batches", seed))
    draw = make_generator("tune_a_video", "noise", seed)
    network.train()
    for _, rows in optimise.walk(batches, "tuning the video generator", modules=[network], lists=[network.losses]):
        shown, told = latents[rows].to(device), condition[caption[rows]].to(device)
        loss = measure_loss(network, scheduler, shown, told, draw, memory=memory)
        network.losses.append(optimise.step(loss))
    kept[key] = network.eval().requires_grad_(False)
    for old in list(kept)[:-KEPT]:
        del kept[old]
    return network


def measure_loss(
    network: InflatedUNet,
    scheduler: PartialDDIMScheduler,
    latents: Float[Tensor, "n c f y x"],
    text: Float[Tensor, "n token d"],
    generator: torch.Generator,
    *,
    memory: int | None = None,
) -> Float[Tensor, ""]:
    """Squared error of the predicted noise (or velocity) at uniformly drawn times; mean over everything."""
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    times = torch.randint(scheduler.config.num_train_timesteps, (len(latents),), generator=generator)
    times = times.to(latents.device)
    noisy = scheduler.add_noise(latents, noise, times)
    velocity = scheduler.config.prediction_type == "v_prediction"
    wanted = scheduler.get_velocity(latents, noise, times) if velocity else noise
    return mean_in_parts(
        f"video generator: {tuple(latents.shape[1:])}",
        len(latents),
        lambda rows: functional.mse_loss(network(noisy[rows], times[rows], text[rows]), wanted[rows]),
        through=network.trained_parameters()[:1],
        device=latents.device,
        memory=memory,
    )


def encode_clips(suite: Any, video: UInt8[np.ndarray, "clip ..."]) -> Float[Tensor, "clip f c y x"]:
    """Latents of the clips at the suite's geometry, encoded once a process; the autoencoder is then let go."""
    g = suite.geometry
    shape = (g.frames, g.height, g.width)
    latents = remember(suite, f"latents {shape}", video, lambda part: suite.encode_video(fit_clips(part, shape)))
    release(suite, "vae")
    return latents


def load_scheduler(suite: Any) -> PartialDDIMScheduler:
    """DDIM with the suite's own noise levels."""
    made: PartialDDIMScheduler = suite.make_scheduler(PartialDDIMScheduler)
    return made


@torch.inference_mode()
def denoise(
    suite: Any,
    unet: InflatedUNet,
    text: Float[Tensor, "n token d"],
    start: Float[Tensor, "n c f y x"],
    *,
    steps: int | None = None,
    guidance: float | None = None,
    negative: Float[Tensor, "1 token d"] | None = None,
    share: float = 1.0,
) -> Float[Tensor, "n c f y x"]:
    """The latents of `sample`, before they are decoded."""
    if len(text) != len(start):
        raise BadTuning(f"{len(start)} starts and {len(text)} texts; give each start one text")
    steps = suite.settings["steps"] if steps is None else steps
    guidance = suite.settings["guidance"] if guidance is None else guidance
    if not count_steps(steps, share):
        raise BadTuning(f"share={share} of {steps} steps leaves none; raise share or steps")
    negative = suite.negative_embedding if negative is None else negative
    scheduler, device = load_scheduler(suite), suite.device
    scheduler.share = share
    scheduler.set_timesteps(steps)

    def draw(rows: slice) -> Tensor:
        latents = start[rows].to(device, torch.float32)
        condition = text[rows].to(latents)
        for time in scheduler.timesteps:
            made = unet(latents, time.to(device), condition)
            if guidance != 1:
                without = unet(latents, time.to(device), negative.to(latents).expand_as(condition))
                made = without + guidance * (made - without)
            latents = scheduler.step(made, int(time), latents).prev_sample
        return latents.cpu()

    what = f"draw clips of {tuple(start.shape[1:])}"
    return torch.cat([torch.zeros(0, *start.shape[1:]), *walk(suite, what, len(start), draw)])


def walk(suite: Any, what: str, clips: int, make: Callable[[slice], Tensor]) -> Iterator[Tensor]:
    """`make(rows)` of all clips, of as many at once as fit."""
    memory = getattr(suite, "memory", None)
    return run_parts(f"Tune-A-Video: {what}", clips, make, device=suite.device, most=MOST_CLIPS, memory=memory)


def sample(
    suite: Any,
    unet: InflatedUNet,
    text: Float[Tensor, "n token d"],
    start: Float[Tensor, "n c f y x"],
    *,
    steps: int | None = None,
    guidance: float | None = None,
    negative: Float[Tensor, "1 token d"] | None = None,
    share: float = 1.0,
) -> UInt8[np.ndarray, "n f H W 3"]:
    """Videos by deterministic DDIM with classifier-free guidance, from `start` under `text`.

    `start` stands at the first of the steps that are run: of all, or of the last `share` (then it is latents with the
    noise of that time, see `generators.start_latents`). `steps` and `guidance` default to the suite's, `negative` to
    the empty caption; guidance 1 asks for no negative. Raises BadTuning for starts and texts of different number.
    """
    latents = denoise(suite, unet, text, start, steps=steps, guidance=guidance, negative=negative, share=share)
    return suite.decode_latents(latents.transpose(1, 2))


@torch.inference_mode()
def invert(
    suite: Any,
    unet: InflatedUNet,
    latents: Float[Tensor, "n c f y x"],
    text: Float[Tensor, "n token d"],
    *,
    steps: int,
    iterations: int = 1,
    share: float = 1.0,
) -> Float[Tensor, "n c f y x"]:
    """DDIM inversion: the start from which `sample` at guidance 1, with these steps, comes back to the latents.

    A step of DDIM is linear in the latents and the network's answer, `before = a after + b answer(after)`, so the
    latents after it are `(before - b answer) / a`. The answer is asked at `before`, then at each next estimate:
    `iterations=1` is the usual inversion, a handful brings `sample` back closely also where steps are few.
    """
    if len(text) != len(latents):
        raise BadTuning(f"{len(latents)} clips and {len(text)} texts; give each clip one text")
    scheduler, device = load_scheduler(suite), suite.device
    scheduler.share = share
    scheduler.set_timesteps(steps)
    one, zero = torch.ones(1), torch.zeros(1)

    def find_start(rows: slice) -> Tensor:
        before = latents[rows].to(device, torch.float32)
        condition = text[rows].to(before)
        for time in reversed(scheduler.timesteps):
            a = float(scheduler.step(zero, int(time), one).prev_sample)
            b = float(scheduler.step(one, int(time), zero).prev_sample)
            after = before
            for _ in range(iterations):
                after = (before - b * unet(after, time.to(device), condition)) / a
            before = after
        return before.cpu()

    what = f"invert clips of {tuple(latents.shape[1:])}"
    return torch.cat([torch.zeros(0, *latents.shape[1:]), *walk(suite, what, len(latents), find_start)])
