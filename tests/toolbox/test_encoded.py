"""What is encoded is kept: in memory lately, in the cache for other processes, under all that determines it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.store.provenance import find_versions
from bench.toolbox.encoded import describe_encoding, remember

CLIPS = np.random.default_rng(0).integers(0, 256, (40, 2, 4, 4, 3), dtype=np.uint8)


class Networks:
    """A suite as far as encoding asks for it; counts the clips that it is shown."""

    def __init__(self, contents: str) -> None:
        self.contents, self.device, self.seen = contents, torch.device("cpu"), 0

    def encode(self, clips: np.ndarray) -> torch.Tensor:
        self.seen += len(clips)
        return torch.from_numpy(clips.astype(np.float32)).mean(dim=(2, 3, 4)).half()


def test_another_process_need_not_encode_the_clips_again(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    first, again = Networks("these"), Networks("these")  # another object: as in another process
    encoded = remember(first, "means", CLIPS, first.encode)
    assert first.seen == len(CLIPS)
    assert torch.equal(remember(again, "means", CLIPS, again.encode), encoded)
    assert again.seen == 0
    for path in (tmp_path / "cache" / "entries").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    damaged = Networks("these")
    assert torch.equal(remember(damaged, "means", CLIPS, damaged.encode), encoded)
    assert damaged.seen == len(CLIPS)


def test_what_another_suite_or_other_clips_or_words_give_is_another_entry(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    remember(one := Networks("these"), "means", CLIPS, one.encode)
    for contents, what, clips in (
        ("others", "means", CLIPS),
        ("these", "medians", CLIPS),
        ("these", "means", 255 - CLIPS),
    ):
        other = Networks(contents)
        remember(other, what, clips, other.encode)
        assert other.seen == len(CLIPS), (contents, what)


def test_code_device_and_versions_are_in_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = Networks("these")
    named = describe_encoding(suite, "means", CLIPS, suite.encode)
    assert named is not None and len(named["code"]) == 64 and named["versions"]["torch"] == find_versions()["torch"]
    suite.device = torch.device("meta")
    assert describe_encoding(suite, "means", CLIPS, suite.encode) != named


def test_a_suite_that_cannot_be_told_is_remembered_in_memory_alone(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))

    class Nameless:
        device = torch.device("cpu")

    nameless, encode = Nameless(), Networks("").encode
    assert remember(nameless, "means", CLIPS, encode) is remember(nameless, "means", CLIPS, encode)
    assert not (tmp_path / "cache").exists()
