"""The judges: frozen networks that look at videos, each giving the views that metrics read.

A view is what one judge says of clips: class logits, embeddings, flow. Clips go in as bytes and come out as float32
arrays, in the order given; a clip's view does not depend on what it is batched with (beyond rounding). A judge sees its
frames as the checkpoint's processor prepares them, or, where a view names one, as a publisher's script does: so two
protocols may show the same judge the same clips in two ways, and each way is a view with a digest of its own.

Choices. Batches are counted in pixels of the network's input, so that the matrices are large for small networks and
large ones alike while memory stays the same for 100 clips and for 2,000; a device that holds fewer is given fewer
(`bench.toolbox.budget`). `threads` is set for the time of a call, and
what torch had is restored: matrices of these sizes use all that they are given, so give all cores when one process
scores, and one each where cells run side by side. Exact float32 is the default; "bf16" and "fp16" convert the networks
themselves (but RAFT and AMT), because under autocast weights are converted anew with every call.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Float32, UInt8

from bench.core.errors import BenchError
from bench.core.hardware import PRECISIONS, Precision
from bench.pretrained.roles import JUDGES as JUDGE_ROLES
from bench.pretrained.roles import MissingWeights, Role, loading, make_roles

if TYPE_CHECKING:
    import torch

    from bench.pretrained.judges.networks import Interpolator
    from bench.pretrained.judges.preparation import Preparation
    from bench.pretrained.judges.publishers import Pixels

Seen = TypeVar("Seen")
BATCH_PIXELS = 32 * 224 * 224  # of the networks' input: 32 frames for a ViT at the papers' size
FLOW_PIXELS = 8 * 288 * 512  # RAFT keeps the correlation of all pairs of pixels
MOST_CAPTIONS = 256  # read at once
VERSION = 1  # of what is done with the networks' outputs; part of the digests


@dataclass(frozen=True, kw_only=True)
class View:
    """Which output of which role, and what it looks like.

    `pixels` names whose preparation the judge sees, one of `bench.pretrained.judges.publishers.PUBLISHERS` (for RAFT
    "vbench_raft"); empty for the checkpoint's own.
    """

    role: str
    output: str
    summary: str
    pixels: str = ""


VIEWS: dict[str, View] = {
    "video": View(role="video_judge", output="logits", summary="VideoMAE's logits [n, classes]"),
    "features": View(role="video_judge", output="pooled", summary="VideoMAE's mean last hidden state [n, d]"),
    "frame": View(
        role="frame_judge", output="logits", summary="the image classifier's logits of each frame [n, f, classes]"
    ),
    "frame_features": View(role="frame_judge", output="features", summary="what its last layer reads [n, f, d]"),
    "clip": View(role="clip", output="embedding", summary="CLIP's embedding of each frame [n, f, d]"),
    "clip_large": View(role="clip_large", output="embedding", summary="the large CLIP's, of each frame [n, f, d]"),
    "clip_big_tokens": View(
        role="clip_big", output="tokens", summary="the largest CLIP's tokens of each frame's patches [n, f, token, d]"
    ),
    "vifi": View(role="vifi", output="embedding", summary="ViFi-CLIP's, of each frame [n, f, d]"),
    "dino": View(role="dino", output="embedding", summary="DINO's class token of each frame [n, f, d]"),
    "dinov2": View(role="dinov2", output="embedding", summary="DINOv2's class token of each frame [n, f, d]"),
    "action": View(role="action", output="embedding", summary="X-CLIP's embedding of the clip [n, d]"),
    "raft": View(role="raft", output="flow", summary="RAFT's flow to the next frame in pixels [n, f-1, h, w, 2]"),
    "amt": View(role="amt", output="frame", summary="AMT's frame between two; see `Judges.interpolator`"),
    "clip_vbench": View(
        role="clip",
        output="embedding",
        summary="CLIP's embedding of each frame as VBench prepares it [n, f, d]",
        pixels="vbench_clip",
    ),
    "clip_dynamind": View(
        role="clip",
        output="embedding",
        summary="CLIP's embedding of each frame as DynaMind prepares it [n, f, d]",
        pixels="transformers_clip",
    ),
    "clip_large_neurons": View(
        role="clip_large",
        output="embedding",
        summary="the large CLIP's, of each frame as NEURONS prepares it [n, f, d]",
        pixels="transformers_clip",
    ),
    "vifi_mind_animator": View(
        role="vifi",
        output="embedding",
        summary="ViFi-CLIP's, of each frame as Mind-Animator prepares it [n, f, d]",
        pixels="mind_animator_vifi",
    ),
    "dino_vbench": View(
        role="dino",
        output="embedding",
        summary="DINO's class token of each frame, uncropped as VBench prepares it [n, f, d]",
        pixels="vbench_dino",
    ),
    "dinov2_dynamind": View(
        role="dinov2",
        output="embedding",
        summary="DINOv2's class token of each frame as DynaMind prepares it [n, f, d]",
        pixels="dynamind_dino",
    ),
    "raft_vbench": View(
        role="raft",
        output="flow",
        summary="RAFT's flow over the frame with VBench's padding, in pixels [n, f-1, H, W, 2]",
        pixels="vbench_raft",
    ),
}
READERS = ("clip", "clip_large", "vifi")  # views whose judge reads captions too


class UnknownView(BenchError):
    """No view of that name, or one that cannot be had in this way."""


@contextmanager
def use_threads(count: int | None) -> Iterator[int]:
    """Torch with `count` threads inside the block (None: as it is); gives the number that holds."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


class Judges:
    """The judges of a suite. Each loads when first asked; one that is absent raises `MissingWeights` then."""

    def __init__(self, suite: Any, *, precision: Precision = "fp32", threads: int | None = None) -> None:
        """`suite` gives `settings`, `base` and `device`. `threads`: None leaves torch's number as it is."""
        if precision not in PRECISIONS:
            raise UnknownView(f"precision {precision!r}; it is one of {', '.join(PRECISIONS)}")
        self.name: str = suite.name
        self.precision: Precision = precision
        self.threads = threads
        self.device: torch.device = suite.device
        self.memory: int | None = getattr(suite, "memory", None)
        self.roles = make_roles(suite.settings, suite.base, JUDGE_ROLES)
        if own := os.environ.get("BENCH_AMT"):
            self.roles["amt"] = Role(name="amt", id=".", base=Path(own), licence="CC-BY-NC-4.0")
        self._networks: dict[tuple[str, str], Any] = {}
        self._digests: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Judges({self.name!r}, {self.precision}, {', '.join(self.roles)})"

    # What there is

    def available(self, view: str) -> bool:
        """True if the suite names a judge for the view and its weights are on this machine."""
        role = self.roles.get(_view(view).role)
        if role is None:
            return False
        if not role.files and role.is_shipped:  # not absent but lost
            role.locate()
        return bool(role.files)

    def explain(self, view: str) -> str:
        """What to fetch for the view: id, revision, size, licence, command."""
        role = self.roles.get(_view(view).role)
        if role is not None:
            return role.explain()
        from bench.pretrained.roles import find_suite

        _, settings, base = find_suite("paper")
        named = make_roles(settings, base, (_view(view).role,)).get(_view(view).role)
        where = ""
        if named is not None:
            where = f"; in suite 'paper' {named.explain()}" if not named.files else "; suite 'paper' has it here"
        return f"suite {self.name!r} has no {_view(view).role}{where}"

    def source(self, view: str) -> str:
        """Which network the suite asks for the view: its repository, package or folder; empty where it names none."""
        role = self.roles.get(_view(view).role)
        return "" if role is None else role.source

    def digest(self, view: str) -> str:
        """Of all that determines the view of a clip: the judge's files and settings, the precision and the preparation.

        The number of frames needs no place in it: VideoMAE always sees the clip's own, and that is the clip's.
        """
        if view not in self._digests:
            from bench.pretrained.judges.networks import FLOW_UPDATES
            from bench.pretrained.judges.preparation import VERSION as PREPARATION

            role = self._role(view)
            precision = "fp32" if role.name in ("raft", "amt") else self.precision
            lines = [*role.digest_lines(), _view(view).output, precision, f"preparation {PREPARATION}, {VERSION}"]
            lines += [f"updates {FLOW_UPDATES}"] if role.name == "raft" else ["frames of the clip"]
            if pixels := _view(view).pixels:
                lines.append(describe_pixels(pixels, role))
            self._digests[view] = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        return self._digests[view]

    # Calls

    def observe(self, view: str, video: UInt8[np.ndarray, "n f h w 3"]) -> Float32[np.ndarray, "n ..."]:
        """The view of each clip (`VIEWS` gives the shapes).

        Raises `MissingWeights` where the judge is absent, `UnknownView` for no view, `BadClip` for one too short.
        """
        return self.observe_many([view], video)[view]

    def observe_many(self, views: Iterable[str], video: UInt8[np.ndarray, "n f h w 3"]) -> dict[str, np.ndarray]:
        """Several views of the same clips; a network, or a preparation of frames, that views share runs once."""
        import torch

        views = list(dict.fromkeys(views))
        if video.ndim != 5 or video.shape[-1] != 3 or video.dtype != np.uint8:
            raise UnknownView(f"judges look at u8 videos [n, f, h, w, 3], not {video.dtype} {video.shape}")
        if "amt" in views:
            raise UnknownView("AMT draws frames and has no view; motion smoothness takes `Judges.interpolator()`")
        if len(video) == 0:
            one = self.observe_many(views, np.zeros((1, *video.shape[1:]), np.uint8))
            return {view: seen[:0] for view, seen in one.items()}
        networks = {view: self._network(view) for view in views}
        parts: dict[str, list[np.ndarray]] = {view: [] for view in views}
        with use_threads(self.threads) as threads, torch.inference_mode():
            for view in (view for view in views if _view(view).role == "raft"):
                step = max(1, FLOW_PIXELS // int(np.prod(video.shape[1:4])))
                measure = partial(networks[view].measure, padding=_view(view).pixels or "cut")
                parts[view] = list(self._walk(view, video, measure, step))
            looking = {
                view: (network, self._preparation(view, network))
                for view, network in networks.items()
                if _view(view).role != "raft"
            }
            step = _clips_at_once((preparation for _, preparation in looking.values()), video.shape)

            def look(part: np.ndarray) -> dict[str, np.ndarray]:
                return self._look(looking, part, threads)

            for seen in self._walk(" and ".join(looking), video, look, step) if looking else ():
                for view, part in seen.items():
                    parts[view].append(part)
        return {view: np.concatenate(part) for view, part in parts.items()}

    def embed_captions(self, view: str, captions: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """The captions in the space of a CLIP view, not of unit length, as `observe` gives frames."""
        import torch

        if view not in READERS:
            raise UnknownView(f"view {view!r} reads no captions; those that do are {', '.join(READERS)}")
        from bench.toolbox.budget import run_parts

        network = self._network(view)

        def read(rows: slice) -> np.ndarray:
            return network.read(list(captions[rows]) or [""]).float().cpu().numpy()

        what = f"{self.name}: read captions for {view} in {self.precision}"
        options: dict[str, Any] = {"device": self.device, "most": MOST_CAPTIONS, "memory": self.memory}
        with use_threads(self.threads), torch.inference_mode():
            parts = list(run_parts(what, max(1, len(captions)), read, **options))
        return np.concatenate(parts)[: len(captions)]

    def _walk(
        self, what: str, video: UInt8[np.ndarray, "n f h w 3"], look: Callable[[np.ndarray], Seen], most: int
    ) -> Iterator[Seen]:
        """`look` at all clips, at as many at once as the device's memory holds, `most` at most."""
        from bench.toolbox.budget import run_parts

        what = f"{self.name}: {what} of clips of {video.shape[1:]} in {self.precision}"
        options: dict[str, Any] = {"device": self.device, "most": most, "memory": self.memory}
        return run_parts(what, len(video), lambda rows: look(video[rows]), **options)

    def interpolator(self) -> Interpolator:
        """AMT as a callable of two arrays of frames (u8 [n, h, w, 3]) to the frames between them.

        Needs the user's own checkout of AMT with its weights: the folder that `BENCH_AMT` names, or that of the suite's
        role `amt`. Raises `MissingWeights` otherwise.
        """
        return self._network("amt")

    # Networks

    def _role(self, view: str) -> Role:
        role = self.roles.get(_view(view).role)
        if role is None:
            raise MissingWeights(self.explain(view))
        return role

    def _network(self, view: str) -> Any:
        """The view's network; two roles in one folder share it."""
        import torch

        from bench.pretrained.judges import networks as kinds
        from bench.pretrained.judges.classifiers import load_classifier
        from bench.toolbox.precision import DTYPES

        role = self._role(view)
        loaders: dict[str, Callable[..., Any]] = {
            "video_judge": kinds.VideoClassifier,
            "frame_judge": load_classifier,
            "dino": kinds.DinoEncoder,
            "dinov2": kinds.DinoEncoder,
            "action": kinds.ActionEncoder,
            "clip_big": kinds.PatchEncoder,
        }
        key = (f"{role.locate()} {role.name == 'clip_big'}", str(sorted((role.settings or {}).items())))
        if key in self._networks:
            return self._networks[key]
        # what is drawn at first and then overwritten must not change what a method draws next: its clips may also
        # have been looked at in an earlier run, and no judge be loaded
        with loading(role), torch.random.fork_rng(devices=[]):
            if role.name == "raft":
                network: Any = kinds.FlowEstimator(role, self.device)
            elif role.name == "amt":
                network = kinds.Interpolator(role.locate(), self.device)
            else:
                network = loaders.get(role.name, kinds.ClipEncoder)(role, DTYPES[self.precision], self.device)
        self._networks[key] = network
        return network

    def _preparation(self, view: str, network: Any) -> Pixels:
        """What is done to a frame before the network sees it: the checkpoint's way, or a publisher's at its size."""
        from bench.pretrained.judges.publishers import PUBLISHERS

        own: Preparation = network.preparation
        if not (pixels := _view(view).pixels):
            return own
        return PUBLISHERS[pixels](own.height, *([own.normal] if self._role(view).own_normalisation else []))

    def _look(self, networks: dict[str, tuple[Any, Pixels]], video: np.ndarray, threads: int) -> dict[str, np.ndarray]:
        """One batch through each distinct network, its frames prepared once for each distinct preparation."""
        import torch

        from bench.toolbox.precision import DTYPES

        frames = video.reshape(-1, *video.shape[2:])
        pixels: dict[Any, Any] = {}
        outputs: dict[Any, Any] = {}
        seen = {}
        for view, (network, preparation) in networks.items():
            if (id(network), preparation) not in outputs:
                if preparation not in pixels:
                    made = torch.from_numpy(preparation.prepare(frames, threads=threads))
                    made = made.to(self.device, DTYPES[self.precision])
                    pixels[preparation] = made.unflatten(0, video.shape[:2])
                outputs[id(network), preparation] = network.see(pixels[preparation])
            seen[view] = outputs[id(network), preparation][_view(view).output].float().cpu().numpy()
        return seen


def _view(view: str) -> View:
    if view not in VIEWS:
        raise UnknownView(f"no view {view!r}; views are {', '.join(VIEWS)}")
    return VIEWS[view]


def describe_pixels(pixels: str, role: Role) -> str:
    """A publisher's preparation in words for a digest: whatever it says at the papers' side, and its version."""
    from bench.pretrained.judges.publishers import PUBLISHERS, VERSION

    said = PUBLISHERS[pixels](224) if pixels in PUBLISHERS else ""
    return f"pixels {pixels} {VERSION} {said!r}{' own normalisation' if role.own_normalisation else ''}"


def _clips_at_once(preparations: Iterable[Pixels], shape: tuple[int, ...]) -> int:
    """How many clips of this shape [n, f, h, w, 3] go into one batch."""
    sizes = [int(np.prod(preparation.measure(*shape[2:4]))) for preparation in preparations]
    return max(1, BATCH_PIXELS // (shape[1] * max(sizes, default=1)))
