"""The loader of released weights: what fits is put in, what does not is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bench.toolbox.released import CannotLoad, Released, Rename, load_released, require_one_subject

CHECKPOINT = Released("somebody's encoder", "encoder.pth", "3 MB", "MIT", "https://example.org/weights")
RENAMES = (
    Rename(r"blocks\.(\d)\.fc\.(weight|bias)", r"\1.\2"),
    Rename("turned", "0.weight", lambda tensor: tensor.T),
    Rename(r"unread\..*", None),
)


def make() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def hold(**changes: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    held = {
        f"blocks.{place}.fc.{name}": torch.randn(shape, generator=generator)
        for place, sizes in enumerate(((4, 3), (2, 4)))
        for name, shape in (("weight", sizes), ("bias", sizes[:1]))
    }
    return {**held, "unread.head": torch.ones(2), **changes}


def load(path: Path, held: Any, **options: Any) -> nn.Sequential:
    torch.save(held, path)
    made = make()
    load_released(made, path, RENAMES, CHECKPOINT, **options)
    return made


WRAPPINGS = (
    lambda held: held,
    lambda held: {"model": {f"module.{name}": tensor for name, tensor in held.items()}},
    lambda held: {"epoch": 3, "state_dict": held},
)


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_every_tensor_lands_where_it_belongs(tmp_path: Path, wrap: Any) -> None:
    held = hold()
    made = load(tmp_path / "a.pth", wrap(held)).state_dict()
    assert all(torch.equal(made[name], held[f"blocks.{name[0]}.fc.{name[2:]}"]) for name in made)


def test_a_tensor_of_other_axes_is_turned_and_safetensors_are_read(tmp_path: Path) -> None:
    held = hold()
    held["turned"] = held.pop("blocks.0.fc.weight").T.contiguous()
    save_file(held, tmp_path / "a.safetensors")
    made = make()
    load_released(made, tmp_path / "a.safetensors", RENAMES, CHECKPOINT)
    assert torch.equal(made[0].weight, held["turned"].T)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stranger": torch.ones(1)}, "unknown stranger"),
        ({"blocks.2.fc.weight": torch.ones(1)}, r"unknown blocks\.2\.fc\.weight"),
        ({"blocks.1.fc.bias": torch.ones(3)}, r"blocks\.1\.fc\.bias \[3\] for 1\.bias \[2\]"),
        ({"blocks.1.fc.bias": torch.tensor([1.0, torch.nan])}, r"not finite blocks\.1\.fc\.bias"),
        ({"blocks.1.fc.bias": None}, r"missing 1\.bias"),
    ],
)
def test_what_does_not_fit_is_named_with_the_file_that_is_needed(tmp_path: Path, change: Any, said: str) -> None:
    held = {name: tensor for name, tensor in hold(**change).items() if tensor is not None}
    with pytest.raises(CannotLoad, match=said) as error:
        load(tmp_path / "a.pth", held)
    needed = "needed is somebody's encoder: encoder.pth (3 MB; licence: MIT), from https://example.org/weights"
    assert needed in str(error.value)


def test_nothing_is_changed_by_a_file_that_does_not_fit(tmp_path: Path) -> None:
    torch.save(hold(stranger=torch.ones(1)), tmp_path / "a.pth")
    made, before = make(), make().state_dict()
    with pytest.raises(CannotLoad):
        load_released(made, tmp_path / "a.pth", RENAMES, CHECKPOINT)
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.state_dict().items())


def test_a_part_may_be_lacked_as_a_whole_and_not_by_halves(tmp_path: Path) -> None:
    held = {name: tensor for name, tensor in hold().items() if not name.startswith("blocks.1")}
    made = load(tmp_path / "a.pth", held, fresh=[r"1\..*"])
    assert torch.equal(made[1].weight, make()[1].weight) and torch.equal(made[0].bias, held["blocks.0.fc.bias"])
    with pytest.raises(CannotLoad, match=r"missing 1\.weight"):
        load(tmp_path / "a.pth", {**held, "blocks.1.fc.bias": torch.ones(2)}, fresh=[r"1\..*"])


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("exploded"),))


def test_a_file_that_is_no_checkpoint_is_refused_and_no_code_of_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CannotLoad, match="cannot be opened"):
        load_released(make(), tmp_path / "absent.pth", RENAMES, CHECKPOINT)
    with pytest.raises(CannotLoad, match="holds more than weights"):
        load(tmp_path / "bomb.pth", {"state_dict": hold(), "more": Bomb()})
    assert not Path("exploded").exists()
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("no weights")
        with pytest.raises(CannotLoad, match=r"no checkpoint|more than weights"):
            load_released(make(), tmp_path / name, RENAMES, CHECKPOINT)
    with pytest.raises(CannotLoad, match="no state dict"):
        load(tmp_path / "numbers.pth", [1, 2])


def test_weights_of_one_subject_are_not_for_many() -> None:
    assert require_one_subject([7], CHECKPOINT) == 7
    with pytest.raises(CannotLoad, match="one subject's and 2 are trained here"):
        require_one_subject([1, 2], CHECKPOINT)
