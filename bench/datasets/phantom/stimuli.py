"""The drawn world of the phantom: short clips of an object that does something in front of a scene.

A clip is a `Recipe`: a concept (object), an action (way to move), a scene and a few continuous parameters. It is a
function of continuous time, so the same recipe looks the same at any frame rate and size, and its optical flow is
known exactly. A concept's clips differ in scene, colour, size, place and action; recognising one picture does not
solve it.

Recipes are split in two pools by their own digest: one in eight is *reserved* for benchmark stimuli, and only the
others may train a suite's networks. That a suite never saw a benchmark clip therefore holds by construction and can
be read off any recipe (`Recipe.is_reserved`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from bench.datasets.phantom.sprites import draw_sprite
from bench.datasets.seed_dv.concepts import CONCEPTS

CLIP_SECONDS = 2.0
FRAME_TIMES: Float64[np.ndarray, " 6"] = np.arange(6) / 3.0  # frames 0, 8, ..., 40 of a 24 fps clip

ACTIONS: tuple[str, ...] = (
    *("resting", "moving right", "moving left", "rising", "falling"),
    *("growing", "shrinking", "spinning", "bouncing", "swinging"),
)
SCENES: tuple[str, ...] = ("meadow", "desert", "night", "studio")
SCENE_PHRASES = ("in a meadow", "in a desert", "at night", "in a studio")

Pool = Literal["benchmark", "suite"]
RESERVED_BELOW = 32  # of 256 values of the digest's first byte: one recipe in eight is kept for benchmarks

# top and bottom colour, and the colour of one large soft light
SCENE_COLOURS = (
    ((150, 205, 245), (105, 175, 75), (245, 250, 225)),
    ((250, 225, 190), (215, 150, 85), (255, 245, 215)),
    ((12, 16, 50), (38, 42, 88), (120, 120, 165)),
    ((125, 125, 128), (175, 172, 168), (225, 222, 215)),
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that determines a clip. Lengths are fractions of the frame, angles radians, times seconds."""

    concept: int
    action: int
    scene: int
    size: float  # the object's extent, 0.52-0.74
    x: float  # centre of the object, from the frame's centre
    y: float
    tilt: float
    brightness: float  # of the object, 0.75-1.2
    warmth: float  # red against blue gain of the object, -0.1-0.1
    phase: float  # of periodic actions, in periods
    speed: float  # of the action, 0.8-1.2
    pan_x: float  # camera drift, frames per second
    pan_y: float
    light_x: float  # place of the scene's light
    light_y: float
    exposure: float  # of the scene, 0.85-1.1

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def is_reserved(self) -> bool:
        """True if the recipe belongs to the benchmark's pool, which no suite is trained on."""
        return int(self.digest[:2], 16) < RESERVED_BELOW

    @property
    def video_class(self) -> int:
        """Object-action class: concept * 10 + action."""
        return self.concept * len(ACTIONS) + self.action

    @property
    def frame_class(self) -> int:
        """Object-scene class: concept * 4 + scene."""
        return self.concept * len(SCENES) + self.scene


VIDEO_CLASSES: tuple[str, ...] = tuple(f"{concept} {action}" for concept in CONCEPTS for action in ACTIONS)
FRAME_CLASSES: tuple[str, ...] = tuple(f"{concept} {phrase}" for concept in CONCEPTS for phrase in SCENE_PHRASES)


def draw_recipe(
    rng: np.random.Generator, concept: int, action: int | None = None, *, pool: Pool = "benchmark"
) -> Recipe:
    """A random clip of `concept` (doing `action`, drawn if None) from the named pool of recipes."""
    while True:
        u = np.round(rng.random(13), 4).tolist()
        recipe = Recipe(
            concept=int(concept),
            action=int(rng.integers(len(ACTIONS))) if action is None else int(action),
            scene=int(rng.integers(len(SCENES))),
            size=round(0.52 + 0.22 * u[0], 4),
            x=round(-0.08 + 0.16 * u[1], 4),
            y=round(-0.08 + 0.16 * u[2], 4),
            tilt=round(-0.2 + 0.4 * u[3], 4),
            brightness=round(0.75 + 0.45 * u[4], 4),
            warmth=round(-0.1 + 0.2 * u[5], 4),
            phase=u[6],
            speed=round(0.8 + 0.4 * u[7], 4),
            pan_x=round(-0.12 + 0.24 * u[8], 4),
            pan_y=round(-0.05 + 0.10 * u[9], 4),
            light_x=u[10],
            light_y=u[11],
            exposure=round(0.85 + 0.25 * u[12], 4),
        )
        if recipe.is_reserved == (pool == "benchmark"):
            return recipe


def describe(recipe: Recipe) -> str:
    """The caption, e.g. `a big bright cat bouncing in a meadow`."""
    size = "big" if recipe.size >= 0.63 else "small"
    tone = "bright" if recipe.brightness >= 0.975 else "dark"
    return f"a {size} {tone} {CONCEPTS[recipe.concept]} {ACTIONS[recipe.action]} {SCENE_PHRASES[recipe.scene]}"


def pose_object(recipe: Recipe, time: float) -> tuple[float, float, float, float]:
    """Centre (x, y from the frame's centre), scale and angle of the object at `time`."""
    x, y, scale, angle = recipe.x, recipe.y, recipe.size, recipe.tilt
    progress = recipe.speed * (time / CLIP_SECONDS - 0.42)  # about -0.4 at the first frame, 0.4 at the last
    cycle = 2 * np.pi * (0.75 * recipe.speed * time + recipe.phase)
    match ACTIONS[recipe.action]:
        case "moving right":
            x += 0.62 * progress
        case "moving left":
            x -= 0.62 * progress
        case "rising":
            y -= 0.62 * progress
        case "falling":
            y += 0.62 * progress
        case "growing":
            scale *= 1.0 + 0.8 * progress
        case "shrinking":
            scale *= 1.0 - 0.8 * progress
        case "spinning":
            angle += 2 * np.pi * (0.62 * recipe.speed * time + recipe.phase)
        case "bouncing":
            y += 0.15 * np.sin(cycle)
        case "swinging":
            angle += 0.7 * np.sin(cycle)
    return x, y, scale, angle


def _object_matrix(recipe: Recipe, time: float, size: int, sprite: int) -> Float64[np.ndarray, "2 3"]:
    """Affine map from sprite pixels to frame pixels (pixel centres at integers, as OpenCV has them)."""
    x, y, scale, angle = pose_object(recipe, time)
    zoom = scale * size / sprite
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    middle = (sprite - 1) / 2
    centre_x, centre_y = (size - 1) / 2 + x * size, (size - 1) / 2 + y * size
    return np.array(
        [
            [cos, -sin, centre_x - cos * middle + sin * middle],
            [sin, cos, centre_y - sin * middle - cos * middle],
        ]
    )


def _scene_matrix(recipe: Recipe, time: float, size: int, canvas: int) -> Float64[np.ndarray, "2 3"]:
    margin = (canvas - size) / 2
    seconds = time - CLIP_SECONDS / 2
    shift = np.array([recipe.pan_x, recipe.pan_y]) * seconds * size - margin
    return np.column_stack([np.eye(2), shift])


@cache
def _ramps(canvas: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Soft horizon in [0, 1] down the canvas, and the coordinates over it."""
    place = np.linspace(0, 1, canvas, dtype=np.float32)
    horizon = 1 / (1 + np.exp(-(place - 0.55) / 0.07))
    return horizon.astype(np.float32)[:, None, None], place[:, None, None], place[None, :, None]


def _draw_scene(recipe: Recipe, canvas: int) -> Float32[np.ndarray, "canvas canvas 3"]:
    top, bottom, light = (np.asarray(colour, np.float32) / 255 for colour in SCENE_COLOURS[recipe.scene])
    horizon, down, across = _ramps(canvas)
    wide = (across - (0.2 + 0.6 * recipe.light_x)) ** 2
    high = (down - (0.2 + 0.35 * recipe.light_y)) ** 2
    glow = np.exp(-(wide + high) / np.float32(2 * 0.18**2)) * np.float32(0.6)
    scene = top + (bottom - top) * horizon
    return (scene + (light - scene) * glow) * np.float32(recipe.exposure)


def render(recipe: Recipe, times: Sequence[float] | np.ndarray, size: int = 64) -> UInt8[np.ndarray, "f size size 3"]:
    """The frames of the clip at `times` (seconds from its start), RGB."""
    pixels, canvas = size, size * 3 // 2
    gain = np.array([1 + recipe.warmth, 1, 1 - recipe.warmth, 1], np.float32) * np.float32(recipe.brightness)
    gain[3] = 1
    sprite = draw_sprite(recipe.concept, pixels) * gain
    scene = _draw_scene(recipe, canvas)
    video = np.empty((len(times), size, size, 3), np.uint8)
    for frame, time in zip(video, times, strict=True):
        place = _scene_matrix(recipe, time, size, canvas)
        picture: np.ndarray = cv2.warpAffine(scene, place, (size, size), borderMode=cv2.BORDER_REPLICATE)
        layer: np.ndarray = cv2.warpAffine(sprite, _object_matrix(recipe, time, size, pixels), (size, size))
        picture *= 1 - layer[..., 3:]
        picture += layer[..., :3]
        np.clip(picture * 255 + 0.5, 0, 255, out=picture)
        frame[:] = picture
    return video


def render_flow(
    recipe: Recipe, times: Sequence[float] | np.ndarray, size: int = 64
) -> Float32[np.ndarray, "f-1 size size 2"]:
    """True forward optical flow (dx, dy in pixels) from each time to the next, on the pixels of the earlier frame."""
    sprite = draw_sprite(recipe.concept, size)
    y, x = np.mgrid[:size, :size].astype(np.float64)
    points = np.stack([x, y, np.ones_like(x)])  # homogeneous (3, size, size)
    flow = np.empty((len(times) - 1, size, size, 2), np.float32)
    for out, now, after in zip(flow, times[:-1], times[1:], strict=True):
        here = np.vstack([_object_matrix(recipe, now, size, size), [0, 0, 1]])
        there = np.vstack([_object_matrix(recipe, after, size, size), [0, 0, 1]])
        moved = np.tensordot(there @ np.linalg.inv(here), points, axes=1)[:2] - points[:2]
        covered = cv2.warpAffine(sprite[..., 3], here[:2], (size, size)) > 0.5
        drift = np.array([recipe.pan_x, recipe.pan_y]) * (after - now) * size
        out[:] = np.where(covered[..., None], np.moveaxis(moved, 0, -1), drift)
    return flow
