"""Dynamic-aware noise-adding (DANA, EEG2Video §4.5): how fast clips move, and the noise that goes with it.

The noise of a clip is part shared by its frames, part each frame's own: sqrt(beta) shared + sqrt(1 - beta) own, of
unit variance. More is shared where the clip is predicted to be slow: beta is .2 for fast clips and .3 for slow ones, as
the authors say (issue 8). The released script has it the other way round.

The noise goes onto the predicted latents by the forward process. The released script draws the time at random for each
clip, on a schedule of its own (500 linear steps), and the generator then takes the result for pure noise. By default
the time is fixed, the schedule is the generator's, and it starts from that time (`strength`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

RELEASED_STEPS, RELEASED_BETAS = 500, (1e-4, 0.02)


def measure_motion(video: UInt8[np.ndarray, "clip frame height width 3"]) -> Float[Tensor, " clip"]:
    """Mean length of the optical flow between neighbouring frames (DIS), in pixels."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    made = torch.zeros(len(video))
    for number, clip in enumerate(video):
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip]
        lengths = [
            np.linalg.norm(flow.calc(one, other, np.zeros((*one.shape, 2), np.float32)), axis=2).mean()
            for one, other in pairwise(grey)
        ]
        made[number] = float(np.mean(lengths)) if lengths else 0.0
    return made


def split_fast(motion: Float[Tensor, " clip"]) -> Bool[Tensor, " clip"]:
    """The clips that move more than the median; EEG2Video's threshold, 1.799, is the median of SEED-DV."""
    return motion > motion.quantile(0.5)


def draw_dynamic_noise(
    seeds: Sequence[int], shape: Sequence[int], beta: Float[Tensor, " trial"]
) -> Float[Tensor, "trial c f y x"]:
    """Unit noise whose frames share `beta` of its variance, from each trial's own seed; `shape` is (c, f, y, x)."""
    c, f, y, x = shape
    made = []
    for seed, share in zip(seeds, beta.tolist(), strict=True):
        generator = torch.Generator().manual_seed(int(seed))
        own = torch.randn(c, f, y, x, generator=generator)
        shared = torch.randn(c, 1, y, x, generator=generator)
        made.append((1 - share) ** 0.5 * own + share**0.5 * shared)
    return torch.stack(made) if made else torch.zeros(0, c, f, y, x)


def add_released_noise(
    latents: Float[Tensor, "trial c f y x"], noise: Float[Tensor, "trial c f y x"], seeds: Sequence[int]
) -> Float[Tensor, "trial c f y x"]:
    """The released script's: each clip at a time of its own, drawn from its seed."""
    kept = torch.cumprod(1 - torch.linspace(*RELEASED_BETAS, RELEASED_STEPS), dim=0)
    draws = [torch.randint(RELEASED_STEPS, (), generator=torch.Generator().manual_seed(int(one) ^ 1)) for one in seeds]
    level = kept[torch.tensor([int(one) for one in draws], dtype=torch.int64)][:, None, None, None, None]
    return level**0.5 * latents + (1 - level) ** 0.5 * noise
