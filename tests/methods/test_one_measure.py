"""One measure for all methods: read-outs that each of them takes, budgets in epochs, trials that all learn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fitted import Fitted, list_datasets

from bench.core.built_in import BUILT_IN
from bench.core.registry import takes_read_out, what_it_reads
from bench.core.variants import READ_OUTS, find_group, load_variants, read_toml, variant_file
from bench.pretrained.suite import load_suite
from bench.toolbox import read_outs
from bench.toolbox.parameters import find_reader

DECODERS = [name for name, entry in BUILT_IN["methods"].items() if entry.role == "method"]
BASELINES = [name for name, entry in BUILT_IN["methods"].items() if entry.role == "baseline"]
CROSSED = [name for name in DECODERS if takes_read_out(name)]
OWN_BUDGET = {"cine_neuron"}  # whose training is being rebuilt


def read_defaults(method: str) -> dict[str, Any]:
    reader = find_reader(method)
    return {} if reader is None else dataclasses.asdict(reader({}))


@pytest.mark.parametrize("method", [*DECODERS, *BASELINES])
def test_read_outs_are_the_same_factor_of_every_method(method: str) -> None:
    assert what_it_reads(method), "the registry does not say what it reads"
    assert READ_OUTS not in read_toml(variant_file(method)), "the group is written once, in bench.core.variants"
    if not takes_read_out(method):
        assert "read_out" not in read_defaults(method) and READ_OUTS not in load_variants(method)
        return
    assert read_defaults(method)["read_out"] == "nearest_concept"
    chosen = {given.get("read_out", "nearest_concept") for given in find_group(method, READ_OUTS).values()}
    assert chosen == set(read_outs.READ_OUTS) and len(find_group(method, READ_OUTS)) == 3


@pytest.mark.parametrize("method", [one for one in DECODERS if one not in OWN_BUDGET])
def test_budgets_are_in_epochs_and_the_validation_block_is_learned_from(method: str) -> None:
    given = read_defaults(method)
    budgets = [name for name in given if name.endswith("_steps") and name != "keyframe_steps"]
    assert not budgets, "steps of training that do not grow with the trials"
    assert given["use_validation"] is True


@pytest.fixture(scope="module")
def suite(bench_home: Path) -> Any:
    return load_suite("mini", threads=1)


def list_ways() -> Iterator[tuple[str, str]]:
    for method in CROSSED:
        yield method, list_datasets(method)[-1]


@pytest.mark.parametrize(("method", "dataset"), list_ways())
def test_every_method_runs_with_every_read_out(method: str, dataset: str, suite: Any) -> None:
    """Fitted once: what is read out changes what the generator is given, and nothing before it."""
    fitted = Fitted(method, dataset, suite, steps=2)
    made, videos = fitted.method, {}
    assert len(made.captions.caption) == len(fitted.part("train").captions) + len(fitted.part("validation").captions)
    for how in read_outs.READ_OUTS:
        made.parameters = dataclasses.replace(made.parameters, read_out=how)
        videos[how] = fitted.reconstruct()
        assert videos[how].dtype == np.uint8 and len(videos[how]) == 2
    for how in ("nearest_concept", "nearest_caption"):
        assert not np.array_equal(videos[how], videos["regressed"])
