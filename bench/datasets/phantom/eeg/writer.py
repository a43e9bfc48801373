"""Writes a phantom in SEED-DV's layout: recordings, block videos, captions, meta-info, and beside them the truth.

    EEG/subN.npy  Video/…  geometry.json     as `bench.datasets.seed_dv.layout` reads them (EEG in volts, float32)
    truth/recipes.json                        the recipe of each clip
    truth/flow.npy                            (clip, 5, h, w, 2) float16: true flow in pixels between the six frames
    truth/{static,courses}.npy                features of the clips that drive the heads
    truth/eyes/subN.npy                       (7, 2, samples) float16: courses of blinks and saccades in microvolts
    manifest.json                             spec, sha256 of every file, and the digest of both

Every clip, block and subject draws from a stream of its own, so the files do not depend on the number of processes,
nor on how often the making was interrupted: each block and each subject is a part that is kept once it is whole.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.progress import say, track
from bench.datasets.phantom.eeg.features import Features, draw_stimuli, measure_features, object_space
from bench.datasets.phantom.eeg.head import draw_head
from bench.datasets.phantom.eeg.signals import hint_features, record_block
from bench.datasets.phantom.eeg.spec import PhantomSpec
from bench.datasets.phantom.publish import NOTES, X264, make_part, publish_phantom
from bench.datasets.phantom.stimuli import FRAME_TIMES, Recipe, describe, render, render_flow
from bench.datasets.seed_dv.geometry import BLOCK_NAMES, CHANNELS

VOLT = np.float32(1e-6)  # of a microvolt
LARGE = 10**9  # bytes from which on size and time are said before anything is made
DRAWING, RECORDING = 0.04, 0.15  # seconds of one core of 2024: a clip, a minute of EEG
PERSON = ("boxing", "dancing", "running", "skiing", "face", "couple", "crowd")


def write_phantom(spec: PhantomSpec, folder: Path, *, processes: int) -> None:
    """Make the phantom at `folder` (which must not exist). Raises DatasetError where the disk is too small."""
    name = f"phantom_eeg:{spec.size}"
    needed = needed_bytes(spec)
    if needed > LARGE:
        say(f"{name} takes {needed / 1e9:.1f} GB and about {estimate_minutes(spec, processes):.0f} minutes to make")
    publish_phantom(name, spec, folder, lambda draft: fill(spec, draft, processes), needed=needed, resumes=True)


def fill(spec: PhantomSpec, draft: Path, processes: int) -> None:
    """Write all files of the phantom into `draft`, but for parts that are there already."""
    from joblib import Parallel, delayed, parallel_config

    for name in ("EEG", "Video/BLIP-caption", "Video/meta-info", "truth/eyes", NOTES):
        (draft / name).mkdir(parents=True, exist_ok=True)
    recipes = draw_stimuli(spec)
    each = spec.geometry.block_clips
    blocks = [recipes[first : first + each] for first in range(0, len(recipes), each)]
    # max_nbytes: joblib would map large arguments from files, which its generators may have deleted by then
    with (
        parallel_config(backend="loky", inner_max_num_threads=1),
        Parallel(n_jobs=processes, return_as="generator", max_nbytes=None) as parallel,
    ):
        jobs = (delayed(keep_block)(spec, draft, block, own) for block, own in enumerate(blocks))
        for _ in track(parallel(jobs), "phantom: drawing blocks", total=len(blocks)):
            pass
        parts = [np.load(draft / block_part(block), allow_pickle=False) for block in range(len(blocks))]
        features = Features(*(np.concatenate([part[name] for part in parts]) for name in ("static", "courses")))
        write_metadata(spec, draft, recipes, features, np.concatenate([part["flow"] for part in parts]))
        subjects = range(1, spec.subjects + 1)
        jobs = (delayed(keep_subject)(spec, draft, subject, features) for subject in subjects)
        for _ in track(parallel(jobs), "phantom: recording subjects", total=len(subjects)):
            pass


def keep_block(spec: PhantomSpec, draft: Path, block: int, recipes: list[Recipe]) -> None:
    """Write a block's video, features and flow, unless they are there."""

    def write() -> None:
        features, flow = write_block(spec, draft, block, recipes)
        np.savez(draft / block_part(block), static=features.static, courses=features.courses, flow=flow)

    make_part(draft, f"block{block + 1}", [f"Video/{BLOCK_NAMES[block]}.mp4", block_part(block)], write)


def block_part(block: int) -> str:
    """Where a block's features and flow lie until all blocks are there."""
    return f"{NOTES}/block{block + 1}.npz"


def keep_subject(spec: PhantomSpec, draft: Path, subject: int, features: Features) -> None:
    """Write a subject's recording, unless it is there."""
    files = [f"EEG/sub{subject}.npy", f"truth/eyes/sub{subject}.npy"]
    make_part(draft, f"sub{subject}", files, lambda: write_subject(spec, draft, subject, features))


def write_block(spec: PhantomSpec, draft: Path, block: int, recipes: list[Recipe]) -> tuple[Features, np.ndarray]:
    """Encode the block's video, hints included; returns features and true flow of its clips."""
    import av
    import cv2

    cv2.setNumThreads(1)
    geometry = spec.geometry
    times = np.arange(geometry.clip_seconds * geometry.fps) / geometry.fps
    with av.open(str(draft / "Video" / f"{BLOCK_NAMES[block]}.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(geometry.fps), options=X264)
        stream.width, stream.height, stream.pix_fmt = geometry.width, geometry.height, "yuv444p"
        stream.codec_context.thread_count = 1

        def show(frame: np.ndarray) -> None:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))

        for slot, concept in enumerate(geometry.order[block]):
            hint = draw_hint(geometry.names[concept], geometry.width)
            for _ in range(geometry.hint_seconds * geometry.fps):
                show(hint)
            for recipe in recipes[slot * geometry.clips : (slot + 1) * geometry.clips]:
                for frame in render(recipe, times, geometry.width):
                    show(frame)
        container.mux(stream.encode())
    flow = np.stack([render_flow(recipe, FRAME_TIMES, geometry.width) for recipe in recipes])
    return measure_features(recipes, spec), flow.astype(np.float16)


def draw_hint(name: str, size: int) -> np.ndarray:
    """The screen before a slot: the concept's name, white on black, a word a line."""
    import cv2

    screen = np.zeros((size, size, 3), np.uint8)
    words = name.split()
    for line, word in enumerate(words):
        (width, height), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_SIMPLEX, 0.35, 1)
        place = ((size - width) // 2, size // 2 + height // 2 + round((line - (len(words) - 1) / 2) * 1.6 * height))
        cv2.putText(screen, word, place, cv2.FONT_HERSHEY_SIMPLEX, 0.35, (255, 255, 255), 1, cv2.LINE_AA)
    return screen


def write_subject(spec: PhantomSpec, draft: Path, subject: int, features: Features) -> None:
    """Write a subject's recording and the courses of its eyes."""
    geometry = spec.geometry
    head = draw_head(spec, subject)
    objects = object_space(spec)
    recording = np.lib.format.open_memmap(
        draft / "EEG" / f"sub{subject}.npy", mode="w+", dtype=np.float32, shape=geometry.shape
    )
    eyes = np.zeros((len(BLOCK_NAMES), 2, geometry.block_samples), np.float16)
    each = geometry.block_clips
    for block in range(len(BLOCK_NAMES)):
        own = slice(block * each, (block + 1) * each)
        clips = Features(features.static[own], features.courses[own])
        hints = hint_features(spec, objects, geometry.order[block])
        signal, eyes[block] = record_block(spec, head, subject, block, clips, hints)
        recording[block] = signal * VOLT
    recording.flush()
    np.save(draft / "truth" / "eyes" / f"sub{subject}.npy", eyes)


def write_metadata(spec: PhantomSpec, draft: Path, recipes: list[Recipe], features: Features, flow: np.ndarray) -> None:
    """Captions, meta-info with the release's names and types, geometry and truth."""
    geometry = spec.geometry
    geometry.save(draft / "geometry.json")
    blocks, each = len(BLOCK_NAMES), geometry.block_clips
    for block, name in enumerate(BLOCK_NAMES):
        lines = [describe(recipe) for recipe in recipes[block * each : (block + 1) * each]]
        path = draft / "Video" / "BLIP-caption" / f"{name}.txt"
        path.write_text("\r\n".join(lines) + "\r\n", newline="", encoding="utf-8")
    names = [geometry.names[concept] for concept in geometry.clip_table()["concept"]]
    people = {"couple": 2.0, "crowd": 3.0}
    columns = {
        "color": [float(recipe.scene) for recipe in recipes],
        "face_apperance": [float(name in ("face", "couple", "crowd")) for name in names],
        "human_apperance": [float(name in PERSON) for name in names],
        "obj_number": [people.get(name, 1.0) for name in names],
        "optical_flow_score": np.hypot(*np.moveaxis(flow.astype(np.float64), -1, 0)).mean(axis=(1, 2, 3)),
    }
    folder = draft / "Video" / "meta-info"
    label = np.asarray(geometry.concepts)[geometry.order] + 1
    np.save(folder / "All_video_label.npy", label.astype(np.int64))
    for column, values in columns.items():
        np.save(folder / f"All_video_{column}.npy", np.asarray(values, np.float64).reshape(blocks, each))
    planted = json.dumps([asdict(recipe) for recipe in recipes], indent=0)
    (draft / "truth" / "recipes.json").write_text(planted, encoding="utf-8")
    np.save(draft / "truth" / "flow.npy", flow)
    np.save(draft / "truth" / "static.npy", features.static)
    np.save(draft / "truth" / "courses.npy", features.courses)


def needed_bytes(spec: PhantomSpec) -> int:
    """About what the phantom takes on disk: recordings, eyes, flow, videos."""
    geometry = spec.geometry
    samples = len(BLOCK_NAMES) * geometry.block_samples
    clips = len(BLOCK_NAMES) * geometry.block_clips
    per_clip = 5 * geometry.width * geometry.height * 4 + geometry.width * geometry.height * 8
    return spec.subjects * samples * (len(CHANNELS) * 4 + 4) + clips * per_clip


def estimate_minutes(spec: PhantomSpec, processes: int) -> float:
    """About how long the making takes."""
    clips = len(BLOCK_NAMES) * spec.geometry.block_clips
    recorded = spec.subjects * len(BLOCK_NAMES) * spec.geometry.block_seconds / 60
    return (clips * DRAWING + recorded * RECORDING) / processes / 60
