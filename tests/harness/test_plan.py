"""The plan: which cells a command comes to, what tells their keys apart, and which of them are floors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from bench.core.job import Job, Run
from bench.core.registry import role_of
from bench.harness import plan as planning


class Table(SimpleNamespace):
    def to_pandas(self) -> pd.DataFrame:
        return self.frame


def make_dataset() -> Any:
    """Two subjects who saw three blocks of two clips."""
    stimuli = pd.DataFrame({"clip": range(6), "block": [1, 1, 2, 2, 3, 3], "concept": [0, 1] * 3})
    trials = pd.DataFrame({"trial": range(12), "subject": [1] * 6 + [2] * 6, "session": 1, "clip": [*range(6)] * 2})
    return SimpleNamespace(
        name="made",
        modality="eeg",
        digest="d" * 64,
        subjects=(1, 2),
        concepts=("one", "two"),
        stimuli=Table(frame=stimuli),
        trials=Table(frame=trials),
        truth=None,
    )


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(
        planning, "remember_sources", lambda *about: lambda method, parameters: {}
    )  # it would ask the suite for networks
    suite = SimpleNamespace(digest="s", drawing_settings={})
    return lambda **run: planning.plan(
        Run(**{"split": "cross_subject", "dataset": "made", **run}), make_dataset(), suite
    )


def own(jobs: list[Job], method: str) -> list[Job]:
    return [job for job in jobs if job.spec.method == method]


def test_every_variant_fold_and_seed_is_a_cell_of_its_own(plan: Any) -> None:
    variants = {"base": {}, "small": {"width": 8}, "also_base": {}}
    jobs = own(plan(method="sam_net", variants=variants, split="single_subject", seeds=2), "sam_net")
    assert {(job.variant, job.spec.fold, job.spec.seed) for job in jobs} == {
        (variant, fold, seed) for variant in variants for fold in ("sub01", "sub02") for seed in (0, 1)
    }
    assert all(job.spec.parameters == variants[job.variant] for job in jobs)
    assert len({job.spec.key for job in jobs}) == 2 * 2 * 2  # a name is no part of a key, what it stands for is


def test_every_reference_has_the_role_that_it_is_held_against_in(plan: Any) -> None:
    """Sees the brain: no floor. Sees the truth: a ceiling. All others are floors, once for all seeds."""
    roles: dict[str, set[str]] = {}
    for job in plan(method="sam_net", seeds=3):
        roles.setdefault(job.role, set()).add(job.spec.method)
        assert job.spec.seed == 0 or job.spec.method == "sam_net"
    assert roles == {
        "method": {"sam_net"},
        "control": {"random_clip", "train_mean", "constant_grey", "best_constant", "position_only", "noise_brain"},
        "baseline": {"retrieval"},
        "ceiling": {"codec", "caption"},  # without a truth there is no ideal observer
    }


def test_a_newcomers_method_is_a_method() -> None:
    assert role_of("some/file.py:Mine") == role_of("of_an_installed_package") == "method"
