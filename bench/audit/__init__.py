"""Audits: what could make a score look like brain and is none.

`audit_dataset` makes the report, `measure_audits` tests the audits on phantoms with planted confounds.
`recordings` and `copies` ask the signals, `disjointness` the splits, `fitting` the normalisation, `collapse` the
results.
"""

from bench.audit.measure import measure_audits
from bench.audit.report import audit_dataset

__all__ = ["audit_dataset", "measure_audits"]
