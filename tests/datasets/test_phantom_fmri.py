"""The fMRI phantoms: responses and noise against closed forms, observers against brute force, the card, determinism."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from math import comb
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import gamma, multivariate_normal

from bench.api.data import describe_dataset
from bench.core.errors import BenchError, DatasetError
from bench.core.splits import make_folds
from bench.datasets.catalogue import info, open_dataset, read_dataset, verify
from bench.datasets.cc2017.layout import CC2017
from bench.datasets.cinebrain.layout import CineBrain
from bench.datasets.phantom import publish
from bench.datasets.phantom.fmri import card, cortex, readers, scalp, writer
from bench.datasets.phantom.fmri import features as cortex_features
from bench.datasets.phantom.fmri import observer as fmri_observer
from bench.datasets.phantom.fmri.features import COUNT, GROUPS, clip_rows
from bench.datasets.phantom.fmri.observer import KNOWN
from bench.datasets.phantom.fmri.spec import FmriSpec, find_fmri_spec, read_fmri_spec
from bench.datasets.phantom.fmri.writer import write_fmri_phantom
from bench.datasets.phantom.publish import committed_card
from bench.datasets.phantom.stimuli import ACTIONS, SCENES, describe
from bench.datasets.seed_dv.concepts import CONCEPTS

FMRI = find_fmri_spec("phantom_fmri", "tiny")
CINEBRAIN = find_fmri_spec("phantom_cinebrain", "tiny")
SMALLEST = replace(FMRI, subjects=2, concepts=(0, 22), segments=(3, 1), segment_clips=6, repeats=(2, 3), voxels=0.03)
SERIES = replace(CINEBRAIN, subjects=3, concepts=(0, 22), segments=(2, 3), segment_clips=3, voxels=0.03)


def truth_of(dataset: Any) -> Any:
    return dataset.truth


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> CC2017:
    home = tmp_path_factory.mktemp("films")
    write_fmri_phantom(SMALLEST, home / "phantom", processes=1)
    return read_dataset("phantom_fmri", home / "phantom", cache=home / "cache")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> CineBrain:
    home = tmp_path_factory.mktemp("series")
    write_fmri_phantom(SERIES, home / "phantom", processes=1)
    return read_dataset("phantom_cinebrain", home / "phantom", cache=home / "cache")


@pytest.fixture(scope="module")
def tiny(bench_home: Path) -> CC2017:
    return open_dataset("phantom_fmri:tiny")


@pytest.mark.parametrize(("tr", "best"), [(2.0, 2), (0.8, 5)])
def test_the_response_is_a_double_gamma_that_peaks_at_the_stored_delay(tr: float, best: int) -> None:
    kernel = cortex.haemodynamic_kernel(tr)
    assert np.argmax(kernel) == best and kernel.sum() == pytest.approx(1) and kernel.min() < 0
    time = np.linspace(0, 20, 200_001)
    response = gamma.pdf(time / 0.8, 6) - gamma.pdf(time / 0.8, 16) / 6
    assert time[np.argmax(response)] == pytest.approx(4.0, abs=0.03)
    middle = (best + 0.5) * tr
    expected = [np.trapezoid(response[w], time[w]) for w in [(time > middle - tr) & (time < middle)]]
    total = sum(
        np.trapezoid(response[w], time[w])
        for k in range(len(kernel))
        for w in [(time >= (k - 0.5) * tr) & (time <= (k + 0.5) * tr)]
    )
    assert kernel[best] == pytest.approx(expected[0] / total, rel=0.01)


def test_filtering_is_a_convolution_read_later() -> None:
    features = np.random.default_rng(0).standard_normal((40, COUNT)).astype(np.float32)
    for spec in (FMRI, CINEBRAIN):
        kernel, delay = cortex.haemodynamic_kernel(spec.tr), spec.delay_volumes
        expected = np.convolve(np.append(features[:, 7], np.zeros(delay)), kernel)[delay : delay + 40]
        np.testing.assert_allclose(cortex.filter_features(features, spec)[:, 7], expected, atol=1e-5)


def test_noise_has_the_covariance_that_the_observer_uses() -> None:
    one = cortex.draw_cortex(SERIES, 1)
    drawn = cortex.draw_noise(np.random.default_rng(0), one, SERIES, 60_000)
    own, shared = cortex.noise_course(SERIES)
    expected = np.diag(one.own.astype(float) ** 2) * own[0, 2] + (one.loadings @ one.loadings.T) * shared[0, 2]
    measured = drawn[:-2].T @ drawn[2:] / (len(drawn) - 2)
    np.testing.assert_allclose((measured + measured.T) / 2, expected, atol=0.06)
    np.testing.assert_allclose(np.cov(drawn.T), np.diag(one.own**2) + one.loadings @ one.loadings.T, atol=0.08)


def test_scalp_noise_has_the_covariance_that_the_observer_uses() -> None:
    head, samples = scalp.draw_scalp(SERIES, 1), 2000
    rng = np.random.default_rng(0)
    drawn = np.stack([scalp.draw_scalp_noise(rng, head, SERIES, samples) for _ in range(60)])
    expected = scalp.noise_covariance_over_time(SERIES, samples, 50)
    assert expected[0, 0] == pytest.approx(1)
    power = (head.mixing**2).sum(axis=1)
    for lag in (0, 1, 5, 40):
        measured = (drawn[:, :, : samples - lag] * drawn[:, :, lag:]).mean(axis=(0, 2)) / power
        np.testing.assert_allclose(measured, expected[0, lag], atol=0.06)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.floats(1.0, 100.0))
def test_familiarity_is_the_faded_count_of_what_came_before(shown: list[int], span: float) -> None:
    values = cortex_features.familiarity(np.array(shown), span)
    for place, concept in enumerate(shown):
        ages = [place - earlier for earlier in range(place) if shown[earlier] == concept]
        trace = sum(np.exp(-age / span) for age in ages)
        assert values[place] == pytest.approx(trace / (1 + trace))


def test_hippocampus_and_mpfc_see_no_picture_and_know_only_what_came_before() -> None:
    one = cortex.draw_cortex(FMRI, 1)
    memory = np.isin(one.rois, ("hippocampus",))
    other = np.delete(np.arange(COUNT), np.r_[GROUPS["memory"]])
    assert not one.weights[memory][:, other].any()
    assert not one.weights[~np.isin(one.rois, ("hippocampus", "mPFC"))][:, GROUPS["memory"]].any()
    films = np.array([recipe.concept for recipe in cortex_features.draw_films(FMRI)])
    first = cortex_features.remembered(FMRI, 1, films)["train", 0]
    seen: set[int] = set()
    for concept, familiar in zip(films, first, strict=False):
        assert (familiar == 0) == (concept not in seen)
        seen.add(concept)
    passes = cortex_features.remembered(FMRI, 1, films)
    assert passes["train", 1][:10].mean() > passes["train", 0][:10].mean()  # the second time all is familiar


def test_subjects_differ_in_voxels_and_tuning(tiny: CC2017) -> None:
    assert len(set(tiny.voxels.values())) == 3
    for subject, rois in tiny.rois.items():
        assert set(rois) == set(cortex.REGIONS) and len(rois) == tiny.voxels[subject]
        tuning = truth_of(tiny).tuning(subject)
        assert np.array_equal(tuning, truth_of(tiny).cortex(subject).weights)
        v1 = tuning[np.array(rois) == "V1"]
        assert np.abs(v1[:, GROUPS["light"]]).max() > 0 and not v1[:, GROUPS["object"]].any()


def test_the_tuning_can_be_found_in_the_stored_volumes(tiny: CC2017) -> None:
    """True weights predict the stored volumes as well as their share of the variance says, and not other clips'."""
    truth, subject, each = truth_of(tiny), 1, FMRI.segment_clips
    trials = tiny.trials.to_pandas()
    rois = np.array(tiny.rois[subject])
    one = truth.cortex(subject)
    noise = one.own**2 + (one.loadings**2).sum(axis=1)
    found, expected, wrong = [], [], []
    for repeat in (1, 2):
        train = trials[(trials["subject"] == subject) & (trials["repeat"] == repeat)]
        predicted = (truth._drives(subject, "train", (repeat - 1,))[train["clip"]] @ truth.tuning(subject).T).reshape(
            -1, each, len(rois)
        )
        observed = tiny.signals(train["trial"])[:, : len(rois), 0].reshape(predicted.shape)
        deviation = predicted.std(axis=1)  # of a run: each run is a z-score of its own
        assert not deviation[:, rois == "auditory"].any()  # silent films
        driven = rois != "auditory"
        predicted = ((predicted - predicted.mean(axis=1, keepdims=True)) / (deviation[:, None] + 1e-12))[..., driven]
        observed = observed[..., driven]
        found.append((predicted * observed).mean(axis=1))
        expected.append(np.sqrt(deviation**2 / (deviation**2 + noise))[:, driven])
        wrong.append((np.roll(predicted, 1, axis=0) * observed).mean())
    assert np.mean(found) == pytest.approx(np.mean(expected), abs=0.04)
    assert abs(np.mean(wrong)) < 0.04


def test_official_layouts_and_split(tiny: CC2017) -> None:
    stimuli, trials = tiny.stimuli.to_pandas(), tiny.trials.to_pandas()
    assert len(stimuli) == 100 and len(trials) == 3 * (2 * 80 + 20)
    recipes = truth_of(tiny).recipes
    assert stimuli["caption"].tolist() == [describe(recipe) for recipe in recipes]
    assert [tiny.concepts[c] for c in stimuli["concept"]] == [CONCEPTS[recipe.concept] for recipe in recipes]
    assert all(recipe.is_reserved for recipe in recipes) and len({recipe.digest for recipe in recipes}) == 100
    fold = make_folds(tiny, "cross_subject", classes=10)[0]
    assert set(stimuli["block"].to_numpy()[trials["clip"].to_numpy()[fold.test]]) == {5}
    assert tiny.video([0]).shape == (1, 6, 64, 64, 3)


def test_series_layout(series: CineBrain) -> None:
    assert series.signals([0]).shape == (1, max(series.voxels.values()), 5)
    assert series.video([0]).shape == (1, 33, 64, 64, 3)
    stimuli, trials = series.stimuli.to_pandas(), series.trials.to_pandas()
    assert len(stimuli) == 8 * 3 and len(trials) == 3 * 5 * 3  # subject 3 is of the other group
    tested = [set(trials["clip"][(trials["subject"] == s) & (stimuli["block"].to_numpy()[trials["clip"]] == 4)])
              for s in (1, 2, 3)]  # fmt: skip
    assert tested[0] == tested[1] == set(range(9, 15)) and tested[2] == set(range(18, 24))


def brute_force(
    spec: FmriSpec, truth: Any, subject: int, voxels: np.ndarray, power: float
) -> tuple[np.ndarray, np.ndarray]:
    """In a state: covariance of a trial's noise over voxel and volume, and the responses' design (…, volume * 141)."""
    one = truth.cortex(subject)
    own, shared = cortex.noise_course(spec)
    loadings = one.loadings[voxels].astype(float)
    covariance = np.kron(np.diag(one.own[voxels].astype(float) ** 2), own) + power * np.kron(
        loadings @ loadings.T, shared
    )
    return covariance, np.kron(one.weights[voxels].astype(float), np.eye(spec.clip_volumes))


@pytest.mark.parametrize("without", [(), ("V1", "hippocampus", "LOC")])
def test_closed_set_equals_the_gaussian_density(series: CineBrain, without: tuple[str, ...]) -> None:
    truth = truth_of(series)
    trials = np.flatnonzero(np.asarray(series.trials["subject"]) == 3)[-6:]  # its test clips
    posteriors, clips = truth.clip_posteriors(trials, without=without)
    voxels = np.flatnonzero(~np.isin(truth.cortex(3).rois, without))
    directions = truth._time[0]
    unturned = np.linalg.inv(directions)
    drives = truth._drives(3, "test", (0,)).reshape(6, 5, COUNT)
    drives = np.einsum("nud,ut->ndt", drives, unturned).reshape(6, -1)
    observed = truth._observe(trials)[:, voxels].reshape(6, -1)
    states = []
    for chance, power in zip((0.7, 0.3), (1 / 1.9, 4 / 1.9), strict=True):  # awake and drowsy, of mean power 1
        covariance, design = brute_force(SERIES, truth, 3, voxels, power)
        likelihood = [multivariate_normal(design @ drive, covariance).logpdf(observed) for drive in drives]
        states.append(np.log(chance) + np.stack(likelihood, axis=1))
    density = np.logaddexp(*states)
    expected = density - np.logaddexp.reduce(density, axis=1, keepdims=True)
    np.testing.assert_allclose(posteriors, expected, atol=1e-6)
    assert clips[0].tolist() == list(range(18, 24))


@pytest.mark.parametrize("knows", [KNOWN, ("conjunctions",), ("arousal",), ()])
def test_open_set_equals_the_mixture_of_gaussian_densities(films: CC2017, knows: tuple[Any, ...]) -> None:
    """Averaged repeats: the noise of a mean of three is a third, what clips cause is not; none to all are drowsy."""
    truth, subject = truth_of(films), 2
    table = films.trials.to_pandas()
    trials = table[(table["subject"] == subject) & (table["repeat"] == 0)]["trial"].to_numpy()
    posteriors = truth.posteriors(trials, without=("MT",), knows=knows)
    voxels = np.flatnonzero(~np.isin(truth.cortex(subject).rois, ("MT",)))
    population = truth._population(subject, "test", (0, 1, 2), "concept", knows)
    assert len(population.means) == (2 * 10 * 4 if "conjunctions" in knows else 2)
    observed = truth._observe(trials)[:, voxels, 0]
    density = np.full((len(trials), 2), -np.inf)
    for drowsy in range(4):
        power = ((3 - drowsy) + 4 * drowsy) / 3 / 1.9 if "arousal" in knows else 1.0
        covariance, design = brute_force(SMALLEST, truth, subject, voxels, power)
        total = covariance / 3 + design @ population.within @ design.T
        for mean, label in zip(population.means, population.labels, strict=True):
            chance = np.log(comb(3, drowsy) * 0.3**drowsy * 0.7 ** (3 - drowsy))
            here = chance + multivariate_normal(design @ mean, total).logpdf(observed)
            density[:, label] = np.logaddexp(density[:, label], here)
    expected = density - np.logaddexp.reduce(density, axis=1, keepdims=True)
    np.testing.assert_allclose(posteriors, expected, atol=1e-5)


def test_conjunctions_say_nothing_of_the_object_alone_and_all_with_the_other_part() -> None:
    films = [replace(recipe, action=action, scene=scene) for recipe in cortex_features.draw_films(SMALLEST)[:1]
             for action in range(10) for scene in range(4)]  # fmt: skip
    shown = cortex_features.measure_cortex_features(films, replace(SMALLEST, exemplar=0.0))[:, 0]
    for group, part, chosen in (
        ("deed", np.array([ACTIONS[film.action] for film in films]), cortex_features.ACROSS),
        ("setting", np.array([SCENES[film.scene] for film in films]), cortex_features.OPEN),
    ):
        code = shown[:, GROUPS[group]]
        np.testing.assert_allclose(code.mean(axis=0), 0, atol=1e-6)  # over all actions or places
        assert np.abs(code).max() > 0.5
        inside = code[np.isin(part, chosen)]
        np.testing.assert_allclose(inside - inside[0], 0, atol=1e-6)
        outside = code[~np.isin(part, chosen)]
        np.testing.assert_allclose(outside * len(outside), -np.ones_like(outside) * inside[0] * len(inside), rtol=1e-4)


def test_conjunctions_are_the_planted_share_of_the_drive_and_can_be_left_out() -> None:
    one = cortex.draw_cortex(find_fmri_spec("phantom_fmri", "small"), 1)
    rois, power = np.array(one.rois), one.weights.astype(float) ** 2
    for region, group, share in (("MT", "deed", 0.24), ("LOC", "deed", 0.23), ("ventral", "setting", 0.21)):
        mine = power[rois == region]
        assert mine[:, GROUPS[group]].sum() / mine.sum() == pytest.approx(share, abs=0.05)
    plain = cortex.draw_cortex(find_fmri_spec("phantom_fmri", "small", conjunctions=0.0), 1)
    assert not plain.weights[:, GROUPS["deed"].start :].any()
    assert np.array_equal(one.own, plain.own)


def test_drowsiness_comes_and_goes_as_often_as_the_spec_says() -> None:
    spec = replace(SERIES, drowsy=0.3, drowsy_seconds=20.0)
    states = cortex.draw_states(np.random.default_rng(0), spec, 200_000)
    assert (states.reshape(-1, 5) == states[::5, None]).all()  # never within a clip
    assert states.mean() == pytest.approx(0.3, abs=0.01)
    clips = states[::5]
    assert clips[:-1][clips[1:] < clips[:-1]].size / clips.sum() == pytest.approx(4 / 20, abs=0.01)
    assert cortex.state_powers(spec) @ (0.7, 0.3) == pytest.approx(1)
    assert np.divide(*cortex.state_powers(spec)[::-1]) == pytest.approx(4)


def test_stored_z_scores_can_be_undone(films: CC2017, series: CineBrain) -> None:
    stored = films.recording(1, "train")[6:12, 1]  # second segment, second repeat
    np.testing.assert_allclose(stored.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(stored.std(axis=0, ddof=1), 1, atol=1e-5)
    table = films.trials.to_pandas()
    trial = int(table[(table["subject"] == 1) & (table["clip"] == 8) & (table["repeat"] == 2)]["trial"].iloc[0])
    mean, deviation = np.load(films.root / "truth/scales/sub01_train.npy")[:, 1, 1]
    expected = films.signals([trial])[0, : len(mean), 0] * deviation + mean
    np.testing.assert_allclose(truth_of(films)._observe(np.array([trial]))[0, :, 0], expected, rtol=1e-5, atol=1e-6)
    own = np.flatnonzero(np.asarray(series.trials["subject"]) == 1)
    volumes = series.signals(own)[:, : series.voxels[1]]
    np.testing.assert_allclose(volumes.mean(axis=(0, 2)), 0, atol=1e-4)


def test_the_eeg_observer_reads_the_eeg(series: CineBrain) -> None:
    view = read_dataset("phantom_cinebrain_eeg", series.root, cache=series.cache.folder)
    assert view.signals([0]).shape == (1, 64, 400)
    test = np.flatnonzero(np.asarray(view.trials["subject"]) == 2)[-6:]
    posteriors, clips = truth_of(view).clip_posteriors(test)
    shown = np.asarray(view.trials["clip"])[test]
    assert (clips[0][posteriors.argmax(axis=1)] == shown).mean() >= 5 / 6
    told = truth_of(view)._information(2, (), 1.0)
    head = scalp.draw_scalp(SERIES, 2)
    drive = np.random.default_rng(0).standard_normal((5, COUNT))
    evoked = np.concatenate(
        [gain * np.einsum("csd,d->cs", head.response, own) for gain, own in
         zip(scalp.volume_gains(SERIES), drive, strict=True)], axis=1)  # fmt: skip
    np.testing.assert_allclose(told.read(evoked[None])[0][0], told.precision @ drive.ravel(), rtol=1e-4, atol=1e-3)
    with pytest.raises(DatasetError, match="no regions to leave out"):
        truth_of(view).concept_posteriors(test, without=("V1",))


def test_unknown_regions_are_named(films: CC2017) -> None:
    with pytest.raises(DatasetError, match="no region 'V9'; there are V1, V2"):
        truth_of(films).concept_posteriors([0], without=("V9",))


def test_files_do_not_depend_on_the_number_of_processes(films: CC2017, tmp_path: Path) -> None:
    write_fmri_phantom(SMALLEST, tmp_path / "again", processes=2)
    assert CC2017(tmp_path / "again", cache=tmp_path).digest == films.digest
    other = replace(SMALLEST, seed=1)
    write_fmri_phantom(other, tmp_path / "other", processes=1)
    assert CC2017(tmp_path / "other", cache=tmp_path).digest != films.digest


def test_a_spec_survives_json() -> None:
    for spec in (FMRI, CINEBRAIN, SMALLEST):
        assert read_fmri_spec({**spec.as_dict(), "concepts": list(spec.concepts)}) == spec
    with pytest.raises(BenchError, match="unknown phantom size 'huge'"):
        open_dataset("phantom_fmri:huge")


def test_the_committed_card_is_what_is_measured(tiny: CC2017) -> None:
    """One subject of the smallest phantom, all its own figures, but for what other libraries and processors change."""
    shipped = committed_card(card.card_file(FMRI, "fmri"), FMRI)
    assert shipped is not None, "python -m bench.datasets.remake_cards phantom_fmri:tiny"
    measured, _, _ = card.measure_subject(tiny, 2)
    by_subject = dict(zip(shipped["figure"], shipped["by subject"], strict=True))
    told = {figure: float(by_subject[figure].split()[1]) for figure in measured}
    assert told == pytest.approx(measured, abs=1e-3)


def test_the_card_says_what_each_region_and_condition_adds(tiny: CC2017, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card, "measure_card", lambda dataset: pytest.fail("measured"))
    shown = info(tiny)
    again = describe_dataset("phantom_fmri:tiny")
    assert again.equals(shown) and describe_dataset("phantom_cinebrain:tiny")["figure"].tolist()[0] == card.IDEAL
    assert list(shown.columns) == list(card.COLUMNS)
    means = shown.set_index("figure")["mean"].astype(float)
    assert 0.5 < means[card.IDEAL] < 0.99
    bits = f"{card.IDEAL}{{}}, in bits"
    for what in ("conjunctions", "V1 and V2 and V3", "ventral", "hippocampus and mPFC"):
        assert means[bits.format(f", without {what}")] < means[bits.format("")]
        lost = means[card.IDEAL] - means[f"{card.IDEAL}, without {what}"]
        assert means[f"lost without {what}, ideal observer"] == pytest.approx(lost, abs=2e-3)
    assert means[f"{card.IDEAL}, hippocampus and mPFC alone"] > 0.2  # 0.1 by chance
    assert means["ideal observer, clip, closed set (of the test clips)"] > 0.95
    assert not any("auditory" in figure and "without" in figure for figure in shown["figure"])  # silent films


def test_repeats_are_as_reliable_as_published_and_less_so_up_the_stream(tiny: CC2017) -> None:
    """About .3 in primary visual cortex (Schmälzle et al. 2017), less further on, next to nothing where memory is."""
    twice = {
        name.rpartition(" ")[2]: value
        for subject in tiny.subjects
        for name, value in card.measure_reliability(tiny, subject).items()
        if name.startswith("two repeats")
    }
    assert 0.2 < twice["V1"] < 0.45
    assert twice["hippocampus"] < 0.12 < twice["LOC"] < twice["V1"] + 0.05
    assert abs(twice["auditory"]) < 0.1


def test_readers_read_what_is_planted_for_them() -> None:
    """Two Gaussian clouds: linear. A sign that another number turns: three layers alone."""
    rng = np.random.default_rng(0)
    counts = {"concept": 2, "action": 10, "scene": 4}
    concept, action, scene = (rng.integers(0, count, 3000) for count in counts.values())
    opened = np.isin(SCENES, cortex_features.OPEN)[scene]
    trials = rng.standard_normal((3000, 6))
    trials[:, 0] += 3 * np.where(opened, 1, -1)
    turned = trials.copy()
    turned[:, 1] += 2 * np.where(opened, 1, -1) * np.where(concept, 1, -1)
    trials[:, 2] += 2 * concept
    half = slice(0, 1500), slice(1500, None)
    for inputs, linear, layered in ((trials, 0.84, 0.84), (turned, 0.5, 0.977)):
        reader = readers.fit_linear(inputs[half[0]], concept[half[0]], 2)
        assert readers.top_accuracy(reader.score(inputs[half[1]]), concept[half[1]]) == pytest.approx(linear, abs=0.04)
        labels = {"concept": concept[half[0]], "action": action[half[0]], "scene": scene[half[0]]}
        scores = readers.fit_layers(inputs[half[0]], labels, counts).score(inputs[half[1]])
        found = readers.sum_layers(scores, counts, "concept")
        np.testing.assert_allclose(np.exp(found).sum(axis=1), 1)
        assert readers.top_accuracy(found, concept[half[1]]) == pytest.approx(layered, abs=0.04)


def test_compressed_trials_give_the_same_discriminant() -> None:
    """Fewer trials than numbers: the small space changes nothing."""
    rng = np.random.default_rng(1)
    trials, labels = rng.standard_normal((30, 50)), np.arange(30) % 3
    found = readers.fit_linear(trials, labels, 3)
    means = np.stack([trials[labels == kind].mean(axis=0) for kind in range(3)])
    left = trials - means[labels]
    covariance = left.T @ left / 27
    shrunk = 0.1 * covariance + 0.9 * np.trace(covariance) / 50 * np.eye(50)
    asked = rng.standard_normal((4, 50))
    density = np.stack([multivariate_normal(mean, shrunk).logpdf(asked) for mean in means], axis=1)
    scores = found.score(asked)
    np.testing.assert_allclose(scores - scores[:, :1], density - density[:, :1], atol=1e-8)


@pytest.mark.parametrize("trials", [20, 90])
def test_ridge_is_least_squares_with_rows_for_the_penalty(trials: int) -> None:
    rng = np.random.default_rng(0)
    inputs, targets = rng.standard_normal((trials, 40)), rng.standard_normal((trials, 3))
    centred = inputs - inputs.mean(axis=0)
    strength = 0.7 * np.square(centred).sum() / trials
    rows = np.concatenate([centred, np.sqrt(strength) * np.eye(40)])
    wanted = np.concatenate([targets - targets.mean(axis=0), np.zeros((40, 3))])
    expected = centred @ np.linalg.lstsq(rows, wanted, rcond=None)[0] + targets.mean(axis=0)
    np.testing.assert_allclose(readers.fit_ridge(inputs, targets, 0.7).score(inputs), expected, atol=1e-10)


@pytest.mark.parametrize("spec", [SMALLEST, SERIES])
def test_an_interrupted_making_goes_on_where_it_stopped(
    spec: FmriSpec, films: CC2017, series: CineBrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study size is made in parts; one that was damaged meanwhile is made again, and all is as if made at once."""
    study = replace(spec, size="study")
    made: list[tuple[str, int]] = []

    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "write_metadata", stop)
    with pytest.raises(KeyboardInterrupt):
        write_fmri_phantom(study, tmp_path / "phantom", processes=1)
    monkeypatch.undo()
    (draft,) = tmp_path.glob(".making-*")
    damaged = sorted((draft / publish.NOTES).glob("features*.npy"))[1]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    draw = writer.draw_episode
    monkeypatch.setattr(writer, "draw_episode", lambda *arguments: made.append(arguments) or draw(*arguments))
    write_fmri_phantom(study, tmp_path / "phantom", processes=1)
    assert len(made) == 1
    original = films if spec is SMALLEST else series
    files = [
        json.loads((root / "manifest.json").read_text())["files"] for root in (tmp_path / "phantom", original.root)
    ]
    assert files[0] == files[1]
    assert [path.name for path in tmp_path.iterdir()] == ["phantom"]


def test_sizes_of_a_study() -> None:
    spec = find_fmri_spec("phantom_fmri", "study")
    assert spec.subjects >= 8 and spec.repeats == (2, 10)
    assert {part: len(own) * spec.segment_clips for part, own in spec.part_episodes(1).items()} == {
        "train": 2000 + spec.segment_clips,  # the last segment validates
        "test": 400,
    }
    spec = find_fmri_spec("phantom_cinebrain", "study")
    tested = [set(clip_rows(spec, spec.part_episodes(subject)["test"]).tolist()) for subject in range(1, 7)]
    assert spec.subjects == 6 and [len(own) for own in tested] == [200] * 6
    assert tested[0] == tested[1] == tested[5] and tested[2] == tested[3] == tested[4] and not tested[0] & tested[2]


@pytest.mark.parametrize("kind", ["phantom_fmri", "phantom_cinebrain"])
def test_the_size_that_is_said_before_is_about_what_is_taken(kind: str, films: CC2017, series: CineBrain) -> None:
    root, spec = (films.root, SMALLEST) if kind == "phantom_fmri" else (series.root, SERIES)
    taken = sum(path.stat().st_blocks * 512 for path in root.rglob("*") if path.is_file())
    assert 0.4 < taken / writer.needed_bytes(spec) < 2.5


def test_a_phantom_of_an_older_generator_is_refused() -> None:
    with pytest.raises(BenchError, match="version 1, this is version 2: make it again"):
        read_fmri_spec({**FMRI.as_dict(), "version": 1})


def test_verify_finds_what_changed(films: CC2017, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    root.mkdir()
    copy: Callable[[Path], None] = lambda path: (root / path.relative_to(films.root)).symlink_to(path)  # noqa: E731
    for path in films.root.iterdir():
        copy(path)
    report: Any = verify("phantom_fmri", root)
    assert (report[~report["file"].str.startswith("subj03")]["status"] == "ok").all()
    (root / "subj01_rois.txt").unlink()
    (root / "subj01_rois.txt").write_text("V1\n" * films.voxels[1])
    report = verify("phantom_fmri", root).set_index("file")
    assert "malformed" in report.loc[["subj01_rois.txt"], "status"].tolist()


def test_the_population_is_what_simulated_clips_are(films: CC2017) -> None:
    """Means and covariance come from the same filter as the data: a constant feature stays what it is."""
    truth = SimpleNamespace(spec=SMALLEST, _time=truth_of(films)._time)
    constant = np.ones((30, 1, COUNT), np.float32)
    turned = fmri_observer.FmriTruth._turn(truth, constant)  # type: ignore[arg-type]
    kernel = cortex.haemodynamic_kernel(2.0)
    assert turned[15, 0] == pytest.approx(kernel.sum(), abs=1e-5)
    assert turned[-1, 0] == pytest.approx(kernel[2:].sum(), abs=1e-5)  # after the last clip the screen is blank
