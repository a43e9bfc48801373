"""Methods whose targets are captions' tokens ask for those of a batch, never for those of all clips."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from asking import hide_answers
from painted import PaintedDecoder, PaintedSuite, record

from baselines.cinesync import method as cinesync
from baselines.encoders import brain_tokens
from baselines.glfa import method as glfa
from bench.toolbox.encoded import CaptionTokens

SMALL: dict[str, Any] = {
    "width": 16, "layers": 1, "heads": 2, "feedforward": 24, "lora_rank": 2, "lora_scale": 2, "batch_size": 16,
    "joint_epochs": 0.05, "joint_batch_size": 8,
}  # fmt: skip
MADE: dict[str, Any] = {
    "cinesync": lambda suite: cinesync.CineSync(suite=suite, channels=4, align_epochs=0.2, **SMALL),
    "glfa": lambda suite: glfa.Glfa(suite=suite, patch=4, global_patches=2, text_rank=3, train_epochs=0.2, **SMALL),
}


@pytest.mark.parametrize("method", MADE)
@pytest.mark.parametrize("films", [False, True])
def test_no_more_captions_are_asked_for_than_a_batch_has_trials(
    monkeypatch: pytest.MonkeyPatch, method: str, films: bool
) -> None:
    asked: list[int] = []

    class Counted(CaptionTokens):
        def __getitem__(self, rows: Any) -> torch.Tensor:
            made = super().__getitem__(rows)
            asked.append(len(made))
            return made

    def encode_captions(reader: Any, captions: Any) -> CaptionTokens:
        numbers = torch.arange(len(dict.fromkeys(captions)))
        return Counted(torch.randn(len(numbers), 6, 10, generator=torch.Generator().manual_seed(0)), 6)

    monkeypatch.setattr(cinesync, "WanDecoder", PaintedDecoder)
    monkeypatch.setattr(glfa, "AnimateDiffDecoder", PaintedDecoder)
    monkeypatch.setattr(brain_tokens.clip_targets, "encode_captions", encode_captions)
    data = record()
    told = {"captions": tuple(f"a {one.split()[1]} {number}" for number, one in enumerate(data.captions))}
    told |= {"concepts": 0 * data.concepts} if films else {}
    data = type(data)(**{**vars(data), **told})  # 40 clips, each with a caption of its own
    made = MADE[method](PaintedSuite())
    made.fit(data, data)
    assert max(asked) == 16  # of 80 clips: the validation block is learned from
    asked.clear()
    assert len(made.reconstruct(hide_answers(data))) == 160
    assert max(asked, default=0) <= 32 and not isinstance(made.captions.tokens, torch.Tensor)
