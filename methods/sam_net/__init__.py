"""SAM-Net: cross-subject EEG-to-video reconstruction (Han and Tan, "Cross-Subject EEG-to-Video Reconstruction and
Beyond").

The class is loaded when it is asked for, so that listing methods imports no torch.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Parameters", "SamNet"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from methods.sam_net import method

        return getattr(method, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
