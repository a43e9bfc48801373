"""Committed results: what the board and the papers' tables are made of, small enough to live in a repository.

    leaderboard/results/<dataset>/<split>/<method>.<variant>.<classes>.json      manifests of the cells, whole
    leaderboard/results/<dataset>/<split>/<method>.<variant>.<classes>.parquet   the scores of their clips

`publish` copies cells from a store; videos stay behind. A manifest still carries the digest of its predictions and of
every file, and its own digest, so a reader can tell whether a store elsewhere holds the same. Scores are kept as
float32: seven digits, of which a table shows three.

`read_results` verifies all of it and gives the rows that `bench.scoring.stored.read_scores` gives of a store.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.core.errors import BenchError
from bench.core.spec import digest
from bench.store.cells import Cell

RESULTS = Path(__file__).parent / "results"
SCHEMA = 1
COLUMNS = ["cell", "protocol", "metric", "subject", "clip", "concept", "status", "value", "shuffled"]
PART = re.compile(r"[A-Za-z0-9_\-]{1,64}")
Group = tuple[str, str, str, str, int]  # data set, split, method, variant, classes
REPRODUCED, SUBMITTED = "reproduced", "submitted"  # doors: run here from code, or verified videos of others


class ResultsError(BenchError):
    """Committed results that are not what they say, or cells that cannot be committed."""


def publish(
    cells: Sequence[Cell], scores: pd.DataFrame, folder: Path = RESULTS, *, door: str = REPRODUCED
) -> list[Path]:
    """Write the cells' manifests and their `scores` (rows of `read_scores`) and return the files.

    Cells are grouped by data set, split, method, variant and classes; a group replaces the one that is there. Raises
    ResultsError for names that make no file name, for a cell without scores, and where a fold or seed that is committed
    would go, or results that came through another door.
    """
    groups: dict[Group, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(group_of(cell.manifest), []).append(cell)
    written = []
    for group, members in groups.items():
        members = sorted(members, key=lambda one: one.key)
        rows = scores[scores["cell"].isin([one.key for one in members])]
        if absent := [one.key for one in members if one.key not in set(rows["cell"])]:
            raise ResultsError(f"cell {absent[0]} of {group[2]} has no scores; run it again, then publish")
        content = pack_scores(rows)
        record = {
            "schema": SCHEMA,
            "door": door,
            "scores_sha256": hashlib.sha256(content).hexdigest(),
            "cells": [dict(one.manifest) | {"manifest_digest": digest(dict(one.manifest))} for one in members],
        }
        path = name_file(folder, group)
        refuse_loss(path, members, door)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".parquet").write_bytes(content)
        path.write_text(
            json.dumps(record, sort_keys=True, allow_nan=False, separators=(",", ":")) + "\n", encoding="utf-8"
        )
        written += [path, path.with_suffix(".parquet")]
    return written


def refuse_loss(path: Path, members: Sequence[Cell], door: str) -> None:
    """Raises ResultsError where the file has a fold or seed of the same data and networks that `members` lack.

    Also where it has what came through another door: nobody's submission takes the place of another's name.
    """
    if not path.is_file():
        return
    if (there := read_record(path).get("door", REPRODUCED)) != door:
        raise ResultsError(f"{path} was {there}, these are {door}: give the method another name, or remove the file")
    source = ("data_digest", "suite_digest", "fold", "seed")
    new = {tuple(one.manifest["spec"][name] for name in source) for one in members}
    old = {tuple(manifest["spec"][name] for name in source) for manifest in read_record(path)["cells"]}
    lost = sorted(one for one in old - new if one[:2] in {other[:2] for other in new})
    if lost:
        raise ResultsError(
            f"{path} has fold {lost[0][2]} with seed {lost[0][3]}, the store has not ({len(lost)} such cells): finish "
            "the run, or remove the file first if that is meant"
        )


def read_results(folder: Path = RESULTS, *, dataset: str | None = None) -> pd.DataFrame:
    """Score rows of all committed cells (of one data set), in the order of their files; empty where there are none.

    Raises ResultsError for a file that is not what its digest says, and for cells of one data set and suite that were
    made from different data or networks: they cannot stand in one table.
    """
    parts = []
    made_from: dict[tuple[str, str], tuple[str, str, Path]] = {}
    for path in sorted(folder.glob("*/*/*.json")):
        record = read_record(path)
        if dataset is not None and record["cells"][0]["spec"]["dataset"] != dataset:
            continue
        for spec in (manifest["spec"] for manifest in record["cells"]):
            source = (spec["data_digest"], spec["suite_digest"])
            first = made_from.setdefault((spec["dataset"], spec["suite"]), (*source, path))
            if source != first[:2]:
                raise ResultsError(
                    f"{path} and {first[2]} were made from different {spec['dataset']} data or {spec['suite']} "
                    "networks; run the older one again and publish it"
                )
        parts.append(read_rows(path, record))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


class Committed:
    """Committed results, asked as a store is: which cells are there, and what are their scores."""

    def __init__(self, folder: Path = RESULTS) -> None:
        """Reads and verifies all manifests; raises ResultsError as `read_results` does."""
        self.records = {path: read_record(path) for path in sorted(folder.glob("*/*/*.json"))}
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

    def read(self, keys: Sequence[str], protocols: Sequence[str]) -> pd.DataFrame:
        """Score rows of the cells under these protocols, in the order of their files; empty where there are none."""
        wanted = set(keys) & set(self.place)
        parts = []
        for path in sorted({self.place[key] for key in wanted}):
            rows = read_rows(path, self.records[path])
            parts.append(rows[rows["cell"].isin(wanted) & rows["protocol"].isin(protocols)])
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def read_rows(path: Path, record: Mapping[str, Any]) -> pd.DataFrame:
    """The score rows beside a file of manifests, each with what its manifest says of it, verified."""
    content = path.with_suffix(".parquet").read_bytes()
    if hashlib.sha256(content).hexdigest() != record["scores_sha256"]:
        raise ResultsError(f"{path.with_suffix('.parquet')} is not what {path.name} says; publish it again")
    door = {"door": record.get("door", REPRODUCED)}
    about = {manifest["key"]: describe_cell(manifest) | door for manifest in record["cells"]}
    rows = pq.read_table(pa.BufferReader(content)).to_pandas()
    details = pd.DataFrame.from_dict(about, orient="index").reindex(rows["cell"])
    if details["method"].isna().any():
        raise ResultsError(f"{path.with_suffix('.parquet')} has scores of cells that {path.name} does not name")
    whole = pd.concat([rows, details.reset_index(drop=True)], axis=1)
    return whole.astype({"value": np.float64, "shuffled": np.float64})


def read_manifests(folder: Path = RESULTS) -> Iterator[dict[str, Any]]:
    """All committed manifests, verified, in the order of their files."""
    for path in sorted(folder.glob("*/*/*.json")):
        yield from read_record(path)["cells"]


def read_record(path: Path) -> dict[str, Any]:
    """One file of manifests. Raises ResultsError where a manifest is not what its own digest says."""
    try:
        record = json.loads(path.read_bytes())
        cells = record["cells"]
    except (ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{path} holds no committed results ({error!r}); publish them again") from error
    if record.get("schema") != SCHEMA or not cells:
        raise ResultsError(f"{path}: schema {record.get('schema')!r} with {len(cells)} cells; known is {SCHEMA}")
    for manifest in cells:
        plain = {name: value for name, value in manifest.items() if name != "manifest_digest"}
        if manifest.get("manifest_digest") != digest(plain):
            raise ResultsError(f"{path}: the manifest of cell {manifest.get('key')} is not what its digest says")
        if name_file(path.parents[2], group_of(manifest)) != path:
            raise ResultsError(f"{path} holds cell {manifest['key']}, which belongs into another file")
    return record


def describe_cell(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a score row says of its cell, as `bench.scoring.stored.read_scores` does."""
    spec = manifest["spec"]
    return {
        **{name: spec[name] for name in ("method", "dataset", "split", "fold", "classes", "suite", "seed")},
        "variant": manifest["variant"],
        "role": manifest["role"],
        "parameters": manifest["parameter_count"],
        "phantom": manifest["phantom"],
    }


def group_of(manifest: Any) -> Group:
    spec = manifest["spec"]
    return spec["dataset"], spec["split"], spec["method"], manifest["variant"], int(spec["classes"])


def name_file(folder: Path, group: Group) -> Path:
    dataset, split, method, variant, classes = group
    for part in (dataset.replace(":", "-"), split, method, variant):
        if not PART.fullmatch(part):
            raise ResultsError(
                f"{part!r} cannot be committed: names have letters, digits, _ and -; register the method, name the "
                "variant in its ablations.toml, and run it again"
            )
    return folder / dataset.replace(":", "-") / split / f"{method}.{variant}.{classes}.json"


def pack_scores(rows: pd.DataFrame) -> bytes:
    """The same rows give the same bytes. Names and numbers of clips are dictionaries, floats are split by byte."""
    ordered = rows[COLUMNS].sort_values(COLUMNS[:5], ignore_index=True)
    ordered = ordered.astype({"value": np.float32, "shuffled": np.float32})
    ordered = ordered.astype(dict.fromkeys(("subject", "clip", "concept"), np.int32))
    floats = ["value", "shuffled"]
    buffer = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_pandas(ordered, preserve_index=False).replace_schema_metadata(None),
        buffer,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in COLUMNS if name not in floats],
        use_byte_stream_split=floats,
    )
    return buffer.getvalue().to_pybytes()
