"""Judges: each in its official format through the one code path, against direct calls of the libraries."""

from __future__ import annotations

import shutil

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from random_judges import MEAN, SMALL, STD, describe, draw_video, save_judges
from safetensors.torch import load_file, save_file
from torchvision.models.optical_flow import raft_large
from transformers import (
    AutoImageProcessor,
    AutoModel,
    BitImageProcessor,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessor,
    ViTForImageClassification,
    ViTImageProcessor,
    XCLIPModel,
)
from transformers.models.videomae.modeling_videomae import get_sinusoid_encoding_table

from bench.pretrained.judges import networks as judge_networks
from bench.pretrained.judges import observe as judges_module
from bench.pretrained.judges.networks import BadClip, encode_positions
from bench.pretrained.judges.observe import VIEWS, Judges, UnknownView, use_threads
from bench.pretrained.judges.preparation import read_open_clip, read_processor
from bench.pretrained.suite import load_suite
from bench.store.video import read_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_judges(tmp_path_factory.mktemp("judges") / "random")


@pytest.fixture(scope="module")
def judges(folder):
    return Judges(describe(folder))


@pytest.fixture(scope="module")
def video():
    return draw_video()


SEEN = [view for view in VIEWS if VIEWS[view].role not in ("raft", "amt")]


# Each judge against its library


def official(loader, folder, **options):
    return loader.from_pretrained(folder, **options).eval()


def official_pixels(folder, frames) -> torch.Tensor:
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    return processor(list(frames), return_tensors="pt")["pixel_values"]


@pytest.mark.parametrize("frames", [2, 6, 8, 16, 33])
def test_videomae_sees_clips_of_any_length_as_the_published_scripts_do(judges, folder, frames):
    """They override `num_frames` at loading, which for an odd number leaves the last frame unseen."""
    clip = np.random.default_rng(frames).integers(0, 256, (2, frames, 40, 54, 3), dtype=np.uint8)
    model = official(VideoMAEForVideoClassification, folder / "video_judge", num_frames=frames)
    pixels = torch.stack([official_pixels(folder / "video_judge", one)[0] for one in clip])
    with torch.no_grad():
        logits = model(pixels).logits.numpy()
        pooled = model.videomae(pixels).last_hidden_state.mean(1).numpy()
    seen = judges.observe_many(["video", "features"], clip)
    np.testing.assert_allclose(seen["video"], logits, atol=1e-6)
    np.testing.assert_allclose(seen["features"], pooled, atol=1e-6)
    if frames == 33:
        assert np.array_equal(judges.observe("video", clip), judges.observe("video", clip[:, :32]))


def test_the_biases_of_published_videomae_checkpoints_are_read(folder, tmp_path):
    """They are stored as `q_bias` and `v_bias`; transformers 5 without their renaming leaves them zero in silence."""
    shutil.copytree(folder, tmp_path / "published")
    path = tmp_path / "published" / "video_judge" / "model.safetensors"
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(tensor.shape, generator=generator) if name.endswith(("q_bias", "v_bias")) else tensor
        for name, tensor in load_file(path).items()
    }
    biases = {name: tensor for name, tensor in weights.items() if name.endswith(("q_bias", "v_bias"))}
    assert len(biases) == 2 * SMALL["num_hidden_layers"]
    save_file(weights, path, metadata={"format": "pt"})
    read = Judges(describe(tmp_path / "published"))
    loaded = read._network("video").module.state_dict()
    for name, tensor in biases.items():
        assert torch.equal(loaded[name.replace("q_bias", "query.bias").replace("v_bias", "value.bias")], tensor)


def test_vit_and_dino_are_the_libraries_own(judges, folder, video):
    frames = video.reshape(-1, *video.shape[2:])
    vit = official(ViTForImageClassification, folder / "frame_judge")
    with torch.no_grad():
        logits = vit(official_pixels(folder / "frame_judge", frames)).logits.numpy()
    np.testing.assert_allclose(judges.observe("frame", video), logits.reshape(4, 8, -1), atol=1e-6)
    for view in ("dino", "dinov2"):
        model = official(AutoModel, folder / view)
        with torch.no_grad():
            token = model(official_pixels(folder / view, frames)).last_hidden_state[:, 0].numpy()
        np.testing.assert_allclose(judges.observe(view, video), token.reshape(4, 8, -1), atol=1e-6)


@pytest.mark.parametrize("view", ["clip", "clip_large", "vifi"])
def test_open_clip_is_the_librarys_own(judges, folder, video, view):
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder / view}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder / view}")(["a cat", "two dogs"])
    with torch.no_grad():
        pixels = torch.stack([transform(Image.fromarray(frame)) for frame in video[0]])
        images, words = model.eval().encode_image(pixels).numpy(), model.encode_text(tokens).numpy()
    np.testing.assert_allclose(judges.observe(view, video[:1])[0], images, atol=1e-6)
    np.testing.assert_allclose(judges.embed_captions(view, ["a cat", "two dogs"]), words, atol=1e-6)
    assert judges.embed_captions(view, []).shape == (0, 8)


def test_xclip_sees_frames_taken_evenly(judges, folder, video):
    model = official(XCLIPModel, folder / "action")
    pixels = torch.stack([official_pixels(folder / "action", clip[[0, 2, 5, 7]])[0] for clip in video])
    with torch.no_grad():
        expected = model.get_video_features(pixels).pooler_output.numpy()
    np.testing.assert_allclose(judges.observe("action", video), expected, atol=1e-6)


def test_raft_is_torchvisions_and_its_flow_is_in_pixels_of_the_frame(judges, folder, monkeypatch):
    monkeypatch.setattr(judge_networks, "FLOW_UPDATES", 2)
    clip = np.random.default_rng(1).integers(0, 256, (1, 2, 128, 136, 3), dtype=np.uint8)
    model = raft_large(weights=None).eval()
    model.load_state_dict(torch.load(folder / "raft" / "raft_large_C_T_V1-22a6c225.pth", weights_only=True))
    pixels = torch.from_numpy(clip).movedim(-1, 2).float() / 127.5 - 1
    with torch.no_grad():
        expected = model(pixels[:, 0], pixels[:, 1], num_flow_updates=2)[-1].movedim(1, -1).numpy()
    flow = judges.observe("raft", clip)
    assert flow.shape == (1, 1, 128, 136, 2) and flow.dtype == np.float32
    np.testing.assert_allclose(flow[:, 0], expected, atol=1e-3)
    half = judges.observe("raft", np.repeat(clip[:, :, ::2, ::2], 2, axis=1)[:, :3])  # 64 x 68: enlarged inside
    assert half.shape == (1, 2, 64, 68, 2)


# Preparation


@settings(max_examples=25)
@given(
    height=st.integers(34, 90),
    width=st.integers(34, 90),
    kind=st.sampled_from(["vit", "videomae", "bit", "open_clip", "open_clip_squash"]),
    seed=st.integers(0, 999),
)
def test_prepared_pixels_are_the_official_ones_to_the_bit(height, width, kind, seed):
    frames = np.random.default_rng(seed).integers(0, 256, (5, height, width, 3), dtype=np.uint8)
    crop = {"height": 32, "width": 32}
    if kind.startswith("open_clip"):
        mode = "squash" if kind.endswith("squash") else "shortest"
        config = {"size": 33, "mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": mode}
        transform = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**config), is_train=False)
        expected = torch.stack([transform(Image.fromarray(frame)) for frame in frames]).numpy()
        preparation = read_open_clip(config)
    else:
        processor = {
            "vit": lambda: ViTImageProcessor(size=crop),
            "videomae": lambda: VideoMAEImageProcessor(size={"shortest_edge": 33}, crop_size=crop, image_mean=MEAN),
            "bit": lambda: BitImageProcessor(size={"shortest_edge": 40}, crop_size=crop, image_std=STD),
        }[kind]()
        processor = AutoImageProcessor.from_pretrained(saved(processor), backend="pil")
        expected = processor(list(frames), return_tensors="np")["pixel_values"].reshape(5, 3, 32, 32)
        preparation = read_processor(processor, kind)
    assert np.array_equal(preparation.prepare(frames), expected)
    assert np.array_equal(preparation.prepare(frames, threads=2), expected)


def saved(processor) -> str:
    import tempfile

    folder = tempfile.mkdtemp()
    processor.save_pretrained(folder)
    return folder


def test_prepared_pixels_of_real_videos_are_the_official_ones(real):
    files = sorted(real.rglob("*.gif"))[:3]
    if not files:
        pytest.skip("needs GIF files among the real ones")
    crop = {"height": 224, "width": 224}
    processors = [ViTImageProcessor(size=crop), VideoMAEImageProcessor(size={"shortest_edge": 224}, crop_size=crop)]
    for processor in (AutoImageProcessor.from_pretrained(saved(one), backend="pil") for one in processors):
        for path in files:
            frames = np.asarray(read_video(path))[:3]
            expected = processor(list(frames), return_tensors="np")["pixel_values"].reshape(-1, 3, 224, 224)
            assert np.array_equal(read_processor(processor, path).prepare(frames), expected)


def test_positions_are_those_of_transformers():
    for count, width in ((8, 16), (39, 48)):
        assert np.array_equal(encode_positions(count, width), get_sinusoid_encoding_table(count, width)[0].numpy())


# One clip's view is its own


@pytest.mark.parametrize("view", SEEN)
def test_a_view_does_not_depend_on_the_batch(judges, video, view, monkeypatch):
    together = judges.observe(view, video)
    assert together.dtype == np.float32 and len(together) == 4
    monkeypatch.setattr(judges_module, "BATCH_PIXELS", 1)  # a clip at a time
    np.testing.assert_allclose(judges.observe(view, video[::-1])[::-1], together, atol=1e-5)
    assert judges.observe(view, video[:0]).shape == (0, *together.shape[1:])


def test_raft_does_not_depend_on_the_batch(judges, monkeypatch):
    monkeypatch.setattr(judge_networks, "FLOW_UPDATES", 2)
    clips = np.random.default_rng(3).integers(0, 256, (2, 2, 32, 40, 3), dtype=np.uint8)
    together = judges.observe("raft", clips)
    monkeypatch.setattr(judges_module, "FLOW_PIXELS", 1)
    np.testing.assert_allclose(judges.observe("raft", clips), together, atol=1e-3)


def test_views_that_share_a_network_or_a_preparation_are_the_same_together(judges, video):
    together = judges.observe_many(SEEN, video)
    assert list(together) == SEEN
    for view in SEEN:
        assert np.array_equal(together[view], judges.observe(view, video))


def test_bf16_is_close_to_fp32(folder, judges, video):
    fast = Judges(describe(folder), precision="bf16")
    assert load_suite("mini", precision="bf16", threads=1).judges.precision == "bf16"
    for view in SEEN:
        exact = judges.observe(view, video)
        assert fast.observe(view, video).dtype == np.float32
        np.testing.assert_allclose(fast.observe(view, video), exact, atol=0.03 * np.abs(exact).max())
        assert fast.digest(view) != judges.digest(view)
    assert fast.digest("raft") == judges.digest("raft")  # always float32


def test_threads_hold_for_a_call_only(folder, video, monkeypatch):
    before = torch.get_num_threads()
    with use_threads(before + 1) as threads:
        assert threads == before + 1 == torch.get_num_threads()
    assert torch.get_num_threads() == before
    seen = []
    many = Judges(describe(folder, ("frame_judge",)), threads=before + 1)
    look = many._look
    monkeypatch.setattr(many, "_look", lambda *all_: seen.append(torch.get_num_threads()) or look(*all_))
    many.observe("frame", video)
    assert seen and set(seen) == {before + 1} and torch.get_num_threads() == before


# Errors


def test_what_cannot_be_asked_is_refused(judges, video):
    with pytest.raises(UnknownView, match="no view 'vidoe'; views are video"):
        judges.observe("vidoe", video)
    with pytest.raises(UnknownView, match="u8 videos"):
        judges.observe("video", video[0])
    with pytest.raises(UnknownView, match="reads no captions"):
        judges.embed_captions("dino", ["a cat"])
    with pytest.raises(UnknownView, match="fp32, bf16, fp16"):
        Judges(describe(judges.roles["dino"].base), precision="fp8")  # type: ignore[arg-type]
    with pytest.raises(BadClip, match="2 frames or more, not 1"):
        judges.observe("video", video[:, :1])
