"""Building of the `mini` suite: one network after the other, resumable, each published by a rename when finished.

Stages run in the order of `STAGES`; a stage whose roles are all there is skipped, so an interrupted build continues
where it stopped. Unfinished work lies in `<folder>.partial`. On two cores at 2-3 GHz the whole takes about four
hours, on one core at a time; minutes and seed of each stage go into `build.json` beside the networks.
"""

from __future__ import annotations

import json
import shutil
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import AutoencoderKL, ModelMixin
from transformers import PreTrainedModel, VideoMAEForVideoClassification, ViTForImageClassification

from bench.core.errors import BenchError
from bench.core.paths import find_checkout
from bench.core.progress import say
from bench.pretrained.mini_build.train_clip import train_action_encoder, train_clip
from bench.pretrained.mini_build.train_dino import train_dino
from bench.pretrained.mini_build.train_generators import (
    encode_pool,
    train_autoencoder,
    train_image_generator,
    train_video_generator,
)
from bench.pretrained.mini_build.train_judges import train_frame_judge, train_video_judge
from bench.pretrained.mini_build.train_wan import train_wan, train_wan_autoencoder
from bench.pretrained.roles import CATALOGUE, HERE, write_sums

Network = TypeVar("Network", bound=ModelMixin | PreTrainedModel)
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


def _load(network: type[Network], folder: Path) -> Network:
    return network.from_pretrained(folder, torch_dtype=torch.float32).eval()


def _build_images(out: Path, folder: Path, work: Path, seed: int) -> None:
    vae, judge = _load(AutoencoderKL, folder / "vae"), _load(ViTForImageClassification, folder / "frame_judge")
    train_image_generator(out, *encode_pool(vae, work, seed=seed), vae, judge, seed=seed)


def _build_video(out: Path, folder: Path, work: Path, seed: int) -> None:
    vae, judge = _load(AutoencoderKL, folder / "vae"), _load(ViTForImageClassification, folder / "frame_judge")
    train_video_generator(out, *encode_pool(vae, work, seed=seed), vae, judge, folder, seed=seed)


def _build_wan(out: Path, folder: Path, work: Path, seed: int) -> None:
    train_wan(out, _load(VideoMAEForVideoClassification, folder / "video_judge"), seed=seed)


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
    "wan": _build_wan,
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
    if folder is None and find_checkout() is None:
        raise CannotBuild(
            "this package is installed, and its suite is not yours to write: work in a checkout of the sources, or "
            "call bench.pretrained.mini_build.build.build_suite with a folder of yours"
        )
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
    write_sums(folder)
    made = {role for roles in STAGES.values() for role in roles}
    if folder != HERE / name and all((folder / role).is_dir() for role in made):
        (folder / "suite.toml").write_text(describe_folder(name), encoding="utf-8")
    if only is None:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def describe_folder(name: str) -> str:
    """A `suite.toml` for a folder that holds all roles of the catalogue's suite `name`."""
    settings = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))[name]
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items() if key != "roles"]
    folders = {role: source["subfolder"] for role, source in settings["roles"].items()}
    roles = [f'{role} = {{ id = ".", subfolder = "{part}", licence = "Apache-2.0" }}' for role, part in folders.items()]
    return "\n".join([*lines, "", "[roles]", *roles, ""])


def _record(folder: Path, stage: str, entry: dict[str, float | int]) -> None:
    path = folder / "build.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**record, stage: entry}, indent=1) + "\n", encoding="utf-8")
