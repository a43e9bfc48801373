"""How good the audits are: how often they find what is planted, and how often they find what is not.

Each seed is a tiny phantom of its own (other heads, noise, clips). Its recordings are made clean and once with each
confound of `PLANTED`; leaks that are no brain's are planted into the harness itself (`PLANTS`). An audit counts as an
alarm when any of its rows says "found". Thresholds, strengths and statistics were chosen on seeds from 1000 on; the
table that is shown is of seeds from 0. Of seeds 0-49 every audit found what was planted in all 50, but for the leaked
label, in 49; on the clean ones that audit spoke twice and `frames` once (two clips of one concept that were drawn
alike), the others never.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from bench.audit.collapse import audit_collapse, describe
from bench.audit.copies import audit_copies
from bench.audit.disjointness import audit_disjointness, compare_folds
from bench.audit.findings import FOUND, Finding
from bench.audit.fitting import Altered, audit_fitting
from bench.audit.recordings import audit_recordings
from bench.core.contracts import Dataset
from bench.core.progress import track
from bench.core.seeds import derive_seed
from bench.core.splits import Fold, make_folds
from bench.datasets.catalogue import read_dataset
from bench.datasets.duplicates import compare_trials, tabulate_trials
from bench.datasets.phantom.eeg.spec import PLANTED, SIZES, PhantomSpec
from bench.harness.inputs import measured_subject
from bench.harness.normalise import Scaling, measure_scalings

AUDIT_OF = {  # the audit that must find each planted confound of the recordings
    "block_drift": "time in block",
    "run_offset": "run position",
    "hint_response": "hint response",
    "leaked_label": "leaked label",
}
COLUMNS = (
    "audit",
    "planted",
    "strength",
    "seeds",
    "detected",
    "detection",
    "false alarms",
    "false alarm rate",
    "elsewhere",
)
COPIES = 2  # of the tiny phantom's ten test clips, planted as copies of training clips


def measure_audits(
    seeds: int = 50, *, processes: int | None = None, first: int = 0, strengths: Mapping[str, float] = PLANTED
) -> pd.DataFrame:
    """A row an audit: detected and false alarms of `seeds` phantoms, rates with 95 % Wilson intervals.

    `elsewhere` is how often the audit was set off by a confound that is another audit's, of all such phantoms.
    """
    from joblib import Parallel, delayed

    with Parallel(n_jobs=processes or -1, return_as="generator") as parallel:
        jobs = (delayed(try_seed)(seed, dict(strengths)) for seed in range(first, first + seeds))
        tried = list(track(parallel(jobs), "audits: phantoms", total=seeds))
    rows = []
    for audit, planted in list_planted(strengths):
        hits = sum(one[planted][audit] for one in tried)
        alarms = sum(one["nothing"][audit] for one in tried)
        others = [one[other][audit] for one in tried for other in strengths if other != planted and audit in one[other]]
        strength = strengths.get(planted)
        first_columns = (audit, planted, "" if strength is None else f"{strength:g}", seeds)
        elsewhere = show_rate(sum(others), len(others)) if others else ""
        rows.append((*first_columns, hits, show_rate(hits, seeds), alarms, show_rate(alarms, seeds), elsewhere))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def list_planted(strengths: Mapping[str, float]) -> list[tuple[str, str]]:
    return [*((AUDIT_OF[name], name) for name in strengths), *((audit, planted) for planted, audit in PLANTS.items())]


def show_rate(hits: int, count: int) -> str:
    low, high = wilson(hits, count)
    return f"{hits / count:.2f} ({low:.2f}-{high:.2f})"


def wilson(hits: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion (Wilson 1927)."""
    if not 0 <= hits <= count or count < 1:
        raise ValueError(f"{hits} of {count} is no proportion")
    share = hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def try_seed(seed: int, strengths: Mapping[str, float]) -> dict[str, dict[str, bool]]:
    """What each audit said (found or not), by what was planted; "nothing" is the clean phantom."""
    spec = replace(SIZES["tiny"], seed=seed)
    with tempfile.TemporaryDirectory() as folder:

        def open_it(root: Path) -> Dataset:
            return cast(Dataset, read_dataset("phantom_eeg:tiny", root, cache=Path(folder) / "cache"))

        clean = Path(folder) / "clean"
        make_quietly(spec, clean)
        dataset = open_it(clean)
        copies = compare_trials(dataset)
        clear = [*audit_copies(dataset, copies), *audit_disjointness(dataset, copies=copies)]
        clear += [*audit_fitting(dataset), *audit_recordings(dataset)]
        said = {"nothing": summarise([*clear, *imitate_results(dataset, collapsed=False)])}
        for name, strength in strengths.items():
            root = Path(folder) / name
            record_again(clean, root, replace(spec, **cast(dict[str, Any], {name: strength})))
            said[name] = summarise(audit_recordings(open_it(root)))
            shutil.rmtree(root)
        for planted in PLANTS:
            said[planted] = summarise(PLANTERS[planted](dataset))
    return said


def summarise(findings: list[Finding]) -> dict[str, bool]:
    return {
        audit: any(one.verdict == FOUND for one in findings if one.audit == audit)
        for audit in {one.audit for one in findings}
    }


def make_quietly(spec: PhantomSpec, root: Path) -> None:
    """The phantom without a progress bar of its own: fifty would drown the one that counts."""
    import contextlib
    import io

    from bench.datasets.phantom.eeg.writer import write_phantom

    with contextlib.redirect_stderr(io.StringIO()):
        write_phantom(spec, root, processes=1)


def record_again(clean: Path, root: Path, spec: PhantomSpec) -> None:
    """The phantom of `clean` with its recordings made by another spec; the clips are the same."""
    from bench.datasets.manifest import write_manifest
    from bench.datasets.phantom.eeg.features import Features
    from bench.datasets.phantom.eeg.writer import write_subject

    shutil.copytree(clean, root, ignore=shutil.ignore_patterns("EEG"))
    (root / "EEG").mkdir()
    features = Features(np.load(root / "truth" / "static.npy"), np.load(root / "truth" / "courses.npy"))
    for subject in range(1, spec.subjects + 1):
        write_subject(spec, root, subject, features)
    write_manifest(spec.as_dict(), root, 0.0)


def pair_clips(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """`COPIES` test clips and the training clips of the same concept that they will copy."""
    fold = make_folds(dataset, "cross_subject")[0]
    shown = np.asarray(dataset.trials["clip"], dtype=np.int64)
    concept = np.asarray(dataset.stimuli["concept"])
    test, train = np.unique(shown[fold.test])[:COPIES], np.unique(shown[fold.train])
    return test, np.array([train[concept[train] == concept[clip]][0] for clip in test])


def plant_copies(dataset: Dataset) -> list[Finding]:
    """Two test clips are training clips, brighter, in less contrast and with noise: a second encoding."""
    test, train = pair_clips(dataset)
    source = dict(zip(test.tolist(), train.tolist(), strict=True))

    def change(clips: np.ndarray, video: np.ndarray) -> np.ndarray:
        video = video.copy()
        for row, clip in enumerate(clips.tolist()):
            if clip in source:
                noise = np.random.default_rng(clip).normal(0, 4, video[row].shape)
                video[row] = np.clip(0.9 * dataset.video([source[clip]])[0] + 15 + noise, 0, 255).astype(np.uint8)
        return video

    return audit_disjointness(cast(Dataset, Altered(dataset, change_video=change)), ["cross_subject"])


def plant_captions(dataset: Dataset) -> list[Finding]:
    """Every test clip gets the caption of a training clip of its concept."""
    fold = make_folds(dataset, "cross_subject")[0]
    shown = np.asarray(dataset.trials["clip"], dtype=np.int64)
    concept, captions = np.asarray(dataset.stimuli["concept"]), list(dataset.stimuli["caption"])
    train = np.unique(shown[fold.train])
    for clip in np.unique(shown[fold.test]):
        captions[clip] = captions[train[concept[train] == concept[clip]][-1]]
    stimuli = dataset.stimuli.remove_columns("caption").add_column("caption", captions)
    return audit_disjointness(cast(Dataset, Altered(dataset, stimuli=stimuli)), ["cross_subject"])


def plant_shared_clip(dataset: Dataset) -> list[Finding]:
    """One training trial of a fold shows a test clip."""
    fold = make_folds(dataset, "cross_subject")[0]
    return [compare_folds(dataset, [replace(fold, train=np.append(fold.train, fold.test[:1]))])]


def plant_block(dataset: Dataset) -> list[Finding]:
    """The last block of the last subject is the first subject's first, in another unit, a little later, with noise."""
    table = tabulate_trials(dataset)
    first, last = (table[table["subject"] == subject] for subject in (dataset.subjects[0], dataset.subjects[-1]))
    source = first.loc[first["block"] == first["block"].min(), "trial"].tolist()
    copied = dict(zip(last.loc[last["block"] == last["block"].max(), "trial"].tolist(), source, strict=True))

    def change(trials: np.ndarray, signals: np.ndarray) -> np.ndarray:
        signals = signals.copy()
        for row, trial in enumerate(trials.tolist()):
            if trial in copied:
                again = np.roll(dataset.signals([copied[trial]])[0], 2, axis=1)
                noise = np.random.default_rng(trial).normal(0, 0.05, again.shape) * again.std(axis=1, keepdims=True)
                signals[row] = 1e3 * (again + noise)
        return signals

    altered = cast(Dataset, Altered(dataset, change_signals=change))
    return audit_copies(altered, compare_trials(altered))


def plant_fitting(dataset: Dataset) -> list[Finding]:
    """Scalings that are measured on training and test trials together."""

    def leaky(data: Dataset, fold: Fold) -> dict[int, Scaling]:
        rows = np.concatenate([fold.train, fold.test])
        return measure_scalings(data, rows, measured_subject(data, rows))

    return audit_fitting(dataset, measure=leaky)


def imitate_results(dataset: Dataset, *, collapsed: bool) -> list[Finding]:
    """Blurred, noisy clips: for each trial any training clip, or always one of two."""
    import cv2

    fold = make_folds(dataset, "cross_subject")[0]
    shown = np.asarray(dataset.trials["clip"], dtype=np.int64)
    test, train = shown[fold.test], np.unique(shown[fold.train])
    rng = np.random.default_rng(derive_seed("audit", "results", dataset.digest))
    stock = rng.choice(train, size=2, replace=False) if collapsed else train
    video = dataset.video(rng.choice(stock, size=len(test)))
    size = video.shape[3], video.shape[2]
    for frame in video.reshape(-1, *video.shape[2:]):
        small: Any = cv2.resize(frame, (16, 16), interpolation=cv2.INTER_AREA)
        noisy = cv2.resize(small, size).astype(np.float32) + rng.normal(0, 10, frame.shape)
        frame[:] = np.clip(noisy, 0, 255)
    return audit_collapse(
        describe(video),
        describe(dataset.video(test)),
        concepts=len(dataset.concepts),
        subject_of="imitated",
    )


PLANTS = {
    "a clip in training and test": "disjointness",
    "a copied block": "duplicates",
    "copied clips": "frames",
    "copied captions": "captions",
    "scalings of all trials": "fitted on test",
    "two outputs": "output collapse",
}
PLANTERS: dict[str, Callable[[Dataset], list[Finding]]] = {
    "a clip in training and test": plant_shared_clip,
    "a copied block": plant_block,
    "copied clips": plant_copies,
    "copied captions": plant_captions,
    "scalings of all trials": plant_fitting,
    "two outputs": lambda dataset: imitate_results(dataset, collapsed=True),
}
