"""Layers of networks written anew in numpy, to hold the methods' equations against: weights in, arrays in and out."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import erf
from torch import nn


def number(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def linear(x: np.ndarray, layer: nn.Linear) -> np.ndarray:
    return x @ number(layer.weight).T + number(layer.bias)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + erf(x / np.sqrt(2))) / 2


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def convolve(x: np.ndarray, layer: nn.Conv1d) -> np.ndarray:
    """[n, channel, time] to [n, filter, step], zeros beyond the ends."""
    kernel, stride, pad = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad)))
    starts = range(0, padded.shape[2] - kernel + 1, stride)
    windows = np.stack([padded[:, :, start : start + kernel] for start in starts], axis=2)  # (n, c, step, k)
    return np.einsum("ncsk,fck->nfs", windows, number(layer.weight)) + number(layer.bias)[:, None]


def batch_norm(x: np.ndarray, layer: nn.BatchNorm1d) -> np.ndarray:
    """[n, channel, time] by the running statistics."""
    mean, variance, gain, shift = (
        number(one)[:, None] for one in (layer.running_mean, layer.running_var, layer.weight, layer.bias)
    )
    return gain * (x - mean) / np.sqrt(variance + layer.eps) + shift


def layer_norm(x: np.ndarray, layer: nn.LayerNorm) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + layer.eps)
    return number(layer.weight) * centred / deviation + number(layer.bias)


def attend(query: np.ndarray, key: np.ndarray, value: np.ndarray, heads: int) -> np.ndarray:
    """softmax(Q Kᵀ / √d) V of each head, d its width; all [n, token, width]."""
    parts = []
    for q, k, v in zip(*(np.split(x, heads, axis=2) for x in (query, key, value)), strict=True):
        parts.append(softmax(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[2])) @ v)
    return np.concatenate(parts, axis=2)


def transform(x: np.ndarray, layer: nn.TransformerEncoderLayer) -> np.ndarray:
    """A standard transformer layer that normalises first, with GELU."""
    own = layer.self_attn
    normed = layer_norm(x, layer.norm1)
    asked = np.split(normed @ number(own.in_proj_weight).T + number(own.in_proj_bias), 3, axis=2)
    x = x + linear(attend(*asked, own.num_heads), own.out_proj)
    return x + linear(gelu(linear(layer_norm(x, layer.norm2), layer.linear1)), layer.linear2)


def mix_scores(queries: dict[str, np.ndarray], weights: np.ndarray, entries: dict[str, np.ndarray]) -> np.ndarray:
    """CineNeuron's (5): S_i = Σ_m w_m cos(query of m, entry i's embedding of m), entry by entry."""
    scores = np.zeros((len(weights), len(next(iter(entries.values())))))
    for trial, i in np.ndindex(*scores.shape):
        for place, name in enumerate(queries):
            a, b = queries[name][trial], entries[name][i]
            scores[trial, i] += weights[trial, place] * (a @ b) / np.sqrt((a @ a) * (b @ b))
    return scores


def scatter_weights(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in double precision, evaluating, with every number drawn anew, those that start at 0 or 1 too."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float64)

    module = module.double().eval()
    with torch.no_grad():
        for name, one in module.named_parameters():
            spread = 0.3 if one.ndim < 2 else one[0].numel() ** -0.5
            one.copy_(spread * drawn(one) + float(one.ndim == 1 and name.endswith("weight")))  # gains lie around 1
        for name, one in module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                one.copy_(drawn(one).abs() + 0.5)
    return module
