"""What of a clip drives the phantom's cortex, volume by volume, and what the subject remembers of its kind.

| group   | numbers | of each volume's share of the clip                                                           |
|---------|---------|----------------------------------------------------------------------------------------------|
| light   | 16      | luminance on a 4 × 4 grid, over that of the whole picture (normalised)                       |
| edges   | 16      | edge energy about a point of the grid, to the power 0.42 (compressed)                        |
| colour  | 32      | red against green and blue against yellow on the grid, over the luminance there (normalised) |
| motion  | 9       | mean of the true flow's speed, direction, expansion and rotation; speed in the quarters      |
| object  | 16      | embedding of the object: its concept's and a little of the clip's own                        |
| action  | 8       | embedding of the action                                                                      |
| scene   | 4       | which scene                                                                                  |
| sound   | 8       | embedding of the sound times a loudness that follows the action (films with sound)           |
| memory  | 12      | a code of the kind, of its own space, times how familiar the kind is at that moment          |
| deed    | 12      | object × action: what the object is for, plus or minus: it moves across, or stays in place   |
| setting | 8       | object × place: where the object belongs, plus or minus: the place is open, or enclosed      |

Light to motion are measured on rendered frames, the others are the recipe's. **Memory** is n/(1+n), where n is the sum
over the earlier clips of the same concept of exp(−age/span): 0 for a kind not seen yet, about 0.6 for one seen as often
as the others. It carries no picture: only what kind it is, the clearer the more of its kind came shortly before. Where
clips last 4 s, the recipe of 2 s is played at half its speed.

**What a linear reader cannot read.** Edges, light and colour are no linear functions of the picture: energy is summed
over space and compressed (Kay et al. 2013, doi 10.1152/jn.00105.2013; the exponent is from Zhou et al. 2018, doi
10.1523/JNEUROSCI.1724-17.2017, where twice the time gives V1-V3 about 1.34 = 2^0.42 times the response, and from LO on
less), and what surrounds a place divides its response (Carandini & Heeger 2012, doi 10.1038/nrn3136). Deed and setting
are conjunctions: each has a code of the object's kind whose sign is turned by a property of the action or of the place,
and which averages to nothing over all actions or places. So they say nothing of the object to whoever does not also
know how it moves or where it is, and a linear reader sees only noise in them. Responses that the parts do not predict
are found in human cortex for objects in actions (Baldassano et al. 2017, doi 10.1093/cercor/bhw077: superior temporal
sulcus) and, moderately, for objects in tasks (Taylor & Xu 2024, doi 10.1162/imag_a_00354: ventral and dorsal regions);
in monkeys parts combine almost linearly in inferotemporal cortex (Sripati & Olson 2010,
PMC2931803). Whether a thing moves and whether a place is open are among the few broad properties
that order responses to actions (Tucciarelli et al. 2019, doi 10.7554/eLife.47686) and scenes (Park et al. 2011, doi
10.1523/JNEUROSCI.3885-10.2011). How much of a voxel's drive they are is `bench.datasets.phantom.fmri.cortex`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64, Int64

from bench.core.seeds import derive_seed
from bench.datasets.phantom.eeg.features import COARSE_STARTS, unit
from bench.datasets.phantom.fmri.spec import FmriSpec
from bench.datasets.phantom.stimuli import ACTIONS, CLIP_SECONDS, SCENES, Recipe, draw_recipe, render, render_flow
from bench.datasets.seed_dv.concepts import CONCEPTS

GRID = 4
GROUPS = {
    "light": slice(0, 16),
    "edges": slice(16, 32),
    "colour": slice(32, 64),
    "motion": slice(64, 73),
    "object": slice(73, 89),
    "action": slice(89, 97),
    "scene": slice(97, 101),
    "sound": slice(101, 109),
    "memory": slice(109, 121),
    "deed": slice(121, 133),
    "setting": slice(133, 141),
}
COUNT = 141
OWN = 16 + 8 + 12 + 8  # numbers of object, sound, deed and setting that are a clip's own
CONJUNCTIONS = ("deed", "setting")
ACROSS = ("moving right", "moving left", "rising", "falling", "growing", "shrinking")  # the other actions stay in place
OPEN = ("meadow", "desert")  # the other scenes are enclosed
FEATURE_PIXELS = 32
SAMPLES = 4  # frames looked at in a clip of one volume; two a volume where there are several

# mean and deviation over 400 random clips of all concepts: makes features comparable before any gain
SCALES = {"light": (0.71, 0.17), "edges": (0.23, 0.11), "colour": (0.0, 0.22), "motion": (0.0, 0.06)}
SPEED_MEAN = 0.09
COMPRESSION = 0.42  # exponent of energy that is summed over a receptive field
SEMISATURATION = 0.2  # of responses that are divided by the luminance about them, which is 0 to 1

Stimuli = Float32[np.ndarray, "clip volume 141"]


def measure_cortex_features(recipes: Sequence[Recipe], spec: FmriSpec) -> Stimuli:
    """Features of clips, memory left at 0: that depends on when and to whom a clip is shown."""
    out = np.zeros((len(recipes), spec.clip_volumes, COUNT), np.float32)
    own = np.empty((len(recipes), OWN))
    for row, noise, recipe in zip(out, own, recipes, strict=True):
        row[:, : GROUPS["motion"].stop] = measure_pictures(recipe, spec.clip_volumes)
        seed = derive_seed("phantom", "cortex exemplar", spec.seed, recipe.digest)
        noise[:] = np.random.default_rng(seed).standard_normal(OWN)
    return add_meaning(out, recipes, spec, own)


def add_meaning(
    features: Stimuli, recipes: Sequence[Recipe], spec: FmriSpec, own: Float64[np.ndarray, "clip 44"]
) -> Stimuli:
    """The features with what the recipes mean; `own` is what in each clip is its own, standard normal."""
    concept, action, scene, phase, speed = (
        np.array([getattr(recipe, name) for recipe in recipes])
        for name in ("concept", "action", "scene", "phase", "speed")
    )
    points = {
        "object": embed("objects", spec, len(CONCEPTS), 16, coarse=spec.coarse),
        "sound": embed("sounds", spec, len(CONCEPTS), 8),
        "deed": embed("uses", spec, len(CONCEPTS), 12),
        "setting": embed("places", spec, len(CONCEPTS), 8),
    }
    loudness = 1 + 0.5 * np.sin(2 * np.pi * (phase[:, None] + np.arange(spec.clip_volumes) / 5 * speed[:, None]))
    strength = {
        "object": np.ones((1, 1)),
        "sound": spec.sound * loudness,
        "deed": standardise(ACTIONS, ACROSS)[action][:, None],
        "setting": standardise(SCENES, OPEN)[scene][:, None],
    }
    out, first = features.copy(), 0
    for group, codes in points.items():
        last = first + codes.shape[1]
        shown = codes[concept] + spec.exemplar * own[:, first:last]
        out[:, :, GROUPS[group]] = strength[group][:, :, None] * shown[:, None]
        first = last
    out[:, :, GROUPS["action"]] = embed("actions", spec, len(ACTIONS), 8)[action][:, None]
    out[:, :, GROUPS["scene"]] = (np.eye(len(SCENES))[scene][:, None] - 0.25) / 0.433
    return out


def standardise(names: Sequence[str], chosen: Sequence[str]) -> Float64[np.ndarray, " name"]:
    """A property that the chosen ones have and the others lack: of mean 0 and deviation 1 over all."""
    has = np.isin(names, chosen).astype(np.float64)
    return (has - has.mean()) / has.std()


def embed(what: str, spec: FmriSpec, count: int, width: int, *, coarse: float = 0.0) -> Float64[np.ndarray, "n width"]:
    """A point for each concept or action, of deviation 1 a dimension; with `coarse`, near those of its class."""
    rng = np.random.default_rng(derive_seed("phantom", "cortex", what, spec.seed))
    points = unit(rng.standard_normal((count, width)))
    if coarse:
        classes = unit(rng.standard_normal((len(COARSE_STARTS), width)))
        member = np.searchsorted(COARSE_STARTS, np.arange(count), side="right") - 1
        points = unit(coarse * classes[member] + spec.own * points)
    return np.sqrt(width) * points


def measure_pictures(recipe: Recipe, volumes: int) -> Float32[np.ndarray, "volume 73"]:
    """Light, edges, colour and motion of each volume's share of the clip, scaled."""
    each = SAMPLES if volumes == 1 else 2
    times = (np.arange(volumes * each) + 0.5) / (volumes * each) * CLIP_SECONDS
    frames = render(recipe, times, FEATURE_PIXELS).astype(np.float32) / 255
    light = frames.mean(axis=3)
    edges = np.zeros_like(light)
    edges[:, 1:] += np.abs(np.diff(light, axis=1))
    edges[:, :, 1:] += np.abs(np.diff(light, axis=2))
    luminance, whole_field = pool(light), light.mean(axis=(1, 2))
    red, green, blue = np.moveaxis(frames, 3, 0)
    opponent = pool(np.stack([red - green, blue - (red + green) / 2], axis=1))  # (frame, 2, 16)
    step = CLIP_SECONDS / (volumes * each)
    flow = render_flow(recipe, np.append(times, times[-1] + step), FEATURE_PIXELS) / (step * FEATURE_PIXELS)
    y, x = (np.mgrid[:FEATURE_PIXELS, :FEATURE_PIXELS] + 0.5) / FEATURE_PIXELS - 0.5
    dx, dy = flow[..., 0], flow[..., 1]
    speed = np.hypot(dx, dy)
    whole = np.stack([speed, dx, dy, 4 * (dx * x + dy * y), 4 * (dy * x - dx * y)], axis=1).mean(axis=(2, 3))
    whole[:, 0] -= SPEED_MEAN
    quarters = pool(speed, 2) - SPEED_MEAN
    parts = {
        "light": luminance / (SEMISATURATION + whole_field[:, None]),
        "edges": pool(edges) ** COMPRESSION,
        "colour": (opponent / (SEMISATURATION + luminance[:, None])).reshape(len(frames), -1),
        "motion": np.concatenate([whole, quarters], axis=1),
    }
    scaled = [(parts[name] - middle) / deviation for name, (middle, deviation) in SCALES.items()]
    return np.concatenate(scaled, axis=1).reshape(volumes, each, -1).mean(axis=1)


def pool(pictures: np.ndarray, cells: int = GRID) -> np.ndarray:
    """Means over a grid of cells: [..., h, w] to [..., cells * cells]."""
    side = FEATURE_PIXELS // cells
    grid = pictures.reshape(*pictures.shape[:-2], cells, side, cells, side).mean(axis=(-3, -1))
    return grid.reshape(*grid.shape[:-2], cells * cells)


def familiarity(concepts: Int64[np.ndarray, " shown"], span: float) -> Float64[np.ndarray, " shown"]:
    """n/(1+n) of each clip in order of presentation: 0 for a kind not seen before, near 1 for one just seen often."""
    fade = np.exp(-1 / span)
    trace = np.zeros(int(concepts.max(initial=0)) + 1)
    out = np.empty(len(concepts))
    for place, concept in enumerate(concepts):
        trace *= fade
        out[place] = trace[concept] / (1 + trace[concept])
        trace[concept] += 1
    return out


def memory_codes(spec: FmriSpec) -> Float64[np.ndarray, "40 12"]:
    """The code of each kind, of deviation 1 a dimension; nothing of it is in the object embeddings."""
    return embed("memories", spec, len(CONCEPTS), 12)


def remembered(spec: FmriSpec, subject: int, concepts: Int64[np.ndarray, " clip"]) -> dict[tuple[str, int], np.ndarray]:
    """Familiarity of the clips of (part, repeat 0…), in order: all training passes, then all test passes."""
    passes = []
    for (part, episodes), repeats in zip(spec.part_episodes(subject).items(), spec.repeats, strict=True):
        clips = clip_rows(spec, episodes)
        passes += [((part, repeat), clips) for repeat in range(repeats)]
    order = np.concatenate([clips for _, clips in passes])
    values = np.split(
        familiarity(concepts[order], spec.memory_span), np.cumsum([len(clips) for _, clips in passes])[:-1]
    )
    return {key: value for (key, _), value in zip(passes, values, strict=True)}


def clip_rows(spec: FmriSpec, episodes: Sequence[int]) -> Int64[np.ndarray, " clip"]:
    return (np.asarray(episodes)[:, None] * spec.segment_clips + np.arange(spec.segment_clips)).ravel()


def add_memory(
    features: Stimuli, spec: FmriSpec, concepts: Int64[np.ndarray, " clip"], familiar: Float64[np.ndarray, " clip"]
) -> Stimuli:
    """The features with the memory of each clip's kind, all through the clip."""
    out = features.copy()
    out[:, :, GROUPS["memory"]] = (familiar[:, None] * memory_codes(spec)[concepts])[:, None]
    return out


def draw_films(spec: FmriSpec) -> list[Recipe]:
    """All clips in order of presentation, all different; each segment shows every concept about equally often."""
    rng = np.random.default_rng(derive_seed("phantom", "films", spec.seed))
    drawn: dict[str, Recipe] = {}
    for _ in range(spec.episodes):
        rounds = -(-spec.segment_clips // len(spec.concepts))
        order = np.concatenate([rng.permutation(spec.concepts) for _ in range(rounds)])
        for concept in rng.permutation(order)[: spec.segment_clips].tolist():
            recipe = draw_recipe(rng, concept)
            while recipe.digest in drawn:
                recipe = draw_recipe(rng, concept)
            drawn[recipe.digest] = recipe
    return list(drawn.values())


def simulate_films(spec: FmriSpec, draws: int) -> list[Recipe]:
    """`draws` clips of each concept from the distribution that the films come from, and none of the films."""
    rng = np.random.default_rng(derive_seed("phantom", "simulated films", spec.seed))
    return [draw_recipe(rng, concept) for concept in spec.concepts for _ in range(draws)]
