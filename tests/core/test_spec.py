"""Specs: the canonical form is canonical, keys cover what determines a result, variants read as written."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core import variants
from bench.core.registry import UnknownName
from bench.core.spec import CellSpec, ScoreSpec, SpecError, canonical_json, digest
from bench.core.variants import parse_settings

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)

CELL = CellSpec(
    dataset="phantom_eeg",
    data_digest="d" * 64,
    split="cross_subject",
    fold="known",
    classes=40,
    method="sam_net",
    method_version=1,
    parameters={"width": 32, "regions": ["frontal", "central"], "rate": 0.1},
    suite="mini",
    suite_digest="s" * 64,
    seed=0,
)


@given(plain)
def test_canonical_form_reads_back(value):
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), plain, max_size=6), st.randoms(use_true_random=False))
def test_order_of_keys_does_not_matter(value, random):
    shuffled = list(value.items())
    random.shuffle(shuffled)
    assert digest(dict(shuffled)) == digest(value)


@given(plain, plain)
def test_different_values_have_different_digests(a, b):
    if canonical_json(a) != canonical_json(b):
        assert digest(a) != digest(b)


def test_tuples_are_lists_and_types_are_told_apart():
    assert digest((1, 2)) == digest([1, 2])
    assert len({digest(value) for value in (1, 1.0, True, "1", None, [1])}) == 6


def test_published_digest():
    """The canonical form is frozen: a change of it would orphan every store. The digest is sha256sum's."""
    assert canonical_json({"b": (1, 2.5), "a": "é"}) == '{"a":"\\u00e9","b":[1,2.5]}'
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"rate": math.nan}, ["['rate']", "nan", "finite"]),
        ([1, math.inf], ["[1]", "inf"]),
        ({1: 2}, ["key 1", "text"]),
        ({"a": {2, 3}}, ["['a']", "set"]),
        (b"x", ["bytes"]),
    ],
)
def test_what_is_not_plain_is_refused(value, words):
    with pytest.raises(SpecError) as error:
        canonical_json(value)
    for word in words:
        assert word in str(error.value)


def test_numpy_numbers_are_refused():
    numpy = pytest.importorskip("numpy")
    for value in (numpy.float64(1.5), numpy.int64(2), numpy.array([1])):
        with pytest.raises(SpecError, match="plain Python values"):
            canonical_json({"x": value})


@pytest.mark.parametrize("name", [field.name for field in fields(CellSpec)])
def test_every_field_of_a_cell_is_in_its_key(name):
    old = getattr(CELL, name)
    new = {**old, "more": 1} if isinstance(old, dict) else old + 1 if isinstance(old, int) else old + "x"
    assert replace(CELL, **{name: new}).key != CELL.key


def test_every_field_of_a_score_is_in_its_key():
    plain = {"prediction_digest": "p", "protocol": "corrected", "metric": "ssim", "judge_digest": "", "source": "c"}
    score = ScoreSpec(**plain, metric_version=1, rules={"worst": 0.0})
    for name in (field.name for field in fields(ScoreSpec)):
        old = getattr(score, name)
        new = {**old, "more": 1} if isinstance(old, dict) else old + 1 if isinstance(old, int) else old + "x"
        assert replace(score, **{name: new}).key != score.key


def test_a_cell_of_before_settings_were_recorded_keeps_its_key():
    """The key of a committed cell, made when a spec had no settings, no rules and no other output than videos."""
    spec = CellSpec(
        dataset="phantom_cinebrain",
        data_digest="b0c7c1cae9333e5f8d97e602180e8b06fbae40f40a9ba56dafc408e3bf4a739c",
        split="clips",
        fold="clips",
        classes=40,
        method="caption",
        method_version=1,
        parameters={},
        suite="mini",
        suite_digest="5883563dabce95082438492c89ca910bc04a512afb96ab29d63a40e5f2d0c21b",
        seed=0,
    )
    assert spec.key == "288198a059c355b0"


def test_key_is_the_same_in_another_process():
    code = f"from bench.core.spec import CellSpec; print(CellSpec(**{CELL.as_dict()!r}).key)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == CELL.key
    assert len(CELL.key) == 16
    assert CellSpec(**json.loads(canonical_json(CELL.as_dict()))).key == CELL.key


ABLATIONS = """
[hrt]
base = "whole"
split = "cross_subject"
[hrt.variants.wo_frontal]
label = "B. w/o frontal"
parameters = { regions = ["central"], width = 8 }
capacity_matched = { width = 12 }
[hrt.variants.wo_time]
parameters = { time = false }
[other.variants.wo_time]
parameters = { time = false }
"""


@pytest.fixture
def method(tmp_path):
    (tmp_path / "mine.py").write_text("raise ImportError('variants are read without importing the method')")
    (tmp_path / "ablations.toml").write_text(ABLATIONS)
    return f"{tmp_path}/mine.py:Mine"


def test_variants_read_as_written(method):
    groups = variants.load_variants(method)
    assert list(groups) == ["hrt", "other"]
    assert groups["hrt"] == {
        "whole": {},
        "wo_frontal": {"regions": ["central"], "width": 8},
        "wo_frontal_matched": {"regions": ["central"], "width": 12},
        "wo_time": {"time": False},
    }
    assert next(iter(groups["hrt"])) == "whole"  # the base comes first
    assert variants.find_group(method, "other") == {"base": {}, "wo_time": {"time": False}}
    assert variants.find_variant(method, "wo_time") == {"time": False}
    assert variants.find_variant(method, "base") == {}
    assert variants.group_split(method, "hrt") == "cross_subject"
    assert variants.group_split(method, "other") is None


def test_unknown_groups_and_variants_say_what_is_near(method):
    with pytest.raises(UnknownName, match=r"'htr'.*did you mean hrt\?.*hrt, other"):
        variants.find_group(method, "htr")
    with pytest.raises(UnknownName, match=r"'wo_fontal'.*did you mean wo_frontal.*wo_time"):
        variants.find_variant(method, "wo_fontal")
    with pytest.raises(UnknownName, match="names none"):
        variants.find_variant("constant_grey", "wo_frontal")
    with pytest.raises(UnknownName, match="sam_net"):
        variants.load_variants("samnet")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[hrt", "no valid TOML"),
        ("[hrt.variants.a]\nlabel = 'x'", "lacks its parameters"),
        ("[hrt.variants.a]\nparameter = {}", "may hold label"),
        ("[hrt]\nvariant = {}", "may hold base"),
        ("hrt = 3", "may hold base"),
        ("[hrt.variants.base]\nparameters = {}", "already"),
        ("[hrt.variants.a]\nparameters = { rate = nan }", "finite"),
        ("[hrt.variants.a]\nparameters = { when = 2020-01-01 }", "plain Python values"),
    ],
)
def test_malformed_variant_files_say_where(method, tmp_path, text, words):
    (tmp_path / "ablations.toml").write_text(text)
    with pytest.raises(SpecError, match=words) as error:
        variants.load_variants(method)
    assert "ablations.toml" in str(error.value)


def test_one_variant_name_with_two_meanings_is_refused(method, tmp_path):
    (tmp_path / "ablations.toml").write_text(ABLATIONS + "[third.variants.wo_time]\nparameters = { time = 3 }\n")
    with pytest.raises(SpecError, match="hrt, other, third"):
        variants.find_variant(method, "wo_time")


def test_packaged_methods_are_found_without_importing_them():
    code = (
        "import sys; from bench.core.variants import load_variants; load_variants('sam_net'); "
        "loaded = {'torch', 'numpy', 'pandas', 'methods.sam_net'} & set(sys.modules); assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert variants.load_variants("random_clip") == {}


def test_settings_are_toml_values_or_words():
    settings = ["width=32", "rate=1e-3", "use=true", 'regions=["central"]', "start=noise", "name='a b'"]
    assert parse_settings(settings) == {
        "width": 32,
        "rate": 1e-3,
        "use": True,
        "regions": ["central"],
        "start": "noise",
        "name": "a b",
    }


@pytest.mark.parametrize("setting", ["width", "=3", "width=", "a b=3", "regions=[1", "x=nan"])
def test_unusable_settings_are_quoted_back(setting):
    with pytest.raises(SpecError):
        parse_settings([setting])
    with pytest.raises(SpecError, match="twice"):
        parse_settings(["a=1", "a=2"])
