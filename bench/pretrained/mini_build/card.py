"""The card of a suite: what its networks reach, measured on clips that none of them was trained on.

The clips are drawn from the benchmark's pool of recipes, from which no training clip may come, with their own seed.
The object in a picture is judged by summing a judge's probabilities over everything else its classes name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from bench.core.progress import say, track
from bench.core.seeds import derive_seed
from bench.datasets.phantom.stimuli import ACTIONS, FRAME_TIMES, Recipe, describe, draw_recipe, render
from bench.datasets.seed_dv.concepts import CONCEPTS
from bench.pretrained.judges.observe import VIEWS
from bench.pretrained.mini_build.batches import (
    PatchBasis,
    degrade,
    draw_recipes,
    render_clips,
    render_frames,
    to_pixels,
)
from bench.pretrained.mini_build.train_dino import vote_neighbours
from bench.pretrained.roles import HERE, MissingWeights
from bench.pretrained.suite import Suite, load_suite
from bench.toolbox.resize import fit_clips

AIMS = {  # the build's aims; a measure below its aim is shown as such
    "autoencoder PSNR (dB)": 25.0,
    "frame judge top-1": 0.85,
    "frame judge top-1 on reconstructions": 0.85,
    "video judge top-1": 0.70,
    "caption: object (frame judge)": 0.60,
    "caption and key frame drawn from it: object (frame judge)": 0.60,
    "caption: action": 0.40,
    "caption and key frame drawn from it: action": 0.40,
    "key frame gain (dB)": 2.0,
    "clip: object from one frame": 0.85,
    "clip: clip of a caption among 40": 0.50,
    "dino: object by neighbours": 0.60,
    "Wan: autoencoder PSNR (dB)": 24.0,
    "Wan: caption: object (video judge)": 0.60,
    "Wan: caption: action": 0.40,
    "X-CLIP: action by neighbours": 0.50,
    "suite (MB)": 80.0,
}
BANK = 1000  # frames of suite clips among which neighbours are sought
Part = Literal["generation", "embeddings", "wan"]
PARTS: tuple[Part, ...] = ("generation", "embeddings", "wan")
Measures = dict[str, tuple[float, int]]  # value, and the clips that it is a mean over
LOWER_IS_BETTER = ("suite (MB)",)


def card_path(name: str) -> Path:
    return HERE / name / "card.json"


def marginal(logits: Float32[np.ndarray, "n ab"], first: int, axis: int) -> Float32[np.ndarray, "n c"]:
    """Log scores of one factor of product classes a * B + b: summed over the other factor's probabilities."""
    return np.logaddexp.reduce(logits.reshape(len(logits), first, -1), axis=axis)


def peak_ratio(made: np.ndarray, true: np.ndarray) -> float:
    """PSNR in dB over all pixels together."""
    return float(10 * np.log10(255**2 / np.square(made.astype(np.float64) - true).mean()))


def measure_suite(
    name: str = "mini", *, clips: int = 240, write: bool = True, parts: Sequence[Part] = PARTS
) -> pd.DataFrame:
    """Measure the networks on unseen clips and write `card.json`; minutes of work, most of it generation.

    `parts` names what to measure anew; the card's other measures are kept, so name every part whose networks changed.
    """
    suite = load_suite(name)
    rng = np.random.default_rng(derive_seed("suite", "card"))
    recipes = [draw_recipe(rng, index % len(CONCEPTS), pool="benchmark") for index in range(clips)]
    video = np.stack([render(recipe, FRAME_TIMES) for recipe in track(recipes, "drawing clips")])
    path = card_path(name)
    kept = json.loads(path.read_text())["measures"] if path.exists() and set(parts) != set(PARTS) else {}
    measures: Measures = {measure: (entry["value"], entry["clips"]) for measure, entry in kept.items()}
    if "generation" in parts:
        measures |= measure_generation(suite, recipes, video)
    if "embeddings" in parts:
        measures |= measure_embeddings(suite, recipes, video)
    if "wan" in parts:
        measures |= measure_wan(suite, recipes, video)
    megabytes = (
        sum(path.stat().st_size for path in {path for role in suite.roles.values() for path in role.files}) / 1e6
    )
    measures["suite (MB)"] = (megabytes, 0)
    card = {
        "suite": suite.name,
        "digest": suite.digest,
        "judges": {view: suite.judges.digest(view) for view in VIEWS if suite.judges.available(view)},
        "steps": suite.settings["steps"],
        "guidance": suite.settings["guidance"],
        "measures": {measure: {"value": round(value, 4), "clips": n} for measure, (value, n) in measures.items()},
    }
    if write:
        path.write_text(json.dumps(card, indent=1) + "\n")
    return _tabulate(card)


def measure_generation(suite: Suite, recipes: Sequence[Recipe], video: UInt8[np.ndarray, "n f h w 3"]) -> Measures:
    """The autoencoder, the two classifiers, and what the generators draw as the classifiers see it."""
    clips = len(video)
    concepts = np.array([recipe.concept for recipe in recipes])
    actions = np.array([recipe.action for recipe in recipes])
    measures: Measures = {}

    def share(measure: str, hits: np.ndarray) -> None:
        measures[measure] = (float(hits.mean()), clips)
        say(f"{measure}: {hits.mean():.3f}")

    rebuilt = suite.decode_latents(suite.encode_video(video))
    measures["autoencoder PSNR (dB)"] = (peak_ratio(rebuilt, video), clips)
    for suffix, images in (("", video), (" on reconstructions", rebuilt)):
        frame_logits = suite.frame_logits(images[:, 2])
        share(f"frame judge top-1{suffix}", frame_logits.argmax(1) == [recipe.frame_class for recipe in recipes])
        video_logits = suite.video_logits(images)
        share(f"video judge top-1{suffix}", video_logits.argmax(1) == [recipe.video_class for recipe in recipes])
        share(f"video judge object{suffix}", marginal(video_logits, len(CONCEPTS), 2).argmax(1) == concepts)
        share(f"video judge action{suffix}", marginal(video_logits, len(CONCEPTS), 1).argmax(1) == actions)

    embeddings = suite.encode_text([describe(recipe) for recipe in recipes])
    seeds = [derive_seed("suite", "card", index) for index in range(clips)]
    grey = np.full_like(video[:, 0], 128)
    drawn = suite.refine_keyframe(embeddings, grey, seeds, strength=1.0)  # from pure noise: the grey plays no part
    ways = {"caption": None, "caption and key frame drawn from it": drawn, "caption and true key frame": video[:, 0]}
    for way, keyframes in ways.items():
        started = time.process_time()
        made = _generate(suite, embeddings, seeds, keyframes, f"generating from {way}")
        measures[f"{way}: seconds a clip"] = ((time.process_time() - started) / clips, clips)
        frame_logits = suite.frame_logits(made.reshape(-1, *made.shape[2:])).reshape(clips, video.shape[1], -1)
        share(f"{way}: object (frame judge)", marginal(frame_logits.mean(1), len(CONCEPTS), 2).argmax(1) == concepts)
        video_logits = suite.video_logits(made)
        share(f"{way}: object (video judge)", marginal(video_logits, len(CONCEPTS), 2).argmax(1) == concepts)
        share(f"{way}: action", marginal(video_logits, len(CONCEPTS), 1).argmax(1) == actions)
        measures[f"{way}: PSNR (dB)"] = (peak_ratio(made, video), clips)
    gain = measures["caption and true key frame: PSNR (dB)"][0] - measures["caption: PSNR (dB)"][0]
    measures["key frame gain (dB)"] = (gain, clips)
    return measures


def measure_embeddings(suite: Suite, recipes: Sequence[Recipe], video: UInt8[np.ndarray, "n f h w 3"]) -> Measures:
    """CLIP by the words for objects and by captions, DINO by its nearest neighbours and by frames of one clip.

    "Degraded" frames are what the judges trained on half of the time: blurred, reduced, rebuilt from few components.
    Retrieval is among groups of 40 clips drawn at random, so a group may show one object twice.
    """
    clips = len(video)
    rng = np.random.default_rng(derive_seed("suite", "card", "embeddings"))
    concepts = np.array([recipe.concept for recipe in recipes])
    known = draw_recipes(rng, BANK)
    bank = render_frames(rng, known)
    basis = PatchBasis(bank[:600], 8, 16)
    worse = np.stack([degrade(rng, clip, basis) for clip in video])
    measures: Measures = {}

    names = _unit(suite.judges.embed_captions("clip", [f"a {concept}" for concept in CONCEPTS]))
    captions = _unit(suite.judges.embed_captions("clip", [describe(recipe) for recipe in recipes]))
    remembered = torch.from_numpy(suite.judges.observe("dino", bank[:, None])[:, 0])
    labels = torch.tensor([recipe.concept for recipe in known])
    others = rng.permutation(clips)
    for suffix, shown in (("", video), (", degraded", worse)):
        seen = suite.judges.observe_many(["clip", "dino"], shown)
        looks = _unit(seen["clip"])
        right = (looks[:, 2] @ names.T).argmax(1) == concepts
        measures[f"clip: object from one frame{suffix}"] = (float(right.mean()), clips)
        groups = np.array_split(rng.permutation(clips), max(1, clips // 40))
        means = _unit(looks.mean(1))
        found = [(captions[group] @ means[group].T).argmax(1) == np.arange(len(group)) for group in groups]
        measures[f"clip: clip of a caption among 40{suffix}"] = (float(np.concatenate(found).mean()), clips)
        votes = vote_neighbours(remembered, labels, torch.from_numpy(seen["dino"][:, 2]), len(CONCEPTS))
        measures[f"dino: object by neighbours{suffix}"] = (float((votes.argmax(1).numpy() == concepts).mean()), clips)
        tokens = _unit(seen["dino"])
        near = (tokens[:, :-1] * tokens[:, 1:]).sum(-1).mean()
        far = (tokens[:, 0] * tokens[others, 0])[others != np.arange(clips)].sum(-1).mean()
        measures[f"dino: cosine of adjacent frames{suffix}"] = (float(near), clips)
        measures[f"dino: cosine of frames of two clips{suffix}"] = (float(far), clips)
    for measure, (value, _) in measures.items():
        say(f"{measure}: {value:.3f}")
    return measures


def measure_wan(suite: Suite, recipes: Sequence[Recipe], video: UInt8[np.ndarray, "n f h w 3"]) -> Measures:
    """Wan by its own pipeline, from captions; X-CLIP by its nearest neighbours among clips of the suite's pool."""
    from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline

    from bench.pretrained.generators.pipelines import draw_noise, quantise

    clips, frames = len(video), suite.settings["wan_frames"]
    concepts = np.array([recipe.concept for recipe in recipes])
    actions = np.array([recipe.action for recipe in recipes])
    height, width = video.shape[2:4]
    vae = suite.wan_vae
    pipeline = WanPipeline(
        tokenizer=suite._wan_tokenizer,
        text_encoder=suite._wan_text_encoder,
        vae=vae,
        transformer=suite.wan,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    pipeline.set_progress_bar_config(disable=True)
    latent = (vae.config.z_dim, (frames - 1) // vae.config.scale_factor_temporal + 1, height // 8, width // 8)
    rebuilt, made = [], []
    for start in track(range(0, clips, 16), "generating with Wan"):
        rows = slice(start, start + 16)
        pixels = to_pixels(fit_clips(video[rows], (frames, height, width))).transpose(1, 2).to(suite.device)
        with torch.no_grad():
            rebuilt.append(
                quantise(vae.decode(vae.encode(pixels).latent_dist.mode()).sample.add(1).div(2).transpose(1, 2))
            )
        seeds = [derive_seed("suite", "card", "wan", index) for index in range(clips)[rows]]
        drawn = pipeline(
            prompt=[describe(recipe) for recipe in recipes[rows]],
            negative_prompt="",
            latents=draw_noise(seeds, latent),
            num_frames=frames,
            height=height,
            width=width,
            num_inference_steps=suite.settings["wan_steps"],
            guidance_scale=suite.settings["wan_guidance"],
            max_sequence_length=suite.settings["wan_tokens"],
            output_type="pt",
        )
        made.append(quantise(drawn.frames))
    shown = fit_clips(np.concatenate(made), video.shape[1:])
    logits = suite.video_logits(shown)
    rng = np.random.default_rng(derive_seed("suite", "card", "actions"))
    known = draw_recipes(rng, BANK)
    remembered = torch.from_numpy(suite.embed_actions(render_clips(known)))
    votes = vote_neighbours(
        remembered,
        torch.tensor([recipe.action for recipe in known]),
        torch.from_numpy(suite.embed_actions(video)),
        len(ACTIONS),
    )
    shares = {
        "Wan: caption: object (video judge)": marginal(logits, len(CONCEPTS), 2).argmax(1) == concepts,
        "Wan: caption: action": marginal(logits, len(CONCEPTS), 1).argmax(1) == actions,
        "X-CLIP: action by neighbours": votes.argmax(1).numpy() == actions,
    }
    measures: Measures = {measure: (float(hits.mean()), clips) for measure, hits in shares.items()}
    again = fit_clips(np.concatenate(rebuilt), video.shape[1:])
    measures["Wan: autoencoder PSNR (dB)"] = (peak_ratio(again, video), clips)
    measures["Wan: caption: PSNR (dB)"] = (peak_ratio(shown, video), clips)
    for measure, (value, _) in measures.items():
        say(f"{measure}: {value:.3f}")
    return measures


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _generate(
    suite: Suite, embeddings: Tensor, seeds: Sequence[int], keyframes: np.ndarray | None, phase: str
) -> np.ndarray:
    parts = []
    for start in track(range(0, len(seeds), 16), phase):
        rows = slice(start, start + 16)
        given = None if keyframes is None else keyframes[rows]
        parts.append(suite.generate_video(embeddings[rows], seeds[rows], keyframes=given))
    return np.concatenate(parts)


def _tabulate(card: dict[str, Any]) -> pd.DataFrame:
    rows = []
    for measure, entry in card["measures"].items():
        value, clips = entry["value"], entry["clips"]
        is_share = not any(unit in measure for unit in ("(dB)", "seconds", "cosine")) and clips > 0
        aim = AIMS.get(measure)
        reached = None if aim is None else (value <= aim if measure in LOWER_IS_BETTER else value >= aim)
        rows.append(
            {
                "measure": measure,
                "value": value,
                "standard_error": round((value * (1 - value) / clips) ** 0.5, 4) if is_share else None,
                "clips": clips or None,
                "aim": aim,
                "reached": reached,
            }
        )
    return pd.DataFrame(rows)


def suite_table(name: str = "mini") -> pd.DataFrame:
    """The measured card as a table: measure, value, standard error, clips, aim, reached; then minutes of the build."""
    path = card_path(name)
    if not path.exists():
        raise MissingWeights(
            f"suite {name!r} has no card; measure it with bench.pretrained.mini_build.card.measure_suite({name!r})"
        )
    table = _tabulate(json.loads(path.read_text()))
    built = path.with_name("build.json")
    if built.exists():
        stages = json.loads(built.read_text())
        minutes = {f"minutes to build: {stage}": entry["minutes"] for stage, entry in stages.items()}
        extra = pd.DataFrame({"measure": list(minutes), "value": list(minutes.values())})
        table = pd.concat([table, extra], ignore_index=True)
    return table
