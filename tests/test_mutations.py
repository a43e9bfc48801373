"""The list of small changes is whole: each can be made, in code that still compiles, and names tests that exist.

Whether tests notice them is tried by `python tests/mutate.py`, which takes minutes and is no part of the suite.
"""

from __future__ import annotations

import ast

import pytest
from mutate import LIST, ROOT, Mutation, read_mutations

MUTATIONS = read_mutations(LIST)


def test_there_are_enough_and_they_reach_every_part() -> None:
    assert len(MUTATIONS) >= 60
    assert len({(one.file, one.old, one.new) for one in MUTATIONS}) == len(MUTATIONS)
    reached = {"/".join(one.file.split("/")[:2]) for one in MUTATIONS}
    rooms = ("core", "doors", "harness", "pretrained", "scoring", "store", "toolbox")
    assert reached >= {*(f"bench/{room}" for room in rooms), "leaderboard/stats", "leaderboard/tables.py"}
    assert reached >= {"methods/sam_net", "methods/cine_neuron", "baselines/floors", "baselines/ceilings"}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_each_changes_one_place_and_leaves_python(mutation: Mutation) -> None:
    text = (ROOT / mutation.file).read_text(encoding="utf-8")
    changed = mutation.apply(text)  # raises where the text to change is not there exactly once
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text)), "it changes comments alone"
    assert mutation.what and mutation.tests


@pytest.mark.parametrize("test", sorted({test for one in MUTATIONS for test in one.tests}))
def test_each_test_that_is_named_exists(test: str) -> None:
    file, _, name = test.partition("[")[0].partition("::")
    defined = {node.name for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body if hasattr(node, "name")}
    assert file.startswith("tests/") and (not name or name in defined)
