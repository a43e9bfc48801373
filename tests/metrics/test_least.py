"""Each metric says which clips are too short or too small for it, and computes all others."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.protocols import PROTOCOLS
from metrics.specs import MetricSpec, Scored
from metrics.ssim import SSIM_GREY

METRICS = {
    f"{protocol.name} {metric.name}": metric for protocol in PROTOCOLS.values() for metric in protocol.metrics
} | {"ssim_grey": SSIM_GREY}
CLIPS = 3


def show(shape: tuple[int, int, int], seed: int) -> Scored:
    """Clips of noise, and views of the shapes that judges give for them."""
    draw = np.random.default_rng(seed)
    frames, height, width = shape
    prepared = ("clip_vbench", "clip_dynamind", "clip_large_neurons", "vifi_mind_animator", "dino_vbench")
    names = ("clip", "clip_large", "vifi", "dino", "dinov2", "dinov2_dynamind", *prepared)
    per_frame = dict.fromkeys(names, (CLIPS, frames, 16))
    shapes = {
        **per_frame,
        "frame": (CLIPS, frames, 60),
        "frame_features": (CLIPS, frames, 16),
        "video": (CLIPS, 60),
        "features": (CLIPS, 16),
        "concept": (CLIPS, 60),
        "gallery": (CLIPS, CLIPS),
        "frame_gallery": (CLIPS, CLIPS),
        "raft": (CLIPS, frames - 1, height, width, 2),
        "raft_vbench": (CLIPS, frames - 1, height + 3, width + 3, 2),
        "amt": (CLIPS,),
    }
    return Scored(
        video=draw.integers(0, 256, (CLIPS, *shape, 3), dtype=np.uint8),
        views={name: draw.normal(size=one) for name, one in shapes.items()},
        concept=np.arange(CLIPS),
        clip=np.arange(CLIPS),
    )


def limits(metric: MetricSpec) -> tuple[int, int, int]:
    return metric.least_frames, *metric.least_size


@pytest.mark.parametrize("name", METRICS)
def test_the_smallest_clip_that_is_allowed_is_scored(name):
    metric = METRICS[name]
    shape = limits(metric)
    assert metric.refuses(shape) == ""
    values = metric.compute(show(shape, 0), show(shape, 1))
    assert values.shape == ((1,) if metric.level == "set" else (CLIPS,))


@pytest.mark.parametrize("name", METRICS)
def test_a_clip_below_it_is_refused_with_its_size(name):
    metric = METRICS[name]
    for axis, least in enumerate(limits(metric)):
        if least > 1:
            shape = [one - (place == axis) for place, one in enumerate(limits(metric))]
            frames, height, width = shape
            assert metric.refuses(shape).endswith(f"not {frames} of {height}×{width}")
            if metric.pixels:  # the limit is that of the function: no clip is refused for nothing
                with pytest.raises(ValueError):
                    metric.compute(show(tuple(shape), 0), show(tuple(shape), 1))


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 64, 64), (6, 1, 1), (6, 5, 5), (6, 6, 9), (3, 16, 16)])
@pytest.mark.parametrize("name", METRICS)
def test_any_small_clip_is_refused_or_scored(name, shape):
    metric = METRICS[name]
    if not metric.refuses(shape):
        assert len(metric.compute(show(shape, 0), show(shape, 1))) == (1 if metric.level == "set" else CLIPS)
