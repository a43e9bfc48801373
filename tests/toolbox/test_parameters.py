"""Parameters of methods: every variant is taken as it is, wrong values are refused in words, and no torch is needed."""

from __future__ import annotations

import dataclasses
import itertools
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from bench.cli.run import run
from bench.core.errors import BenchError
from bench.core.registry import names, role_of
from bench.core.variants import load_variants, variant_file
from bench.toolbox.parameters import OPTIONS, find_reader, limited, read_given, try_parameters

ROOT = Path(__file__).parents[2]
FILES = [*ROOT.glob("methods/*/ablations.toml"), *ROOT.glob("baselines/*/ablations.toml")]
METHODS = [name for name in names("methods") if load_variants(name) and role_of(name) != "ceiling"]


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """One field of every kind."""

    epochs: int = 20
    folds: int = 1
    window: int = 0
    rate: float = 1e-3
    share: float = limited(0.5, above=0, most=1)
    ratio: float = limited(0.5, least=0, below=1)
    offset: float = limited(0.0, least=None)
    rank: int = limited(4, least=0)
    seen: bool = True
    suffix: str = ""
    start: Literal["noise", "latents"] = "noise"
    token: Literal[0, 1] = 1
    steps: int | None = None
    guidance: float | None = 2.0
    channels: tuple[int, ...] = (64, 32)
    pair: tuple[float, float] = (0.05, 0.1)
    regions: tuple[Literal["left", "right"], ...] = ("left", "right")


def read(**given):
    return read_given(Parameters, given, method="ours")


TAKEN = [
    {"epochs": 1}, {"window": 0}, {"window": 3}, {"rate": 0}, {"rate": 2}, {"share": 1}, {"ratio": 0.0},
    {"offset": -2.5}, {"rank": 0}, {"seen": False}, {"suffix": "x"}, {"start": "latents"}, {"token": 0},
    {"steps": None}, {"steps": 1}, {"guidance": None}, {"guidance": 0}, {"channels": [8]}, {"channels": (1, 2, 3)},
    {"pair": [0.1, 1]}, {"regions": ["right"]}, {"regions": []},
]  # fmt: skip
REFUSED = [
    ({"epochs": -5}, "epochs=-5 is refused; allowed is a whole number at least 1"),
    ({"epochs": 0}, "whole number at least 1"),
    ({"folds": 0}, "folds=0 is refused; allowed is a whole number at least 1"),
    ({"epochs": 2.5}, "epochs=2.5 is refused; allowed is a whole number"),
    ({"epochs": 2.0}, "whole number"),
    ({"epochs": True}, "epochs=True is refused"),
    ({"epochs": "20"}, "epochs='20' is refused"),
    ({"epochs": None}, "whole number"),
    ({"window": -1}, "a whole number at least 0"),
    ({"rate": -1e-9}, "a finite number at least 0"),
    ({"rate": math.nan}, "rate=nan is refused; allowed is a finite number"),
    ({"rate": math.inf}, "rate=inf is refused"),
    ({"rate": True}, "rate=True is refused"),
    ({"rate": "fast"}, "a finite number"),
    ({"share": 0}, "a finite number above 0 and at most 1"),
    ({"share": 1.01}, "above 0 and at most 1"),
    ({"ratio": 1}, "at least 0 and below 1"),
    ({"offset": -math.inf}, "offset=-inf is refused; allowed is a finite number$"),
    ({"rank": -1}, "a whole number at least 0"),
    ({"seen": 1}, "seen=1 is refused; allowed is true or false"),
    ({"seen": "yes"}, "true or false"),
    ({"suffix": 3}, "suffix=3 is refused; allowed is text"),
    ({"start": "mush"}, "start='mush' is refused; allowed is one of noise, latents"),
    ({"start": ["noise"]}, "one of noise, latents"),
    ({"token": True}, "one of 0, 1"),
    ({"token": 2}, "one of 0, 1"),
    ({"steps": 0}, "a whole number at least 1 or None"),
    ({"steps": 1.5}, "a whole number at least 1 or None"),
    ({"guidance": -1}, "a finite number at least 0 or None"),
    ({"channels": 8}, "a list, each item a whole number at least 1"),
    ({"channels": [8, 0]}, r"channels=\[8, 0\] is refused"),
    ({"channels": [8, True]}, "a list, each item"),
    ({"channels": "64"}, "a list, each item"),
    ({"pair": [0.1]}, "a list of 2, each item a finite number at least 0"),
    ({"pair": [0.1, 0.2, 0.3]}, "a list of 2"),
    ({"regions": ["left", "middle"]}, "a list, each item one of left, right"),
    ({"epoch": 3}, "ours has no parameter epoch, did you mean epochs[?]; it has channels, epochs, folds, guidance"),
]


@pytest.mark.parametrize("given", TAKEN, ids=str)
def test_what_is_allowed_is_taken_unchanged(given) -> None:
    (name, value), *_ = given.items()
    expected = tuple(value) if isinstance(value, list) else value
    taken = getattr(read(**given), name)
    assert taken == expected and type(taken) is type(expected)
    assert dataclasses.asdict(read(**given)) == dataclasses.asdict(Parameters()) | {name: expected}


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=lambda case: str(case)[:40])
def test_wrong_values_are_refused_in_words(given, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        read(**given)


def test_limits_that_do_not_exist_are_an_error_of_the_author() -> None:
    with pytest.raises(ValueError, match="atleast"):
        limited(1, atleast=0)


def test_every_file_of_variants_belongs_to_a_registered_method() -> None:
    assert {variant_file(name) for name in METHODS} == set(FILES) and len(FILES) == 11
    several = {"encoders": 10, "linear": 2}  # methods that one file serves
    for folder, count in several.items():
        assert sum(variant_file(name).parent.name == folder for name in METHODS) == count
    alone = {name for name in METHODS if variant_file(name).parent.name not in several}
    assert alone == {path.parent.name for path in FILES} - set(several)


@pytest.mark.parametrize("method", METHODS)
def test_every_variant_is_taken_as_it_is_written(method: str) -> None:
    """The dataclass filled by hand is the same, so no value is changed on the way; defaults pass their own rule."""
    reader = find_reader(method)
    assert reader is not None
    base = reader({})
    assert base == type(base)() and reader(dataclasses.asdict(base)) == base
    assert type(base).__module__ == reader.__module__
    for group, variants in load_variants(method).items():
        for name, given in variants.items():
            written = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
            assert reader(given) == dataclasses.replace(base, **written), (group, name)
            try_parameters(method, given)


def test_no_parameter_says_what_an_option_of_the_command_says() -> None:
    """`--precision bf16` beside a parameter `precision` would be two answers to one question."""
    for name, option in itertools.product(names("methods"), OPTIONS):
        with pytest.raises(BenchError, match=f"has no parameter {option}.*; --{option} is an option of `run`"):
            try_parameters(name, {option: "bf16"})
    assert {*OPTIONS} <= {parameter.name for parameter in run.params}


WRONG = [
    ("sam_net", {"epochs": 0}, "sam_net: epochs=0 is refused; allowed is a finite number above 0"),
    ("sam_net", {"widht": 3}, "sam_net has no parameter widht, did you mean width"),
    ("sam_net", {"regions": []}, "leaves no electrode"),
    ("sam_net", {"width": 65}, "4 heads do not divide a width of 65"),
    ("cine_neuron", {"modalities": ["text", "text"]}, "each once"),
    ("dynamind", {"layout": "released", "leave_out": ["temporal"]}, "layout 'released' has frontal"),
    ("dynamind", {"token_rank": 90}, "no multiple of code_length=8"),
    ("dynamind_oracle", {"alpha": 0.3}, "dynamind_oracle has no parameter alpha; it has guidance, latents, steps"),
    ("dynamind_oracle", {"tuning_epochs": 0}, "tuning_epochs=0 is refused"),
    ("dynamind", {"stopping": "validation"}, "set use_validation=false too"),
    ("neuroclips", {"decoder_channels": [64, 32, 21]}, "multiples of decoder_heads"),
    ("cinesync", {"kernel": 8}, "has no middle"),
    ("glfa", {"local_patches": 0, "global_patches": 0}, "leave no map"),
    ("retrieval", {"ridge": 1.0}, "retrieval has no parameter ridge; it takes none"),
    ("random_clip", {"seed": 1}, "random_clip has no parameter seed; it takes none"),
    ("codec", {"steps": 1}, "it takes none"),
    ("eegnet", {"read_out": "nearest"}, "eegnet: read_out='nearest' is refused"),
    ("ridge_eeg", {"epochs": 3}, "ridge_eeg has no parameter epochs"),
    ("shared_ridge", {"components": 8}, "shared_ridge has no parameter components"),
    ("noise_brain", {"method": "sam_net", "epochs": -5}, "sam_net: epochs=-5 is refused"),
    ("noise_brain", {"width": 3}, "retrieval has no parameter width"),
    ("noise_brain", {"method": "random_clip"}, "random_clip sees no brain"),
    ("noise_brain", {"method": "sam_nett"}, "did you mean sam_net"),
    ("noise_brain", {"method": 3}, "method=3 is refused"),
]


@pytest.mark.parametrize(("method", "given", "message"), WRONG, ids=str)
def test_methods_refuse_wrong_parameters(method: str, given, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        try_parameters(method, given)


def test_no_torch_is_imported_for_the_projects_methods() -> None:
    """Neither to refuse a parameter of any registered method nor to read each one's defaults."""
    code = (
        "import sys\n"
        "from bench.core.errors import BenchError\n"
        "from bench.core.registry import names\n"
        "from bench.toolbox.parameters import find_reader, try_parameters\n"
        "for method in names('methods'):\n"
        "    try:\n"
        "        try_parameters(method, {'no_such_parameter': 1})\n"
        "    except BenchError as error:\n"
        "        assert 'no_such_parameter' in str(error), error\n"
        "    else:\n"
        "        raise AssertionError(method)\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False", done.stderr


NEWCOMER = """
class Strict:
    modality = "eeg"
    def __init__(self, *, suite, seed=0, width=4):
        raise RuntimeError("the constructor must not run")

class Open:
    modality = "eeg"
    def __init__(self, *, suite, seed=0, **parameters):
        raise RuntimeError("the constructor must not run")
"""


def test_a_newcomers_class_is_asked_for_its_keywords(tmp_path: Path) -> None:
    path = tmp_path / "newcomer.py"
    path.write_text(NEWCOMER)
    try_parameters(f"{path}:Strict", {"width": 3})
    with pytest.raises(BenchError, match=r"has no parameter widht, did you mean width\?; it has width"):
        try_parameters(f"{path}:Strict", {"widht": 3})
    try_parameters(f"{path}:Open", {"anything": 3})
