"""Captions to the 77 tokens of CLIP's text encoder, and on to its last hidden state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer


def tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str], *, repeat: bool = False) -> Int[Tensor, "n tokens"]:
    """Token ids, padded or cut to the tokenizer's length.

    With `repeat` a caption is said again and again until the tokens are full, so that a small network's few
    attention heads find content wherever they look; the empty caption stays empty.
    """
    length = tokenizer.model_max_length
    texts = [" ".join([caption] * (length if repeat and caption else 1)) for caption in captions]
    encoded = tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    return encoded.input_ids


@torch.no_grad()
def encode_captions(
    tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, captions: Sequence[str], *, repeat: bool = False
) -> Float[Tensor, "n tokens width"]:
    ids = tokenize(tokenizer, captions, repeat=repeat).to(text_encoder.device)
    return text_encoder(ids).last_hidden_state
