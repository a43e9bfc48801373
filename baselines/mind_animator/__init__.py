"""Mind-Animator: fMRI to video through decoders of semantics, structure and motion (Lu et al., "Animate Your Thoughts:
Reconstruction of Dynamic Natural Vision from Human Brain Activity", ICLR 2025).

The class is loaded when it is asked for, so that listing methods imports no torch.
"""

from __future__ import annotations

from typing import Any

__all__ = ["MindAnimator", "Parameters"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from baselines.mind_animator import method

        return getattr(method, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
