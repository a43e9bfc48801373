"""Named variants of a method: changes of its parameters, in groups, beside the method's package.

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

A profile is a method's own size, steps, rates and batches, as its paper or its released code has them:

    [profile.paper]
    label = "24 layers, width 2048"   # optional
    [profile.paper.parameters]
    width = 2048

It goes with every variant and every group: the parameters are the defaults, changed by the profile, then by the
variant, whose own change wins. Such a variant is called `wo_frontal@paper`; the profile `mini` is the defaults
themselves, and has no mark.

What a package offers beside its method, such as a ceiling, takes other parameters. It has tables of its own in place of
all these, by its class:

    [others.MineWithAnswers.profile.paper]
    parameters = { steps = 50 }

The group `readouts` is written here, once for every method that gives a generator text (`SHARED`): what the generator
is given of what was read is a factor that is crossed with methods, and belongs to none.
"""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.registry import UnknownName, names, suggest, takes_read_out, target
from bench.core.spec import SpecError, check_plain

Group = dict[str, dict[str, Any]]
Side = tuple[str, str]  # a method and its variant

MINI = "mini"  # the profile that changes nothing
PROFILE = "profile"  # the table of a method's profiles, which is no group
OTHERS = "others"  # of other classes of the package
READ_OUTS = "readouts"
BASE_READ_OUT = "nearest_concept"  # of every method
SHARED: dict[str, dict[str, Any]] = {  # of methods that take read-outs, as `ablations.toml` would say it
    READ_OUTS: {
        "split": "cross_subject",
        "variants": {
            "nearest_caption": {"label": "nearest training caption", "parameters": {"read_out": "nearest_caption"}},
            "regressed": {"label": "as regressed", "parameters": {"read_out": "regressed"}},
        },
    }
}


def load_variants(method: str) -> dict[str, Group]:
    """Parameters by group and variant of a method; empty where it has none. Imports no method.

    A group's base comes first, with no parameters. Raises SpecError for a malformed file, UnknownName for a method
    that does not exist.
    """
    path = variant_file(method)
    return {name: read_group(path, name, table) for name, table in read_tables(method).items()}


def read_tables(method: str) -> dict[str, Any]:
    """What the method's file says of each group, and what is said of `SHARED` groups once for all."""
    shared = SHARED if takes_read_out(method) else {}
    groups = {name: table for name, table in read_own(method).items() if name != PROFILE}
    return {**groups, **shared}


def read_own(method: str) -> dict[str, Any]:
    """The tables of the method's file: those of its class alone where there are such, else all but those of others."""
    path = variant_file(method)
    tables = read_toml(path)
    others = tables.pop(OTHERS, {})
    if not isinstance(others, dict) or not all(isinstance(table, dict) for table in others.values()):
        raise SpecError(f"{path}: [{OTHERS}] holds tables of a class each, not {others!r}")
    return dict(others.get(target("methods", method).rpartition(":")[2], tables))


def load_profiles(method: str) -> dict[str, dict[str, Any]]:
    """Parameters by profile of a method, `mini` first, which has none. Imports no method; raises as `load_variants`."""
    path = variant_file(method)
    profiles: dict[str, dict[str, Any]] = {MINI: {}}
    tables = read_own(method).get(PROFILE, {})
    if not isinstance(tables, dict):
        raise SpecError(f"{path}: [{PROFILE}] holds a table a profile, not {tables!r}")
    for name, entry in tables.items():
        where = f"{path}: [{PROFILE}.{name}]"
        if name == MINI:
            raise SpecError(f"{where}: {MINI} is the defaults themselves and cannot be changed; name it otherwise")
        if not isinstance(entry, dict) or set(entry) - {"label", "parameters"}:
            raise SpecError(f"{where} may hold label and parameters, not {list_keys(entry)}")
        if not isinstance(entry.get("parameters"), dict):
            raise SpecError(f"{where} lacks its parameters; write parameters = {{ name = value }}")
        check_plain(entry["parameters"], f"{where} parameters")
        profiles[name] = entry["parameters"]
    return profiles


def find_profile(method: str, profile: str) -> dict[str, Any]:
    """The parameters of a method's profile; raises UnknownName with what it has, and who has that one."""
    profiles = load_profiles(method)
    if profile not in profiles:
        having = [name for name in names("methods") if has_profile(name, profile)]
        others = f"; {', '.join(having)} have it" if having else ""
        raise UnknownName(
            f"{method} has no profile {profile!r}{suggest(profile, profiles)}: it has {', '.join(profiles)}{others}"
        )
    return profiles[profile]


def has_profile(method: str, profile: str) -> bool:
    """Whether a method has the profile; not where it is unknown here, or its file is malformed."""
    try:
        return profile in load_profiles(method)
    except BenchError:
        return profile == MINI


def check_profile(profile: str) -> None:
    """Raises UnknownName for a profile that no method has."""
    known = list(dict.fromkeys(name for method in names("methods") for name in load_readable_profiles(method)))
    if profile not in known:
        raise UnknownName(f"no method has a profile {profile!r}{suggest(profile, known)}; there are {', '.join(known)}")


def load_readable_profiles(method: str) -> dict[str, dict[str, Any]]:
    """As `load_profiles`; `mini` alone where the file is malformed."""
    try:
        return load_profiles(method)
    except BenchError:
        return {MINI: {}}


def name_profiled(variant: str, profile: str) -> str:
    """What a variant is called in a profile: `wo_frontal@paper`, and by its own name in `mini`."""
    return variant if profile == MINI else f"{variant}@{profile}"


def name_in(method: str, variant: str, profile: str) -> str:
    """A variant's name in a profile that its method must have.

    Raises UnknownName where it has not, and SpecError where the variant names another.
    """
    own = split_profiled(variant)[1]
    if own not in (MINI, profile) and profile != MINI:
        raise SpecError(f"variant {variant!r} names its profile itself, and {profile!r} is asked for; leave one out")
    find_profile(method, profile)
    return variant if own != MINI else name_profiled(variant, profile)


def name_where_sized(method: str, variant: str, profile: str) -> str:
    """A variant's name in a profile where its method has that one; else the variant itself, as of what has no sizes."""
    return name_in(method, variant, profile) if profile != MINI and has_profile(method, profile) else variant


def is_in_profile(method: str, variant: str, profile: str) -> bool:
    """Whether a table of a profile shows a variant: that of the profile, and what has no such sizes, in `mini`."""
    own = split_profiled(variant)[1]
    return own == profile or (own == MINI and not has_profile(method, profile))


def split_profiled(variant: str) -> tuple[str, str]:
    """The variant and its profile, of what `name_profiled` made; a change by `--set` stays with the variant."""
    name, bracket, changed = variant.partition("[")
    plain, _, profile = name.partition("@")
    return f"{plain}{bracket}{changed}", profile or MINI


def read_group(path: Path, name: str, table: Any) -> Group:
    if not isinstance(table, dict) or set(table) - {"base", "split", "variants"}:
        raise SpecError(f"{path}: [{name}] may hold base, split and variants, not {list_keys(table)}")
    group: Group = {table.get("base", "base"): {}}
    for variant, entry in table.get("variants", {}).items():
        where = f"{path}: [{name}.variants.{variant}]"
        if not isinstance(entry, dict) or set(entry) - {"label", "parameters", "capacity_matched"}:
            raise SpecError(f"{where} may hold label, parameters and capacity_matched, not {list_keys(entry)}")
        if not isinstance(entry.get("parameters"), dict):
            raise SpecError(f"{where} lacks its parameters; write parameters = {{ name = value }}")
        parameter_sets = {variant: entry["parameters"]}
        if "capacity_matched" in entry:
            parameter_sets[f"{variant}_matched"] = {**entry["parameters"], **entry["capacity_matched"]}
        for one, parameters in parameter_sets.items():
            if one in group:
                raise SpecError(f"{where}: the group has a variant {one!r} already; name it otherwise")
            check_plain(parameters, f"{where} parameters")
            group[one] = parameters
    return group


def find_group(method: str, group: str, profile: str = MINI) -> Group:
    """The variants of one group in a profile, its base first.

    Raises UnknownName with what is near and all there are.
    """
    groups = load_variants(method)
    if group not in groups:
        raise unknown("ablation", group, method, groups)
    sizes = find_profile(method, profile)
    return {name_profiled(name, profile): {**sizes, **own} for name, own in groups[group].items()}


def find_owner(group: str) -> str:
    """The method that has a group of that name, the first of those registered; raises UnknownName."""
    groups = {method: load_readable(method) for method in names("methods")}
    owner = next((method for method, own in groups.items() if group in own), None)
    if owner is None:
        known = sorted({name for own in groups.values() for name in own})
        raise UnknownName(f"no method has an ablation {group!r}; there are {', '.join(known)}")
    return owner


def load_readable(method: str) -> dict[str, Group]:
    """As `load_variants`; empty where the file is malformed, which is the affair of the package that it came with."""
    try:
        return load_variants(method)
    except BenchError:
        return {}


def find_variant(method: str, variant: str) -> dict[str, Any]:
    """The parameters of a variant, whichever group names it, and of its profile where it is called `variant@profile`.

    Raises UnknownName, or SpecError if groups disagree.
    """
    variant, profile = split_profiled(variant)
    if profile != MINI:
        return {**find_profile(method, profile), **find_variant(method, variant)}
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
    return read_tables(method)[group].get("split")


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
    try:
        found_spec = importlib.util.find_spec(top)
    except (ValueError, ImportError):  # a script or a notebook, which is no package; or an import hook's objection
        found_spec = None
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


def list_keys(table: Any) -> str:
    return ", ".join(table) if isinstance(table, dict) else repr(table)


def name_side(side: Side) -> str:
    """`method`, or `method:variant` for another than the base."""
    return side[0] if side[1] == "base" else ":".join(side)


def parse_side(text: str) -> Side:
    """A method and its variant, of `method`, `method:variant`, or either behind a `path/file.py:Class`."""
    path, dot, rest = text.rpartition(".py:")
    method, _, variant = rest.partition(":")
    return f"{path}{dot}{method}" if dot else method, variant or "base"
