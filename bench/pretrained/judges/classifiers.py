"""The frame judge: any image classifier of transformers or timm, by what its folder's config.json says.

Each gives `logits` [n, f, classes] and `features` [n, f, width], what its last layer reads. N-way accuracies compare a
judge with itself, so any classes will do in any order; ImageNet's thousand, in their usual order, are what papers use.

A config with an "architecture" is timm's (as its repositories on the hub have it), one with a "model_type" is
transformers'. A single file of weights has no config: the suite's settings of the role stand for it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from bench.core.errors import BenchError
from bench.pretrained.judges.convert import convert_lite0, is_lite0
from bench.pretrained.judges.networks import Outputs, load_preparation, load_state, load_transformer
from bench.pretrained.judges.preparation import Preparation, read_timm
from bench.pretrained.roles import Role

Seen = tuple[Float[Tensor, "m classes"], Float[Tensor, "m width"]]  # logits, features


class UnknownClassifier(BenchError):
    """A folder that holds no image classifier that can be read."""


class FrameClassifier(ABC):
    """An image classifier that looks at one frame at a time."""

    module: Any
    preparation: Preparation

    @abstractmethod
    def classify(self, frames: Float[Tensor, "m 3 H W"]) -> Seen: ...

    def see(self, pixels: Float[Tensor, "n f 3 H W"]) -> Outputs:
        logits, features = self.classify(pixels.flatten(0, 1))
        return {"logits": logits.unflatten(0, pixels.shape[:2]), "features": features.unflatten(0, pixels.shape[:2])}


def load_classifier(role: Role, dtype: torch.dtype, device: torch.device) -> FrameClassifier:
    """The classifier in the role's folder or file. Raises `UnknownClassifier` where its config names none."""
    config = read_config(role)
    if "architecture" in config:
        return TimmClassifier(role, dtype, device)
    if "model_type" not in config:
        raise UnknownClassifier(
            f'{role.find()} says neither "architecture" (timm) nor "model_type" (transformers) in its config.json: '
            "put an image classifier there as its repository holds it"
        )
    return (VitClassifier if config["model_type"] == "vit" else TransformersClassifier)(role, dtype, device)


def read_config(role: Role) -> dict[str, Any]:
    """The folder's config.json with the suite's settings of the role over it."""
    path = role.locate() / "config.json"
    held = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {**held, **(role.settings or {})}


class TimmClassifier(FrameClassifier):
    """Any network of timm with a classifying head; `features` are what `forward_head(…, pre_logits=True)` gives."""

    def __init__(self, role: Role, dtype: torch.dtype, device: torch.device) -> None:
        import timm

        config = read_config(role)
        options = {"num_classes": config.get("num_classes", 1000), **config.get("model_args", {})}
        module = timm.create_model(config["architecture"], pretrained=False, **options)
        state = load_state(role.locate())
        module.load_state_dict(convert_lite0(state) if is_lite0(state) else state)
        self.module = module.to(device, dtype).eval().requires_grad_(False)
        self.preparation = read_timm(config.get("pretrained_cfg", {}), role.locate())

    def classify(self, frames: Float[Tensor, "m 3 H W"]) -> Seen:
        seen = self.module.forward_features(frames)
        return self.module.forward_head(seen), self.module.forward_head(seen, pre_logits=True)


class TransformersClassifier(FrameClassifier):
    """Any image classifier of transformers whose last layer is linear; `features` are what that layer reads."""

    def __init__(self, role: Role, dtype: torch.dtype, device: torch.device) -> None:
        from transformers import AutoModelForImageClassification

        self.preparation = load_preparation(role)
        self.module = load_transformer(AutoModelForImageClassification, role, dtype, device)
        classes = self.module.config.num_labels
        linear = [layer for layer in self.module.modules() if isinstance(layer, torch.nn.Linear)]
        heads = [layer for layer in linear if layer.out_features == classes]
        if not heads:
            raise UnknownClassifier(
                f"{type(self.module).__name__} in {role.find()} has no linear layer of {classes} classes, so its "
                "features of a frame cannot be read; choose another classifier"
            )
        self.features: Tensor
        heads[-1].register_forward_pre_hook(self.keep_features)

    def keep_features(self, layer: torch.nn.Linear, inputs: tuple[Tensor, ...]) -> None:
        self.features = inputs[0]

    def classify(self, frames: Float[Tensor, "m 3 H W"]) -> Seen:
        logits = self.module(frames).logits
        return logits, self.features.flatten(1)


class VitClassifier(FrameClassifier):
    """ViT, the papers' frame judge: its class token after the last layer is the only one that is computed there."""

    def __init__(self, role: Role, dtype: torch.dtype, device: torch.device) -> None:
        from transformers import ViTForImageClassification

        self.preparation = load_preparation(role)
        self.module = load_transformer(ViTForImageClassification, role, dtype, device, attn_implementation="sdpa")

    def classify(self, frames: Float[Tensor, "m 3 H W"]) -> Seen:
        network = self.module.vit
        hidden = network.embeddings(frames)  # (m, token, width)
        for layer in network.layers[:-1]:
            hidden = layer(hidden)
        features = network.layernorm(finish_class_token(network.layers[-1], hidden))
        return self.module.classifier(features), features


def finish_class_token(layer: Any, hidden: Float[Tensor, "m token width"]) -> Float[Tensor, "m width"]:
    """The class token after ViT's last layer, the only one that is read: a fifteenth of the network's arithmetic less.

    The same sums as the layer's own `forward`, with one query in place of all; a test holds the two together.
    """
    attention, normed, first = layer.attention, layer.layernorm_before(hidden), hidden[:, :1]
    projected = attention.q_proj(normed[:, :1]), attention.k_proj(normed), attention.v_proj(normed)
    query, key, value = (part.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2) for part in projected)
    seen = F.scaled_dot_product_attention(query, key, value, scale=attention.scaling)  # (m, head, 1, head_dim)
    first = first + attention.o_proj(seen.transpose(1, 2).flatten(2))
    return (first + layer.mlp(layer.layernorm_after(first)))[:, 0]
