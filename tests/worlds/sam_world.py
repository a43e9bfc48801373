"""A little world for SAM-Net's tests: subjects of known responses under one cap, and a suite that costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from bench.core.contracts import TrainingSet

CAP = tuple(
    """
    FP1 FPZ FP2 AF3 AF4 F7 F5 F3 F1 FZ F2 F4 F6 F8 FT7 FC5 FC3 FC1 FCZ FC2 FC4 FC6 FT8 T7 C5 C3 C1 CZ C2 C4 C6 T8
    TP7 CP5 CP3 CP1 CPZ CP2 CP4 CP6 TP8 P7 P5 P3 P1 PZ P2 P4 P6 P8 PO7 PO5 PO3 POZ PO4 PO6 PO8 CB1 O1 OZ O2 CB2
    """.split()  # noqa: SIM905 (62 quoted names would be harder to read)
)


class FakeSuite:
    """A suite whose pictures are their own latents (8×8 means) and whose text embedding depends on the caption."""

    device = "cpu"
    geometry = SimpleNamespace(
        height=16,
        width=16,
        frames=2,
        fps=3,
        latent_channels=3,
        latent_height=8,
        latent_width=8,
        tokens=77,
        text_width=4,
    )
    negative_embedding = torch.zeros(1, 77, 4)

    def encode_text(self, captions: list[str]) -> torch.Tensor:
        return torch.stack(
            [torch.randn(77, 4, generator=torch.Generator().manual_seed(sum(map(ord, c)))) for c in captions]
        )

    def encode_video(self, video: np.ndarray) -> torch.Tensor:
        pictures = torch.from_numpy(video).float().permute(0, 1, 4, 2, 3) / 127.5 - 1
        return torch.nn.functional.avg_pool2d(pictures.flatten(0, 1), 2).unflatten(0, video.shape[:2])

    def decode_latents(self, latents: torch.Tensor) -> np.ndarray:
        pictures = latents.repeat_interleave(2, 3).repeat_interleave(2, 4).permute(0, 1, 3, 4, 2)
        return ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()

    def refine_keyframe(self, embeddings: Any, images: np.ndarray, seeds: np.ndarray, **options: Any) -> np.ndarray:
        return images

    def generate_video(
        self, embeddings: torch.Tensor, seeds: np.ndarray, *, latents: Any, keyframes: Any, start: str, **options: Any
    ) -> np.ndarray:
        return self.decode_latents(torch.zeros(len(seeds), 2, 3, 8, 8) if latents is None else latents)


@dataclass(frozen=True)
class World:
    """Subjects who respond linearly to four concepts, each through a mixture of channels of its own."""

    subjects: tuple[int, ...]
    clips: int = 40
    samples: int = 80
    noise: float = 1.0
    seed: int = 0

    def record(self, *, first_clip: int = 0, subjects: tuple[int, ...] | None = None) -> TrainingSet:
        shared = np.random.default_rng(self.seed)
        pattern = shared.standard_normal((4, 62, self.samples))
        rng = np.random.default_rng((self.seed, first_clip, 1))
        chosen = self.subjects if subjects is None else subjects
        concepts = np.arange(self.clips) % 4
        brightness = np.array([40, 100, 160, 220])[concepts]
        video = (
            np.broadcast_to(brightness[:, None, None, None, None], (self.clips, 2, 16, 16, 3)).astype(np.uint8).copy()
        )
        video[:, 0, 0, 0, 0] = first_clip + np.arange(self.clips)  # each clip differs from all others
        brain: list[np.ndarray] = []
        subject: list[int] = []
        clip: list[int] = []
        for one in chosen:
            mixture = np.eye(62) + 0.15 * np.random.default_rng((self.seed, one, 2)).standard_normal((62, 62))
            noise = self.noise * rng.standard_normal((self.clips, 62, self.samples))
            brain.append(np.einsum("dc,bct->bdt", mixture, pattern[concepts] + noise))
            subject += [one] * self.clips
            clip += range(self.clips)
        signals = np.concatenate(brain).astype(np.float32)
        return TrainingSet(
            brain=signals / signals.std(),
            subject=np.array(subject),
            clip=np.array(clip),
            video=video,
            captions=tuple("abcd"[concept] for concept in concepts),
            concepts=concepts,
            channels=CAP,
            sampling_rate=40.0,
        )
