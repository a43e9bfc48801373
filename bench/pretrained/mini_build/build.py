"""Building of the `mini` suite: one network after the other, resumable, each published by a rename when finished.

Stages run in the order of `STAGES`; a stage whose roles are all there is skipped, so an interrupted build continues
where it stopped. Unfinished work lies in `<folder>.partial`. On two cores at 2-3 GHz the whole takes about four
hours, on one core at a time; minutes and seed of each stage go into `build.json` beside the networks.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from transformers import VideoMAEForVideoClassification, ViTForImageClassification

from bench.core.errors import BenchError
from bench.core.progress import say
from bench.pretrained.mini_build.train_action import train_action_encoder
from bench.pretrained.mini_build.train_autoencoder import train_autoencoder
from bench.pretrained.mini_build.train_clip import train_clip
from bench.pretrained.mini_build.train_dino import train_dino
from bench.pretrained.mini_build.train_generators import (
    SHARDS,
    LatentPool,
    encode_shard,
    make_pool,
    train_image_generator,
    train_video_generator,
)
from bench.pretrained.mini_build.train_judges import train_frame_judge, train_video_judge
from bench.pretrained.mini_build.train_wan import train_wan, train_wan_autoencoder
from bench.pretrained.roles import CATALOGUE, HERE

STAGES: dict[str, tuple[str, ...]] = {  # stage: the roles it makes
    "vae": ("vae",),
    "frame_judge": ("frame_judge",),
    "video_judge": ("video_judge",),
    "clip": ("clip",),
    "dino": ("dino",),
    "images": ("unet", "text_encoder", "tokenizer", "scheduler"),
    "video": ("motion_adapter", "sparse_control"),
    "action": ("action",),
    "wan_vae": ("wan_vae",),
    "wan": ("wan_transformer", "wan_text_encoder", "wan_tokenizer"),
}


class CannotBuild(BenchError):
    """A suite or a role that the builder does not make."""


def _load_vae(folder: Path) -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()


def _load_judge(folder: Path) -> ViTForImageClassification:
    return ViTForImageClassification.from_pretrained(folder / "frame_judge", torch_dtype=torch.float32).eval()


def _load_video_judge(folder: Path) -> VideoMAEForVideoClassification:
    source = folder / "video_judge"
    return VideoMAEForVideoClassification.from_pretrained(source, torch_dtype=torch.float32).eval()


def _encode_clips(folder: Path, work: Path, seed: int) -> LatentPool:
    """The training clips as latents; each part is kept until the build is finished."""
    parts = []
    for shard in range(SHARDS):
        path = work / f"clips-{shard}.safetensors"
        if not path.exists():
            draft = path.with_suffix(".tmp")
            save_file({"latents": encode_shard(_load_vae(folder), shard, seed=seed)}, draft)
            draft.replace(path)
        parts.append(load_file(path)["latents"])
    return make_pool(parts, seed=seed)


def _build_images(out: Path, folder: Path, work: Path, seed: int) -> None:
    train_image_generator(out, _encode_clips(folder, work, seed), _load_vae(folder), _load_judge(folder), seed=seed)


def _build_video(out: Path, folder: Path, work: Path, seed: int) -> None:
    pool = _encode_clips(folder, work, seed)
    train_video_generator(out, pool, _load_vae(folder), _load_judge(folder), folder, seed=seed)


BUILDERS: dict[str, Callable[[Path, Path, Path, int], None]] = {
    "vae": lambda out, folder, work, seed: train_autoencoder(out / "vae", seed=seed),
    "frame_judge": lambda out, folder, work, seed: train_frame_judge(out / "frame_judge", seed=seed),
    "video_judge": lambda out, folder, work, seed: train_video_judge(out / "video_judge", seed=seed),
    "clip": lambda out, folder, work, seed: train_clip(out / "clip", seed=seed),
    "dino": lambda out, folder, work, seed: train_dino(out / "dino", seed=seed),
    "images": _build_images,
    "video": _build_video,
    "action": lambda out, folder, work, seed: train_action_encoder(out / "action", seed=seed),
    "wan_vae": lambda out, folder, work, seed: train_wan_autoencoder(out / "wan_vae", seed=seed),
    "wan": lambda out, folder, work, seed: train_wan(out, _load_video_judge(folder), seed=seed),
}


def build_suite(
    name: str = "mini", only: str | Sequence[str] | None = None, *, folder: Path | None = None, seed: int = 0
) -> Path:
    """Train what is missing of the suite in `folder` (default: the package's own) and return the folder.

    `only` names stages (of `STAGES`) to train anew, and no others. Later stages build on earlier ones: after `vae`,
    retrain `images` and `video` too; those of Wan have only `LatentBasis` in common. Raises `CannotBuild` for a suite
    or stage that there is not.
    """
    if name != "mini":
        raise CannotBuild(f"suite {name!r} cannot be built; only 'mini' can, other suites are fetched")
    wanted = tuple(STAGES) if only is None else (only,) if isinstance(only, str) else tuple(only)
    unknown = [stage for stage in wanted if stage not in STAGES]
    if unknown:
        raise CannotBuild(f"no stage {', '.join(unknown)} in the build of mini; stages are {', '.join(STAGES)}")
    folder = HERE / name if folder is None else folder
    work = folder.with_name(folder.name + ".partial")
    for stage in wanted:
        if only is None and all((folder / role).is_dir() for role in STAGES[stage]):
            say(f"{stage}: already there")
            continue
        out = work / stage
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        BUILDERS[stage](out, folder, work, seed)
        for role in STAGES[stage]:
            shutil.rmtree(folder / role, ignore_errors=True)
            (out / role).replace(folder / role)
        _record(folder, stage, {"minutes": round((time.monotonic() - started) / 60, 1), "seed": seed})
    made = {role for roles in STAGES.values() for role in roles}
    if folder != HERE / name and all((folder / role).is_dir() for role in made):
        (folder / "suite.toml").write_text(describe_folder(name))
    if only is None:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def describe_folder(name: str) -> str:
    """A `suite.toml` for a folder that holds all roles of the catalogue's suite `name`."""
    import tomllib

    settings = tomllib.loads(CATALOGUE.read_text())[name]
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items() if key != "roles"]
    folders = {role: source["subfolder"] for role, source in settings["roles"].items()}
    roles = [f'{role} = {{ id = ".", subfolder = "{part}", licence = "Apache-2.0" }}' for role, part in folders.items()]
    return "\n".join([*lines, "", "[roles]", *roles, ""])


def _record(folder: Path, stage: str, entry: dict[str, float | int]) -> None:
    path = folder / "build.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**record, stage: entry}, indent=1) + "\n")
