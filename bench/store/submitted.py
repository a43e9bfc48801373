"""The names under which videos were submitted into a store: such methods are in no registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.core.spec import is_submitted


def list_submitted(root: Path | str) -> dict[str, str]:
    """The data set of each submitted method of a store, by name; nothing is verified, and what is damaged left out."""
    return {str(spec["method"]): str(spec["dataset"]) for spec in read_specs(Path(root)) if is_submitted(spec)}


def read_specs(root: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(root.glob("*/manifest.json")):
        try:
            spec = json.loads(path.read_bytes())["spec"]
            if isinstance(spec["method"], str) and isinstance(spec["dataset"], str):
                yield spec
        except (OSError, ValueError, KeyError, TypeError):
            continue
