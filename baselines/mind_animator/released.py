"""The names that Mind-Animator's authors gave the numbers of their three decoders (`models/Decoder.py`)."""

from __future__ import annotations

from bench.toolbox.released import Released, Rename

WHERE = "https://osf.io/utqde"
RELEASED = {
    "semantic": Released(
        "Mind-Animator's semantic decoder of one subject", "Semantic_decoder_30.pth", "289 MB in fp32 by its numbers",
        "none given", WHERE,
    ),
    "structure": Released(
        "Mind-Animator's structure decoder of one subject", "Structure_decoder_75.pth", "94 MB in fp32 by its numbers",
        "none given", WHERE,
    ),
    "motion": Released(
        "Mind-Animator's motion decoder (CMG) of one subject", "CMG_patch_size_64_epoch70.pth",
        "1.3 GB in fp32 by its numbers", "none given", WHERE,
    ),
}  # fmt: skip


def list_renames(decoder: str, subject: int) -> list[Rename]:
    """Renames into the decoder of that name, whose input layer is that of `subject`."""
    if decoder == "structure":
        return [
            Rename(r"lin0\.0\.(weight|bias)", rf"inputs.{subject}.layer.\1"),
            Rename(r"mlp\.(\d+)\.0\.(weight|bias)", r"blocks.\1.\2"),
            Rename(r"lin1\.0\.(weight|bias)", r"norm.\1"),
            Rename(r"lin1\.2\.(weight|bias)", r"leave.\1"),
        ]
    before = r"encoder\." if decoder == "motion" else ""
    body = [
        Rename(rf"{before}lin0\.0\.(weight|bias)", rf"body.inputs.{subject}.layer.\1"),
        Rename(rf"{before}lin0\.1\.(weight|bias)", r"body.enter.0.\1"),
        Rename(rf"{before}mlp\.(\d+)\.([01])\.(weight|bias)", r"body.blocks.\1.\2.\3"),
    ]
    if decoder == "semantic":
        return [*body, Rename("logit_scale", "scale"), Rename(r"lin1\.(\d)\.(weight|bias)", r"to_text.\1.\2")]
    layer = r"decoder\.layers\.(\d+)"
    attentions = [
        Rename(rf"{layer}\.{theirs}\.{one}\.(weight|bias)", rf"layers.\1.{ours}.{other}.\2")
        for theirs, ours in (("self_attn", "over_frames"), ("src_attn", "to_fmri"))
        for one, other in (
            (r"linears\.0", "queries"), (r"linears\.1", "keys"), (r"linears\.2", "values"), ("linears1", "leave"),
        )
    ]  # fmt: skip
    return [
        *body,
        Rename(r"encoder\.lin1\.(weight|bias)", r"to_fmri.\1"),
        *attentions,
        Rename(rf"{layer}\.feed_forward\.w_1\.(weight|bias)", r"layers.\1.mlp.0.\2"),
        Rename(rf"{layer}\.feed_forward\.w_2\.(weight|bias)", r"layers.\1.mlp.3.\2"),
        Rename(rf"{layer}\.sublayer\.(\d)\.norm\.a_2", r"layers.\1.norms.\2.gain"),
        Rename(rf"{layer}\.sublayer\.(\d)\.norm\.b_2", r"layers.\1.norms.\2.bias"),
        Rename(r"decoder\.norm\.a_2", "norm.gain"),
        Rename(r"decoder\.norm\.b_2", "norm.bias"),
        Rename(r"tgt_embed\.1\.pe", None),
    ]
