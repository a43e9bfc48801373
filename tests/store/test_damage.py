"""A share of the damages of `damage.py`, drawn from a seed: none is silent, and none ends in an error nobody wrote."""

from __future__ import annotations

from collections import Counter

import damage
import pytest

from bench.store import cache
from bench.store.cache import state_of


class Everything(dict):
    """Says of every file that it was compared with its digest already."""

    def get(self, path, default=None):
        return state_of(path)


@pytest.fixture(scope="module")
def worlds(phantom):
    with damage.made_world(phantom.root.parent, quick=True) as places:
        yield places


def test_a_share_of_the_damages_ends_well(worlds) -> None:
    pristine, world = worlds
    cases = damage.list_cases(damage.list_kinds(pristine, quick=True), share=0.03, seed=1)
    outcomes = {
        f"{case.damage} of {case.file}": (outcome, told)
        for case, outcome, told in damage.run_cases(cases, pristine, world, seed=1)
    }
    wrong = {name: told for name, (outcome, told) in outcomes.items() if outcome not in damage.GOOD}
    assert not wrong
    counted = Counter(outcome for outcome, _ in outcomes.values())
    assert len(outcomes) > 12 and counted["made again"] > 2 and counted["refused"] > 2


def test_a_number_that_differs_without_a_word_is_noticed(worlds, monkeypatch) -> None:
    """The test of the test: a cache that compares nothing with its digests serves what was damaged."""
    pristine, world = worlds
    (kind,) = (kind for kind in damage.list_kinds(pristine, quick=True) if kind.name == "cache: frames")
    monkeypatch.setattr(cache, "VERIFIED", Everything())
    cases = [damage.Case(kind, kind.files[0], name) for name in ("flip middle", "zero page")]
    assert {outcome for _, outcome, _ in damage.run_cases(cases, pristine, world, seed=0)} == {"silent"}
