"""The names that GLFA's authors gave the numbers of their encoder (`models/utils.py:403`), and ours for them.

The file of stage 1 has no functional map, that of stage 2 no path to CLIP's embedding, and the pre-trained one neither,
but a decoder of masked volumes; all three are taken.
"""

from __future__ import annotations

from bench.toolbox.released import TRANSFORMER_LAYER, Released, Rename, rename_layers

ENCODER = Released(
    what="GLFA's fMRI encoder",
    file="pretrained-fmri-encoder.pth, or fmri-encoder-checkpoint.pth of fmri-video-sub12-funcalign.zip",
    size="about 1.2 GB in fp32 by its numbers; the authors give no size",
    licence="none given",
    where="the Google Drive links of https://github.com/chongjg/GLFA-fmri-video",
)
BODY = r"(?:fmri_encoder\.)?transformer"
RULES = (
    Rename(r"func_align_layer\.weight", "map.around", lambda tensor: tensor[0, 0, 0]),
    Rename(r"func_align_layer\.global_align_weight", "map.among_patches", lambda tensor: tensor[0, 0]),
    Rename(rf"{BODY}\.patch_embed\.proj\.(weight|bias)", r"embed.\1"),
    Rename(rf"{BODY}\.cls_token", "global_token", lambda tensor: tensor[0, 0]),
    Rename(rf"{BODY}\.pos_embed", "positions", lambda tensor: tensor[0]),
    *rename_layers(rf"{BODY}\.blocks", "layers", TRANSFORMER_LAYER),
    Rename(rf"{BODY}\.norm\.(weight|bias)", r"norm.\1"),
    Rename(rf"{BODY}\.(?:pred|decoder_embed|decoder_blocks|decoder_norm|decoder_pred)\..*", None),
    Rename(rf"{BODY}\.(?:mask_token|decoder_pos_embed)", None),
    Rename(r"fmri_encoder_proj\.attn\.norm1\.(weight|bias)", r"over_volumes.spatial.norm.\1"),
    Rename(r"fmri_encoder_proj\.attn\.attn\.qkv\.(weight|bias)", r"over_volumes.spatial.enter.\1"),
    Rename(r"fmri_encoder_proj\.attn\.attn\.proj\.(weight|bias)", r"over_volumes.spatial.leave.\1"),
    Rename(r"fmri_encoder_proj\.attn\.norm_temp\.(weight|bias)", r"over_volumes.temporal.norm.\1"),
    Rename(r"fmri_encoder_proj\.attn\.attn_temp\.qkv\.(weight|bias)", r"over_volumes.temporal.enter.\1"),
    Rename(r"fmri_encoder_proj\.attn\.attn_temp\.proj\.(weight|bias)", r"over_volumes.temporal.leave.\1"),
    Rename(r"fmri_encoder_proj\.attn\.norm2\.(weight|bias)", r"over_volumes.mlp.0.\1"),
    Rename(r"fmri_encoder_proj\.attn\.mlp\.fc1\.(weight|bias)", r"over_volumes.mlp.1.\1"),
    Rename(r"fmri_encoder_proj\.attn\.mlp\.fc2\.(weight|bias)", r"over_volumes.mlp.3.\1"),
    Rename(r"fmri_encoder_proj\.cond_state_transform\.channel_mapper\.(\d)\.weight", r"to_tokens.\1.weight"),
    Rename(r"fmri_encoder_proj\.cond_state_transform\.projection\.weight", "head.project.weight"),
    Rename(r"fmri_encoder_proj\.cond_state_transform\.fc\.weight", "head.mix.weight"),
    Rename(r"fmri2clip\.channel_mapper\.(\d)\.weight", r"pool.\1.weight", lambda tensor: tensor[:, :, 0]),
    Rename(r"fmri2clip\.dim_mapper\.(weight|bias)", r"project.\1"),
    Rename(r"logit_scale", None),
)
FRESH = (r"map\..*", r"(?:pool|project)\..*", r"(?:over_volumes|to_tokens|head)\..*")  # what one of the files lacks
