"""Weights that are not what they should be: refused by name, whatever says what they should be."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.pretrained.judges.observe import Judges
from bench.pretrained.mini_build.build import describe_folder
from bench.pretrained.roles import HERE, SUMS, DamagedWeights, Role, find_suite, make_roles
from bench.pretrained.suite import load_suite

CLIP = np.zeros((1, 6, 64, 64, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The mini suite as a folder of a user's; its files are links but for those of one judge."""
    shutil.copytree(HERE / "mini", tmp_path / "suite", copy_function=lambda one, other: Path(other).symlink_to(one))
    for path in (tmp_path / "suite" / "dino").iterdir():
        path.unlink()
        shutil.copyfile(HERE / "mini" / "dino" / path.name, path)
    (tmp_path / "suite" / "suite.toml").write_text(describe_folder("mini"))
    return tmp_path / "suite"


def flip(path: Path) -> None:
    told, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))


def test_the_shipped_suite_is_what_its_list_says() -> None:
    lines = (HERE / "mini" / SUMS).read_text().splitlines()
    listed = {name: sha256 for sha256, name in (line.split("  ") for line in lines)}
    files = [path for path in (HERE / "mini").rglob("*") if path.is_file() and path.parent != HERE / "mini"]
    assert listed == {
        path.relative_to(HERE / "mini").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "preprocessor_config.json"])
def test_a_file_that_its_list_does_not_know_is_refused(folder: Path, name: str) -> None:
    path = folder / "dino" / name
    suite = load_suite(folder)
    suite.judges.observe("dino", CLIP)
    for damage in (lambda: flip(path), path.unlink, lambda: path.write_bytes(b"")):
        damage()
        for ask in (lambda fresh: fresh.judges.observe("dino", CLIP), lambda fresh: fresh.judges.digest("dino")):
            with pytest.raises(DamagedWeights, match=re.escape(str(path))):
                ask(load_suite(folder))
    load_suite(folder).judges.digest("clip")  # the other judges are what they were


def test_a_file_too_many_is_refused(folder: Path) -> None:
    (folder / "dino" / "pytorch_model.bin").write_bytes(b"other weights")
    with pytest.raises(DamagedWeights, match=r"pytorch_model\.bin"):
        load_suite(folder).judges.digest("dino")


def test_a_damaged_or_missing_list_is_refused_of_the_package_alone(folder: Path, monkeypatch) -> None:
    sums = folder / SUMS
    content = sums.read_text()
    sums.unlink()
    load_suite(folder).judges.digest("dino")  # a user's own suite needs none
    monkeypatch.setattr("bench.pretrained.roles.HERE", folder)
    with pytest.raises(DamagedWeights, match=f"{SUMS} is missing"):
        load_suite(folder).judges.digest("dino")
    monkeypatch.undo()
    for wrong in (content.replace("  ", " "), "", "\xff"):
        sums.write_text(wrong, encoding="latin-1")
        with pytest.raises(DamagedWeights, match=SUMS):
            load_suite(folder).judges.digest("dino")


def test_weights_without_a_list_that_change_while_they_are_in_use_are_refused(folder: Path) -> None:
    (folder / SUMS).unlink()
    suite = load_suite(folder)
    before = suite.judges.digest("dino")
    flip(folder / "dino" / "model.safetensors")
    with pytest.raises(DamagedWeights, match="have changed while they were in use"):
        suite.judges.observe("dino", CLIP)
    assert load_suite(folder).judges.digest("dino") != before  # they are other weights, and known as such


def test_what_cannot_be_loaded_is_refused_by_name(folder: Path) -> None:
    (folder / SUMS).unlink()
    path = folder / "dino" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DamagedWeights, match=r"the dino in .*dino cannot be loaded \(SafetensorError"):
        load_suite(folder).judges.observe("dino", CLIP)


def test_a_lost_judge_of_the_package_is_not_an_absent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An absent judge leaves its metrics out; one that the package brings must be there."""
    suite = load_suite("mini")
    monkeypatch.setattr(Role, "find", lambda self: None)
    with pytest.raises(Exception, match="dino"):
        suite.judges.available("dino")
    paper = Judges(load_suite("paper"))
    assert not paper.available("dino")


def test_the_hubs_files_are_what_their_names_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blobs are named by the sha256 of large files and by git's digest of small ones."""
    revision = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "hub" / "models--some--dino"
    (place / "snapshots" / revision).mkdir(parents=True)
    (place / "blobs").mkdir()
    for path in sorted((HERE / "mini" / "dino").iterdir()):
        content = path.read_bytes()
        small = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        blob = place / "blobs" / (hashlib.sha256(content).hexdigest() if path.suffix == ".safetensors" else small)
        blob.write_bytes(content)
        (place / "snapshots" / revision / path.name).symlink_to(blob)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    settings = find_suite("mini")[1]
    settings["roles"]["dino"] = {"id": "some/dino", "revision": revision}

    def make() -> Role:
        return make_roles(settings, tmp_path, ["dino"])["dino"]

    assert make().digest_lines() == [f"dino some/dino {revision}", "dino []"]
    for name in ("model.safetensors", "config.json"):
        blob = (place / "snapshots" / revision / name).resolve()
        flip(blob)
        with pytest.raises(DamagedWeights, match=rf"{re.escape(name)} .*\(changed\).*fetch it again"):
            make().locate()
        flip(blob)
        make().locate()
