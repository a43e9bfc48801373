"""Audits of the splits: what training and test should not share.

| what     | found where                                                                                            |
|----------|--------------------------------------------------------------------------------------------------------|
| clips    | any clip or block is in both (new subjects: any subject, calibration and test: any clip), or a recording |
|          | that is tested is a copy of one that is learned from                                                     |
| frames   | a test clip's middle frame is a training clip's frame: perceptual hash within `NEAR` bits and pictures  |
|          | that correlate at `ALIKE` or more                                                                      |
| captions | test clips share captions with training clips more often than training clips do with each other        |
| concepts | a split that claims to leave concepts out does not                                                     |

The hash alone is no proof: on phantoms, whose clips are all different, pairs of different concepts come as near as 8
of 64 bits once there are 150,000 pairs. So it only nominates; a pair counts when the colour pictures correlate too.
What fools it: a mirrored, strongly cropped or recoloured copy is not seen; two shots of one still scene are.

A caption is often repeated by chance ("a man is skiing"), so its audit has a null: which clips of a concept are the
test's is drawn anew, and the shared captions are counted again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int64, UInt8, UInt64

from bench.audit.findings import FOUND, NAN, OK, PERMUTATIONS, Finding, assess_largest, dismiss, judge
from bench.core.contracts import Dataset
from bench.core.seeds import derive_seed
from bench.core.splits import SPLITS, Fold, SplitError, make_folds
from bench.datasets.copies import find_leaks
from bench.datasets.duplicates import Duplicates

NEAR = 8  # bits of 64
ALIKE = 0.97  # correlation of 32 × 32 colour pictures; a re-encoded or brightened copy has 0.99
PICTURE = 32  # pixels
CHUNK = 64  # clips decoded at once
CONCEPTS_LEFT_OUT = ("leave_concepts_out",)  # splits that claim it


def audit_disjointness(
    dataset: Dataset, splits: Sequence[str] = SPLITS, *, copies: Duplicates | None = None
) -> list[Finding]:
    """All of the table above; frames and captions once for each set of clips, for most splits share them.

    `copies` are the data set's duplicated recordings, where they were looked for.
    """
    findings: list[Finding] = []
    pairs: dict[tuple[bytes, bytes], tuple[np.ndarray, np.ndarray, list[str]]] = {}
    shown = np.asarray(dataset.trials["clip"], dtype=np.int64)
    for split in splits:
        try:
            folds = make_folds(dataset, split)
        except SplitError as error:
            findings.append(dismiss("disjointness", split, str(error)))
            continue
        findings.append(compare_folds(dataset, folds, copies))
        findings.append(compare_concepts(dataset, folds))
        for fold in folds:
            train, test = np.unique(shown[fold.train]), np.unique(shown[fold.test])
            names = pairs.setdefault((train.tobytes(), test.tobytes()), (train, test, []))[2]
            if split not in names:
                names.append(split)
    for train, test, names in pairs.values():
        findings.append(compare_frames(dataset, train, test, ", ".join(names)))
        findings.append(compare_captions(dataset, train, test, ", ".join(names)))
    return findings


def compare_folds(dataset: Dataset, folds: Sequence[Fold], copies: Duplicates | None = None) -> Finding:
    """Clips, blocks, subjects and recordings that parts of a fold share, counted from the trials anew."""
    trials = dataset.trials.to_pandas().set_index("trial")
    stimuli = dataset.stimuli.to_pandas().set_index("clip")
    if "block" in stimuli:
        trials = trials.join(stimuli["block"], on="clip")
    shared: list[str] = []
    count = 0
    for fold in folds:
        claims = [("clip", "train"), ("clip", "validation"), ("clip", "calibration")]
        claims += [("block", "train"), ("block", "validation")] if "block" in stimuli else []
        claims += [("subject", "train"), ("subject", "validation")] if fold.split == "new_subject" else []
        for column, part in claims:
            both = set(trials.loc[getattr(fold, part), column]) & set(trials.loc[fold.test, column])
            count += len(both)
            shared += [f"{column} {value} ({fold.name}: {part} and test)" for value in sorted(both)[:2]]
        if copies is not None:
            leaks = find_leaks(copies, dataset, fold)
            count += len(leaks)
            sides = leaks[["subject_one", "clip_one", "subject_other", "clip_other"]].itertuples(index=False)
            shared += [
                f"a recording (clip {clip} of subject {one} is clip {again} of subject {other}; {fold.name})"
                for one, clip, other, again in sides
            ][:1]
    return Finding(
        audit="disjointness",
        subject_of=folds[0].split,
        statistic="shared clips, blocks, subjects, recordings",
        value=float(count),
        null="0",
        p_value=NAN,
        verdict=FOUND if count else OK,
        meaning=f"training and test share {', '.join(shared[:3])}: make the folds anew, or leave copies out"
        if count
        else "no clip, block, recording or new subject is in training and test",
    )


def compare_concepts(dataset: Dataset, folds: Sequence[Fold]) -> Finding:
    """Concepts that a split promised to leave out of training."""
    if folds[0].split not in CONCEPTS_LEFT_OUT:
        return dismiss("concepts", folds[0].split, "this split does not claim that concepts are disjoint")
    concept = np.asarray(dataset.stimuli["concept"])[np.asarray(dataset.trials["clip"])]
    both = set[int]().union(*(set(concept[fold.train]) & set(concept[fold.test]) for fold in folds))
    return Finding(
        audit="concepts",
        subject_of=folds[0].split,
        statistic="shared concepts",
        value=float(len(both)),
        null="0",
        p_value=NAN,
        verdict=FOUND if both else OK,
        meaning=f"concepts {sorted(both)[:5]} are in training and test: they are not left out"
        if both
        else "no concept of the test is trained on",
    )


def compare_frames(dataset: Dataset, train: np.ndarray, test: np.ndarray, subject_of: str) -> Finding:
    """Test clips whose middle frame is nearly a frame of a training clip."""
    near, unrelated, pairs = find_near(dataset, train, test)
    copies = np.unique(near[:, 0])
    return Finding(
        audit="frames",
        subject_of=subject_of,
        statistic="test clips with a near-duplicate in training",
        value=float(len(copies)),
        null=f"0; {unrelated} of {pairs} pairs of other concepts",
        p_value=NAN,
        verdict=FOUND if len(copies) else OK,
        meaning=f"clips {near[0, 0]} (test) and {near[0, 1]} (training) look the same: look at them, and leave such "
        "test clips out"
        if len(copies)
        else "no test clip looks like a training clip",
    )


def find_near(dataset: Dataset, train: np.ndarray, test: np.ndarray) -> tuple[Int64[np.ndarray, "pair 2"], int, int]:
    """Near pairs (test clip, training clip), how many of them are of different concepts, and of how many such pairs."""
    concept = np.asarray(dataset.stimuli["concept"], dtype=np.int64)
    tested = [shrink(dataset.video(part)[:, [dataset.video(part).shape[1] // 2]]) for part in chunks(test)]
    middle = np.concatenate(tested)[:, 0]  # (test, 32, 32, 3)
    middle_hash, middle_unit = hash_pictures(middle), standardise(middle)
    found = []
    for part in chunks(train):
        pictures = shrink(dataset.video(part))  # (clip, frame, 32, 32, 3)
        frames = pictures.shape[1]
        flat = pictures.reshape(-1, *pictures.shape[2:])
        apart = np.bitwise_count(middle_hash[:, None] ^ hash_pictures(flat))
        one, other = np.nonzero(apart <= NEAR)
        alike = np.einsum("nk,nk->n", middle_unit[one], standardise(flat[other])) >= ALIKE
        found.append(np.column_stack([test[one[alike]], part[other[alike] // frames]]))
    near = np.unique(np.concatenate(found).astype(np.int64), axis=0)
    different = concept[test][:, None] != concept[train]
    unrelated = int((concept[near[:, 0]] != concept[near[:, 1]]).sum())
    return near, unrelated, int(different.sum())


def chunks(clips: np.ndarray) -> list[np.ndarray]:
    return np.array_split(clips, max(1, -(-len(clips) // CHUNK)))


def shrink(video: UInt8[np.ndarray, "clip frame height width 3"]) -> Float32[np.ndarray, "clip frame 32 32 3"]:
    """Each frame averaged down to 32 × 32, in [0, 255]."""
    import cv2

    out = np.empty((*video.shape[:2], PICTURE, PICTURE, 3), np.float32)
    for place in np.ndindex(*video.shape[:2]):
        out[place] = cv2.resize(video[place], (PICTURE, PICTURE), interpolation=cv2.INTER_AREA)
    return out


def hash_pictures(pictures: Float32[np.ndarray, "n 32 32 3"]) -> UInt64[np.ndarray, " n"]:
    """64-bit perceptual hash: signs of the 8 × 8 lowest cosines of the luma about their median (Zauner 2010, pHash)."""
    from scipy.fft import dctn

    luma = pictures @ np.array([0.299, 0.587, 0.114], np.float32)
    lowest = dctn(luma, axes=(1, 2), norm="ortho")[:, :8, :8].reshape(len(pictures), 64)
    bits = lowest > np.median(lowest, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def standardise(pictures: Float32[np.ndarray, "n 32 32 3"]) -> Float32[np.ndarray, "n number"]:
    """Pictures as vectors of zero mean and unit length, whose inner product is the correlation; even ones are 0."""
    flat = pictures.reshape(len(pictures), PICTURE * PICTURE * 3)  # none at all is allowed
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(length > 0, length, 1.0)


def compare_captions(dataset: Dataset, train: np.ndarray, test: np.ndarray, subject_of: str) -> Finding:
    """Share of test clips whose caption is, word for word, a training clip's, against clips exchanged in a concept."""
    stimuli = dataset.stimuli.to_pandas().set_index("clip")
    clips = np.concatenate([train, test])
    _, caption = np.unique(stimuli.loc[clips, "caption"].to_numpy(str), return_inverse=True)
    concept = stimuli.loc[clips, "concept"].to_numpy()
    tested = np.arange(len(clips)) >= len(train)
    rng = np.random.default_rng(derive_seed("audit", "captions", dataset.digest))
    shares = [share_captions(caption, tested)]
    for _ in range(PERMUTATIONS):
        drawn = tested.copy()
        for one in np.unique(concept):
            own = np.flatnonzero(concept == one)
            drawn[own] = rng.permutation(tested[own])
        shares.append(share_captions(caption, drawn))
    result = assess_largest(np.array(shares)[:, None])
    verdict = judge(result.p_value)
    return Finding(
        audit="captions",
        subject_of=subject_of,
        statistic="share of test captions that are training captions",
        value=shares[0],
        null=f"mean {np.mean(shares[1:]):.3f}, at most {np.quantile(shares[1:], 0.99):.3f} (99 %)",
        p_value=result.p_value,
        verdict=verdict,
        meaning="test captions come from training more often than by chance: a caption decoder can copy; score those "
        "clips apart"
        if verdict == FOUND
        else "test captions repeat training captions no more than training captions repeat each other",
    )


def share_captions(caption: np.ndarray, tested: np.ndarray) -> float:
    known = np.bincount(caption[~tested], minlength=caption.max() + 1) > 0
    return float(known[caption[tested]].mean())
