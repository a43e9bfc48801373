"""The small configurations of Wan's networks and of X-CLIP in the `mini` suite: the official classes, sized for a CPU.

The autoencoder has Wan's own compression (8 x 8 pixels, 4 frames after the first) and 16 channels. Its clips have 9
frames, 4k + 1 being what the compression allows; six-frame clips come as nine of which some are repeated, as the
decoder of a method brings them (`bench/pretrained/decoders.py`). The text encoder has Wan's interface (UMT5) with
a word a token, because captions here are made of few words.
"""

from __future__ import annotations

from collections.abc import Iterable

from diffusers import AutoencoderKLWan, WanTransformer3DModel
from transformers import (
    CLIPTokenizer,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
    XCLIPConfig,
    XCLIPModel,
)

from bench.pretrained.mini_build.networks import SIZE

WAN_FRAMES = 9
WAN_CHANNELS = 16
WAN_LATENT = (3, SIZE // 8, SIZE // 8)  # of nine frames
WAN_TEXT_WIDTH = 96
ACTION_FRAMES, ACTION_WIDTH = 8, 96


def make_wan_autoencoder() -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=16,
        z_dim=WAN_CHANNELS,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * WAN_CHANNELS,
        latents_std=[1.0] * WAN_CHANNELS,
    )


def make_wan_transformer() -> WanTransformer3DModel:
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=6,
        attention_head_dim=32,
        in_channels=WAN_CHANNELS,
        out_channels=WAN_CHANNELS,
        text_dim=WAN_TEXT_WIDTH,
        freq_dim=128,
        ffn_dim=576,
        num_layers=6,
        rope_max_seq_len=64,
    )


def make_wan_tokenizer(captions: Iterable[str]) -> T5Tokenizer:
    """A token a word of the captions; letters for words that are in none."""
    words = sorted({word for caption in captions for word in caption.split()})
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"▁{word}", -2.0) for word in words]
    pieces += [(piece, -10.0) for piece in ("▁", *letters) if f"▁{piece}" not in words or piece in letters]
    return T5Tokenizer(vocab=list(dict(pieces).items()), extra_ids=0)


def make_wan_text_encoder(tokenizer: T5Tokenizer) -> UMT5EncoderModel:
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=len(tokenizer),
            d_model=WAN_TEXT_WIDTH,
            d_kv=24,
            d_ff=2 * WAN_TEXT_WIDTH,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.0,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def make_action_encoder(tokenizer: CLIPTokenizer) -> XCLIPModel:
    """X-CLIP with patches of 16 and the captions' own words."""
    vision = {
        "image_size": SIZE,
        "patch_size": 16,
        "hidden_size": ACTION_WIDTH,
        "intermediate_size": 2 * ACTION_WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_frames": ACTION_FRAMES,
        "mit_hidden_size": 64,
        "mit_intermediate_size": 256,
        "mit_num_attention_heads": 4,
    }
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 77,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = XCLIPConfig(text_config=text, vision_config=vision, projection_dim=64, prompt_num_attention_heads=4)
    model = XCLIPModel(config)
    model.mit.position_embedding.data.normal_(std=0.5)  # at the default, 0.02, the order of frames is hardly seen
    return model
