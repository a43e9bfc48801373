"""How fast generating and training are on the device: the harness's calls beside what they are built on.

`measure_generating`: clips a minute of a suite's calls, and of the bare diffusers pipelines with the very same
networks, in the same precision, with the same steps and number of clips at once. What the calls add is noise by seed,
slices that fit the memory, pixels as u8, and a note of progress. `measure_fitting`: steps a second of the toolbox's
training loop, with its checkpoints and progress, and of a plain loop over the same network, optimiser and batches, in
the same precision. Each row's ratio is of two measurements in one process, the order turned about from round to round;
nothing is asserted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from bench.core.hardware import Precision
from bench.core.progress import say
from bench.pretrained.suite import Suite
from bench.toolbox.precision import DTYPES, autocast, train_in
from bench.toolbox.training import make_generator, train_steps, walk_batches

ROUNDS = 3
WIDTH, TOKENS, LAYERS, BATCH, TRIALS = 128, 32, 4, 32, 256  # of the network whose training is timed


def measure_generating(suite: Suite, *, clips: int = 4, steps: int | None = None) -> pd.DataFrame:
    """Clips a minute of AnimateDiff, and of Wan where the suite has it, by the suite's calls and bare."""
    rows = [compare_calls("AnimateDiff", clips, *animate(suite, clips, steps), suite.device)]
    if suite.has("wan_transformer") and suite.has("wan_vae"):
        rows.append(compare_calls("Wan", clips, *roll(suite, clips, steps), suite.device))
    table = pd.DataFrame(rows)
    table.attrs["digits"] = 4
    table.attrs["notes"] = [f"On {suite.device}, suite {suite.name}; the median of {ROUNDS} rounds."]
    return table


def animate(suite: Suite, clips: int, steps: int | None) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The suite's call for videos from embeddings, and diffusers' own pipeline on the same networks."""
    from diffusers import AnimateDiffPipeline, DDIMScheduler

    g, settings = suite.geometry, suite.settings
    steps = settings["steps"] if steps is None else steps
    embeddings, seeds = torch.zeros(clips, g.tokens, g.text_width), list(range(clips))
    role = suite.roles["scheduler"]
    bare = AnimateDiffPipeline(
        vae=suite.vae,
        text_encoder=None,
        tokenizer=None,
        unet=suite.video_unet,
        motion_adapter=None,
        scheduler=DDIMScheduler.from_pretrained(role.locate(), **(role.settings or {})),
    )
    bare.set_progress_bar_config(disable=True)
    where = {"device": suite.device, "dtype": suite.video_unet.dtype}

    def plainly() -> Any:
        return bare(
            prompt_embeds=embeddings.to(**where),
            negative_prompt_embeds=torch.zeros_like(embeddings).to(**where),
            num_frames=g.frames,
            height=g.height,
            width=g.width,
            num_inference_steps=steps,
            guidance_scale=settings["guidance"],
            output_type="np",
        ).frames

    return lambda: suite.generate_video(embeddings, seeds, steps=steps), plainly


def roll(suite: Suite, clips: int, steps: int | None) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The decoder's call for videos from tokens, and diffusers' own pipeline on the same networks."""
    from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline

    from bench.pretrained.decoders import WanDecoder

    g, settings = suite.geometry, suite.settings
    steps = settings["wan_steps"] if steps is None else steps
    shape = (settings["wan_frames"], g.height, g.width)
    decoder = WanDecoder(suite, clip_shape=shape, rank=0, scale=1, steps=steps)
    frames, height, width = decoder.shape
    condition = torch.zeros(clips, settings["wan_tokens"], suite.wan.config.text_dim, device=suite.device)
    bare = WanPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=suite.wan_vae,
        transformer=suite.wan,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=decoder.shift),
    )
    bare.set_progress_bar_config(disable=True)

    def plainly() -> Any:
        given = condition.to(suite.wan.dtype)
        return bare(
            prompt_embeds=given,
            negative_prompt_embeds=torch.zeros_like(given),
            num_frames=frames,
            height=height,
            width=width,
            num_inference_steps=steps,
            guidance_scale=decoder.guidance,
            output_type="np",
        ).frames

    return lambda: decoder.generate(condition, list(range(clips))), plainly


def compare_calls(
    what: str, clips: int, ours: Callable[[], Any], plainly: Callable[[], Any], device: torch.device
) -> dict[str, Any]:
    say(f"{what}: {clips} clips, by the suite and bare, {ROUNDS + 1} rounds")
    ours_seconds, plain_seconds = compare(ours, plainly, device)
    return {
        "what": what,
        "clips_a_minute": 60 * clips / ours_seconds,
        "bare_clips_a_minute": 60 * clips / plain_seconds,
        "times_bare": plain_seconds / ours_seconds,
    }


def measure_fitting(device: torch.device, *, steps: int = 30, precision: Precision = "fp32") -> pd.DataFrame:
    """Steps a second of `train_steps` and of a plain loop under autocast, a transformer's on random trials."""
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, 0.0, batch_first=True, norm_first=True)
    network = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False).to(device)
    given = torch.randn(TRIALS, TOKENS, WIDTH, generator=torch.Generator().manual_seed(0)).to(device)

    def measure_loss(rows: np.ndarray) -> torch.Tensor:
        chosen = given[torch.from_numpy(rows).to(device)]
        return (network(chosen) - chosen).square().mean()

    def ours() -> None:
        train_in(precision)
        try:
            train_steps(
                network,
                measure_loss,
                parameters=list(network.parameters()),
                trials=TRIALS,
                steps=steps,
                batch_size=BATCH,
                learning_rate=1e-4,
                weight_decay=0.01,
                batches=make_generator("speed", "batches"),
                phase="speed fit",
            )
        finally:
            train_in("fp32")

    def plainly() -> None:
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.01)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-4, total_steps=steps + 1, pct_start=0.1)
        network.train()
        losses = []
        for rows in walk_batches(TRIALS, BATCH, steps, torch.Generator().manual_seed(0)):
            optimiser.zero_grad(set_to_none=True)
            with autocast(device, DTYPES[precision]):
                loss = measure_loss(rows)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            cycle.step()
            losses.append(float(loss.detach()))

    say(f"training: {steps} steps, by the toolbox and plainly, {ROUNDS + 1} rounds")
    ours_seconds, plain_seconds = compare(ours, plainly, device)
    table = pd.DataFrame(
        [
            {
                "what": f"transformer, {LAYERS} layers of {WIDTH}, batches of {BATCH}, {precision}",
                "steps_a_second": steps / ours_seconds,
                "plain_steps_a_second": steps / plain_seconds,
                "times_plain": plain_seconds / ours_seconds,
            }
        ]
    )
    table.attrs["digits"] = 4
    table.attrs["notes"] = [f"On {device}; the median of {ROUNDS} rounds."]
    return table


def compare(ours: Callable[[], Any], plainly: Callable[[], Any], device: torch.device) -> tuple[float, float]:
    """Seconds of both, the median of some rounds behind one that warms up; who is first changes from round to round."""
    spent: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(ROUNDS + 1):
        for first in (True, False) if turn % 2 else (False, True):
            begun = time.perf_counter()
            (ours if first else plainly)()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            spent[first].append(time.perf_counter() - begun)
    return statistics.median(spent[True][1:]), statistics.median(spent[False][1:])
