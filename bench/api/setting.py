"""A setting: the data, the networks, the classes and the store that a call is about."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.api.names import check_setting
from bench.core.hardware import check_precision
from bench.core.paths import find_root
from bench.core.progress import say


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Names of a data set and a suite, checked when the setting is made; nothing is opened before `open` is called."""

    dataset: str
    data_root: str | Path | None = None
    suite: str = "mini"
    classes: int = 40
    runs: str | Path = "runs"
    precision: str = "fp32"  # of what a store has in two of them, which is shown

    def __post_init__(self) -> None:
        check_precision(self.precision)
        check_setting(dataset=self.dataset, suite=self.suite, classes=self.classes, data_root=self.data_root)

    def open(self, *, make: bool) -> tuple[Any, Any]:
        """The data set and the suite. A phantom that is not there is made, or raises NotMade if `make` is false.

        What makes results needs all videos and captions: those that are not there are named before anything is done.
        """
        from bench.datasets.catalogue import open_dataset, require_stimuli
        from bench.pretrained.suite import load_suite

        dataset = open_dataset(self.dataset, data_root=self.data_root, make=make)
        if make:
            require_stimuli(dataset)
        return dataset, load_suite(self.suite)

    def open_shapes(self) -> tuple[Any, Any]:
        """As `open`, which makes a phantom; where the suite's weights are not here, its shapes, and it is said."""
        from bench.datasets.catalogue import open_dataset, require_stimuli

        dataset = open_dataset(self.dataset, data_root=self.data_root, make=True)
        require_stimuli(dataset)
        return dataset, load_or_shape(self.suite)

    @property
    def is_here(self) -> bool:
        """Whether the data set can lie here: a phantom does, real data where a folder is named."""
        return self.dataset.startswith("phantom_") or find_root(self.data_root) is not None

    @property
    def has_store(self) -> bool:
        """Whether the folder of the store is there; a call that reads does not make it."""
        return Path(self.runs).is_dir()

    def repeat(self) -> str:
        """The options of a command that asks for the same data, suite, classes and store."""
        root = f" --data-root {os.fspath(self.data_root)}" if self.data_root else ""
        more = f" --precision {self.precision}" if self.precision != "fp32" else ""
        return f"--dataset {self.dataset}{root} --suite {self.suite} --classes {self.classes} --runs {self.runs}{more}"


def load_or_shape(name: str) -> Any:
    """The suite, or, where its weights are not on this machine, its shapes: then no cell is found by its key."""
    from bench.pretrained.roles import MissingWeights
    from bench.pretrained.suite import load_suite

    suite = load_suite(name)
    try:
        _ = suite.digest
    except MissingWeights:
        from bench.pretrained.shapes import load_shapes

        say(f"the weights of suite {name} are not on this machine, so no cell can be looked up: all count as to do")
        return load_shapes(name)
    return suite
