"""Where a result comes from: code, packages, machine. Written into every manifest; no part of any key.

Nothing heavy is imported for it: versions are read from package metadata, and a GPU is named only where torch is
loaded already.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.version import __version__

PACKAGES = (
    "accelerate",
    "av",
    "datasets",
    "decord",
    "diffusers",
    "mne",
    "numpy",
    "open_clip_torch",
    "opencv-python-headless",
    "pandas",
    "pyarrow",
    "safetensors",
    "scikit-image",
    "scipy",
    "torch",
    "torchvision",
    "transformers",
)
SOURCES = (".py", ".toml")
DETERMINING = (*SOURCES, ".json", ".safetensors")


def describe() -> dict[str, Any]:
    """Plain values: bench version, commit, dirty, python, packages, machine, threads, gpus."""
    return {
        "bench": __version__,
        **find_commit(Path(__file__).parents[1]),
        "python": platform.python_version(),
        "packages": find_versions(),
        "machine": describe_machine(),
        "threads": count_threads(),
        "gpus": find_gpus(),
    }


@functools.cache
def find_commit(folder: Path) -> dict[str, Any]:
    """`commit` and `dirty` of the repository that tracks the harness itself, not of the one it is called from.

    Both are None where the harness is installed without a repository, or git is not there. A repository that merely
    surrounds an installed copy (site-packages below a project of the user's) does not count: it tracks none of it.
    """
    nothing = {"commit": None, "dirty": None}
    if ask_git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return nothing
    commit = ask_git(folder, "rev-parse", "HEAD")
    # code and weights anywhere in the repository, new files too: methods determine a result as much as the harness
    changes = ask_git(folder, "status", "--porcelain", "--", *(f":/*{suffix}" for suffix in DETERMINING))
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def ask_git(folder: Path, *arguments: str) -> str | None:
    """What git answers about a folder, or None where it has no answer."""
    environment = {name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE")}
    try:
        answer = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
            timeout=20,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


@functools.cache
def find_versions() -> dict[str, str]:
    """Installed versions of the packages that a result may depend on; an absent one is left out."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


@functools.cache
def describe_machine() -> dict[str, Any]:
    """Operating system, processor, cores that this process may use, and memory in bytes (None where unknown)."""
    return {
        "system": platform.platform(),
        "processor": find_processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": find_memory(),
    }


def find_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def find_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def count_threads() -> int | None:
    """Threads that torch computes with, where it is loaded; else what the environment asks for."""
    if "torch" in sys.modules:
        return sys.modules["torch"].get_num_threads()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() else None


def find_gpus() -> list[str]:
    """Names of the GPUs that torch sees; none where torch is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def peak_memory() -> int | None:
    """The most memory that this process has held so far, in bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kibibytes everywhere else


def digest_tree(package: str) -> str:
    """sha256 of the sources (.py, .toml) below a package such as "methods.sam_net": paths and contents.

    Nothing is imported. Raises BenchError for a package that is not there.
    """
    top, *rest = package.split(".")
    spec = importlib.util.find_spec(top)
    places = [Path(place, *rest) for place in (spec.submodule_search_locations or [])] if spec else []
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise BenchError(f"there is no package {package!r}; name one of the project's, like methods.sam_net")
    state = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in SOURCES and path.is_file():
            content = path.read_bytes()
            state.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return state.hexdigest()
