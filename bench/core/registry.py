"""The registry: names of what can be run, with their roles, and the objects behind them, loaded only when asked for.

A name comes from one of three places: the table below, an entry point of an installed package in the group
`brain2video_bench.<kind>` (e.g. `brain2video_bench.methods`), or, for a class of your own, `path/file.py:Class`.
Nothing heavy is imported here: `python -m bench list` has to answer at once.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.core.errors import BenchError


class Entry(NamedTuple):
    """What is registered under a name."""

    target: str  # package.module:Attribute
    summary: str
    role: str = ""  # of a method: "method", "baseline" (sees the brain), "control" (a floor) or "ceiling"
    beside: bool = False  # run beside every method, as what its scores are held against
    modality: str = ""  # of a method: "eeg", "fmri", "any" or "none"; of a data set: "eeg" or "fmri"


BUILT_IN: Mapping[str, Mapping[str, Entry]] = {
    "methods": {
        "sam_net": Entry(
            "methods.sam_net:SamNet",
            "SAM-Net: EEG to video through regions, subjects and New2Source",
            "method",
            modality="eeg",
        ),
        "cine_neuron": Entry(
            "methods.cine_neuron:CineNeuron",
            "CineNeuron: fMRI to video through semantic enrichment and a mixture of memories",
            "method",
            modality="fmri",
        ),
        "random_clip": Entry(
            "baselines.floors.controls:RandomClip",
            "floor: a random training clip, no brain",
            "control",
            beside=True,
            modality="none",
        ),
        "train_mean": Entry(
            "baselines.floors.controls:TrainMean",
            "floor: the mean of the training clips, no brain",
            "control",
            beside=True,
            modality="none",
        ),
        "constant_grey": Entry(
            "baselines.floors.controls:ConstantGrey",
            "floor: a constant grey video, no brain",
            "control",
            beside=True,
            modality="none",
        ),
        "label_prior": Entry(
            "baselines.floors.controls:LabelPrior",
            "floor: the one clip that is the best answer to all, no brain",
            "control",
            beside=True,
            modality="none",
        ),
        "position_only": Entry(
            "baselines.floors.controls:PositionOnly",
            "floor: what the place in the block tells, no brain",
            "control",
            beside=True,
            modality="none",
        ),
        "noise_brain": Entry(
            "baselines.floors.controls:NoiseBrain",
            "floor: a trained method (retrieval) fed noise; --set method=",
            "control",
            beside=True,
            modality="any",
        ),
        "retrieval": Entry(
            "baselines.retrieval.method:Retrieval",
            "baseline: ridge from the brain to the likeliest training clip",
            "baseline",
            beside=True,
            modality="any",
        ),
        "eeg2video": Entry(
            "baselines.eeg2video:EEG2Video",
            "baseline: EEG2Video: windows of EEG to latents and text, dynamic-aware noise, Tune-A-Video",
            "method",
            modality="eeg",
        ),
        "mind_video": Entry(
            "baselines.mind_video:MindVideo",
            "baseline: MinD-Video: fMRI to video by a brain encoder",
            "method",
            modality="fmri",
        ),
        "mind_animator": Entry(
            "baselines.mind_animator:MindAnimator",
            "baseline: Mind-Animator: fMRI to video through semantics, structure and motion",
            "method",
            modality="fmri",
        ),
        "dynamind": Entry(
            "baselines.dynamind:DynaMind",
            "baseline: DynaMind: EEG to video by regions, prior and blueprint",
            "method",
            modality="eeg",
        ),
        "neuroclips": Entry(
            "baselines.neuroclips:NeuroClips",
            "baseline: NeuroClips: fMRI to key frame and blurry video, then AnimateDiff from both",
            "method",
            modality="fmri",
        ),
        "kupershmidt": Entry(
            "baselines.kupershmidt:Kupershmidt",
            "baseline: Kupershmidt et al.: fMRI to frames, also taught by unseen video through an encoder",
            "method",
            modality="fmri",
        ),
        "glfa": Entry(
            "baselines.glfa:Glfa",
            "baseline: GLFA: fMRI of several subjects on one common map, then to video",
            "method",
            modality="fmri",
        ),
        "cinesync": Entry(
            "baselines.cinesync:CineSync",
            "baseline: CineSync: fMRI or EEG through a transformer to the text tokens of a video transformer",
            "method",
            modality="any",
        ),
        "codec": Entry(
            "baselines.ceilings.methods:Codec",
            "ceiling: the true clip through the suite's autoencoder",
            "ceiling",
            beside=True,
            modality="none",
        ),
        "caption": Entry(
            "baselines.ceilings.methods:Caption",
            "ceiling: the true caption through the suite's generator",
            "ceiling",
            beside=True,
            modality="none",
        ),
        "ideal_observer": Entry(
            "baselines.ceilings.methods:IdealObserver",
            "ceiling: the phantom's own likelihood (phantoms only)",
            "ceiling",
            beside=True,
            modality="any",
        ),
        "dynamind_oracle": Entry(
            "baselines.dynamind:DynaMindOracle",
            "ceiling: true captions and inverted true latents through DynaMind's generator, as its script was released",
            "ceiling",
            modality="none",
        ),
    },
    "datasets": {
        "seed_dv": Entry(
            "bench.datasets.seed_dv.layout:SeedDV",
            "EEG of 20 subjects watching 1,400 clips (gated: needs --data-root)",
            modality="eeg",
        ),
        "phantom_eeg": Entry(
            "bench.datasets.seed_dv.layout:SeedDV",
            "synthetic EEG in SEED-DV's layout (also :tiny, :small, :full)",
            modality="eeg",
        ),
        "cc2017": Entry(
            "bench.datasets.cc2017.layout:CC2017",
            "fMRI of 3 subjects watching films, NeuroClips' tensors (needs --data-root)",
            modality="fmri",
        ),
        "phantom_fmri": Entry(
            "bench.datasets.cc2017.layout:CC2017",
            "synthetic fMRI in cc2017's layout (also :tiny, :small)",
            modality="fmri",
        ),
        "cinebrain": Entry(
            "bench.datasets.cinebrain.layout:CineBrain",
            "fMRI of 6 subjects watching a series (needs --data-root)",
            modality="fmri",
        ),
        "cinebrain_eeg": Entry(
            "bench.datasets.cinebrain.layout:CineBrain",
            "the EEG that was recorded beside cinebrain's fMRI",
            modality="eeg",
        ),
        "phantom_cinebrain": Entry(
            "bench.datasets.cinebrain.layout:CineBrain",
            "synthetic fMRI in CineBrain's layout (also :tiny, :small)",
            modality="fmri",
        ),
        "phantom_cinebrain_eeg": Entry(
            "bench.datasets.cinebrain.layout:CineBrain", "the EEG beside phantom_cinebrain's fMRI", modality="eeg"
        ),
    },
    "splits": {
        "single_subject": Entry("bench.core.splits:make_folds", "one model a subject, tested on its last block"),
        "cross_subject": Entry(
            "bench.core.splits:make_folds",
            "one model for the known subjects, tested on their last block",
        ),
        "new_subject": Entry(
            "bench.core.splits:make_folds", "tested on subjects known by a few calibration trials only"
        ),
    },
    "protocols": {
        "eeg2video": Entry("metrics.protocols:PROTOCOLS", "the SEED-DV papers' script, quirks included"),
        "neuroclips": Entry("metrics.protocols:PROTOCOLS", "as far as NeuroClips' paper says how it scored"),
        "neurons": Entry("metrics.protocols:PROTOCOLS", "NEURONS' eval_metrics.py"),
        "mind_animator": Entry("metrics.protocols:PROTOCOLS", "Mind-Animator's scripts: gated CLIP-pcc, Farneback EPE"),
        "cinebrain": Entry("metrics.protocols:PROTOCOLS", "CineBrain's columns: 2- and 50-way, DTC, CTC, FVD"),
        "vbench": Entry("metrics.protocols:PROTOCOLS", "VBench's motion and consistency dimensions, without a truth"),
        "corrected": Entry(
            "metrics.protocols:PROTOCOLS", "ours: top-1 truth, raw and normalised; motion with consistency"
        ),
    },
    "metrics": {},  # those of the project come with their protocols
    "suites": {
        "mini": Entry("bench.pretrained.suite:load_suite", "small networks that ship with the project"),
        "paper": Entry(
            "bench.pretrained.suite:load_suite", "the checkpoints that the papers name (fetched on request)"
        ),
    },
}


# a data set that is not shipped -> the phantom in its layout
STAND_INS = {
    "seed_dv": "phantom_eeg",
    "cc2017": "phantom_fmri",
    "cinebrain": "phantom_cinebrain",
    "cinebrain_eeg": "phantom_cinebrain_eeg",
}


LIVE: dict[str, type] = {}  # methods whose class itself was handed over, as in a notebook, by the class's name


class UnknownName(BenchError):
    """A name that nothing is registered under, or behind which nothing can be loaded."""


def names(kind: str) -> list[str]:
    """All names of a kind: the built-in ones in their order, then those of installed packages, sorted."""
    return [*built_in(kind), *sorted(entry_points(kind))]


def describe(kind: str, name: str) -> str:
    """One line about a name, without loading what is behind it."""
    if name in built_in(kind):
        return built_in(kind)[name].summary
    return f"from {target(kind, name)}"


def add_class(made: type) -> str:
    """Register a method's class itself and return the name that it is known by in this process: the class's own.

    Raises UnknownName where that is the name of something else.
    """
    name = made.__name__
    if name in names("methods"):
        raise UnknownName(f"a method called {name!r} is registered already; give the class another name")
    LIVE[name] = made
    return name


def modality_of(kind: str, name: str) -> str:
    """What a method reads ("eeg", "fmri", "any" or "none"), or what a data set holds; empty where it is not known.

    Loads a method of the user's own to ask it, and never a data set.
    """
    entry = BUILT_IN[kind].get(name.partition(":")[0])
    if entry is not None:
        return entry.modality
    return str(getattr(resolve(kind, name), "modality", "")) if kind == "methods" else ""


def role_of(method: str) -> str:
    """What a method is in the tables: "method", "baseline", "control" or "ceiling". Only this table gives a role."""
    entry = BUILT_IN["methods"].get(method)
    return entry.role if entry else "method"


def references() -> list[str]:
    """The methods that are run beside every other: floors, then baselines, then ceilings."""
    order = ("control", "baseline", "ceiling")
    beside = [(name, entry.role) for name, entry in BUILT_IN["methods"].items() if entry.beside]
    return [name for name, role in sorted(beside, key=lambda one: order.index(one[1]))]


def resolve(kind: str, name: str) -> Any:
    """The object behind a name of a kind, or behind `path/file.py:Class`.

    Raises UnknownName for names that are not there (with the nearest and all allowed ones), for files and classes
    that do not exist, and for modules that cannot be imported.
    """
    if kind == "methods" and name in LIVE:
        return LIVE[name]
    module_name, _, attribute = target(kind, name).rpartition(":")
    try:
        module = load_file(Path(module_name)) if module_name.endswith(".py") else importlib.import_module(module_name)
    except (ImportError, SyntaxError) as error:
        raise UnknownName(
            f"{name!r} cannot be loaded from {module_name}: {error}; install or repair what is missing"
        ) from error
    if not hasattr(module, attribute):
        defined = [one for one in vars(module) if not one.startswith("_")]
        raise UnknownName(f"{module_name} has no {attribute!r}{suggest(attribute, defined)}")
    return getattr(module, attribute)


def target(kind: str, name: str) -> str:
    """Where the object behind a name is: `package.module:Attribute` or `/absolute/file.py:Class`. Loads nothing."""
    if name in built_in(kind):
        return built_in(kind)[name].target
    if kind == "methods" and name in LIVE:
        return f"{LIVE[name].__module__}:{name}"
    path, _, attribute = name.rpartition(":")
    if path.endswith(".py"):
        if not Path(path).is_file():
            raise UnknownName(f"{name!r} of {kind}: there is no file {path}; name it from here or in full")
        if not attribute.isidentifier():
            raise UnknownName(f"{name!r} of {kind}: after the colon comes the name of a class, as in file.py:Class")
        return f"{Path(path).resolve()}:{attribute}"
    if name.endswith(".py"):
        raise UnknownName(f"{name!r} of {kind} lacks the class; write {name}:Class")
    if name in entry_points(kind):
        return entry_points(kind)[name]
    known = names(kind)
    raise UnknownName(
        f"unknown name {name!r} of {kind}{suggest(name, known)}; there are {', '.join(known)}, or path/file.py:Class"
    )


def digest_source(kind: str, name: str) -> str:
    """sha256 of the file behind `path/file.py:Class` or behind a class itself; empty for what is installed.

    The version of what is installed speaks for it. A class without a file, as of a notebook, is known by its pickled
    form, which holds the functions that it uses: the same in this session, another in the next.
    """
    if kind == "methods" and name in LIVE:
        source = inspect.getsourcefile(LIVE[name]) if LIVE[name].__module__ != "__main__" else main_file()
        if source is not None and Path(source).is_file():
            return hashlib.sha256(Path(source).read_bytes()).hexdigest()
        import cloudpickle

        _ = LIVE[name].__annotations__  # which Python adds to a class only when someone first asks for them
        return hashlib.sha256(cloudpickle.dumps(LIVE[name])).hexdigest()
    module_name = target(kind, name).rpartition(":")[0]
    return hashlib.sha256(Path(module_name).read_bytes()).hexdigest() if module_name.endswith(".py") else ""


def main_file() -> str | None:
    """The script that is run, None in a notebook or at a prompt."""
    return getattr(sys.modules["__main__"], "__file__", None)


def built_in(kind: str) -> Mapping[str, Entry]:
    if kind not in BUILT_IN:
        raise UnknownName(f"unknown kind {kind!r}{suggest(kind, BUILT_IN)}; there are {', '.join(BUILT_IN)}")
    return BUILT_IN[kind]


@functools.cache
def entry_points(kind: str) -> dict[str, str]:
    """Names that installed packages add to a kind; raises UnknownName where one takes a name that is taken."""
    group = f"brain2video_bench.{kind}"
    found: dict[str, str] = {}
    for point in importlib.metadata.entry_points(group=group):
        owner = point.dist.name if point.dist else "an installed package"
        if point.name in BUILT_IN[kind] or found.get(point.name, point.value) != point.value:
            raise UnknownName(
                f"{owner} registers {point.name!r} of {group}, a name that is taken; uninstall one of them"
            )
        if ":" not in point.value:
            raise UnknownName(f"{owner} registers {point.value!r} of {group}; it must have the form module:Attribute")
        found[point.name] = point.value
    return found


def load_file(path: Path) -> Any:
    """Import a file by its path, once a process; its module name is made of the path, so two files never collide."""
    name = f"bench_file_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UnknownName(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def suggest(name: str, known: Iterable[str]) -> str:
    """', did you mean …?' for what is nearest, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f", did you mean {' or '.join(near)}?" if near else ""
