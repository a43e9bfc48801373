"""Classes of a package that are loaded when they are asked for, so that naming them imports no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def load_lazily(package: str, **modules: str) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose names come from these of its modules, e.g. `SamNet="method"`."""

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(modules)}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return load
