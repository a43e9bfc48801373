"""Measures the cards that ship with the code: `python -m bench.datasets.remake_cards phantom_eeg:small [PROCESSES]`.

`data info` prints them. They are remade where what a phantom plants, or how it is read, has changed.
"""

from __future__ import annotations

import sys

from bench.datasets.catalogue import make_phantom, open_dataset, phantom_spec
from bench.datasets.phantom.eeg import card as eeg
from bench.datasets.phantom.eeg.spec import PhantomSpec
from bench.datasets.phantom.fmri import card as fmri
from bench.datasets.phantom.publish import commit_card


def remake_card(name: str, processes: int | None = None) -> None:
    """Make the phantom where it is not there, measure its card and put it where it ships."""
    spec = phantom_spec(name)
    assert spec is not None, f"{name} is no phantom, and has no card"
    make_phantom(spec, processes=processes)
    dataset = open_dataset(name)
    if isinstance(spec, PhantomSpec):
        commit_card(eeg.CARDS / f"{spec.size}.csv", spec, eeg.measure_card(dataset, processes=processes))
    else:
        commit_card(fmri.card_file(spec, dataset.modality), spec, fmri.measure_card(dataset, processes=processes))


if __name__ == "__main__":
    remake_card(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None)
