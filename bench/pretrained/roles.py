"""Roles: where each network of a suite comes from, whether it is on this machine, and what to do where it is not.

A suite has three kinds of roles. *Generators* draw videos: a suite has all of them, or none and judges alone; their
digest keys predictions. *Wan* is another video model with an autoencoder and a text encoder of its own; it is optional,
and its digest keys the predictions of the methods that use it. *Judges* look at videos and are each optional, because a
metric that asks for an absent one is left out and the rest goes on; each judge's own digest keys the scores that it
gives.

A role is looked for as a folder beside the suite's description, then as a folder in the user's own weights
(`weights/` in the cache folder), then in the local Hugging Face cache; one with an address in torch's, one with a file
in the installed package of its name, of which no line is run. Nothing is downloaded unless `fetch_suite` is called.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError
from bench.core.paths import bench_home
from bench.store.contents import digest_files, hash_file

if TYPE_CHECKING:
    import pandas as pd

HERE = Path(__file__).parent
CATALOGUE = HERE / "suites.toml"
GENERATORS = ("vae", "tokenizer", "text_encoder", "unet", "scheduler", "motion_adapter", "sparse_control")
WAN = ("wan_transformer", "wan_vae", "wan_tokenizer", "wan_text_encoder")
JUDGES = (
    *("video_judge", "frame_judge", "clip", "clip_large", "clip_big", "vifi", "dino", "dinov2"),
    *("raft", "action", "amt"),
)
SCORING = tuple(role for role in JUDGES if role not in ("clip_big", "action"))  # those two only methods ask
ROLES = (*GENERATORS, *WAN, *JUDGES)
KINDS = {"generator": GENERATORS, "wan": WAN, "judge": JUDGES}
UNPINNED = "unpinned"
LOADED: set[str] = set()  # roles that this process has loaded, for whoever asks what a result came from
SUMS = "SHA256SUMS"  # beside a suite's folders: the digests that its files must have
HEX = re.compile(r"[0-9a-f]{8}|[0-9a-f]{40}|[0-9a-f]{64}")
WEIGHTS = ("*.safetensors", "*.pth", "*.bin")  # a folder without any of them (or a scheduler's json) holds no network


class MissingWeights(BenchError):
    """A role of a suite is not on this machine."""


class DamagedWeights(MissingWeights):
    """A file of a role is not what it should be."""


class UnknownSuite(BenchError):
    """No suite of that name, and no folder either."""


@dataclass(frozen=True, kw_only=True)
class Role:
    """Where one network of a suite comes from."""

    name: str
    id: str  # a Hugging Face repository, or a folder relative to `base` or to the user's weights
    base: Path
    subfolder: str = ""
    revision: str | None = None
    licence: str = "not stated"
    megabytes: float | None = None
    settings: dict[str, Any] | None = None  # overrides of the network's config
    url: str = ""  # of a single file of weights that no hub holds; its name ends in its hash
    file: str = ""  # weights within the installed package that `id` names; its name ends in its hash
    how: str = ""  # how to come by it, where fetching cannot
    own_normalisation: bool = False  # of a judge: trained on values of its own, not on its publisher's

    @property
    def files(self) -> list[Path]:
        """The role's files on this machine, sorted; empty where it is absent."""
        place = self.find()
        return [] if place is None else [path for path in list_files(place) if path.is_file()]

    def find(self) -> Path | None:
        """The role's folder on this machine (its file where it has an address), or None."""
        for root in (self.base, bench_home() / "weights"):
            if (root / self.id).is_dir():
                folder = root / self.id / self.subfolder
                return folder if folder.is_dir() else None
        if self.url:
            from torch.hub import get_dir

            path = Path(get_dir()) / "checkpoints" / Path(self.url).name
            return path if path.is_file() else None
        if self.file:
            return find_in_package(self.id, self.file)
        return None if self.how else self.find_snapshot()

    def find_snapshot(self) -> Path | None:
        """The role's folder in the local Hugging Face cache, or None; a half-fetched one counts as absent."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            root = Path(snapshot_download(self.id, revision=self.pinned, local_files_only=True))
        except (LocalEntryNotFoundError, HFValidationError):
            return None
        folder = root / self.subfolder
        return folder if any(folder.glob("*.json")) or any(any(folder.glob(kind)) for kind in WEIGHTS) else None

    @property
    def pinned(self) -> str | None:
        return None if self.revision in (None, UNPINNED) else self.revision

    @property
    def source(self) -> str:
        return f"{self.id}/{self.subfolder}".rstrip("/")

    def explain(self) -> str:
        """What is missing, its size and licence, and the command that brings it."""
        size = f"about {self.megabytes:g} MB" if self.megabytes else "small"
        judges = " --for score" if self.name in SCORING else ""
        remedy = self.how or f"fetch it with `python -m bench suite fetch paper{judges}`"
        remedy = remedy.replace("{weights}", str(bench_home() / "weights"))
        return (
            f"the {self.name}, {self.source} (revision {self.revision or UNPINNED}, {size}, licence "
            f"{self.licence}), is not on this machine; {remedy}"
        )

    def locate(self) -> Path:
        """The role's folder or file, whole. Raises `MissingWeights`, which says what to fetch, and `DamagedWeights`."""
        place = self.find()
        if place is None:
            raise MissingWeights(self.explain())
        self.read_contents(place)
        return place

    def read_contents(self, place: Path) -> dict[str, str]:
        """sha256 of each file, by its name below the role's folder; read anew only where the file has changed.

        Raises DamagedWeights for one that is not what it should be: by the list beside the suite (`SHA256SUMS`), by
        its name in the hub's cache or at its address, or, where nothing says so, what it was when it was read first.
        """
        folder = place.parent if place.is_file() else place
        found = digest_files(list_files(place), folder, bench_home() / "cache")
        listed = self.listed
        expected = listed or {name: self.promised(folder / name, sha256) for name, sha256 in found.items()}
        for name in sorted(set(found) | set(expected)):
            if found.get(name) != expected.get(name) or not found[name]:
                raise DamagedWeights(
                    f"{folder / name} is not as it should be ({'missing' if name not in found else 'changed'}): the "
                    f"{self.name} of {self.source} is damaged; {self.mend}"
                )
        if self.first_read.setdefault(str(place), found) != found:
            raise DamagedWeights(f"files in {folder} have changed while they were in use; start again")
        return found

    @property
    def listed(self) -> dict[str, str]:
        """sha256 of each file by the list beside the suite; empty where there is none. The package's own has one."""
        for root in () if self.url or self.file else (self.base, bench_home() / "weights"):
            if (root / self.id).is_dir():
                sums = root / self.id / SUMS
                if not sums.is_file():
                    if root == HERE:
                        raise DamagedWeights(f"{sums} is missing; {self.mend}")
                    return {}
                try:
                    pairs = [line.split("  ", 1) for line in sums.read_text(encoding="utf-8").splitlines()]
                    below = f"{self.subfolder}/" if self.subfolder else ""
                    own = {name.removeprefix(below): sha256 for sha256, name in pairs if name.startswith(below)}
                except (OSError, ValueError) as error:
                    raise DamagedWeights(f"{sums} is no list of digests ({error}); {self.mend}") from error
                if not own:
                    raise DamagedWeights(f"{sums} lists no file of the {self.name}; {self.mend}")
                return own
        return {}

    def promised(self, path: Path, sha256: str) -> str:
        """The sha256 that a file should have by its name; `sha256` itself where its name promises nothing."""
        if not sha256:  # it cannot be read
            return ""
        if self.url or self.file:
            digits = path.stem.rpartition("-")[2]
            return sha256 if not HEX.fullmatch(digits) or sha256.startswith(digits) else ""
        blob = path.resolve()
        if blob.parent.name != "blobs" or not HEX.fullmatch(blob.name):
            return sha256
        if len(blob.name) == 64:  # a large file
            return blob.name
        content = path.read_bytes()  # a small one, by git's digest
        return sha256 if hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == blob.name else ""

    @cached_property
    def first_read(self) -> dict[str, dict[str, str]]:
        """What the files were when they were read first."""
        return {}

    @property
    def is_shipped(self) -> bool:
        """Whether the role is a part of the package."""
        return self.base == HERE and not self.how and not self.url and self.revision is None

    @property
    def mend(self) -> str:
        if self.is_shipped:
            return "install the package again, or check it out again"
        if self.how or self.url or (place := self.find()) is None or place == self.find_snapshot():
            return self.how or "remove it, and fetch it again with `python -m bench suite fetch paper`"
        return f"put it back, or, if that is meant, remove {SUMS} from the suite's folder"

    def digest_lines(self) -> list[str]:
        """What the role is, and its settings: a repository's pinned revision, or else a line for each file's content.

        A folder of the suite or of the user's weights is hashed even where a revision is named: nobody vouches for it.
        """
        place = self.locate()
        settings = f"{self.name} {sorted((self.settings or {}).items())}"
        if self.pinned and place == self.find_snapshot():
            return [f"{self.name} {self.source} {self.pinned}", settings]
        contents = self.read_contents(place)
        return [*(f"{self.name}/{name} {sha256}" for name, sha256 in contents.items()), settings]


def find_in_package(package: str, file: str) -> Path | None:
    """A file of an installed package, found without importing it; None where either is absent."""
    found = importlib.util.find_spec(package.replace("-", "_"))
    folders = [] if found is None else list(found.submodule_search_locations or [])
    return next((path for folder in folders if (path := Path(folder) / file).is_file()), None)


def list_files(place: Path) -> list[Path]:
    """The file itself, or all files below a folder but those of git, sorted; links to files that are gone too."""
    if place.is_file():
        return [place]
    below = (path for path in place.rglob("*") if ".git" not in path.parts)
    return sorted(
        path for path in below if path.is_file() or (path.is_symlink() and not path.is_dir()) or is_blob(path)
    )


def is_blob(path: Path) -> bool:
    """Whether a link leads to where the hub's cache keeps the contents of files."""
    return path.is_symlink() and path.resolve().parent.name == "blobs"


@contextmanager
def loading(role: Role) -> Iterator[None]:
    """Whatever goes wrong while the role's files are read is told as what it is: files that cannot be loaded."""
    LOADED.add(role.name)
    try:
        yield
    except (BenchError, MemoryError, ImportError):
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise
        reason = " ".join(str(error).split())[:300]
        raise DamagedWeights(
            f"the {role.name} in {role.find()} cannot be loaded ({type(error).__name__}: {reason}); {role.mend}"
        ) from error


def write_sums(folder: Path) -> None:
    """List the sha256 of every file in the folders of a suite, as `sha256sum --check` reads it."""
    lines = [f"{hash_file(path)}  {path.relative_to(folder).as_posix()}\n" for path in list_files(folder)]
    (folder / SUMS).write_text("".join(line for line in lines if "/" in line), encoding="utf-8")


def make_roles(settings: dict[str, Any], base: Path, kinds: Iterable[str] = ROLES) -> dict[str, Role]:
    """The roles of those kinds that a suite's settings name, in the order of `kinds`."""
    named = settings["roles"]
    return {name: Role(name=name, base=base, **named[name]) for name in kinds if name in named}


def suite_names() -> tuple[str, ...]:
    return tuple(tomllib.loads(CATALOGUE.read_text(encoding="utf-8")))


def find_suite(name: str | Path) -> tuple[str, dict[str, Any], Path]:
    """Name, settings and base folder of the suite of that name, or of the one that `<folder>/suite.toml` describes."""
    catalogue = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
    if str(name) in catalogue:
        return str(name), catalogue[str(name)], HERE
    folder = Path(name)
    if not (folder / "suite.toml").is_file():
        raise UnknownSuite(
            f"no suite {str(name)!r}; known are {', '.join(catalogue)}, or give a folder that holds a suite.toml"
        )
    return folder.name, tomllib.loads((folder / "suite.toml").read_text(encoding="utf-8")), folder


def verify_suite(name: str | Path) -> pd.DataFrame:
    """A row for each role: its kind, where it comes from, whether it is on this machine, its size and licence.

    Judges that share a folder share its megabytes: the second one's are 0.
    """
    import pandas as pd

    _, settings, base = find_suite(name)
    rows = []
    counted: set[Path] = set()
    for role in make_roles(settings, base).values():
        files = role.files
        size = sum(path.stat().st_size for path in files if path not in counted) / 1e6 if files else role.megabytes
        counted.update(files)
        rows.append(
            {
                "role": role.name,
                "kind": next(kind for kind, names in KINDS.items() if role.name in names),
                "source": role.source,
                "revision": role.revision or "in the package",
                "present": bool(files),
                "megabytes": None if size is None else round(size, 2),
                "licence": role.licence,
            }
        )
    return pd.DataFrame(rows)


def fetch_suite(name: str | Path, *, only: Iterable[str] | None = None) -> None:
    """Download the roles of a suite that are missing (or those that `only` names); only ever called on request.

    Safetensors are taken where a repository has them, pickled weights (read with `weights_only`) where it has no other.
    Roles that no hub holds are left out; `Role.explain` says how to come by them.
    """
    from huggingface_hub import list_repo_files, snapshot_download

    _, settings, base = find_suite(name)
    for role in make_roles(settings, base, ROLES if only is None else only).values():
        if role.find() is not None or role.how:
            continue
        if role.url:
            from torch.hub import load_state_dict_from_url

            load_state_dict_from_url(role.url, check_hash=True, map_location="cpu", weights_only=True)
            continue
        held = [path for path in list_repo_files(role.id, revision=role.pinned) if path.startswith(role.subfolder)]
        kinds = ("open_clip_model.safetensors", ".safetensors", "pytorch_model.bin")  # the first kind that it holds
        weights = next((f"*{kind}" for kind in kinds if any(path.endswith(kind) for path in held)), "")
        prefix = f"{role.subfolder}/" if role.subfolder else ""
        patterns = [f"{prefix}{pattern}" for pattern in ("*.json", "*.txt", weights) if pattern]
        unwanted = ["*.ckpt", "*.fp16.*", "*non_ema*", "*.msgpack", "*.h5"]
        snapshot_download(role.id, revision=role.pinned, allow_patterns=patterns, ignore_patterns=unwanted)
