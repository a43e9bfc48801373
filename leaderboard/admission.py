"""Admission: what a cell must be to stand among the committed results, whoever made it. The one place that says so.

`admit` looks at one manifest, `admit_group` at the cells that share a file, `admit_records` at all files together, and
`admit_scores` at score rows. They are asked when a store or a submission is published and when committed results are
read, so nothing stands on the board that could not have been published.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pandas as pd

from bench.core.built_in import BUILT_IN, DEFAULT_SIZE, RETIRED
from bench.core.contracts import Space
from bench.core.errors import BenchError
from bench.core.registry import role_of
from bench.core.spec import EMBEDDING, CellSpec, SpecError, canonical_json, is_submitted
from bench.core.splits import SPLITS
from bench.core.variants import find_variant, name_profiled, split_profiled
from metrics.known import KNOWN_PROTOCOLS

REPRODUCED, SUBMITTED = "reproduced", "submitted"  # doors: run here from code, or verified videos of others
ROLES = ("method", "baseline", "control", "ceiling")
SEES_BRAIN = ("method", "baseline")
CLIPS = "clips"  # the split of what sees no brain
STATUS = ("ok", "missing", "invalid")

PART = re.compile(r"[A-Za-z0-9_\-]{1,64}")
DATASET = re.compile(r"[A-Za-z0-9_\-]{1,64}(:[a-z]{1,16})?")
MOST_PARAMETERS = 10**15  # a thousand times the largest networks of today
MOST_SEEDS = 1000
MOST_TRIALS = 10**6
MOST_CELLS = 2000  # of one method in one file: 20 subjects with a hundred seeds
MOST_BYTES = 16 * 2**20  # of a manifest as JSON: a hundred thousand trials
MOST_TEXT = 4096
MOST_NUMBER = 2**63
MOST_OWNER = 128
MOST_WIDTH = 2**16  # of an embedding: far above any space of the suites

# what a manifest must hold; and what it may hold, of the right type where it does
NEEDED = {"key": str, "spec": dict, "variant": str, "role": str, "parameter_count": int, "phantom": bool}
KNOWN = {
    "embedding": dict, "files": dict, "phases": dict, "prediction_digest": str, "provenance": dict, "schema": int,
    "status_counts": dict, "trial_count": int, "video_shape": list,
}  # fmt: skip
ABOUT_EMBEDDING = {"space": str, "width": int, "concepts": int}
NEEDED_SPEC = ("dataset", "data_digest", "split", "fold", "classes", "method", "suite", "suite_digest", "seed")
SPEC = {
    name: kind
    for name, hint in get_type_hints(CellSpec).items()
    if (kind := get_origin(hint) or hint) in (str, int, bool, dict, list)
}

# words of a table that no method may be called, beside all names that the project registers
WORDS = (
    *("base", "baseline", "ceiling", "chance", "clips", "control", "floor", "human", "method", "none", "reproduced"),
    *("shuffled", "shuffled_brain", "still_frame", "submitted", "truth"),
)
ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "5": "s", "2": "z", "8": "b"})


class ResultsError(BenchError):
    """Committed results that are not what they say, or cells that cannot be committed, with the reason."""


def admit(manifest: Any, *, door: str, folds: Sequence[str] | None = None) -> None:
    """Raises ResultsError unless the manifest of one cell may stand on the board.

    `folds` names those that the data set's split has, where that is known.
    """
    check_types(manifest)
    spec = manifest["spec"]
    check_names(spec, manifest["variant"])
    what = f"cell {manifest['key']} of {spec['method']}"
    check_role(manifest, door, what)
    check_output(manifest, what)
    if manifest.get("provenance", {}).get("dirty"):
        raise ResultsError(
            f"{what} was made by code that was changed since its commit (dirty), so nobody could make it again: commit "
            "the change, run the method again, then publish"
        )
    if folds is not None and spec["fold"] not in folds:
        raise ResultsError(f"{what}: {spec['split']} has no fold {spec['fold']!r}; it has {', '.join(folds)}")
    if spec["classes"] not in (10, 20, 30, 40):
        raise ResultsError(f"{what} is of {spec['classes']} classes; allowed are 10, 20, 30 and 40")
    for name, value, most in (
        ("parameter_count", manifest["parameter_count"], MOST_PARAMETERS),
        ("seed", spec["seed"], MOST_SEEDS),
        ("trial_count", manifest.get("trial_count", 0), MOST_TRIALS),
    ):
        if not 0 <= value < most:
            raise ResultsError(f"{what}: {name} is {value:.6g}; allowed is 0 or more and less than {most:.0e}")
    for name in ("started", "peak_memory_bytes"):
        check_time(manifest.get(name), f"{what}: {name}")
    for name, value in manifest.get("phases", {}).items():
        check_time(value, f"{what}: phases[{name!r:.40}]")
    kind = spec["dataset"].partition(":")[0]
    if kind in BUILT_IN["datasets"] and manifest["phantom"] != kind.startswith("phantom_"):
        raise ResultsError(f"{what} is wrong about whether {spec['dataset']} is a phantom")
    if kind not in BUILT_IN["datasets"] and alike(kind) in RESERVED:
        raise ResultsError(f"{what}: the data set {kind!r} is called nearly as {RESERVED[alike(kind)]!r}; rename it")


def check_types(manifest: Any) -> None:
    """Raises ResultsError unless all that is asked of a manifest is there, of its type, plain and bounded."""
    if not isinstance(manifest, dict):
        raise ResultsError(f"a manifest is {type(manifest).__name__}; it must be a JSON object")
    try:
        size = len(canonical_json(manifest))
    except (SpecError, RecursionError, ValueError) as error:
        raise ResultsError(f"the manifest of cell {manifest.get('key')!r:.80} is no plain JSON: {error}") from error
    if size > MOST_BYTES:
        raise ResultsError(
            f"the manifest of cell {manifest.get('key')!r:.80} takes {size} bytes; allowed are {MOST_BYTES}"
        )
    check_table(manifest, NEEDED, KNOWN, "manifest")
    spec = manifest["spec"]
    check_table(spec, {name: SPEC[name] for name in NEEDED_SPEC}, SPEC, "manifest, spec")
    check_bounds(manifest, f"the manifest of cell {manifest['key']!r:.80}")


def check_table(table: Mapping[str, Any], needed: Mapping[str, type], known: Mapping[str, type], what: str) -> None:
    """Raises ResultsError for what is lacking and for what is of another type."""
    for name, kind in {**known, **needed}.items():
        if name not in table:
            if name in needed:
                raise ResultsError(f"{what} lacks {name!r}; it must hold {', '.join(needed)}")
        elif type(table[name]) is not kind:
            raise ResultsError(f"{what}: {name!r} is {table[name]!r:.80}; it must be {kind.__name__}")


def check_bounds(value: Any, what: str) -> None:
    """Raises ResultsError for a long text, and for a number that no file format holds."""
    if isinstance(value, dict):
        for name, one in value.items():
            check_bounds(name, what)
            check_bounds(one, f"{what}, {name:.40}")
    elif isinstance(value, list):
        for one in value:
            check_bounds(one, what)
    elif isinstance(value, str):
        if len(value) > MOST_TEXT:
            raise ResultsError(
                f"{what} holds a text of {len(value)} characters, {value[:40]!r}; allowed are {MOST_TEXT}"
            )
    elif isinstance(value, int | float) and not abs(value) < MOST_NUMBER:
        raise ResultsError(f"{what} holds the number {value:.6g}; numbers are finite and below 2^63")


def check_time(value: Any, what: str) -> None:
    """A time or a size: a finite number, not below zero; None where it was not measured."""
    if value is None:
        return
    if type(value) not in (int, float) or not (math.isfinite(value) and value >= 0):
        raise ResultsError(f"{what} is {value!r:.40}; it must be a number, 0 or more")


def check_names(spec: Mapping[str, Any], variant: str) -> None:
    """Raises ResultsError for names that make no file's name or hide what they are, and for changed variants."""
    if not DATASET.fullmatch(spec["dataset"]):
        raise ResultsError(
            f"{spec['dataset']!r:.80} cannot be committed: it is no plain name of a data set; register it"
        )
    for part in (spec["split"], spec["fold"], spec["suite"], spec["method"], *split_profiled(variant)):
        if not PART.fullmatch(part):
            raise ResultsError(
                f"{part!r:.80} cannot be committed: names have letters, digits, _ and -; register the method, name the "
                "variant in its ablations.toml, and run it again"
            )
    if name_profiled(*split_profiled(variant)) != variant:
        raise ResultsError(f"variant {variant!r} names no profile behind its @, or the one that has no mark; rename it")
    if alike(variant) == "base" and variant != "base":
        raise ResultsError(f"variant {variant!r} of {spec['method']} is called nearly as 'base'; rename it")
    if spec["method"] not in BUILT_IN["methods"] and (reserved := RESERVED.get(alike(spec["method"]))):
        raise ResultsError(
            f"method {spec['method']!r} is called as {reserved!r}, a name or a word of the project, or nearly so; give "
            "it a name of its own"
        )


def check_role(manifest: Mapping[str, Any], door: str, what: str) -> None:
    """Raises ResultsError unless role, split and name fit: the registry alone gives a role; `clips` sees no brain."""
    spec, role = manifest["spec"], manifest["role"]
    if door not in (REPRODUCED, SUBMITTED):
        raise ResultsError(f"{what} came through the door {door!r:.40}; there are {REPRODUCED} and {SUBMITTED}")
    if role not in ROLES or role != role_of(spec["method"]):
        raise ResultsError(f"{what} calls itself a {role!r:.40}; {spec['method']} is a {role_of(spec['method'])} here")
    if door == SUBMITTED and role not in SEES_BRAIN:
        raise ResultsError(f"{what} holds a {role}; only methods and baselines are submitted")
    if is_submitted(spec) and door != SUBMITTED:
        raise ResultsError(f"{what} holds videos that were submitted: pack them, and `publish --bundle`")
    if is_submitted(spec) and spec["method"] in BUILT_IN["methods"]:
        raise ResultsError(
            f"{what} holds videos made elsewhere, under the name of a method that runs here; submit them again"
        )
    entry = BUILT_IN["methods"].get(spec["method"])
    blind = entry.modality == "none" if entry else RETIRED.get(spec["method"]) == "control"
    if spec["split"] not in (*SPLITS, CLIPS):
        raise ResultsError(f"{what} is of split {spec['split']!r}; there are {', '.join(SPLITS)}")
    if blind != (spec["split"] == CLIPS):
        raise ResultsError(
            f"{what} is of split {spec['split']!r}; `clips` is for floors and ceilings that see no brain"
        )


def check_output(manifest: Mapping[str, Any], what: str) -> None:
    """Raises ResultsError unless the cell is one of videos, or one of embeddings that says where these lie."""
    output, about = manifest["spec"].get("output", ""), manifest.get("embedding")
    if output not in ("", EMBEDDING):
        raise ResultsError(f"{what} holds its {output!r:.40}; a cell holds videos, or {EMBEDDING}s (run --no-video)")
    if (about is not None) != (output == EMBEDDING):
        told = "says nothing of its embeddings" if output else "holds videos, and tells of embeddings"
        raise ResultsError(f"{what} {told}; run it again with this version")
    if about is None:
        return
    check_table(about, ABOUT_EMBEDDING, {}, f"{what}, embedding")
    if about["space"] not in get_args(Space):
        raise ResultsError(f"{what} embeds in {about['space']!r:.40}; there are {', '.join(get_args(Space))}")
    for name, most in (("width", MOST_WIDTH), ("concepts", manifest["spec"]["classes"])):
        if not 1 <= about[name] <= most:
            raise ResultsError(f"{what}: embedding, {name} is {about[name]}; allowed is 1 to {most}")


def check_variant(manifest: Mapping[str, Any]) -> None:
    """Raises ResultsError where a method of the project is said to be one of its variants, and has other parameters."""
    spec, variant = manifest["spec"], manifest["variant"]
    if spec["method"] in BUILT_IN["methods"] and spec.get("parameters") != find_variant(spec["method"], variant):
        raise ResultsError(f"cell {manifest['key']} is not {spec['method']} {variant}: its parameters are others")


def admit_group(manifests: Sequence[Mapping[str, Any]], what: str) -> None:
    """Raises ResultsError unless the cells of one file are each of another fold and seed, with the seeds 0 to n − 1."""
    if len(manifests) > MOST_CELLS:
        raise ResultsError(f"{what} has {len(manifests)} cells; allowed are {MOST_CELLS}")
    claims = Counter((one["spec"]["fold"], one["spec"]["seed"]) for one in manifests)
    fold, seed = claims.most_common(1)[0][0]
    if claims[fold, seed] > 1:
        raise ResultsError(f"{what} has {claims[fold, seed]} cells of fold {fold} with seed {seed}; remove all but one")
    seeds = sorted({seed for _, seed in claims})
    if seeds != list(range(len(seeds))):
        raise ResultsError(
            f"{what} has the seeds {', '.join(map(str, seeds[:8]))}; the rules fix them: 0, 1, 2 … without a gap, so "
            "that nobody chooses the best (`run --seeds N`)"
        )


def admit_records(records: Mapping[Path, Mapping[str, Any]]) -> None:
    """Raises ResultsError where files contradict each other: whose a name is, names that look alike, data, networks."""
    owners: dict[str, tuple[str, str, Path]] = {}
    made_from: dict[tuple[str, str], tuple[str, str, Path]] = {}
    called: dict[str, tuple[str, Path]] = {}
    for path, record in records.items():
        for spec in {(one["spec"]["method"], *source_of(one["spec"])) for one in record["cells"]}:
            method, dataset, suite, data_digest, suite_digest = spec
            owner = owner_of(record)
            name, first, where = owners.setdefault(alike(method), (method, owner, path))
            if name != method:
                raise ResultsError(f"{path}: {method!r} is called nearly as {name!r} of {where}; give it another name")
            if owner != first:
                raise ResultsError(
                    f"{path}: the name {method} belongs to who published it first ({first}, {where}), and this is of "
                    f"{owner}: give the method another name, or remove the file"
                )
            source = made_from.setdefault((dataset, suite), (data_digest, suite_digest, path))
            if source[:2] != (data_digest, suite_digest):
                raise ResultsError(
                    f"{path} and {source[2]} were made from different {dataset} data or {suite} networks; run the "
                    "older one again and publish it"
                )
            other, where = called.setdefault(data_digest, (dataset, path))
            if other != dataset:
                raise ResultsError(f"{path} is of {dataset}, which is the same data as {other} of {where}; name it so")


def source_of(spec: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return canonical_dataset(spec["dataset"]), spec["suite"], spec["data_digest"], spec["suite_digest"]


def owner_of(record: Mapping[str, Any]) -> str:
    """Whose a record's name is: the submitter's, or nobody's but of who runs the bench here."""
    door = record.get("door", REPRODUCED)
    return f"{door} by {record['owner']}" if record.get("owner") else str(door)


def check_owner(owner: str) -> str:
    """The submitter as it is recorded. Raises ResultsError for what is no short line."""
    plain = " ".join(unicodedata.normalize("NFKC", owner).split())
    if not plain or len(plain) > MOST_OWNER or not plain.isprintable():
        raise ResultsError(f"submitter {owner[:40]!r}: it must be a name or an address of 1 to {MOST_OWNER} characters")
    return plain


def admit_scores(rows: pd.DataFrame, what: str, *, output: str = "") -> None:
    """Raises ResultsError for scores that are not finite, beyond their metric's bounds, or of no metric of the project.

    rows: protocol, metric, status, value, shuffled; bounds to seven digits, as scores are kept as float32. Of an error
    the upper end is only what a missing clip scores: a clip may be worse, but not ten times. `output` is that of the
    rows' cells: the protocol `embedding` is of embeddings alone, and they have no other.
    """
    if strange := sorted(set(rows["status"].unique()) - set(STATUS)):
        raise ResultsError(f"{what} has scores of status {strange[0]!r:.40}; there are {', '.join(STATUS)}")
    scores = rows[["value", "shuffled"]].to_numpy(np.float64)
    groups: dict[Any, Any] = rows.groupby(["protocol", "metric"]).indices
    for (protocol, metric), places in groups.items():
        known = {one.name: one for one in KNOWN_PROTOCOLS[str(protocol)].metrics} if protocol in KNOWN_PROTOCOLS else {}
        if metric not in known:
            raise ResultsError(f"{what} has scores of {protocol}/{metric}, which is no metric of the project")
        if (protocol == EMBEDDING) != (output == EMBEDDING):
            raise ResultsError(f"{what} has scores of {protocol}/{metric}, and holds {output or 'video'}s")
        values = scores[places]
        spec = known[str(metric)]
        low, high = spec.lo, spec.hi if spec.direction == "higher" else 10 * spec.hi
        slack = 1e-6 * max(1.0, abs(low), abs(high) if math.isfinite(high) else 1.0)
        if not (np.isfinite(values) & (values >= low - slack) & (values <= high + slack)).all():
            raise ResultsError(
                f"{what} has a score of {protocol}/{metric} that is no number of {low:.4g} to {high:.4g}"
            )


def canonical_dataset(name: str) -> str:
    """The one name of a data set that has several: a phantom without a size is of the default size."""
    kind, _, size = name.partition(":")
    return kind if kind.startswith("phantom_") and size in ("", DEFAULT_SIZE) else name


def alike(name: str) -> str:
    """What names that a hasty reader takes for each other have in common: case, marks and look-alikes are dropped."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    plain = "".join(one for one in plain if one.isalnum())
    return plain.translate(ALIKE).replace("rn", "m").replace("vv", "w")


def reserve(words: Iterable[str]) -> dict[str, str]:
    return {alike(word): word for word in words}


RESERVED = reserve((*WORDS, *(name for kind in BUILT_IN for name in BUILT_IN[kind])))
