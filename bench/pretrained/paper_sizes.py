"""The configurations of the suite `paper`: sizes without weights, to tell what a run costs before any is fetched.

As released in the formats of diffusers and transformers: Stable Diffusion 1.5, AnimateDiff v3 with SparseCtrl (RGB),
Wan 2.1 1.3B with UMT5-XXL. What a configuration does not name is its class's default. Imports no torch.
"""

from __future__ import annotations

from typing import Any

CHANNELS = (320, 640, 1280, 1280)  # of Stable Diffusion's UNet, and of what is put between its layers

# role -> class of diffusers or transformers, and its configuration
PAPER_SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    "vae": (
        "AutoencoderKL",
        {
            "in_channels": 3,
            "out_channels": 3,
            "block_out_channels": (128, 256, 512, 512),
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "layers_per_block": 2,
            "latent_channels": 4,
            "norm_num_groups": 32,
            "sample_size": 512,
        },
    ),
    "text_encoder": (
        "CLIPTextModel",
        {
            "vocab_size": 49408,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "max_position_embeddings": 77,
        },
    ),
    "unet": (
        "UNet2DConditionModel",
        {
            "sample_size": 64,
            "block_out_channels": CHANNELS,
            "layers_per_block": 2,
            "cross_attention_dim": 768,
            "attention_head_dim": 8,
        },
    ),
    "motion_adapter": (
        "MotionAdapter",
        {
            "block_out_channels": CHANNELS,
            "motion_layers_per_block": 2,
            "motion_num_attention_heads": 8,
            "motion_norm_num_groups": 32,
            "motion_max_seq_length": 32,
            "use_motion_mid_block": False,
        },
    ),
    "sparse_control": (
        "SparseControlNetModel",
        {
            "in_channels": 4,
            "conditioning_channels": 4,
            "block_out_channels": CHANNELS,
            "layers_per_block": 2,
            "cross_attention_dim": 768,
            "attention_head_dim": 8,
            "motion_num_attention_heads": 8,
            "concat_conditioning_mask": True,
            "use_simplified_condition_embedding": True,
        },
    ),
    "wan_transformer": (
        "WanTransformer3DModel",
        {
            "patch_size": (1, 2, 2),
            "num_attention_heads": 12,
            "attention_head_dim": 128,
            "in_channels": 16,
            "out_channels": 16,
            "text_dim": 4096,
            "freq_dim": 256,
            "ffn_dim": 8960,
            "num_layers": 30,
        },
    ),
    "wan_vae": (
        "AutoencoderKLWan",
        {
            "base_dim": 96,
            "z_dim": 16,
            "dim_mult": [1, 2, 4, 4],
            "num_res_blocks": 2,
            "temperal_downsample": [False, True, True],
        },
    ),
    "wan_text_encoder": (
        "UMT5EncoderModel",
        {
            "vocab_size": 256384,
            "d_model": 4096,
            "d_kv": 64,
            "d_ff": 10240,
            "num_layers": 24,
            "num_heads": 64,
            "feed_forward_proj": "gated-gelu",
        },
    ),
}
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "linear",
    "clip_sample": False,
    "steps_offset": 1,
}
