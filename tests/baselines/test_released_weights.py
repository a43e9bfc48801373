"""Released weights go into the baselines: random checkpoints in the authors' layout give what their networks give."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import released_layouts as theirs
import torch
from asking import hide_answers
from painted import PaintedDecoder, PaintedSuite, record
from torch import Tensor, nn

from baselines.cinesync import method as cinesync_method
from baselines.cinesync.method import CineSync
from baselines.eeg2video import released as eeg2video_released
from baselines.eeg2video.glmnet import GLMNet
from baselines.eeg2video.method import start_from as start_eeg2video
from baselines.eeg2video.parameters import Parameters as EEG2VideoParameters
from baselines.eeg2video.semantic import SemanticPredictor
from baselines.eeg2video.seq2seq import Seq2Seq
from baselines.glfa import method as glfa_method
from baselines.glfa import released as glfa_released
from baselines.glfa.method import Glfa, build_atlas
from baselines.glfa.parameters import read_parameters as read_glfa
from baselines.mind_animator import released as mind_animator_released
from baselines.mind_animator.decoders import MotionDecoder, SemanticDecoder, StructureDecoder, add_inputs, bar_frames
from baselines.mind_animator.method import start_from as start_mind_animator
from baselines.mind_video import method as mind_video_method
from baselines.mind_video.method import MindVideo
from baselines.mind_video.parameters import read_parameters as read_mind_video
from baselines.neuroclips import released as neuroclips_released
from baselines.neuroclips.method import NeuroClips
from baselines.neuroclips.networks import build_networks
from baselines.neuroclips.parameters import read_parameters as read_neuroclips
from bench.core.errors import BenchError
from bench.toolbox.encoded import CaptionTokens
from bench.toolbox.released import CannotLoad, load_released

CAP = (*(f"E{place}" for place in range(50)), *(f"O{place}" for place in range(12)))


def draw(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def save(made: nn.Module, path: Path, **wrapped: Any) -> str:
    torch.save({"model": made.state_dict(), **wrapped} if wrapped else made.state_dict(), path)
    return str(path)


def test_mind_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through `align`: 40 voxels of subject 3 in patches of 4, two volumes, painted texts of 5 tokens of 6 numbers."""
    suite, train = PaintedSuite(), record((40,), first_subject=3)
    tokens, text = suite.encode_text(train.captions).shape[1:]
    made = theirs.randomise(
        theirs.mind_video(patches=5, patch=4, width=16, layers=2, volumes=2, tokens=tokens, text=text)
    )
    save(made, tmp_path / "sub3.pth", epoch=1)
    targets = SimpleNamespace(
        image=torch.zeros(40, 9),
        text=torch.zeros(40, 9),
        tokens=CaptionTokens(suite.encode_text(train.captions), tokens),
        caption=torch.arange(40),
    )
    monkeypatch.setattr(mind_video_method, "encode_targets", lambda *rest, **options: targets)
    monkeypatch.setattr(MindVideo, "train_stage2", lambda *rest: [])
    method = MindVideo(
        suite=suite, weights=str(tmp_path / "sub{subject}.pth"), token_weight=0.0, patch=4, width=16, heads=4, layers=2,
        feedforward=32, masked_epochs=0, leave_out=["mPFC"],
    )  # fmt: skip
    with torch.no_grad():
        encoder = method.align(train).eval()
        signals, subject = torch.from_numpy(train.brain[:3]), torch.from_numpy(train.subject[:3])
        expected = theirs.run_mind_video(made, signals[:, :20].transpose(1, 2), heads=4)
        torch.testing.assert_close(encoder(signals, subject), expected)
    with pytest.raises(BenchError, match="token_weight=0"):
        read_mind_video({"weights": "a.pth"})
    with pytest.raises(CannotLoad, match="one subject's and 2 are trained here"):
        MindVideo(suite=suite, **vars(method.parameters)).align(record())


GLFA: dict[str, Any] = {
    "form": "atlas", "side": 8, "patch": 16, "kernel": 3, "width": 16, "heads": 4, "layers": 2, "feedforward": 64,
}  # fmt: skip


def test_glfa(tmp_path: Path) -> None:
    """Encoder and heads against the release's; the map's numbers one by one, as its forward has a test of its own."""
    made = theirs.randomise(theirs.glfa(side=8, patch=4, kernel=3, width=16, volumes=2, tokens=20, text=6))
    path = save(made, tmp_path / "fmri-encoder.pth", optimizer={})
    encoder = build_atlas(read_glfa(GLFA), volumes=2, embedding=6, text=6, text_tokens=20).eval()
    load_released(encoder, path, glfa_released.RULES, glfa_released.ENCODER, fresh=glfa_released.FRESH)
    align = made.func_align_layer
    assert torch.equal(encoder.map.around, align.weight[0, 0, 0])
    assert torch.equal(encoder.map.among_patches, align.global_align_weight[0, 0])
    encoder.map.forward = lambda pictures: pictures  # type: ignore[method-assign]
    signals = draw(3, 64, 2)
    with torch.no_grad():
        expected = theirs.run_glfa(made, signals.transpose(1, 2).unflatten(2, (8, 8)), heads=4)
        for ours, one in zip(encoder(signals, torch.ones(3)), expected, strict=True):
            torch.testing.assert_close(ours, one)


@pytest.mark.parametrize("lacking", ["func_align_layer", "fmri2clip", "fmri_encoder_proj"])
def test_glfa_s_file_of_each_stage_lacks_a_part(tmp_path: Path, lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = PaintedSuite()
    monkeypatch.setattr(glfa_method, "AnimateDiffDecoder", PaintedDecoder)
    monkeypatch.setattr(glfa_method, "train_both", lambda *rest, **options: ([], []))
    tokens, text = suite.encode_text(["a cat"]).shape[1:]
    made = theirs.randomise(theirs.glfa(side=8, patch=4, kernel=3, width=16, volumes=2, tokens=tokens, text=text))
    held = {name: one for name, one in made.state_dict().items() if not name.startswith((lacking, "fmri2clip"))}
    held["fmri_encoder.transformer.decoder_blocks.0.norm1.weight"] = torch.ones(16)
    held["fmri_encoder.transformer.mask_token"] = torch.ones(1, 1, 16)
    torch.save({"model": held}, tmp_path / "a.pth")
    method = Glfa(suite=suite, weights=str(tmp_path / "a.pth"), **GLFA)
    method.fit(record(), record())
    trained = method.trained().state_dict()
    assert torch.equal(trained["embed.weight"], held["fmri_encoder.transformer.patch_embed.proj.weight"])
    assert (trained["map.around"].abs().max() < 1e-2) == (lacking == "func_align_layer")
    del held["fmri_encoder.transformer.blocks.1.attn.qkv.bias"]
    torch.save({"model": held}, tmp_path / "a.pth")
    with pytest.raises(CannotLoad, match=r"missing layers\.1\.self_attn\.in_proj_bias\. needed is GLFA's fMRI encoder"):
        Glfa(suite=suite, weights=str(tmp_path / "a.pth"), **GLFA).fit(record(), record())


@pytest.mark.parametrize("kind", ["fmri", "eeg"])
def test_cinesync(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through `fit`, with both encoders and a video model in the file."""
    suite, fmri = PaintedSuite(), kind == "fmri"
    train = record((12,), volumes=5, first_subject=4) if fmri else record((6,), volumes=40, eeg=True, first_subject=4)
    tokens, text = suite.encode_text(train.captions).shape[1:]
    made = theirs.randomise(theirs.cinesync(voxels=6, channels=6, width=16, tokens=tokens, clip=24, text=text))
    torch.save({"module": made.state_dict(), "client_lr_scheduler": {}}, tmp_path / "sub4.pt")
    monkeypatch.setattr(cinesync_method, "WanDecoder", PaintedDecoder)
    monkeypatch.setattr(cinesync_method, "train_both", lambda *rest, **options: ([], []))
    small: dict[str, Any] = {"channels": 1, "width": 16, "heads": 4, "layers": 2, "feedforward": 64}
    method = CineSync(suite=suite, weights=str(tmp_path / "sub{subject}.pt"), **small)
    method.fit(train, train)
    encoder = method.trained().eval()
    signals, subject = torch.from_numpy(train.brain[:3]), torch.from_numpy(train.subject[:3])
    given = signals[:, :6].transpose(1, 2) if fmri else signals.unflatten(2, (5, 8)).transpose(1, 2)
    with torch.no_grad():
        expected = theirs.run_cinesync(made, given, heads=4, fmri=fmri)
        for ours, one in zip(encoder(signals, subject), expected, strict=True):
            torch.testing.assert_close(ours, one, atol=1e-4, rtol=1e-4)
    held = made.state_dict()
    del held[f"conditioner.embedders.0.{kind}_encoder.cls_proj.weight"]
    torch.save({"module": held}, tmp_path / "sub4.pt")
    with pytest.raises(CannotLoad, match=r"missing project\.weight\. needed is CineSync's checkpoint"):
        CineSync(suite=suite, weights=str(tmp_path / "sub4.pt"), **small).fit(train, train)


@pytest.mark.parametrize("name", ["semantic", "structure", "motion"])
def test_mind_animator(tmp_path: Path, name: str) -> None:
    voxels, signals, subject = {2: np.arange(9)}, draw(3, 9, 1), torch.tensor([2, 2, 2])
    mean = draw(4, 6, seed=5)
    decoder: nn.Module
    if name == "semantic":
        made: Any = theirs.randomise(
            theirs.semantic_decoder(voxels=9, width=8, blocks=2, hidden=(10, 12), numbers=3 * 6)
        )
        decoder = SemanticDecoder(
            add_inputs(voxels, volumes=1, width=8),
            blocks=2,
            hidden=(10, 12),
            dropout=0.3,
            embedding=8,
            tokens=3,
            mean=mean,
        )
        hidden = theirs.run_residual(made, signals[:, :, 0])
        start = mean[:1].expand(3, 1, -1)  # their start token is put before what is decoded
        expected = (hidden, torch.cat([start, made.lin1(hidden).view(3, 3, 6)], dim=1))
    elif name == "structure":
        made = theirs.randomise(theirs.structure_decoder(voxels=9, width=8, blocks=2, numbers=12))
        decoder = StructureDecoder(
            add_inputs(voxels, volumes=1, width=8), blocks=2, dropout=0.2, mean=draw(3, 2, 2, seed=6)
        )
        expected = (made.lin1(theirs.run_residual(made, signals[:, :, 0])).view(3, 3, 2, 2),)
    else:
        made = theirs.randomise(theirs.motion_decoder(voxels=9, width=8, inner=4, frame=12, feedforward=10, layers=2))
        decoder = MotionDecoder(
            add_inputs(voxels, volumes=1, width=8), frames=4, shape=(3, 2, 2), blocks=1, layers=2, inner=4, heads=2,
            feedforward=10, fmri_tokens=1, dropout=0.2, change=False,
        )  # fmt: skip
        frames = draw(3, 4, 3, 2, 2, seed=7)
        placed = frames.flatten(2) + decoder.places
        expected = (theirs.run_motion(made, signals[:, :, 0], placed, heads=2).unflatten(2, (3, 2, 2)),)
    start_mind_animator(save(made, tmp_path / "2.pth").replace("2.pth", "{subject}.pth"), name, decoder.eval(), [2])
    given = (frames, signals, subject, bar_frames(4, 0.0)) if name == "motion" else (signals, subject)
    with torch.no_grad():
        found = decoder(*given)
    for ours, one in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
        torch.testing.assert_close(ours, one.detach())
    if name == "semantic":
        torch.testing.assert_close(decoder.scale, made.logit_scale)
    with pytest.raises(CannotLoad, match="needed is Mind-Animator's"):
        start_mind_animator(str(tmp_path / "9.pth"), name, decoder, [2])
    assert set(mind_animator_released.RELEASED) == {"semantic", "structure", "motion"}


NEUROCLIPS: dict[str, Any] = {
    "hidden": 16, "blocks": 2, "tokens": 4, "mixer": "released", "prior_depth": 2, "prior_heads": 4, "bottleneck": 6,
    "perception_hidden": 16, "perception_blocks": 2, "decoder_channels": [16, 16, 8], "decoder_groups": 4,
    "decoder_heads": 1, "features": 5,
}  # fmt: skip


def build_neuroclips(**changes: Any) -> Any:
    own = read_neuroclips({**NEUROCLIPS, **changes})
    return build_networks(own, volumes=1, voxels={6: np.arange(11)}, embedding=12, latent=(4, 8, 8), targets=4).eval()


def test_neuroclips_semantic_reconstructor(tmp_path: Path) -> None:
    made = theirs.randomise(theirs.neuroclips(voxels=11, width=16, blocks=2, tokens=4, embedding=12))
    torch.save({"epoch": 29, "model_state_dict": made.state_dict(), "optimizer_state_dict": {}}, tmp_path / "6.pth")
    method = NeuroClips(suite=PaintedSuite(), semantic_weights=str(tmp_path / "{subject}.pth"), **NEUROCLIPS)
    method.networks = build_neuroclips()
    before = {name: one.clone() for name, one in method.networks["prior"].state_dict().items()}
    method.start_from([6])
    signals = draw(3, 11, 1)
    with torch.no_grad():
        ours = method.networks["semantic"](signals, torch.tensor([6, 6, 6]))
        torch.testing.assert_close(ours, theirs.run_neuroclips(made, signals[:, :, 0], 12))
    assert all(torch.equal(one, before[name]) for name, one in method.networks["prior"].state_dict().items())


def list_prior(width: int, head: int, tokens: int, depth: int, heads: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of dalle2-pytorch 1.15 in `PriorNetwork` and `FlaggedCausalTransformer` of `src/Semantic.py`."""
    made: dict[str, tuple[int, ...]] = {
        "null_brain_embeds": (tokens, width), "null_image_embed": (tokens, width), "learned_query": (tokens, width),
        "to_time_embeds.0.1.net.0.0.weight": (2 * width, width), "to_time_embeds.0.1.net.0.0.bias": (2 * width,),
        "to_time_embeds.0.1.net.1.0.weight": (2 * width, 2 * width), "to_time_embeds.0.1.net.1.0.bias": (2 * width,),
        "to_time_embeds.0.1.net.2.weight": (width, 2 * width), "to_time_embeds.0.1.net.2.bias": (width,),
        "causal_transformer.rel_pos_bias.relative_attention_bias.weight": (32, heads),
        "causal_transformer.norm.g": (width,), "causal_transformer.project_out.weight": (width, width),
    }  # fmt: skip
    for layer in (f"causal_transformer.layers.{place}" for place in range(depth)):
        made |= {
            f"{layer}.0.norm.g": (width,), f"{layer}.0.null_kv": (2, head), f"{layer}.0.to_q.weight": (width, width),
            f"{layer}.0.to_kv.weight": (2 * head, width), f"{layer}.0.to_out.0.weight": (width, width),
            f"{layer}.0.to_out.1.g": (width,), f"{layer}.0.rotary_emb.freqs": (1,), f"{layer}.1.0.g": (width,),
            f"{layer}.1.1.weight": (8 * width, width), f"{layer}.1.5.weight": (width, 4 * width),
        }  # fmt: skip
    return made


def test_neuroclips_prior_takes_every_tensor_once(tmp_path: Path) -> None:
    backbone = theirs.randomise(theirs.neuroclips(voxels=11, width=16, blocks=2, tokens=4, embedding=12)).state_dict()
    shapes = {f"diffusion_prior.net.{name}": shape for name, shape in list_prior(12, 3, 4, 2, 4).items()}
    held = {name: draw(*shape, seed=place) for place, (name, shape) in enumerate(shapes.items())}
    held["diffusion_prior.noise_scheduler.betas"] = torch.ones(100)
    torch.save({"model_state_dict": {**backbone, **held}}, tmp_path / "6.pth")
    made = build_neuroclips()
    parts = nn.ModuleDict({name: made[name] for name in ("semantic", "prior")})
    renames = neuroclips_released.list_semantic(6)
    load_released(parts, tmp_path / "6.pth", renames, neuroclips_released.SEMANTIC, fresh=neuroclips_released.FRESH)
    prior, net = made["prior"], "diffusion_prior.net."
    for ours, name in (
        (prior.absent, "null_brain_embeds"),
        (prior.places, "learned_query"),
        (prior.clock[2].bias, "to_time_embeds.0.1.net.1.0.bias"),
        (prior.distances.weight, "causal_transformer.rel_pos_bias.relative_attention_bias.weight"),
        (prior.attentions[1].beside, "causal_transformer.layers.1.0.null_kv"),
        (prior.attentions[1].queries.weight, "causal_transformer.layers.1.0.to_q.weight"),
        (prior.attentions[0].leave[0].weight, "causal_transformer.layers.0.0.to_out.0.weight"),
        (prior.attentions[0].norm.gain, "causal_transformer.layers.0.0.norm.g"),
        (prior.attentions[0].leave[1].gain, "causal_transformer.layers.0.0.to_out.1.g"),
        (prior.feeds[1].enter.weight, "causal_transformer.layers.1.1.1.weight"),
        (prior.feeds[1].norm.gain, "causal_transformer.layers.1.1.0.g"),
        (prior.norm.gain, "causal_transformer.norm.g"),
        (prior.head.weight, "causal_transformer.project_out.weight"),
    ):
        assert torch.equal(ours, held[net + name]), name
    unread = {"null_image_embed", *(f"causal_transformer.layers.{place}.0.rotary_emb.freqs" for place in range(2))}
    assert len(prior.state_dict()) == len(shapes) - len(unread)


RESNET = ("norm1", "conv1", "norm2", "conv2")
ATTENTION = ("group_norm", "to_q", "to_k", "to_v", "to_out.0")


def test_neuroclips_perception_takes_every_tensor_once(tmp_path: Path) -> None:
    """A checkpoint that is made from our own numbers under their names; every one must come back where it was."""
    ours, other = build_neuroclips(), build_neuroclips()
    theirs.randomise(ours["perception"], 1)
    blocks = {0: "mid_block", 1: "up_blocks.0", 2: "up_blocks.1", 3: "up_blocks.2"}
    names = {}
    for place, block in blocks.items():
        up, own = f"backbone.bupsampler.{block}", f"decoder.blocks.{place}"
        resnets = {f"{own}.first": "0", f"{own}.convolve.0": "1"} if not place else {
            f"{own}.convolve.{one}": str(one) for one in range(2)
        }  # fmt: skip
        for mine, number in resnets.items():
            for part in (*RESNET, "conv_shortcut"):
                names |= {
                    f"{mine}.{part}.{kind}": f"{up}.resnets.{number}.{part}.{kind}" for kind in ("weight", "bias")
                }
        for number in range(1 if not place else 2):
            names[f"{own}.attend.{number}.mix"] = f"{up}.weights.{number}"
            for mine, kept in (("places", "attentions"), ("times", "temp_attentions")):
                for part in ATTENTION:
                    before, after = f"{own}.attend.{number}.{mine}.{part}", f"{up}.{kept}.{number}.{part}"
                    names |= {f"{before}.{kind}": f"{after}.{kind}" for kind in ("weight", "bias")}
        names |= {f"{own}.enlarge.conv.{kind}": f"{up}.upsamplers.0.conv.{kind}" for kind in ("weight", "bias")}
    for mine, kept in {
        "regress.6.layer.enter.0": "fmri.lin0.0", "regress.6.layer.extend.0": "fmri.lin1.0",
        "regress.6.layer.mixer.across.0.0": "fmri.mixer_blocks1.0.0",
        "regress.6.layer.mixer.across.0.1": "fmri.mixer_blocks1.0.1.0",
        "regress.6.layer.mixer.along.0.0": "fmri.mixer_blocks2.0.0",
        "regress.6.layer.mixer.along.0.1": "fmri.mixer_blocks2.0.1.0",
        "regress.6.layer.ridge": "ridge1.linears.0", "to_maps": "backbone.blin1", "norm": "backbone.bnorm",
        **{f"describe.{place}": f"backbone.b_maps_projector.{place}" for place in (0, 1, 3, 4, 6)},
        **{
            f"mixer.{kind}.{place}.{mine}": f"backbone.mixer_blocks{number}.{place}.{kept}"
            for kind, number in (("across", 1), ("along", 2))
            for place in range(2)
            for mine, kept in (("0", "0"), ("1", "1.0"), ("4", "1.3"))
        },
        "decoder.enter": "backbone.bupsampler.conv_in", "decoder.norm": "backbone.bupsampler.conv_norm_out",
        "decoder.leave": "backbone.bupsampler.conv_out",
    }.items():  # fmt: skip
        names |= {f"{mine}.{kind}": f"{kept}.{kind}" for kind in ("weight", "bias")}
    wanted = {name: one for name, one in ours["perception"].state_dict().items() if not name.endswith("columns")}
    assert set(wanted) <= set(names)
    held = {names[name]: tensor for name, tensor in wanted.items()}
    torch.save({"model_state_dict": held}, tmp_path / "6.pth")
    method = NeuroClips(suite=PaintedSuite(), perception_weights=str(tmp_path / "6.pth"), **NEUROCLIPS)
    method.networks = other
    method.start_from([6])
    found = other["perception"].state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    with pytest.raises(CannotLoad, match=r"missing decoder\.enter\.weight"):
        del held["backbone.bupsampler.conv_in.weight"]
        torch.save({"model_state_dict": held}, tmp_path / "6.pth")
        method.start_from([6])


def test_eeg2video(tmp_path: Path) -> None:
    """Windows of 100 samples at 200 Hz, as released; frames of 12 numbers."""
    seq2seq = theirs.randomise(theirs.eeg2video_seq2seq(channels=5, width=16, frame=12, feedforward=24))
    semantic = theirs.randomise(theirs.eeg2video_semantic(features=310, hidden=16, numbers=12))
    glmnet = theirs.randomise(theirs.eeg2video_glmnet(features=310, local=60, hidden=(8, 6), embedding=4, classes=2))
    files = {
        f"{name}_weights": save(made, tmp_path / f"{name}.pt", optimizer={})
        for name, made in (("seq2seq", seq2seq), ("semantic", semantic), ("dynamic", glmnet))
    }
    ours = SimpleNamespace(
        seq2seq=Seq2Seq(
            5, 7, 100, 200.0, (6, 3, 2, 2), filters=16, depth=4, pointwise=16, width=16, heads=4, encoder_layers=2,
            decoder_layers=4, feedforward=24, dropout=0.1, window_dropout=0.5, first_token=0,
        ).eval(),
        semantic=SemanticPredictor(310, (3, 4), hidden=16, layers=4).eval(),
        dynamic=GLMNet(CAP, 2, hidden=(8, 6), embedding=4).eval(),
    )  # fmt: skip
    start_eeg2video(EEG2VideoParameters(**files), ours)  # type: ignore[arg-type]
    windows, powers = draw(2, 7, 5, 100), draw(2, 62, 5, seed=4)
    with torch.no_grad():
        expected = theirs.run_seq2seq(seq2seq, windows, ours.seq2seq.positions, 6)[:, :6].unflatten(2, (3, 2, 2))
        torch.testing.assert_close(ours.seq2seq(windows), expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(ours.semantic(powers.flatten(1)).flatten(1), semantic.mlp(powers.flatten(1)))
        both = [glmnet.globalnet.net(powers), glmnet.occipital_localnet.net(powers[:, 50:62])]
        torch.testing.assert_close(ours.dynamic(powers.flatten(1)), glmnet.out(torch.cat(both, dim=1)))
    wrong = EEG2VideoParameters(semantic_weights=files["dynamic_weights"])
    with pytest.raises(
        CannotLoad, match=r"unknown globalnet\.net\.1\.weight.*needed is EEG2Video's semantic predictor"
    ):
        start_eeg2video(wrong, ours)  # type: ignore[arg-type]
    assert "no weights are published" in str(eeg2video_released.SEQ2SEQ)


def test_painted_videos_are_made_from_released_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parameter reaches `reconstruct`: GLFA from a file, not trained at all."""
    suite = PaintedSuite()
    monkeypatch.setattr(glfa_method, "AnimateDiffDecoder", PaintedDecoder)
    monkeypatch.setattr(glfa_method, "train_both", lambda *rest, **options: ([], []))
    tokens, text = suite.encode_text(["a cat"]).shape[1:]
    made = theirs.randomise(theirs.glfa(side=8, patch=4, kernel=3, width=16, volumes=2, tokens=tokens, text=text))
    held = {name: one for name, one in made.state_dict().items() if not name.startswith(("fmri2clip", "func"))}
    torch.save(held, tmp_path / "a.pth")
    method, test = Glfa(suite=suite, weights=str(tmp_path / "a.pth"), **GLFA), record(seed=5)
    method.fit(record(), record())
    method.trained().eval()  # as training would leave it
    _, said = method.read_brain(hide_answers(test), np.arange(4))
    given = torch.nn.functional.pad(torch.from_numpy(test.brain[:4]).transpose(1, 2), (0, 12)).unflatten(2, (8, 8))
    with torch.no_grad():
        made.fmri2clip = theirs.Bag(channel_mapper=nn.Conv1d(tokens, 1, 1), dim_mapper=nn.Identity())
        torch.testing.assert_close(said, theirs.run_glfa(made, given, heads=4)[1], atol=5e-3, rtol=5e-2)
    assert method.reconstruct(hide_answers(test, slice(0, 2))).shape == (2, 4, 16, 16, 3)
