"""Pictures and animations as they are shown: upright, over black, in 8 bits. Part of `bench.store.decoding`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import (
    BmpImagePlugin,  # noqa: F401  imported here: later, no file can be opened
    GifImagePlugin,  # noqa: F401
    Image,
    ImageOps,
    ImageSequence,
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from bench.store.formats import Bounds, Refused

PICTURES = {"png": "PNG", "jpeg": "JPEG", "bmp": "BMP", "tiff": "TIFF", "webp": "WEBP", "gif": "GIF"}

Image.preinit()
Image.MAX_IMAGE_PIXELS = None  # sizes are checked here

Picture = np.ndarray  # u8 (height, width, 3)


def over_black(picture: np.ndarray) -> Picture:
    """u8 RGBA over a black ground; opaque pixels keep their values exactly."""
    alpha = picture[..., 3:].astype(np.uint16)
    return ((picture[..., :3] * alpha + 127) // 255).astype(np.uint8)


def show_animation(file: BinaryIO, kind: str, bounds: Bounds) -> Iterator[Picture]:
    with Image.open(file, formats=[PICTURES[kind]]) as image:
        bounds.check(1, image.height, image.width)
        for count, frame in enumerate(ImageSequence.Iterator(image), start=1):
            bounds.check(count, image.height, image.width)
            yield rgb_of(ImageOps.exif_transpose(frame))
            if count == bounds.first:
                return


def show_picture(file: BinaryIO, kind: str, bounds: Bounds) -> Picture:
    """The one picture of a file, upright."""
    with Image.open(file, formats=[PICTURES[kind]]) as image:
        bounds.check(1, image.height, image.width)
        if kind == "tiff" and (count := getattr(image, "n_frames", 1)) > 1:
            raise Refused(f"it holds {count} pictures", "save one picture a file")
        ImageOps.exif_transpose(image, in_place=True)  # a copy would be large
        return to_eight_bits(image)


def to_eight_bits(image: Image.Image) -> Picture:
    """The picture over black; 16-bit grey is scaled by its upper byte, as Pillow scales 16-bit colour."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        grey = (np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.mode in ("I", "F"):
        kind = "floats" if image.mode == "F" else "32-bit numbers"
        raise Refused(f"it is of mode {image.mode} ({kind}), whose black and white are not known", "save 8 or 16 bits")
    try:
        return rgb_of(image)
    except ValueError:
        raise Refused(f"it is of mode {image.mode}, which is not converted to RGB", "save it as RGB") from None


def rgb_of(image: Image.Image) -> Picture:
    if image.mode in ("RGB", "L", "1") and "transparency" not in image.info:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return over_black(np.asarray(image.convert("RGBA")))


def is_animated(file: BinaryIO) -> bool:
    """Whether a PNG has an animation in it (a chunk acTL before its first pixels)."""
    file.seek(8)
    found = False
    for _ in range(1000):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IDAT":
            break
        if head[4:] == b"acTL":
            found = True
            break
        file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    file.seek(0)
    return found
