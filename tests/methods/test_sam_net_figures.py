"""SAM-Net's figures of distributions and electrodes: numbers by closed forms and planted truth, and their drawing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from figure_images import images
from scipy.stats import norm

from bench.core.errors import BenchError
from bench.core.splits import make_folds
from bench.harness.inputs import fold_scalings, training_set
from methods.sam_net.analysis import distributions, electrodes
from methods.sam_net.analysis.distributions import (
    Stage,
    Trials,
    cut_runs,
    find_plane,
    measure_log_covariance,
    score_labels,
)
from methods.sam_net.analysis.figures import draw_distributions, draw_electrodes, locate
from methods.sam_net.method import SamNet

SMALL: dict[str, Any] = {
    "epochs": 2.0, "width": 24, "queries": 4, "layers": 1, "filters": 6, "adversary_width": 16,
    "concept_rank": 9, "text_rank": 8, "latent_rank": 8,
}  # fmt: skip


class CheapSuite:
    """A suite whose embeddings of captions and clips cost nothing; nothing is generated here."""

    device = "cpu"
    geometry = SimpleNamespace(
        height=64, width=64, frames=6, tokens=7, text_width=4, latent_channels=3, latent_height=4, latent_width=4
    )

    def encode_text(self, captions: list[str]) -> torch.Tensor:
        seeds = [sum(map(ord, caption)) for caption in captions]
        return torch.stack([torch.randn(7, 4, generator=torch.Generator().manual_seed(seed)) for seed in seeds])

    def encode_video(self, video: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(video[:, :, ::16, ::16]).permute(0, 1, 4, 2, 3) / 127.5 - 1


# Subjects


def make_trials(subjects: int = 4, clips: int = 60, new: int = 1) -> Trials:
    """Every subject sees every clip; two blocks that show five concepts each."""
    subject, clip = (part.ravel() for part in np.meshgrid(np.arange(subjects), np.arange(clips), indexing="ij"))
    return Trials(
        subject=subject, clip=clip, block=clip // (clips // 2), concept=clip % 5, new=subject >= subjects - new
    )


@pytest.mark.parametrize("distance", [0.0, 1.0, 2.5])
def test_separability_is_that_of_two_normal_distributions(distance: float) -> None:
    trials = make_trials(subjects=2, clips=1500)
    features = np.random.default_rng(0).standard_normal((len(trials.clip), 6))
    features[trials.subject == 1, :2] += distance / np.sqrt(2)
    found = score_labels(features, trials.subject, cut_runs(trials.clip, 5), trials.clip)
    assert found.chance == 0.5
    assert found.value == pytest.approx(norm.cdf(distance / 2), abs=3.5 * found.deviation + 0.005)
    expected = np.sqrt(found.value * (1 - found.value) / len(trials.clip))  # independent trials: binomial
    assert found.deviation == pytest.approx(expected, rel=0.15)


def test_few_trials_of_many_features_are_classified_as_by_the_larger_matrix() -> None:
    rng = np.random.default_rng(3)
    x, labels, test = rng.standard_normal((40, 30)), np.arange(40) % 3, rng.standard_normal((500, 30))
    wide = np.concatenate([x, np.ones((40, 30))], axis=1), np.concatenate([test, np.ones((500, 30))], axis=1)
    np.testing.assert_array_equal(
        distributions.classify(x, labels, test), distributions.classify(wide[0], labels, wide[1])
    )


def test_rare_labels_count_as_much_as_frequent_ones() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random(4000) < 0.1).astype(np.int64)
    clips = np.arange(4000)
    noise = score_labels(rng.standard_normal((4000, 5)), labels, cut_runs(clips, 5), clips)
    assert noise.value == pytest.approx(0.5, abs=3.5 * noise.deviation)  # the majority's share would be 0.9
    told = score_labels(rng.standard_normal((4000, 1)) + 3 * labels[:, None], labels, cut_runs(clips, 5), clips)
    assert told.value == pytest.approx(norm.cdf(1.5), abs=3.5 * told.deviation + 0.005)


def test_a_new_subject_is_read_by_what_known_ones_taught() -> None:
    trials = make_trials(clips=100)
    rng = np.random.default_rng(2)
    features = np.eye(5)[trials.concept] + 0.1 * rng.standard_normal((len(trials.clip), 5))
    features[trials.new] = np.roll(features[trials.new], 1, axis=1)  # the new one shows every concept as the next
    stage = Stage(title="", trials=trials, features=features, plane=~trials.new)
    found = distributions.measure_separability(stage)["concepts"]
    assert found is not None
    assert found.value == 0
    assert found.chance == 0.2
    alone = Stage(title="", trials=trials.take(~trials.new), features=features[~trials.new], plane=np.array([]))
    within = distributions.measure_separability(alone)["concepts"]
    assert within is not None
    assert within.value == pytest.approx(1)


def test_no_clip_is_on_both_sides_and_neighbours_stay_together() -> None:
    clips = np.array([7, 3, 3, 9, 8, 7, 12, 30, 31, 40])
    runs = cut_runs(clips, 4)
    assert [sorted(set(clips[runs == run].tolist())) for run in range(4)] == [[3, 7], [8, 9], [12, 30], [31, 40]]
    for clip in np.unique(clips):
        assert len(set(runs[clips == clip])) == 1
    with pytest.raises(BenchError, match="1 folds"):
        score_labels(np.zeros((3, 1)), np.array([0, 1, 1]), np.zeros(3, int), np.arange(3))


def test_the_logarithm_of_a_covariance_of_uncorrelated_channels() -> None:
    time = torch.arange(64) * 2 * torch.pi / 64
    signals = torch.stack([time.cos(), 3 * time.sin()])[None]  # powers 1/2 and 9/2
    shrunk = 0.9 * np.array([0.5, 4.5]) + 0.1 * 2.5
    np.testing.assert_allclose(measure_log_covariance(signals)[0], [np.log(shrunk[0]), 0, np.log(shrunk[1])], atol=1e-6)


def test_the_plane_is_that_of_the_marked_trials() -> None:
    trials = make_trials(clips=2)
    features = np.zeros((8, 3))
    features[:6] = [[0, 4, 0], [0, -4, 0], [2, 0, 0], [-2, 0, 0], [0, 0, 1], [0, 0, -1]]
    features[6:] = [[1, 1, 99], [1, 1, -99]]
    points, shares = find_plane(Stage(title="", trials=trials, features=features, plane=~trials.new))
    np.testing.assert_allclose(points[0], [4, 0], atol=1e-12)
    np.testing.assert_allclose(points[6], [1, 1], atol=1e-12)
    np.testing.assert_allclose(shares, np.array([16, 4]) / 21)


def test_stages_of_a_phantom_are_drawn_with_their_numbers(phantom: Any) -> None:
    stages = distributions.collect_stages(phantom, CheapSuite(), parameters=SMALL)
    _, without, with_csa, before, after = stages
    assert [len(stage.features) for stage in stages] == [80, 60, 60, 80, 80]  # 4 subjects × 2 blocks × 10 clips
    known = ~before.trials.new
    assert not np.allclose(without.features, with_csa.features)
    np.testing.assert_array_equal(before.features[known], with_csa.features)
    np.testing.assert_array_equal(after.features[known], with_csa.features)  # no map moves a known subject
    assert not np.allclose(before.features[~known], after.features[~known])
    tested = {int(trial) for fold in make_folds(phantom, "new_subject") for trial in (*fold.train, *fold.calibration)}
    assert not tested & set(distributions.describe_held_out(phantom, 40)[0].tolist())

    table = distributions.tabulate_stages(stages)
    assert table["told apart"].tolist() == ["which subject"] + ["which subject", "which concept"] * 2 + [
        *("new or known", "which concept") * 2
    ]
    assert table["right"][0] == pytest.approx(1.0)  # four heads with caps, sources and noise of their own
    figure = draw_distributions(stages, table, "setting")
    titles = [axes.get_title().split("\n") for axes in figure.axes]
    assert [title[0] for title in titles[:5]] == [stage.title for stage in stages]
    assert titles[0][1] == "which subject: 1.00 ± 0.00 (chance 0.25)"
    assert figure.axes[3].get_xlim() == figure.axes[4].get_xlim()
    for stage, axes in zip(stages, figure.axes, strict=False):
        drawn = np.concatenate([np.asarray(part.get_offsets()) for part in axes.collections])
        assert len(drawn) == len(stage.features) + len(np.unique(stage.trials.subject))  # and the means
    legend = figure.axes[5].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()][-1] == "subject 4 (new)"


# Electrodes


@pytest.fixture
def fitted(phantom: Any) -> tuple[SamNet, torch.Tensor]:
    (fold,) = make_folds(phantom, "cross_subject")
    scalings = fold_scalings(phantom, fold)
    method = SamNet(suite=CheapSuite(), **SMALL)
    train, validation = (training_set(phantom, rows, scalings) for rows in (fold.train, fold.validation))
    method.fit(train, validation)
    return method, method.viewer.see(method.prepare(validation.brain, validation.sampling_rate), validation.subject)


def test_what_hrt_reads_is_what_its_equations_say(phantom: Any, fitted: Any) -> None:
    method, signals = fitted
    encoder = method.decoder.encoder
    gate = encoder.attention.gate
    unread = 14 + 3  # the fourth parietal electrode, after fourteen frontal ones
    with torch.no_grad():  # neither the gate nor its extractor reads it
        encoder.extractors.extractors[1][0].weight[:, 3] = 0
        encoder.extractors.power_extractors[1][0].weight[:, 3::16] = 0  # in none of its bands
        gate[0].weight[:, unread] = 0
    table = electrodes.read_network(method, signals, phantom.channels)
    pooled = signals.waveforms[:, encoder.used].mean(dim=2)
    hidden = torch.relu(pooled @ gate[0].weight.T + gate[0].bias)
    gates = torch.sigmoid(hidden @ gate[2].weight.T + gate[2].bias)
    np.testing.assert_allclose(table["attention"], gates.mean(dim=0).detach(), rtol=1e-5)
    np.testing.assert_allclose(table["varies"], gates.std(dim=0).detach(), rtol=1e-3)
    assert table["region"][unread] == "parietal"
    assert table["reading"][unread] == table["silenced"][unread] == 0
    assert (table["silenced"].drop(unread) > 0).all()
    encoder.extractors.extractors[1][0] = torch.nn.Conv1d(16, 400, 13)  # as torch draws it
    torch.testing.assert_close(electrodes.measure_weights(encoder)[14:30], torch.ones(16), atol=0.05, rtol=0)


def test_the_truth_is_the_variance_that_planted_responses_make(phantom: Any, fitted: Any) -> None:
    from bench.datasets.phantom.eeg.head import draw_head

    method, _ = fitted
    (fold,) = make_folds(phantom, "cross_subject")
    scalings = {one: scaling for one, scaling in fold_scalings(phantom, fold).items() if one in (1, 2)}
    found = electrodes.measure_truth(phantom, method, scalings)
    shares = []
    sphere = method.viewer.sphere.numpy()
    for subject, scaling in scalings.items():
        head = draw_head(phantom.truth.spec, subject)
        evoked = head.field @ head.moments(phantom.truth.features)[..., :400]  # µV, every clip and sample in full
        evoked = sphere @ (evoked * 1e-6 / scaling.deviation[:, None])
        shares.append(evoked.var(axis=0).mean(axis=1))
    whole = np.diag(sphere @ method.sources.covariance.numpy() @ sphere.T)
    np.testing.assert_allclose(found, np.mean(shares, axis=0) / whole, rtol=1e-3)
    assert 0 < found.min() < found.max() < 1


def test_scalp_maps_are_drawn_with_the_truth_beside_them() -> None:
    from bench.datasets.seed_dv.geometry import CHANNELS

    truth = np.linspace(0, 0.3, 62)
    table = pd.DataFrame(
        {
            "electrode": CHANNELS,
            "attention": 0.5 + truth,
            "varies": 0.01,
            "reading": 1 - truth,
            "silenced": truth**2,
            "truth": truth,
        }
    )
    assert electrodes.correlate_truth(table) == {
        "attention": pytest.approx(1),
        "reading": pytest.approx(-1),
        "silenced": pytest.approx(1),
    }
    figure = draw_electrodes(table, "setting")
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert "gate" in titles[0]
    assert titles[1].endswith("ρ = -1.00")
    assert "planted" in titles[3]
    for image in images(figure):
        assert np.isfinite(image).any()
    assert figure.axes[0].images[0].get_clim() == (0.5, 0.8)
    assert len(draw_electrodes(table.drop(columns="truth"), "setting").axes) == 3 + 3  # maps and their bars
    places = {channel["ch_name"]: channel["loc"][:3] for channel in locate(CHANNELS)["chs"]}
    assert places["CB1"][2] < places["O1"][2] < places["CZ"][2]
    assert places["CB1"][0] < 0 < places["CB2"][0]
    with pytest.raises(BenchError, match="E1"):
        locate(["E1"])


def test_electrodes_without_attention_are_refused(phantom: Any) -> None:
    with pytest.raises(BenchError, match=r"plain.*no electrode attention"):
        electrodes.measure_electrodes(phantom, CheapSuite(), parameters={"encoder": "plain"})
