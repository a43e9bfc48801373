"""Clips for a page: small WebM videos that browsers play, their posters, and moving pictures to stand in the page.

The same pixels give the same bytes. VP9 with 4:2:0 colour at a constant quality: for the eye, never for a metric.
Nothing of the machine, the time or the encoder's name is written into a file. A file is named by its content, so equal
clips are one file.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from bench.store.predictions import FRAMES_PER_SECOND

Video = UInt8[np.ndarray, "frame height width 3"]

LONGEST = 128  # pixels of the longer side; larger clips are shrunk
QUALITY = "32"  # VP9's constant quality: 0 is best, 63 worst
COLOURS = 64  # of a poster
MOVING = 160  # pixels of the longer side of a moving picture
MOST_FRAMES = 24  # of a moving picture; of longer clips so many are shown, equally spaced
DURATION = 2000  # milliseconds that a moving picture takes
NAME_LENGTH = 24  # characters of a content's sha256


def shrink(video: Video, longest: int = LONGEST) -> Video:
    """At most `longest` pixels long and wide, and of even size as 4:2:0 needs (the last row or column may repeat)."""
    height, width = video.shape[1:3]
    scale = longest / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        video = np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.LANCZOS)) for one in video])
    return np.pad(video, ((0, 0), (0, video.shape[1] % 2), (0, video.shape[2] % 2), (0, 0)), mode="edge")


def encode_webm(video: Video, *, fps: float = FRAMES_PER_SECOND) -> bytes:
    """A WebM (VP9) of the clip, shrunk."""
    import av

    small = shrink(video)
    buffer = io.BytesIO()
    options = {"crf": QUALITY, "b": "0", "deadline": "good", "cpu-used": "0", "flags": "+bitexact"}
    with av.open(buffer, "w", format="webm", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libvpx-vp9", rate=Fraction(fps).limit_denominator(1000), options=options)
        stream.height, stream.width = small.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in small:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def encode_poster(video: Video) -> bytes:
    """The middle frame as a PNG of few colours."""
    image = Image.fromarray(np.ascontiguousarray(shrink(video)[len(video) // 2]))
    buffer = io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def encode_moving(video: Video) -> bytes:
    """An animated WebP of the clip, shrunk, that plays in `DURATION` and again: some ten kilobytes."""
    if len(video) > MOST_FRAMES:
        video = video[np.linspace(0, len(video) - 1, MOST_FRAMES).round().astype(int)]
    first, *rest = (Image.fromarray(np.ascontiguousarray(frame)) for frame in shrink(video, MOVING))
    buffer = io.BytesIO()
    duration = round(DURATION / len(video))
    first.save(buffer, "WEBP", save_all=True, append_images=rest, duration=duration, loop=0, quality=60, method=2)
    return buffer.getvalue()


def encode_still(video: Video) -> bytes:
    """The middle frame as a WebP, shrunk."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shrink(video, MOVING)[len(video) // 2])).save(buffer, "WEBP", quality=60)
    return buffer.getvalue()


def name_content(content: bytes, suffix: str) -> str:
    return hashlib.sha256(content).hexdigest()[:NAME_LENGTH] + suffix


def summarise_frames(videos: Iterable[Video]) -> np.ndarray:  # f32 (frame, 256)
    """Every frame as 16×16 grey values without mean and of length 1, so that a product is a correlation."""
    made = []
    for video in videos:
        for frame in video:
            grey = Image.fromarray(np.ascontiguousarray(frame)).convert("L").resize((16, 16), Image.Resampling.BOX)
            values = np.asarray(grey, np.float32).reshape(-1)
            values = values - values.mean()
            made.append(values / max(float(np.linalg.norm(values)), 1e-6))
    return np.stack(made) if made else np.zeros((0, 256), np.float32)
