"""The phantom: its physics against closed forms, its determinism, its observers and its confounds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import bench
from bench.core.errors import BenchError
from bench.datasets.catalogue import info, make_phantom, open_dataset, shipped_card, verify
from bench.datasets.phantom.eeg import card, likelihood, observer, signals, writer
from bench.datasets.phantom.eeg.features import (
    GROUPS,
    Features,
    draw_conjunctions,
    draw_stimuli,
    measure_clip,
    measure_features,
    object_space,
    simulate_recipes,
)
from bench.datasets.phantom.eeg.head import BANDS, LOBES, WINDOW, delay, draw_head
from bench.datasets.phantom.eeg.montage import RADIUS, electrode_positions, measure_leadfield
from bench.datasets.phantom.eeg.spec import SIZES, PhantomSpec, find_spec, read_spec
from bench.datasets.phantom.eeg.writer import write_phantom
from bench.datasets.phantom.fmri.spec import SIZES as FMRI_SIZES
from bench.datasets.phantom.publish import committed_card
from bench.datasets.phantom.stimuli import ACTIONS, FRAME_TIMES, describe, draw_recipe, render, render_flow
from bench.datasets.seed_dv.geometry import CHANNELS
from bench.datasets.seed_dv.layout import SeedDV
from bench.store import disk

TINY = find_spec("tiny")
SMALLEST = replace(TINY, size="smallest", subjects=2, concepts=(0, 22), seed=7)
STEADY = replace(SMALLEST, alpha_states=1.0, background_states=1.0)


@pytest.fixture(scope="module")
def features() -> Features:
    return measure_features(draw_stimuli(SMALLEST), SMALLEST)


def still(count: int) -> Features:
    """Clips that evoke and induce nothing."""
    return Features(np.zeros((count, GROUPS["onset"].stop), np.float32), np.zeros((count, 8, 24), np.float32))


def test_montage_is_symmetric_and_where_it_should_be() -> None:
    positions = dict(zip(CHANNELS, electrode_positions(), strict=True))
    assert np.allclose(np.linalg.norm(list(positions.values()), axis=1), RADIUS)
    for left, right in (("C3", "C4"), ("O1", "O2"), ("CB1", "CB2"), ("F7", "F8")):
        assert np.linalg.norm(positions[left] * [-1, 1, 1] - positions[right]) < 0.006
    assert positions["FPZ"][1] > 0.09 and positions["OZ"][1] < -0.09 and positions["CZ"][2] > 0.09
    assert positions["CB1"][2] < positions["O1"][2] < positions["POZ"][2]  # CB1 lies below the occipital row


def test_leadfield_of_a_central_dipole_has_the_closed_form() -> None:
    """At the centre of a sphere the potential is that of a dipole times a constant: linear in the cosine."""
    electrodes = electrode_positions()
    field = measure_leadfield(electrodes, np.full((1, 3), 1e-6), np.array([[0.0, 0.0, 1.0]]))[:, 0]
    cosine = electrodes[:, 2] / RADIUS
    assert np.corrcoef(field, cosine)[0, 1] > 0.9999
    assert abs(field.mean()) < 1e-9  # average reference


def test_radial_dipole_peaks_above_itself() -> None:
    electrodes = electrode_positions()
    above = electrodes[CHANNELS.index("OZ")] / RADIUS
    field = measure_leadfield(electrodes, 0.075 * above[None], above[None])[:, 0]
    assert CHANNELS[int(np.argmax(field))] == "OZ"
    strongest = np.sort(np.abs(field))[-2]
    assert strongest > 0.3 * np.abs(field).max()  # volume conduction: neighbours see it too


def test_noise_has_the_covariance_that_the_observer_uses() -> None:
    head = draw_head(SMALLEST, 1)
    samples = 4000
    rng = np.random.default_rng(0)
    power = signals.pink_spectrum(samples, head.exponent)
    drawn = signals.draw_noise(rng, power, 600)
    expected = signals.autocovariance(power, WINDOW)
    lags = np.array([0, 1, 7, 50, 300])
    measured = [(drawn[:, : samples - lag] * drawn[:, lag:]).mean() for lag in lags]
    assert expected[0] == pytest.approx(1)
    np.testing.assert_allclose(measured, expected[lags], atol=0.03)


def test_covariance_of_trials_is_that_of_simulated_recordings(features: Features) -> None:
    """The exact model (no Whittle): whitened trials of pure noise are white, anywhere in the block."""
    spec = replace(STEADY, blinks=0.0, saccades=0.0)
    head = draw_head(spec, 1)
    factor = likelihood.factorise(likelihood.noise_covariance(head, spec, 16))
    basis = likelihood.cosine_basis(16)
    white = []
    for block in range(60):
        signal, _ = signals.record_block(spec, head, 1, block, still(2), still(2))
        for start in (0, 130, 777):
            white.append(likelihood.whiten(factor, (signal[:, start : start + WINDOW] @ basis.T).reshape(1, -1))[0])
    power = np.mean(np.square(white))  # 180 × 992 numbers
    assert power == pytest.approx(1, abs=0.02)
    by_cosine = np.mean(np.square(white).reshape(-1, 62, 16), axis=(0, 1))
    np.testing.assert_allclose(by_cosine, 1, atol=0.1)


def test_states_and_clips_make_noise_as_loud_as_they_should() -> None:
    """In the middle of clips: alpha, background and rhythms in the power that state and clip give them."""
    spec = replace(SMALLEST, alpha=40.0, background=0.01, ongoing=0.0, sensor=0.01, blinks=0.0, saccades=0.0)
    head = draw_head(replace(spec, rhythm_alpha=0.01, rhythm_beta=0.01, rhythm_gamma=0.01), 1)
    middle = [slice(start, start + 300) for start in (300, 900)]  # of the clips of two slots of 3 s

    def loudness(spec: PhantomSpec, block: int) -> np.ndarray:
        signal, _ = signals.record_block(spec, head, 1, block, still(2), still(2))
        return np.array([signal[:, part].var(axis=1).mean() for part in middle])

    steady = replace(spec, alpha_states=1.0)
    ratio = np.concatenate([loudness(spec, block) / loudness(steady, block) for block in range(40)])
    quiet, loud = signals.state_powers(spec)[1]
    assert (quiet, loud) == pytest.approx((2 / 7, 12 / 7))
    np.testing.assert_allclose(np.minimum(np.abs(ratio / quiet - 1), np.abs(ratio / loud - 1)), 0, atol=1e-3)
    assert 0.3 < np.mean(ratio > 1) < 0.7


def test_rhythms_have_the_power_that_the_clip_gives_them() -> None:
    spec = replace(STEADY, background=0.01, alpha=0.01, sensor=0.01, evoked=0.01, blinks=0.0, saccades=0.0, induced=1.5)
    head = draw_head(spec, 1)
    shown = Features(np.zeros((2, GROUPS["onset"].stop), np.float32), np.zeros((2, 8, 24), np.float32))
    shown.static[1, GROUPS["object"]] = np.random.default_rng(5).standard_normal(16)
    powers = head.rhythm_powers(shown)
    assert np.array_equal(powers[0], np.ones(48)) and np.std(np.log(powers[1])) > 0.1
    spectra = []
    for block in range(150):
        signal, _ = signals.record_block(spec, head, 1, block, shown, still(2))
        trials = np.stack([signal[:, start : start + 350] for start in (250, 850)])  # ramps left out
        spectra.append(np.square(np.abs(np.fft.rfft(trials * np.hanning(350), axis=2))))
    first, second = np.mean(spectra, axis=0)  # of each clip: (channel, frequency)
    frequency = np.fft.rfftfreq(350, 1 / 200)
    for band, (low, high) in BANDS.items():
        inside = (frequency > low + 1) & (frequency < high - 1)
        index = list(BANDS).index(band)
        field = np.split(head.rhythm, 3, axis=1)[index] ** 2
        expected = field @ np.split(powers[1], 3)[index] / field.sum(axis=1)
        ratio = second[:, inside].sum(axis=1) / first[:, inside].sum(axis=1)
        np.testing.assert_allclose(ratio, expected, rtol=0.2)
        assert np.corrcoef(ratio, expected)[0, 1] > 0.95


def test_responses_without_normalisation_are_linear_and_carry_over(features: Features) -> None:
    head = draw_head(replace(SMALLEST, normalisation=0.0, latency_by_strength=0.0), 2)
    one, other = (Features(features.static[i : i + 1], features.courses[i : i + 1]) for i in (0, 1))
    both = Features(one.static + other.static, one.courses + other.courses)
    np.testing.assert_allclose(head.moments(both), head.moments(one) + head.moments(other), rtol=1e-3, atol=1e-4)
    left = head.moments(one)[..., WINDOW:]
    assert np.abs(left).max() > 0.01 * np.abs(head.moments(one)).max()


def test_stronger_clips_are_answered_less_than_in_proportion_and_earlier() -> None:
    """Against the formula: r = u √(2 / (1 + drive)), and 8 ms for e times the drive's root."""
    head = draw_head(SMALLEST, 2)
    static = np.random.default_rng(4).standard_normal((1, GROUPS["onset"].stop)).astype(np.float32)
    once, twice = (Features(k * static, np.zeros((1, 8, 24), np.float32)) for k in (1, 2))
    peaks = np.einsum("nf,dsf->nds", static, head.tuning.static)
    drive = head.measure_drive(peaks)
    np.testing.assert_allclose(head.measure_drive(2 * peaks), 4 * drive)
    temporal = slice(6, 12)
    usual = np.square(head.tuning.static[temporal]).sum(axis=2).mean()
    assert drive[0, 6] == pytest.approx(np.square(peaks[0, temporal]).mean() / usual)
    gain = np.abs(head.moments(twice)).max(axis=2) / np.abs(head.moments(once)).max(axis=2)
    np.testing.assert_allclose(gain, 2 * np.sqrt((1 + drive) / (1 + 4 * drive)), rtol=0.02)
    sooner = delay(head.moments(twice), np.array([0.008 * np.log(2)])) / gain[..., None]
    inner = slice(10, WINDOW)
    apart = np.abs(sooner - head.moments(once))[..., inner].max() / np.abs(head.moments(once)).max()
    assert apart < 0.03 < np.abs(head.moments(twice) / gain[..., None] - head.moments(once)).max()


def test_a_delay_moves_a_response() -> None:
    time = np.arange(560)
    bump = np.exp(-(((time - 100) / 12) ** 2)).astype(np.float32)
    later = delay(np.tile(bump, (2, 1, 1)), np.array([0.0125, 0.0]))  # two samples and a half
    np.testing.assert_allclose(later[0, 0], np.exp(-(((time - 102.5) / 12) ** 2)), atol=1e-5)
    np.testing.assert_allclose(later[1, 0], bump, atol=1e-5)


def test_conjunctions_say_nothing_of_the_object_over_all_actions_and_places() -> None:
    spec = find_spec("small")
    every = [np.tile(part, (1, 1)).ravel() for part in np.indices((40, 10, 4)).reshape(3, -1)]
    products = draw_conjunctions(spec).of(object_space(spec)[every[0]], every[1], every[2])
    by_concept = products.reshape(40, 40, -1)
    np.testing.assert_allclose(by_concept.mean(axis=1), 0, atol=1e-9)
    assert np.sqrt(np.square(products).mean()) == pytest.approx(1, abs=0.15)
    np.testing.assert_allclose(by_concept.std(axis=1), np.abs(by_concept).mean(axis=1))  # ± the same


def test_features_hold_the_conjunctions_of_the_clip() -> None:
    recipes = draw_stimuli(SMALLEST)[:4]
    static = measure_features(recipes, SMALLEST).static
    conjunctions = draw_conjunctions(SMALLEST)
    for row, recipe in zip(static, recipes, strict=True):
        along = conjunctions.directions @ row[GROUPS["object"]]
        signs = np.concatenate([conjunctions.signs["action"][recipe.action], conjunctions.signs["place"][recipe.scene]])
        np.testing.assert_allclose(row[31:41], along * signs, rtol=1e-5)


def test_lobes_answer_to_what_they_should() -> None:
    """Planted truth: object in temporal, motion in parietal, colour in occipital dipoles, averaged over heads."""
    heads = [draw_head(SMALLEST, subject) for subject in range(1, 9)]
    lobes = np.repeat(list(LOBES), [len(names) for names in LOBES.values()])

    def strongest(power: np.ndarray) -> str:
        return max(LOBES, key=lambda lobe: power[lobes == lobe].mean())

    static = np.mean([head.tuning.static**2 for head in heads], axis=(0, 2))
    assert strongest(static[:, GROUPS["object"]].sum(axis=1)) == "temporal"
    assert strongest(static[:, GROUPS["colour"]].sum(axis=1)) == "occipital"
    assert strongest(np.mean([head.tuning.courses**2 for head in heads], axis=0)[:, 3:].sum(axis=1)) == "parietal"


def test_subjects_share_a_population_and_differ() -> None:
    first, second, again = (draw_head(TINY, subject) for subject in (1, 2, 1))
    stranger = draw_head(replace(TINY, seed=1), 1)
    assert np.array_equal(first.field, again.field)

    def likeness(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])

    assert 0.5 < likeness(first.tuning.static, second.tuning.static) < 0.85  # own share of variance 0.35
    assert abs(likeness(first.tuning.static, stranger.tuning.static)) < 0.1
    assert not np.allclose(first.field, second.field)


def test_heads_are_shifted_by_physics_alone() -> None:
    """Gains scale electrodes, a worse skull weakens and blurs, a cap turns: each through the head model."""
    plain = draw_head(SMALLEST, 1)
    gains = draw_head(replace(SMALLEST, electrode_gain=0.5), 1)
    ratio = gains.field / plain.field
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-9)
    assert 0.3 < np.log(ratio[:, 0]).std() < 0.7
    np.testing.assert_allclose(gains.sensor / plain.sensor, ratio[:, 0])
    np.testing.assert_allclose(gains.rhythm / plain.rhythm, np.broadcast_to(ratio[:, :1], plain.rhythm.shape))
    electrodes, place = electrode_positions(), np.array([[0.0, 0.0, 0.07]])
    thick, thin = (measure_leadfield(electrodes, place, np.array([[0, 0, 1.0]]), 0.004 * k) for k in (0.5, 2))
    assert np.abs(thick).max() < np.abs(thin).max()
    assert np.sort(np.abs(thick[:, 0]))[-8] / np.abs(thick).max() > np.sort(np.abs(thin[:, 0]))[-8] / np.abs(thin).max()
    shifted = find_spec("shifted", seed=SMALLEST.seed)
    same = {name: value for name, value in shifted.as_dict().items() if value != find_spec("small").as_dict()[name]}
    physics = {"orientation", "position", "cap", "electrode_gain", "conductivity"}
    assert set(same) == {"size", "seed", "evoked", "induced"} | physics


def test_features_see_what_the_clip_does() -> None:
    rng = np.random.default_rng(3)
    moving = {}
    for action in ACTIONS:
        courses = [measure_clip(draw_recipe(rng, 3, ACTIONS.index(action)))[2] for _ in range(6)]
        moving[action] = np.mean([course[3:].mean(axis=1) for course in courses], axis=0)
    speed, right, down, growth, turn = range(5)
    assert moving["moving right"][right] > 0.02 > -0.02 > moving["moving left"][right]
    assert moving["falling"][down] > 0.02 > -0.02 > moving["rising"][down]
    assert moving["growing"][growth] > 0.004 > -0.004 > moving["shrinking"][growth]
    assert moving["spinning"][turn] > 2 * abs(moving["resting"][turn])
    assert moving["spinning"][speed] > moving["resting"][speed]


def test_objects_of_a_coarse_class_are_nearer() -> None:
    objects = object_space(TINY)
    assert np.allclose(np.linalg.norm(objects, axis=1), TINY.object_norm)
    alike = [objects[i] @ objects[j] for i in range(7) for j in range(i)]
    unlike = [objects[i] @ objects[j] for i in range(7) for j in range(7, 40)]
    assert np.mean(alike) > np.mean(unlike) + 1


def test_written_truth_belongs_to_the_written_clips(phantom: SeedDV) -> None:
    recipes, shown = phantom.truth.recipes, phantom.stimuli.to_pandas()
    assert [describe(recipe) for recipe in recipes] == shown["caption"].tolist()
    concepts = np.array(phantom.geometry.concepts)[shown["concept"]]
    assert [recipe.concept for recipe in recipes] == concepts.tolist()
    assert len({recipe.digest for recipe in recipes}) == len(recipes)
    assert all(recipe.is_reserved for recipe in recipes)
    for clip in (0, 41):
        drawn = render(recipes[clip], FRAME_TIMES).astype(float)
        error = np.square(drawn - phantom.video([clip])[0]).mean()
        assert 10 * np.log10(255**2 / error) > 35  # dB: what the encoder leaves
        np.testing.assert_allclose(phantom.truth.flow[clip], render_flow(recipes[clip], FRAME_TIMES), atol=0.02)
    score = np.load(phantom.root / "Video" / "meta-info" / "All_video_optical_flow_score.npy").ravel()
    np.testing.assert_allclose(score, np.hypot(*np.moveaxis(np.float64(phantom.truth.flow), -1, 0)).mean((1, 2, 3)))


def test_no_simulated_clip_is_a_stimulus() -> None:
    spec = find_spec("small")
    shown = {recipe.digest for recipe in draw_stimuli(spec)}
    assert len(shown) == 840
    assert not shown & {recipe.digest for recipe in simulate_recipes(spec, 5)}


def test_eeg_is_in_volts_and_has_a_plausible_spectrum(phantom: SeedDV) -> None:
    recording = np.load(phantom.root / "EEG" / "sub1.npy", mmap_mode="r")
    deviation = recording[0].std()
    assert 4e-6 < deviation < 3e-5
    spectrum = (np.abs(np.fft.rfft(recording[:, CHANNELS.index("OZ")], axis=1)) ** 2).mean(axis=0)
    frequency = np.fft.rfftfreq(recording.shape[2], 1 / 200)

    def band(low: float, high: float) -> float:
        return float(spectrum[(frequency >= low) & (frequency < high)].mean())

    assert band(1, 4) > 3 * band(15, 25) and band(15, 25) > band(40, 90)
    assert band(8.5, 11.5) > 2 * band(14, 17)  # alpha


def test_same_files_whatever_the_number_of_processes(tmp_path: Path) -> None:
    digests = []
    for processes in (1, 2):
        write_phantom(SMALLEST, tmp_path / str(processes), processes=processes)
        digests.append(json.loads((tmp_path / str(processes) / "manifest.json").read_text())["digest"])
    assert digests[0] == digests[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]  # no drafts left
    assert (verify("phantom_eeg", tmp_path / "2")["status"] == "ok").all()
    captions = tmp_path / "1" / "Video" / "BLIP-caption" / "1st_10min.txt"
    assert captions.read_bytes().count(b"\r\n") == 2


def test_a_killed_making_leaves_nothing_and_a_changed_file_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "fill", stop)
    with pytest.raises(BenchError, match="full"):
        write_phantom(SMALLEST, tmp_path / "home" / "phantom", processes=1)
    assert list((tmp_path / "home").iterdir()) == []
    dead = tmp_path / "home" / f".tmp-folder-{disk.origin()}-999999999-1-0"
    dead.mkdir()
    with pytest.raises(BenchError, match="full"):
        write_phantom(SMALLEST, tmp_path / "home" / "phantom", processes=1)
    assert not dead.exists()


def test_an_interrupted_making_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is whole is kept, what is half written or changed since is made again, and the phantom is the same."""
    write_phantom(SMALLEST, tmp_path / "whole", processes=1)
    record, made = writer.write_subject, []

    def stop_at_second(spec: PhantomSpec, draft: Path, subject: int, features: Features) -> None:
        record(spec, draft, subject, features)
        made.append(subject)
        if subject == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(writer, "write_subject", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        write_phantom(SMALLEST, tmp_path / "phantom", processes=1)
    (draft,) = (tmp_path).glob(".making-*")
    assert not (tmp_path / "phantom").exists() and made == [1, 2]
    video = draft / "Video" / "3rd_10min.mp4"
    video.write_bytes(video.read_bytes()[:-1])
    drawn = []
    draw = writer.write_block
    monkeypatch.setattr(writer, "write_block", lambda *given: drawn.append(given[2]) or draw(*given))
    monkeypatch.setattr(writer, "write_subject", lambda *given: made.append(given[2]) or record(*given))
    write_phantom(SMALLEST, tmp_path / "phantom", processes=1)
    assert drawn == [2] and made == [1, 2, 2]
    digests = [json.loads((tmp_path / name / "manifest.json").read_text())["digest"] for name in ("whole", "phantom")]
    assert digests[0] == digests[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["phantom", "whole"]


def test_full_disk_is_said_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(BenchError, match="GB are free"):
        write_phantom(SMALLEST, tmp_path / "phantom", processes=1)


def test_low_rank_solution_is_the_full_one() -> None:
    rng = np.random.default_rng(0)
    within, rows = rng.standard_normal((4, 9)), rng.standard_normal((3, 9))
    full = np.linalg.solve(np.eye(9) + within.T @ within, rows.T).T
    np.testing.assert_allclose(likelihood.solve_low_rank(within, rows), full)


def test_closed_set_scores_are_the_likelihood(features: Features) -> None:
    """Against scipy's density, the gain integrated on a grid, with few cosines."""
    spec = replace(SMALLEST, evoked=6.0)
    head = draw_head(spec, 1)
    clips = Features(features.static[:2], features.courses[:2])
    count = 3
    covariance = likelihood.noise_covariance(head, spec, count)
    factor = np.linalg.cholesky(covariance)
    means = likelihood.responses(head, head.moments(clips)[..., :WINDOW], count)
    noise = multivariate_normal(np.zeros(len(covariance)), covariance, seed=1)
    observed = means[:1] * 1.1 + noise.rvs(1)
    scores = observer.closed_set_scores(head, spec, factor, clips, likelihood.whiten(factor, observed))[0]
    gains = np.linspace(0, 2, 41)
    prior = -0.5 * ((gains - 1) / spec.trial_gain) ** 2
    expected = [
        np.logaddexp.reduce([noise.logpdf(observed[0] - gain * mean) for gain in gains] + prior) for mean in means
    ]
    assert scores[0] - scores[1] == pytest.approx(expected[0] - expected[1], rel=1e-3, abs=1e-3)


def test_observers_beat_chance_and_are_calibrated(phantom: SeedDV) -> None:
    trials = np.flatnonzero(np.array(phantom.trials["clip"]) >= 60)[:20]  # block 7 of subjects 1 and 2
    concepts = np.array(phantom.stimuli["concept"])[np.array(phantom.trials["clip"])[trials]]
    posteriors = phantom.truth.concept_posteriors(trials)
    np.testing.assert_allclose(np.exp(posteriors).sum(axis=1), 1)
    accuracy = np.mean(posteriors.argmax(axis=1) == concepts)
    assert accuracy > 0.4  # chance 0.1
    assert np.exp(posteriors.max(axis=1)).mean() == pytest.approx(accuracy, abs=0.2)
    closed = phantom.truth.sum_over_concepts(phantom.truth.clip_posteriors(trials), trials)
    assert np.mean(closed.argmax(axis=1) == concepts) >= accuracy - 0.05
    np.testing.assert_allclose(phantom.truth.concept_posteriors(trials[::-1])[::-1], posteriors, atol=1e-9)


def test_the_committed_card_is_what_is_measured(phantom: SeedDV) -> None:
    """One subject of the smallest phantom, all its own figures; other libraries and processors moved them by 4e-5."""
    shipped = committed_card(card.CARDS / "tiny.csv", phantom.truth.spec)
    assert shipped is not None, "python -m bench.datasets.remake_cards phantom_eeg:tiny"
    measured, _ = card.measure_subject(phantom, 2)
    by_subject = dict(zip(shipped["figure"], shipped["by subject"], strict=True))
    told = {figure: float(by_subject[figure].split()[1]) for figure in measured}
    assert told == pytest.approx(measured, abs=1e-3)


def test_planted_effects_are_differences_of_the_same_card() -> None:
    shipped = committed_card(card.CARDS / "tiny.csv", TINY)
    assert shipped is not None
    rows = shipped.set_index("figure")
    values = {figure: np.array([float(one) for one in text.split()]) for figure, text in rows["by subject"].items()}
    ideal = values["ideal observer, concept, open set (30 draws a concept)"]
    without = values["ideal observer, without temporal electrodes"]
    np.testing.assert_allclose(values["lost without temporal electrodes, ideal observer"], ideal - without, atol=1e-6)
    linear = values["ridge, both, a subject's own trials"] - values["ridge, both, own, without gamma"]
    np.testing.assert_allclose(values["lost without gamma, linear reader"], linear, atol=1e-6)
    mapped, new = (
        float(rows.loc[f"ridge, bands, all known subjects' trials, new subjects {how}", "mean"])
        for how in ("with a ridge map from their calibration trials", "without a map")
    )
    told = rows.loc["lost without a map, ridge of known subjects, bands", "mean"]
    assert float(told) == pytest.approx(mapped - new, abs=1e-6)
    lead = ideal.mean() - values["best linear reader, both"].mean()
    share = (ideal.mean() - values["ideal observer, without both"].mean()) / lead
    (name,) = [figure for figure in rows.index if figure.startswith("of the ideal observer's lead")]
    assert float(rows.loc[name, "mean"]) == pytest.approx(share, abs=1e-5)
    assert not [figure for figure in rows.index if "lost" in figure and rows.loc[figure, "chance"] != ""]


def test_cards_hold_what_the_sizes_are_for() -> None:
    """By default, evoked responses and powers say about as much; `shifted` is lost without a map, and comes back."""

    def mean(size: str, figure: str) -> float:
        shipped = committed_card(card.CARDS / f"{size}.csv", find_spec(size))
        assert shipped is not None, f"python -m bench.datasets.remake_cards phantom_eeg:{size}"
        return float(shipped.set_index("figure").loc[figure, "mean"])

    evoked, bands = (mean("small", f"ridge, {one}, a subject's own trials") for one in ("evoked", "bands"))
    assert 1 / 1.3 < evoked / bands < 1.3
    for features in ("evoked", "bands", "both"):
        known, new, mapped = (
            mean("shifted", f"ridge, {features}, {card.READERS[who]}") for who in ("pooled", "new", "new, mapped")
        )
        assert new <= known / 3 and mapped >= 2 * new


def test_every_size_of_every_phantom_ships_its_card() -> None:
    names = [f"phantom_eeg:{size}" for size in SIZES]
    for kind, sizes in FMRI_SIZES.items():
        views = [kind, f"{kind}_eeg"] if kind.endswith("cinebrain") else [kind]
        names += [f"{view}:{size}" for view in views for size in sizes]
    missing = [name for name in names if shipped_card(name) is None]
    assert not missing, "python -m bench.datasets.remake_cards NAME"


def test_info_prints_committed_cards_and_makes_nothing_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.datasets.catalogue.make_phantom", lambda *_, **__: pytest.fail("made"))
    sizes = [path.stem for path in card.CARDS.glob("*.csv")]
    assert "tiny" in sizes
    for size in sizes:
        assert shipped_card(f"phantom_eeg:{size}") is not None, f"{size} is of an older phantom; remake or remove it"
        shown = bench.describe_dataset(f"phantom_eeg:{size}")
        assert list(shown.columns) == list(card.COLUMNS)
        text = " ".join(shown["figure"])
        for word in ("clip, closed set", "concept, open set", "own", "new subjects", "which subject", "conjunctions"):
            assert word in text
    assert committed_card(card.CARDS / "tiny.csv", replace(TINY, seed=1)) is None


def test_info_measures_what_no_card_ships_of(phantom: SeedDV, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = committed_card(card.CARDS / "tiny.csv", TINY)
    assert info(phantom).equals(card.shorten_card(measured))
    monkeypatch.setattr(card, "CARDS", card.CARDS / "nowhere")
    monkeypatch.setattr(card, "measure_card", lambda dataset: measured.head(3))
    assert len(info(phantom)) == 3


def test_confounds_are_off_by_default_and_found_when_planted(features: Features) -> None:
    assert (TINY.block_drift, TINY.hint_response, TINY.leaked_label) == (0.0, 0.0, 0.0)
    order = SMALLEST.geometry.order[0]
    objects = object_space(SMALLEST)
    plain = signals.hint_features(SMALLEST, objects, order)
    assert np.ptp(plain.static, axis=0).max() == 0  # a hint says nothing about its concept
    told = signals.hint_features(replace(SMALLEST, hint_response=1.0), objects, order)
    assert np.ptp(told.static[:, GROUPS["object"]], axis=0).max() > 0
    head = draw_head(SMALLEST, 1)
    own = Features(features.static[:2], features.courses[:2])

    def record(block: int, **planted: float) -> np.ndarray:
        return signals.record_block(replace(SMALLEST, **planted), head, 1, block, own, plain)[0]

    difference = (record(0, leaked_label=5.0) - record(0)).reshape(62, 2, -1).std(axis=2)
    assert difference[CHANNELS.index("CB2")].min() > 0.5
    assert np.argsort(difference[CHANNELS.index("CB2")]).tolist() == np.argsort(order).tolist()
    assert difference[CHANNELS.index("CZ")].max() == 0
    drifting = [record(block, block_drift=20.0) - record(block) for block in (0, 1)]
    np.testing.assert_allclose(drifting[0], drifting[1], atol=1e-3)  # alike in all blocks
    assert drifting[0].std() > 5


def test_spec_round_trip_and_unknown_size() -> None:
    assert read_spec(json.loads(json.dumps(TINY.as_dict()))) == TINY
    with pytest.raises(BenchError, match=r"'huge'.*tiny, small, shifted, study"):
        find_spec("huge")
    full = find_spec("study").geometry
    assert (full.shape, full.subjects, full.clips) == ((7, 62, 104_000), 20, 5)


def test_opening_again_makes_nothing(phantom: SeedDV, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "write_phantom", lambda *_, **__: pytest.fail("made again"))
    assert open_dataset("phantom_eeg:tiny").digest == phantom.digest
    assert make_phantom(PhantomSpec(**TINY.as_dict())) == phantom.root
