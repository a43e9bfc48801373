"""Publishing a store: what is named, what is left out and said, and boards that would be empty."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bench
from bench.cli import main
from bench.core.errors import BenchError
from bench.core.registry import LIVE
from bench.harness import shelf
from leaderboard.results import read_results


def arguments(store: Path, results: Path, *more: str) -> list[str]:
    return ["publish", "--dataset", "phantom_eeg:tiny", "--runs", str(store), "--results", str(results), *more]


def stray(method: str, variant: str = "base") -> Any:
    """A cell of the store that has no name to be published under."""
    return SimpleNamespace(
        key=f"stray {method} {variant}",
        manifest={"variant": variant, "spec": {"dataset": "phantom_eeg:tiny", "method": method}},
    )


def test_named_methods_are_published_and_those_without_a_name_stop_nobody(finished, tmp_path, monkeypatch, capsys):
    real = shelf.current_cells

    def with_strays(*about: Any, **asked: Any) -> Any:
        if about[-1] == 40:
            yield from (stray("/home/mine.py:Mine"), stray("Mine"), stray("retrieval", "base[rank=3]"))
        yield from real(*about, **asked)

    monkeypatch.setattr("bench.harness.shelf.current_cells", with_strays)
    monkeypatch.setitem(LIVE, "Mine", object)
    results = tmp_path / "results"
    assert main(arguments(finished, results, "--method", "retrieval", "--method", "codec")) == 0
    said = capsys.readouterr().err
    assert "left out, as they have no name of their own: retrieval base[rank=3]" in said
    assert "embeddings left out, as they are not scored" in said and ": retrieval base" in said
    assert set(read_results(results)["method"]) == {"retrieval", "codec"}
    monkeypatch.setattr(
        "bench.harness.shelf.current_cells",
        lambda *about, **asked: (one for one in with_strays(*about, **asked) if one.key.startswith("stray")),
    )
    assert main(arguments(finished, results)) == 1
    said = capsys.readouterr().err
    assert "left out, as they have no name of their own: /home/mine.py:Mine base, Mine base, retrieval" in said
    assert "holds no cells" in said
    for name in ("/home/mine.py:Mine", "Mine"):
        monkeypatch.setattr("bench.api.names.name_of", lambda method: method)
        with pytest.raises(BenchError, match="has no name of its own"):
            bench.publish(method=[name], dataset="phantom_eeg:tiny", runs=finished, results=results)


def test_a_board_or_a_publish_of_nothing_is_an_error(finished, tmp_path, capsys):
    results, board = tmp_path / "results", tmp_path / "board"
    assert main(arguments(finished, results, "--method", "sam_net")) == 1
    assert "holds no cells of sam_net" in " ".join(capsys.readouterr().err.split()) and not results.exists()
    assert main(arguments(finished, results, "--method", "codec")) == 0
    assert main(["board", "--results", str(results), "--output", str(board)]) == 1
    assert (
        "would be empty; run one on single_subject" in " ".join(capsys.readouterr().err.split()) and not board.exists()
    )
    assert main(["board", "--results", str(results), "--output", str(board), "--check"]) == 1
