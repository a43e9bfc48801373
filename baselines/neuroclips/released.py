"""The names that NeuroClips' authors gave the numbers of their reconstructors.

`src/Semantic.py:11` and `:382` in the model of `src/train_SR.py`, `src/Perception.py:5` and `:91` with
`src/video_decoder.py:405` in that of `src/train_PR.py`; the prior's layers are dalle2-pytorch's.
"""

from __future__ import annotations

from bench.toolbox.released import Released, Rename

WHERE = "a run of https://github.com/gongzix/NeuroClips, whose page links to data and to MindEye2's weights alone"
SEMANTIC = Released(
    what="NeuroClips' semantic reconstructor of one subject",
    file="the .pth that train_SR.py saves, e.g. video_subj01_SR_backbone.pth",
    size="7.8 GB in fp32 by its numbers, 8.8 GB with the prior",
    licence="none given",
    where=WHERE,
)
PERCEPTION = Released(
    what="NeuroClips' perception reconstructor of one subject",
    file="the .pth that train_PR.py saves",
    size="0.9 GB in fp32 by its numbers",
    licence="none given",
    where=WHERE,
)
WEIGHTS = "(weight|bias)"
FRESH = (r"prior\..*",)  # which the file of stage A lacks


def list_mixer(theirs: str, ours: str, layers: tuple[tuple[str, str], ...]) -> list[Rename]:
    """Renames of both kinds of mixer blocks, norm first."""
    return [
        Rename(rf"{theirs}mixer_blocks{number}\.(\d+)\.{before}\.{WEIGHTS}", rf"{ours}mixer.{kind}.\1.{after}.\2")
        for number, kind in ((1, "across"), (2, "along"))
        for before, after in (("0", "0"), *layers)
    ]


DEEP, FLAT = (("1\\.0", "1"), ("1\\.3", "4")), (("1\\.0", "1"),)


def list_semantic(subject: int) -> list[Rename]:
    """Renames into a ModuleDict of `semantic` and `prior`, whose ridge is that of `subject`."""
    net, layer = r"diffusion_prior\.net\.", r"diffusion_prior\.net\.causal_transformer\.layers\.(\d+)"
    return [
        Rename(rf"ridge\.linears\.0\.{WEIGHTS}", rf"semantic.ridge.{subject}.layer.\1"),
        *list_mixer(r"backbone\.", "semantic.", DEEP),
        Rename(rf"backbone\.backbone_linear\.{WEIGHTS}", r"semantic.to_tokens.\1"),
        Rename(rf"backbone\.clip_proj\.(\d)\.{WEIGHTS}", r"semantic.projector.\1.\2"),
        Rename(r"clipproj\.proj", None),  # coco_tokens_avg_proj.pth; ours is measured on the training clips
        Rename(rf"{net}null_brain_embeds", "prior.absent"),
        Rename(rf"{net}null_image_embed", None),
        Rename(rf"{net}learned_query", "prior.places"),
        Rename(rf"{net}to_time_embeds\.0\.1\.net\.0\.0\.{WEIGHTS}", r"prior.clock.0.\1"),
        Rename(rf"{net}to_time_embeds\.0\.1\.net\.1\.0\.{WEIGHTS}", r"prior.clock.2.\1"),
        Rename(rf"{net}to_time_embeds\.0\.1\.net\.2\.{WEIGHTS}", r"prior.clock.4.\1"),
        Rename(rf"{net}causal_transformer\.rel_pos_bias\.relative_attention_bias\.weight", "prior.distances.weight"),
        Rename(rf"{layer}\.0\.norm\.g", r"prior.attentions.\1.norm.gain"),
        Rename(rf"{layer}\.0\.null_kv", r"prior.attentions.\1.beside"),
        Rename(rf"{layer}\.0\.to_q\.weight", r"prior.attentions.\1.queries.weight"),
        Rename(rf"{layer}\.0\.to_kv\.weight", r"prior.attentions.\1.keys_values.weight"),
        Rename(rf"{layer}\.0\.to_out\.0\.weight", r"prior.attentions.\1.leave.0.weight"),
        Rename(rf"{layer}\.0\.to_out\.1\.g", r"prior.attentions.\1.leave.1.gain"),
        Rename(rf"{layer}\.0\.rotary_emb\.freqs", None),  # fixed rates
        Rename(rf"{layer}\.1\.0\.g", r"prior.feeds.\1.norm.gain"),
        Rename(rf"{layer}\.1\.1\.weight", r"prior.feeds.\1.enter.weight"),
        Rename(rf"{layer}\.1\.5\.weight", r"prior.feeds.\1.leave.weight"),
        Rename(rf"{net}causal_transformer\.norm\.g", "prior.norm.gain"),
        Rename(rf"{net}causal_transformer\.project_out\.weight", "prior.head.weight"),
        Rename(r"diffusion_prior\.noise_scheduler\..*", None),
    ]


def list_perception(subject: int) -> list[Rename]:
    """Renames into the perception reconstructor, whose regression is that of `subject`."""
    own, up = f"regress.{subject}.layer.", r"backbone\.bupsampler\."
    blocks = [
        Rename(rf"{up}{theirs}\.{before}\.(\d)(\..*)?", rf"decoder.blocks.{place}.{after}")
        for place, theirs in enumerate(("mid_block", r"up_blocks\.0", r"up_blocks\.1", r"up_blocks\.2"))
        for before, after in (
            ("attentions", r"attend.\1.places\2"),
            ("temp_attentions", r"attend.\1.times\2"),
            ("weights", r"attend.\1.mix"),
            *(() if not place else (("resnets", r"convolve.\1\2"), ("upsamplers", r"enlarge\2"))),
        )
    ]
    return [
        Rename(rf"fmri\.lin0\.0\.{WEIGHTS}", rf"{own}enter.0.\1"),
        *list_mixer(r"fmri\.", own, FLAT),
        Rename(rf"fmri\.lin1\.0\.{WEIGHTS}", rf"{own}extend.0.\1"),
        Rename(rf"ridge1\.linears\.0\.{WEIGHTS}", rf"{own}ridge.\1"),
        *list_mixer(r"backbone\.", "", DEEP),
        Rename(rf"backbone\.blin1\.{WEIGHTS}", r"to_maps.\1"),
        Rename(rf"backbone\.bnorm\.{WEIGHTS}", r"norm.\1"),
        Rename(rf"backbone\.b_maps_projector\.(\d)\.{WEIGHTS}", r"describe.\1.\2"),
        Rename(rf"{up}conv_in\.{WEIGHTS}", r"decoder.enter.\1"),
        Rename(rf"{up}mid_block\.resnets\.0\.(.*)", r"decoder.blocks.0.first.\1"),
        Rename(rf"{up}mid_block\.resnets\.1\.(.*)", r"decoder.blocks.0.convolve.0.\1"),
        *blocks,
        Rename(rf"{up}conv_norm_out\.{WEIGHTS}", r"decoder.norm.\1"),
        Rename(rf"{up}conv_out\.{WEIGHTS}", r"decoder.leave.\1"),
    ]
