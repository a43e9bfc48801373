"""Phantoms with damaged files: never used, named, kept in quarantine, and made again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.core.contracts import digest_content
from bench.datasets import catalogue
from bench.datasets.catalogue import make_phantom, open_dataset, read_dataset, set_aside, verify
from bench.datasets.manifest import DamagedPhantom, check_phantom, write_manifest
from bench.datasets.phantom.eeg.spec import find_spec
from bench.datasets.phantom.publish import NoRoom
from bench.datasets.seed_dv.layout import SeedDV
from bench.store import cache, contents
from bench.store.cache import state_of

NAME = "phantom_eeg:tiny"
SPEC = find_spec("tiny")


@pytest.fixture
def home(phantom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own with the phantom; whatever makes it again takes a copy of the one that all tests share."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BENCH_WARNED", raising=False)
    monkeypatch.setattr(catalogue, "homes", lambda: [tmp_path / "home"])
    original = phantom.root

    def write(spec, folder: Path, processes: int) -> None:
        assert not folder.exists()
        shutil.copytree(original, folder)

    monkeypatch.setattr(catalogue, "write", write)
    return make_phantom(SPEC)


def flip(path: Path) -> None:
    """One bit; size and time of modification stay."""
    told, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a flipped bit of a recording": ("EEG/sub2.npy", flip),
    "a flipped bit of a video": ("Video/3rd_10min.mp4", flip),
    "a flipped bit of the truth": ("truth/flow.npy", flip),
    "a flipped bit of the manifest": ("manifest.json", flip),
    "a lost caption file": ("Video/BLIP-caption/1st_10min.txt", Path.unlink),
    "a lost manifest": ("manifest.json", Path.unlink),
    "a recording that is none of the phantom's": ("EEG/sub1_session2.npy", lambda path: path.write_bytes(b"more")),
    "a folder for a file": ("geometry.json", lambda path: (path.unlink(), path.mkdir())),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_phantom_is_made_again(phantom, home: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    name, damage = DAMAGES[what]
    damage(home / name)
    with pytest.raises(DamagedPhantom, match=Path(name).name):
        open_dataset(NAME, make=False)  # a verb that reads makes nothing
    assert open_dataset(NAME).digest == phantom.digest
    check_phantom(home, home.parents[1] / "cache", spec=SPEC.as_dict())
    said = " ".join(capsys.readouterr().err.split())
    assert str(home / name) in said and "made again" in said
    pen = home.parent / "quarantine" / f"{home.name}-0"
    assert name in (pen / "reason.txt").read_text()
    assert (pen / name).exists() == (what[:6] != "a lost")
    assert sorted(path.name for path in home.parent.iterdir()) == sorted([home.name, "quarantine"])


def test_what_was_read_before_is_read_again_when_it_changed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "RACY", -1)  # as if everything had been there for long
    open_dataset(NAME)
    hashed: list[str] = []
    hash_file = contents.hash_file
    monkeypatch.setattr(contents, "hash_file", lambda path: hashed.append(path.name) or hash_file(path))
    open_dataset(NAME)
    assert hashed == []
    flip(home / "EEG" / "sub3.npy")
    with pytest.raises(DamagedPhantom, match=r"sub3\.npy has another content"):
        open_dataset(NAME, make=False)
    assert hashed == ["sub3.npy"]


def test_verify_finds_what_no_state_tells_and_the_phantom_is_made_again(home: Path, monkeypatch) -> None:
    """A disk that forgets a page says nothing of it."""
    monkeypatch.setattr(cache, "RACY", -1)
    open_dataset(NAME)
    path = home / "EEG" / "sub1.npy"
    before = state_of(path)
    flip(path)

    def tell(place: Path) -> cache.State:
        told = state_of(place)
        return before if told.inode == before.inode else told

    monkeypatch.setattr(contents, "state_of", tell)
    open_dataset(NAME)
    report = verify(NAME, None)
    assert report[report["status"] != "ok"]["file"].tolist() == ["EEG/sub1.npy"]
    open_dataset(NAME)
    assert (home.parent / "quarantine" / f"{home.name}-0" / "EEG" / "sub1.npy").is_file()


def test_a_phantom_of_a_users_own_is_refused_and_stays(home: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(home, own)
    flip(own / "EEG" / "sub1.npy")
    for kind in (NAME, "seed_dv"):
        with pytest.raises(DamagedPhantom, match=rf"{own}/EEG/sub1\.npy has another content"):
            read_dataset(kind, own)
    with pytest.raises(DamagedPhantom, match="sub1"):
        open_dataset(NAME, data_root=own)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "own"]


def test_a_phantom_that_another_process_has_made_again_stays(home: Path) -> None:
    seen = state_of(home)
    home.rename(home.parents[1] / "taken away")
    catalogue.write(SPEC, home, 1)
    assert set_aside(home, seen, {"EEG/sub1.npy": "has another content"})
    check_phantom(home, home.parents[1] / "cache", spec=SPEC.as_dict())
    assert [path.name for path in home.parent.iterdir()] == [home.name]


def test_another_phantom_in_its_place_is_noticed(home: Path) -> None:
    with pytest.raises(DamagedPhantom, match="another phantom"):
        check_phantom(home, home.parents[1] / "cache", spec=find_spec("tiny", seed=1).as_dict())


def test_a_home_that_takes_nothing_costs_the_place_alone(phantom, home, tmp_path, monkeypatch, capsys) -> None:
    """The phantom is made in the spare home, and found there again; where that is full too, it is said."""
    spare, write, made = tmp_path / "spare", catalogue.write, []

    def refuse(spec, folder: Path, processes: int) -> None:
        made.append(folder)
        if spare not in folder.parents:
            raise NoRoom(f"{folder.parent} cannot be written to")
        write(spec, folder, processes)

    monkeypatch.setattr(catalogue, "write", refuse)
    monkeypatch.setattr(catalogue, "homes", lambda: [tmp_path / "home", spare])
    shutil.rmtree(home)
    for _ in range(2):
        assert open_dataset(NAME).root == spare / "phantoms" / home.name
    assert made == [home, spare / "phantoms" / home.name]
    assert capsys.readouterr().err.count("warning") == 1
    monkeypatch.setattr(catalogue, "homes", lambda: [tmp_path / "home"])
    with pytest.raises(NoRoom, match="cannot be written to"):
        open_dataset(NAME)


def test_files_and_folders_of_a_phantom_are_as_the_umask_says(phantom) -> None:
    umask = os.umask(0)
    os.umask(umask)
    for path in (phantom.root, *phantom.root.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~umask, path


def test_a_phantom_of_another_processor_is_the_same_one_and_shares_no_cache(phantom, tmp_path) -> None:
    """The last bit of a recording is another machine's: one name on the board, two for what is computed from it."""
    other = tmp_path / "phantom"
    shutil.copytree(phantom.root, other)
    path = other / "EEG" / "sub1.npy"
    signals = np.load(path)
    signals.flat[0] = np.nextafter(signals.flat[0], np.inf)
    np.save(path, signals)
    manifest = json.loads((other / "manifest.json").read_bytes())
    write_manifest(manifest["spec"], other, manifest["seconds"])
    opened = open_dataset("phantom_eeg:tiny", data_root=other)
    assert opened.digest == phantom.digest and opened.content_digest != phantom.content_digest
    assert digest_content(opened) == opened.content_digest
    assert opened.made_from("trials") != phantom.made_from("trials")
    write_manifest(manifest["spec"] | {"seed": 5}, other, manifest["seconds"])
    assert SeedDV(other, cache=tmp_path / "cache").digest != phantom.digest
