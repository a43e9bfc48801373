"""DynaMind as a whole: planted truth, seeds, new subjects, variants, sizes and its ceiling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from asking import hide_answers
from dynamind_world import SMALL, build, record
from torch.nn import functional

from baselines.dynamind.method import DynaMind
from baselines.dynamind.oracle import DynaMindOracle
from baselines.dynamind.parameters import read_parameters
from bench.core.contracts import Answers, Ceiling
from bench.core.errors import BenchError, NotFitted
from bench.core.registry import references, role_of
from bench.core.variants import load_variants
from bench.pretrained.suite import load_suite
from bench.toolbox.sizes import count_paper_size
from bench.toolbox.targets import encode_captions


@pytest.fixture(scope="module")
def suite():
    return load_suite("mini")


@pytest.fixture(scope="module")
def fitted(suite) -> DynaMind:
    method = DynaMind(suite=suite, seed=3, **SMALL)
    method.fit(record(subjects=(1, 2)), record(subjects=(1, 2), clips=8, seed=1))
    return method


# The method


def test_planted_signal_is_decoded(fitted, suite):
    """CLIP, which had no part in it, finds the video nearer to its own caption than to another trial's."""
    test = record(subjects=(1,), clips=12, seed=7)
    video = fitted.reconstruct(hide_answers(test))
    assert video.shape == (12, 6, 64, 64, 3) and video.dtype == np.uint8
    pictures = torch.from_numpy(suite.embed_images(video[:, 3]))
    texts = torch.from_numpy(suite.embed_texts(list(test.captions)))
    near = functional.cosine_similarity(pictures[:, None], texts[None], dim=2)
    assert float(near.diagonal().mean()) > float(near.mean()) + 0.1
    assert fitted.mapper_losses[-1] < 0.5 * fitted.mapper_losses[0]
    assert np.mean(fitted.prior_losses[-20:]) < 0.7 * np.mean(fitted.prior_losses[:5])


def test_a_trial_stands_alone_and_its_seed_counts(fitted):
    test = record(subjects=(1,), clips=5, seed=8)
    together = fitted.reconstruct(hide_answers(test))
    alone = fitted.reconstruct(hide_answers(test, np.array([4, 1])))
    assert np.abs(together[[4, 1]].astype(int) - alone).max() <= 1
    other = hide_answers(test, np.array([4]))
    other.seed[:] = 99
    assert np.abs(together[[4]].astype(int) - fitted.reconstruct(other)).max() > 5


def test_same_seed_same_networks_and_videos(suite):
    quick = {**SMALL, "mapper_epochs": 1, "prior_epochs": 3, "aligner_epochs": 3}
    made = []
    for _ in range(2):
        method = DynaMind(suite=suite, seed=1, **quick)
        method.fit(record(subjects=(1,)), record(subjects=(1,), clips=8, seed=1))
        made.append(method.reconstruct(hide_answers(record(subjects=(1,), clips=3, seed=2))))
    assert np.array_equal(*made)


def test_start_is_noise_and_blueprint_in_the_given_share(fitted):
    signals = fitted.prepare(record(subjects=(1, 2)).brain, 50.0)
    with torch.no_grad():
        start = fitted.make_start(signals, np.arange(len(signals)))
        fitted.parameters, kept = read_parameters({**SMALL, "alpha": 0.0}), fitted.parameters
        noise = fitted.make_start(signals, np.arange(len(signals)))
        fitted.parameters = kept
    torch.testing.assert_close((start - noise).square().mean().sqrt(), torch.tensor(kept.alpha), atol=1e-3, rtol=1e-3)


def test_a_new_subject_gets_a_map_and_nothing_else_changes(fitted):
    before = {name: one.clone() for name, one in fitted.trained().state_dict().items()}
    known = record(subjects=(1,), clips=5, seed=8)
    old = fitted.reconstruct(hide_answers(known))
    calibration = record(subjects=(7,), clips=16, seed=5, shift=3)
    fitted.adapt(calibration)
    assert list(fitted.maps) == [7]
    assert all(torch.equal(one, before[name]) for name, one in fitted.trained().state_dict().items())
    assert np.array_equal(fitted.reconstruct(hide_answers(known)), old)
    test = record(subjects=(7,), clips=40, seed=6, shift=3)
    clip, answers = torch.from_numpy(test.clip), fitted.answer(test, encode_captions(fitted.suite, test.captions))
    with torch.no_grad():
        mapped, plain = (fitted.prepare(test.brain, 50.0, subject) for subject in (test.subject, None))
        assert fitted.measure_mapping(mapped, clip, answers) < fitted.measure_mapping(plain, clip, answers)
    fitted.maps.clear()


def test_test_trials_change_nothing_that_was_learned(fitted):
    before = {name: one.clone() for name, one in fitted.trained().state_dict().items()}
    fitted.reconstruct(hide_answers(record(subjects=(1,), clips=2, seed=9)))
    assert all(torch.equal(one, before[name]) for name, one in fitted.trained().state_dict().items())
    assert not hasattr(fitted, "reveal")


def test_asking_too_early_and_unknown_parameters_are_explained(suite):
    with pytest.raises(NotFitted, match="fit"):
        DynaMind(suite=suite).trained()
    with pytest.raises(BenchError, match="no parameter gama; it has"):
        DynaMind(suite=suite, gama=1)
    with pytest.raises(BenchError, match="contrast=2"):
        DynaMind(suite=suite, contrast=2)


# Variants and sizes


def test_variants_construct_and_matched_ones_count_what_the_base_counts():
    groups = load_variants("dynamind")
    assert {"parts", "released", "readouts"} == set(groups)
    with torch.device("meta"):
        base = build({}).parameter_count
        for group in groups.values():
            for name, parameters in group.items():
                count = build(parameters).parameter_count
                if name.endswith("_matched"):
                    assert abs(count - base) < 0.01 * base, name
                    assert build(group[name.removesuffix("_matched")]).parameter_count < 0.99 * base, name
                elif name.startswith("wo_") and f"{name}_matched" not in group:
                    assert abs(count - base) < 0.01 * base, name  # takes next to nothing away


def test_paper_size_is_the_released_configurations():
    counts = count_paper_size("dynamind")
    assert counts["mapper, text head"] == (768 + 1) * 512 + 513 * 512 + 513 * 59136 + 2 * 59136
    assert counts["mapper, image head"] == 769 * 768 + 2 * 768


# The ceiling


def test_oracle_is_a_ceiling_that_no_run_refers_to(suite):
    assert role_of("dynamind_oracle") == "ceiling" and "dynamind_oracle" not in references()
    assert role_of("dynamind") == role_of("sam_net") == "method" and role_of("retrieval") == "baseline"
    assert issubclass(DynaMindOracle, Ceiling) and not issubclass(DynaMind, Ceiling)


def test_oracle_comes_back_to_the_true_clip(suite):
    """Its start holds the true latents: nearer to the truth than the caption alone."""
    data = record(subjects=(1,), clips=4)
    errors = {}
    for latents in (True, False):
        oracle = DynaMindOracle(suite=suite, latents=latents, tuning_epochs=0.1)
        oracle.fit(data, data)
        oracle.reveal(Answers(test=data, trials=np.arange(4), truth=None))
        errors[latents] = float(
            ((oracle.reconstruct(hide_answers(data)).astype(float) - data.video[data.clip]) ** 2).mean()
        )
    assert errors[True] < 0.7 * errors[False]
