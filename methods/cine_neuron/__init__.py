"""CineNeuron: fMRI-to-video reconstruction by semantic enrichment and a mixture of memories (Wei, Ma et al., "Bridging
Brain and Semantics: A Hierarchical Framework for Semantically Enhanced fMRI-to-Video Reconstruction").

The class is loaded when it is asked for, so that listing methods imports no torch.
"""

from __future__ import annotations

from typing import Any

__all__ = ["CineNeuron", "Parameters"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from methods.cine_neuron import method, networks

        return getattr(networks if name == "Parameters" else method, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
