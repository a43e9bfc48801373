"""Which paper a method is after, and where it can be read: of `works.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

PLACE = Path(__file__).parent / "works.toml"


@cache
def load_works() -> Mapping[str, Mapping[str, str]]:
    """By method: `paper`, a citation, and `arxiv`, its number, where that is known."""
    return tomllib.loads(PLACE.read_text(encoding="utf-8"))


def find_paper(method: str) -> tuple[str, str]:
    """Citation and address of a method's paper; empty where it has none, or none is known."""
    work = load_works().get(method, {})
    return work.get("paper", ""), f"https://arxiv.org/abs/{work['arxiv']}" if "arxiv" in work else ""
