"""The names that MinD-Video's authors gave the numbers of their fMRI encoder (`models/fmri_encoder.py:237`)."""

from __future__ import annotations

from bench.toolbox.released import Released, Rename, rename_layers

ENCODER = Released(
    what="MinD-Video's fMRI encoder of one subject",
    file="pretrains/sub1/fmri_encoder/diffusion_pytorch_model.bin (or model.pth), of sub2 and sub3 likewise",
    size="1.6 GB in fp32 by its numbers; the authors give no size",
    licence="none given",
    where="the Google Drive folder of checkpoints that https://github.com/jqin4749/MindVideo links to",
)
BLOCK = (
    ("norm1", "spatial.norm"),
    ("attn.qkv", "spatial.enter"),
    ("attn.proj", "spatial.leave"),
    ("norm_temp", "temporal.norm"),
    ("attn_temp.qkv", "temporal.enter"),
    ("attn_temp.proj", "temporal.leave"),
    ("norm2", "mlp.0"),
    ("mlp.fc1", "mlp.1"),
    ("mlp.fc2", "mlp.3"),
)
FRESH = ("mean_text", r"to_(?:image|caption)\..*")  # theirs has no mean, and its heads beside CLIP are not released


def list_renames(subject: int) -> list[Rename]:
    """Renames into an encoder whose own layers are those of `subject`."""
    own = f"subjects.{subject}"
    return [
        Rename(r"patch_embed\.proj\.weight", f"{own}.weight", lambda tensor: tensor.permute(1, 2, 0)),
        Rename(r"patch_embed\.proj\.bias", f"{own}.bias"),
        Rename("pos_embed", f"{own}.positions", lambda tensor: tensor[0, 1:]),  # behind the class token's
        Rename("cls_token|mask_token|logit_scale", None),  # which its forward never reads
        *rename_layers("blocks", "layers", BLOCK),
        Rename(r"norm\.(weight|bias)", r"norm.\1"),
        Rename(r"proj_head\.channel_mapper\.weight", f"{own}.to_tokens"),
        Rename(r"proj_head\.projection\.weight", "to_text.project.weight"),
        Rename(r"proj_head\.fc\.weight", "to_text.mix.weight"),
    ]
