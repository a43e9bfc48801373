"""Committed results: what the board and the papers' tables are made of, small enough to live in a repository.

    leaderboard/results/<dataset>/<split>/<method>.<variant>.<classes>.json      manifests of the cells, whole
    leaderboard/results/<dataset>/<split>/<method>.<variant>.<classes>.parquet   the scores of their clips
    leaderboard/results/<dataset>/<split>/<method>.<variant>.<classes>.embedding.json, .parquet   of embeddings alone

`publish` copies cells from a store; videos stay behind. A manifest still carries the digest of its predictions and of
every file, and its own digest, so a reader can tell whether a store elsewhere holds the same. Scores are kept as
float32: seven digits, of which a table shows three. Beside its cells a file says through which door they came, whose
the method's name is, which folds the split has, and what was flagged in their videos.

`read_results` verifies all of it and gives the rows that `bench.scoring.stored.read_scores` gives of a store. What may
be there at all is `leaderboard.admission`'s to say; how a change is put in place whole is `leaderboard.amending`'s.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.core.spec import digest, precision_of
from bench.core.variants import split_profiled
from bench.store.cells import Cell
from leaderboard.admission import (
    PART,
    REPRODUCED,
    ResultsError,
    admit,
    admit_group,
    admit_records,
    admit_scores,
    canonical_dataset,
    check_table,
    check_variant,
    owner_of,
)
from leaderboard.amending import amending, settled
from metrics.known import KNOWN_PROTOCOLS

RESULTS = Path(__file__).parent / "results"
SCHEMA = 2  # 1 lacked owner, folds, flags and the digest of all of it
VERSIONS = "metric_versions"  # in a table's own metadata: versions by protocol.metric
RECORD = {"schema": int, "door": str, "scores_sha256": str, "cells": list}
NEWER = {"owner": str, "folds": list, "flags": dict, "record_digest": str}
COLUMNS = ["cell", "protocol", "metric", "subject", "clip", "concept", "status", "value", "shuffled"]
Group = tuple[str, str, str, str, int, str]  # data set, split, method, variant, classes, output
Only = Collection[tuple[str, str]]  # protocols and metrics
Setting = tuple[str, str, int]  # data set, split, classes: what has folds
Flags = Mapping[str, Mapping[str, str]]  # key of a cell: flag: reason


def publish(
    cells: Sequence[Cell],
    scores: pd.DataFrame,
    folder: Path = RESULTS,
    *,
    door: str = REPRODUCED,
    owner: str = "",
    folds: Mapping[Setting, Sequence[str]] | None = None,
    flags: Flags | None = None,
) -> list[Path]:
    """Write the cells' manifests and their `scores` (rows of `read_scores`), all or none, and return the files.

    Arguments and errors as those of `stage`; nothing is written where what would be there cannot be read.
    """
    with amending(folder) as draft:
        written = stage(cells, scores, draft, door=door, owner=owner, folds=folds, flags=flags)
        read_results(draft)
    return [folder / path.relative_to(draft) for path in written]


def stage(
    cells: Sequence[Cell],
    scores: pd.DataFrame,
    draft: Path,
    *,
    door: str = REPRODUCED,
    owner: str = "",
    folds: Mapping[Setting, Sequence[str]] | None = None,
    flags: Flags | None = None,
) -> list[Path]:
    """Write manifests and scores into a draft of the results (`amending`) and return the files.

    Cells are grouped by data set, split, method, variant, classes and output (videos or embeddings); a group replaces
    the one that is there. `owner` is who submitted them, `folds` names those of each split (without it, those that the
    cells have). Raises ResultsError for cells that may not be there, for one without scores, and where a fold or seed
    that is committed would go.
    """
    groups: dict[Group, list[Cell]] = {}
    for cell in cells:
        admit(cell.manifest, door=door, folds=None if folds is None else folds.get(setting_of(cell.manifest)))
        check_variant(cell.manifest)
        groups.setdefault(group_of(cell.manifest), []).append(cell)
    written = []
    for group, members in groups.items():
        members = sorted(members, key=lambda one: one.key)
        admit_group([one.manifest for one in members], f"{group[2]} {group[3]} on {group[1]}")
        rows = scores[scores["cell"].isin([one.key for one in members])]
        if absent := [one.key for one in members if one.key not in set(rows["cell"])]:
            raise ResultsError(f"cell {absent[0]} of {group[2]} has no scores; run it again, then publish")
        admit_scores(rows, f"{group[2]} {group[3]} on {group[1]}", output=group[5])
        content = pack_scores(rows)
        known = folds and folds.get(setting_of(members[0].manifest))
        record = {
            "schema": SCHEMA,
            "door": door,
            "owner": owner,
            "folds": sorted(known or {one.manifest["spec"]["fold"] for one in members}),
            "flags": {one.key: dict((flags or {})[one.key]) for one in members if (flags or {}).get(one.key)},
            "scores_sha256": hashlib.sha256(content).hexdigest(),
            "cells": [dict(one.manifest) | {"manifest_digest": digest(dict(one.manifest))} for one in members],
        }
        record["record_digest"] = digest(record)
        path = name_file(draft, group)
        refuse_loss(path, members, record)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".parquet").write_bytes(content)
        path.write_text(json.dumps(record, sort_keys=True, allow_nan=False, separators=(",", ":")) + "\n", "utf-8")
        written += [path, path.with_suffix(".parquet")]
    return written


def refuse_loss(path: Path, members: Sequence[Cell], record: Mapping[str, Any]) -> None:
    """Raises ResultsError where the file has a fold or seed of the same data and networks that `members` lack.

    Also where it came through another door or is another's: nobody's submission takes the place of another's name.
    """
    if not path.is_file():
        return
    there = read_record(path)
    if there["door"] != record["door"]:
        raise ResultsError(
            f"{path.name} was {there['door']}, these are {record['door']}: give the method another name, or remove the "
            "file"
        )
    if owner_of(there) != owner_of(record):
        raise ResultsError(
            f"the name of {path.name} belongs to who published it first ({owner_of(there)}), and this is of "
            f"{owner_of(record)}: give the method another name, or remove the file"
        )
    source = ("data_digest", "suite_digest", "fold", "seed")
    new = {tuple(one.manifest["spec"][name] for name in source) for one in members}
    old = {tuple(manifest["spec"][name] for name in source) for manifest in there["cells"]}
    lost = sorted(one for one in old - new if one[:2] in {other[:2] for other in new})
    if lost:
        raise ResultsError(
            f"{path.name} has fold {lost[0][2]} with seed {lost[0][3]}, the store has not ({len(lost)} such cells): "
            "finish the run, or remove the file first if that is meant"
        )


def read_results(folder: Path = RESULTS, *, dataset: str | None = None) -> pd.DataFrame:
    """Score rows of all committed cells (of one data set), in the order of their files; empty where there are none.

    Raises ResultsError for a file that is not what its digest says, and for what may not be there (`admit_records`),
    such as cells of one data set and suite that were made from different data or networks.
    """
    with settled(folder):
        return gather_rows(read_records(folder), dataset)


def gather_rows(
    records: Mapping[Path, dict[str, Any]], dataset: str | None = None, *, only: Only | None = None
) -> pd.DataFrame:
    parts = [
        read_rows(path, record, count_folds(record, records), only=only)
        for path, record in records.items()
        if dataset is None or group_of(record["cells"][0])[0] == canonical_dataset(dataset)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


class Committed:
    """Committed results, asked as a store is: which cells are there, and what are their scores."""

    def __init__(self, folder: Path = RESULTS) -> None:
        """Reads and verifies all manifests; raises ResultsError as `read_results` does."""
        self.folder = folder
        with settled(folder):
            self.records = read_records(folder)
        self.place = {one["key"]: path for path, record in self.records.items() for one in record["cells"]}

    @property
    def digest(self) -> str:
        """Of all scores: it changes when anything is published."""
        return digest([record["scores_sha256"] for record in self.records.values()])[:16]

    def manifests(self) -> list[dict[str, Any]]:
        """All manifests, in the order of their files."""
        return [manifest for record in self.records.values() for manifest in record["cells"]]

    def find(self, key: str) -> Path | None:
        """The file that names the cell, or None."""
        return self.place.get(key)

    def read_all(self, only: Only | None = None) -> pd.DataFrame:
        """The score rows of all cells, as `read_results` gives them; `only` names the metrics whose rows are wanted."""
        return gather_rows(self.records, only=only)

    def read(self, keys: Sequence[str], protocols: Sequence[str]) -> pd.DataFrame:
        """Score rows of the cells under these protocols, in the order of their files; empty where there are none."""
        wanted = set(keys) & set(self.place)
        parts = []
        for path in sorted({self.place[key] for key in wanted}):
            rows = read_rows(path, self.records[path], count_folds(self.records[path], self.records))
            parts.append(rows[rows["cell"].isin(wanted) & rows["protocol"].isin(protocols)])
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def read_rows(path: Path, record: Mapping[str, Any], folds: int, *, only: Only | None = None) -> pd.DataFrame:
    """The score rows beside a file of manifests, each with what its manifest says of it, verified.

    All are admitted or refused, and those of the metrics in `only` are returned, by default all.
    """
    try:
        content = path.with_suffix(".parquet").read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise ResultsError(f"{path.with_suffix('.parquet')} cannot be read ({reason}); publish it again") from error
    if hashlib.sha256(content).hexdigest() != record["scores_sha256"]:
        raise ResultsError(f"{path.with_suffix('.parquet')} is not what {path.name} says; publish it again")
    beside = {"door": record.get("door", REPRODUCED), "folds": folds}
    flagged = record.get("flags", {})
    about = {
        manifest["key"]: describe_cell(manifest) | beside | {"flags": ", ".join(flagged.get(manifest["key"], ()))}
        for manifest in record["cells"]
    }
    rows = pq.read_table(pa.BufferReader(content)).to_pandas()
    admit_scores(rows, str(path.with_suffix(".parquet")), output=group_of(record["cells"][0])[5])
    if only is not None:
        named = (rows["protocol"] + " " + rows["metric"]).isin([" ".join(one) for one in only])
        rows = rows[named].reset_index(drop=True)
    details = pd.DataFrame.from_dict(about, orient="index").reindex(rows["cell"])
    if details["method"].isna().any():
        raise ResultsError(f"{path.with_suffix('.parquet')} has scores of cells that {path.name} does not name")
    whole = pd.concat([rows, details.reset_index(drop=True)], axis=1)
    return number_versions(whole.astype({"value": np.float64, "shuffled": np.float64}), content)


def read_manifests(folder: Path = RESULTS) -> Iterator[dict[str, Any]]:
    """All committed manifests, verified, in the order of their files."""
    with settled(folder):
        records = read_records(folder)
    for record in records.values():
        yield from record["cells"]


def read_records(folder: Path) -> dict[Path, dict[str, Any]]:
    """All files of manifests by their paths, verified and admitted. Raises ResultsError."""
    records = {path: read_record(path) for path in sorted(folder.glob("*/*/*.json"))}
    alone = sorted(path for path in folder.glob("*/*/*.parquet") if path.with_suffix(".json") not in records)
    if alone:
        raise ResultsError(f"{alone[0].with_suffix('.json')} is missing, and its scores are there; publish them again")
    admit_records(records)
    return records


def read_record(path: Path) -> dict[str, Any]:
    """One file of manifests. Raises ResultsError where one is not what its own digest says, or may not be there."""
    try:
        record = json.loads(path.read_bytes())
        schema, cells = record.get("schema"), record["cells"]
    except OSError as error:
        raise ResultsError(f"{path} cannot be read ({error.strerror or error}); publish it again") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ResultsError(f"{path} holds no committed results ({error!r}); publish them again") from error
    if schema not in (1, SCHEMA) or not cells:
        raise ResultsError(f"{path}: schema {schema!r} with {len(cells)} cells; known is {SCHEMA}")
    check_table(record, RECORD | (NEWER if schema == SCHEMA else {}), NEWER, str(path))
    for manifest in cells:
        plain = {name: value for name, value in manifest.items() if name != "manifest_digest"}
        admit(plain, door=record["door"], folds=record.get("folds"))
        if manifest.get("manifest_digest") != digest(plain):
            raise ResultsError(f"{path}: the manifest of cell {manifest['key']} is not what its digest says")
        if name_file(path.parents[2], group_of(manifest)) != path:
            raise ResultsError(f"{path} holds cell {manifest['key']}, which belongs into another file")
    admit_group(cells, str(path))
    rest = {name: value for name, value in record.items() if name != "record_digest"}
    if schema == SCHEMA and record["record_digest"] != digest(rest):
        raise ResultsError(f"{path} is not what its own digest says; publish it again")
    return record


def count_folds(record: Mapping[str, Any], records: Mapping[Path, Mapping[str, Any]]) -> int:
    """How many folds the split has: of a file that does not say it (schema 1), all that any file of its setting has."""
    if "folds" in record:
        return len(record["folds"])
    setting = setting_of(record["cells"][0])
    beside = [one for one in records.values() if setting_of(one["cells"][0]) == setting]
    return len({cell["spec"]["fold"] for one in beside for cell in one["cells"]})


def describe_cell(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a score row says of its cell, as `bench.scoring.stored.read_scores` does."""
    spec = manifest["spec"]
    return {
        **{name: spec[name] for name in ("method", "dataset", "split", "fold", "classes", "suite", "seed")},
        "dataset": canonical_dataset(spec["dataset"]),
        "variant": manifest["variant"],
        "role": manifest["role"],
        "parameters": manifest["parameter_count"],
        "phantom": manifest["phantom"],
        "precision": precision_of(spec),
        "dirty": bool(manifest.get("provenance", {}).get("dirty")),
    }


def group_of(manifest: Any) -> Group:
    spec = manifest["spec"]
    dataset, variant = canonical_dataset(spec["dataset"]), manifest["variant"]
    return dataset, spec["split"], spec["method"], variant, int(spec["classes"]), spec.get("output", "")


def setting_of(manifest: Any) -> Setting:
    dataset, split, _, _, classes, _ = group_of(manifest)
    return dataset, split, classes


def name_file(folder: Path, group: Group) -> Path:
    dataset, split, method, variant, classes, output = group
    for part in (dataset.replace(":", "-"), split, method, *split_profiled(variant)):
        if not PART.fullmatch(part):
            raise ResultsError(f"{part!r:.80} cannot be committed: names have letters, digits, _ and -")
    mark = f".{output}" if output else ""
    return folder / dataset.replace(":", "-") / split / f"{method}.{variant}.{classes}{mark}.json"


def note_versions(rows: pd.DataFrame) -> dict[str, str] | None:
    """The versions of the rows' metrics, for the file's own metadata: of those that are beyond their first."""
    named = sorted({*zip(rows["protocol"], rows["metric"], strict=True)})
    versions = {f"{protocol}.{metric}": current_version(protocol, metric) for protocol, metric in named}
    changed = {name: version for name, version in versions.items() if version > 1}
    return {VERSIONS: json.dumps(changed)} if changed else None


def number_versions(rows: pd.DataFrame, content: bytes) -> pd.DataFrame:
    """The rows with `version`: of which version of its metric each score is, as the packed file says (else the first).

    A metric's version rises when its values change; what was committed before stays, and tables mark it.
    """
    held = pq.read_schema(pa.BufferReader(content)).metadata or {}
    versions = json.loads(held.get(VERSIONS.encode(), b"{}"))
    named = rows["protocol"] + "." + rows["metric"]
    return rows.assign(version=named.map(versions).fillna(1).astype(np.int64))


def current_version(protocol: str, metric: str) -> int:
    """The version of a metric as it is computed today; 1 for one that the project does not know."""
    known = KNOWN_PROTOCOLS[protocol].metrics if protocol in KNOWN_PROTOCOLS else ()
    return next((one.version for one in known if one.name == metric), 1)


def pack_scores(rows: pd.DataFrame) -> bytes:
    """The same rows give the same bytes. Names and numbers of clips are dictionaries, floats are split by byte."""
    ordered = rows[COLUMNS].sort_values(COLUMNS[:5], ignore_index=True)
    ordered = ordered.astype({"value": np.float32, "shuffled": np.float32})
    ordered = ordered.astype(dict.fromkeys(("subject", "clip", "concept"), np.int32))
    floats = ["value", "shuffled"]
    buffer = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_pandas(ordered, preserve_index=False).replace_schema_metadata(note_versions(ordered)),
        buffer,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in COLUMNS if name not in floats],
        use_byte_stream_split=floats,
    )
    return buffer.getvalue().to_pybytes()
