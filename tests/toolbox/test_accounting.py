"""The ledger of memory: closed forms on the meta device, and the same counts where real tensors are computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from bench.toolbox.accounting import Ledger

WIDTH, ROWS, LAYERS = 64, 512, 6
WEIGHTS, HIDDEN = 4 * WIDTH * (WIDTH + 1), 4 * WIDTH * ROWS  # bytes of a layer and of what it gives


def make_layers(device: str) -> nn.Sequential:
    return nn.Sequential(*[nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)]).to(device)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_it_counts_what_can_be_counted_by_hand(device: str) -> None:
    with Ledger(device) as ledger:
        layers = make_layers(device)
        assert ledger.live >= LAYERS * WEIGHTS
    with Ledger(device) as ledger:
        ledger.add(layers)
        ledger.add(layers)
        inputs = torch.zeros(ROWS, WIDTH, device=device)
        assert ledger.live == LAYERS * WEIGHTS + HIDDEN
        for mode in (torch.no_grad(), torch.inference_mode()):
            with mode, ledger.watch():
                layers(inputs)
                assert ledger.peak == ledger.live + 2 * HIDDEN  # what a layer reads and what it gives; inputs are held
        made = layers(inputs)
        assert ledger.live == LAYERS * WEIGHTS + (1 + LAYERS) * HIDDEN  # autograd keeps what each layer read
        made.sum().backward()
        del made
        assert ledger.live == 2 * LAYERS * WEIGHTS + HIDDEN  # weights, gradients, inputs
        view = inputs[3:].T
        assert ledger.live == 2 * LAYERS * WEIGHTS + HIDDEN
        del inputs, view
        assert ledger.live == 2 * LAYERS * WEIGHTS


def test_the_meta_device_counts_as_a_real_one_does() -> None:
    found = []
    for device in ("meta", "cpu"):
        torch.manual_seed(0)
        block = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.0).to(device)
        optimiser = torch.optim.AdamW(block.parameters(), foreach=False)
        counts = []
        with Ledger(device) as ledger:
            ledger.add(block)
            rows = torch.zeros(3, 50, 32, device=device)
            for keep in (False, True):  # checkpoints: the attention must be the same when it is computed again
                with ledger.watch():
                    made = checkpoint(block, rows, use_reentrant=False) if keep else block(rows)
                    made.square().mean().backward()
                    del made
                    optimiser.step()
                    optimiser.zero_grad()
                    counts.append(ledger.peak)
                counts.append(ledger.live)
        found.append(counts)
    counters = 4 * len(list(block.parameters()))  # AdamW counts its steps on the CPU, whatever it trains
    assert found[0][1::2] == [live - counters for live in found[1][1::2]]
    assert found[0][0::2] == pytest.approx(found[1][0::2], rel=0.06)  # attention: another fused kernel


def test_attention_takes_no_matrix_of_weights() -> None:
    query = torch.zeros(1, 2, 4096, 16, device="meta", requires_grad=True)
    size = query.numel() * 4
    with Ledger() as ledger:
        made = checkpoint(lambda x: functional.scaled_dot_product_attention(x, x, x), query, use_reentrant=False)
        made.sum().backward()
        assert ledger.peak < 10 * size < 2 * 4096 * 4096 * 4
        masked = functional.scaled_dot_product_attention(query, query, query, torch.zeros(1, 1, 1, 4096, device="meta"))
        assert masked.shape == query.shape
    assert functional.scaled_dot_product_attention.__name__ == "scaled_dot_product_attention"
    with torch.no_grad():
        assert torch.isfinite(functional.scaled_dot_product_attention(*[torch.ones(1, 1, 2, 4)] * 3)).all()


def test_numbers_that_are_read_are_zeros_and_the_limit_is_a_devices() -> None:
    with Ledger(limit=2**20) as ledger:
        far = torch.zeros(2, 3, device="meta")
        near = far.half().cpu()
        assert near.device.type == "cpu" and near.dtype == torch.float16 and (near == 0).all()
        assert float(far.sum()) == 0.0 and far.cpu().numpy().shape == (2, 3)
        assert torch.ones(2, 3).copy_(far).shape == (2, 3)
        assert torch.ones(2, 3).to(far).is_meta
        with pytest.raises(torch.OutOfMemoryError, match=r"pass the limit of 0\.00 GiB"):
            torch.zeros(2**20, device="meta")
        assert ledger.live == far.numel() * 4


def test_whole_numbers_are_remembered_on_the_device() -> None:
    """So that loops over subjects, groups and masks go as they would where numbers are."""
    with Ledger() as ledger:
        subject = torch.tensor([3, 5, 3, 5, 5]).to("meta")
        assert subject.is_meta and subject.unique().tolist() == [3, 5]
        rows = (subject == 5).nonzero()[:, 0]
        assert rows.is_meta and rows.tolist() == [1, 3, 4] and int(subject[rows].sum()) == 15
        signals = torch.zeros(5, 7, device="meta")
        assert signals[subject == 3].shape == (2, 7) and signals[rows].shape == (3, 7)
        assert torch.bincount(subject, minlength=9).tolist() == [0, 0, 0, 2, 0, 3, 0, 0, 0]
        with torch.inference_mode():
            assert subject[1:4].tolist() == [5, 3, 5], "a part of what is remembered is too"
        subject += 1  # what is changed in place is not known any more: as large as it can be
        assert signals[subject == 3].shape == (5, 7) and subject.unique().shape == (5,)
        assert ledger.live < 2**10


def test_numbers_are_drawn_for_code_that_looks_whether_they_differ() -> None:
    with Ledger(drawn=True):
        rows = torch.zeros(4, 1000, device="meta")
        assert rows.cpu().std(dim=1) == pytest.approx([1.0] * 4, abs=0.1)
        assert not torch.equal(rows[0].cpu(), rows[1].cpu())
        assert torch.zeros(3, device="meta", dtype=torch.int64).cpu().tolist() == [0, 0, 0]
