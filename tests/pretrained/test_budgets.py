"""What a limit of memory does to the calls of a suite: fewer items at once, and the same answers up to rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import MotionAdapter, UNetMotionModel

from bench.pretrained.decoders import AnimateDiffDecoder, WanDecoder
from bench.pretrained.generators import tune_a_video
from bench.pretrained.generators.pipelines import or_in_tiles
from bench.pretrained.suite import Suite, load_suite
from bench.toolbox import budget
from bench.toolbox.budget import resident_memory
from bench.toolbox.targets import encode_captions, encode_clips, encode_targets
from tests.worlds.paper_fold import make_trials

CLIPS = 6
CALLS = ["read", "encode", "decode", "refine", "draw", "draw from key frames", "wan reads", "wan encodes", "wan draws"]
CALLS += ["tune-a-video draws", "tune-a-video inverts", "video", "clip", "captions"]


@pytest.fixture(scope="module")
def suite(bench_home: Any) -> Suite:
    return load_suite("mini", threads=1)


@pytest.fixture(scope="module")
def tight(bench_home: Any) -> Suite:
    made = load_suite("mini", threads=1)
    made.memory = resident_memory() // 2  # used up: one item at a time
    return made


def call(name: str, suite: Suite, video: np.ndarray) -> Any:
    g = suite.geometry
    rng = torch.Generator().manual_seed(0)
    text = torch.randn(CLIPS, g.tokens, g.text_width, generator=rng)
    latents = torch.randn(CLIPS, g.frames, g.latent_channels, g.latent_height, g.latent_width, generator=rng)
    captions, seeds, clips = [f"a cat {n}" for n in range(CLIPS)], range(CLIPS), latents.transpose(1, 2)
    options: dict[str, Any] = {"steps": 1, "guidance": 2.0}
    calls: dict[str, Callable[[], Any]] = {
        "read": lambda: suite.encode_text(captions),
        "encode": lambda: suite.encode_video(video),
        "decode": lambda: suite.decode_latents(latents),
        "refine": lambda: suite.refine_keyframe(text, video[:, 0], seeds, strength=1.0, **options),
        "draw": lambda: suite.generate_video(text, seeds, **options),
        "draw from key frames": lambda: suite.generate_video(text, seeds, keyframes=video[:, 0], **options),
        "wan reads": lambda: suite.wan_text(captions)[0],
        "wan encodes": lambda: wan(suite).encode_video(video),
        "wan draws": lambda: wan(suite).generate(wan(suite).encode_text(captions), seeds),
        "tune-a-video draws": lambda: tune_a_video.denoise(
            suite, tune_a_video.inflate(suite.unet), text, clips, **options
        ),
        "tune-a-video inverts": lambda: tune_a_video.invert(
            suite, tune_a_video.inflate(suite.unet), clips, text, steps=4, share=0.5
        ),
        "video": lambda: suite.judges.observe("video", video),
        "clip": lambda: suite.judges.observe("clip", video),
        "captions": lambda: suite.judges.embed_captions("clip", captions),
    }
    return calls[name]()


def wan(suite: Suite) -> WanDecoder:
    return WanDecoder(suite, clip_shape=(9, 32, 32), rank=0, scale=1, steps=1)


@pytest.mark.parametrize("name", CALLS)
def test_less_memory_means_fewer_at_once_and_the_same_answer(
    name: str, suite: Suite, tight: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "_COSTS", {})
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (CLIPS, suite.geometry.frames, 64, 64, 3), dtype=np.uint8)
    plain = np.asarray(call(name, suite, video))
    made: list[int] = []
    run = budget.run_parts
    seen = lambda rows: made.append(rows.stop - rows.start)  # noqa: E731

    def watch(what: str, count: int, make: Callable[[slice], Any], **options: Any) -> Any:
        return run(what, count, lambda rows: (seen(rows), make(rows))[1], **options)

    for place in ("bench.pretrained.suite", "bench.pretrained.decoders", "bench.pretrained.generators.pipelines"):
        monkeypatch.setattr(f"{place}.run_parts", watch)
    monkeypatch.setattr("bench.pretrained.generators.tune_a_video.run_parts", watch)
    monkeypatch.setattr(budget, "run_parts", watch)
    slow = np.asarray(call(name, tight, video))
    assert len(made) >= CLIPS and set(made) == {1}
    assert slow.shape == plain.shape and slow.dtype == plain.dtype
    worst = np.abs(slow.astype(np.float64) - plain.astype(np.float64)).max()
    assert worst <= (1 if plain.dtype == np.uint8 else 1e-3 * np.abs(plain).max())


def test_what_does_not_fit_alone_goes_in_tiles(capsys: pytest.CaptureFixture[str]) -> None:
    class Autoencoder:
        use_tiling, device = False, torch.device("cpu")

        def enable_tiling(self) -> None:
            self.use_tiling = True

    vae, asked = Autoencoder(), []

    def encode(rows: slice) -> str:
        asked.append((rows.stop - rows.start, vae.use_tiling))
        if not vae.use_tiling:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "in tiles"

    parts = list(budget.run_parts("encode", 3, or_in_tiles(vae, encode), device=torch.device("cpu"), most=2))
    assert parts == ["in tiles"] * 3
    assert asked == [(2, False), (1, False), (1, True), (1, True), (1, True)]
    assert "in tiles" in capsys.readouterr().err


def test_text_encoders_are_let_go_where_memory_is_bounded(suite: Suite, tight: Suite) -> None:
    for one, gone in ((suite, False), (tight, True)):
        decoder = WanDecoder(one, clip_shape=(5, 32, 32), rank=0, scale=1, steps=1, guidance=2.0)
        tokens = encode_captions(decoder, ["a cat", "a dog"])
        assert ("_wan_text_encoder" in vars(one)) is not gone
        drawn = decoder.generate(torch.stack([tokens[0], tokens[1]]), [1, 2])
        assert ("_wan_text_encoder" in vars(one)) is not gone, "guidance needs no text encoder any more"
        assert drawn.shape[0] == 2
        before = one.encode_text(["a cat"])
        one.release("text_encoder")
        assert ("text_encoder" in vars(one)) is not gone
        assert "negative_embedding" in vars(one) or not gone
        assert torch.equal(one.encode_text(["a cat"]), before)


def test_judges_and_autoencoders_are_let_go_where_memory_is_bounded(suite: Suite, tight: Suite) -> None:
    data = make_trials(clips=2, trials=2, signals=(3, 1), rate=1.0, video=(5, 32, 32), eeg=False)
    seen = {}
    for one, gone in ((suite, False), (tight, True)):
        found = encode_targets(one, data, frames=2)
        assert (not one.judges._networks, "text_encoder" not in vars(one)) == (gone, gone)
        assert torch.equal(encode_targets(one, data, frames=2).text, found.text), "asked again, they are there again"
        for kind, role in ((WanDecoder, "wan_vae"), (AnimateDiffDecoder, "vae")):
            decoder = kind(one, clip_shape=(5, 32, 32), rank=0, scale=1, steps=1, guidance=1.0)
            latents = encode_clips(one, decoder, data.video)
            assert (role not in vars(one)) is gone, role
            condition = decoder.encode_text(["a cat"])
            seen[role, gone] = latents, decoder.generate(condition, [1]), decoder.generate(condition, [1])
    for role in ("wan_vae", "vae"):
        latents, first, again = seen[role, True]
        assert torch.allclose(latents, seen[role, False][0], atol=1e-2) and (first == again).all()
        assert np.abs(first.astype(int) - seen[role, False][1]).max() <= 1


def test_the_video_network_holds_the_image_network_s_numbers_and_no_copy_of_them(suite: Suite) -> None:
    own, made = dict(suite.unet.named_parameters()), dict(suite.video_unet.named_parameters())
    assert all(made[name] is one for name, one in own.items())
    adapter = suite._load(MotionAdapter, "motion_adapter")
    plain = UNetMotionModel.from_unet2d(suite.unet, adapter).state_dict()  # as diffusers puts them together
    found = suite.video_unet.state_dict()
    assert found.keys() == plain.keys() and all(torch.equal(found[name], one) for name, one in plain.items())
