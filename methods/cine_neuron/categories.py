"""Category learning (§3.1): which kinds of objects a clip shows, merged to superclasses, with BCE and focal loss.

Where the paper leaves a choice:

- Categories are MSCOCO's 80, named in captions by Qwen2.5-VL there. Here a list of words finds them, or a language
  model does: `ask` with `answer_by(model, tokenizer)`, of Qwen2.5-VL or another model of transformers. The list also
  holds the objects that SEED-DV's captions and the phantoms' name and MSCOCO lacks, such as a panda, under the
  superclass that they belong to.
- "Filtering and merging infrequent classes": a category that fewer than `least` clips show is merged into its
  supercategory (MSCOCO's twelve, and four more); a supercategory that is still too rare, or that every clip shows, is
  dropped. Frequent categories stay themselves.
- "A combination of BCE and focal loss" is their sum. Focal loss (Lin et al.) has gamma 2 and no class weights.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from bench.core.errors import BenchError

# supercategory -> its categories: the names of MSCOCO, then what its list lacks
MSCOCO: dict[str, tuple[str, ...]] = {
    "person": ("person",),
    "vehicle": ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    "outdoor": ("traffic light", "fire hydrant", "stop sign", "parking meter", "bench"),
    "animal": ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    "accessory": ("backpack", "umbrella", "handbag", "tie", "suitcase"),
    "sports": (
        *("frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard"),
        *("surfboard", "tennis racket"),
    ),
    "kitchen": ("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl"),
    "food": ("banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake"),
    "furniture": ("chair", "couch", "potted plant", "bed", "dining table", "toilet"),
    "electronic": ("tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    "appliance": ("microwave", "oven", "toaster", "sink", "refrigerator"),
    "indoor": ("book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
}
MORE: dict[str, tuple[str, ...]] = {
    "person": ("face", "couple", "crowd"),
    "exercise": ("boxing", "dancing", "running", "skiing"),
    "vehicle": ("hot air balloon", "ship"),
    "animal": ("panda", "rabbit", "fish", "jellyfish", "shark", "turtle"),
    "food": ("drink", "watermelon"),
    "plant": ("flower", "mushroom", "tree"),
    "place": ("beach", "building", "mountain", "road", "waterfall", "fireworks"),
    "instrument": ("drum", "guitar", "piano"),
}
SUPERCLASS = {name: group for table in (MSCOCO, MORE) for group, names in table.items() for name in names}
# other words that captions use for a category; plurals are found without being listed
SYNONYMS: dict[str, tuple[str, ...]] = {
    "person": ("man", "men", "woman", "women", "people", "boy", "girl", "child", "children", "player", "rider", "baby"),
    "airplane": ("plane", "aircraft", "jet"),
    "bicycle": ("bike",),
    "motorcycle": ("motorbike",),
    "boat": ("canoe", "kayak", "sailboat"),
    "cat": ("kitten",),
    "dog": ("puppy",),
    "horse": ("pony",),
    "cow": ("cattle", "calf"),
    "couch": ("sofa",),
    "cell phone": ("phone", "smartphone"),
    "tv": ("television",),
    "dining table": ("table",),
    "potted plant": ("houseplant",),
    "sports ball": ("football", "basketball", "soccer ball", "ball"),
    "donut": ("doughnut",),
    "refrigerator": ("fridge",),
    "mouse": ("computer mouse",),
}


Extractor = Callable[[Sequence[str]], list[frozenset[str]]]  # captions -> the categories that each names


def compile_words() -> re.Pattern[str]:
    """One pattern for all names and synonyms, the longest first: "hot dog" is no dog, "jellyfish" no fish."""
    words = sorted({*SUPERCLASS, *(word for words in SYNONYMS.values() for word in words)}, key=len, reverse=True)
    return re.compile(r"\b(" + "|".join(map(re.escape, words)) + r")(?:e?s)?\b", re.IGNORECASE)


WORDS = compile_words()
NAME_OF = {**{name: name for name in SUPERCLASS}, **{word: name for name, ws in SYNONYMS.items() for word in ws}}


def find_categories(caption: str) -> frozenset[str]:
    """Names of the categories that the caption's words name. A mouse is an animal more often than a device: a caption
    that means either is read as the device, and words of two senses ("orange", "remote") fool it likewise."""
    return frozenset(NAME_OF[match.group(1).lower()] for match in WORDS.finditer(caption))


def find_all_categories(captions: Sequence[str]) -> list[frozenset[str]]:
    return [find_categories(caption) for caption in captions]


def question(caption: str) -> str:
    """What to ask a language model (Qwen2.5-VL in the paper) about a caption; `ask` reads its answer."""
    names = ", ".join(name for names in MSCOCO.values() for name in names)
    return (
        f'Which of these categories does the video described as "{caption}" show? {names}. '
        "Answer with the names, separated by commas, or with: none."
    )


def ask(answer: Callable[[str], str], captions: Sequence[str]) -> list[frozenset[str]]:
    """Categories by a language model: `answer` maps a question to its text. Names that it invents are dropped."""
    known = {name for names in MSCOCO.values() for name in names}
    answers = [answer(question(caption)) for caption in captions]
    return [frozenset(name.strip(" .\n").lower() for name in text.split(",")) & known for text in answers]


def answer_by(model: Any, tokenizer: Any, *, tokens: int = 64) -> Callable[[str], str]:
    """The `answer` of `ask`, by a chat model of transformers, greedily: the same question, the same answer."""

    @torch.inference_mode()
    def answer(text: str) -> str:
        chat = [{"role": "user", "content": text}]
        asked = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        asked = {name: values.to(model.device) for name, values in asked.items()}
        made = model.generate(**asked, max_new_tokens=tokens, do_sample=False)
        return tokenizer.decode(made[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)

    return answer


@dataclass(frozen=True)
class Superclasses:
    """The classes that are learned, and which of them each category counts as."""

    names: tuple[str, ...]
    member: dict[str, str]  # category -> class; dropped categories are absent

    def label(self, found: Sequence[frozenset[str]]) -> Float[Tensor, "clip class"]:
        """1 where the clip shows the class, else 0."""
        labels = torch.zeros(len(found), len(self.names))
        for row, categories in enumerate(found):
            for one in categories & self.member.keys():
                labels[row, self.names.index(self.member[one])] = 1.0
        return labels


def merge_categories(found: Sequence[frozenset[str]], *, least: int) -> Superclasses:
    """Classes that at least `least` clips show, and not all of them; see the module's text.

    Raises BenchError where none is left: then there is nothing to learn, and `category_weight=0` says so openly.
    """
    count = Counter(one for categories in found for one in categories)
    member = {one: one if count[one] >= least else SUPERCLASS[one] for one in sorted(count)}
    shown = Counter(name for categories in found for name in {member[one] for one in categories})
    kept = {name for name, clips in shown.items() if least <= clips < len(found)}
    if not kept:
        raise BenchError(
            f"no category is shown by {least} of {len(found)} clips and missing in others; "
            "lower category_least, or train without categories (category_weight=0)"
        )
    return Superclasses(tuple(sorted(kept)), {one: name for one, name in member.items() if name in kept})


def focal_loss(
    logits: Float[Tensor, "trial class"], labels: Float[Tensor, "trial class"], *, gamma: float = 2.0
) -> Float[Tensor, ""]:
    """Mean over trials and classes of -(1 - p)^gamma log p, p the probability given to the truth (Lin et al., 2017)."""
    plain = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return ((1 - torch.exp(-plain)) ** gamma * plain).mean()


def category_loss(
    logits: Float[Tensor, "trial class"], labels: Float[Tensor, "trial class"], *, gamma: float = 2.0
) -> Float[Tensor, ""]:
    """L_cls of equation (3): BCE plus focal loss."""
    return functional.binary_cross_entropy_with_logits(logits, labels) + focal_loss(logits, labels, gamma=gamma)
