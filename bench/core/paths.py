"""Where data, caches and the folders that a user names lie, and how many cores there are to work with."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path


def bench_home() -> Path:
    """Where data and caches lie: BENCH_HOME, or a folder in the user's cache.

    A user without a home, as in some containers, has them in the folder for temporary files.
    """
    named = os.environ.get("BENCH_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(named).expanduser() if named else find_user_folder(cache) / "brain2video-bench"
    except (RuntimeError, KeyError):  # neither HOME nor the list of users knows one
        return Path(tempfile.gettempdir()) / f"brain2video-bench-{os.getuid() if hasattr(os, 'getuid') else 0}"


def find_user_folder(path: str) -> Path:
    """A folder that may begin with `~`. An empty HOME is none: what is in it would land in the root of the disk."""
    if path.startswith("~/") and os.environ.get("HOME") == "":
        import pwd

        return Path(pwd.getpwuid(os.getuid()).pw_dir) / path[2:]
    return Path(path).expanduser()


def spare_home(*, make: bool = False) -> Path | None:
    """Where data and caches go where the home takes none: a folder of this user's in the place for temporary files.

    Who only looks makes none. None where there is no such place, or where somebody else has taken the name.
    """
    try:
        user = os.getuid() if hasattr(os, "getuid") else 0
        folder = Path(tempfile.gettempdir()) / f"brain2video-bench-{user}"
        if make:
            folder.mkdir(mode=0o700, exist_ok=True)
        told = folder.lstat()
    except FileNotFoundError:
        return None if make else folder
    except OSError:
        return None
    return folder if stat.S_ISDIR(told.st_mode) and (not hasattr(os, "getuid") or told.st_uid == user) else None


def homes() -> list[Path]:
    """Where to look for what is kept and to keep what is made, in this order: the home, and a spare one."""
    spare = spare_home()
    return [bench_home()] if spare is None else [bench_home(), spare]


def find_root(data_root: Path | str | None) -> Path | None:
    """The folder that was named, by an option or BENCH_DATA."""
    place = data_root or os.environ.get("BENCH_DATA")
    return Path(place) if place else None


def find_checkout() -> Path | None:
    """The folder of the sources that this package runs from; None where it was installed from a wheel."""
    folder = Path(__file__).parents[2]
    return folder if (folder / "pyproject.toml").is_file() else None


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
