"""Writes fMRI phantoms: as NeuroClips releases cc2017, or as CineBrain is released, and beside them the truth.

    subjNN_{train,test}_fmri.pt  GT_*_3fps.pt (float16 in [0, 1])  GT_*_caption.pt  layout cc2017
    sub-000N/fmri/T.npy  sub-000N/eeg/T.npy  sub-000N_*_va.json  videos/%06d.mp4    layout CineBrain
    geometry.json  concepts.json  …_rois.txt                                        of ours, as the loaders read them
    truth/recipes.json  truth/features.npy                                          of all clips, without memory
    truth/tuning/subNN.npy                    [voxel, 141]: the weight of each feature in each voxel
    truth/scales/…                            means and deviations that the z-scores took away
    manifest.json                             spec, sha256 of every file, and the digest of both

Every run of every subject draws from a stream of its own, so the files do not depend on the number of processes. All is
written to a temporary sibling that is renamed when it is whole; segments and subjects are parts that an interrupted
making of a `study` size keeps. No more is held in memory than a process's subject and a segment's frames. As in the
releases, cc2017 is z-scored a voxel and run, CineBrain a voxel over all of a subject's episodes, and the delay of 4 s
is already taken out.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.progress import say, track
from bench.core.seeds import derive_seed
from bench.datasets.phantom.fmri import scalp as eeg
from bench.datasets.phantom.fmri.cortex import Cortex, draw_cortex, draw_noise, filter_features
from bench.datasets.phantom.fmri.features import (
    COUNT,
    add_memory,
    clip_rows,
    draw_films,
    measure_cortex_features,
    remembered,
)
from bench.datasets.phantom.fmri.spec import FmriSpec
from bench.datasets.phantom.publish import NOTES, X264, make_part, publish_phantom
from bench.datasets.phantom.stimuli import CLIP_SECONDS, Recipe, describe, render

FPS = {"cc2017": 3, "cinebrain": 8}


def write_fmri_phantom(spec: FmriSpec, folder: Path, *, processes: int) -> None:
    """Make the phantom at `folder` (which must not exist). Raises DatasetError where the disk is too small."""
    large, needed = spec.size == "study", needed_bytes(spec)
    if large:
        say(f"{folder.name}: {needed / 1e9:.1f} GB, about {needed_seconds(spec) / 60 / processes:.0f} min")
    publish_phantom(folder.name, spec, folder, lambda draft: fill(spec, draft, processes), needed=needed, resumes=large)


def fill(spec: FmriSpec, draft: Path, processes: int) -> None:
    """Write all files of the phantom into `draft`, but for parts that are there already."""
    from joblib import Parallel, delayed, parallel_config

    for name in ("truth/tuning", "truth/scales", NOTES):
        (draft / name).mkdir(parents=True, exist_ok=True)
    recipes = draw_films(spec)
    each = spec.segment_clips
    parts = [recipes[first : first + each] for first in range(0, len(recipes), each)]
    # max_nbytes: joblib would map large arguments from files, which its generators may have deleted by then
    with (
        parallel_config(backend="loky", inner_max_num_threads=1),
        Parallel(n_jobs=processes, return_as="generator", max_nbytes=None) as parallel,
    ):
        jobs = (delayed(keep_episode)(spec, draft, number, own) for number, own in enumerate(parts))
        for _ in track(parallel(jobs), "phantom: drawing films", total=len(parts)):
            pass
        features = np.concatenate([np.load(draft / features_part(number)) for number in range(len(parts))])
        write_metadata(spec, draft, recipes, features)
        kinds = np.array([recipe.concept for recipe in recipes])
        captions = [describe(recipe) for recipe in recipes]
        subjects = range(1, spec.subjects + 1)
        jobs = (delayed(keep_subject)(spec, draft, subject, features, kinds, captions) for subject in subjects)
        for _ in track(parallel(jobs), "phantom: recording subjects", total=len(subjects)):
            pass


def keep_episode(spec: FmriSpec, draft: Path, number: int, recipes: list[Recipe]) -> None:
    """Write features and films of a segment, unless they are there."""
    first = number * spec.segment_clips
    if spec.layout == "cc2017":
        films = [frames_part(number)]
    else:
        films = [f"videos/{clip:06d}.mp4" for clip in range(first, first + len(recipes))]

    def write() -> None:
        video = draw_episode(spec, recipes)
        if spec.layout == "cc2017":
            np.save(draft / films[0], video)
        else:
            encode_episode(draft, films, video)
        np.save(draft / features_part(number), measure_cortex_features(recipes, spec))

    make_part(draft, f"episode{number}", [features_part(number), *films], write)


def features_part(number: int) -> str:
    """Where a segment's features lie until all are there."""
    return f"{NOTES}/features{number}.npy"


def frames_part(number: int) -> str:
    """Where a segment's frames lie, u8 [clip, frame, h, w, 3], until all are there."""
    return f"{NOTES}/frames{number}.npy"


def keep_subject(
    spec: FmriSpec, draft: Path, subject: int, features: np.ndarray, kinds: np.ndarray, captions: list[str]
) -> None:
    """Write a subject's recording, unless it is there."""
    record = record_cc2017 if spec.layout == "cc2017" else record_cinebrain
    make_part(
        draft,
        f"subject{subject}",
        subject_files(spec, subject),
        lambda: record(spec, draft, subject, features, kinds, captions),
    )


def subject_files(spec: FmriSpec, subject: int) -> list[str]:
    truth = [f"truth/tuning/sub{subject:02d}.npy"]
    if spec.layout == "cc2017":
        stem = f"subj{subject:02d}"
        truth += [f"truth/scales/sub{subject:02d}_{part}.npy" for part in ("train", "test")]
        return [*truth, f"{stem}_rois.txt", *(f"{stem}_{part}_fmri.pt" for part in ("train", "test"))]
    stem = f"sub-{subject:04d}"
    episodes = sum(len(own) for own in spec.part_episodes(subject).values())
    volumes = range(episodes * spec.segment_clips * spec.clip_volumes)
    signals = [f"{stem}/{name}/{volume}.npy" for name in ("fmri", "eeg") for volume in volumes]
    lists = [f"{stem}_{part}_va.json" for part in ("train", "test")]
    return [*truth, f"truth/scales/sub{subject:02d}.npy", f"{stem}_rois.txt", *lists, *signals]


def frame_times(spec: FmriSpec) -> np.ndarray:
    """Times of the frames on the recipe's clock: a clip of 4 s plays its recipe of 2 s at half speed."""
    return np.arange(spec.frames) / FPS[spec.layout] * (CLIP_SECONDS / spec.clip_seconds)


def draw_episode(spec: FmriSpec, recipes: list[Recipe]) -> np.ndarray:
    """Frames, u8 [clip, frame, h, w, 3], of a segment."""
    import cv2

    cv2.setNumThreads(1)
    return np.stack([render(recipe, frame_times(spec), spec.pixels) for recipe in recipes])


def encode_episode(draft: Path, names: list[str], video: np.ndarray) -> None:
    """Write the clips of an episode as one mp4 each."""
    import av

    (draft / "videos").mkdir(exist_ok=True)
    height, width = video.shape[2:4]
    for name, frames in zip(names, video, strict=True):
        with av.open(str(draft / name), "w") as container:
            stream: Any = container.add_stream("libx264", rate=Fraction(FPS["cinebrain"]), options=X264)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
            stream.codec_context.thread_count = 1
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())


def write_metadata(spec: FmriSpec, draft: Path, recipes: list[Recipe], features: np.ndarray) -> None:
    """What is common to all subjects: stimuli, captions, labels, geometry and truth."""
    import torch

    place = {concept: index for index, concept in enumerate(spec.concepts)}
    labels = [place[recipe.concept] for recipe in recipes]
    names = list(spec.names)
    if spec.layout == "cc2017":
        episodes = spec.part_episodes(1)
        geometry: dict[str, Any] = {"segment_clips": spec.segment_clips, "tr": spec.tr}
        geometry["clips"] = {part: len(own) * spec.segment_clips for part, own in episodes.items()}
        concepts: dict[str, Any] = {"names": names}
        for part, own in episodes.items():
            rows = clip_rows(spec, own)
            save_frames(spec, draft, own, f"GT_{part}_3fps.pt")
            torch.save(np.array([describe(recipes[row]) for row in rows]), draft / f"GT_{part}_caption.pt")
            concepts[part] = [labels[row] for row in rows]
    else:
        geometry = {"episode_clips": spec.segment_clips, "tr": spec.tr, "frames": spec.frames}
        concepts = {"names": names, "clips": {str(clip): label for clip, label in enumerate(labels)}}
    (draft / "geometry.json").write_text(json.dumps(geometry, indent=1) + "\n", encoding="utf-8")
    (draft / "concepts.json").write_text(json.dumps(concepts) + "\n", encoding="utf-8")
    planted = json.dumps([asdict(recipe) for recipe in recipes], indent=0)
    (draft / "truth" / "recipes.json").write_text(planted, encoding="utf-8")
    np.save(draft / "truth" / "features.npy", features)


def save_frames(spec: FmriSpec, draft: Path, episodes: list[int], name: str) -> None:
    """The frames of segments as one tensor, float16 [clip, frame, 3, h, w] in [0, 1], laid out on disk."""
    import torch

    each = spec.segment_clips
    shape = (len(episodes) * each, spec.frames, 3, spec.pixels, spec.pixels)
    whole = draft / NOTES / name
    tensor = torch.from_file(str(whole), shared=True, size=int(np.prod(shape)), dtype=torch.half).view(shape)
    for place, episode in enumerate(episodes):
        frames = np.load(draft / frames_part(episode), mmap_mode="r", allow_pickle=False)
        scaled = torch.from_numpy(np.moveaxis(frames, -1, 2) / np.float32(255)).half()
        tensor[place * each : (place + 1) * each] = scaled
    torch.save(tensor, draft / name)
    whole.unlink()


def write_cortex(spec: FmriSpec, draft: Path, subject: int, stem: str) -> Cortex:
    cortex = draw_cortex(spec, subject)
    (draft / f"{stem}_rois.txt").write_text("\n".join(cortex.rois) + "\n", encoding="utf-8")
    np.save(draft / "truth" / "tuning" / f"sub{subject:02d}.npy", cortex.weights)
    return cortex


def standardise(volumes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """z-scores over the first axis (ddof 1), and [2, voxel]: the means and deviations taken away."""
    scales = np.stack([volumes.mean(axis=0), volumes.std(axis=0, ddof=1)]).astype(np.float32)
    return (volumes - scales[0]) / scales[1], scales


def record_cc2017(
    spec: FmriSpec, draft: Path, subject: int, features: np.ndarray, kinds: np.ndarray, captions: list[str]
) -> None:
    """Write a subject's two tensors [clip, repeat, voxel]: each run z-scored for itself."""
    import torch

    cortex = write_cortex(spec, draft, subject, f"subj{subject:02d}")
    familiar = remembered(spec, subject, kinds)
    each = spec.segment_clips
    for (part, episodes), repeats in zip(spec.part_episodes(subject).items(), spec.repeats, strict=True):
        rows = clip_rows(spec, episodes)
        tensor = np.empty((len(rows), repeats, len(cortex.own)), np.float32)
        scales = np.empty((2, len(episodes), repeats, len(cortex.own)), np.float32)
        for repeat in range(repeats):
            shown = add_memory(features[rows], spec, kinds[rows], familiar[part, repeat])
            for run, episode in enumerate(episodes):
                own = slice(run * each, (run + 1) * each)
                rng = np.random.default_rng(derive_seed("phantom", "run", spec.seed, subject, episode, repeat))
                drive = filter_features(shown[own].reshape(-1, COUNT), spec)
                volumes = drive @ cortex.weights.T + draw_noise(rng, cortex, spec, each)
                tensor[own, repeat], scales[:, run, repeat] = standardise(volumes)
        torch.save(torch.from_numpy(tensor), draft / f"subj{subject:02d}_{part}_fmri.pt")
        np.save(draft / "truth" / "scales" / f"sub{subject:02d}_{part}.npy", scales)


def record_cinebrain(
    spec: FmriSpec, draft: Path, subject: int, features: np.ndarray, kinds: np.ndarray, captions: list[str]
) -> None:
    """Write a subject's files, one a TR, fMRI and EEG, and the two lists that name them."""
    cortex = write_cortex(spec, draft, subject, f"sub-{subject:04d}")
    head = eeg.draw_scalp(spec, subject)
    familiar = remembered(spec, subject, kinds)
    base = f"sub-{subject:04d}"
    for name in ("fmri", "eeg"):
        (draft / base / name).mkdir(parents=True, exist_ok=True)
    parts = spec.part_episodes(subject)
    runs = []
    for part, episodes in parts.items():
        rows = clip_rows(spec, episodes)
        shown = add_memory(features[rows], spec, kinds[rows], familiar[part, 0])
        runs += np.split(shown, len(episodes))
    order = [episode for episodes in parts.values() for episode in episodes]
    volumes = []
    step = spec.clip_volumes * spec.segment_clips
    for run, (episode, shown) in enumerate(zip(order, runs, strict=True)):
        rng = np.random.default_rng(derive_seed("phantom", "run", spec.seed, subject, episode, 0))
        drive = filter_features(shown.reshape(-1, COUNT), spec)
        volumes.append(drive @ cortex.weights.T + draw_noise(rng, cortex, spec, step))
        for place, potentials in enumerate(record_scalp(spec, head, subject, episode, shown), start=run * step):
            np.save(draft / base / "eeg" / f"{place}.npy", potentials)
    scored, scales = standardise(np.concatenate(volumes))
    for place, volume in enumerate(scored):
        np.save(draft / base / "fmri" / f"{place}.npy", volume.astype(np.float32))
    np.save(draft / "truth" / "scales" / f"sub{subject:02d}.npy", scales)
    first = 0
    for part, episodes in parts.items():
        items = []
        for place, clip in enumerate(clip_rows(spec, episodes).tolist(), start=first):
            trs = range(place * spec.clip_volumes, (place + 1) * spec.clip_volumes)
            files = {name: [f"{base}/{name}/{tr}.npy" for tr in trs] for name in ("fmri", "eeg")}
            items.append({**files, "text": captions[clip], "video": f"videos/{clip:06d}.mp4"})
        first += len(items)
        (draft / f"{base}_{part}_va.json").write_text(json.dumps(items), encoding="utf-8")


def record_scalp(spec: FmriSpec, head: eeg.Scalp, subject: int, episode: int, shown: np.ndarray) -> np.ndarray:
    """Microvolts of an episode, float16 [TR, 64, sample]."""
    rng = np.random.default_rng(derive_seed("phantom", "scalp run", spec.seed, subject, episode))
    samples = eeg.tr_samples(spec)
    driven = (shown * eeg.volume_gains(spec)[:, None]).reshape(-1, COUNT).astype(np.float32)
    evoked = np.einsum("vd,ctd->vct", driven, head.response, optimize=True)
    noise = eeg.draw_scalp_noise(rng, head, spec, len(driven) * samples)
    return (evoked + noise.reshape(eeg.CHANNELS, len(driven), samples).swapaxes(0, 1)).astype(np.float16)


def needed_bytes(spec: FmriSpec) -> int:
    """About what the phantom takes on disk; small files take whole blocks."""
    voxels = 1400 * spec.voxels
    if spec.layout == "cc2017":
        presented = sum(count * repeats for count, repeats in zip(spec.segments, spec.repeats, strict=True))
        recorded = spec.subjects * presented * spec.segment_clips * voxels * 4
        return int(recorded + spec.clips * spec.frames * 3 * spec.pixels**2 * 2)
    volumes = sum(spec.segments) * spec.segment_clips * spec.clip_volumes
    return int(spec.subjects * volumes * (voxels * 4 + 64 * eeg.tr_samples(spec) * 2 + 8192) + spec.clips * 40_000)


def needed_seconds(spec: FmriSpec) -> float:
    """About what one core takes: measured per clip drawn and per volume recorded, on one machine."""
    passes = zip(spec.part_episodes(1).values(), spec.repeats, strict=True)
    volumes = sum(len(own) * repeats for own, repeats in passes) * spec.segment_clips * spec.clip_volumes
    film, volume = (0.01, 2e-4) if spec.layout == "cc2017" else (0.06, 2e-3)
    return spec.clips * film + spec.subjects * volumes * volume
