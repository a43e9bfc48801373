"""CineNeuron's solved first layer: ridge by another library, what unseen layers say, spaces, the transformer's gain."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from asking import draw
from cine_world import SMALL, FakeSuite, World, make_recipe
from sklearn.linear_model import Ridge

from bench.core.errors import BenchError
from bench.toolbox.voxels import TokenLayer
from methods.cine_neuron.first_layer import PARTS, STRENGTHS, learn_aims, solve_layer, solve_subject
from methods.cine_neuron.method import CineNeuron
from methods.cine_neuron.parameters import read_parameters
from methods.cine_neuron.targets import Targets, learn_spaces
from methods.cine_neuron.training import SHARES, keep_gain


def make_targets(clips: int = 60) -> Targets:
    return Targets(
        frames=draw(clips, 3, 8, seed=1) + 2,
        text=draw(clips, 8, seed=2) * torch.linspace(2, 0.5, 8) + 1,
        action=draw(clips, 5, seed=3),
        labels=(draw(clips, 3, seed=4) > 0).float(),
        caption=torch.arange(clips),
    )


def make_problem() -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Voxels of 80 trials of 40 clips, and two targets: one that the voxels tell, one that they do not."""
    clip = np.repeat(np.arange(40), 2)
    x = draw(80, 30, seed=5)
    told = x @ draw(30, 1, seed=6) + 0.1 * draw(80, 1, seed=7) + 3
    return x, torch.cat([told, draw(80, 1, seed=8)], dim=1), clip


def test_the_layer_is_scikit_learn_s_ridge_at_the_strength_that_does_best_on_clips_left_out() -> None:
    x, y, clip = make_problem()
    solved = solve_layer(x, y, clip, [slice(0, 1), slice(1, 2)])
    part = clip * PARTS // 40
    for place in range(2):
        errors = []
        for strength in STRENGTHS:
            made = [Ridge(alpha=strength).fit(x[part != one], y[part != one, place]) for one in range(PARTS)]
            wrong = [made[one].predict(x[part == one]) - y[part == one, place].numpy() for one in range(PARTS)]
            errors.append(float(np.square(np.concatenate(wrong)).sum()))
        best = Ridge(alpha=STRENGTHS[int(np.argmin(errors))]).fit(x, y[:, place])
        np.testing.assert_allclose(solved.weights[:, place], best.coef_, atol=1e-4)
        assert float(solved.offset[place]) == pytest.approx(best.intercept_, abs=1e-3)
    assert STRENGTHS[0] < STRENGTHS[-1]


def test_a_training_trial_is_read_by_a_layer_that_saw_no_trial_of_its_clip() -> None:
    """Voxels and targets of another clip may change what is said of a trial, its own targets may not."""
    x, y, clip = make_problem()
    layer = TokenLayer(torch.arange(30), tokens=1, channels=2)

    def read(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return x[rows, :, None], torch.ones(len(rows))

    described = y[::2]
    before = solve_subject(layer, read, clip, described, [slice(0, 2)])
    seen = layer(x[:, :, None])
    changed = described.clone()
    changed[3] += 0.5  # shown in trials 6 and 7; too little to choose another strength
    after = solve_subject(layer, read, clip, changed, [slice(0, 2)])
    own, other = clip * PARTS // 40 == 0, clip * PARTS // 40 == 4
    torch.testing.assert_close(after[own], before[own])
    assert not torch.allclose(after[other], before[other])
    assert not torch.allclose(layer(x[:, :, None])[own], seen[own])


def test_the_read_out_gives_back_the_mean_of_caption_and_pictures() -> None:
    targets = make_targets()
    spaces = learn_spaces(targets, 0.5)
    placed = spaces.place(targets)
    aims = learn_aims(placed, 4 * 8)
    numbers = aims.describe(placed)
    assert numbers.shape == (60, 32) and [one.start for one in aims.slices] == [0, 8, 16, 24]
    expected = (placed.text - placed.text.mean(dim=0) + placed.frames.mean(dim=1)) / 2
    torch.testing.assert_close(numbers @ aims.read_out(), expected, atol=1e-4, rtol=1e-4)
    assert not learn_aims(placed, 32, actions=False).describe(placed)[:, 16:24].any()
    assert learn_aims(placed, 16).describe(placed).shape == (60, 16)  # principal components where there is no room


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_spaces_are_centred_and_whiten_by_their_power(power: float) -> None:
    targets = make_targets(400)
    spaces = learn_spaces(targets, power)
    text = spaces.place(targets).text
    torch.testing.assert_close(text.mean(dim=0), torch.zeros(8), atol=1e-5, rtol=0)
    assert float(text.square().sum(dim=1).mean()) == pytest.approx(1, rel=1e-3)
    own = torch.linalg.eigvalsh(torch.cov(targets.text.T)).flip(0)
    made = text.var(dim=0)
    torch.testing.assert_close(made / made.sum(), own ** (1 - power) / (own ** (1 - power)).sum(), atol=1e-3, rtol=1e-2)


def test_pictures_are_turned_to_where_the_captions_are() -> None:
    """Pictures that are the captions in other axes end at the captions' coordinates."""
    targets = make_targets()
    turn = torch.linalg.qr(draw(8, 8, seed=9)).Q
    turned = replace(targets, frames=(targets.text @ turn)[:, None].expand(-1, 3, -1) + 5)
    placed = learn_spaces(turned, 0.5).place(turned)
    torch.testing.assert_close(placed.frames[:, 0], placed.text, atol=1e-4, rtol=1e-3)


def test_embeddings_are_compared_with_captions_as_coordinates_are() -> None:
    targets = make_targets()
    spaces, seen = learn_spaces(targets, 0.5), draw(4, 8, seed=11)
    products = seen @ spaces.place(targets).text.T
    made = spaces.aim(seen) @ targets.text.T
    torch.testing.assert_close(made - made[:, :1], products - products[:, :1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("helps", "share"), [(True, 1.0), (False, 0.0)])
def test_of_the_transformer_as_much_is_kept_as_helps(helps: bool, share: float) -> None:
    """What it adds to nothing is the target, or its opposite."""
    targets, clip = make_targets(20), torch.arange(20)
    sizes = {"layers": [], "tokens": 4, "positions": torch.zeros(5, 8), "checkpointing": False}
    brain = SimpleNamespace(gain=torch.tensor(1.0 if helps else -1.0), **sizes)
    networks: Any = SimpleNamespace(brain=brain, alignment=SimpleNamespace(frames=lambda frames: frames.mean(dim=1)))
    away = draw(20, 8, seed=12) * 0.3

    def look(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return away[rows] + brain.gain * targets.text[rows], away[rows]

    assert keep_gain(networks, look, clip, targets, make_recipe(), np.arange(20)) == share in SHARES
    assert abs(float(brain.gain)) == share


def test_stages_leave_the_solved_layer_and_validation_trials_are_in_it() -> None:
    method = CineNeuron(suite=FakeSuite(), **{**SMALL, "stage1_steps": 2, "joint_epochs": 0.2})
    method.align(World().record())
    brain = method.trained().brain
    solved = {name: one.clone() for name, one in brain.state_dict().items() if name.startswith(("inputs", "readout"))}
    method.fit(World().record(), World().record(seed=1))
    again = CineNeuron(suite=FakeSuite(), **{**SMALL, "stage1_steps": 2, "joint_epochs": 0.2, "use_validation": False})
    again.fit(World().record(), World().record(seed=1))
    now = again.trained().brain.state_dict()
    assert all(torch.equal(now[name], one) for name, one in solved.items())
    assert not torch.equal(
        method.trained().brain.state_dict()["inputs.1.regress.weight"], now["inputs.1.regress.weight"]
    )
    assert not method.trained().brain.gain.requires_grad
    assert len(method.memories.pool) == 2 * len(again.memories.pool) == 48


def test_a_whitening_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BenchError, match="allowed is one of none, centred, half, full"):
        read_parameters({"whitening": 0.5})
