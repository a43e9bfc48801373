"""All trained networks of CineNeuron but LoRA, and the way from fMRI to the decoder's condition (Figure 2).

    f^c, f^e = f(x)  →  router and retrieval  →  fusion  →  f^fuse

What conditions the decoder (`condition`): "fused" is the paper's f^fuse; "text" the top-1 retrieved text alone, as in
Table 4 without the Mixture-of-Memories; "fmri" the fMRI embedding alone (Table 6, without integration).
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor, nn

from bench.errors import BenchError
from methods.cine_neuron.alignment import Alignment
from methods.cine_neuron.brain_model import BrainModel
from methods.cine_neuron.integration import Fusion, ScaledProjection, fill_tokens
from methods.cine_neuron.memory import MODALITIES, MemoryPool, Router, retrieve, score_entries

CONDITIONS = ("fused", "text", "fmri")
ROUTERS = ("learned", "fixed")
QUERIES = ("global", "embedding")


@dataclass(frozen=True)
class Memories:
    """The pool that is searched, and the texts of its entries in the decoder's tokens, cut behind the longest."""

    pool: MemoryPool
    texts: Float[Tensor, "caption used width"]
    caption: Int64[Tensor, " entry"]  # row of `texts` of each entry
    tokens: int  # of a text as the decoder takes it: what is cut off is zero

    def read_texts(self, entries: Int64[Tensor, " trial"]) -> Float[Tensor, "trial token width"]:
        return fill_tokens(self.texts[self.caption[entries].to(self.texts.device)].to(entries.device), self.tokens)


def make_memories(pool: MemoryPool, texts: Float[Tensor, "caption token width"], caption: Tensor) -> Memories:
    """Memories whose texts are stored without the zeros that all of them end with (Wan pads 30 tokens to 512)."""
    used = (texts.abs().amax(dim=2) > 0).any(dim=0)
    last = int(used.nonzero().max()) + 1 if bool(used.any()) else 1
    return Memories(pool, texts[:, :last].clone(), caption, texts.shape[1])


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
        `memories`: K. Raises BenchError for a value that does not exist."""
        super().__init__()
        for name, value, allowed in (
            ("condition", condition, CONDITIONS),
            ("router", router, ROUTERS),
            ("query", query, QUERIES),
        ):
            if value not in allowed:
                raise BenchError(f"{name} {value!r} is none of {', '.join(allowed)}")
        if not modalities or len(set(modalities)) < len(modalities) or set(modalities) - set(MODALITIES):
            raise BenchError(f"modalities {list(modalities)} must be one or more of {', '.join(MODALITIES)}, each once")
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
    ) -> Float[Tensor, "trial token text"]:
        """What the decoder is given; `exclude`: an entry that a trial may not retrieve."""
        if isinstance(self.fusion, ScaledProjection):
            return fill_tokens(self.fusion(f_e), memories.tokens)
        k = self.memories if self.fusion is not None else 1
        _, entries = retrieve(*self.ask(f_c, f_e), memories.pool, k=k, exclude=exclude)
        text = memories.read_texts(entries[:, 0])
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
