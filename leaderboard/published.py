"""Committed sets of published videos: what authors showed of their reconstructions, scored clip by clip.

    leaderboard/results/published/<name>.json      whose they are, where they lie, what scored them
    leaderboard/results/published/<name>.parquet   rows of `bench.score`: a row a clip and metric, and one of each set

Videos stay where their authors put them: the digest of their names and pixels says which were scored. Most such sets
are samples that their authors chose; `chosen` says so, and nothing is ever ranked by them.

A set is written whole or not at all (`leaderboard.amending`), and verified whenever it is read: both files by their
digests, names and scores by the rules of `leaderboard.admission`. Values are kept as float32.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.core.built_in import BUILT_IN
from bench.core.registry import role_of
from bench.core.spec import SpecError, canonical_json, digest
from leaderboard.admission import (
    DATASET,
    MOST_TRIALS,
    PART,
    RESERVED,
    SEES_BRAIN,
    SUBMITTED,
    ResultsError,
    admit_scores,
    alike,
    check_bounds,
    check_owner,
    check_table,
)
from leaderboard.amending import amending, settled
from leaderboard.results import current_version
from leaderboard.standing import ALL_CLIPS, FLOORS, LEFT_OUT
from metrics.protocols import PROTOCOLS

FOLDER = "published"  # below the results
SCHEMA = 1
TEXTS = ["clip", "protocol", "metric", "direction", "status", "suite", "judge"]
NUMBERS = ["chance", "value", *FLOORS]
COLUMNS = [*TEXTS[:3], "direction", "chance", "held", "status", "value", *FLOORS, "suite", "judge"]
NEEDED_COLUMNS = [*COLUMNS[:8], "suite", "judge", "note"]

GIVEN = {  # what whoever publishes says of a set
    "name": str, "dataset": str, "method": str, "source": str, "licence": str, "chosen": bool, "owner": str,
    "suite": str, "judges": dict, "provenance": dict, "video_digest": str,
}  # fmt: skip
MADE = {  # what is made of that and of the scores
    "schema": int, "door": str, "clips": int, "protocols": list, "metric_versions": dict, "left_out": dict,
    "scores_sha256": str, "record_digest": str,
}  # fmt: skip
ABSENT = ("subject", "of")  # numbers, or None where nobody says them
URL = re.compile(r"https?://[^\s\"'<>\\^`{|}]{3,500}")
HEX = re.compile(r"[0-9a-f]{16,64}")
MOST_CLIP = 128  # characters of a clip's name


@dataclass(frozen=True, kw_only=True)
class PublishedSet:
    """One set as it is committed: its record, and its rows in the order of protocol, metric and clip."""

    record: Mapping[str, Any]
    rows: pd.DataFrame

    @property
    def name(self) -> str:
        return str(self.record["name"])

    @property
    def phantom(self) -> bool:
        return str(self.record["dataset"]).startswith("phantom_")


def write_published(folder: Path, about: Mapping[str, Any], scored: pd.DataFrame) -> list[Path]:
    """Put a set of published videos into the results `folder`, whole or not at all, and return its two files.

    `about` holds name, dataset, subject (None where nobody says it), method, source (URL of the videos), licence,
    chosen (whether their authors chose them), of (how many the whole set has, or None), owner, suite, judges (name:
    digest), provenance (of the code that scored them) and video_digest (of the names and pixels of what was scored).
    `scored` is what `bench.score` returned, of one or more protocols; of metrics that were left out the record keeps
    why. A set of the same name and owner is replaced.

    Raises ResultsError where anything may not be there, and where the name is another owner's; nothing is written then.
    """
    record = make_record(about, scored)
    content = pack_rows(scored, record)
    record["scores_sha256"] = hashlib.sha256(content).hexdigest()
    record["record_digest"] = digest(record)
    with amending(folder) as draft:
        path = draft / FOLDER / f"{record['name']}.json"
        if path.is_file() and (owner := read_record(path)["owner"]) != record["owner"]:
            raise ResultsError(
                f"the name {record['name']} belongs to who published it first ({owner}), and this is of "
                f"{record['owner']}: give the set another name, or remove {path.name} and its scores"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".parquet").write_bytes(content)
        path.write_text(canonical_json(record) + "\n", encoding="utf-8")
        read_published(draft)
    return [folder / FOLDER / f"{record['name']}{end}" for end in (".json", ".parquet")]


def read_published(folder: Path) -> list[PublishedSet]:
    """All sets below the results `folder`, by name; an empty list where there are none.

    Raises ResultsError for a file that is not what its digest says, for what may not be there, for scores without a
    record, and for two names that a reader takes for each other.
    """
    with settled(folder):
        paths = sorted((folder / FOLDER).glob("*.json"))
        alone = sorted(path for path in (folder / FOLDER).glob("*.parquet") if path.with_suffix(".json") not in paths)
        if alone:
            raise ResultsError(
                f"{alone[0].with_suffix('.json')} is missing, and its scores are there; publish them again"
            )
        called: dict[str, str] = {}
        for path in paths:
            if (name := called.setdefault(alike(path.stem), path.stem)) != path.stem:
                raise ResultsError(f"{path}: {path.stem!r} is called nearly as {name!r}; give it another name")
        return [read_set(path) for path in paths]


def read_set(path: Path) -> PublishedSet:
    """One set, verified. Raises ResultsError."""
    record = read_record(path)
    try:
        content = path.with_suffix(".parquet").read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise ResultsError(f"{path.with_suffix('.parquet')} cannot be read ({reason}); publish it again") from error
    if hashlib.sha256(content).hexdigest() != record["scores_sha256"]:
        raise ResultsError(f"{path.with_suffix('.parquet')} is not what {path.name} says; publish it again")
    rows = pq.read_table(pa.BufferReader(content)).to_pandas()
    admit_rows(rows, record, str(path.with_suffix(".parquet")))
    return PublishedSet(record=record, rows=rows.astype(dict.fromkeys(NUMBERS, np.float64)))


def read_record(path: Path) -> dict[str, Any]:
    """The record of a set. Raises ResultsError where it is not what its own digest says, or may not be there."""
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise ResultsError(f"{path} cannot be read ({error.strerror or error}); publish it again") from error
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} holds no published set ({error}); publish it again") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ResultsError(f"{path} holds no published set of schema {SCHEMA}; publish it again")
    check_table(record, {**GIVEN, **MADE}, {}, str(path))
    check_record(record, str(path))
    if record["name"] != path.stem:
        raise ResultsError(f"{path} holds the set {record['name']}, which belongs into {record['name']}.json")
    rest = {name: value for name, value in record.items() if name != "record_digest"}
    if record["record_digest"] != digest(rest):
        raise ResultsError(f"{path} is not what its own digest says; publish it again")
    return record


def make_record(about: Mapping[str, Any], scored: pd.DataFrame) -> dict[str, Any]:
    """The record of a set without its digests. Raises ResultsError for what may not be there."""
    given = dict(about)
    what = f"the set {given.get('name')!r:.80}"
    known = {*GIVEN, *ABSENT}
    if strange := sorted(set(given) - known):
        raise ResultsError(f"{what} says {strange[0]!r:.80}; known are {', '.join(sorted(known))}")
    check_table(given, GIVEN, {}, what)
    if lacking := [name for name in NEEDED_COLUMNS if name not in scored]:
        raise ResultsError(f"the scores of {what} lack {lacking[0]!r}; give what bench.score returned")
    absent = scored[scored["status"] == LEFT_OUT]
    notes = dict(zip(absent["protocol"] + "." + absent["metric"], absent["note"].map(str), strict=True))
    scored = scored[scored["status"] != LEFT_OUT]
    named = sorted({*zip(scored["protocol"], scored["metric"], strict=True)})
    record = {
        **given,
        **{name: given.get(name) for name in ABSENT},
        "owner": check_owner(given["owner"]),
        "schema": SCHEMA,
        "door": SUBMITTED,
        "clips": int(scored.loc[scored["clip"] != ALL_CLIPS, "clip"].nunique()),
        "protocols": sorted({protocol for protocol, _ in named}),
        "metric_versions": {f"{protocol}.{metric}": current_version(protocol, metric) for protocol, metric in named},
        "left_out": dict(sorted(notes.items())),
    }
    check_record(record, what)
    return record


def check_record(record: Mapping[str, Any], what: str) -> None:
    """Raises ResultsError for names, numbers and texts that may not be on the board."""
    try:
        canonical_json(dict(record))
    except (SpecError, RecursionError, ValueError) as error:
        raise ResultsError(f"{what} is no plain JSON: {error}") from error
    check_bounds(dict(record), what)
    if record["door"] != SUBMITTED:
        raise ResultsError(f"{what} came through the door {record['door']!r:.40}; published videos are {SUBMITTED}")
    if not DATASET.fullmatch(record["dataset"]):
        raise ResultsError(f"{what}: {record['dataset']!r:.80} is no plain name of a data set")
    for part in (record["name"], record["method"], record["suite"]):
        if not PART.fullmatch(part):
            raise ResultsError(f"{what}: {part!r:.80} cannot be committed: names have letters, digits, _ and -")
    kind = record["dataset"].partition(":")[0]
    if kind not in BUILT_IN["datasets"] and alike(kind) in RESERVED:
        raise ResultsError(f"{what}: the data set {kind!r} is called nearly as {RESERVED[alike(kind)]!r}; rename it")
    method = record["method"]
    if method in BUILT_IN["methods"]:
        if role_of(method) not in SEES_BRAIN:
            raise ResultsError(
                f"{what}: {method} is a {role_of(method)} here; only methods and baselines are submitted"
            )
    elif alike(method) in RESERVED:
        raise ResultsError(f"{what}: method {method!r} is called nearly as {RESERVED[alike(method)]!r}; rename it")
    if not URL.fullmatch(record["source"]):
        raise ResultsError(f"{what}: source {record['source']!r:.80} is no URL; say where the videos lie, https://…")
    for name in ("licence", "owner"):
        if not record[name].strip() or not record[name].isprintable() or len(record[name]) > 256:
            raise ResultsError(f"{what}: {name} {record[name]!r:.40} must be one line of 1 to 256 characters")
    for name, value in ({"video_digest": record["video_digest"]} | record["judges"]).items():
        if not (isinstance(value, str) and HEX.fullmatch(value)) or len(name) > MOST_CLIP:
            raise ResultsError(f"{what}: the digest of {name!r:.80} is {value!r:.80}; it must be 16 to 64 hex digits")
    for name in (*ABSENT, "clips"):
        value = record.get(name)
        if value is None and name in ABSENT:
            continue
        if type(value) is not int or not 0 < value < MOST_TRIALS:
            raise ResultsError(f"{what}: {name!r} is {value!r:.40}; it must be a whole number above 0")
    clips, whole = record["clips"], record.get("of")
    if whole is not None and whole < clips:
        raise ResultsError(f"{what} has {clips} clips of {whole}; of is how many the whole set has")
    if not record["chosen"] and whole != clips:
        raise ResultsError(
            f"{what} has {clips} clips of {whole or 'nobody says how many'} and is not called chosen: only a whole set "
            "is not chosen"
        )


def admit_rows(rows: pd.DataFrame, record: Mapping[str, Any], what: str) -> None:
    """Raises ResultsError unless the rows are what the record says, each score once and within its bounds."""
    if list(rows) != COLUMNS:
        raise ResultsError(f"{what} has the columns {', '.join(map(str, rows))}; it must have {', '.join(COLUMNS)}")
    if not all(isinstance(text, str) for name in TEXTS for text in rows[name].unique()) or rows["held"].dtype != bool:
        raise ResultsError(f"{what} has texts or marks of another type")
    for clip in rows["clip"].unique():
        if not 0 < len(clip) <= MOST_CLIP or not clip.isprintable():
            raise ResultsError(f"{what} has a clip {clip!r:.80}; a name is a line of 1 to {MOST_CLIP} characters")
    if rows.duplicated(["protocol", "metric", "clip"]).any():
        raise ResultsError(f"{what} has two scores of one clip under one metric")
    for column in ("value", *FLOORS):  # a floor may be lacking: a metric of its own truth has none shuffled
        there = rows if column == "value" else rows[rows[column].notna()]
        admit_scores(there.assign(value=there[column], shuffled=there[column]), what)
    for (protocol, metric), part in rows.groupby(["protocol", "metric"]):
        spec = PROTOCOLS[str(protocol)][str(metric)]
        if set(part["direction"]) != {spec.direction}:
            raise ResultsError(f"{what} says that {protocol}/{metric} is {part['direction'].iloc[0]!r:.40} is better")
        if part["chance"].nunique(dropna=False) > 1 or not (part["chance"].isna() | part["chance"].between(0, 1)).all():
            raise ResultsError(f"{what} has a chance of {protocol}/{metric} that is no one number of 0 to 1")
        expected = 1 if spec.level == "set" else record["clips"]
        if len(part) != expected:
            raise ResultsError(f"{what} has {len(part)} scores of {protocol}/{metric}; there must be {expected}")
    versions = {*(rows["protocol"] + "." + rows["metric"])}
    if versions != set(record["metric_versions"]) or sorted(set(rows["protocol"])) != record["protocols"]:
        raise ResultsError(f"{what} is of other metrics than its record says")
    asked = {name for names in rows["judge"].unique() for name in names.split("+") if name}
    if strange := sorted(asked - set(record["judges"])):
        raise ResultsError(f"{what} was judged by {strange[0]!r:.80}, whose digest its record does not say")
    if set(rows["suite"]) != {record["suite"]}:
        raise ResultsError(f"{what} was scored with another suite than its record says ({record['suite']})")


def pack_rows(scored: pd.DataFrame, record: Mapping[str, Any]) -> bytes:
    """The same rows give the same bytes: in order, float32, texts as dictionaries, floats split by byte."""
    scored = scored[scored["status"] != LEFT_OUT]
    lacking = [floor for floor in FLOORS if floor not in scored]
    whole = scored.assign(**dict.fromkeys(lacking, np.nan))[COLUMNS]
    whole = whole.astype({**dict.fromkeys(TEXTS, "object"), **dict.fromkeys(NUMBERS, np.float32), "held": bool})
    rank = {name: place for place, name in enumerate(scored["clip"].unique())}  # natural order, as scoring gave it
    whole = whole.sort_values(["protocol", "metric", "clip"], key=lambda c: c.map(rank) if c.name == "clip" else c)
    admit_rows(whole.reset_index(drop=True), record, f"the set {record['name']}")
    buffer = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_pandas(whole, preserve_index=False).replace_schema_metadata(None),
        buffer,
        compression="zstd",
        compression_level=19,
        use_dictionary=[*TEXTS, "held"],
        use_byte_stream_split=NUMBERS,
    )
    return buffer.getvalue().to_pybytes()
