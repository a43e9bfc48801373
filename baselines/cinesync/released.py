"""The names that CineSync's authors gave the numbers of their encoders.

`sgm/modules/encoders/fmri_encoder_custom.py:120`, `eeg_encoder_custom.py:98`, inside `modules.py:285`; a checkpoint of
theirs holds both encoders, the video model and its autoencoder. Their linear layer to the text reads fMRI and EEG side
by side: the columns of one kind are its share of the sum, and the bias stays.

Their fMRI encoder goes over the volumes first, ours over the voxels: Z = S (X C + c) + s, with S over voxels and C over
volumes, is (S X) C + [(Σ S) c + s], and what stands in the brackets, a number for each token and feature, joins our
positions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from bench.toolbox.released import Released, Rename, rename_layers

CHECKPOINT = Released(
    what="CineSync's checkpoint of one subject",
    file="ckpts_5b/brain_lora_va_sub01/.../mp_rank_00_model_states.pt, of sub02 to sub06 likewise",
    size="more than 11 GB by its numbers in bf16, the video model among them; the authors give no size",
    licence="see the page of the weights; the data set's is apache-2.0",
    where="https://huggingface.co/Fudan-fMRI/CineSync",
)
INSIDE = r"(?:.*\.)?(fmri_encoder|eeg_encoder|fmri_eeg_linear)\.(.*)"
FRESH = ("head.mean", r"subjects\..*\.mix\.weight")  # theirs has no mean and no mixture of channels
LAYER = (
    ("norm1", "norm1"),
    ("norm2", "norm2"),
    ("self_attn.in_proj", "self_attn.in_proj"),
    ("self_attn.out_proj", "self_attn.out_proj"),
    ("feed_forward.fc1", "linear1"),
    ("feed_forward.fc2", "linear2"),
)


def list_renames(subject: int) -> list[Rename]:
    """Renames into an encoder whose first layer is that of `subject`, of what `prepare` gives."""
    return [
        Rename(r"spatial_proj\.(weight|bias)", rf"subjects.{subject}.regress.\1"),
        Rename(r"channel_proj\.(weight|bias)", r"stem.lift.\1"),
        Rename(r"input_proj\.(weight|bias)", r"stem.convolve.\1"),
        Rename("cls_token", "global_token", lambda tensor: tensor[0, 0]),
        Rename("pos_embed", "positions", lambda tensor: tensor[0]),
        *rename_layers(r"(?:transformer\.layers|encoder_layers)", "layers", LAYER),
        Rename(r"out_proj\.(weight|bias)", r"leave.\1"),
        Rename(r"cls_proj\.(weight|bias)", r"project.\1"),
        Rename(r"fmri_eeg_linear\.(weight|bias)", r"head.project.\1"),
    ]


def prepare(held: Mapping[str, Tensor], *, fmri: bool) -> dict[str, Tensor]:
    """One kind's encoder and its share of the layer to the text; queries, keys and values joined; biases in positions.

    What is of the other kind, of the video model and of the losses is left out. Raises KeyError for what is missing.
    """
    own = "fmri_encoder" if fmri else "eeg_encoder"
    made: dict[str, Tensor] = {}
    for name, tensor in held.items():
        if (found := re.fullmatch(INSIDE, name)) and found[1] in (own, "fmri_eeg_linear"):
            made[found[2] if found[1] == own else f"fmri_eeg_linear.{found[2]}"] = tensor
    for name in [name for name in made if re.search(r"\.q_proj\.(weight|bias)$", name)]:
        parts = [made.pop(name.replace(".q_proj.", f".{one}_proj.")) for one in "qkv"]
        made[name.replace(".q_proj.", ".in_proj.")] = torch.cat(parts)
    made["fmri_eeg_linear.weight"] = made["fmri_eeg_linear.weight"].chunk(2, dim=1)[0 if fmri else 1]
    if fmri:
        beside = made["spatial_proj.weight"].sum(dim=1)[:, None] * made["channel_proj.bias"]
        beside = beside + made["spatial_proj.bias"][:, None]  # (token, width)
        made["pos_embed"] = made["pos_embed"] + functional.pad(beside, (0, 0, 1, 0))
        made |= {name: torch.zeros_like(made[name]) for name in ("spatial_proj.bias", "channel_proj.bias")}
    return made
