"""The small configurations of the `mini` suite: the same classes as the real ones, sized for two CPU cores.

Sizes were chosen by measuring (see the suite's card): an autoencoder of factor 8 with 8 latent channels, because the
cost of everything generative grows with the 8 x 8 latent grid and 4 channels cannot carry 25 dB at this size; one
norm group in the autoencoder, because with few channels a group GroupNorm erases the mean colour.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from diffusers import AutoencoderKL, DDIMScheduler, MotionAdapter, SparseControlNetModel, UNet2DConditionModel
from open_clip import CLIP
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from bench.datasets.phantom.stimuli import FRAME_CLASSES, FRAME_TIMES, VIDEO_CLASSES

SIZE, FACTOR, FRAMES = 64, 8, len(FRAME_TIMES)
LATENT_SIZE = SIZE // FACTOR
LATENT_CHANNELS = 8
TEXT_WIDTH = 48
TOKENS = 77


def make_autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 32, 64, 96),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=1,
        sample_size=SIZE,
    )


def make_video_judge() -> VideoMAEForVideoClassification:
    """Six frames, tubelets of two; labels are the 400 object-action classes."""
    return VideoMAEForVideoClassification(
        VideoMAEConfig(
            image_size=SIZE,
            patch_size=8,
            num_frames=FRAMES,
            tubelet_size=2,
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=384,
            use_mean_pooling=True,
            **_labels(VIDEO_CLASSES),
        )
    )


def make_frame_judge() -> ViTForImageClassification:
    """Labels are the object-scene classes: the published metrics need more than 42 of them (top three of 40-way)."""
    return ViTForImageClassification(
        ViTConfig(
            image_size=SIZE,
            patch_size=8,
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=256,
            **_labels(FRAME_CLASSES),
        )
    )


# The bundled tokenizer has 49,408 words, so the words' table is most of the network: hence a narrow text encoder. The
# captions have at most a dozen words, hence a short context.
CLIP_CONFIG: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": SIZE, "patch_size": 8, "width": 128, "layers": 4, "head_width": 32},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
}
CLIP_PREPROCESSING: dict[str, Any] = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def make_clip() -> CLIP:
    """open_clip's own class, from the configuration that is saved beside its weights."""
    return CLIP(**CLIP_CONFIG)


def make_dino() -> ViTModel:
    """As the frame judge, but without labels and without the pooler, which DINO does not use."""
    config = ViTConfig(
        image_size=SIZE,
        patch_size=8,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=256,
    )
    return ViTModel(config, add_pooling_layer=False)


def _labels(names: tuple[str, ...]) -> dict[str, dict]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}


def make_tokenizer(captions: Iterable[str]) -> CLIPTokenizer:
    """A CLIP tokenizer whose byte-pair merges were learned on the captions until each word is one token.

    The whole byte alphabet is kept, so any text can be encoded.
    """
    learned = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learned.pre_tokenizer = pre_tokenizers.Whitespace()
    learned.train_from_iterator(captions, trainers.BpeTrainer(end_of_word_suffix="</w>", show_progress=False))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [tuple(pair) for pair in json.loads(learned.to_str())["model"]["merges"]]
    symbols = [*alphabet, *(letter + "</w>" for letter in alphabet), *("".join(pair) for pair in merges)]
    vocabulary = {symbol: index for index, symbol in enumerate(dict.fromkeys(symbols))}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=TOKENS)


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            projection_dim=TEXT_WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    text_encoder.get_input_embeddings().weight.data.normal_()  # the default, 0.02, makes words nearly equal for long
    return text_encoder


CHANNELS, LAYERS, GROUPS, HEADS = (64, 128), 1, 8, 4


def make_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=CHANNELS,
        layers_per_block=LAYERS,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=HEADS,  # diffusers' name for the number of heads
        norm_num_groups=GROUPS,
    )


def make_motion_adapter() -> MotionAdapter:
    """Its output projections start at zero: a fresh adapter would destroy what the image network has learned."""
    adapter = MotionAdapter(
        block_out_channels=CHANNELS,
        motion_layers_per_block=LAYERS,
        motion_num_attention_heads=HEADS,
        motion_norm_num_groups=GROUPS,
        motion_max_seq_length=32,
        use_motion_mid_block=True,
    )
    for name, weight in adapter.named_parameters():
        if ".proj_out." in name:
            weight.data.zero_()
    return adapter


def make_sparse_control() -> SparseControlNetModel:
    return SparseControlNetModel(
        in_channels=LATENT_CHANNELS,
        conditioning_channels=LATENT_CHANNELS,
        block_out_channels=CHANNELS,
        layers_per_block=LAYERS,
        down_block_types=("CrossAttnDownBlockMotion",) * 2,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=HEADS,
        norm_num_groups=GROUPS,
        motion_num_attention_heads=HEADS,
    )


def make_scheduler() -> DDIMScheduler:
    """Velocity prediction from pure noise (zero terminal SNR), so that few steps are enough."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        set_alpha_to_one=True,
    )
