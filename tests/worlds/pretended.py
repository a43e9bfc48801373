"""A setting that commands take as given: this data set and suite are open, and every cell of a store is current."""

from __future__ import annotations

from typing import Any

import pytest


def pretend_current(monkeypatch: pytest.MonkeyPatch, dataset: Any, suite: Any = None) -> None:
    monkeypatch.setattr("bench.api.setting.check_setting", lambda **asked: None)
    monkeypatch.setattr("bench.api.setting.Setting.open", lambda setting, make: (dataset, suite))
    monkeypatch.setattr("bench.harness.shelf.is_current", lambda *about: True)
