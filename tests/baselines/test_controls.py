"""Floors, ceilings and the retrieval baseline: planted truths, the published position band, every split."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines.floors.controls import BestConstant, NoiseBrain, PositionOnly
from baselines.floors.noise import measure_noise
from baselines.floors.position import choose_bandwidth, leave_block_out, reciprocal_rank, top_k_accuracy, vote
from baselines.retrieval.features import read_features
from baselines.retrieval.method import Retrieval, choose_clips, fit_mixed, fit_ridge, predict_unseen
from bench.core.contracts import BrainData, Clockwatcher, Schedule, TrainingSet
from bench.core.errors import BenchError
from bench.core.job import Run
from bench.core.splits import SPLITS, make_folds
from bench.datasets.seed_dv.geometry import GT_LABEL
from bench.harness.identity import list_sources
from bench.harness.inputs import read_schedule
from bench.harness.plan import plan
from bench.harness.run_cell import make_cell
from bench.pretrained.suite import load_suite
from bench.store.cells import Store

FRAMES = (2, 8, 8, 3)


def make_set(brain, clip, concepts, *, subject=None, video=None, captions=None, rate=200.0):
    rng = np.random.default_rng(len(concepts))
    return TrainingSet(
        brain=np.asarray(brain, np.float32),
        subject=np.ones(len(brain), np.int64) if subject is None else subject,
        clip=np.asarray(clip, np.int64),
        video=rng.integers(0, 255, (len(concepts), *FRAMES), dtype=np.uint8) if video is None else video,
        captions=captions or tuple(f"thing {concept}" for concept in concepts),
        concepts=np.asarray(concepts, np.int64),
        channels=tuple(f"C{i}" for i in range(np.shape(brain)[1])),
        sampling_rate=rate,
    )


def make_brain(signals, subject, seeds):
    channels = tuple(f"C{i}" for i in range(signals.shape[1]))
    return BrainData(brain=signals, subject=subject, seed=np.asarray(seeds), channels=channels, sampling_rate=200.0)


# The clock


def read_orders(real):
    labels = np.load(real / "seed_dv" / "meta_info" / "All_video_label.npy", allow_pickle=False).astype(np.int64)
    assert labels.shape == (7, 40)
    return labels


PUBLISHED = {
    1: (16.25, 2.14),
    2: (17.50, 3.21),
    3: (18.57, 2.86),
    5: (18.93, 2.86),
    8: (15.71, 3.21),
    12: (14.29, 3.21),
}


def check_band(labels):
    block, slot = (grid.ravel() for grid in np.indices(labels.shape))
    concept = labels.ravel() - 1
    for bandwidth, (top_5, top_1) in PUBLISHED.items():
        votes = leave_block_out(block, slot, concept, bandwidth)
        assert 100 * top_k_accuracy(votes, concept, 5).mean() == pytest.approx(top_5, abs=0.005)
        assert 100 * top_k_accuracy(votes, concept, 1).mean() == pytest.approx(top_1, abs=0.005)


def test_position_alone_gives_the_known_band_on_the_real_orders(real):
    """What an independent computation found on SEED-DV's orders, in percent for each bandwidth: (top-5, top-1)."""
    check_band(read_orders(real))


def test_position_band_on_the_orders_of_the_scripts():
    check_band(np.array(GT_LABEL))


@given(st.integers(2, 6), st.integers(3, 9), st.integers(0, 2**32 - 1))
def test_votes_on_random_orders(blocks, concepts, seed):
    rng = np.random.default_rng(seed)
    orders = np.stack([rng.permutation(concepts) for _ in range(blocks)])
    block, slot = (grid.ravel() for grid in np.indices(orders.shape))
    concept = orders.ravel()
    votes = leave_block_out(block, slot, concept, 2.0)
    # the sum over all clips of others, written out
    by_hand = sum(np.exp(-((slot[0] - slot[i]) ** 2) / 8) for i in np.flatnonzero((block > 0) & (concept == 1)))
    assert votes[0, 1] == pytest.approx(by_hand, abs=1e-9)
    for k in (1, concepts):
        accuracy = top_k_accuracy(votes, concept, k)
        assert ((accuracy >= 0) & (accuracy <= 1)).all()
    assert (top_k_accuracy(votes, concept, concepts) == 1).all()
    ranks = reciprocal_rank(votes, concept)
    assert ((ranks > 0) & (ranks <= 1)).all()
    everyone = np.stack([top_k_accuracy(votes, np.full(len(votes), one), 2) for one in range(concepts)])
    np.testing.assert_allclose(everyone.sum(axis=0), 2)  # two places are given away, ties or not


def test_the_bandwidth_follows_the_drift_of_the_orders():
    slots = np.tile(np.arange(30), 6)
    blocks = np.repeat(np.arange(6), 30)
    assert choose_bandwidth(blocks, slots, slots) == 1.0  # the same order in every block
    rng = np.random.default_rng(0)
    shaken = np.concatenate([np.argsort(np.arange(30) + rng.normal(0, 6, 30)) for _ in range(6)])
    assert choose_bandwidth(blocks, slots, shaken) > 2.0
    assert choose_bandwidth(blocks[:30], slots[:30], slots[:30]) == 5.0  # one block: nothing to choose by
    with pytest.raises(ValueError, match="at least two"):
        leave_block_out(blocks[:30], slots[:30], slots[:30], 1.0)
    with pytest.raises(ValueError, match="above 0"):
        vote(slots, slots, slots, bandwidth=0.0, concepts=30)


def test_position_only_finds_a_planted_order():
    concepts = np.arange(10)
    train, validation = (make_set(np.zeros((1, 2, 4)), [0], np.tile(concepts, blocks)) for blocks in (3, 1))
    control = PositionOnly(seed=0)
    assert isinstance(control, Clockwatcher)
    control.fit(train, validation)
    asked = np.array([7, 2, 2])
    brain = make_brain(np.zeros((3, 2, 4), np.float32), np.zeros(3, np.int64), [5, 6, 7])
    with pytest.raises(BenchError, match="see_schedule"):
        control.reconstruct(brain)
    control.see_schedule(
        Schedule(
            train_block=np.repeat(np.arange(3), 10),
            train_slot=np.tile(concepts, 3),
            validation_block=np.full(10, 3),
            validation_slot=concepts,
            block=np.full(3, 4),
            slot=asked,
        )
    )
    shown = control.reconstruct(brain)
    for clip, slot in zip(shown, asked, strict=True):
        assert any(np.array_equal(clip, train.video[10 * block + slot]) for block in range(3))


def test_the_schedule_holds_places_and_no_labels(phantom):
    (fold,) = make_folds(phantom, "clips")
    stimuli = phantom.stimuli.to_pandas().set_index("clip")
    clips = phantom.trials.to_pandas().set_index("trial")["clip"]
    tested = clips.loc[fold.test].to_numpy()
    schedule = read_schedule(phantom, fold, tested)
    np.testing.assert_array_equal(schedule.slot, stimuli.loc[tested, "slot"])
    np.testing.assert_array_equal(schedule.train_block, stimuli.loc[np.unique(clips.loc[fold.train]), "block"])
    assert set(schedule.block).isdisjoint(schedule.train_block) and set(schedule.block).isdisjoint(
        schedule.validation_block
    )
    film = SimpleNamespace(stimuli=phantom.stimuli.remove_columns(["slot", "block"]), trials=phantom.trials)
    np.testing.assert_array_equal(read_schedule(film, fold, tested).slot, tested)  # the place of the clip itself


# The best constant answer


def test_best_constant_shows_the_clip_nearest_to_the_mean():
    video = np.zeros((12, *FRAMES), np.uint8)
    video[:, 0, 0, 0, 0] = [0, 9, 200, 30, 40, 50, 60, 70, 80, 90, 250, 5]
    train, validation = (make_set(np.zeros((1, 2, 4)), [0], np.zeros(len(part)), video=part) for part in (video, video))
    control = BestConstant()
    control.fit(train, validation)
    assert control.clip[0, 0, 0, 0] == 70  # of a mean of 73.7
    assert (BestConstant.answers, PositionOnly.answers) == ("constant", "position")


# Noise


@pytest.mark.parametrize("samples", [50, 51])
def test_noise_has_the_subjects_mean_covariance_and_spectrum(samples):
    rng = np.random.default_rng(0)
    mix = np.array([[1.0, 0.0, 0.0], [0.9, 0.3, 0.0], [0.0, -0.5, 2.0]])
    white = rng.normal(size=(64, 3, samples))
    evoked = np.sin(np.arange(samples) / 5)[None, None]
    smooth = np.real(
        np.fft.ifft(np.fft.fft(white) / (1 + np.minimum(np.arange(samples), samples - np.arange(samples))))
    )
    trials = (np.einsum("cd,ndt->nct", mix, smooth) + evoked).astype(np.float32)
    noise = measure_noise(trials, np.full(64, 4))[4]
    drawn = np.stack([noise.draw(seed) for seed in range(1500)])
    assert np.array_equal(noise.draw(3), drawn[3]) and not np.allclose(drawn[3], drawn[4])
    np.testing.assert_allclose(drawn.mean(0), trials.mean(0), atol=0.1 * trials.std())
    rest, own = (some - trials.mean(0) for some in (drawn, trials))
    power, wanted = ((np.abs(np.fft.rfft(some)) ** 2).mean(0) for some in (rest, own))
    np.testing.assert_allclose(power, wanted, rtol=0.2)
    between, expected = (np.einsum("nct,ndt->cd", some, some) / len(some) for some in (rest, own))
    np.testing.assert_allclose(between, expected, atol=0.1 * expected.max())


# Ridge and retrieval


def test_ridge_solves_its_equations():
    rng = np.random.default_rng(0)
    for n, p in ((30, 8), (8, 30)):
        x, y = rng.normal(size=(n, p)).astype(np.float32), rng.normal(size=(n, 3)).astype(np.float32)
        for strength, weights in zip((2.0, 50.0), fit_ridge(x, y, (2.0, 50.0)), strict=True):
            by_hand = np.linalg.solve(x.T @ x + strength * np.eye(p), x.T @ y)
            np.testing.assert_allclose(weights, by_hand, atol=1e-5)
        mixed = fit_mixed(x, y, np.array([50.0, 2.0, 50.0]))
        np.testing.assert_allclose(mixed[:, 1], fit_ridge(x, y, (2.0,))[0][:, 1], atol=1e-5)
        np.testing.assert_allclose(mixed[:, 2], by_hand[:, 2], atol=1e-5)
        part = np.arange(n) % 2
        unseen = predict_unseen(x, y, part, np.array([50.0, 2.0, 50.0]))
        weights = fit_mixed(x[part == 1], y[part == 1], np.array([50.0, 2.0, 50.0]))
        np.testing.assert_allclose(unseen[part == 0], x[part == 0] @ weights, atol=1e-4)


def test_the_concept_is_chosen_by_its_clips_together():
    likelihood = np.log([[0.3, 0.25, 0.25, 0.2], [0.6, 0.1, 0.2, 0.1]])
    assert choose_clips(likelihood, np.array([0, 1, 1, 0])).tolist() == [0, 0]
    assert choose_clips(likelihood, np.array([0, 1, 1, 2])).tolist() == [0, 0]  # two clips are no double chance
    assert choose_clips(np.log([[0.3, 0.35, 0.35, 0.0001]]), np.array([0, 1, 1, 0])).tolist() == [1]


def plant(rng, patterns, concepts, subject, *, noise=0.5):
    signals = patterns[subject][concepts] + rng.normal(0, noise, (len(concepts), *patterns[subject].shape[1:]))
    return signals.astype(np.float32)


@pytest.mark.parametrize(("channels", "samples", "rate"), [(6, 40, 200.0), (300, 2, 0.5)])
def test_retrieval_finds_a_planted_code(channels, samples, rate):
    """Each subject has patterns of its own for 6 concepts, half shared with the others; EEG-like and fMRI-like."""
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(6, channels, samples))
    patterns = {s: shared + rng.normal(size=shared.shape) for s in (1, 2, 3)}

    def record(subjects, clips, count):
        clip = np.tile(np.arange(count), len(subjects))
        subject = np.repeat(subjects, count)
        brain = np.concatenate([plant(rng, patterns, clips, one) for one in subjects])
        return make_set(brain, clip, clips, subject=subject, rate=rate)

    labels = np.tile(np.arange(6), 8)
    train, validation, new = record((1, 2), labels, 48), record((1, 2), labels[:18], 18), record((3,), labels[:24], 24)
    method = Retrieval()
    method.fit(train, validation)
    method.adapt(new)
    asked = np.tile(np.arange(6), 10)
    for subject in (1, 2, 3):
        test = make_brain(plant(rng, patterns, asked, subject), np.full(60, subject), np.arange(60))
        test = BrainData(**{**vars(test), "sampling_rate": rate})
        shown = method.reconstruct(test)
        index = [int(np.argmax([np.array_equal(clip, one) for one in train.video])) for clip in shown]
        assert np.mean(train.concepts[index] == asked) > 0.9
        np.testing.assert_array_equal(shown, method.reconstruct(test))
    with pytest.raises(BenchError, match=r"subjects \[9\]"):
        method.reconstruct(make_brain(test.brain, np.full(60, 9), np.arange(60)))


def test_features_of_many_channels_are_bounded():
    signals = np.random.default_rng(0).normal(size=(3, 5000, 2)).astype(np.float32)
    raw = read_features(signals, 0.5)
    assert raw.bins.shape == (3, 4096, 1) and raw.power.shape == (3, 0)
    flat = signals.mean(2)
    wanted = np.linalg.norm(flat[0] - flat[1])
    assert np.linalg.norm(raw.bins[0] - raw.bins[1]) == pytest.approx(wanted, rel=0.1)  # distances are kept


# Through the runner


def test_noise_brain_wraps_any_method_that_sees_a_brain(phantom):
    with pytest.raises(BenchError, match="sees no brain"):
        NoiseBrain(suite=None, method="train_mean")
    wrapped = NoiseBrain(suite=None, method="retrieval")
    assert isinstance(wrapped.method, Retrieval)
    suite = load_suite("mini")
    known = {name: list_sources("noise_brain", {"method": name}, phantom, suite) for name in ("retrieval", "sam_net")}
    assert list_sources("noise_brain", {}, phantom, suite) == known["retrieval"] != known["sam_net"]
    assert "methods.sam_net.hrt" in known["sam_net"]
    run = Run(method="noise_brain", split="cross_subject", dataset="phantom_eeg:tiny", variants={"a": {"method": "x"}})
    with pytest.raises(BenchError, match="unknown name 'x'"):
        plan(run, phantom, suite)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("split", SPLITS)
def test_every_floor_baseline_and_ceiling_runs_on_every_split(phantom, store, split):
    suite = load_suite("mini")
    run = Run(method="retrieval", split=split, dataset="phantom_eeg:tiny")
    jobs = {job.spec.method: job for job in reversed(plan(run, phantom, suite))}
    roles = {
        "control": {"random_clip", "train_mean", "constant_grey", "best_constant", "position_only", "noise_brain"},
        "baseline": {"retrieval"},
        "ceiling": {"codec", "caption", "ideal_observer"},
    }
    assert {role: {name for name, job in jobs.items() if job.role == role} for role in roles} == roles
    for name, job in jobs.items():
        assert (job.spec.split == "clips") == (name not in ("noise_brain", "retrieval", "ideal_observer"))
        cell = store.find(job.spec.key) or make_cell(job, store, phantom, suite)
        trials = cell.trials()
        assert len(trials) and (trials["status"] == "ok").all()


def test_noise_and_brain_give_other_predictions_from_the_same_weights(phantom, store):
    suite = load_suite("mini")
    run = Run(method="retrieval", split="cross_subject", dataset="phantom_eeg:tiny")
    cells = {job.spec.method: store.find(job.spec.key) for job in plan(run, phantom, suite)}
    seen, noise = cells["retrieval"], cells["noise_brain"]
    if seen is None or noise is None:
        pytest.skip("made by the test above")
    assert seen.manifest["parameter_count"] == noise.manifest["parameter_count"] > 0
    assert seen.manifest["prediction_digest"] != noise.manifest["prediction_digest"]
