"""Weights that were kept with a cell draw again without training, and only where the fit would be the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bench
from bench.core.job import Job, Run
from bench.harness.executor import execute
from bench.harness.plan import plan
from bench.harness.weights import FITTED_IN, NoWeights, give_weights
from bench.pretrained.suite import load_suite
from bench.store.cells import WEIGHTS, Store
from bench.toolbox.curves import NAME, read_curve

METHOD, TINY = "contrastive_eeg", "phantom_eeg:tiny"


def plan_one(phantom, **changed) -> Job:
    parameters = {"epochs": 1, "batch_size": 48, **changed}
    run = Run(
        method=METHOD, split="cross_subject", dataset=TINY, protocols=(), video=False, variants={"base": parameters}
    )
    return next(job for job in plan(run, phantom, load_suite("mini")) if job.spec.method == METHOD)


def make(job: Job, runs: Path) -> str | None:
    (outcome,) = execute([job], runs, processes=1, threads=1)
    return outcome.error


@pytest.fixture(scope="module")
def kept(phantom, tmp_path_factory) -> Path:
    """A store with a cell that has its weights."""
    runs = tmp_path_factory.mktemp("kept") / "runs"
    assert make(replace(plan_one(phantom), keep_weights=True), runs) is None
    return runs


def test_weights_lie_with_their_cell_and_are_no_part_of_its_predictions(phantom, kept):
    job = plan_one(phantom)
    cell = Store(kept).find(job.spec.key)
    assert sorted(cell.weights) == sorted(path.name for path in (cell.path / WEIGHTS).iterdir())
    assert [Path(name).suffix for name in sorted(cell.weights)] == [".safetensors", ".json"]
    assert not [name for name in cell.manifest["files"] if name.startswith(WEIGHTS)]  # so no bundle has them
    assert not list((kept / "checkpoints").glob("*"))
    rows = list(read_curve(cell.path / NAME))  # beside them, and no part of the predictions either
    assert {row.phase for row in rows} == {f"training {METHOD}"} and rows[-1].step == rows[-1].of
    assert all(np.isfinite([row.loss for row in rows])) and NAME not in cell.manifest["files"]


def test_kept_weights_draw_again_without_training(phantom, kept, tmp_path):
    job = plan_one(phantom, steps=7)
    (given,) = give_weights([job], METHOD, kept, kept)
    assert make(given, tmp_path) is None
    log = (tmp_path / "logs" / f"{job.spec.key}.log").read_text(encoding="utf-8")
    assert f"training {METHOD}: was done" in log
    mine, first = Store(tmp_path).find(job.spec.key), Store(kept).find(plan_one(phantom).spec.key)
    assert (mine.embeddings() == first.embeddings()).all()
    assert mine.manifest["weights_of"] == first.key and mine.manifest["spec"]["parameters"]["steps"] == 7


def test_weights_of_another_fit_are_refused(phantom, kept):
    key = plan_one(phantom).spec.key
    with pytest.raises(
        NoWeights, match=f"cell {key}: epochs is 1 and not 2.; weights serve again where only read_out, st"
    ):
        give_weights([plan_one(phantom, epochs=2)], METHOD, key, kept)
    other = replace(plan_one(phantom), spec=replace(plan_one(phantom).spec, data_digest="another"))
    with pytest.raises(NoWeights, match="the data differs"):
        give_weights([other], METHOD, kept / key, kept)
    with pytest.raises(NoWeights, match=r"neither a cell of .* nor a folder"):
        give_weights([plan_one(phantom)], METHOD, "0123456789abcdef", kept)
    with pytest.raises(bench.BenchError, match="epochs is 1 and not the default"):
        bench.plan_run(METHOD, dataset=TINY, runs=kept, weights_of=kept, parameters={"batch_size": 48}, video=False)


def test_a_cell_drawn_in_another_precision_than_it_was_fitted_in_says_so(phantom, kept):
    job = plan_one(phantom)
    half = replace(job, spec=replace(job.spec, settings={**job.spec.settings, "precision": "bf16"}))
    (given,) = give_weights([half], METHOD, kept, kept)
    assert given.spec.settings[FITTED_IN] == "fp32" and given.spec.key not in (half.spec.key, job.spec.key)


def test_weights_that_changed_are_not_used(phantom, kept, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(kept, runs)
    (given,) = give_weights([plan_one(phantom, steps=7)], METHOD, runs, runs)
    (file,) = Path(str(given.weights)).glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert "has changed since it was kept" in str(make(given, tmp_path / "again"))


def test_a_cell_without_weights_has_none_to_give(phantom, kept, tmp_path):
    shutil.copytree(kept, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs" / plan_one(phantom).spec.key / WEIGHTS)
    with pytest.raises(NoWeights, match="it was made without --keep-weights"):
        give_weights([plan_one(phantom, steps=7)], METHOD, tmp_path / "runs", tmp_path)
