"""Roots as people hold them: a phantom's files without its manifest and truth, as a release would lie there."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from bench.datasets.catalogue import open_dataset


def lay_out_root(name: str, root: Path) -> Path:
    """The files of a phantom as a release; the big ones are links until a test replaces them."""
    source = open_dataset(name).root
    shutil.copytree(source, root, copy_function=lambda one, other: Path(other).symlink_to(one))
    (root / "manifest.json").unlink()
    shutil.rmtree(root / "truth")
    return root


def replace_array(path: Path, values: np.ndarray) -> None:
    path.unlink(missing_ok=True)
    np.save(path, values)


def replace_tensor(path: Path, values: np.ndarray) -> None:
    import torch

    path.unlink(missing_ok=True)
    torch.save(torch.from_numpy(values), path)
