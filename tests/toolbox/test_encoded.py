"""What is encoded is kept: in memory lately, in the cache for other processes, under all that determines it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.store.provenance import find_versions
from bench.toolbox import rows
from bench.toolbox.encoded import CaptionTokens, describe_encoding, encode_tokens, remember

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


def test_large_encodings_lie_in_files_and_are_the_same(monkeypatch, tmp_path) -> None:
    """Made anew, found again by another process, and where no cache can be told: the numbers of one that is held."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "small"))
    held = remember(one := Networks("these"), "means", CLIPS, one.encode)
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "large"))
    monkeypatch.setattr(rows, "HELD", 0)
    for suite, seen in ((Networks("these"), len(CLIPS)), (Networks("these"), 0)):
        large = remember(suite, "means", CLIPS, suite.encode)
        assert suite.seen == seen and torch.equal(large, held) and large.dtype == held.dtype
        assert lies_in_a_file(large) and not lies_in_a_file(held) and not lies_in_a_file(large[[3, 1]])
        large[0] = 7  # it is its owner's alone
    again = Networks("these")
    assert torch.equal(remember(again, "means", CLIPS, again.encode), held)


def lies_in_a_file(tensor: torch.Tensor) -> bool:
    """Whether the system says that this process has a file mapped where the tensor's numbers are."""
    with Path("/proc/self/maps").open(encoding="utf-8") as file:
        for line in file:
            start, end = (int(one, 16) for one in line.split()[0].split("-"))
            if start <= tensor.data_ptr() < end:
                return len(line.split()) > 5 and line.split()[5].startswith("/") and "libtorch" not in line
    return False


@pytest.mark.parametrize("held", [rows.HELD, 0])
def test_tokens_are_kept_without_their_padding_and_given_back_with_it(monkeypatch, tmp_path, held: int) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    monkeypatch.setattr(rows, "HELD", held)
    whole = torch.from_numpy(np.random.default_rng(1).normal(size=(70, 200, 3)).astype(np.float32))
    for number in range(70):
        whole[number, 5 + number * 2 :] = 0  # so room is made wider twice
    asked: list[int] = []

    def encode(captions):
        asked.append(len(captions))
        return whole[[int(one) for one in captions]]

    tokens = encode_tokens([str(number) for number in range(70)], encode)
    assert tokens.shape == (70, 200, 3) and tokens.used.shape == (70, 143, 3) and max(asked) <= 32
    assert torch.equal(tokens[[69, 0, 40]], whole[[69, 0, 40]]) and torch.equal(tokens[:], whole)


@pytest.mark.parametrize("part", [rows.PART, 2000, 1])
def test_what_clips_tokens_are_on_average_and_how_they_spread_is_found_in_parts(monkeypatch, part: int) -> None:
    """Of all clips' tokens with their padding, as numpy has it; around a mean that is not zero behind the captions."""
    monkeypatch.setattr(rows, "PART", part)
    rng = np.random.default_rng(1)
    used, around, caption = rng.normal(size=(7, 9, 5)), rng.normal(size=(12, 5)), rng.integers(0, 7, 20)
    tokens = CaptionTokens(torch.from_numpy(used.astype(np.float32)), 12)
    whole = np.pad(used, [(0, 0), (0, 3), (0, 0)])[caption]
    np.testing.assert_allclose(tokens.average(torch.from_numpy(caption)), whole.mean(axis=0), atol=1e-6)
    found = tokens.measure_spread(torch.from_numpy(caption), torch.from_numpy(around))
    assert float(found) == pytest.approx(((whole - around) ** 2).mean(), rel=1e-5)
    first = tokens.cut(4)
    assert first.shape == (7, 4, 5) and torch.equal(first[[2, 1]], tokens[[2, 1]][:, :4])
    sizes = [some.nbytes for _, _, some in tokens.walk_places(torch.from_numpy(caption))]
    assert max(sizes) <= max(part, 20 * 4) and sum(sizes) >= whole[:, :9].size * 4
