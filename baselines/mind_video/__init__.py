"""MinD-Video: fMRI to video by a brain encoder with temporal attention and an inflated Stable Diffusion (Chen et al.,
"Cinematic Mindscapes: High-quality Video Reconstruction from Brain Activity", NeurIPS 2023).

The class is loaded when it is asked for, so that listing methods imports no torch.
"""

from __future__ import annotations

from typing import Any

__all__ = ["MindVideo", "Parameters"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from baselines.mind_video import method

        return getattr(method, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
