"""Audit of the recordings themselves: none is in the data set twice, under whatever name."""

from __future__ import annotations

from bench.audit.findings import FOUND, NAN, OK, Finding, dismiss
from bench.core.contracts import Dataset
from bench.datasets.copies import describe_copies
from bench.datasets.duplicates import Duplicates

SHOWN = 10  # pairs of recordings that have a row of their own


def audit_copies(dataset: Dataset, found: Duplicates) -> list[Finding]:
    """A row for each pair of recordings that share trials; one row where none do."""
    if len(found.trials) < 2:
        return [dismiss("duplicates", dataset.name, "fewer than two trials could be compared")]
    null = f"0; independent trials correlate less than {found.limit:.2f}"
    statements = describe_copies(found)
    if not statements:
        return [
            Finding(
                audit="duplicates",
                subject_of=dataset.name,
                statistic="copied trials",
                value=0.0,
                null=null,
                p_value=NAN,
                verdict=OK,
                meaning=f"none of {len(found.trials)} trials is a copy of another",
            )
        ]
    return [
        Finding(
            audit="duplicates",
            subject_of=dataset.name,
            statistic="copied trials",
            value=float(one.trials),
            null=null,
            p_value=NAN,
            verdict=FOUND,
            meaning=f"{one.text}: fetch both again, or leave one out of the folder",
        )
        for one in statements[:SHOWN]
    ]
