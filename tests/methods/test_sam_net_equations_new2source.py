"""SAM-Net's equations (9) to (11), New2Source, and our `rescale` of its map.

(9) and (11) name a goal, the least squared error: the test is of the solution, by another routine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from asking import draw, hide_answers
from sam_world import FakeSuite, World

from methods.sam_net.covariance import ChannelMap, apply_map
from methods.sam_net.method import SamNet
from methods.sam_net.new2source import Sources, fit_channel_map, gather_sources, map_new_to_source
from methods.sam_net.training import predict
from methods.sam_net.views import Views

TINY: dict[str, Any] = {
    "epochs": 0.2, "width": 8, "queries": 2, "layers": 1, "heads": 2, "filters": 2, "adversary_width": 4,
    "concept_rank": 3, "text_rank": 4, "latent_rank": 4,
}  # fmt: skip


# (9) to (11): New2Source


def flatten(signals: torch.Tensor) -> np.ndarray:
    return np.concatenate(list(signals.double().numpy()), axis=1)  # [channel, trial × time]


def solve_map(inputs: torch.Tensor, targets: torch.Tensor, ridge: float) -> np.ndarray:
    """argmin MSE of a channel map, by least squares over the samples and over `ridge` samples that say "identity"."""
    x, y = flatten(inputs), flatten(targets)
    pull = np.sqrt(ridge * (x**2).mean() * x.shape[1]) * np.eye(len(x))
    return np.linalg.lstsq(np.hstack([x, pull]).T, np.hstack([y, pull]).T, rcond=None)[0].T


def make_pairs() -> tuple[torch.Tensor, torch.Tensor, list[str], list[str]]:
    """Three known subjects on eight clips, a new one on three of them: signals and names of the clips of both."""
    names = [f"clip{number}" for number in range(8)]
    known = draw(8, 5, 30, seed=1).repeat(3, 1, 1) + draw(24, 5, 30, seed=2)
    mixture = torch.eye(5) + 0.4 * draw(5, 5, seed=3)
    calibrated = [5, 0, 2]
    new = mixture @ known[calibrated] + 0.5 * draw(3, 5, 30, seed=4)
    return known, new, names * 3, [names[clip] for clip in calibrated]


def gather(known: torch.Tensor, clips: list[str], source: str = "mean") -> Sources:
    return gather_sources(known, None, clips, torch.arange(3).repeat_interleave(8), source=source)


def test_equation_9_is_the_least_squares_map_between_trials_of_the_same_clip() -> None:
    x, y = draw(5, 4, 30).double(), draw(5, 4, 30, seed=1).double()
    made = fit_channel_map(x, y, ridge=0.2).numpy()
    np.testing.assert_allclose(made, solve_map(x, y, 0.2), atol=1e-10)
    errors = [np.mean((flatten(y) - near @ flatten(x)) ** 2) for near in (made, made + 1e-3, made - 1e-3, np.eye(4))]
    exact = fit_channel_map(x, y, ridge=0.0).numpy()
    assert np.mean((flatten(y) - exact @ flatten(x)) ** 2) < min(errors)  # the MSE of (9) itself, without the ridge


@pytest.mark.parametrize("source", ["mean", "each"])
def test_equations_9_to_11_by_hand(source: str) -> None:
    """Source2New on the calibrated clips, simulated trials of all other clips, New2Source on both kinds together."""
    known, new, clips, calibrated = make_pairs()
    sources = gather(known, clips, source)
    made = map_new_to_source(sources, new, None, calibrated, ridge=0.1, rescale=False).waveforms.numpy()
    by_clip = known.reshape(3, 8, 5, 30)
    shared, others = [5, 0, 2], [1, 3, 4, 6, 7]
    if source == "mean":
        paired, rest, real = by_clip.mean(dim=0)[shared], by_clip.mean(dim=0)[others], new
    else:
        paired, rest = by_clip[:, shared].flatten(0, 1), by_clip[:, others].flatten(0, 1)
        real = new.repeat(3, 1, 1)
    to_new = solve_map(paired, real, 0.1)  # (9)
    simulated = torch.from_numpy(to_new).float() @ rest  # (10)
    ongoing = (real.numpy() - to_new @ paired.numpy()) * np.sqrt(len(rest) / len(real))
    x, y = np.hstack([flatten(simulated), flatten(real)]), np.hstack([flatten(rest), flatten(paired)])
    quiet = np.hstack([x, flatten(torch.from_numpy(ongoing))])  # it tells nothing of the target
    pull = np.sqrt(0.1 * (quiet**2).sum() / len(x)) * np.eye(len(x))
    wanted = np.hstack([y, np.zeros((len(x), quiet.shape[1] - x.shape[1])), pull])
    expected = np.linalg.lstsq(np.hstack([quiet, pull]).T, wanted.T, rcond=None)[0].T  # (11)
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_each_band_s_powers_have_a_map_of_their_own_that_is_learnt_from_pairs() -> None:
    """Two bands whose powers a new subject's electrodes mix in two ways: each map undoes its own, at unit deviation."""
    clips = [f"clip{n}" for n in range(60)]
    shared = draw(60, 2, 6, 20, seed=1)
    sources = gather_sources(draw(60, 6, 20), shared, clips, torch.zeros(60, dtype=torch.int64), source="mean")
    mixtures = torch.eye(6) + 0.3 * draw(2, 6, 6, seed=2)
    own = torch.einsum("bdc,nbct->nbdt", mixtures, shared) + 0.2 * draw(60, 2, 6, 20, seed=3)
    made = map_new_to_source(sources, draw(60, 6, 20)[:20], own[:20], clips[:20], ridge=1e-3, rescale=False)
    assert made.powers is not None and len(made) == 3 * 36
    mapped = torch.einsum("bdc,nbct->nbdt", made.powers.float(), own)
    np.testing.assert_allclose(mapped[:20].square().mean(dim=(0, 3)), 1.0, rtol=1e-4)
    for band in range(2):
        for channel in range(6):
            pair = torch.stack([mapped[20:, band, channel].flatten(), shared[20:, band, channel].flatten()])
            raw = torch.stack([own[20:, band, channel].flatten(), shared[20:, band, channel].flatten()])
            assert torch.corrcoef(pair)[0, 1] > max(0.9, torch.corrcoef(raw)[0, 1])


def test_a_noisy_subject_s_map_damps_where_it_is_noisy() -> None:
    """One channel of two is drowned in ongoing activity: simulated trials that had none would leave it as it is."""
    clips = [f"clip{n}" for n in range(60)]
    shared = draw(60, 2, 50)
    sources = gather_sources(shared, None, clips, torch.zeros(60, dtype=torch.int64), source="mean")
    own = shared[:9] + torch.tensor([0.1, 3.0])[:, None] * draw(9, 2, 50, seed=1)
    made = map_new_to_source(sources, own, None, clips[:9], ridge=1e-3, rescale=False).waveforms
    np.testing.assert_allclose(made.diagonal(), [1 / 1.01, 1 / 10], atol=0.05)  # the best estimate's: 1 / (1 + noise)


def test_equation_11_without_other_clips_is_the_map_of_the_real_trials() -> None:
    known, new, clips, calibrated = make_pairs()
    few = [row for row, clip in enumerate(clips) if clip in calibrated]
    subject = torch.arange(3).repeat_interleave(3)
    sources = gather_sources(known[few], None, [clips[row] for row in few], subject, source="mean")
    made = map_new_to_source(sources, new, None, calibrated, ridge=0.1, rescale=False).waveforms.numpy()
    np.testing.assert_allclose(made, solve_map(new, known.reshape(3, 8, 5, 30).mean(dim=0)[[5, 0, 2]], 0.1), atol=1e-5)


def test_new2source_recovers_a_planted_mixture() -> None:
    generator = torch.Generator().manual_seed(0)
    clips = [f"clip{n}" for n in range(60)]
    shared = torch.randn(60, 10, 50, generator=generator)
    signals = torch.cat([shared + 0.1 * torch.randn(60, 10, 50, generator=generator) for _ in range(3)])
    sources = gather_sources(signals, None, clips * 3, torch.arange(3).repeat_interleave(60), source="mean")
    mixture = torch.eye(10) + 0.1 * torch.randn(10, 10, generator=generator)
    new = apply_map(mixture, shared + 0.1 * torch.randn(60, 10, 50, generator=generator))
    learned = map_new_to_source(sources, new[:9], None, clips[:9], ridge=1e-3, rescale=False).waveforms
    assert (learned.float() @ mixture - torch.eye(10)).abs().max() < 0.05
    rest = slice(9, None)
    error = (apply_map(learned, new[rest]) - shared[rest]).square().mean()
    assert error < 0.2 * (new[rest] - shared[rest]).square().mean()


def spread(signals: torch.Tensor) -> np.ndarray:
    return np.sqrt((flatten(signals) ** 2).mean(axis=1))


def test_rescaled_new2source_gives_each_channel_the_known_subjects_deviation() -> None:
    """After the map the calibration trials deviate as single trials of the known subjects do, channel by channel.

    Known subjects differ in gain, so their covariances are averaged and not their trials; the new one has other gains.
    """
    known, new, clips, calibrated = make_pairs()
    gains = torch.tensor([0.5, 1.0, 3.0]).repeat_interleave(8)[:, None, None]
    channels = torch.tensor([0.2, 1.0, 2.0, 5.0, 0.7])[:, None]
    known, new = known * gains * channels.flip(0), new * channels
    wanted = np.sqrt(np.mean([spread(part) ** 2 for part in known.split(8)], axis=0))
    maps: dict[bool, ChannelMap] = {
        rescale: map_new_to_source(gather(known, clips), new, None, calibrated, ridge=0.1, rescale=rescale).waveforms
        for rescale in (True, False)
    }
    np.testing.assert_allclose(spread(apply_map(maps[True], new)), wanted, rtol=1e-5)
    plain = spread(apply_map(maps[False], new))
    assert (abs(plain / wanted - 1) > 0.1).all()  # which a regression alone does not give
    np.testing.assert_allclose(maps[True], (wanted / plain)[:, None] * maps[False].numpy(), rtol=1e-5)


def test_a_new_subject_s_trials_and_no_others_are_mapped_before_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(subjects=(1, 2), clips=8)
    method = SamNet(suite=FakeSuite(), mapping_rescale=True, **TINY)
    method.fit(world.record(), world.record(first_clip=50))
    calibration = world.record(subjects=(9,))
    method.adapt(calibration)
    assert set(method.maps) == {9}
    seen: list[Views] = []
    monkeypatch.setattr(
        "methods.sam_net.method.predict", lambda decoder, views: seen.append(views) or predict(decoder, views)
    )
    both = world.record(first_clip=70, subjects=(2, 9))
    method.decode(hide_answers(both))
    viewer, mapper = method.viewer, method.maps[9]
    assert mapper.powers is not None and not mapper.bands
    recording = method.prepare(both.brain, both.sampling_rate)
    plain = viewer.see(recording, both.subject)
    waveforms = np.einsum("dc,nct->ndt", (viewer.sphere @ mapper.waveforms).numpy(), recording.slow[8:].numpy())
    torch.testing.assert_close(seen[0].waveforms[:8], plain.waveforms[:8])
    torch.testing.assert_close(seen[0].waveforms[8:], torch.from_numpy(waveforms).float(), atol=1e-4, rtol=1e-4)
    assert seen[0].powers is not None and plain.powers is not None
    powers = np.einsum("bdc,nbct->nbdt", mapper.powers.numpy(), plain.powers[8:].numpy())
    torch.testing.assert_close(seen[0].powers[:8], plain.powers[:8])
    torch.testing.assert_close(seen[0].powers[8:], torch.from_numpy(powers).float(), atol=1e-4, rtol=1e-4)
    trained = [method.prepare(one.brain, 40.0).slow for one in (world.record(), world.record(first_clip=50))]
    known = np.mean([spread(part) ** 2 for both in trained for part in both.split(8)], axis=0)
    own = spread(apply_map(mapper.waveforms, method.prepare(calibration.brain, 40.0).slow))
    np.testing.assert_allclose(own, np.sqrt(known), rtol=1e-4)
