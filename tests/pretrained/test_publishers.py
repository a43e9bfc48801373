"""Pixels to the publisher's: each metric whose script prepares frames in its own way against that script, written anew
(`published_scripts`), with the same random networks in both. `python tests/publisher_rows.py` prints all sizes."""

from __future__ import annotations

import numpy as np
import published_scripts
import pytest
from published_scripts import ROWS, SIZES, draw_clip, sample_frames, save_networks, transformers_pictures
from random_judges import describe, save_judges
from transformers import AutoImageProcessor, ViTImageProcessor

from bench.pretrained.judges import networks as judge_networks
from bench.pretrained.judges import publishers
from bench.pretrained.judges.observe import VIEWS, Judges
from bench.pretrained.judges.publishers import PUBLISHERS, transformers_clip, vbench_clip
from bench.pretrained.roles import find_suite
from metrics.consistency import sampled_shares, subject_consistency
from metrics.motion import raft_dynamic
from metrics.protocols import PROTOCOLS, Scored

EXACT = 1e-6
OF_PUBLISHERS = [view for view, about in VIEWS.items() if about.pixels]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_networks(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def judges(folder):
    return Judges(describe(folder), threads=1)


def score(judges: Judges, protocol: str, metric: str, predicted: np.ndarray, true: np.ndarray) -> float:
    spec = PROTOCOLS[protocol][metric]
    sides = (Scored(video=one[None], views=judges.observe_many(spec.views, one[None])) for one in (predicted, true))
    return float(spec.compute(*sides)[0])


# Row by row


@pytest.mark.parametrize(("protocol", "metric", "published"), [row for row in ROWS if row[1] != "dynamic_degree"])
@pytest.mark.parametrize("size", SIZES[:2] + SIZES[3:])
def test_a_metric_is_its_publishers_at_every_size(folder, judges, protocol, metric, published, size):
    frames = 8 if size[0] > 100 else 11
    predicted, true = draw_clip(1, frames, *size), draw_clip(2, frames, *size)
    if metric in ("clip_pcc", "vifi_score"):
        true = (0.7 * predicted + 0.3 * true).astype(np.uint8)  # alike enough to pass the gate
    ours = score(judges, protocol, metric, predicted, true)
    assert ours == pytest.approx(published(folder, predicted, true), abs=EXACT)
    assert 0.02 < ours < 0.9999  # neither the gate's 0 nor a still video's 1, which any pixels would give


def test_the_gate_of_mind_animator_opens_and_shuts_with_the_script(folder, judges):
    """Of pairs that are ever less alike, at 16:9: some pass and some do not."""
    passed = []
    for seed, size in enumerate([(36, 64), (45, 80), (63, 112), (72, 128), (90, 160), (36, 64)]):
        predicted, true = draw_clip(seed, 6, *size), draw_clip(seed + 9, 6, *size)[:, ::-1]
        true = np.where(np.arange(size[1])[:, None] < size[1] * seed // 5, true, predicted)
        expected = published_scripts.clip_pcc_gated(folder, predicted, true)
        assert score(judges, "mind_animator", "clip_pcc", predicted, true) == pytest.approx(expected, abs=EXACT)
        passed.append(expected > 0)
    assert {True, False} == set(passed), passed


def test_background_consistency_of_pictures_is_of_view_clip(folder, judges):
    """VBench's `read_frame` mode; the other mode, of files, is the protocol's."""
    clip = draw_clip(3, 6, 181, 322)
    expected = published_scripts.background_consistency_of_pictures(folder, clip, clip)
    of_pictures = subject_consistency(judges.observe("clip", clip[None]))[0]
    assert of_pictures == pytest.approx(expected, abs=EXACT)
    assert abs(of_pictures - score(judges, "vbench", "background_consistency", clip, clip)) > 0.005


@pytest.mark.parametrize("size", [(128, 136), (131, 201), (201, 139), (124, 130)])
def test_raft_sees_vbenchs_padding_and_its_speeds_are_vbenchs(folder, judges, size, monkeypatch):
    """Its rule turns over where the script's does: at the same speed against 6 pixels of the unpadded frame's 256."""
    monkeypatch.setattr(judge_networks, "FLOW_UPDATES", 1)
    monkeypatch.setattr(published_scripts, "UPDATES", 1)
    clip = draw_clip(4, 2, *size)
    flow = judges.observe("raft_vbench", clip[None])
    expected = published_scripts.raft_scores(folder, clip)[0]
    assert flow.shape == (1, 1, *(-(-side // 8) * 8 for side in size), 2)
    turning = 6.0 * min(size) / 256 / expected
    video = np.zeros((1, 6, *size, 3), np.uint8)  # of six frames two pairs must move
    for factor in (1 - EXACT, 1 + EXACT):
        views = {"raft_vbench": np.repeat(flow, 5, axis=1).astype(np.float64) * turning * factor}
        assert raft_dynamic(Scored(video=video, views=views), Scored())[0] == (factor > 1)


def test_small_frames_have_a_flow_all_the_same(judges, monkeypatch):
    """VBench's script fails there: see the protocol's prose."""
    monkeypatch.setattr(judge_networks, "FLOW_UPDATES", 1)
    clip = draw_clip(5, 2, 60, 90)[None]
    flow, plain = judges.observe("raft_vbench", clip), judges.observe("raft", clip)
    assert flow.shape == (1, 1, 128, 192, 2) and plain.shape == (1, 1, 60, 90, 2)
    assert np.abs(flow).mean() == pytest.approx(np.abs(plain).mean(), rel=0.2)  # pixels of the frame as given


@pytest.mark.parametrize("frames", range(1, 41))
def test_frames_count_as_often_as_mind_animator_samples_them(frames):
    counted = np.bincount(sample_frames(frames), minlength=frames)
    assert sampled_shares(frames) == pytest.approx(counted / counted.sum(), abs=1e-15)


@pytest.mark.parametrize("size", [(225, 300), (301, 224), (227, 232), (100, 71)])
def test_the_crop_of_transformers_is_the_librarys(tmp_path, size):
    frames = draw_clip(6, 2, *size)
    mean, std = transformers_clip(224).normal
    crop = {"height": 224, "width": 224}
    options = {"size": {"shortest_edge": 224}, "crop_size": crop, "do_center_crop": True, "resample": 3}
    about = {"image_processor_type": "CLIPImageProcessor", "image_mean": mean, "image_std": std, **options}
    ViTImageProcessor(**about).save_pretrained(tmp_path)
    config = tmp_path / "preprocessor_config.json"
    config.write_text(config.read_text().replace("ViTImageProcessor", "CLIPImageProcessor"))
    library = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    pixels = transformers_clip(224).prepare(frames)
    np.testing.assert_allclose(pixels, library(list(frames), return_tensors="np")["pixel_values"], atol=1e-6)
    np.testing.assert_allclose(pixels, transformers_pictures(frames).numpy(), atol=1e-6)


# The preparation belongs to the view


def test_every_preparation_belongs_to_a_view_and_every_view_of_a_publisher_to_a_protocol():
    assert {VIEWS[view].pixels for view in OF_PUBLISHERS} == {*PUBLISHERS, "vbench_raft"}
    asked = {view for protocol in PROTOCOLS.values() for view in protocol.views}
    assert set(OF_PUBLISHERS) <= asked
    assert {"dinov2", "dinov2_dynamind"} <= asked  # the same judge, in two ways


def test_a_judge_shown_in_two_ways_at_once_says_what_it_says_alone(judges):
    clip = draw_clip(7, 3, 97, 171)[None]
    views = ["clip", "clip_vbench", "clip_dynamind", "dino", "dino_vbench", "dinov2", "dinov2_dynamind"]
    together = judges.observe_many(views, clip)
    for view in views:
        assert np.array_equal(together[view], judges.observe(view, clip)), view
    for plain, published in (("clip", "clip_vbench"), ("dino", "dino_vbench"), ("dinov2", "dinov2_dynamind")):
        assert np.abs(together[plain] - together[published]).max() > 1e-3


@pytest.mark.parametrize("view", [view for view in OF_PUBLISHERS if view != "raft_vbench"])
def test_a_views_digest_covers_its_preparation(judges, folder, view, monkeypatch):
    changed, name = Judges(describe(folder)), VIEWS[view].pixels
    before = {other: judges.digest(other) for other in VIEWS if judges.available(other)}
    grey = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    monkeypatch.setitem(PUBLISHERS, name, lambda side, normal=grey: vbench_clip(side, normal))
    remade = {other for other, digest in before.items() if changed.digest(other) != digest}
    assert view in remade and {VIEWS[other].pixels for other in remade} == {name}


def test_views_of_publishers_are_remade_with_their_version_alone(judges, folder, monkeypatch):
    changed = Judges(describe(folder))
    before = {view: judges.digest(view) for view in VIEWS if judges.available(view)}
    monkeypatch.setattr(publishers, "VERSION", publishers.VERSION + 1)
    assert [view for view, digest in before.items() if changed.digest(view) != digest] == OF_PUBLISHERS


def test_a_network_of_its_own_normalisation_keeps_it(tmp_path):
    """The small suite's judges saw values of -1 to 1; a publisher's mean would be another picture to them."""
    _, mini, _ = find_suite("mini")
    assert all(mini["roles"][role]["own_normalisation"] for role in ("clip", "clip_large", "dino", "dinov2"))
    described = describe(save_judges(tmp_path / "random"), ("dino", "clip"))
    stubborn = describe(tmp_path / "random", ("dino", "clip"))
    for role in stubborn.settings["roles"].values():
        role["own_normalisation"] = True
    plain, own = Judges(described), Judges(stubborn)
    for view in ("dino_vbench", "clip_vbench", "clip_dynamind"):
        assert own.digest(view) != plain.digest(view)
        network = own._network(view)
        said, kept = (one._preparation(view, network).normal for one in (plain, own))
        processor = network.preparation.normal
        np.testing.assert_allclose(kept, processor, atol=1e-6)
        if view == "dino_vbench":
            np.testing.assert_allclose(said, publishers.IMAGENET)
            assert np.abs(np.subtract(said, kept)).max() > 0.01
    assert own.digest("dino") == plain.digest("dino")


@pytest.mark.parametrize("view", [view for view in OF_PUBLISHERS if view != "raft_vbench"])
def test_small_networks_get_pixels_in_proportion(small_judges, view):
    clip = draw_clip(8, 2, 40, 54)[None]
    assert small_judges.observe(view, clip).shape[:2] == (1, 2)
    preparation = small_judges._preparation(view, small_judges._network(view))
    assert preparation.measure(40, 54) == ((32, 43) if view == "dino_vbench" else (32, 32))


@pytest.fixture(scope="module")
def small_judges(tmp_path_factory):
    return Judges(describe(save_judges(tmp_path_factory.mktemp("small"))))


def test_no_frames_make_no_pixels():
    for make in PUBLISHERS.values():
        preparation = make(32)
        pixels = preparation.prepare(np.zeros((0, 40, 70, 3), np.uint8))
        assert pixels.shape == (0, 3, *preparation.measure(40, 70)) and pixels.dtype == np.float32


def test_float_frames_are_the_same_in_any_number(monkeypatch):
    preparation = vbench_clip(24)
    frames = draw_clip(9, 5, 40, 70)
    together = preparation.prepare(frames)
    monkeypatch.setattr(publishers, "CHUNK_PIXELS", 2 * 40 * 70)
    np.testing.assert_allclose(preparation.prepare(frames), together, atol=1e-6)
