"""The plan: from what a command asks for to the cells that it needs, each with the key of all that determines it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from bench.core.contracts import Dataset
from bench.core.errors import BenchError
from bench.core.job import Job, Run
from bench.core.registry import digest_source, references, resolve, role_of
from bench.core.spec import CellSpec, digest
from bench.core.splits import make_folds
from bench.harness.inputs import load_once


def plan(run: Run, dataset: Dataset, suite_digest: str) -> list[Job]:
    """The cells of a run, the method's first; raises BenchError for names or splits that do not exist."""

    @functools.cache
    def name_folds(split: str) -> list[str]:
        return [fold.name for fold in make_folds(dataset, split, classes=run.classes)]

    def cells(method: str, variant: str, parameters: Mapping[str, Any], role: str, seeds: int) -> list[Job]:
        method_class = resolve("methods", method)
        split = "clips" if method_class.modality == "none" else run.split
        if method_class.modality not in ("none", "any", dataset.modality):
            raise BenchError(
                f"{method} decodes {method_class.modality}, {dataset.name} holds {dataset.modality} recordings"
            )
        return [
            Job(
                spec=CellSpec(
                    dataset=run.dataset,
                    data_digest=dataset.digest,
                    split=split,
                    fold=fold,
                    classes=run.classes,
                    method=method,
                    method_version=method_class.version,
                    parameters=dict(parameters),
                    suite=run.suite,
                    suite_digest=suite_digest,
                    seed=seed,
                    source=identify_source(method, parameters, run.suite),
                ),
                variant=variant,
                role=role,
                data_root=run.data_root,
                protocols=run.protocols,
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
        jobs += cells(reference, "base", {}, role_of(reference), seeds=1)
    return jobs


def identify_source(method: str, parameters: Mapping[str, Any], suite: str) -> str:
    """What determines a method's output beside its name, version, parameters and the suite's generators; often empty.

    The content of a `path/file.py:Class`; the version and content of the method that it wraps (class attribute
    `wraps`: the default of its parameter `method`); the networks beside the suite's generators that it builds on (class
    attribute `uses`: their roles); and the judges that it asks (class attribute `asks`: their views).
    """
    method_class = resolve("methods", method)
    parts = [digest_source("methods", method)]
    if hasattr(method_class, "wraps"):
        inner = parameters.get("method", method_class.wraps)
        parts.append(f"{inner} {resolve('methods', inner).version} {digest_source('methods', inner)}")
    if hasattr(method_class, "uses"):
        from bench.pretrained.suite import load_suite

        loaded = load_once(load_suite, suite)
        parts += [f"{role} {loaded.digest_role(role) if loaded.has(role) else 'absent'}" for role in method_class.uses]
    if hasattr(method_class, "asks"):
        from bench.pretrained.suite import load_suite

        judges = load_once(load_suite, suite).judges
        parts += [f"{view} {judges.digest(view) if judges.available(view) else 'absent'}" for view in method_class.asks]
    return parts[0] if len(parts) == 1 else digest(parts)
