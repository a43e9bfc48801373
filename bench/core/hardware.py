"""What a command may ask of the machine: a device, a precision, a share of memory. Plain values, checked without torch.

Torch is asked about one thing alone: whether a GPU that is named is there.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

from bench.core.errors import BenchError

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
MOST_DEVICES = 64  # for one cell
AUTO = "auto"  # a GPU where torch finds one, else the processor
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def check_precision(precision: str) -> None:
    """Raises BenchError for a precision that there is not."""
    if precision not in PRECISIONS:
        raise BenchError(f"precision {precision!r}; allowed are {', '.join(PRECISIONS)}")


def list_devices(device: str) -> tuple[str, ...]:
    """The devices that work on one cell: of `cuda:0,cuda:1` both.

    >>> list_devices("cuda:0,cuda:1")
    ('cuda:0', 'cuda:1')
    """
    return tuple(device.split(","))


def check_devices(device: str, *, here: bool = True) -> None:
    """`check_device`, or several of one kind that work on a cell together. Raises BenchError for others."""
    devices = list_devices(device)
    if len(devices) > MOST_DEVICES:
        raise BenchError(f"{len(devices)} devices for a cell; allowed are {MOST_DEVICES} at most, all of one machine")
    if len(devices) > 1 and set(devices) != {"cpu"}:
        if not all(re.fullmatch(r"cuda:\d{1,3}", one) for one in devices):
            raise BenchError(f"device {device!r}; several devices of a cell are GPUs by number, like cuda:0,cuda:1")
        if len(set(devices)) < len(devices):
            raise BenchError(f"device {device!r} names a GPU twice; name each once, like cuda:0,cuda:1")
    for one in devices:
        check_device(one, here=here)


def check_device(device: str, *, here: bool = True) -> None:
    """Raises BenchError for what names no device, and, if it is to be `here`, for one that is not there."""
    if device in (AUTO, "cpu"):
        return
    found = re.fullmatch(r"cuda(?::(\d{1,3}))?", device)
    if found is None:
        raise BenchError(f"device {device!r}; allowed are auto, cpu, cuda and cuda:N, N counted from 0")
    if here and int(found[1] or 0) >= len(there := list_gpus()):
        gpus = [f"cuda:{number} ({name})" for number, name in enumerate(there)]
        raise BenchError(
            f"there is no device {device}; here are {', '.join(['cpu', *gpus])}"
            + ("" if gpus else " and no GPU that torch can use")
        )


def list_gpus() -> list[str]:
    """Names of the GPUs that torch sees."""
    import torch

    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def parse_size(text: str | int) -> int:
    """Bytes of `24GiB`, `500MB` or a plain number.

    >>> parse_size("1.5GiB") == 3 * 2**29
    True
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]i?B)?\s*", str(text))
    size = round(float(found[1]) * UNITS.get(found[2] or "", 1)) if found else 0
    if size < 2**20:
        raise BenchError(f"{text!r} is no size of memory like 24GiB, 500MB or a number of bytes, of 1 MiB or more")
    return size
