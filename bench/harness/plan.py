"""The plan: from what a command asks for to the cells that it needs, each with the key of all that determines it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.core.contracts import Dataset
from bench.core.errors import BenchError
from bench.core.job import Job, Run
from bench.core.registry import references, resolve, role_of
from bench.core.spec import EMBEDDING
from bench.core.splits import make_folds
from bench.harness.identity import find_space, identify, remember_sources


def plan(run: Run, dataset: Dataset, suite: Any) -> list[Job]:
    """The cells of a run, the method's first; raises BenchError for names or splits that do not exist."""

    if run.precision != "fp32":
        suite = suite.at(run.precision)
    find_sources = remember_sources(dataset, suite)

    @functools.cache
    def name_folds(split: str) -> list[str]:
        return [fold.name for fold in make_folds(dataset, split, classes=run.classes)]

    output = "" if run.video else EMBEDDING

    def cells(method: str, variant: str, parameters: Mapping[str, Any], role: str, seeds: int) -> list[Job]:
        method_class = resolve("methods", method)
        split = "clips" if method_class.modality == "none" else run.split
        if method_class.modality not in ("none", "any", dataset.modality):
            raise BenchError(
                f"{method} decodes {method_class.modality}, {dataset.name} holds {dataset.modality} recordings"
            )
        sources, space = find_sources(method, parameters), find_space(method, parameters)
        if not run.video and space is None:
            raise BenchError(
                f"{method} embeds nothing, so there is nothing without its videos; a method that does has `embeds` and "
                "`embed` (bench.core.contracts.Embedder)"
            )
        spec = identify(
            dataset,
            suite,
            dataset_name=run.dataset,
            suite_name=run.suite,
            split=split,
            fold="",
            classes=run.classes,
            method=method,
            parameters=parameters,
            seed=0,
            sources=sources,
            output=output,
        )
        return [
            Job(
                spec=replace(spec, fold=fold, seed=seed),
                variant=variant,
                role=role,
                data_root=run.data_root,
                protocols=run.protocols,
                space=space,
                sources=sources,
                device=run.device,
                memory=run.memory,
            )
            for seed in range(seeds)
            for fold in name_folds(split)
        ]

    jobs = [
        job
        for variant, parameters in run.variants.items()
        for job in cells(run.method, variant, parameters, role_of(run.method), run.seeds)
    ]
    planned = {run.method}
    for reference in references():
        if reference in planned or (reference == "ideal_observer" and dataset.truth is None):
            continue
        if not run.video and find_space(reference, {}) is None:
            continue
        jobs += cells(reference, "base", {}, role_of(reference), seeds=1)
    return jobs
