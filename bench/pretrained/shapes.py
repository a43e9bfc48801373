"""A suite of shapes: the networks of a suite on the meta device, which hold no weight and compute nothing.

What a call would cost is counted on them (`bench.toolbox.work`). They are built from the configurations in the suite's
folder; where the weights of `paper` are not on this machine, from those that are known (`paper_sizes`), and `absent`
names these roles. Such a suite has no digest: the keys of cells are not known then.

The denoisers, which are called again and again with the same shapes, run once: a call that is known gives what the
first gave, and its operations are counted again.
"""

from __future__ import annotations

import importlib
import json
import weakref
from collections.abc import Callable, Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree
from torch.utils._python_dispatch import _disable_current_modes

from bench.pretrained.paper_sizes import PAPER_SIZES, SCHEDULER
from bench.pretrained.roles import MissingWeights, find_suite
from bench.pretrained.suite import Suite
from bench.toolbox.accounting import find_ledger
from bench.toolbox.work import open_count

NO_DIGEST = "not on this machine"
REPEATED = ("unet", "motion_adapter", "sparse_control", "wan_transformer")


class ShapeSuite(Suite):
    """A suite's calls and networks, on the meta device."""

    def __init__(self, name: str, settings: dict[str, Any], base: Any, **options: Any) -> None:
        super().__init__(name, settings, base, **{**options, "device": "meta"})
        self.absent: list[str] = []

    def find_config(self, role: str) -> tuple[str | None, dict[str, Any]]:
        """The class of a role (None: whichever the suite loads) and its configuration."""
        try:
            place = self.roles[role].locate()
        except MissingWeights:
            if role not in PAPER_SIZES:
                raise
            self.absent += [role] if role not in self.absent else []
            return PAPER_SIZES[role]
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        return None, {**config, **(self.roles[role].settings or {})}

    def _load_network(self, loader: Any, role: str, *, dtype: torch.dtype | None = None) -> Any:
        _, config = self.find_config(role)
        with _disable_current_modes(), torch.device("meta"):  # weights are read and cast before they reach the device
            if hasattr(loader, "config_class"):  # of transformers
                network = loader(loader.config_class(**config))
            else:
                network = loader.from_config(config)
            torch.nn.Module.to(network, dtype or self.dtype)  # diffusers' own warns that it casts everything
        if (ledger := find_ledger("meta")) is not None:
            ledger.add(network)
        network.eval().requires_grad_(False)
        return run_once(network) if role in REPEATED else network

    def _load(self, loader: Any, role: str, **options: Any) -> Any:
        try:
            return super()._load(loader, role, **options)
        except MissingWeights:
            if role != "scheduler":
                raise
            return loader.from_config(SCHEDULER)

    @cached_property
    def video_unet(self) -> Any:
        with torch.device("meta"):
            network = Suite.video_unet.func(self)  # type: ignore[attr-defined]
        return run_once(network.eval().requires_grad_(False))

    @cached_property
    def negative_embedding(self) -> Tensor:
        return torch.zeros(1, self.geometry.tokens, self.geometry.text_width)

    @cached_property
    def tokenizer(self) -> Any:
        return FullTokens(self.text_encoder.config.max_position_embeddings)

    @cached_property
    def _wan_tokenizer(self) -> Any:
        return FullTokens(self.settings["wan_tokens"])

    @cached_property
    def contents(self) -> Any:
        """Nothing: what comes of shapes is never kept."""
        return None

    def tell_digest(self, find: Callable[[], str]) -> str:
        try:
            return find()
        except MissingWeights:
            return NO_DIGEST

    @cached_property
    def digest(self) -> str:
        return self.tell_digest(lambda: str(Suite.digest.func(self)))  # type: ignore[attr-defined]

    def digest_role(self, role: str) -> str:
        return self.tell_digest(lambda: Suite.digest_role(self, role))


def load_shapes(name: str, **options: Any) -> ShapeSuite:
    """The shapes of the suite of that name, or of the one that `<folder>/suite.toml` describes; `options` as a suite's
    `precision` and `memory`."""
    return ShapeSuite(*find_suite(name), **options)


def build_network(role: str, **changes: Any) -> torch.nn.Module:
    """A network of a role at the papers' size with fresh weights; `changes` of its configuration."""
    kind, config = PAPER_SIZES[role]
    config = {**config, **changes}
    for library in ("diffusers", "transformers"):
        loader = getattr(importlib.import_module(library), kind, None)
        if loader is not None:
            return loader(loader.config_class(**config)) if library == "transformers" else loader(**config)
    raise LookupError(f"neither diffusers nor transformers has {kind}")


class FullTokens:
    """In a tokenizer's place, which no folder has to hold: all captions fill the encoder."""

    def __init__(self, length: int) -> None:
        self.model_max_length = length

    def __call__(self, captions: Sequence[str], **options: Any) -> SimpleNamespace:
        ids = torch.zeros(len(captions), self.model_max_length, dtype=torch.int64)
        return SimpleNamespace(input_ids=ids, attention_mask=torch.ones_like(ids))


class Once:
    """What goes before a network's class, so that it computes once for each kind of arguments without a gradient."""

    def forward(self, *given: Any, **options: Any) -> Any:
        if torch.is_grad_enabled():
            return super().forward(*given, **options)  # type: ignore[misc]
        values, layout = _pytree.tree_flatten((given, options))
        key = tuple(tuple(one.shape) if isinstance(one, Tensor) else str(one) for one in values), str(layout)
        count, known = open_count(), _KNOWN.setdefault(self, {})
        if key not in known:
            before = count.operations if count else 0
            made = super().forward(*given, **options)  # type: ignore[misc]
            known[key] = (count.operations - before if count else 0), made
        elif count:
            count.operations += known[key][0]
        return known[key][1]


_KNOWN: weakref.WeakKeyDictionary[Any, dict[Any, tuple[int, Any]]] = weakref.WeakKeyDictionary()


def run_once(network: Any) -> Any:
    """The network as one of `Once`, under the name of its class; a copy of it knows no calls."""
    network.__class__ = type(type(network).__name__, (Once, type(network)), {})
    return network
