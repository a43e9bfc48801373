"""Weights of judges: the digest that follows them, where they are found, fetched or converted, and their absence."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from random_judges import CLIP_CONFIG, describe, draw_video, save_judges

from bench.pretrained.judges.convert import CannotConvert, convert_vifi
from bench.pretrained.judges.observe import VIEWS, Judges, UnknownView
from bench.pretrained.roles import JUDGES, MissingWeights, fetch_suite, find_suite, make_roles, verify_suite


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_judges(tmp_path_factory.mktemp("judges") / "random")


@pytest.fixture(scope="module")
def video():
    return draw_video()


# Identity, absence


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
    assert [view for view in views if changed.digest(view) != before.digest(view)] == ["dino", "dino_vbench"]


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
    imagenet = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    transform = open_clip.transform.image_transform(32, is_train=False, **imagenet)
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
