"""A share of the mutated media and bundles: `python tests/doors/mutate_media.py` tries 10,000 of them."""

from __future__ import annotations

from collections import Counter

import mutate_media
import pytest
from mutate_media import MEGABYTES, MUTATIONS, SECONDS, Outcome, try_bundles, try_files


def complain(outcomes: list[Outcome]) -> list[str]:
    return [
        f"{one.name}: {one.end}, {one.seconds:.1f} s, {one.megabytes:.0f} MB, another file {one.secret}: {one.why}"
        for one in outcomes
        if one.end == "traceback" or one.secret or one.seconds > SECONDS or one.megabytes > MEGABYTES
    ]


def test_mutated_media_are_read_or_refused(tmp_path):
    outcomes = try_files(tmp_path, 250, seed=11)
    assert not complain(outcomes)
    assert set(Counter(one.mutation for one in outcomes)) == set(MUTATIONS)
    assert {"read", "refused"} == {one.end for one in outcomes}
    assert all(one.why for one in outcomes if one.end == "refused")
    for mutation in ("cut", "playlist", "data_reference"):
        assert not [one.name for one in outcomes if one.mutation == mutation and one.end == "read"]


def test_mutated_bundles_are_read_or_refused(phantom, tmp_path):
    outcomes = try_bundles(tmp_path, 4, seed=3)
    assert not [one for one in outcomes if one.end == "traceback" or one.secret]


def test_the_script_sees_what_it_looks_for(tmp_path, monkeypatch):
    """A door that reads another file, or raises what it must not, does not pass."""
    (tmp_path / "a").mkdir()

    def peek(pairs, protocol):
        (tmp_path / "a" / "secrets" / "secret.mp4").read_bytes()
        raise OSError("bare")

    monkeypatch.setattr(mutate_media.Pairs, "read", peek)
    outcomes = try_files(tmp_path / "a", 2, seed=0)
    assert all(one.secret and one.end == "traceback" and "bare" in one.why for one in outcomes)
    assert len(complain(outcomes)) == 2


def test_a_process_that_ends_is_counted(monkeypatch):
    monkeypatch.setattr(mutate_media, "__file__", "/nowhere.py")
    assert mutate_media.run_slice("files", 1, 0) == 2


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_each_mutation_changes_something(mutation, monkeypatch):
    monkeypatch.setenv("SECRET", "/secret.mp4")
    seeds = {"rows.npy": b"\x93NUMPY" + bytes(range(200)) * 40}
    draw = mutate_media.random.Random(0)
    changed = [MUTATIONS[mutation](seeds["rows.npy"], draw, seeds) for _ in range(5)]
    assert mutation == "other_name" or any(one != seeds["rows.npy"] for one in changed)
