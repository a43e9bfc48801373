"""EEG2Video: windows of EEG to frame latents and text embeddings, and a tuned video generator (Liu et al., "EEG2Video:
Towards Decoding Dynamic Visual Perception from EEG Signals", NeurIPS 2024).

The class is loaded when it is asked for, so that listing methods imports no torch.
"""

from __future__ import annotations

from typing import Any

__all__ = ["EEG2Video", "Parameters"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from baselines.eeg2video import method

        return getattr(method, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
