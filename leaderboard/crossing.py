"""Methods × read-outs: what the generator is given of what was read is a factor of its own, and crossed with methods.

A method that gives a generator text has a column for each read-out; its base is the nearest concept's, of all methods.
Where no text enters (a training clip is shown, memories are mixed) read-outs are not applicable, which the table says,
and the method's own value stands beside.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from bench.core.registry import modality_of, names, role_of, takes_read_out, what_it_reads
from bench.core.variants import BASE_READ_OUT, READ_OUTS, find_group
from leaderboard.glossary import explain_metric
from leaderboard.narrow import tell_interval, wrap
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


def tell_crossing(table: pd.DataFrame) -> str:
    """A `crossing_table` within 100 columns; methods without any value there are counted, not shown."""
    parts = ["\n".join(tell_split(rows)) for _, rows in table.groupby(KEYS, sort=False)]
    return "\n\n".join([*parts, "\n".join(line for note in NOTES for line in wrap(note))]) + "\n"


def tell_split(rows: pd.DataFrame) -> Iterator[str]:
    """A line a method, a column a read-out, then which of a method's read-outs is the highest."""
    first, read_outs = rows.iloc[0], list(name_variants())
    phantom = " (phantom)" if first["phantom"] else ""
    where = f"{first['dataset']}{phantom}, {first['split']}, protocol {first['protocol']}"
    yield f"{explain_metric(first['metric']).title} on {where}"
    yield ""
    texts = [
        [
            str(row[name]) if row[name] == NOT_APPLICABLE else tell_interval(row, (name, f"{name}_low", f"{name}_high"))
            for name in ("own", *read_outs)
        ]
        for _, row in rows.iterrows()
    ]
    there = [any(text not in ("", NOT_APPLICABLE) for text in line) for line in texts]
    named = rows["method"].astype(str).tolist()
    width = max((len(name) for name, shown in zip(named, there, strict=True) if shown), default=6)
    yield f"  {'method':<{width}}  " + "".join(f"{name.replace('_', ' '):<24}" for name in read_outs).rstrip()
    highest = []
    for name, (own, *others), shown in zip(named, texts, there, strict=True):
        if not shown:
            continue
        if own:
            yield f"  {name:<{width}}  {own}, takes no read-out"
            continue
        yield f"  {name:<{width}}  " + "".join(f"{text or '–':<24}" for text in others).rstrip()
        values = {one: float(rows.loc[rows["method"] == name, one].iloc[0]) for one in read_outs}
        known = {one: value for one, value in values.items() if np.isfinite(value)}
        if len(known) > 1:
            highest.append(f"{name} with {max(known, key=lambda one: known[one]).replace('_', ' ')}")
    yield ""
    crossed = sum(takes_read_out(name) for name in named)
    said = f"Highest: {', '.join(highest)}" if highest else "No method has been run with more than one read-out here"
    absent = len(there) - sum(there)
    done = f"{len(highest)} of {crossed} methods that take one were crossed, {absent} of {len(there)} were not run"
    yield from wrap(f"{said}; {done}.")
