"""Where a result comes from: code, packages, machine. Written into every manifest and every table of scores.

It is no part of any key: the same cell may be made under another torch, on another device. `list_differences` says in
which of it results differ that are reused together or stand in one table.

Nothing heavy is imported for it: versions are read from package metadata, and a GPU is named only where torch is
loaded already.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.core.sources import OURS
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
DETERMINING = (".py", ".toml", ".json", ".safetensors")


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
    # code and weights of our packages, new files too: methods determine a result as much as the harness. Elsewhere lie
    # stores, tables and files of the user's own: the code of these is in the key wherever it lies.
    ours = [f":/{package}/*{suffix}" for package in OURS for suffix in DETERMINING]
    changes = ask_git(folder, "status", "--porcelain", "--", *ours)
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


Making = tuple[str, Mapping[str, Any]]  # what was made (a method, a metric), and the `describe` of how


def list_differences(makings: Iterable[Making], *, doing: str = "made") -> list[str]:
    """A line for each package, device, … in which results were not made alike, and one for code that is in no commit.

    >>> torch = {"packages": {"torch": "2.11"}}, {"packages": {"torch": "2.12"}}
    >>> list_differences([("retrieval", torch[0]), ("sam_net", torch[1]), ("codec", torch[0])])
    ['not made alike: torch 2.11 (codec, retrieval); torch 2.12 (sam_net)']
    """
    by_part: dict[str, dict[str, set[str]]] = {}
    changed: set[str] = set()
    for what, making in makings:
        for part, value in list_parts(making):
            by_part.setdefault(part, {}).setdefault(value, set()).add(what)
        if making.get("dirty"):
            changed.add(what)
    lines = [
        f"not {doing} alike: " + "; ".join(f"{part} {value} ({shorten(on)})" for value, on in sorted(values.items()))
        for part, values in sorted(by_part.items())
        if len(values) > 1
    ]
    if changed:
        lines.append(f"{doing} by code that was changed since its commit (dirty): {shorten(changed)}")
    return lines


def list_parts(making: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """What may change the last digits of a result: packages, Python, processor, devices, threads."""
    yield from making.get("packages", {}).items()
    yield from ((name, str(making[name])) for name in ("python", "threads") if name in making)
    if "machine" in making:
        yield "processor", str(making["machine"].get("processor"))
    if "gpus" in making:
        # Of before a device could be chosen: the GPU, if there was one.
        devices = making.get("device", "cuda").split(",")
        on_gpu, several = devices[0] != "cpu", f" ({len(devices)} for a cell)" * (len(devices) > 1)
        yield "device", ((", ".join(making["gpus"]) if on_gpu else "") or "cpu") + several


def shorten(names: Iterable[str], most: int = 4) -> str:
    """The names in order; of many only some and their number."""
    ordered = sorted(names)
    return ", ".join(ordered[:most]) + (f" and {len(ordered) - most} more" if len(ordered) > most else "")
