"""The drawn world: pools of recipes, motion, true flow, captions."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.datasets.phantom.sprites import draw_sprite, read_sprites
from bench.datasets.phantom.stimuli import (
    ACTIONS,
    FRAME_CLASSES,
    FRAME_TIMES,
    SCENES,
    VIDEO_CLASSES,
    Recipe,
    describe,
    draw_recipe,
    render,
    render_flow,
)
from bench.datasets.seed_dv.concepts import CLASS_SUBSETS, CONCEPTS

recipes = st.builds(
    lambda seed, concept, action: draw_recipe(np.random.default_rng(seed), concept, action),
    st.integers(0, 2**32 - 1),
    st.integers(0, len(CONCEPTS) - 1),
    st.integers(0, len(ACTIONS) - 1),
)


def plain(concept: int, action: str) -> Recipe:
    """A clip in the middle of the studio, without camera drift."""
    return Recipe(
        concept=concept, action=ACTIONS.index(action), scene=3, size=0.55, x=0.0, y=0.0, tilt=0.0, brightness=1.0,
        warmth=0.0, phase=0.1, speed=1.0, pan_x=0.0, pan_y=0.0, light_x=0.5, light_y=0.5, exposure=1.0,
    )  # fmt: skip


@given(st.integers(0, 2**32 - 1), st.integers(0, 39))
@settings(max_examples=60, deadline=None)
def test_the_two_pools_share_no_recipe(seed, concept):
    benchmark = draw_recipe(np.random.default_rng(seed), concept, pool="benchmark")
    suite = draw_recipe(np.random.default_rng(seed), concept, pool="suite")
    assert benchmark.is_reserved and int(benchmark.digest[:2], 16) < 32
    assert not suite.is_reserved and int(suite.digest[:2], 16) >= 32


def test_a_digest_names_one_recipe():
    rng = np.random.default_rng(0)
    drawn = [draw_recipe(rng, 3) for _ in range(200)]
    assert len({recipe.digest for recipe in drawn}) == 200
    first = drawn[0]
    assert Recipe(**dataclasses.asdict(first)).digest == first.digest
    for field in dataclasses.fields(Recipe):
        changed = dataclasses.replace(first, **{field.name: getattr(first, field.name) + 1})
        assert changed.digest != first.digest, field.name


def test_drawing_depends_on_the_generator_alone():
    once, again = (draw_recipe(np.random.default_rng(7), 5) for _ in range(2))
    assert once == again
    assert np.array_equal(render(once, FRAME_TIMES), render(again, FRAME_TIMES))


@given(recipes)
@settings(max_examples=10, deadline=None)
def test_a_clip_is_a_function_of_time(recipe):
    dense = render(recipe, np.arange(48) / 24)
    assert np.array_equal(dense[::8], render(recipe, FRAME_TIMES))
    assert dense.shape == (48, 64, 64, 3) and dense.dtype == np.uint8


@given(recipes)
@settings(max_examples=10, deadline=None)
def test_other_sizes_look_alike(recipe):
    large = render(recipe, [0.5], size=128)[0]
    reduced = cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(reduced - render(recipe, [0.5])[0]).mean() < 4


@given(recipes)
@settings(max_examples=15, deadline=None)
def test_flow_carries_each_frame_to_the_next(recipe):
    times = np.array([0.5, 0.5 + 1 / 24])
    now, after = render(recipe, times).astype(np.float32)
    flow = render_flow(recipe, times)[0]
    y, x = np.mgrid[:64, :64].astype(np.float32)
    pulled = cv2.remap(after, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error, change = (np.abs(picture - now).mean(-1)[6:-6, 6:-6] for picture in (pulled, after))
    assert np.median(error) < 1  # the rest are uncovered background and the softness of interpolated edges
    if change.mean() > 4:
        assert error.mean() < change.mean()


@pytest.mark.parametrize(
    ("action", "axis", "sign"), [("moving right", 1, 1), ("moving left", 1, -1), ("rising", 0, -1), ("falling", 0, 1)]
)
def test_actions_move_the_way_they_are_called(action, axis, sign):
    flow = render_flow(plain(4, action), FRAME_TIMES)
    covered = np.abs(flow).sum(-1) > 0
    along, across = flow[covered][:, 1 - axis], flow[covered][:, axis]
    assert np.allclose(along, sign * 0.62 * 64 / 2 / 3, atol=1e-3)  # 0.62 of the frame in 2 s, 3 frames a second
    assert np.allclose(across, 0, atol=1e-4)


def test_resting_does_not_move_and_growing_grows():
    assert not render_flow(plain(0, "resting"), FRAME_TIMES).any()
    empty = render(plain(0, "resting"), [0.0])

    def area(action: str, time: float) -> int:
        return int((np.abs(render_flow(plain(4, action), [time, time + 0.1])[0]).sum(-1) > 1e-3).sum())

    assert empty.shape == (1, 64, 64, 3)
    assert area("growing", 1.6) > 1.5 * area("growing", 0.0)
    assert area("shrinking", 0.0) > 1.5 * area("shrinking", 1.6)


def test_objects_are_forty_and_unlike_each_other():
    assert len(CONCEPTS) == len(set(CONCEPTS)) == 40 and set(read_sprites()) == set(CONCEPTS)
    assert CLASS_SUBSETS[10] == (0, 9, 11, 15, 18, 22, 24, 30, 33, 38)
    pictures = np.stack([draw_sprite(concept, 24) for concept in range(40)]).reshape(40, -1)
    distances = np.sqrt(np.square(pictures[:, None] - pictures[None]).mean(-1))
    assert (distances + np.eye(40)).min() > 0.12
    alpha = pictures.reshape(40, 24, 24, 4)[..., 3]
    assert (alpha.mean((1, 2)) > 0.15).all()


@given(recipes)
@settings(max_examples=30, deadline=None)
def test_captions_say_what_is_there(recipe):
    caption = describe(recipe)
    assert CONCEPTS[recipe.concept] in caption and ACTIONS[recipe.action] in caption
    assert VIDEO_CLASSES[recipe.video_class] == f"{CONCEPTS[recipe.concept]} {ACTIONS[recipe.action]}"
    assert FRAME_CLASSES[recipe.frame_class].startswith(CONCEPTS[recipe.concept])
    assert caption.endswith(FRAME_CLASSES[recipe.frame_class].removeprefix(CONCEPTS[recipe.concept] + " "))


def test_class_counts():
    assert len(VIDEO_CLASSES) == 400
    assert len(FRAME_CLASSES) == 40 * len(SCENES) >= 42  # what a 40-way score with three right classes needs
