"""The data sets by name: opens them, makes the phantoms that are not there yet, verifies and describes.

A name is `kind` or, for a phantom, `kind:size`; or it is one from outside (`bench.datasets.outside`). `cinebrain_eeg`
and `phantom_cinebrain_eeg` are the EEG in the same files as `cinebrain` and `phantom_cinebrain`. `cc2017:33x480x720` is
cc2017 with clips of so many frames of that height and width, cut from the films.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.built_in import DEFAULT_SIZE, STAND_INS
from bench.core.errors import DatasetError
from bench.core.paths import available_cores, bench_home, find_root, homes, spare_home
from bench.core.progress import complain, warn_once
from bench.core.registry import entry_points
from bench.core.registry import names as registered_names
from bench.core.spec import digest
from bench.datasets.manifest import DamagedPhantom, check_phantom
from bench.datasets.phantom.eeg.spec import SIZES, PhantomSpec, find_spec
from bench.datasets.phantom.fmri import spec as fmri_spec
from bench.datasets.phantom.fmri.spec import FmriSpec, find_fmri_spec
from bench.datasets.phantom.publish import NoRoom
from bench.datasets.regions import UNLABELLED
from bench.datasets.seed_dv.concepts import CONCEPTS
from bench.store import disk
from bench.store.cache import State, state_of
from bench.store.contents import find_changes, forget

if TYPE_CHECKING:
    import pandas as pd

REAL = ("seed_dv", "cc2017", "cinebrain", "cinebrain_eeg")
PHANTOMS: dict[str, Mapping[str, Any]] = {"phantom_eeg": SIZES, **fmri_spec.SIZES}  # kind -> size -> spec
FILMS = re.compile(r"cc2017:([1-9][0-9]{0,2})x([1-9][0-9]{0,3})x([1-9][0-9]{0,3})")
EEG_VIEW = "_eeg"  # of a data set that holds both
AnySpec = PhantomSpec | FmriSpec


class NotMade(DatasetError):
    """A phantom that would have to be made first."""


def dataset_names() -> tuple[str, ...]:
    """Names that `open_dataset` takes."""
    kinds = (*PHANTOMS, "phantom_cinebrain_eeg")
    sized = (f"{kind}:{size}" for kind in kinds for size in PHANTOMS[files_of(kind)])
    return (*REAL, *kinds, *sized)


def film_shape(name: str) -> tuple[int, int, int] | None:
    """Frames, height and width of the clips that are to be cut from cc2017's films; None for any other name."""
    found = FILMS.fullmatch(name)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


def files_of(kind: str) -> str:
    """The kind whose files a kind is read from."""
    return kind.removesuffix(EEG_VIEW) if kind.endswith("cinebrain_eeg") else kind


def open_dataset(
    name: str, *, data_root: Path | str | None = None, processes: int | None = None, make: bool = True
) -> Any:
    """Open a data set (`bench.core.contracts.Dataset`); a phantom is made first, with `processes` (default one a core).

    With `make=False` nothing is made: a phantom that is not there raises NotMade.

    `data_root` (or BENCH_DATA) is where a real data set lies; for a phantom, a folder to read instead of the cache.
    Raises UnknownName for an unknown name, DatasetError where a root is missing or incomplete.
    """
    if is_outside(name):
        from bench.datasets.outside import open_outside

        return open_outside(name, find_root(data_root), bench_home() / "cache")
    spec = phantom_spec(name)
    if spec is not None and data_root is None:
        if make:
            return load_dataset(name, make_phantom(spec, processes=processes))
        there = [folder for folder in phantom_places(spec) if folder.is_dir()]
        if not there:
            raise NotMade(f"{name} is not on this machine yet; `python -m bench data make {name}` makes it")
        check_phantom(there[0], bench_home() / "cache", spec=spec.as_dict())
        return load_dataset(name, there[0])
    if spec is not None:
        root = Path(str(data_root))
        if not (root / "manifest.json").is_file():
            raise DatasetError(f"{root} holds no phantom (no manifest.json); leave the root out and it is made")
        return read_dataset(name, root)
    place = find_root(data_root)
    if place is None:
        raise DatasetError(
            f"{name} is not shipped: name its folder with --data-root DIR or BENCH_DATA ({content_of(name)}), "
            f"or use --dataset {STAND_INS[name.partition(':')[0]]}, which is made here"
        )
    return read_dataset(name, place)


def is_outside(name: str) -> bool:
    """Whether a name is a file's class, or the data set of an installed package."""
    return ".py" in name or name in entry_points("datasets")


def read_dataset(name: str, root: Path, *, cache: Path | None = None) -> Any:
    """The loader of a name's layout on a folder, with the truth of a phantom; `cache` is where derived files go.

    Raises DamagedPhantom for a phantom whose files are not as its manifest says.
    """
    cache = cache or bench_home() / "cache"
    if phantom_spec(name) is not None or any((root / part).exists() for part in ("manifest.json", "truth")):
        check_phantom(root, cache)
    return load_dataset(name, root, cache=cache)


def load_dataset(name: str, root: Path, *, cache: Path | None = None) -> Any:
    """As `read_dataset`, for a folder that has been checked."""
    kind = name.partition(":")[0]
    cache = cache or bench_home() / "cache"
    how: dict[str, Any] = {"cache": cache, "name": name, "open_truth": choose_truth(kind, root)}
    if kind in ("seed_dv", "phantom_eeg"):
        from bench.datasets.seed_dv.layout import SeedDV

        return SeedDV(root, **how)
    if (shape := film_shape(name)) is not None:
        from bench.datasets.cc2017.films import CC2017Films

        return CC2017Films(root, shape=shape, **how)
    if kind in ("cc2017", "phantom_fmri"):
        from bench.datasets.cc2017.layout import CC2017

        return CC2017(root, **how)
    from bench.datasets.cinebrain.layout import CineBrain

    return CineBrain(root, kind="eeg" if kind.endswith(EEG_VIEW) else "fmri", **how)


def require_stimuli(dataset: Any) -> None:
    """Raise DatasetError, naming the first files, where videos or captions that a data set shows are not there."""
    if hasattr(type(dataset), "require_stimuli"):
        dataset.require_stimuli()


def choose_truth(kind: str, root: Path) -> Callable[[Any], Any] | None:
    """What opens the likelihood model of a phantom's folder; None for a folder of recordings."""
    if not (root / "truth").is_dir():
        return None
    if kind in ("seed_dv", "phantom_eeg"):
        from bench.datasets.phantom.eeg.observer import Truth

        return Truth
    from bench.datasets.phantom.fmri.observer import open_truth

    return open_truth


def content_of(name: str) -> str:
    """What the folder of a real data set holds and where to get it."""
    if name == "seed_dv":
        from bench.datasets.seed_dv.layout import APPLY

        return f"the folder that holds EEG/ and Video/; {APPLY}"
    if name == "cc2017":
        from bench.datasets.cc2017.captions import FETCH as FETCH_CC2017

        return f"the folder that holds subj01_train_fmri.pt; {FETCH_CC2017}"
    if film_shape(name) is not None:
        from bench.datasets.cc2017.captions import FETCH as FETCH_CC2017
        from bench.datasets.cc2017.films import FETCH as FETCH_FILMS

        return f"the folder that holds subj01_train_fmri.pt and stimuli/; {FETCH_CC2017}; {FETCH_FILMS}"
    from bench.datasets.cinebrain.layout import FETCH

    return f"the folder that holds sub-0001_train_va.json; {FETCH}"


def phantom_spec(name: str) -> AnySpec | None:
    """The spec behind a phantom's name, None for real data; raises UnknownName for anything else."""
    kind, _, size = name.partition(":")
    if files_of(kind) in fmri_spec.SIZES:
        return find_fmri_spec(files_of(kind), size or DEFAULT_SIZE)
    if kind == "phantom_eeg":
        return find_spec(size or DEFAULT_SIZE)
    if name not in REAL and film_shape(name) is None:
        from bench.core.registry import UnknownName

        known = sorted({*dataset_names(), *registered_names("datasets")})
        raise UnknownName(
            f"unknown data set {name!r}; there are {', '.join(known)}, or path/file.py:Class; "
            "cc2017:FRAMESxHEIGHTxWIDTH cuts its clips from the films"
        )
    return None


def concept_names(name: str) -> tuple[str, ...]:
    """The concepts that a data set shows, known without opening it: a phantom's, or those of its release."""
    spec = phantom_spec(name)
    if spec is not None:
        return spec.geometry.names if isinstance(spec, PhantomSpec) else spec.names
    return CONCEPTS if name == "seed_dv" else (UNLABELLED,)


def phantom_folder(spec: AnySpec) -> Path:
    return bench_home() / "phantoms" / f"{kind_of(spec)}-{spec.size}-{digest(spec.as_dict())[:12]}"


def kind_of(spec: AnySpec) -> str:
    """The name of the phantom that a spec describes."""
    if isinstance(spec, PhantomSpec):
        return "phantom_eeg"
    return "phantom_fmri" if spec.layout == "cc2017" else "phantom_cinebrain"


def phantom_places(spec: AnySpec) -> list[Path]:
    """Where a phantom is looked for and made: the home, and the spare one where that takes none."""
    return [home / "phantoms" / phantom_folder(spec).name for home in homes()]


def make_phantom(spec: AnySpec, *, processes: int | None = None) -> Path:
    """The folder of the phantom, whole: made where it is not there, and made again where a file of it is damaged.

    What is damaged is moved to `phantoms/quarantine`, with a warning. Raises NoRoom where neither the home nor the
    spare one can hold it.
    """
    cache, fits = bench_home() / "cache", []
    for folder in phantom_places(spec):
        if not folder.exists():
            fits.append(folder)
            continue
        seen = state_of(folder)
        try:
            check_phantom(folder, cache, spec=spec.as_dict())
            return folder
        except DamagedPhantom as error:
            fits += [folder] if set_aside(folder, seen, error.files) else []
    for folder in fits:
        if bench_home() not in folder.parents:
            spare_home(make=True)
        try:
            write(spec, folder, processes or (1 if spec.size == "tiny" else available_cores()))
        except NoRoom as error:
            if folder == fits[-1]:
                raise
            warn_once(f"{error}. The phantom is made in {fits[-1].parent} for now")
            continue
        check_phantom(folder, cache, spec=spec.as_dict())
        return folder
    raise NoRoom(f"the phantom in {phantom_folder(spec)} is damaged and cannot be replaced there; set BENCH_HOME")


def write(spec: AnySpec, folder: Path, processes: int) -> None:
    """Make the phantom at `folder`."""
    if isinstance(spec, PhantomSpec):
        from bench.datasets.phantom.eeg.writer import write_phantom

        write_phantom(spec, folder, processes=processes)
    else:
        from bench.datasets.phantom.fmri.writer import write_fmri_phantom

        write_fmri_phantom(spec, folder, processes=processes)


def set_aside(folder: Path, seen: State, damaged: Mapping[str, str]) -> bool:
    """Take a damaged phantom away and keep its damaged files in quarantine; False where the folder is not ours to move.

    `seen` is the state of the folder when it was looked at. Another process may have seen the same damage and made the
    phantom again by now: another folder than that is put back.
    """
    away = folder.with_name(disk.temporary_name("damaged"))
    try:
        folder.rename(away)
    except FileNotFoundError:  # another process was faster
        return True
    except OSError as error:
        warn_once(f"{folder} is damaged and cannot be moved away ({error.strerror or error})")
        return False
    try:
        now = state_of(away)
        if (now.inode, now.modified) != (seen.inode, seen.modified):
            disk.move_new(away, folder)
            return True
        where = keep_damaged(away, folder, damaged)
    finally:
        disk.remove(away)
        disk.LIVE.discard(away.name)
    for name, why in damaged.items():
        complain(f"warning: {folder / name} {why}; {where}, and the phantom is made again")
    return True


def keep_damaged(away: Path, folder: Path, damaged: Mapping[str, str]) -> str:
    """Move the damaged files of a phantom into quarantine; says where they went, or that there was no room."""
    try:
        pen = disk.new_place(folder.with_name("quarantine"), folder.name)
        reasons = "".join(f"{folder / name}: {why}\n" for name, why in damaged.items())
        (pen / "reason.txt").write_text(reasons, encoding="utf-8")
        for name in damaged:
            if os.path.lexists(away / name):
                (pen / name).parent.mkdir(parents=True, exist_ok=True)
                (away / name).rename(pen / name)
    except OSError:
        return "removed"
    return f"moved to {pen}"


def verify(name: str, root: Path | str | None) -> pd.DataFrame:
    """What of a data set is there, missing or malformed: file (or part), status, detail."""
    if is_outside(name):
        from bench.datasets.outside import verify_outside

        return verify_outside(name, find_root(root), bench_home() / "cache")
    from bench.datasets.cc2017.verify import verify_cc2017
    from bench.datasets.cinebrain.verify import verify_cinebrain
    from bench.datasets.seed_dv.verify import verify_seed_dv

    spec = phantom_spec(name)
    if root is None and spec is not None:
        there = [folder for folder in phantom_places(spec) if folder.is_dir()]
        root = there[0] if there else make_phantom(spec)
    root = find_root(root)
    if root is None:
        raise DatasetError(f"verify {name}: name its folder with --root DIR or BENCH_DATA")
    kind = name.partition(":")[0]
    if kind in ("seed_dv", "phantom_eeg"):
        report = verify_seed_dv(root)
    else:
        report = verify_cc2017(root) if kind in ("cc2017", "phantom_fmri") else verify_cinebrain(root)
    if not (report["status"] == "ok").any():  # a folder that holds part of it is no fault, one that holds none is
        report.loc[len(report)] = (kind, "missing", f"nothing of it is in {root}; name {content_of(name)}")
    return report_changes(report, root)


def report_changes(report: pd.DataFrame, root: Path) -> pd.DataFrame:
    """The report with the files of recordings that have another content than when they were read first.

    Nothing is remembered of the files after that: they are taken as they are when the data set is opened next.
    """
    cache = bench_home() / "cache"
    changed = [] if (root / "manifest.json").exists() else find_changes(root, cache)
    forget(root, cache)
    detail = "its content is not what it was when it was first read here; asked again, it is taken as it is"
    gone = set(report.loc[report["status"].isin(["absent", "missing"]), "file"])  # said already
    for name in [one for one in changed if one not in gone]:
        report.loc[len(report)] = [name, "changed", detail]
    return report


def shipped_card(name: str) -> pd.DataFrame | None:
    """The card of a phantom that ships with the code, without making the phantom; None for any other data set."""
    spec = None if is_outside(name) else phantom_spec(name)
    if spec is None:
        return None
    if isinstance(spec, PhantomSpec):
        from bench.datasets.phantom.eeg import card as eeg

        return eeg.shipped_card(spec)
    from bench.datasets.phantom.fmri import card as fmri

    return fmri.shipped_card(spec, "eeg" if name.partition(":")[0].endswith(EEG_VIEW) else "fmri")


def info(dataset: Any) -> pd.DataFrame:
    """Figures of an open data set: the measured card of a phantom, the geometry of a real one."""
    import pandas as pd

    if dataset.truth is not None:
        if isinstance(dataset.truth.spec, PhantomSpec):
            from bench.datasets.phantom.eeg.card import phantom_card

            return phantom_card(dataset)
        from bench.datasets.phantom.fmri.card import fmri_card

        return fmri_card(dataset)
    facts = {
        "subjects": len(dataset.subjects),
        "trials": len(dataset.trials),
        "clips": len(dataset.stimuli),
        "concepts": len(dataset.concepts),
        "channels": len(dataset.channels),
        "sampling rate (Hz)": dataset.sampling_rate,
        "digest": dataset.digest,
    }
    if dataset.modality == "fmri":
        facts["voxels by subject"] = " ".join(str(len(regions)) for regions in dataset.rois.values())
    return pd.DataFrame({"figure": list(facts), "value": [str(value) for value in facts.values()]})
