"""Frozen descriptions of a unit of work and their canonical digest; named variants of a method.

A key is the digest of everything that determines a result and of nothing else: a variant's *name* is no part of it,
its parameters are. The canonical form is JSON with sorted keys, tuples as lists and floats by their shortest `repr`,
so the same spec has the same key in every process, on every platform, whatever the order of its keys.

`ablations.toml`, beside a method's package, names changes of its parameters in groups:

    [hrt]
    base = "base"                     # optional: the name that the unchanged method has in this group
    split = "cross_subject"           # optional: the split that the paper reports it on
    [hrt.variants.wo_frontal]
    label = "B. w/o frontal region"
    parameters = { regions = ["central", "occipital"] }
    capacity_matched = { width = 40 } # optional: more changes that give back the removed parameters

The last line adds a variant `wo_frontal_matched` with `parameters` and `capacity_matched` together, so that a
difference can be told from one of size alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.registry import UnknownName, names, suggest, target

KEY_LENGTH = 16  # hex digits of a key: 64 bits, no collision in any store that fits a disk


class SpecError(BenchError):
    """A spec, a parameter or a variant file that cannot be used."""


def canonical_json(value: Any) -> str:
    """The one JSON text of a value of dicts with text keys, lists, tuples, texts, numbers, booleans and None.

    Raises SpecError for NaN, infinities, keys that are no text and any other type: a digest must not rest on a
    `repr` that may change.
    """
    check_plain(value, "value")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def check_plain(value: Any, where: str) -> None:
    """Raises SpecError, naming the place, for what the canonical form cannot hold."""
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise SpecError(f"{where} has the key {key!r} ({type(key).__name__}); keys must be text")
            check_plain(item, f"{where}[{key!r}]")
    elif kind in (list, tuple):
        for index, item in enumerate(value):
            check_plain(item, f"{where}[{index}]")
    elif kind is float:
        if not math.isfinite(value):
            raise SpecError(f"{where} is {value}; numbers in a spec must be finite (leave an absent one out, or None)")
    elif kind not in (str, int, bool, type(None)):
        raise SpecError(
            f"{where} is {value!r} of type {kind.__module__}.{kind.__name__}; a spec holds plain Python values "
            "(text, int, float, bool, None, lists, dicts): convert it, e.g. with .item() or .tolist()"
        )


def digest(value: Any) -> str:
    """sha256 (64 hex digits) of the canonical form."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class CellSpec:
    """All that determines the predictions of one cell: one method variant on one fold with one seed."""

    dataset: str
    data_digest: str
    split: str
    fold: str
    classes: int
    method: str
    method_version: int
    parameters: dict[str, Any]
    suite: str
    suite_digest: str
    seed: int
    source: str = ""  # digest of the file of a `path/file.py:Class`, which nobody versions while trying things out

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def key(self) -> str:
        return digest(self.as_dict())[:KEY_LENGTH]


@dataclass(frozen=True, kw_only=True)
class ScoreSpec:
    """All that determines the scores of one metric on one cell; `judge_digest` is empty where no judge is asked, and
    of the file too where the metric lies in one."""

    prediction_digest: str
    protocol: str
    metric: str
    metric_version: int
    judge_digest: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def key(self) -> str:
        return digest(self.as_dict())[:KEY_LENGTH]


Group = dict[str, dict[str, Any]]


def load_variants(method: str) -> dict[str, Group]:
    """Parameters by group and variant of a method; empty where it has no `ablations.toml`. Imports no method.

    A group's base comes first, with no parameters. Raises SpecError for a malformed file, UnknownName for a method
    that does not exist.
    """
    path = variant_file(method)
    return {name: read_group(path, name, table) for name, table in read_toml(path).items()}


def read_group(path: Path, name: str, table: Any) -> Group:
    if not isinstance(table, dict) or set(table) - {"base", "split", "variants"}:
        raise SpecError(f"{path}: [{name}] may hold base, split and variants, not {found(table)}")
    group: Group = {table.get("base", "base"): {}}
    for variant, entry in table.get("variants", {}).items():
        where = f"{path}: [{name}.variants.{variant}]"
        if not isinstance(entry, dict) or set(entry) - {"label", "parameters", "capacity_matched"}:
            raise SpecError(f"{where} may hold label, parameters and capacity_matched, not {found(entry)}")
        if not isinstance(entry.get("parameters"), dict):
            raise SpecError(f"{where} lacks its parameters; write parameters = {{ name = value }}")
        made = {variant: entry["parameters"]}
        if "capacity_matched" in entry:
            made[f"{variant}_matched"] = {**entry["parameters"], **entry["capacity_matched"]}
        for one, parameters in made.items():
            if one in group:
                raise SpecError(f"{where}: the group has a variant {one!r} already; name it otherwise")
            check_plain(parameters, f"{where} parameters")
            group[one] = parameters
    return group


def find_group(method: str, group: str) -> Group:
    """The variants of one group, its base first; raises UnknownName with what is near and all there are."""
    groups = load_variants(method)
    if group not in groups:
        raise unknown("ablation", group, method, groups)
    return groups[group]


def find_owner(group: str) -> str:
    """The method that has a group of that name, the first of those registered; raises UnknownName."""
    methods = names("methods")
    owner = next((method for method in methods if group in load_variants(method)), None)
    if owner is None:
        known = sorted({name for method in methods for name in load_variants(method)})
        raise UnknownName(f"no method has an ablation {group!r}; there are {', '.join(known)}")
    return owner


def find_variant(method: str, variant: str) -> dict[str, Any]:
    """The parameters of a variant, whichever group names it; raises UnknownName, or SpecError if groups disagree."""
    groups = load_variants(method)
    named = {name: group[variant] for name, group in groups.items() if variant in group}
    if not named:
        if variant == "base":
            return {}
        raise unknown(
            "variant", variant, method, list(dict.fromkeys(one for group in groups.values() for one in group))
        )
    first = next(iter(named.values()))
    if any(parameters != first for parameters in named.values()):
        raise SpecError(f"variant {variant!r} of {method} means different parameters in {', '.join(named)}; rename one")
    return first


def group_split(method: str, group: str) -> str | None:
    """The split that a group names for itself, if it does."""
    find_group(method, group)
    return read_toml(variant_file(method))[group].get("split")


def unknown(kind: str, name: str, method: str, known: Sequence[str] | Mapping[str, Any]) -> UnknownName:
    if not known:
        return UnknownName(f"unknown {kind} {name!r}: {method} names none (it has no ablations.toml)")
    return UnknownName(f"unknown {kind} {name!r} of {method}{suggest(name, known)}; it has {', '.join(known)}")


def variant_file(method: str) -> Path:
    """Where the method's variants would be written: beside its package or its file. Nothing is imported.

    `importlib.util.find_spec` of a nested package would import its parents, and with them perhaps torch, so only the
    top-level package is asked where it lies.
    """
    module = target("methods", method).rpartition(":")[0]
    if module.endswith(".py"):
        return Path(module).parent / "ablations.toml"
    top, *rest = module.split(".")
    found_spec = importlib.util.find_spec(top)
    places = (found_spec.submodule_search_locations or []) if found_spec else []
    candidates = [
        Path(place, *rest[:depth], "ablations.toml") for place in places for depth in (len(rest), len(rest) - 1)
    ]
    return next((path for path in candidates if path.is_file()), Path(top, *rest, "ablations.toml"))


def read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is no valid TOML: {error}") from error


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Parameters from texts like `width=32`: TOML values, and bare words as text. Raises SpecError."""
    parameters: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name, text = name.strip(), text.strip()
        if not equals or not name.isidentifier() or not text:
            raise SpecError(f'--set {setting!r} is not NAME=VALUE, for example width=32 or regions=["central"]')
        if name in parameters:
            raise SpecError(f"--set names {name!r} twice; give it once")
        try:
            parameters[name] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError as error:
            if not text.replace("_", "").replace("-", "").isalnum():
                raise SpecError(f"--set {setting!r}: {text!r} is no TOML value ({error}); quote texts") from error
            parameters[name] = text
        check_plain(parameters[name], f"--set {name}")
    return parameters


def found(table: Any) -> str:
    return ", ".join(table) if isinstance(table, dict) else repr(table)
