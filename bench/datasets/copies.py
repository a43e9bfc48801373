"""What duplicated recordings mean: in words, for the folds of a split, and remembered for a data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO

import numpy as np
import pandas as pd
from jaxtyping import Bool

from bench.core.contracts import Dataset, digest_content
from bench.core.progress import complain
from bench.core.splits import Fold, SplitError, make_folds
from bench.datasets.duplicates import Duplicates, compare_trials, tabulate_trials
from bench.store.cache import digest_code, open_cache

WHOLE = 0.8  # of the trials of a recording or a block: as many are copied, and it is called a copy
SHOWN = 3  # single trials that are named
Row = tuple[str, str, str]  # file (or part), status, detail
PRESENTED = ["subject", "session", "clip"]


@dataclass(frozen=True)
class Statement:
    """A pair of recordings that share something, and what."""

    one: tuple[int, int]  # subject, session
    other: tuple[int, int]
    text: str
    trials: int


def name_subject(subject: int, session: int) -> str:
    return f"subject {subject}" if session == 1 else f"session {session} of subject {subject}"


def describe_copies(found: Duplicates, name: Callable[[int, int], str] = name_subject) -> list[Statement]:
    """A statement a pair of recordings and, where less than all is shared, a pair of blocks; then single trials."""
    statements = []
    whole = found.trials.groupby(["subject", "session"]).size()
    parts = found.trials.groupby(["subject", "session", "block", "repeat"]).size()
    recordings = ["subject_one", "session_one", "subject_other", "session_other"]
    stretches = ["block_one", "repeat_one", "block_other", "repeat_other"]
    for pair, shared in split_by(found.pairs, recordings):
        a, b = (pair[0], pair[1]), (pair[2], pair[3])
        count = count_trials(shared)
        if a != b and count >= WHOLE * min(whole[a], whole[b]):
            text = f"{name(*b)} is the same recording as {name(*a)} ({count} of {min(whole[a], whole[b])} trials"
            statements.append(Statement(a, b, f"{text}{close(shared)}", count))
            continue
        for place, part in split_by(shared, stretches):
            one, other = (place[0], place[1]), (place[2], place[3])
            count, most = count_trials(part), min(parts[(*a, *one)], parts[(*b, *other)])
            if one + a != other + b and count > 1 and count >= WHOLE * most:
                text = f"{name_block(*other)} of {name(*b)} is {name_block(*one)} of {name(*a)}"
                text += f" ({count} of {most} trials"
            else:
                some = zip(part["clip_one"], part["clip_other"], strict=True)
                clips = ", ".join(f"{two} and {first}" for first, two in list(some)[:SHOWN])
                text = f"{name_block(*other)} of {name(*b)} and {name_block(*one)} of {name(*a)} share"
                text += f" {count} trial{'s' if count > 1 else ''} (clips {clips}{', …' if len(part) > SHOWN else ''}"
            statements.append(Statement(a, b, f"{text}{close(part)}", count))
    return statements


def split_by(pairs: pd.DataFrame, names: list[str]) -> Iterator[tuple[tuple[int, ...], pd.DataFrame]]:
    """The parts of a table that agree in some columns, with the numbers in these."""
    for _, part in pairs.groupby(names, sort=True):
        yield tuple(int(part[name].iloc[0]) for name in names), part


def count_trials(pairs: pd.DataFrame) -> int:
    return min(pairs["trial_one"].nunique(), pairs["trial_other"].nunique())


def close(pairs: pd.DataFrame) -> str:
    return f", correlation {np.floor(pairs['correlation'].min() * 1000) / 1000:.3f} or more)"


def name_block(block: int, repeat: int) -> str:
    return f"repeat {repeat} of block {block}" if repeat else f"block {block}"


def tabulate_copies(found: Duplicates, name: Callable[[int, int], str]) -> list[Row]:
    """Rows for `data verify`: one a pair, or one that says how many trials were compared."""
    statements = describe_copies(found, name)
    if not statements:
        count = len(found.trials)
        detail = f"{count} trials compared with each other, none is a copy (a correlation of {found.limit:.2f} or more)"
        return [("duplicates", "ok", detail)] if count > 1 else []
    advice = "one of them is not what its name says: fetch both again, or leave one out"
    return [(name(*one.other), "duplicate", f"{one.text}; {advice}") for one in statements]


def find_leaks(found: Duplicates, dataset: Dataset, fold: Fold) -> pd.DataFrame:
    """The pairs of which one trial is tested and the other trained on, validated on or calibrated with.

    Where subjects are tested that should be new, any pair of theirs with a subject that is learned from: two numbers
    stand for one person.
    """
    table = tabulate_trials(dataset).set_index("trial")
    tested = table.loc[fold.test]
    learned = table.loc[np.concatenate([fold.train, fold.validation, fold.calibration])]
    leak = straddle(found.pairs, tested, learned, PRESENTED)
    if fold.split == "new_subject":
        leak |= straddle(found.pairs, tested, table.loc[fold.train], ["subject"])
    return found.pairs[leak]


def straddle(
    pairs: pd.DataFrame, tested: pd.DataFrame, learned: pd.DataFrame, names: list[str]
) -> Bool[np.ndarray, " pair"]:
    """Which pairs have one side among the tested trials and the other among the learned, by what `names` tell."""

    def among(trials: pd.DataFrame, side: str) -> Bool[np.ndarray, " pair"]:
        own = pairs[[f"{name}_{side}" for name in names]].astype(np.int64).set_axis(names, axis=1)
        return pd.MultiIndex.from_frame(own).isin(pd.MultiIndex.from_frame(trials[names]))

    return (among(tested, "one") & among(learned, "other")) | (among(learned, "one") & among(tested, "other"))


def refuse_copies(dataset: Dataset, split: str, classes: int = 40) -> None:
    """Raise SplitError where a fold of the split tests on a copy of what it learns from; say what else is there twice.

    The recordings are compared once for a data set and remembered; the first time takes as long as reading them.
    """
    found = compare_once(dataset)
    if found.pairs.empty:
        return
    for fold in make_folds(dataset, split, classes=classes):
        leaks = find_leaks(found, dataset, fold)
        if not leaks.empty:
            names = ["subject_one", "session_one", "subject_other", "session_other"]
            guilty = set(leaks[names].itertuples(index=False, name=None))
            words = [one.text for one in describe_copies(found) if (*one.one, *one.other) in guilty]
            raise SplitError(
                f"{split}/{fold.name} would be tested on recordings that it learns from: {'; '.join(words[:SHOWN])}"
                f"{', and more' if len(words) > SHOWN else ''}. Leave one of them out of the folder, or fetch both "
                f"again; `python -m bench audit --dataset {dataset.name}` lists all"
            )
    for statement in describe_copies(found)[:SHOWN]:
        complain(f"warning: {dataset.name}: {statement.text}; they count twice in every mean and interval")


def compare_once(dataset: Dataset) -> Duplicates:
    """`compare_trials`, kept in the user's cache under the data set's digest and the code that compares."""
    code = digest_code("bench.datasets.duplicates")
    made_from = {
        "what": "duplicated recordings",
        "data": digest_content(dataset),
        "modality": dataset.modality,
        "code": code,
    }

    def make() -> bytes:
        found = compare_trials(dataset)
        tables = {name: getattr(found, name).to_json(orient="split") for name in ("pairs", "trials")}
        return json.dumps({**tables, "limit": found.limit, "unread": found.unread}).encode()

    stored = json.loads(open_cache().content(made_from, make))
    pairs, trials = (pd.read_json(StringIO(stored[name]), orient="split") for name in ("pairs", "trials"))
    return Duplicates(pairs, trials, stored["limit"], tuple(stored["unread"]))
