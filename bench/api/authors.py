"""For authors of methods: a method to start from, and every contract that it must keep, tried."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.api.names import check_setting, choose_variants, name_of
from bench.toolbox.parameters import try_parameters

if TYPE_CHECKING:
    import pandas as pd


def check_method(
    method: str | type, *, suite: str = "mini", parameters: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Try every contract of a method on the tiny phantom: check, status (ok, bad, not tried), detail, seconds."""
    from bench.harness.facts import ask_files

    name = name_of(method)
    check_setting(dataset="phantom_eeg:tiny", suite=suite, classes=40)
    ask_files([name, *(parameters or {}).values()])
    for changed in choose_variants(name, parameters=parameters).values():
        try_parameters(name, changed)
    from bench.harness.check import check_method as check_it
    from bench.pretrained.suite import load_suite

    return check_it(name, load_suite(suite), parameters=dict(parameters or {}))


def write_method(
    name: str, folder: str | Path = ".", *, modality: Literal["eeg", "fmri"] = "eeg", package: bool = False
) -> list[Path]:
    """Write a method of one screen that runs, and its test, to start from; returns the files.

    `package`: in a folder of their own with a `pyproject.toml`, which gives the method its name when it is installed.
    """
    from bench.harness.scaffold import write_method as write_it

    return write_it(name, Path(folder), modality=modality, package=package)
