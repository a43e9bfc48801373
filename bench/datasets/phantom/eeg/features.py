"""What of a clip drives the phantom's head: static features of its onset and courses over its two seconds.

Static: an object embedding (a point for each concept, near those of its coarse class, and a little of the clip's
own), colour, scene, edges, and a constant (anything that appears evokes something). Courses at 12 Hz: luminance and
its left-right and top-bottom balance; motion as speed, direction, expansion and rotation of the true flow. Colour,
edges and luminance are measured on rendered frames, scene and motion are the recipe's. The embedding space belongs
to the head: nothing in a picture shows it.

Conjunctions are products: how far an object lies along a direction of its space, with the sign that the clip's action
(or its place, the scene) has for that conjunction. Each sign is + for half of the actions (places) and - for the other
half, so over all of them a conjunction says nothing of the object: who reads it has to know what the object does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float32, Float64

from bench.core.seeds import derive_seed
from bench.datasets.phantom.eeg.spec import PhantomSpec
from bench.datasets.phantom.stimuli import ACTIONS, CLIP_SECONDS, SCENES, Recipe, draw_recipe, render, render_flow
from bench.datasets.seed_dv.concepts import CONCEPTS

OBJECT, COLOUR, SCENE, EDGES = 16, 6, 7, 2
GROUPS = {  # columns of the static features, and rows of the courses, by the gain that scales them
    "object": slice(0, 16),
    "colour": slice(16, 22),
    "scene": slice(22, 29),
    "edges": slice(29, 31),
    "object × action": slice(31, 37),
    "object × place": slice(37, 41),
    "onset": slice(41, 42),
}
STATIC = 42
COURSES = {"luminance": slice(0, 3), "motion": slice(3, 8)}
COURSE = 8
COURSE_RATE = 12.0  # Hz
COURSE_TIMES = np.arange(int(CLIP_SECONDS * COURSE_RATE)) / COURSE_RATE
FEATURE_PIXELS = 32

# first concept of each coarse class (reference: the nine classes of EEG2Video)
COARSE_STARTS = (0, 7, 11, 14, 18, 21, 27, 32, 35)

# mean and deviation over 400 random clips of all concepts: makes features comparable before any gain
COLOUR_SCALE = np.array([[0.598, 0.544, 0.511, 0.023, -0.021, -0.018], [0.183, 0.152, 0.138, 0.124, 0.108, 0.090]])
EDGE_SCALE = np.array([[0.024, 0.023], [0.010, 0.010]])
COURSE_SCALE = np.array(
    [
        [0.557, -0.002, 0.037, 0.108, -0.003, -0.001, 0.000, 0.012],
        [0.173, 0.030, 0.063, 0.054, 0.060, 0.044, 0.033, 0.053],
    ]
)


@dataclass(frozen=True)
class Features:
    """Features of clips, ready for any head."""

    static: Float32[np.ndarray, "clip 42"]
    courses: Float32[np.ndarray, "clip 8 24"]

    def __len__(self) -> int:
        return len(self.static)


def object_space(spec: PhantomSpec) -> Float64[np.ndarray, "40 16"]:
    """The embedding of each concept: a unit mixture of its coarse class and its own direction, scaled."""
    rng = np.random.default_rng(derive_seed("phantom", "objects", spec.seed))
    coarse = unit(rng.standard_normal((len(COARSE_STARTS), OBJECT)))
    own = unit(rng.standard_normal((len(CONCEPTS), OBJECT)))
    member = np.searchsorted(COARSE_STARTS, np.arange(len(CONCEPTS)), side="right") - 1
    return spec.object_norm * unit(spec.coarse * coarse[member] + spec.own * own)


@dataclass(frozen=True)
class Conjunctions:
    """Along which direction of the object space, and with which sign, each conjunction answers."""

    directions: Float64[np.ndarray, "10 16"]  # unit, divided by the deviation of the concepts along them
    signs: dict[str, Float64[np.ndarray, "kind number"]]  # of each action, of each place

    def of(
        self, objects: Float64[np.ndarray, "clip 16"], action: np.ndarray, scene: np.ndarray
    ) -> Float64[np.ndarray, "clip 10"]:
        along = objects @ self.directions.T
        return along * np.concatenate([self.signs["action"][action], self.signs["place"][scene]], axis=1)


@cache
def draw_conjunctions(spec: PhantomSpec) -> Conjunctions:
    """The conjunctions of the population that the seed names."""
    rng = np.random.default_rng(derive_seed("phantom", "conjunctions", spec.seed))
    numbers = {"action": width("object × action"), "place": width("object × place")}
    directions = unit(rng.standard_normal((sum(numbers.values()), OBJECT))) * (np.sqrt(OBJECT) / spec.object_norm)
    signs = {}
    for what, kinds in (("action", len(ACTIONS)), ("place", len(SCENES))):
        halves = np.repeat([1.0, -1.0], kinds // 2)
        signs[what] = np.stack([rng.permutation(halves) for _ in range(numbers[what])], axis=1)
    return Conjunctions(directions, signs)


def width(group: str) -> int:
    return GROUPS[group].stop - GROUPS[group].start


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def measure_features(recipes: list[Recipe], spec: PhantomSpec) -> Features:
    """Features of clips; the clip's own part of the object embedding follows from its digest and the seed."""
    objects = object_space(spec)
    static = np.zeros((len(recipes), STATIC), np.float32)
    courses = np.zeros((len(recipes), COURSE, len(COURSE_TIMES)), np.float32)
    for row, recipe in enumerate(recipes):
        own = np.random.default_rng(derive_seed("phantom", "exemplar", spec.seed, recipe.digest))
        static[row, GROUPS["object"]] = objects[recipe.concept] + spec.exemplar * own.standard_normal(OBJECT)
        colour, edges, course = measure_clip(recipe)
        static[row, GROUPS["colour"]] = (colour - COLOUR_SCALE[0]) / COLOUR_SCALE[1]
        static[row, GROUPS["edges"]] = (edges - EDGE_SCALE[0]) / EDGE_SCALE[1]
        static[row, GROUPS["scene"]] = scene_features(recipe)
        courses[row] = (course - COURSE_SCALE[0][:, None]) / COURSE_SCALE[1][:, None]
    action, scene = (np.array([getattr(recipe, what) for recipe in recipes]) for what in ("action", "scene"))
    products = draw_conjunctions(spec).of(static[:, GROUPS["object"]], action, scene)
    static[:, GROUPS["object × action"].start : GROUPS["object × place"].stop] = products
    static[:, GROUPS["onset"]] = 1.0
    return Features(static, courses)


def measure_clip(recipe: Recipe) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unscaled colour (6), edges (2) and courses (8, 24) of a clip."""
    frames = render(recipe, COURSE_TIMES, FEATURE_PIXELS).astype(np.float32) / 255  # (24, h, w, 3)
    middle = frames[:, 8:24, 8:24].mean(axis=(0, 1, 2))
    colour = np.concatenate([middle, middle - frames.mean(axis=(0, 1, 2))])
    light = frames.mean(axis=3)
    edges = np.array([np.abs(np.diff(light, axis=1)).mean(), np.abs(np.diff(light, axis=2)).mean()])
    half = FEATURE_PIXELS // 2
    whole = light.mean(axis=(1, 2))
    left, top = light[:, :, :half].mean(axis=(1, 2)), light[:, :half].mean(axis=(1, 2))
    luminance = np.stack([whole, left - whole, top - whole])
    flow = render_flow(recipe, np.append(COURSE_TIMES, CLIP_SECONDS), FEATURE_PIXELS)
    flow = flow * (COURSE_RATE / FEATURE_PIXELS)  # frame widths a second
    y, x = (np.mgrid[:FEATURE_PIXELS, :FEATURE_PIXELS] + 0.5) / FEATURE_PIXELS - 0.5
    dx, dy = flow[..., 0], flow[..., 1]
    motion = np.stack([np.hypot(dx, dy), dx, dy, 4 * (dx * x + dy * y), 4 * (dy * x - dx * y)]).mean(axis=(2, 3))
    return colour, edges, np.concatenate([luminance, motion])


def scene_features(recipe: Recipe) -> np.ndarray:
    """Which scene (four), where its light is and how bright: about unit deviation each."""
    which = (np.arange(len(SCENES)) == recipe.scene) - 1 / len(SCENES)
    light = np.array([recipe.light_x - 0.5, recipe.light_y - 0.5, (recipe.exposure - 0.975) * 4]) * 3.46
    return np.concatenate([which / 0.433, light])


def simulate_recipes(spec: PhantomSpec, draws: int) -> list[Recipe]:
    """`draws` clips of each concept from the distribution that the stimuli come from, and none of the stimuli."""
    rng = np.random.default_rng(derive_seed("phantom", "simulated", spec.seed))
    return [draw_recipe(rng, concept) for concept in spec.concepts for _ in range(draws)]


def draw_stimuli(spec: PhantomSpec) -> list[Recipe]:
    """The data set's clips in order of presentation, all different."""
    geometry = spec.geometry
    rng = np.random.default_rng(derive_seed("phantom", "stimuli", spec.seed))
    concepts = np.asarray(geometry.concepts)[geometry.clip_table()["concept"]]
    drawn: dict[str, Recipe] = {}
    for concept in concepts.tolist():
        recipe = draw_recipe(rng, concept)
        while recipe.digest in drawn:
            recipe = draw_recipe(rng, concept)
        drawn[recipe.digest] = recipe
    return list(drawn.values())
