"""What may be in a bundle: its members, its manifests and its tables, bounded and checked before they are used.

Whoever wrote a bundle may have meant harm. So names, kinds and sizes of members are looked at before one is unpacked;
JSON is bounded in size and depth, and what a manifest must hold is there and of the right type before anything asks
for it; a parquet file says how many rows it has, in which columns, before one of them is read.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import stat
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.registry import names
from bench.core.spec import CHOSEN, EMBEDDING, SpecError, check_plain, is_submitted

SCHEMA = 2
MEMBER = re.compile(
    r"cells/[0-9a-z_]{1,64}/(manifest\.json|predictions/trials\.parquet"
    r"|predictions/embeddings\.safetensors"
    r"|predictions/sub\d{2,4}/clip\d{4,6}(_trial\d{6})?\.mp4|scores/[0-9a-z_]{1,64}\.parquet(\.sha256)?)"
)
MOST_MEMBERS = 200_000
MOST_CELLS = 2000  # a hundred seeds of twenty subjects
MOST_BYTES = 32 * 2**30  # of all members
MOST_MEMBER = 512 * 2**20
MOST_JSON = 16 * 2**20  # a hundred thousand trials
MOST_DEPTH = 32  # of JSON: a manifest reaches 6
MOST_RATIO = 200  # of size to compressed size: parquet and JSON reach 30, a bomb 1,000
MOST_TOTAL_RATIO = 50  # of all members to the file: many small members are a bomb too
ROW_BYTES, TABLE_BYTES = 1024, 64 * 2**10  # a row and a table without rows, at most; 200 and 5,000 are usual
TABLE_SECONDS, TABLE_MEMORY = 20, 2**30  # of processor time, and bytes, to look at the tables of a cell
REFUSED = 3  # exit status of the process that looks at tables
MOST_TEXT = 256  # of a text in a table: a digest or the name of a file

# what a manifest must hold, where a bundle's cell is verified or shown: what it is of besides; a list is of as many
# numbers
MANIFEST = {
    "files": dict, "key": str, "parameter_count": int, "phantom": bool, "prediction_digest": str, "role": str,
    "spec": dict, "trial_count": int, "variant": str,
}  # fmt: skip
OF_VIDEOS, OF_EMBEDDINGS = {"video_shape": list}, {"embedding": dict}
ABOUT_EMBEDDING = {"space": str, "width": int, "concepts": int}
SPEC = {
    "dataset": str, "data_digest": str, "split": str, "fold": str, "classes": int, "method": str,
    "method_version": int, "parameters": dict, "suite": str, "suite_digest": str, "seed": int, "source": str,
    "settings": dict, "rules": dict,
}  # fmt: skip
FILE = {"bytes": int, "sha256": str}
TRIALS = {
    **dict.fromkeys(("trial", "subject", "clip", "concept", "block", "seed"), "int64"),
    **dict.fromkeys(("status", "pixels", "file"), "string"),
}
EMBEDDED = {name: kind for name, kind in TRIALS.items() if name not in ("pixels", "file")}
SCORES = {
    **dict.fromkeys(("subject", "clip", "concept", "block"), "int64"),
    **dict.fromkeys(("value", "shuffled"), "double"),
    **dict.fromkeys(("status", "protocol", "metric"), "string"),
}
KINDS = {"trials": TRIALS, "embedded": EMBEDDED, "scores": SCORES}  # of tables
TABLE = "predictions/trials.parquet"


class BadBundle(BenchError):
    """A bundle that is refused, with the reason."""


def unpack(path: Path, folder: Path) -> dict[str, Any]:
    """Copy the checked members below `folder` and return the head of the bundle. Raises BadBundle."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            check_members(members, path.stat().st_size)
            for member in members:
                place = folder / member.filename
                place.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source:
                    content = source.read(member.file_size + 1)
                if len(content) != member.file_size:
                    raise BadBundle(f"{member.filename} unpacks to another size than it declares")
                place.write_bytes(content)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadBundle(f"{path} cannot be read as a bundle: {why}; `python -m bench pack` makes one") from error
    head = read_json(folder / "bundle.json", "bundle.json")
    if head.get("schema") != SCHEMA:
        raise BadBundle(f"bundle.json has no schema {SCHEMA}; pack it again with this version")
    keys, protocols = head.get("cells"), head.get("protocols")
    there = sorted({member.filename.split("/")[1] for member in members if member.filename != "bundle.json"})
    if keys != there or not keys:
        raise BadBundle(f"bundle.json names the cells {keys!r:.200}, the bundle holds {there!r:.200}")
    allowed = names("protocols")  # never a file, which would be run
    known = isinstance(protocols, list) and all(one in allowed for one in protocols)
    if not protocols or not known or len(set(protocols)) < len(protocols):
        raise BadBundle(
            f"bundle.json names the protocols {protocols!r:.200}; needed are some of {', '.join(allowed)}, each once"
        )
    for key in keys:
        manifest = read_json(folder / "cells" / key / "manifest.json", f"cell {key}: manifest.json")
        check_manifest(manifest, key)
        check_files(manifest, key, members)
    return head


def check_members(members: Sequence[zipfile.ZipInfo], size: int) -> None:
    """Names, kinds, numbers and sizes, before anything of a file of `size` bytes is unpacked. Raises BadBundle."""
    if len(members) > MOST_MEMBERS:
        raise BadBundle(f"{len(members)} members; allowed are {MOST_MEMBERS}")
    if (count := len({member.filename.rpartition("/manifest")[0] for member in members} - {""})) > MOST_CELLS:
        raise BadBundle(f"{count} cells; allowed are {MOST_CELLS}: pack one method variant at a time")
    seen: set[str] = set()
    total = 0
    for member in members:
        name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
        if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
            raise BadBundle(f"member {name!r} points outside the bundle")
        if kind not in (0, stat.S_IFREG):
            raise BadBundle(f"member {name!r} is a link or special file; allowed are regular files")
        if name != "bundle.json" and not MEMBER.fullmatch(name):
            raise BadBundle(
                f"member {name!r} does not belong in a bundle; allowed are manifests, parquet, mp4 and embeddings"
            )
        if name in seen:
            raise BadBundle(f"member {name!r} is there twice")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadBundle(f"member {name!r} is compressed by method {member.compress_type}; allowed is deflate")
        seen.add(name)
        total += member.file_size
        most = MOST_JSON if name.endswith(".json") else MOST_MEMBER
        if member.file_size > most or total > MOST_BYTES:
            raise BadBundle(f"member {name!r} of {member.file_size} bytes: too large (a member, or all together)")
        if member.file_size > MOST_RATIO * max(1, member.compress_size) and member.file_size > 2**20:
            raise BadBundle(f"member {name!r} unpacks {member.file_size // max(1, member.compress_size)}-fold: a bomb")
    if total > MOST_TOTAL_RATIO * size:
        raise BadBundle(f"{len(members)} members of {total} bytes in a file of {size}, {total // size}-fold: a bomb")
    if "bundle.json" not in seen:
        raise BadBundle("there is no bundle.json; `python -m bench pack` makes bundles")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object that a digest can be taken of. Raises BadBundle."""
    try:
        content_read = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise BadBundle(f"{what} is missing; `python -m bench pack` makes whole bundles") from error
    except (ValueError, RecursionError) as error:
        raise BadBundle(f"{what} is no JSON ({error}); pack it again") from error
    if not isinstance(content_read, dict):
        raise BadBundle(f"{what} is {type(content_read).__name__}, no JSON object; pack it again")
    level: list[Any] = [content_read]
    for _ in range(MOST_DEPTH):
        level = [part for one in level for part in parts_of(one)]
    if level:
        raise BadBundle(f"{what} is nested deeper than {MOST_DEPTH}; pack it again")
    try:
        check_plain(content_read, what)
    except SpecError as error:
        raise BadBundle(str(error)) from error
    return content_read


def parts_of(value: Any) -> Iterable[Any]:
    """What lies directly in a JSON value: nothing in a text or number."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def check_manifest(manifest: Mapping[str, Any], key: str) -> None:
    """All that is asked of a manifest is there and of its type. Raises BadBundle."""
    check_types(manifest, MANIFEST, f"cell {key}: manifest.json")
    spec = manifest["spec"]
    check_types(spec, SPEC, f"cell {key}: manifest.json, spec")
    if odd := sorted(set(spec) - {*SPEC, "output"}):
        raise BadBundle(f"cell {key}: its manifest has no spec of this version ({odd[0]!r} is unknown)")
    if (output := spec.get("output", EMBEDDING)) != EMBEDDING:
        raise BadBundle(f"cell {key}: its spec has the output {output!r:.80}; it may have {EMBEDDING!r}, or none")
    for name, entry in manifest["files"].items():
        check_types(entry, FILE, f"cell {key}: manifest.json, files[{name!r}]")
    if holds_embeddings(manifest):
        if is_submitted(spec) or spec["split"] == CHOSEN:
            raise BadBundle(f"cell {key}: videos that were made elsewhere are submitted, and never embeddings")
        check_types(manifest, OF_EMBEDDINGS, f"cell {key}: manifest.json")
        check_types(manifest["embedding"], ABOUT_EMBEDDING, f"cell {key}: manifest.json, embedding")
    else:
        check_types(manifest, OF_VIDEOS, f"cell {key}: manifest.json")
        shape = manifest["video_shape"]
        if len(shape) != 4 or not all(type(one) is int and one >= 0 for one in shape):
            raise BadBundle(f"cell {key}: video_shape {shape!r:.80}; needed are frames, height, width and 3")
    if manifest["key"] != key or key == "quarantine":
        raise BadBundle(f"cell {key}: its manifest is of the cell {manifest['key']!r:.80}")


def check_types(table: Any, types: Mapping[str, type], what: str) -> None:
    """Raises BadBundle unless `table` is a dict that holds each of these, of its type; texts are to be printable."""
    if not isinstance(table, dict):
        raise BadBundle(f"{what} is {type(table).__name__}; it must hold {', '.join(types)}")
    for name, kind in types.items():
        if name not in table:
            raise BadBundle(f"{what} lacks {name!r}; it must hold {', '.join(types)}")
        value = table[name]
        if type(value) is not kind or (isinstance(value, str) and not value.isprintable()):
            raise BadBundle(f"{what}: {name!r} is {value!r:.80}; it must be {kind.__name__}; pack it again")


def check_files(manifest: Mapping[str, Any], key: str, members: Sequence[zipfile.ZipInfo]) -> None:
    """The files that a manifest names are the members of its cell, so that nothing else is ever read for it."""
    from bench.store.cells import EMBEDDINGS  # not above: the process that looks at tables has little memory

    head = f"cells/{key}/"
    brought = {member.filename.removeprefix(head) for member in members if member.filename.startswith(head)}
    named = set(manifest["files"])
    there = {name for name in brought if name.startswith("predictions/")}
    if named != there:
        odd = sorted(named ^ there)[0]
        raise BadBundle(f"cell {key}: {odd!r} is {'missing' if odd in named else 'not named in its manifest'}")
    if TABLE not in named:
        raise BadBundle(f"cell {key}: {TABLE!r} is missing; pack it again")
    if holds_embeddings(manifest) and named != {TABLE, EMBEDDINGS}:
        odd = sorted(named ^ {TABLE, EMBEDDINGS})[0]
        raise BadBundle(f"cell {key}: a cell of embeddings holds {TABLE} and {EMBEDDINGS}; {odd!r} is odd")
    if not holds_embeddings(manifest) and EMBEDDINGS in named:
        raise BadBundle(f"cell {key}: {EMBEDDINGS!r} is no file of a cell of videos")


def holds_embeddings(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest says that its cell holds embeddings and no videos."""
    return bool(manifest["spec"].get("output") == EMBEDDING)


def check_tables(folder: Path, tables: Mapping[str, str], most_rows: int, what: str) -> None:
    """`check_table` of files below a folder by the kind of each, in a process of its own. Raises BadBundle.

    A forged parquet file may end the process that parses it, or keep it: pyarrow does not raise all of its errors.
    """
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "bench.doors.unpacking"],
        input=json.dumps([str(folder), tables, most_rows]),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    said = done.stdout.splitlines()
    if done.returncode == REFUSED:
        raise BadBundle(f"{what}, {said[-1]}")
    if done.returncode:
        raise BadBundle(f"{what}, {said[-1] if said else 'its tables'} ends the parser of parquet files; pack it again")


def check_asked() -> int:
    """What `check_tables` asks of its process: each table is named before it is parsed, in bounded time and memory."""
    import pyarrow.parquet  # noqa: F401  before memory is bounded: what it takes by itself is much

    resource.setrlimit(resource.RLIMIT_CPU, (TABLE_SECONDS, TABLE_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
        most = pages * resource.getpagesize() + TABLE_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    folder, tables, most_rows = json.load(sys.stdin)
    for name, kind in tables.items():
        print(name, flush=True)
        try:
            check_table(Path(folder, name), KINDS[kind], most_rows, name)
        except BadBundle as error:
            print(" ".join(str(error).split()))
            return REFUSED
    return 0


def check_table(path: Path, columns: Mapping[str, str], most_rows: int, what: str) -> None:
    """Refuse a parquet file that is not of these columns, or would be larger than they are in so many rows.

    Only its description is read before its size is known to be bounded. Of its pages that is known by the bytes on the
    disk: no codec but snappy, which gains 22-fold at most, and texts are read as a dictionary, each value once, before
    they are known to be short. Raises BadBundle.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from bench.store.cells import read_table

    texts = [name for name, kind in columns.items() if kind == "string"]
    size, most_bytes = path.stat().st_size, TABLE_BYTES + ROW_BYTES * most_rows
    if size > most_bytes:
        raise BadBundle(f"{what} is of {size} bytes; {most_rows} rows take {most_bytes} at most")
    try:
        about, schema = pq.read_metadata(path), pq.read_schema(path)
        groups = [about.row_group(i) for i in range(about.num_row_groups)]
        if max(about.num_rows, sum(group.num_rows for group in groups)) > most_rows:
            raise BadBundle(f"{what} has {about.num_rows} rows; the fold has {most_rows} trials")
        if (size := sum(group.total_byte_size for group in groups)) > most_bytes:
            raise BadBundle(f"{what} unpacks to {size} bytes; {most_rows} rows take {most_bytes} at most")
        if sorted(schema.names) != sorted(columns):
            raise BadBundle(f"{what} has the columns {schema.names!r:.200}; needed are {', '.join(columns)}")
        for name, kind in columns.items():
            held_as = str(schema.field(name).type)
            if held_as.removeprefix("large_") != kind:
                raise BadBundle(f"{what}: column {name} is {held_as:.80}; it must be {kind}")
        codecs = {group.column(i).compression for group in groups for i in range(about.num_columns)}
        if codecs - {"SNAPPY", "UNCOMPRESSED"}:
            raise BadBundle(f"{what} is compressed by {', '.join(sorted(codecs))}; allowed is snappy")
        table = pq.ParquetFile(path, read_dictionary=texts).read()
        for name in columns:
            if table[name].null_count:
                raise BadBundle(f"{what}: column {name} has {table[name].null_count} empty places; allowed is none")
        for name in texts:
            if any(len(text or "") > MOST_TEXT for part in table[name].chunks for text in part.dictionary.to_pylist()):
                raise BadBundle(f"{what}: a text of column {name} is longer than {MOST_TEXT} characters")
        read_table(path)  # as it will be read
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadBundle(f"{what} is no parquet file that can be read ({error}); pack it again") from error


if __name__ == "__main__":
    sys.exit(check_asked())
