"""A suite folder of the papers' sizes with random weights, in the official formats.

    PYTHONPATH=. python tests/worlds/random_suite.py FOLDER [--small] [--without-wan]

Whole it fills about 15 GB; UMT5 has one layer (its output has the real width). `--small` has the papers' latents,
frames, tokens and widths of text, and few layers and channels between them, for a processor.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler

from bench.pretrained.mini_build.networks import make_tokenizer
from bench.pretrained.paper_sizes import SCHEDULER
from bench.pretrained.roles import find_suite
from bench.pretrained.shapes import build_network

FEW = (32, 64, 128, 128)
SMALL: dict[str, dict[str, Any]] = {
    "vae": {"block_out_channels": (16, 32, 32, 32), "layers_per_block": 1, "norm_num_groups": 8},
    "text_encoder": {"intermediate_size": 256, "num_hidden_layers": 1},
    "unet": {"block_out_channels": FEW, "layers_per_block": 1},
    "motion_adapter": {"block_out_channels": FEW, "motion_layers_per_block": 1},
    "sparse_control": {"block_out_channels": FEW, "layers_per_block": 1},
    "wan_transformer": {"ffn_dim": 256, "num_layers": 1},
    "wan_vae": {"base_dim": 8, "num_res_blocks": 1},
}


def build(folder: Path, *, small: bool = False, wan: bool = True) -> Path:
    """Write the suite; weights are drawn on torch's default device."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    tokenizer = make_tokenizer(["a cat runs on grass", "a dog in a meadow"])
    words = {"vocab_size": len(tokenizer)}
    changes: dict[str, dict[str, Any]] = {
        "text_encoder": {"eos_token_id": tokenizer.eos_token_id},
        "wan_text_encoder": {"d_ff": 512, "num_layers": 1, "num_heads": 8, **words},
    }
    roles = ["vae", "text_encoder", "unet", "motion_adapter", "sparse_control"]
    roles += ["wan_transformer", "wan_vae", "wan_text_encoder"] if wan else []
    for role in roles:
        few = SMALL.get(role, {}) if small else {}
        build_network(role, **few, **changes.get(role, {})).save_pretrained(folder / role)
    for name in ("tokenizer", "wan_tokenizer") if wan else ("tokenizer",):
        tokenizer.save_pretrained(folder / name)
    DDIMScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    _, settings, _ = find_suite("paper")
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items() if key != "roles"]
    named = sorted(path.name for path in folder.iterdir() if path.is_dir())
    lines += ["", "[roles]", *(f'{name} = {{ id = ".", subfolder = "{name}" }}' for name in named)]
    (folder / "suite.toml").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--without-wan", action="store_true")
    asked = parser.parse_args()
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
    print(build(asked.folder, small=asked.small, wan=not asked.without_wan))
