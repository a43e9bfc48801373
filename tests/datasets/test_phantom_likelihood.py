"""The likelihood that the EEG phantom's observer is made of, against scipy's densities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from bench.datasets.phantom.eeg import likelihood
from bench.datasets.phantom.eeg.features import draw_stimuli, measure_features
from bench.datasets.phantom.eeg.head import BANDS, draw_head
from bench.datasets.phantom.eeg.montage import REGIONS
from bench.datasets.phantom.eeg.spec import find_spec

SPEC = replace(find_spec("tiny"), size="smallest", subjects=2, concepts=(0, 22), seed=7)
FEW = [3, 20, 40, 58]  # channels


def normal(covariance: np.ndarray) -> multivariate_normal:
    return multivariate_normal(np.zeros(len(covariance)), covariance, seed=3)


def test_evoked_scores_are_the_density_of_means_in_noise_and_what_the_terms_leave() -> None:
    rng = np.random.default_rng(0)
    noise = np.cov(rng.standard_normal((6, 40)))
    terms = np.repeat(np.eye(3), 20, axis=0)
    shown = terms @ rng.standard_normal((3, 6)) + 0.7 * rng.standard_normal((60, 6)) @ np.diag([3, 1, 1, 0.1, 1, 1])
    evoked = likelihood.fit_evoked(likelihood.factorise(noise.copy()), shown, terms)
    means = np.stack([shown[terms[:, one] == 1].mean(axis=0) for one in range(3)])
    left = shown - terms @ means
    whole = normal(noise + left.T @ left / (60 - 3))
    asked = rng.standard_normal((5, 6))
    cells = np.array([[1.0, 0, 0], [0, 1, 0], [0.5, 0, 2]])
    expected = np.stack([whole.logpdf(asked - cell @ means) for cell in cells], axis=1)
    found = evoked.scores(asked, cells)
    np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], atol=1e-8)


def test_a_bin_is_the_density_of_its_cosines() -> None:
    """Noise alone, and with rhythms of any powers, at four channels; alpha is louder in the second state."""
    head = draw_head(SPEC, 1)
    rng = np.random.default_rng(1)
    observed = 3 * rng.standard_normal((2, len(FEW), likelihood.HIGHEST))
    powers = np.exp(rng.standard_normal((3, 48)))
    basis = likelihood.cosine_basis(likelihood.HIGHEST)
    for state in (0, 1, None):
        for one in (bins := likelihood.make_bins(head, SPEC, state, FEW))[:: len(bins) // 3]:
            covariance = likelihood.noise_covariance(
                head, SPEC, likelihood.HIGHEST, state=state, powers=np.zeros(48), channels=FEW
            ).reshape(len(FEW), likelihood.HIGHEST, len(FEW), likelihood.HIGHEST)
            rows = np.arange(likelihood.HIGHEST)[one.rows]
            noise = np.mean([covariance[:, row, :, row] for row in rows], axis=0)
            part = observed[:, :, one.rows].transpose(0, 2, 1)  # (trial, cosine, channel)
            alone = normal(noise).logpdf(part).sum(axis=1)
            found = one.log_noise(observed)
            assert found[0] - found[1] == pytest.approx(alone[0] - alone[1])
            mixing = np.split(head.rhythm, 3, axis=1)[list(BANDS).index(one.band)][FEW]
            rhythm = likelihood.list_rhythms(head, SPEC)[list(BANDS).index(one.band)][1]
            over_time = likelihood.autocovariance(rhythm, 400)[
                np.abs(np.subtract.outer(np.arange(400), np.arange(400)))
            ]
            loud = np.mean([basis[row] @ over_time @ basis[row] for row in rows])
            expected = np.stack(
                [
                    normal(noise + loud * (mixing * own[one.powers]) @ mixing.T).logpdf(part).sum(axis=1) - alone
                    for own in powers
                ],
                axis=1,
            )
            found = [one.log_ratio(one.products(observed), np.tile(own[one.powers], (2, 1))) for own in powers]
            np.testing.assert_allclose(np.stack([value for value, *_ in found], 1), expected, rtol=1e-6, atol=1e-6)
            step = np.zeros(48)
            step[one.powers.start + 5] = 1e-5
            after = one.log_ratio(one.products(observed), np.tile((powers[0] * np.exp(step))[one.powers], (2, 1)))
            np.testing.assert_allclose((after[0] - found[0][0]) / 1e-5, found[0][1][:, 5], rtol=1e-3, atol=1e-4)


def test_information_is_the_mean_square_of_the_gradient() -> None:
    """Fisher's, on cosines drawn with the powers at which it is taken."""
    head = draw_head(SPEC, 1)
    (one,) = [bin for bin in likelihood.make_bins(head, SPEC, 0, FEW) if bin.band == "beta"][:1]
    powers = np.exp(0.5 * np.random.default_rng(0).standard_normal(16))
    count = one.rows.stop - one.rows.start
    field = one.factor @ one.factor.T @ one.project.T
    covariance = one.factor @ one.factor.T + (field * powers) @ field.T
    drawn = np.zeros((4000, len(FEW), likelihood.HIGHEST))
    rng = np.random.default_rng(2)
    drawn[:, :, one.rows] = np.linalg.cholesky(covariance) @ rng.standard_normal((4000, len(FEW), count))
    _, gradient, information = one.log_ratio(one.products(drawn), np.tile(powers, (4000, 1)))
    square = gradient.T @ gradient / 4000
    np.testing.assert_allclose(square, information[0], atol=0.06 * np.abs(information[0]).max())
    np.testing.assert_allclose(gradient.mean(axis=0), 0, atol=5 * np.sqrt(np.diag(square).max() / 4000))


def test_features_are_integrated_out_as_on_a_grid() -> None:
    """One feature, two concepts: Laplace's method against a sum over a fine grid."""
    head = draw_head(SPEC, 1)
    bins = likelihood.make_bins(head, SPEC, 0)
    tuning = 0.4 * np.random.default_rng(3).standard_normal((48, 1))
    driven = likelihood.Driven(tuning, np.array([[-1.0], [1.5]]), np.array([[0.5]]))
    rng = np.random.default_rng(4)
    observed = np.zeros((3, 62, likelihood.HIGHEST))
    for one in bins:
        shape = 3, 62, one.rows.stop - one.rows.start
        observed[:, :, one.rows] = 1.3 * (one.factor @ rng.standard_normal(shape))
    told = [(one, one.products(observed)) for one in bins]
    grid = np.linspace(-6, 6, 601)
    values = np.stack([driven.expand(told, np.full((3, 1), point))[0] for point in grid], axis=1)
    expected = np.stack(
        [
            np.logaddexp.reduce(values - (grid - mean) ** 2 / (2 * 0.5), axis=1) + np.log(0.02 / np.sqrt(np.pi))
            for mean in (-1.0, 1.5)
        ],
        axis=1,
    )
    found = driven.score(told)
    np.testing.assert_allclose(found, expected, atol=0.3)
    np.testing.assert_allclose(found[:, 1] - found[:, 0], expected[:, 1] - expected[:, 0], atol=0.1)


def test_terms_of_a_cell_are_its_concept_action_place_and_conjunctions() -> None:
    cells = likelihood.lay_out_cells(SPEC)
    assert cells.shape == (2 * 10 * 4, 2 + 10 + 4 + 10)
    recipes = draw_stimuli(SPEC)[:6]
    rows = likelihood.terms_of(SPEC, recipes)
    for recipe, row in zip(recipes, rows, strict=True):
        concept = SPEC.concepts.index(recipe.concept)
        assert np.array_equal(row, cells[(concept * 10 + recipe.action) * 4 + recipe.scene])
        assert np.flatnonzero(row[:16]).tolist() == [concept, 2 + recipe.action, 12 + recipe.scene]


def test_what_drives_rhythms_is_distributed_as_the_spec_has_it() -> None:
    features = measure_features(draw_stimuli(SPEC), SPEC)
    order = np.argsort([SPEC.concepts.index(recipe.concept) for recipe in draw_stimuli(SPEC)], kind="stable")
    features = likelihood.Features(features.static[order], features.courses[order])
    head = draw_head(SPEC, 1)
    driven = likelihood.describe_driven(head, SPEC, features)
    np.testing.assert_array_equal(driven.means[:, :16], likelihood.object_space(SPEC)[list(SPEC.concepts)])
    np.testing.assert_allclose(np.diag(driven.within)[:16], SPEC.exemplar**2)
    powers = np.exp(np.concatenate([features.static[:, :22], features.static[:, 29:31]], axis=1) @ driven.tuning.T)
    np.testing.assert_allclose(powers, head.rhythm_powers(features), rtol=1e-5)


def test_regions_hold_every_electrode_once() -> None:
    assert sorted(index for region in REGIONS.values() for index in region) == list(range(62))
    assert len(REGIONS["occipital"]) == 12 and len(REGIONS["temporal"]) == 6
