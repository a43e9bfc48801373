"""The Regional Semantic Mapper (RSM): from EEG to embeddings of text and image, and to the concept.

    regions, one stack of convolutions each → mean over time → common embedding → heads for text, image, category

Loss = .31 InfoNCE(text) + .11 InfoNCE(image) + .48 CE(category), tau .07. Where the sources leave a choice:

- The paper speaks of a gating between two streams; its SEED-DV class has none, nor has this.
- The heads for face, number, colour and so on have weight 0 in the released configuration: they are left out.
- The released code sets every convolution's weights to 1, so that all filters of a layer begin as the same one. Here
  they begin as torch's do; `init="ones"` is the released form.
- In a batch, trials that show the same caption (for the text) or the same clip (for the image) are answers to each
  other as good as their own, not wrong ones: several subjects see each clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from baselines.dynamind.regions import assign_regions


class Embeddings(NamedTuple):
    """What the mapper says of some trials; None for a head that it does not have."""

    common: Float[Tensor, "trial width"]
    text: Float[Tensor, "trial text"] | None
    image: Float[Tensor, "trial image"] | None

    def conditions(self) -> list[Float[Tensor, "trial _"]]:
        """All that there are, at a scale of 1 a number: what the prior is given."""
        return [scale(one) for one in (self.common, self.text, self.image) if one is not None]


class RegionStack(nn.Module):
    """Three convolutions over time (kernel 3), each with norm, GELU and pooling by 2, then the mean over time."""

    def __init__(self, channels: int, filters: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for given, made in zip((channels, *filters), filters, strict=False):
            layers += [nn.Conv1d(given, made, 3, padding=1), nn.BatchNorm1d(made), nn.GELU(), nn.MaxPool1d(2)]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten())

    def forward(self, signals: Float[Tensor, "trial channel time"]) -> Float[Tensor, "trial filter"]:
        return self.layers(signals)


class RegionalMapper(nn.Module):
    """RSM. A width of 0 for text or image takes that head away; 0 categories likewise."""

    def __init__(
        self,
        channels: Sequence[str],
        *,
        layout: str,
        leave_out: Sequence[str],
        filters: Sequence[int],
        hidden: int,
        width: int,
        dropout: float,
        text: int,
        text_hidden: int,
        image: int,
        categories: int,
        init: str = "random",
    ) -> None:
        super().__init__()
        self.members = {
            region: indices
            for region, indices in assign_regions(channels, layout).items()
            if indices and region not in leave_out
        }
        self.stacks = nn.ModuleDict({name: RegionStack(len(rows), filters) for name, rows in self.members.items()})
        self.common = nn.Sequential(
            nn.Linear(len(self.members) * filters[-1], hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
        )
        self.text = (
            nn.Sequential(
                nn.Linear(width, text_hidden),
                nn.Linear(text_hidden, text_hidden),
                nn.Linear(text_hidden, text),
                nn.LayerNorm(text),
            )
            if text
            else None
        )
        self.image = nn.Sequential(nn.Linear(width, image), nn.LayerNorm(image)) if image else None
        self.category = (
            nn.Sequential(nn.Linear(width, text_hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(text_hidden, categories))
            if categories
            else None
        )
        if init == "ones":
            for module in self.stacks.modules():
                if isinstance(module, nn.Conv1d):
                    nn.init.ones_(module.weight)

    def forward(self, signals: Float[Tensor, "trial channel time"]) -> Embeddings:
        parts = [self.stacks[name](signals[:, rows]) for name, rows in self.members.items()]
        common = self.common(torch.cat(parts, dim=1))
        return Embeddings(
            common,
            None if self.text is None else self.text(common),
            None if self.image is None else self.image(common),
        )

    @property
    def parameter_count(self) -> int:
        """Of all but the category head, which no reconstruction passes through."""
        parts = [self.stacks, self.common, *(one for one in (self.text, self.image) if one is not None)]
        return sum(one.numel() for part in parts for one in part.parameters())


class Answers(NamedTuple):
    """What the mapper is to say of each clip, and which clips are alike."""

    text: Float[Tensor, "caption text"]  # off the device: read for the clips of a batch
    caption: Int64[Tensor, " clip"]  # row of `text`: equal captions, equal numbers
    image: Float[Tensor, "clip image"]
    category: Int64[Tensor, " clip"]


def measure_mapping(
    mapper: RegionalMapper,
    signals: Float[Tensor, "trial channel time"],
    clip: Int64[Tensor, " trial"],
    answers: Answers,
    weights: tuple[float, float, float],
    temperature: float,
) -> Float[Tensor, ""]:
    """The loss of the mapper; `weights` are those of text, image and category."""
    said = mapper(signals)
    loss = said.common.new_zeros(())
    if said.text is not None:
        caption = answers.caption[clip]
        true = answers.text[caption.to(answers.text.device)].to(said.text.device)
        loss = loss + weights[0] * info_nce(said.text, true, caption, temperature)
    if said.image is not None:
        loss = loss + weights[1] * info_nce(said.image, answers.image[clip], clip, temperature)
    if mapper.category is not None:
        loss = loss + weights[2] * functional.cross_entropy(mapper.category(said.common), answers.category[clip])
    return loss


def info_nce(
    said: Float[Tensor, "trial d"], true: Float[Tensor, "trial d"], alike: Int64[Tensor, " trial"], temperature: float
) -> Float[Tensor, ""]:
    """InfoNCE both ways; trials with the same number in `alike` share the right answer."""
    scores = functional.normalize(said, dim=1) @ functional.normalize(true, dim=1).T / temperature
    right = (alike[:, None] == alike[None, :]).to(scores)
    right = right / right.sum(dim=1, keepdim=True)
    return -(right * (scores.log_softmax(dim=1) + scores.T.log_softmax(dim=1))).sum(dim=1).mean() / 2


def scale(embedding: Float[Tensor, "trial d"]) -> Float[Tensor, "trial d"]:
    """Of unit mean square."""
    return functional.normalize(embedding, dim=1) * embedding.shape[1] ** 0.5
