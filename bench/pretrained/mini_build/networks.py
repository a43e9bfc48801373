"""The small configurations of the `mini` suite: the same classes as the real ones, sized for two CPU cores.

Sizes were chosen by measuring (see the suite's card): an autoencoder of factor 8 with 8 latent channels, because the
cost of everything generative grows with the 8 x 8 latent grid and 4 channels cannot carry 25 dB at this size; one
norm group in the autoencoder, because with few channels a group GroupNorm erases the mean colour.

Wan's autoencoder has the real one's compression (8 x 8 pixels, 4 frames after the first) and 16 channels. Its clips
have 9 frames, 4k + 1 being what the compression allows; six-frame clips come as nine of which some are repeated, as
the decoder of a method brings them (`bench/pretrained/decoders.py`). Its text encoder has Wan's interface (UMT5) with
a word a token, because captions here are made of few words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeVar

from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    DDIMScheduler,
    MotionAdapter,
    SparseControlNetModel,
    UNet2DConditionModel,
    WanTransformer3DModel,
)
from open_clip import CLIP
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessor,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTModel,
    XCLIPConfig,
    XCLIPModel,
)

from bench.datasets.phantom.stimuli import FRAME_CLASSES, FRAME_TIMES, VIDEO_CLASSES

Network = TypeVar("Network", bound=nn.Module)
SIZE, FACTOR, FRAMES = 64, 8, len(FRAME_TIMES)
LATENT_SIZE = SIZE // FACTOR
LATENT_CHANNELS = 8
TEXT_WIDTH = 48
TOKENS = 77
WAN_FRAMES = 9
WAN_CHANNELS = 16
WAN_LATENT = (3, SIZE // FACTOR, SIZE // FACTOR)  # of nine frames
WAN_TEXT_WIDTH = 96
ACTION_FRAMES, ACTION_WIDTH = 8, 96
HALF = [0.5, 0.5, 0.5]  # mean and deviation that bring pixels to [-1, 1]
VIT: dict[str, Any] = {  # both judges and DINO
    "image_size": SIZE,
    "patch_size": 8,
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
}
UNET: dict[str, Any] = {  # the UNet and the sparse control network that starts from it
    "block_out_channels": (64, 128),
    "layers_per_block": 1,
    "cross_attention_dim": TEXT_WIDTH,
    "attention_head_dim": 4,  # diffusers' name for the number of heads
    "norm_num_groups": 8,
}


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
    config = VideoMAEConfig(
        **VIT,
        **_labels(VIDEO_CLASSES),
        num_frames=FRAMES,
        tubelet_size=2,
        intermediate_size=384,
        use_mean_pooling=True,
    )
    return VideoMAEForVideoClassification(config)


def make_frame_judge() -> ViTForImageClassification:
    """Labels are the object-scene classes: the published metrics need more than 42 of them (top three of 40-way)."""
    return ViTForImageClassification(ViTConfig(**VIT, **_labels(FRAME_CLASSES), intermediate_size=256))


def make_dino() -> ViTModel:
    """As the frame judge, but without labels and without the pooler, which DINO does not use."""
    return ViTModel(ViTConfig(**VIT, intermediate_size=256), add_pooling_layer=False)


def make_frame_processor() -> ViTImageProcessor:
    size = {"height": SIZE, "width": SIZE}
    return ViTImageProcessor(size=size, image_mean=HALF, image_std=HALF)


def make_clip_processor() -> VideoMAEImageProcessor:
    crop = {"height": SIZE, "width": SIZE}
    return VideoMAEImageProcessor(size={"shortest_edge": SIZE}, crop_size=crop, image_mean=HALF, image_std=HALF)


def _labels(names: tuple[str, ...]) -> dict[str, dict]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}


# The bundled tokenizer has 49,408 words, so the words' table is most of the network: hence a narrow text encoder. The
# captions have at most a dozen words, hence a short context.
CLIP_CONFIG: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": SIZE, "patch_size": 8, "width": 128, "layers": 4, "head_width": 32},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
}
CLIP_PREPROCESSING = {"mean": HALF, "std": HALF, "interpolation": "bicubic", "resize_mode": "shortest"}


def make_clip() -> CLIP:
    """open_clip's own class, from the configuration that is saved beside its weights."""
    return CLIP(**CLIP_CONFIG)


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


def make_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        **UNET,
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
    )


def make_motion_adapter() -> MotionAdapter:
    adapter = MotionAdapter(
        block_out_channels=UNET["block_out_channels"],
        motion_layers_per_block=UNET["layers_per_block"],
        motion_num_attention_heads=UNET["attention_head_dim"],
        motion_norm_num_groups=UNET["norm_num_groups"],
        motion_max_seq_length=32,
        use_motion_mid_block=True,
    )
    return _silence_motion(adapter)


def make_sparse_control() -> SparseControlNetModel:
    control = SparseControlNetModel(
        **UNET,
        in_channels=LATENT_CHANNELS,
        conditioning_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlockMotion",) * 2,
        motion_num_attention_heads=UNET["attention_head_dim"],
    )
    return _silence_motion(control)


def _silence_motion(network: Network) -> Network:
    """Motion's output projections start at zero: random ones would destroy what the image network has learned."""
    for name, weight in network.named_parameters():
        if "motion_modules" in name and ".proj_out." in name:
            weight.data.zero_()
    return network


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
    config = UMT5Config(
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
    return UMT5EncoderModel(config)


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
        "max_position_embeddings": TOKENS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = XCLIPConfig(text_config=text, vision_config=vision, projection_dim=64, prompt_num_attention_heads=4)
    model = XCLIPModel(config)
    model.mit.position_embedding.data.normal_(std=0.5)  # at the default, 0.02, the order of frames is hardly seen
    return model
