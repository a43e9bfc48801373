"""Δ dynamic degree in a paper's table: of a set of videos against the set of true ones (`metrics.dynamic_degree`).

Rows of a clip's error become its signed change, so that the mean over the set is p − t; the row that is made of them is
folded: Δ is the absolute value of the mean, and its interval that of |p − t| where p − t has the one of the row (from 0
where that reaches over 0). It covers at least as often. All subjects' reconstructions are one set, each beside its true
clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from metrics.dynamic_degree import DEGREE_OF, set_change
from metrics.known import KNOWN_PROTOCOLS
from metrics.protocols import MetricSpec, Protocol

TRIAL = ["method", "variant", "split", "cell", "protocol", "subject", "clip"]


def sign_changes(scores: pd.DataFrame) -> pd.DataFrame:
    """Score rows with the errors of the dynamic degree as signed changes; errors without their degree are left out.

    A permutation of the brain leaves a set as it is, so `shuffled` is the change itself.
    """
    parts = [scores[~scores["metric"].isin(DEGREE_OF)]]
    for error, degree in DEGREE_OF.items():
        wrong = scores[scores["metric"] == error]
        if wrong.empty:
            continue
        moving = scores.loc[scores["metric"] == degree, [*TRIAL, "value"]].rename(columns={"value": "moving"})
        both = wrong.merge(moving, on=TRIAL, validate="one_to_one")
        change = set_change(both["moving"].to_numpy(), both["value"].to_numpy())
        parts.append(both.assign(value=change, shuffled=change).drop(columns="moving"))
    return pd.concat(parts, ignore_index=True)


def signed_protocols() -> Mapping[str, Protocol]:
    """The protocols as `result_table` asks for them, of rows that `sign_changes` gives."""
    return {
        name: replace(protocol, metrics=tuple(map(as_change, protocol.metrics)))
        for name, protocol in KNOWN_PROTOCOLS.items()
    }


def as_change(metric: MetricSpec) -> MetricSpec:
    """Of a signed change no floor is told, as a set of other true clips wins it by definition."""
    return replace(metric, lo=-1.0, paired=False, floor=False) if metric.name in DEGREE_OF else metric


def fold_changes(rows: pd.DataFrame) -> pd.DataFrame:
    """Result rows with Δ in the place of mean signed changes.

    >>> row = {"metric": "dynamic_degree_error", "value": -0.25, "low": -0.5, "high": 0.125, "best_value": -0.5}
    >>> fold_changes(pd.DataFrame([row]))[["value", "low", "high", "best_value"]].iloc[0].tolist()
    [0.25, 0.0, 0.5, 0.5]
    >>> fold_changes(pd.DataFrame([{**row, "high": -0.125}]))[["low", "high"]].iloc[0].tolist()
    [0.125, 0.5]
    """
    of_sets = rows["metric"].isin(DEGREE_OF)
    ends = rows[["low", "high"]].abs()
    over = (rows["low"] <= 0) & (rows["high"] >= 0)
    return rows.assign(
        value=rows["value"].where(~of_sets, rows["value"].abs()),
        best_value=rows["best_value"].where(~of_sets, rows["best_value"].abs()),
        low=rows["low"].where(~of_sets, ends.min(axis=1).where(~over, 0.0)),
        high=rows["high"].where(~of_sets, ends.max(axis=1)),
    )
