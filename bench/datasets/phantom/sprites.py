"""The forty drawn objects of the phantom: silhouette, palette and texture of each, as readable shapes.

`sprites.toml` holds them. Coordinates are in [-1, 1] with y pointing down; a shape is an array
`[kind, colour, ...]` where `colour` is an index into the object's palette:

    ["ellipse", colour, x, y, rx, ry, (degrees)]
    ["poly", colour, x0, y0, x1, y1, ...]
    ["line", colour, width, x0, y0, x1, y1, ...]

Shapes are painted in order. The objects are big, coarse and differ in silhouette *and* palette on purpose: the
pretrained networks that must recognise and draw them are trained on two CPU cores, and details below about six
pixels at 64 x 64 are what a small autoencoder loses first.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32

from bench.datasets.seed_dv.concepts import CONCEPTS

Colour = tuple[int, int, int]
Shape = tuple[str, int, *tuple[float, ...]]

SUPERSAMPLED = 384  # pixels across [-1, 1] when drawing, before reduction to the wanted size


class Sprite(NamedTuple):
    palette: tuple[Colour, ...]
    shapes: tuple[Shape, ...]


@cache
def read_sprites() -> dict[str, Sprite]:
    """The sprite of each concept."""
    drawn = tomllib.loads(Path(__file__).with_name("sprites.toml").read_text(encoding="utf-8"))
    return {
        name: Sprite(tuple(map(tuple, one["palette"])), tuple(map(tuple, one["shapes"]))) for name, one in drawn.items()
    }


def _paint(canvas: np.ndarray, shape: Shape, palette: tuple[Colour, ...]) -> None:
    kind, index, *numbers = shape
    colour = (*palette[index], 255)
    half = SUPERSAMPLED / 2
    values = np.asarray(numbers, dtype=np.float64)
    if kind == "ellipse":
        x, y, rx, ry = values[:4] * half
        angle = float(values[4]) if len(values) > 4 else 0.0
        centre, axes = (round(x + half), round(y + half)), (round(rx), round(ry))
        cv2.ellipse(canvas, centre, axes, angle, 0, 360, colour, -1)
        return
    points = np.round((values[1:] if kind == "line" else values).reshape(-1, 2) * half + half).astype(np.int32)
    if kind == "line":
        width = round(float(values[0]) * half)
        cv2.polylines(canvas, [points], False, colour, width)
        for x, y in points:  # round ends, whatever the OpenCV version does with thick joints
            cv2.circle(canvas, (int(x), int(y)), width // 2, colour, -1)
    else:
        cv2.fillPoly(canvas, [points], colour)


@cache
def draw_sprite(concept: int, pixels: int) -> Float32[np.ndarray, "pixels pixels 4"]:
    """The object as premultiplied RGBA in [0, 1] with its alpha last; `pixels` covers coordinates [-1, 1]."""
    sprite = read_sprites()[CONCEPTS[concept]]
    canvas = np.zeros((SUPERSAMPLED, SUPERSAMPLED, 4), np.uint8)
    for shape in sprite.shapes:
        _paint(canvas, shape, sprite.palette)
    image: np.ndarray = canvas.astype(np.float32) / 255
    image[..., :3] *= image[..., 3:]
    image = cv2.resize(image, (pixels, pixels), interpolation=cv2.INTER_AREA)
    image.setflags(write=False)
    return image
