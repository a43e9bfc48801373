"""Measuring of a suite's card: what its networks reach on clips that none of them was trained on.

The clips are drawn from the benchmark's pool of recipes, from which no training clip may come, with their own seed.
The object in a picture is judged by summing a judge's probabilities over everything else its classes name. `reading` is
measured on phantoms (`bench.pretrained.mini_build.reading`).

    python -m bench.pretrained.mini_build.measures [PART ...]

measures the parts named (all, without a name) of the `mini` suite anew and writes them into its card: `reading` takes
three minutes and 2.4 GB of the cache, `embeddings` one minute, the others a quarter of an hour.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline
from jaxtyping import Float32, UInt8

from bench.core.progress import say, track
from bench.core.seeds import derive_seed
from bench.datasets.phantom.stimuli import ACTIONS, FRAME_TIMES, Recipe, describe, draw_recipe, render
from bench.datasets.seed_dv.concepts import CONCEPTS
from bench.pretrained.generators.pipelines import draw_noise, quantise
from bench.pretrained.judges.observe import VIEWS
from bench.pretrained.mini_build.batches import (
    PatchBasis,
    degrade,
    draw_recipes,
    render_clips,
    render_frames,
    to_pixels,
)
from bench.pretrained.mini_build.card import card_path, tabulate
from bench.pretrained.mini_build.reading import CAPTIONS, LABELS, PICTURES, SEEDS, list_phantoms, tabulate_reading
from bench.pretrained.mini_build.train_dino import vote_neighbours
from bench.pretrained.suite import Suite, load_suite
from bench.toolbox.resize import fit_clips

BANK = 1000  # frames of suite clips among which neighbours are sought
CHUNK = 16  # clips generated at once
Part = Literal["generation", "embeddings", "wan", "reading"]
PARTS: tuple[Part, ...] = ("generation", "embeddings", "wan", "reading")
PROMPT = "a video of a {}"  # as the metrics that compare clips with concepts ask
Clips = UInt8[np.ndarray, "n f h w 3"]


def marginal(logits: Float32[np.ndarray, "n ab"], first: int, axis: int) -> Float32[np.ndarray, "n c"]:
    """Log scores of one factor of product classes a * B + b: summed over the other factor's probabilities."""
    return np.logaddexp.reduce(logits.reshape(len(logits), first, -1), axis=axis)


def peak_ratio(made: np.ndarray, true: np.ndarray) -> float:
    """PSNR in dB over all pixels together."""
    return float(10 * np.log10(255**2 / np.square(made.astype(np.float64) - true).mean()))


def share_objects(logits: Float32[np.ndarray, "n ab"], recipes: Sequence[Recipe]) -> float:
    """Share of clips whose object is recognised, by classes of an object and something else."""
    return share(marginal(logits, len(CONCEPTS), 2).argmax(1), [recipe.concept for recipe in recipes])


def share_actions(logits: Float32[np.ndarray, "n ab"], recipes: Sequence[Recipe]) -> float:
    """Share of clips whose action is recognised, by object-action classes."""
    return share(marginal(logits, len(CONCEPTS), 1).argmax(1), [recipe.action for recipe in recipes])


def share_neighbours(
    known: np.ndarray, labels: Sequence[int], asked: np.ndarray, truth: Sequence[int], classes: int
) -> float:
    """Share of the asked whose nearest neighbours among the known vote for their label."""
    votes = vote_neighbours(torch.from_numpy(known), torch.tensor(labels), torch.from_numpy(asked), classes)
    return share(votes.argmax(1).numpy(), truth)


def share(said: np.ndarray, truth: np.ndarray | Sequence[int]) -> float:
    return float((said == np.asarray(truth)).mean())


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
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    measures = old.get("measures", {}) if set(parts) != set(PARTS) else {}
    phantoms = old.get("phantoms", [])
    for part, measure in (("generation", measure_generation), ("embeddings", measure_embeddings), ("wan", measure_wan)):
        fresh = measure(suite, recipes, video) if part in parts else {}
        for what, value in fresh.items():
            say(f"{what}: {value:.3f}")
            measures[what] = {"value": round(value, 4), "clips": clips}
    if "reading" in parts:
        phantoms = list_phantoms()
        for what, value in measure_reading(suite).items():
            say(f"{what}: {value:.3f}")
            measures[what] = {"value": round(value, 4), "clips": 0}
    files = {path for role in suite.roles.values() for path in role.files}
    measures["suite (MB)"] = {"value": round(sum(file.stat().st_size for file in files) / 1e6, 4), "clips": 0}
    card = {
        "suite": suite.name,
        "digest": suite.digest,
        "judges": {view: suite.judges.digest(view) for view in VIEWS if suite.judges.available(view)},
        "steps": suite.settings["steps"],
        "guidance": suite.settings["guidance"],
        "phantoms": phantoms,
        "measures": measures,
        "before": old.get("before", {}),
    }
    if write:
        path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return tabulate(card)


def measure_generation(suite: Suite, recipes: Sequence[Recipe], video: Clips) -> dict[str, float]:
    """The autoencoder, the two classifiers, and what the generators draw as the classifiers see it."""
    clips = len(video)
    rebuilt = suite.decode_latents(suite.encode_video(video))
    measures = {"autoencoder PSNR (dB)": peak_ratio(rebuilt, video)}
    for suffix, images in (("", video), (" on reconstructions", rebuilt)):
        seen = suite.frame_logits(images[:, 2]).argmax(1)
        measures[f"frame judge top-1{suffix}"] = share(seen, [recipe.frame_class for recipe in recipes])
        logits = suite.video_logits(images)
        measures[f"video judge top-1{suffix}"] = share(logits.argmax(1), [recipe.video_class for recipe in recipes])
        measures[f"video judge object{suffix}"] = share_objects(logits, recipes)
        measures[f"video judge action{suffix}"] = share_actions(logits, recipes)

    embeddings = suite.encode_text([describe(recipe) for recipe in recipes])
    seeds = [derive_seed("suite", "card", index) for index in range(clips)]
    grey = np.full_like(video[:, 0], 128)
    drawn = suite.refine_keyframe(embeddings, grey, seeds, strength=1.0)  # from pure noise: the grey plays no part
    ways = {"caption": None, "caption and key frame drawn from it": drawn, "caption and true key frame": video[:, 0]}
    for way, keyframes in ways.items():
        started = time.process_time()
        parts = []
        for start in track(range(0, clips, CHUNK), f"generating from {way}"):
            rows = slice(start, start + CHUNK)
            given = None if keyframes is None else keyframes[rows]
            parts.append(suite.generate_video(embeddings[rows], seeds[rows], keyframes=given))
        measures[f"{way}: seconds a clip"] = (time.process_time() - started) / clips
        made = np.concatenate(parts)
        frames = suite.frame_logits(made.reshape(-1, *made.shape[2:])).reshape(*made.shape[:2], -1)
        measures[f"{way}: object (frame judge)"] = share_objects(frames.mean(1), recipes)
        logits = suite.video_logits(made)
        measures[f"{way}: object (video judge)"] = share_objects(logits, recipes)
        measures[f"{way}: action"] = share_actions(logits, recipes)
        measures[f"{way}: PSNR (dB)"] = peak_ratio(made, video)
    gain = measures["caption and true key frame: PSNR (dB)"] - measures["caption: PSNR (dB)"]
    return {**measures, "key frame gain (dB)": gain}


def measure_embeddings(suite: Suite, recipes: Sequence[Recipe], video: Clips) -> dict[str, float]:
    """CLIP by the words for objects and by captions, DINO by its nearest neighbours and by frames of one clip.

    "Degraded" frames are what the judges trained on half of the time: blurred, reduced, rebuilt from few components.
    Retrieval is among groups of 40 clips drawn at random, so a group may show one object twice.
    """
    clips = len(video)
    rng = np.random.default_rng(derive_seed("suite", "card", "embeddings"))
    concepts = [recipe.concept for recipe in recipes]
    known = draw_recipes(rng, BANK)
    bank = render_frames(rng, known)
    basis = PatchBasis(bank[:600], 8, 16)
    worse = np.stack([degrade(rng, clip, basis) for clip in video])
    names = _unit(suite.judges.embed_captions("clip", [f"a {concept}" for concept in CONCEPTS]))
    prompts = _unit(suite.judges.embed_captions("clip", [PROMPT.format(concept) for concept in CONCEPTS]))
    captions = _unit(suite.judges.embed_captions("clip", [describe(recipe) for recipe in recipes]))
    remembered, labels = suite.judges.observe("dino", bank[:, None])[:, 0], [recipe.concept for recipe in known]
    others = rng.permutation(clips)
    measures = {}
    for suffix, shown in (("", video), (", degraded", worse)):
        seen = suite.judges.observe_many(["clip", "dino"], shown)
        looks, tokens = _unit(seen["clip"]), _unit(seen["dino"])
        measures[f"clip: object from one frame{suffix}"] = share((looks[:, 2] @ names.T).argmax(1), concepts)
        groups = np.array_split(rng.permutation(clips), max(1, clips // 40))
        means = _unit(looks.mean(1))
        measures[f"clip: object of a clip by the metrics' prompt{suffix}"] = share(
            (means @ prompts.T).argmax(1), concepts
        )
        found = np.concatenate([group[(captions[group] @ means[group].T).argmax(1)] for group in groups])
        measures[f"clip: clip of a caption among 40{suffix}"] = share(found, np.concatenate(groups))
        right = share_neighbours(remembered, labels, seen["dino"][:, 2], concepts, len(CONCEPTS))
        measures[f"dino: object by neighbours{suffix}"] = right
        near = (tokens[:, :-1] * tokens[:, 1:]).sum(-1).mean()
        measures[f"dino: cosine of adjacent frames{suffix}"] = float(near)
        far = (tokens[:, 0] * tokens[others, 0])[others != np.arange(clips)].sum(-1).mean()
        measures[f"dino: cosine of frames of two clips{suffix}"] = float(far)
    return measures


def measure_wan(suite: Suite, recipes: Sequence[Recipe], video: Clips) -> dict[str, float]:
    """Wan by its own pipeline, from captions; X-CLIP by its nearest neighbours among clips of the suite's pool."""
    clips, frames = len(video), suite.settings["wan_frames"]
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
    seeds = [derive_seed("suite", "card", "wan", index) for index in range(clips)]
    rebuilt, made = [], []
    for start in track(range(0, clips, CHUNK), "generating with Wan"):
        rows = slice(start, start + CHUNK)
        pixels = to_pixels(fit_clips(video[rows], (frames, height, width))).transpose(1, 2).to(suite.device)
        with torch.no_grad():
            again = vae.decode(vae.encode(pixels).latent_dist.mode()).sample
        rebuilt.append(quantise(again.add(1).div(2).transpose(1, 2)))
        drawn = pipeline(
            prompt=[describe(recipe) for recipe in recipes[rows]],
            negative_prompt="",
            latents=draw_noise(seeds[rows], latent),
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
    known = draw_recipes(np.random.default_rng(derive_seed("suite", "card", "actions")), BANK)
    remembered, asked = suite.embed_actions(render_clips(known)), suite.embed_actions(video)
    labels, actions = ([recipe.action for recipe in some] for some in (known, recipes))
    return {
        "Wan: caption: object (video judge)": share_objects(logits, recipes),
        "Wan: caption: action": share_actions(logits, recipes),
        "X-CLIP: action by neighbours": share_neighbours(remembered, labels, asked, actions, len(ACTIONS)),
        "Wan: autoencoder PSNR (dB)": peak_ratio(fit_clips(np.concatenate(rebuilt), video.shape[1:]), video),
        "Wan: caption: PSNR (dB)": peak_ratio(shown, video),
    }


def measure_reading(suite: Suite) -> dict[str, float]:
    """Means over the development seeds of what a ridge from the brain finds in each space, and the most that it loses.

    The loss is that of one modality at one seed, against the ridge to labels.
    """
    table = tabulate_reading(suite)
    say(table.round(3).to_string(index=False))
    means = table.drop(columns="seed").groupby("modality").mean()
    found = {f"{modality}: {space}": value for modality, row in means.iterrows() for space, value in row.items()}
    lost = {f"most lost by {space}": (table[LABELS] - table[space]).max() for space in (CAPTIONS, PICTURES)}
    return {f"{what} (seeds {SEEDS[0]}-{SEEDS[-1]})": float(value) for what, value in {**found, **lost}.items()}


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


if __name__ == "__main__":
    measure_suite(parts=[part for part in PARTS if part in sys.argv[1:]] or PARTS)
