"""Profiles: a method's own sizes, which go with every variant, ablation and paper's table, and mix with no others."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import bench
from bench.api.papers import list_needs
from bench.api.questions import in_profile
from bench.core import variants
from bench.core.errors import BenchError
from bench.core.registry import UnknownName, names
from bench.core.spec import SpecError
from bench.toolbox.parameters import try_parameters
from leaderboard.admission import ResultsError, check_names
from leaderboard.papers.reported import load_table

SIZED = (
    *("sam_net", "cine_neuron", "eeg2video", "dynamind", "neuroclips"),
    *("mind_animator", "glfa", "cinesync", "mind_video"),
)
FILE = """
[rows]
split = "cross_subject"
[rows.variants.narrow]
parameters = { width = 8 }
capacity_matched = { depth = 3 }
[profile.paper]
label = "as published"
parameters = { width = 512, depth = 12 }
"""


@pytest.fixture
def method(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text("raise ImportError('profiles are read without importing the method')")
    (tmp_path / "ablations.toml").write_text(FILE)
    return f"{tmp_path}/mine.py:Mine"


def test_defaults_then_profile_then_variant(method: str) -> None:
    assert variants.find_group(method, "rows", "paper") == {
        "base@paper": {"width": 512, "depth": 12},
        "narrow@paper": {"width": 8, "depth": 12},
        "narrow_matched@paper": {"width": 8, "depth": 3},
    }
    for name, parameters in variants.find_group(method, "rows", "paper").items():
        assert variants.find_variant(method, name) == parameters
    assert variants.find_group(method, "rows") == variants.find_group(method, "rows", "mini")
    assert variants.find_variant(method, "narrow") == {"width": 8}
    assert "profile" not in variants.load_variants(method)
    assert variants.split_profiled("narrow@paper[width=3]") == ("narrow[width=3]", "paper")


def test_a_profile_that_is_not_there_says_who_has_it(method: str) -> None:
    with pytest.raises(UnknownName, match=r"'papr', did you mean paper\?: it has mini, paper"):
        variants.find_profile(method, "papr")
    with pytest.raises(UnknownName, match=r"retrieval has no profile 'paper': it has mini; .*sam_net.* have it"):
        bench.plan_run("retrieval", profile="paper")
    with pytest.raises(UnknownName, match=r"no method has a profile 'large'; there are mini, paper"):
        bench.paper_table("sam_net.3", profile="large")
    with pytest.raises(SpecError, match="leave one out"):
        variants.name_in(method, "narrow@large", "paper")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[profile]\npaper = 3", "may hold label and parameters"),
        ("[profile.paper]\nlabel = 'x'", "lacks its parameters"),
        ("[profile.mini]\nparameters = { width = 3 }", "cannot be changed"),
        ("[profile.paper]\nparameters = { width = nan }", "finite"),
    ],
)
def test_malformed_profiles_say_where(method: str, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "ablations.toml").write_text(text)
    with pytest.raises(SpecError, match=words) as error:
        variants.load_profiles(method)
    assert "ablations.toml" in str(error.value)


@pytest.mark.parametrize("method", SIZED)
def test_every_variant_of_every_sized_method_takes_the_papers_profile(method: str) -> None:
    sizes = variants.find_profile(method, "paper")
    groups = variants.load_variants(method)
    assert sizes and groups
    for group, plain in groups.items():
        for (name, own), (named, parameters) in zip(
            plain.items(), variants.find_group(method, group, "paper").items(), strict=True
        ):
            assert named == f"{name}@paper" and parameters == {**sizes, **own}
            try_parameters(method, parameters)


def test_methods_with_a_paper_s_size_have_the_profile() -> None:
    assert {name for name in names("methods") if variants.has_profile(name, "paper")} == {*SIZED, "dynamind_oracle"}


@pytest.mark.parametrize("method", names("methods"))
def test_whatever_is_listed_of_a_method_is_taken(method: str) -> None:
    """Of all that is registered, floors and ceilings too: each variant in each profile that `list` shows."""
    for profile, sizes in variants.load_profiles(method).items():
        try_parameters(method, sizes)
        for group in variants.load_variants(method):
            for parameters in variants.find_group(method, group, profile).values():
                try_parameters(method, parameters)


def test_a_ceiling_draws_with_the_generator_of_its_method_s_profile() -> None:
    own, oracle = (variants.find_profile(name, "paper") for name in ("dynamind", "dynamind_oracle"))
    drawing = {name for name in own if name.startswith("tuning_")} | {"steps", "guidance"}
    assert oracle == {name: own[name] for name in drawing} and len(drawing) == 5
    assert variants.load_variants("dynamind_oracle") == {}


def test_another_class_of_the_file_has_tables_of_its_own(method: str, tmp_path: Path) -> None:
    beside = "[others.Beside.profile.paper]\nparameters = { steps = 50 }\n[others.Plain]\n"
    (tmp_path / "ablations.toml").write_text(FILE + beside, encoding="utf-8")
    assert set(variants.load_variants(method)) == {"rows"} and variants.find_profile(method, "paper")["width"] == 512
    other = method.replace(":Mine", ":Beside")
    assert variants.load_profiles(other) == {"mini": {}, "paper": {"steps": 50}} and not variants.load_variants(other)
    assert variants.load_profiles(method.replace(":Mine", ":Plain")) == {"mini": {}}
    (tmp_path / "ablations.toml").write_text(FILE + "[others]\nBeside = 3", encoding="utf-8")
    with pytest.raises(SpecError, match="holds tables of a class each"):
        variants.load_profiles(method)


def test_a_table_shows_one_profile_and_what_has_no_sizes() -> None:
    sides = [("sam_net", "base"), ("sam_net", "base@paper"), ("sam_net", "wo_hrt@paper"), ("retrieval", "base")]
    sides += [("best_constant", "base"), ("somebodys", "base"), ("sam_net", "base@paper[width=32]")]
    rows = pd.DataFrame(sides, columns=["method", "variant"])
    assert [sides[row] for row in range(len(sides)) if in_profile(rows, "mini")[row]] == [
        *[("sam_net", "base"), ("retrieval", "base"), ("best_constant", "base"), ("somebodys", "base")]
    ]
    assert [sides[row] for row in range(len(sides)) if in_profile(rows, "paper")[row]] == [
        *sides[1:6],
        ("sam_net", "base@paper[width=32]"),
    ]


def test_names_with_a_profile_can_be_committed_and_others_cannot() -> None:
    spec = {"dataset": "cc2017", "split": "single_subject", "fold": "s1", "suite": "paper", "method": "sam_net"}
    check_names(spec, "wo_hrt@paper")
    for name in ("wo_hrt@", "base@mini", "a@../b", "a@b@c"):
        with pytest.raises(ResultsError):
            check_names(spec, name)


@pytest.mark.parametrize("table", bench.paper_names())
def test_each_cell_of_a_papers_table_goes_with_the_profile_of_its_method(table: str) -> None:
    plain, sized = (list_needs(load_table(table), None, profile) for profile in ("mini", "paper"))
    assert len(plain) == len(sized)
    for one, other in zip(plain, sized, strict=True):
        assert other.variant == (f"{one.variant}@paper" if one.method in SIZED else one.variant)
        own = variants.find_variant(one.method, one.variant)
        sizes = variants.find_profile(one.method, "paper") if one.method in SIZED else {}
        assert variants.find_variant(other.method, other.variant) == {**sizes, **own}


def test_cine_neuron_draws_the_papers_frames_and_gives_the_clips_back_in_theirs() -> None:
    from bench.toolbox.resize import choose_shape

    outputs = variants.find_profile("cine_neuron", "paper")["output"]
    assert choose_shape(outputs, (9, 224, 224, 3)) == (57, 624, 624)  # cc2017
    assert choose_shape(outputs, (33, 480, 720, 3)) == (33, 480, 720)  # CineBrain
    assert choose_shape((), (9, 224, 224, 3)) == (9, 224, 224)
    for wrong in ([[0, 16, 16]], [[9, 16]], [9, 16, 16]):
        with pytest.raises(BenchError, match="output="):
            try_parameters("cine_neuron", {"output": wrong})
