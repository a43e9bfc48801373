"""CineNeuron's networks (LoRA apart), and the way from fMRI to the decoder's condition (Figure 2).

    f^c, f^e = f(x)  →  router and retrieval  →  fusion  →  f^fuse

What conditions the decoder (`condition`): "fused" is the paper's f^fuse; "text" the top-1 retrieved text alone, as in
Table 4 without the Mixture-of-Memories; "fmri" the fMRI embedding alone (Table 6, without integration).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from bench.toolbox.encoded import CaptionTokens
from bench.toolbox.sizes import PaperPart, count_parameters
from methods.cine_neuron.alignment import Alignment
from methods.cine_neuron.brain_model import BrainModel
from methods.cine_neuron.integration import Fusion, ScaledProjection, fill_tokens
from methods.cine_neuron.memory import MemoryPool, Router, retrieve, score_entries
from methods.cine_neuron.parameters import Parameters

WAN: dict[str, Any] = {  # the transformer of Wan 2.1 1.3B, from the configuration of its release in diffusers' format
    "patch_size": (1, 2, 2),
    "num_attention_heads": 12,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 8960,
    "num_layers": 30,
}


@dataclass(frozen=True)
class Memories:
    """The pool that is searched, and the texts of its entries in the decoder's tokens."""

    pool: MemoryPool
    texts: CaptionTokens
    caption: Int64[Tensor, " entry"]  # row of `texts` of each entry

    def read_texts(self, entries: Int64[Tensor, " trial"]) -> Float[Tensor, "trial token width"]:
        return self.texts[self.caption[entries]].to(entries.device)


class Networks(nn.Module):
    """The Brain Model, its heads, the router and the fusion: those that the variant needs."""

    def __init__(
        self,
        brain: BrainModel,
        alignment: Alignment,
        *,
        width: int,
        action: int,
        text: int,
        heads: int,
        condition: str,
        modalities: tuple[str, ...],
        router: str,
        query: str,
        memories: int,
        alpha: float,
        residual: bool,
    ) -> None:
        """`width` of f^e, `action` and `text`: widths of the action embeddings and of the decoder's text tokens,
        `memories`: K."""
        super().__init__()
        self.brain, self.alignment = brain, alignment
        self.condition, self.modalities, self.query, self.memories = condition, modalities, query, memories
        searched = condition != "fmri"
        self.router = (
            Router(width, len(modalities)) if searched and router == "learned" and len(modalities) > 1 else None
        )
        self.fusion: Fusion | ScaledProjection | None = None
        if condition == "fused":
            self.fusion = Fusion(
                width=width,
                image=brain.embedding,
                action=action,
                text=text,
                heads=heads,
                alpha=alpha,
                residual=residual,
            )
        elif condition == "fmri":
            self.fusion = ScaledProjection(width, text)

    def ask(
        self, f_c: Float[Tensor, "trial embedding"], f_e: Float[Tensor, "trial token width"]
    ) -> tuple[dict[str, Float[Tensor, "trial width"]], Float[Tensor, "trial modality"]]:
        """A query for each modality, and the modalities' weights, equation (4)."""
        seen = f_c if self.query == "global" else self.brain.project(f_e.mean(dim=1))
        queries = {name: self.alignment.action(seen) if name == "action" else seen for name in self.modalities}
        if self.router is None:
            return queries, seen.new_full((len(seen), len(queries)), 1 / len(queries))
        return queries, self.router(f_e)

    def score(
        self, f_c: Float[Tensor, "trial embedding"], f_e: Float[Tensor, "trial token width"], pool: MemoryPool
    ) -> Float[Tensor, "trial entry"]:
        """Mixture scores, equation (5), with gradients: for a pool that is a batch."""
        return score_entries(*self.ask(f_c, f_e), pool)

    def make_condition(
        self,
        f_c: Float[Tensor, "trial embedding"],
        f_e: Float[Tensor, "trial token width"],
        memories: Memories,
        *,
        exclude: Int64[Tensor, " trial"] | None = None,
        told: Int64[Tensor, " trial"] | None = None,
    ) -> Float[Tensor, "trial token text"]:
        """What the decoder is given; `exclude`: an entry that a trial may not retrieve; `told`: one whose text it is
        given in place of the best entry's, or −1."""
        if isinstance(self.fusion, ScaledProjection):
            return fill_tokens(self.fusion(f_e), memories.texts.tokens)
        k = self.memories if self.fusion is not None else 1
        _, entries = retrieve(*self.ask(f_c, f_e), memories.pool, k=k, exclude=exclude)
        best = entries[:, 0] if told is None else torch.where(told < 0, entries[:, 0], told)
        text = memories.read_texts(best)
        if self.fusion is None:
            return text
        images, actions = (memories.pool.embeddings[name][entries] for name in ("image", "action"))
        return self.fusion(f_e, images, actions, text)

    @property
    def parameter_count(self) -> int:
        """Numbers that a reconstruction passes through: neither phi_v, which makes memories, nor phi_c, for a loss."""
        parts: list[nn.Module | None] = [self.brain, self.router, self.fusion]
        if self.condition != "fmri" and "action" in self.modalities:
            parts.append(self.alignment.action)
        return sum(one.numel() for part in parts if part is not None for one in part.parameters())


def build_networks(
    parameters: Parameters,
    *,
    volumes: int,
    voxels: Mapping[int, np.ndarray],
    embedding: int,
    action: int,
    categories: int,
    text: int,
) -> Networks:
    """The untrained networks: `voxels` are each subject's columns, the rest widths of what the encoders give."""
    if parameters.match_base:
        parameters = match_capacity(
            parameters, volumes=volumes, voxels=voxels, embedding=embedding, action=action, text=text
        )
    brain = BrainModel(
        volumes=volumes,
        tokens=parameters.tokens,
        channels=parameters.token_channels,
        width=parameters.width,
        layers=parameters.layers,
        heads=parameters.heads,
        feedforward=parameters.feedforward,
        dropout=parameters.dropout,
        embedding=embedding,
        straight=parameters.first_layer == "solved",
        checkpointing=parameters.checkpointing,
    )
    for number, columns in voxels.items():
        brain.add_subject(number, torch.as_tensor(columns))
    alignment = Alignment(embedding=embedding, action=action, categories=categories, dropout=parameters.dropout)
    return Networks(
        brain,
        alignment,
        width=parameters.width,
        action=action,
        text=text,
        heads=parameters.heads,
        condition=parameters.condition,
        modalities=parameters.modalities,
        router=parameters.router,
        query=parameters.query,
        memories=parameters.memories,
        alpha=parameters.alpha,
        residual=parameters.residual,
    )


def match_capacity(parameters: Parameters, **widths: Any) -> Parameters:
    """The parameters with the feed-forward layer so wide that the networks count what the base's count, to half a unit.

    The base is these parameters with all of the Mixture-of-Memories; `widths` are `build_networks`' but for the
    categories, which are in no reconstruction's way. LoRA is no part of it.
    """
    plain = Parameters()
    parameters = dataclasses.replace(parameters, match_base=False)
    base = dataclasses.replace(
        parameters, **{name: getattr(plain, name) for name in ("condition", "modalities", "router")}
    )
    with torch.device("meta"):
        wanted, found = (build_networks(one, categories=1, **widths).parameter_count for one in (base, parameters))
    unit = parameters.layers * (2 * parameters.width + 1)  # numbers that one more hidden unit brings
    return dataclasses.replace(parameters, feedforward=parameters.feedforward + round((wanted - found) / unit))


def list_paper_parts(parameters: Parameters, *, voxels: int = 8405, volumes: int = 5) -> list[PaperPart]:
    """The parts for one subject with so many voxels and volumes a trial: CineBrain's visual cortex, 4 s at TR 0.8 s."""
    from diffusers import WanTransformer3DModel

    from bench.pretrained.decoders import attach_lora, list_lora

    networks = build_networks(
        parameters,
        volumes=volumes,
        voxels={1: np.arange(voxels)},
        embedding=768,  # CLIP L/14
        action=768,  # ViCLIP L/14
        categories=20,  # the paper does not give its superclasses
        text=WAN["text_dim"],
    )
    wan = WanTransformer3DModel(**WAN)
    lora = list_lora(attach_lora(wan, rank=parameters.lora_rank, scale=parameters.lora_scale))
    first = networks.brain.inputs
    transformer = count_parameters(networks.brain) - count_parameters(first)
    return [
        ("Brain Model, transformer", transformer, "24 layers, width 2048, 512 + 1 tokens"),
        (f"Brain Model, input layer of {voxels:,} voxels", first, "a first regression layer"),
        ("heads: frames, actions, categories", networks.alignment, "not given"),
        ("router", networks.router, "not given"),
        ("fusion", networks.fusion, "two cross-attentions, two zero-convolutions"),
        (f"LoRA, rank {parameters.lora_rank}", lora, "rank 16, scale 16"),
        ("Wan 2.1, frozen", wan, "1.3B"),
        ("trained together", [*networks.parameters(), *lora], "not given"),
    ]
