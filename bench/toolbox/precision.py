"""Precisions as torch knows them, and autocast for networks whose weights stay in float32.

Frozen networks are loaded in the precision that is asked for. A network that is trained keeps its weights in float32
and computes under `autocast`; in float16 its loss needs `torch.amp.GradScaler` besides.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from bench.core.hardware import Precision

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device | str, dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]:
    """Matrix products and convolutions in this precision within the block; nothing for float32.

    There is none for the meta device: there a block counts in the precision of its weights.
    """
    kind = torch.device(device).type
    if dtype == torch.float32 or kind == "meta":
        return contextlib.nullcontext()
    return torch.autocast(kind, dtype)
