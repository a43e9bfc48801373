"""The blurred mean of all other true clips: what one would show who knows the set of clips and nothing of the brain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8, UInt32

from bench.toolbox.average import blur_clip

MOST_SHAPES = 8  # that are summed; clips of further shapes have no mean of others
BLUR = 0.2  # deviation of the Gaussian, in shorter sides: of train_mean's, what SSIM likes best in three real sets

Video = UInt8[np.ndarray, "frame height width 3"]


class OtherClips:
    """Running sums of true clips: the memory of one clip of each of a few shapes, however many clips there are."""

    def __init__(self, clips: Iterable[Video]) -> None:
        self.totals: dict[tuple[int, ...], UInt32[np.ndarray, "frame height width 3"]] = {}
        self.counts: Counter[tuple[int, ...]] = Counter()
        for clip in clips:
            if clip.shape not in self.totals:
                if len(self.totals) == MOST_SHAPES:
                    continue
                self.totals[clip.shape] = np.zeros(clip.shape, np.uint32)
            self.totals[clip.shape] += clip
            self.counts[clip.shape] += 1

    def mean_without(self, clip: Video) -> Video | None:
        """The blurred mean of the other clips of this one's shape, which was given too; None where there are none."""
        others = self.counts[clip.shape] - 1
        if others < 1:
            return None
        return blur_clip((self.totals[clip.shape] - clip) / others, BLUR)
