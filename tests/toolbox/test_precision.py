"""What trains in bfloat16: its products are, weights and losses are not, and float32 is what it was to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from fitted import Fitted
from torch import Tensor, nn

from bench.pretrained.suite import load_suite
from bench.toolbox import precision
from bench.toolbox.parts import mean_in_parts, run_in_parts
from bench.toolbox.training import make_generator, train_steps

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def exact_after() -> Iterator[None]:
    yield
    precision.train_in("fp32")


class Network(nn.Module):
    """Two layers that note what the second is given."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.seen = nn.Linear(8, 16), nn.Linear(16, 2), set[torch.dtype]()

    def forward(self, given: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        hidden = self.first(given)
        self.seen.add(hidden.dtype)
        return self.second(hidden), {"hidden": hidden}


def train(asked: Any) -> tuple[Network, list[float], set[torch.dtype]]:
    """The network after ten steps, its losses, and the types that its loss was made of."""
    precision.train_in(asked)
    torch.manual_seed(4)
    network, given, made = Network(), torch.randn(12, 8), set[torch.dtype]()

    def measure(rows: np.ndarray) -> Tensor:
        said, more = network(given[rows])
        product = said @ said.T  # of a loss, outside the network
        made.update({said.dtype, more["hidden"].dtype, product.dtype})
        return (product - torch.eye(len(rows))).square().mean()

    losses = train_steps(
        network, measure, parameters=list(network.parameters()), trials=12, steps=10, batch_size=6,
        learning_rate=0.05, weight_decay=0.0, batches=make_generator("test", "batches"), phase="training",
    )  # fmt: skip
    return network, losses, made


def test_a_network_computes_in_half_while_it_trains_and_its_loss_does_not() -> None:
    (exact, exact_losses, exact_made), (half, losses, made) = train("fp32"), train("bf16")
    assert (exact.seen, exact_made) == ({torch.float32}, {torch.float32})
    assert (half.seen, made) == ({torch.bfloat16}, {torch.float32})
    assert {one.dtype for one in half.parameters()} == {torch.float32}
    assert losses != exact_losses and np.allclose(losses, exact_losses, rtol=0.1, atol=0.02)
    half.seen.clear()
    half(torch.zeros(1, 8))
    assert half.seen == {torch.float32} and "forward" not in vars(half), "what it says later is exact"


def test_in_float16_what_trains_computes_in_float32() -> None:
    (exact, losses, _), (half, others, _) = train("fp32"), train("fp16")
    assert losses == others
    for one, other in zip(exact.parameters(), half.parameters(), strict=True):
        assert torch.equal(one, other)


def test_parts_compute_in_half_where_there_is_a_gradient() -> None:
    precision.train_in("bf16")
    weight, seen = torch.eye(4, requires_grad=True), []

    def run(rows: slice) -> tuple[Tensor, ...]:
        made = torch.ones(6, 4)[rows] @ weight
        seen.append(made.dtype)
        return (made,)

    options: dict[str, Any] = {"through": [weight], "device": CPU}
    (made,) = run_in_parts("test", 6, run, **options)
    mean = mean_in_parts("test", 6, lambda rows: run(rows)[0].mean(), **options)
    assert seen == [torch.bfloat16] * 2 and (made.dtype, mean.dtype) == (torch.float32, torch.float32)
    with torch.no_grad():
        run_in_parts("test", 6, run, **options)
    assert seen[2] == torch.float32


@pytest.mark.parametrize("name", ["mind_video", "dynamind"])
def test_methods_train_in_half(name: str, phantom: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that put parts of a batch together by rows, and that go on outside of their networks."""
    entered: list[torch.dtype] = []
    autocast = precision.autocast
    monkeypatch.setattr(
        precision, "autocast", lambda device, dtype: (entered.append(dtype), autocast(device, dtype))[1]
    )
    precision.train_in("bf16")
    fitted = Fitted(name, "phantom_fmri:tiny" if name == "mind_video" else "phantom_eeg:tiny", load_suite("mini"))
    assert entered and set(entered) == {torch.bfloat16}
    assert fitted.reconstruct().dtype == np.uint8
