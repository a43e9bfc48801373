"""Networks with the attribute names of released code, for state dicts in its layout; written anew, each with a forward.

Sources, by file and line of the commits that the pages name: MinD-Video `models/fmri_encoder.py:237`, GLFA
`models/utils.py:403` and `models/LocallyConnected2d.py:22`, CineSync `fmri_encoder_custom.py:120` and
`eeg_encoder_custom.py:98`, Mind-Animator `models/Decoder.py`, NeuroClips `src/Semantic.py:11`, EEG2Video
`my_autoregressive_transformer.py:119`, `eeg_text.py:11` and `EEG-VP/models.py:392`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Bag(nn.Module):
    """A module that holds what it is given by name."""

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """All numbers drawn, those that start at a constant too; running variances stay positive."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.is_floating_point():
                drawn = 0.3 * torch.randn(tensor.shape, generator=generator)
                tensor.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
    return module.eval()


# timm's attention and MLP, and the blocks of MinD-Video and GLFA


def timm_attention(width: int) -> Bag:
    return Bag(qkv=nn.Linear(width, 3 * width), proj=nn.Linear(width, width))


def timm_mlp(width: int, hidden: int) -> Bag:
    return Bag(fc1=nn.Linear(width, hidden), fc2=nn.Linear(hidden, width))


def attend(part: Any, hidden: Tensor, heads: int) -> Tensor:
    n, places, width = hidden.shape
    q, k, v = part.qkv(hidden).view(n, places, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    shares = (q @ k.transpose(2, 3) / math.sqrt(width // heads)).softmax(3)
    return part.proj((shares @ v).transpose(1, 2).reshape(n, places, width))


def block(width: int, hidden: int, *, temporal: bool) -> Bag:
    made = Bag(
        norm1=nn.LayerNorm(width),
        attn=timm_attention(width),
        norm2=nn.LayerNorm(width),
        mlp=timm_mlp(width, hidden),
    )
    if temporal:
        made.attn_temp, made.norm_temp = timm_attention(width), nn.LayerNorm(width)
    return made


def run_block(part: Any, hidden: Tensor, heads: int, volumes: int) -> Tensor:
    """Trials × volumes are the first dimension, as in the release."""
    hidden = hidden + attend(part.attn, part.norm1(hidden), heads)
    if hasattr(part, "attn_temp"):
        turned = hidden.unflatten(0, (-1, volumes)).transpose(1, 2).flatten(0, 1)
        turned = turned + attend(part.attn_temp, part.norm_temp(turned), heads)
        hidden = turned.unflatten(0, (-1, hidden.shape[1])).transpose(1, 2).flatten(0, 1)
    return hidden + part.mlp.fc2(functional.gelu(part.mlp.fc1(part.norm2(hidden))))


def mind_video(*, patches: int, patch: int, width: int, layers: int, volumes: int, tokens: int, text: int) -> Any:
    return Bag(
        patch_embed=Bag(proj=nn.Conv1d(1, width, patch, patch)),
        cls_token=nn.Parameter(torch.zeros(1, 1, width)),
        pos_embed=nn.Parameter(torch.zeros(1, patches + 1, width)),
        blocks=nn.ModuleList(block(width, 2 * width, temporal=True) for _ in range(layers)),
        norm=nn.LayerNorm(width),
        mask_token=nn.Parameter(torch.zeros(1, 1, width)),
        proj_head=Bag(
            projection=nn.Linear(width, text, bias=False),
            fc=nn.Linear(text, text, bias=False),
            channel_mapper=nn.Linear(patches * volumes, tokens, bias=False),
        ),
        logit_scale=nn.Parameter(torch.ones([])),
    )


def run_mind_video(made: Any, fmri: Tensor, heads: int) -> Tensor:
    """fmri: (trial, volume, voxel)."""
    volumes = fmri.shape[1]
    hidden = made.patch_embed.proj(fmri.flatten(0, 1)[:, None]).transpose(1, 2) + made.pos_embed[:, 1:]
    for part in made.blocks:
        hidden = run_block(part, hidden, heads, volumes)
    seen = made.norm(hidden).unflatten(0, (-1, volumes)).flatten(1, 2)
    return project_head(made.proj_head, made.proj_head.channel_mapper(seen.transpose(1, 2)).transpose(1, 2))


def project_head(head: Any, tokens: Tensor) -> Tensor:
    projected = head.projection(tokens)
    return projected + head.fc(functional.gelu(projected))


def glfa(*, side: int, patch: int, kernel: int, width: int, volumes: int, tokens: int, text: int) -> Any:
    places = (side // patch) ** 2
    seen = volumes * (places + 1)
    align = Bag(
        weight=nn.Parameter(torch.zeros(1, 1, 1, side, side, kernel**2)),
        global_align_weight=nn.Parameter(torch.zeros(1, 1, places, places)),
    )
    transformer = Bag(
        patch_embed=Bag(proj=nn.Conv2d(1, width, patch, patch)),
        cls_token=nn.Parameter(torch.zeros(1, 1, width)),
        pos_embed=nn.Parameter(torch.zeros(1, places + 1, width)),
        blocks=nn.ModuleList(block(width, 4 * width, temporal=False) for _ in range(2)),
        norm=nn.LayerNorm(width),
    )
    project = Bag(
        cond_state_transform=Bag(
            projection=nn.Linear(width, text, bias=False),
            fc=nn.Linear(text, text, bias=False),
            channel_mapper=nn.Sequential(
                nn.Linear(seen, seen // 4, bias=False), nn.Linear(seen // 4, tokens, bias=False)
            ),
        ),
        attn=block(width, width, temporal=True),
    )
    fewer, few = max(1, tokens // 4), max(1, tokens // 16)
    clip = Bag(
        channel_mapper=nn.Sequential(
            nn.Conv1d(tokens, fewer, 1, bias=False), nn.Dropout(0.0), nn.Conv1d(fewer, few, 1, bias=False),
            nn.Dropout(0.0), nn.Conv1d(few, 1, 1, bias=False),
        ),
        dim_mapper=nn.Linear(text, text),
    )  # fmt: skip
    return Bag(
        func_align_layer=align,
        fmri_encoder=Bag(transformer=transformer),
        fmri_encoder_proj=project,
        fmri2clip=clip,
        logit_scale=nn.Parameter(torch.ones([])),
    )


def run_glfa(made: Any, pictures: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """pictures: (trial, volume, side, side), all of them drawn; the map is run by the product's own closed form."""
    body, head, volumes = made.fmri_encoder.transformer, made.fmri_encoder_proj, pictures.shape[1]
    hidden = body.patch_embed.proj(pictures.flatten(0, 1)[:, None]).flatten(2).transpose(1, 2)
    first = (body.cls_token + body.pos_embed[:, :1]).expand(len(hidden), -1, -1)
    hidden = torch.cat([first, hidden + body.pos_embed[:, 1:]], dim=1)
    for part in body.blocks:
        hidden = run_block(part, hidden, heads, volumes)
    hidden = run_block(head.attn, body.norm(hidden), heads, volumes)
    seen = hidden.unflatten(0, (-1, volumes)).flatten(1, 2)
    tokens = project_head(
        head.cond_state_transform, head.cond_state_transform.channel_mapper(seen.transpose(1, 2)).transpose(1, 2)
    )
    return made.fmri2clip.dim_mapper(made.fmri2clip.channel_mapper(tokens))[:, 0], tokens


# CineSync


def cinesync_layer(width: int) -> Bag:
    attention = Bag(**{f"{name}_proj": nn.Linear(width, width) for name in ("q", "k", "v", "out")})
    return Bag(
        self_attn=attention,
        feed_forward=timm_mlp(width, 4 * width),
        norm1=nn.LayerNorm(width),
        norm2=nn.LayerNorm(width),
    )


def run_cinesync_layer(part: Any, hidden: Tensor, heads: int) -> Tensor:
    own, normed = part.self_attn, part.norm1(hidden)
    q, k, v = (
        layer(normed).unflatten(2, (heads, -1)).transpose(1, 2) for layer in (own.q_proj, own.k_proj, own.v_proj)
    )
    shares = (q @ k.transpose(2, 3) / math.sqrt(q.shape[3])).softmax(3)
    hidden = hidden + own.out_proj((shares @ v).transpose(1, 2).flatten(2))
    return hidden + part.feed_forward.fc2(functional.gelu(part.feed_forward.fc1(part.norm2(hidden))))


def cinesync(*, voxels: int, channels: int, width: int, tokens: int, clip: int, text: int) -> Any:
    """Both encoders as the checkpoint has them, with something of the video model and of the losses beside them."""

    def ends() -> dict[str, Any]:
        return {
            "cls_token": nn.Parameter(torch.zeros(1, 1, width)),
            "pos_embed": nn.Parameter(torch.zeros(1, tokens + 1, width)),
            "out_proj": nn.Linear(width, width),
            "cls_proj": nn.Linear(width, clip),
        }

    layers = [nn.ModuleList(cinesync_layer(width) for _ in range(2)) for _ in range(2)]
    fmri = Bag(
        channel_proj=nn.Linear(5, width),
        spatial_proj=nn.Linear(voxels, tokens),
        transformer=Bag(layers=layers[0]),
        **ends(),
    )
    eeg = Bag(input_proj=nn.Conv1d(5 * channels, width, 1), encoder_layers=layers[1], **ends())
    embedder = Bag(
        fmri_encoder=fmri,
        eeg_encoder=eeg,
        fmri_eeg_linear=nn.Linear(2 * width, text),
        v_clip_linear=nn.Conv1d(33, 1, 1),
    )
    return Bag(
        conditioner=Bag(embedders=nn.ModuleList([embedder])), model=Bag(diffusion_model=Bag(proj=nn.Linear(2, 2)))
    )


def run_cinesync(made: Any, signals: Tensor, heads: int, *, fmri: bool) -> tuple[Tensor, Tensor]:
    """signals: (trial, 5, voxel) or (trial, 5, channel, sample). The other kind's tokens are taken for zeros."""
    embedder = made.conditioner.embedders[0]
    if fmri:
        own = embedder.fmri_encoder
        hidden = own.spatial_proj(own.channel_proj(signals.transpose(1, 2)).transpose(1, 2)).transpose(1, 2)
        layers = own.transformer.layers
    else:
        own = embedder.eeg_encoder
        pooled = functional.adaptive_avg_pool1d(own.input_proj(signals.flatten(1, 2)), own.pos_embed.shape[1] - 1)
        hidden, layers = pooled.transpose(1, 2), own.encoder_layers
    hidden = torch.cat([own.cls_token.expand(len(hidden), -1, -1), hidden], dim=1) + own.pos_embed
    for layer in layers:
        hidden = run_cinesync_layer(layer, hidden, heads)
    tokens = own.out_proj(hidden)[:, 1:]
    both = [tokens, torch.zeros_like(tokens)] if fmri else [torch.zeros_like(tokens), tokens]
    return own.cls_proj(hidden[:, 0]), embedder.fmri_eeg_linear(torch.cat(both, dim=2))


# Mind-Animator


def voxel_blocks(voxels: int, width: int, blocks: int) -> dict[str, Any]:
    return {
        "lin0": nn.Sequential(nn.Linear(voxels, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(0.3)),
        "mlp": nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(0.15))
            for _ in range(blocks)
        ),
    }


def run_residual(made: Any, voxels: Tensor) -> Tensor:
    hidden = made.lin0(voxels)
    for part in made.mlp:
        hidden = hidden + part(hidden)
    return hidden


def semantic_decoder(*, voxels: int, width: int, blocks: int, hidden: tuple[int, int], numbers: int) -> Any:
    layers: list[nn.Module] = []
    for before, after in ((width, hidden[0]), hidden, (hidden[1], numbers)):
        layers += [nn.LayerNorm(before), nn.GELU(), nn.Linear(before, after)]
    return Bag(
        logit_scale=nn.Parameter(torch.ones([])), lin1=nn.Sequential(*layers), **voxel_blocks(voxels, width, blocks)
    )


def structure_decoder(*, voxels: int, width: int, blocks: int, numbers: int) -> Any:
    return Bag(
        lin0=nn.Sequential(nn.Linear(voxels, width), nn.Dropout(0.2)),
        mlp=nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.Dropout(0.2)) for _ in range(blocks)),
        lin1=nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, numbers)),
    )


def annotated_norm(width: int) -> Bag:
    return Bag(a_2=nn.Parameter(torch.ones(width)), b_2=nn.Parameter(torch.zeros(width)))


def motion_decoder(*, voxels: int, width: int, inner: int, frame: int, feedforward: int, layers: int) -> Any:
    def attention() -> Bag:
        return Bag(linears=nn.ModuleList(nn.Linear(frame, inner) for _ in range(3)), linears1=nn.Linear(inner, frame))

    def layer() -> Bag:
        return Bag(
            self_attn=attention(),
            src_attn=attention(),
            feed_forward=Bag(w_1=nn.Linear(frame, feedforward), w_2=nn.Linear(feedforward, frame)),
            sublayer=nn.ModuleList(Bag(norm=annotated_norm(frame)) for _ in range(3)),
        )

    position = nn.Module()
    position.register_buffer("pe", torch.zeros(1, 10, frame))
    return Bag(
        encoder=Bag(lin1=nn.Linear(width, frame), **voxel_blocks(voxels, width, 1)),
        decoder=Bag(layers=nn.ModuleList(layer() for _ in range(layers)), norm=annotated_norm(frame)),
        tgt_embed=nn.Sequential(nn.Identity(), position),
    )


def run_motion(made: Any, voxels: Tensor, frames: Tensor, heads: int) -> Tensor:
    """frames: (trial, frame, number), positions already added; every frame asks itself and those before it."""

    def norm(part: Any, hidden: Tensor) -> Tensor:
        centred = hidden - hidden.mean(-1, keepdim=True)
        return part.a_2 * centred / (hidden.std(-1, keepdim=True) + 1e-6) + part.b_2

    def ask(part: Any, asking: Tensor, asked: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (
            layer(one).unflatten(2, (heads, -1)).transpose(1, 2)
            for layer, one in zip(part.linears, (asking, asked, asked), strict=True)
        )
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
        if mask is not None:
            scores = scores.masked_fill(mask, -1e9)
        return part.linears1((scores.softmax(3) @ v).transpose(1, 2).flatten(2))

    memory = made.encoder.lin1(run_residual(made.encoder, voxels))[:, None]
    barred = torch.ones(frames.shape[1], frames.shape[1], dtype=torch.bool).triu(1)
    for layer in made.decoder.layers:
        norms = [part.norm for part in layer.sublayer]
        frames = frames + norm(norms[0], ask(layer.self_attn, frames, frames, barred))
        frames = frames + norm(norms[1], ask(layer.src_attn, frames, memory, None))
        frames = frames + norm(norms[2], layer.feed_forward.w_2(functional.relu(layer.feed_forward.w_1(frames))))
    return norm(made.decoder.norm, frames)


# NeuroClips' semantic reconstructor


def mixers(width: int, blocks: int, *, deep: bool) -> dict[str, Any]:
    def mixer(size: int) -> nn.Sequential:
        layers = [nn.Linear(size, size), nn.GELU(), nn.Dropout(0.15)]
        return nn.Sequential(nn.LayerNorm(size), nn.Sequential(*layers, *([nn.Linear(size, size)] if deep else [])))

    return {
        "mixer_blocks1": nn.ModuleList(mixer(width) for _ in range(blocks)),
        "mixer_blocks2": nn.ModuleList(mixer(1) for _ in range(blocks)),
    }


def run_mixers(made: Any, hidden: Tensor) -> Tensor:
    """hidden: (trial, width), a sequence of one."""
    hidden = hidden[:, None]
    left, turned = hidden, hidden.transpose(1, 2)
    for across, along in zip(made.mixer_blocks1, made.mixer_blocks2, strict=True):
        left = across(hidden) + left
        turned = along(left.transpose(1, 2)) + turned
        hidden = turned.transpose(1, 2)
    return hidden[:, 0]


def neuroclips(*, voxels: int, width: int, blocks: int, tokens: int, embedding: int) -> Any:
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.LayerNorm(embedding), nn.GELU(), nn.Linear(embedding, embedding)]
    backbone = Bag(
        backbone_linear=nn.Linear(width, tokens * embedding),
        clip_proj=nn.Sequential(*layers),
        **mixers(width, blocks, deep=True),
    )
    return Bag(
        ridge=Bag(linears=nn.ModuleList([nn.Linear(voxels, width)])),
        backbone=backbone,
        clipproj=Bag(proj=nn.Parameter(torch.zeros(embedding, 3))),
    )


def run_neuroclips(made: Any, voxels: Tensor, embedding: int) -> Tensor:
    hidden = run_mixers(made.backbone, made.ridge.linears[0](voxels))
    return made.backbone.clip_proj(made.backbone.backbone_linear(hidden).unflatten(1, (-1, embedding)))


# EEG2Video


def eeg2video_seq2seq(*, channels: int, width: int, frame: int, feedforward: int) -> Any:
    filters, many, pointwise = 16, 64, 16
    embedding = Bag(
        block_1=nn.Sequential(
            nn.ZeroPad2d((31, 32, 0, 0)), nn.Conv2d(1, filters, (1, 64), bias=False), nn.BatchNorm2d(filters)
        ),
        block_2=nn.Sequential(
            nn.Conv2d(filters, many, (channels, 1), groups=filters, bias=False),
            nn.BatchNorm2d(many), nn.ELU(), nn.AvgPool2d((1, 4)), nn.Dropout(0.5),
        ),
        block_3=nn.Sequential(
            nn.ZeroPad2d((7, 8, 0, 0)), nn.Conv2d(many, many, (1, 16), groups=many, bias=False),
            nn.Conv2d(many, pointwise, 1, bias=False), nn.BatchNorm2d(pointwise), nn.ELU(), nn.AvgPool2d((1, 8)),
            nn.Dropout(0.5),
        ),
        embedding=nn.Linear(48, width),
    )  # fmt: skip
    options = {"dim_feedforward": feedforward, "batch_first": True}
    position = nn.Module()
    position.register_buffer("pe", torch.zeros(1, 50, width))
    return Bag(
        embedding=nn.Embedding(10, width),
        img_embedding=nn.Linear(frame, width),
        eeg_embedding=embedding,
        transformer_encoder=nn.TransformerEncoder(nn.TransformerEncoderLayer(width, 4, **options), 2),
        transformer_decoder=nn.TransformerDecoder(nn.TransformerDecoderLayer(width, 4, **options), 4),
        positional_encoding=position,
        txtpredictor=nn.Linear(width, 13),
        predictor=nn.Linear(width, frame),
    )


def run_seq2seq(made: Any, windows: Tensor, positions: Tensor, frames: int) -> Tensor:
    """windows: (trial, 7, channel, 100). Tokens 0 to `frames`, the zero token first."""
    parts = made.eeg_embedding
    seen = parts.block_3(parts.block_2(parts.block_1(windows.flatten(0, 1)[:, None]))).flatten(1)
    memory = made.transformer_encoder(parts.embedding(seen).unflatten(0, windows.shape[:2]) + positions)
    tokens = torch.zeros_like(memory[:, :1])
    for _ in range(frames):
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        tokens = torch.cat([tokens, made.transformer_decoder(tokens, memory, tgt_mask=mask)[:, -1:]], dim=1)
    return made.predictor(tokens)


def eeg2video_semantic(*, features: int, hidden: int, numbers: int) -> Any:
    layers: list[nn.Module] = []
    for before in (features, hidden, hidden, hidden):
        layers += [nn.Linear(before, hidden), nn.ReLU()]
    return Bag(mlp=nn.Sequential(*layers, nn.Linear(hidden, numbers)))


def eeg2video_glmnet(*, features: int, local: int, hidden: tuple[int, int], embedding: int, classes: int) -> Any:
    def mlp(entering: int) -> Bag:
        first, second = hidden
        return Bag(
            net=nn.Sequential(
                nn.Flatten(), nn.Linear(entering, first), nn.GELU(), nn.Linear(first, second), nn.GELU(),
                nn.Linear(second, embedding),
            )
        )  # fmt: skip

    return Bag(globalnet=mlp(features), occipital_localnet=mlp(local), out=nn.Linear(2 * embedding, classes))
