"""Methods × read-outs: what the generator is given of what was read is a factor of its own, and crossed with methods.

A method that gives a generator text has a column for each read-out; its base is the nearest concept's, of all methods.
Where no text enters (a training clip is shown, memories are mixed) read-outs are not applicable, which the table says,
and the method's own value stands beside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.core.registry import modality_of, names, role_of, takes_read_out, what_it_reads
from bench.core.variants import BASE_READ_OUT, READ_OUTS, find_group
from leaderboard.tables import CLIPS, SEES_BRAIN

KEYS = ["dataset", "split", "protocol", "metric"]
NOT_APPLICABLE = "n/a"
METRICS = ("video_40way", "frame_40way")  # that are shown where none is asked for
NOTES = [
    f"{BASE_READ_OUT} is the base of every method; on clips without labels it is nearest_caption. {NOT_APPLICABLE}: "
    "the generator is given no text that could be read out otherwise, and `own` is the method as it is. Empty: not "
    "run (`run --method NAME --ablation readouts`)."
]


def crossing_table(rows: pd.DataFrame, modality: str) -> pd.DataFrame:
    """A row for each split, metric and method of that modality ("eeg" or "fmri"), a column for each read-out.

    rows: a `result_table`. Beside each estimate stand the ends of its interval, `<read-out>_low` and `<read-out>_high`;
    `own` has that of a method that takes no read-out. `reads` is what kind of thing the method reads from a brain.
    """
    methods = [
        name
        for name in names("methods")
        if what_it_reads(name) and role_of(name) in SEES_BRAIN and modality_of("methods", name) in (modality, "any")
    ]
    made: list[dict[str, Any]] = []
    for setting, group in rows[rows["split"] != CLIPS].groupby(KEYS, sort=False):
        found = {(one["method"], one["variant"]): one for one in group.to_dict("records")}
        for method in methods:
            crossed = takes_read_out(method)
            variants = {"own": "" if crossed else "base"} | name_variants()
            row = dict(zip(KEYS, setting, strict=True)) | {"method": method, "reads": what_it_reads(method)}
            for read_out, variant in variants.items():
                cell = found.get((method, variant)) if crossed or read_out == "own" else None
                ends = {name: np.nan if cell is None else cell[name] for name in ("value", "low", "high")}
                row[read_out] = NOT_APPLICABLE if not crossed and read_out != "own" else ends["value"]
                row |= {f"{read_out}_low": ends["low"], f"{read_out}_high": ends["high"]}
            made.append(row | {"phantom": bool(group["phantom"].iloc[0])})
    table = pd.DataFrame(made)
    table.attrs["notes"] = list(NOTES)
    return table


def name_variants() -> dict[str, str]:
    """The variant of each read-out, the base's first."""
    crossed = next(name for name in names("methods") if takes_read_out(name))
    return {given.get("read_out", BASE_READ_OUT): variant for variant, given in find_group(crossed, READ_OUTS).items()}
