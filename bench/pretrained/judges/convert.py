"""Conversion of published checkpoints that no hub holds in a format that official classes read."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from bench.core.errors import BenchError
from bench.pretrained.judges.publishers import IMAGENET


class CannotConvert(BenchError):
    """A checkpoint that is not of the kind named."""


def convert_vifi(checkpoint: Path, base: Path, folder: Path) -> None:
    """ViFi-CLIP (Rasheed et al. 2023) to an open_clip folder.

    `checkpoint` is the published .pth of the fully fine-tuned ViT-B/16 (`{"model": ...}`, with `image_encoder.*`,
    `text_encoder.*` and `logit_scale`); `base` a folder of timm/vit_base_patch16_clip_224.openai, of which ViFi-CLIP
    keeps the words' table (frozen there, so not in its checkpoint) and open_clip's config, but for the mean and
    deviation of pixels, which are ImageNet's. Raises `CannotConvert` where weights are missing, left over, or of
    another shape.
    """
    checkpoint, base, folder = Path(checkpoint), Path(base), Path(folder)
    try:
        held = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CannotConvert(
            f"{checkpoint} holds more than weights ({str(error).splitlines()[0]}), and unpickling the rest would run "
            "its code; where you trust the file, save its entry 'model' alone with torch.save and convert that"
        ) from error
    held = held.get("model", held)
    weights = load_file(base / "open_clip_model.safetensors")
    renamed: dict[str, torch.Tensor] = {}
    for name, weight in held.items():
        name = name.removeprefix("module.")
        if name.startswith("prompt_learner."):
            continue  # the class names' words, embedded
        name = name.replace("image_encoder.", "visual.", 1).replace("text_encoder.", "", 1)
        renamed[name] = weight.float().contiguous()
    sizes = {name: weight.shape for name, weight in weights.items()}
    strange = sorted(name for name, weight in renamed.items() if weight.shape != sizes.get(name))
    absent = sorted(weights.keys() - renamed.keys() - {"token_embedding.weight", "attn_mask"})
    if strange or absent:
        raise CannotConvert(
            f"{checkpoint} is no ViFi-CLIP of the size of {base}: unknown or of another shape {strange[:3]}, missing "
            f"{absent[:3]}; needs the fully fine-tuned ViT-B/16"
        )
    folder.mkdir(parents=True, exist_ok=True)
    save_file({**weights, **renamed}, folder / "open_clip_model.safetensors")
    config = json.loads((base / "open_clip_config.json").read_text(encoding="utf-8"))
    config["preprocess_cfg"] |= {"mean": list(IMAGENET[0]), "std": list(IMAGENET[1])}  # its `img_norm_cfg`, not CLIP's
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
