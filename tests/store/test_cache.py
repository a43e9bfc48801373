"""The cache: what was made is read back, damage is noticed and made good, and nothing stops whom it cannot serve."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.store import cache as rules
from bench.store import disk
from bench.store.cache import Cache, digest_code

MADE_FROM = {"what": "numbers", "data": "d" * 64, "settings": {"frames": [0, 8], "share": 0.15}}
NUMBERS = np.random.default_rng(0).standard_normal((7, 64, 33)).astype(np.float32)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The entry of NUMBERS; its cache is two folders above."""
    monkeypatch.setattr(rules, "spare_home", lambda make=False: None)
    monkeypatch.delenv("BENCH_WARNED", raising=False)
    for memory in (rules.VERIFIED, rules.REMEMBERED):
        memory.clear()
    Cache(tmp_path / "cache").array(MADE_FROM, lambda: NUMBERS)
    (entry,) = (tmp_path / "cache" / "entries").iterdir()
    return entry


def ask(entry: Path) -> tuple[np.ndarray, int]:
    """What the cache gives, and how often it had to be made."""
    made = []
    given = Cache(entry.parents[1]).array(MADE_FROM, lambda: made.append(1) or NUMBERS)
    return given, len(made)


def test_what_was_made_is_read_back_and_not_made_again(kept: Path) -> None:
    given, made = ask(kept)
    assert made == 0
    np.testing.assert_array_equal(given, NUMBERS)
    assert isinstance(given, np.memmap) and given.flags.aligned and not given.flags.writeable
    content = kept.read_bytes()
    assert re.fullmatch(rb"[0-9a-f]{64}\n", content[:65])
    assert b'"frames":[0,8]' in content  # an entry says what it is


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 5), np.float32),
        np.array(3.5),
        np.array(["a", "longer"]),
        np.array([[True, False]]),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12)[::3],
    ],
)
def test_arrays_of_all_kinds_keep_type_and_shape(tmp_path: Path, array: np.ndarray) -> None:
    given = Cache(tmp_path).array({"what": "any"}, lambda: array)
    assert (given.dtype, given.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(given, array)


def test_no_pickle_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="objects"):
        Cache(tmp_path).array({"what": "objects"}, lambda: np.array([{}], dtype=object))


def test_tables_and_bytes(tmp_path: Path) -> None:
    cache, made = Cache(tmp_path), []
    for _ in range(2):
        table = cache.table({"what": "t"}, lambda: made.append(1) or {"clip": np.arange(3), "caption": ["a", "b", "c"]})
        assert table.to_pandas().to_dict("list") == {"clip": [0, 1, 2], "caption": ["a", "b", "c"]}
        assert cache.content({"what": "b"}, lambda: made.append(1) or b"some") == b"some"
    assert len(made) == 2


def test_any_other_value_is_another_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    others = [{**MADE_FROM, "data": "e"}, {**MADE_FROM, "settings": {"frames": [0, 8], "share": 0.2}}, {"what": "x"}]
    for number, made_from in enumerate([MADE_FROM, *others]):
        assert cache.array(made_from, lambda number=number: np.array([number])).tolist() == [number]


def flip(place: float):
    def spoil(entry: Path) -> None:
        content = bytearray(entry.read_bytes())
        content[int(place * (len(content) - 1))] ^= 1
        entry.write_bytes(content)

    return spoil


def put_another_there(entry: Path) -> None:
    cache = Cache(entry.parents[1])
    cache.array({"what": "other"}, lambda: NUMBERS + 1)
    (other,) = (path for path in entry.parent.iterdir() if path != entry)
    shutil.copyfile(other, entry)


def put_a_folder_there(entry: Path) -> None:
    entry.unlink()
    (entry / "inside").mkdir(parents=True)


def put_a_pipe_there(entry: Path) -> None:
    entry.unlink()
    os.mkfifo(entry)


DAMAGES = {
    **{f"flip {share}": flip(share) for share in (0, 0.001, 0.01, 0.5, 1)},
    "half": lambda entry: entry.write_bytes(entry.read_bytes()[: entry.stat().st_size // 2]),
    "nothing": lambda entry: entry.write_bytes(b""),
    "more": lambda entry: entry.write_bytes(entry.read_bytes() + b"\0"),
    "another": put_another_there,
    "folder": put_a_folder_there,
    "pipe": put_a_pipe_there,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_noticed_and_made_good(kept: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    told = kept.stat()
    DAMAGES[name](kept)
    if kept.is_file():
        os.utime(kept, ns=(told.st_atime_ns, told.st_mtime_ns))
    given, made = ask(kept)
    assert made == 1
    np.testing.assert_array_equal(given, NUMBERS)
    assert str(kept) in (said := capsys.readouterr().err) and "quarantine" in said
    assert (kept.parents[1] / "quarantine" / f"{kept.stem}-0" / "reason.txt").is_file()
    assert ask(kept)[1] == 0
    assert not list(kept.parent.glob(".tmp-*"))


def test_a_verified_entry_is_verified_again_only_when_it_changed(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "RACY", 0)  # as if it were long ago
    ask(kept)
    monkeypatch.setattr(rules.hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
    assert ask(kept)[1] == 0
    monkeypatch.undo()
    monkeypatch.setattr(rules, "spare_home", lambda make=False: None)
    told = kept.stat()
    flip(0.5)(kept)
    os.utime(kept, ns=(told.st_atime_ns, told.st_mtime_ns))
    assert kept.stat().st_mtime_ns == told.st_mtime_ns
    assert ask(kept)[1] == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_cache_that_takes_nothing_costs_time_alone(kept: Path, monkeypatch, capsys, number: int) -> None:
    kept.unlink()

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(disk, "sync_file", refuse)
    given, made = ask(kept)
    assert made == 1
    np.testing.assert_array_equal(given, NUMBERS)
    assert ask(kept)[1] == 0  # from memory
    Cache(kept.parents[1]).content({"what": "more"}, lambda: b"more")
    assert capsys.readouterr().err.count("warning") == 1
    assert not list(kept.parent.iterdir())


@pytest.mark.parametrize("blocked", ["home", "home/cache", "home/cache/entries"])
def test_a_file_in_the_way_of_the_cache_sends_it_to_the_spare_home(tmp_path: Path, monkeypatch, blocked: str) -> None:
    monkeypatch.setattr(rules, "spare_home", lambda make=False: tmp_path / "spare")
    (tmp_path / blocked).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / blocked).write_text("in the way")
    for made in ([1], []):
        calls: list[int] = []
        given = Cache(tmp_path / "home" / "cache").array(MADE_FROM, lambda calls=calls: calls.append(1) or NUMBERS)
        np.testing.assert_array_equal(given, NUMBERS)
        assert calls == made
    assert len(list((tmp_path / "spare" / "cache" / "entries").iterdir())) == 1


def test_what_memory_keeps_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "IN_MEMORY", 100)
    rules.REMEMBERED.clear()
    for number in range(20):
        rules.remember(tmp_path, str(number), bytes(10))
    assert [key for _, key in rules.REMEMBERED] == [str(number) for number in range(10, 20)]
    rules.REMEMBERED.clear()


def test_files_and_folders_are_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        Cache(tmp_path / "cache").content({"what": "b"}, lambda: b"some")
    finally:
        os.umask(before)
    modes = {path.is_dir(): oct(path.stat().st_mode & 0o777) for path in (tmp_path / "cache").rglob("*")}
    assert modes == {True: "0o750", False: "0o640"}


def test_the_digest_of_code_is_that_of_all_that_it_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("from some_package import two\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    digests = []
    for change in ("A = 1\n", "A = 2\n", "A = 1  # said otherwise\n"):
        (package / "two.py").write_text(change)
        digest_code.cache_clear()
        digests.append((digest_code("some_package.one"), digest_code(package / "one.py")))
    assert digests[0] == digests[2]
    assert all(one != other for one, other in zip(*digests[:2], strict=True))
    with pytest.raises(rules.BenchError, match=r"no module 'some_package\.gone'"):
        digest_code("some_package.gone")
    digest_code.cache_clear()
