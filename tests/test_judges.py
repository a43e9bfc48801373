"""Judges: each in its official format through the one code path, against direct calls of the libraries."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.models.optical_flow import raft_large
from transformers import (
    AutoImageProcessor,
    AutoModel,
    BitImageProcessor,
    Dinov2Config,
    Dinov2Model,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessor,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTModel,
    XCLIPConfig,
    XCLIPModel,
)
from transformers.models.videomae.modeling_videomae import get_sinusoid_encoding_table

from bench.pretrained import judge_networks
from bench.pretrained import judges as judges_module
from bench.pretrained.convert import CannotConvert, convert_vifi
from bench.pretrained.judge_networks import BadClip, encode_positions
from bench.pretrained.judges import VIEWS, Judges, UnknownView, use_threads
from bench.pretrained.preparation import read_open_clip, read_processor
from bench.pretrained.roles import JUDGES, MissingWeights, fetch_suite, find_suite, make_roles, verify_suite
from bench.pretrained.suite import load_suite
from bench.video import read_video

SMALL = {"image_size": 32, "patch_size": 16, "hidden_size": 16, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "intermediate_size": 16}
CLIP_CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}
RAW = {"resize_mode": "shortest", "interpolation": "bicubic"}
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def save_open_clip(folder, seed: int) -> None:
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    preprocessing = {"mean": MEAN, "std": STD, **RAW}
    config = {"model_cfg": CLIP_CONFIG, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(open_clip.CLIP(**CLIP_CONFIG).state_dict(), folder / "open_clip_model.safetensors")


def save_judges(folder) -> None:
    """A random checkpoint of every judge as its repository holds it."""
    torch.manual_seed(0)
    crop = {"height": 32, "width": 32}
    config = VideoMAEConfig(num_frames=16, num_labels=7, tubelet_size=2, use_mean_pooling=True, **SMALL, **HEADS)
    VideoMAEForVideoClassification(config).save_pretrained(folder / "video_judge")
    VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size=crop).save_pretrained(folder / "video_judge")
    ViTForImageClassification(ViTConfig(num_labels=9, **SMALL, **HEADS)).save_pretrained(folder / "frame_judge")
    ViTImageProcessor(size=crop).save_pretrained(folder / "frame_judge")
    ViTModel(ViTConfig(**SMALL, **HEADS)).save_pretrained(folder / "dino")
    ViTImageProcessor(size=crop, image_mean=MEAN, image_std=STD).save_pretrained(folder / "dino")
    Dinov2Model(Dinov2Config(**{**SMALL, "image_size": 64}, num_attention_heads=2)).save_pretrained(folder / "dinov2")
    BitImageProcessor(size={"shortest_edge": 40}, crop_size=crop).save_pretrained(folder / "dinov2")
    for seed, role in enumerate(("clip", "clip_large", "vifi")):
        save_open_clip(folder / role, seed)
    vision = {**SMALL, **HEADS, "num_frames": 4, "mit_hidden_size": 16, "mit_intermediate_size": 16}
    vision |= {"mit_num_attention_heads": 2}
    text = {"vocab_size": 99, "hidden_size": 16, "num_hidden_layers": 1, "eos_token_id": 98, **HEADS}
    action = XCLIPConfig(text_config=text, vision_config=vision, projection_dim=16, prompt_num_attention_heads=2)
    XCLIPModel(action).save_pretrained(folder / "action")
    VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size=crop).save_pretrained(folder / "action")
    (folder / "raft").mkdir()
    torch.save(raft_large(weights=None).state_dict(), folder / "raft" / "raft_large_C_T_V1-22a6c225.pth")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judges") / "random"
    save_judges(folder)
    return folder


def describe(folder, roles=JUDGES) -> SimpleNamespace:
    """What `Judges` asks of a suite."""
    sources = {role: {"id": ".", "subfolder": role, "licence": "MIT"} for role in roles if role != "amt"}
    return SimpleNamespace(name="random", settings={"roles": sources}, base=folder, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def judges(folder):
    return Judges(describe(folder))


@pytest.fixture(scope="module")
def video():
    """Four clips of eight frames, wider than high."""
    return np.random.default_rng(0).integers(0, 256, (4, 8, 40, 54, 3), dtype=np.uint8)


SEEN = [view for view in VIEWS if view not in ("raft", "amt")]


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


# Identity, absence, errors


def test_a_digest_follows_its_judge_alone(folder, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    before, after = Judges(describe(folder)), Judges(describe(copy))
    views = [view for view in VIEWS if view != "amt"]
    assert all(before.digest(view) == after.digest(view) for view in views)
    assert len({before.digest(view) for view in views}) == len(views)
    config = copy / "dino" / "preprocessor_config.json"
    config.write_text(config.read_text().replace("0.48145466", "0.48"))
    changed = Judges(describe(copy))
    assert [view for view in views if changed.digest(view) != before.digest(view)] == ["dino"]


def test_the_paper_suite_is_read_from_the_hugging_face_cache(folder, tmp_path, monkeypatch, video):
    """A pinned revision in the cache's own layout, the way `from_pretrained` and `snapshot_download` leave it."""
    import shutil

    import huggingface_hub.constants

    name, settings, base = find_suite("paper")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    paper = Judges(SimpleNamespace(name=name, settings=settings, base=base, device=torch.device("cpu")))
    local = Judges(describe(folder))
    for view, part in (("clip", "clip"), ("dino", "dino"), ("frame", "frame_judge"), ("video", "video_judge")):
        role = settings["roles"][VIEWS[view].role]
        assert len(role["revision"]) == 40
        assert not paper.available(view)
        place = tmp_path / f"models--{role['id'].replace('/', '--')}"
        shutil.copytree(folder / part, place / "snapshots" / role["revision"])
        assert paper.available(view)
        assert np.array_equal(paper.observe(view, video), local.observe(view, video))
        assert paper.digest(view) != local.digest(view)  # the revision stands for the files


def test_missing_judges_say_what_to_fetch(video):
    name, settings, base = find_suite("paper")
    paper = Judges(SimpleNamespace(name=name, settings=settings, base=base, device=torch.device("cpu")))
    for view, words in {
        "clip": ("timm/vit_base_patch32_clip_224.openai", "605 MB", "MIT", "suite fetch paper"),
        "raft": ("raft_large_C_T_V1", "21 MB", "BSD-3-Clause", "suite fetch paper"),
        "vifi": ("muzairkhattak/ViFi-CLIP", "599 MB", "MIT", "convert_vifi"),
        "amt": ("MCG-NKU/AMT", "12 MB", "CC-BY-NC-4.0", "BENCH_AMT"),
    }.items():
        if paper.available(view):
            continue
        assert all(word in paper.explain(view) for word in words), paper.explain(view)
        with pytest.raises(MissingWeights, match=words[0].split("/")[-1]):
            paper.interpolator() if view == "amt" else paper.observe(view, video)
    mini = Judges(SimpleNamespace(name="mini", settings={"roles": {}}, base=base, device=torch.device("cpu")))
    assert not mini.available("raft")
    with pytest.raises(MissingWeights, match="suite 'mini' has no raft; in suite 'paper'"):
        mini.observe("raft", video)


def test_what_cannot_be_asked_is_refused(judges, video):
    with pytest.raises(UnknownView, match="no view 'vidoe'; views are video"):
        judges.observe("vidoe", video)
    with pytest.raises(UnknownView, match="u8 videos"):
        judges.observe("video", video[0])
    with pytest.raises(UnknownView, match="reads no captions"):
        judges.embed_captions("dino", ["a cat"])
    with pytest.raises(UnknownView, match="fp32, bf16"):
        Judges(describe(judges.roles["dino"].base), precision="fp16")  # type: ignore[arg-type]
    with pytest.raises(BadClip, match="2 frames or more, not 1"):
        judges.observe("video", video[:, :1])


def test_fetching_takes_safetensors_where_there_are_any(monkeypatch, tmp_path):
    """And goes by pinned revisions, leaves out what no hub holds, and touches nothing that is there."""
    import huggingface_hub

    asked = {}
    held = {
        "facebook/dino-vitb16": ["config.json", "pytorch_model.bin"],
        "timm/vit_base_patch32_clip_224.openai": ["model.safetensors", "open_clip_model.safetensors"],
    }
    monkeypatch.setattr(
        huggingface_hub, "list_repo_files", lambda id_, revision: held.get(id_, ["config.json", "model.safetensors"])
    )
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda id_, revision=None, allow_patterns=None, local_files_only=False, **rest: (
            (_ for _ in ()).throw(huggingface_hub.errors.LocalEntryNotFoundError("absent"))
            if local_files_only
            else asked.update({id_: (revision, allow_patterns)})
        ),
    )
    fetch_suite("paper", only=["dino", "clip", "vifi", "amt"])
    assert set(asked) == {"facebook/dino-vitb16", "timm/vit_base_patch32_clip_224.openai"}
    revision, patterns = asked["facebook/dino-vitb16"]
    assert len(revision) == 40 and "*pytorch_model.bin" in patterns and "*.safetensors" not in patterns
    patterns = asked["timm/vit_base_patch32_clip_224.openai"][1]
    assert "*open_clip_model.safetensors" in patterns and "*.safetensors" not in patterns  # timm's own are not needed


# What the user brings


AMT_CODE = """
import torch
from networks.parts import middle

class Model(torch.nn.Module):
    def __init__(self, corr_radius, corr_lvls, num_flows):
        super().__init__()
        assert (corr_radius, corr_lvls, num_flows) == (3, 4, 3)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, first, second, embt, scale_factor=1.0, eval=False):
        assert first.shape[-1] % 16 == first.shape[-2] % 16 == 0 and eval
        return {"imgt_pred": middle(first, second, embt) + self.weight}
"""


def test_amt_runs_by_the_code_of_the_users_own_checkout(tmp_path, monkeypatch):
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "AMT-S.py").write_text(AMT_CODE)
    (tmp_path / "networks" / "parts.py").write_text("def middle(a, b, t):\n    return a * (1 - t) + b * t\n")
    monkeypatch.setenv("BENCH_AMT", str(tmp_path))
    suite = SimpleNamespace(name="none", settings={"roles": {}}, base=tmp_path, device=torch.device("cpu"))
    with pytest.raises(MissingWeights, match=r"amt-s\.pth"):
        Judges(suite).interpolator()
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, tmp_path / "amt-s.pth")
    judges = Judges(suite)
    assert judges.available("amt") and judges.digest("amt")
    frames = np.random.default_rng(0).integers(0, 256, (2, 2, 20, 37, 3), dtype=np.uint8)
    between = judges.interpolator()(frames[0], frames[1])
    assert between.shape == frames[0].shape and between.dtype == np.uint8
    mean = (frames[0].astype(int) + frames[1]) / 2
    assert (np.abs(between - mean) <= 1).all()
    with pytest.raises(UnknownView, match="interpolator"):
        judges.observe("amt", frames)


def test_vifi_is_converted_to_an_open_clip_folder(folder, tmp_path, video):
    """A published checkpoint has the image and text encoders under names of its own, and no table of words."""
    torch.manual_seed(5)
    tuned = open_clip.CLIP(**CLIP_CONFIG)
    held = {"module.prompt_learner.complete_text_embeddings": torch.zeros(3, 16, 8)}
    for name, weight in tuned.state_dict().items():
        if name in ("token_embedding.weight", "attn_mask"):
            continue
        own = name.replace("visual.", "image_encoder.", 1) if name.startswith("visual.") else f"text_encoder.{name}"
        held[f"module.{'logit_scale' if name == 'logit_scale' else own}"] = weight
    torch.save({"model": held}, tmp_path / "vifi.pth")
    convert_vifi(tmp_path / "vifi.pth", folder / "clip", tmp_path / "vifi")
    made = Judges(describe(tmp_path, ("vifi",)))
    transform = open_clip.transform.image_transform(32, is_train=False, mean=MEAN, std=STD)
    with torch.no_grad():
        expected = tuned.eval().encode_image(torch.stack([transform(Image.fromarray(one)) for one in video[0]]))
    np.testing.assert_allclose(made.observe("vifi", video[:1])[0], expected.numpy(), atol=1e-6)
    del held["module.image_encoder.proj"]
    torch.save({"model": held}, tmp_path / "vifi.pth")
    with pytest.raises(CannotConvert, match=r"visual\.proj"):
        convert_vifi(tmp_path / "vifi.pth", folder / "clip", tmp_path / "other")


def test_every_view_has_a_role_and_every_role_a_place_in_paper():
    _, settings, base = find_suite("paper")
    assert {view.role for view in VIEWS.values()} == set(JUDGES) == set(make_roles(settings, base, JUDGES))
    table = verify_suite("paper")
    assert not table["licence"].eq("not stated").any() and table["megabytes"].gt(0).all()
