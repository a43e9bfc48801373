"""Roles: where each network of a suite comes from, whether it is on this machine, and what to do where it is not.

A suite has three kinds of roles. *Generators* draw videos and are all required; their digest keys predictions. *Wan* is
another video model with an autoencoder and a text encoder of its own; it is optional, and its digest keys the
predictions of the methods that use it. *Judges* look at videos and are each optional, because a metric that asks for an
absent one is left out and the rest goes on; each judge's own digest keys the scores that it gives.

A role is looked for as a folder beside the suite's description, then as a folder in the user's own weights
(`weights/` in the cache folder), then in the local Hugging Face cache (for a role with an address: torch's). Nothing is
downloaded unless `fetch_suite` is called.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError
from bench.core.paths import bench_home

if TYPE_CHECKING:
    import pandas as pd

HERE = Path(__file__).parent
CATALOGUE = HERE / "suites.toml"
GENERATORS = ("vae", "tokenizer", "text_encoder", "unet", "scheduler", "motion_adapter", "sparse_control")
WAN = ("wan_transformer", "wan_vae", "wan_tokenizer", "wan_text_encoder")
JUDGES = (
    *("video_judge", "frame_judge", "clip", "clip_large", "vifi", "dino", "dinov2"),
    *("raft", "action", "amt"),
)
ROLES = (*GENERATORS, *WAN, *JUDGES)
KINDS = {"generator": GENERATORS, "wan": WAN, "judge": JUDGES}
UNPINNED = "unpinned"
WEIGHTS = ("*.safetensors", "*.pth", "*.bin")  # a folder without any of them (or a scheduler's json) holds no network


class MissingWeights(BenchError):
    """A role of a suite is not on this machine."""


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
    how: str = ""  # how to come by it, where fetching cannot

    @property
    def files(self) -> list[Path]:
        """The role's files on this machine, sorted; empty where it is absent."""
        place = self.find()
        if place is None:
            return []
        if place.is_file():
            return [place]
        return sorted(path for path in place.rglob("*") if path.is_file() and ".git" not in path.parts)

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
        remedy = self.how or (
            "fetch it with `python -m bench suite fetch paper`, or build the small suite with "
            "`python -m bench suite build mini`"
        )
        remedy = remedy.replace("{weights}", str(bench_home() / "weights"))
        return (
            f"the {self.name}, {self.source} (revision {self.revision or UNPINNED}, {size}, licence "
            f"{self.licence}), is not on this machine; {remedy}"
        )

    def locate(self) -> Path:
        """The role's folder or file. Raises `MissingWeights`, which says what to fetch."""
        place = self.find()
        if place is None:
            raise MissingWeights(self.explain())
        return place

    def digest_lines(self) -> list[str]:
        """What the role is, and its settings: a repository's pinned revision, or else a line for each file's content.

        A folder of the suite or of the user's weights is hashed even where a revision is named: nobody vouches for it.
        """
        place = self.locate()
        settings = f"{self.name} {sorted((self.settings or {}).items())}"
        if self.pinned and place == self.find_snapshot():
            return [f"{self.name} {self.source} {self.pinned}", settings]
        folder = place.parent if place.is_file() else place
        hashes = ((path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in self.files)
        return [*(f"{self.name}/{path.relative_to(folder).as_posix()} {digest}" for path, digest in hashes), settings]


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
