"""DynaMind (Liu et al., arXiv 2509.01177): EEG to video through regions, a prior, a blueprint and Tune-A-Video.

The classes are loaded when they are asked for, so that listing methods imports no torch.
"""

from __future__ import annotations

from typing import Any

__all__ = ["DynaMind", "DynaMindOracle", "Parameters"]


def __getattr__(name: str) -> Any:
    if name == "DynaMindOracle":
        from baselines.dynamind.oracle import DynaMindOracle

        return DynaMindOracle
    if name in __all__:
        from baselines.dynamind import method, networks

        return getattr(networks if name == "Parameters" else method, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
