"""The 40 concepts of SEED-DV and the class subsets that papers report on.

The release numbers concepts from 1 and does not name them; the names were inferred from the EEG2Video paper's
Fig. 1A and checked against all 1400 captions. Everywhere in this project a concept is its 0-based index here.
Only the 10-class subset is published (`[1, 10, 12, 16, 19, 23, 25, 31, 34, 39]` in EEG2Video's scripts); the 20-
and 30-class subsets are not, so they are taken as the first 20 and 30.
"""

from __future__ import annotations

CONCEPTS: tuple[str, ...] = (
    *("cat", "dog", "elephant", "horse", "panda", "rabbit", "bird"),
    *("fish", "jellyfish", "shark", "turtle"),
    *("flower", "mushroom", "tree"),
    *("boxing", "dancing", "running", "skiing"),
    *("face", "couple", "crowd"),
    *("beach", "building", "mountain", "road", "waterfall", "fireworks"),
    *("banana", "cake", "drink", "pizza", "watermelon"),
    *("drum", "guitar", "piano"),
    *("motorcycle", "car", "hot air balloon", "airplane", "ship"),
)

CLASS_SUBSETS: dict[int, tuple[int, ...]] = {
    10: tuple(number - 1 for number in (1, 10, 12, 16, 19, 23, 25, 31, 34, 39)),
    20: tuple(range(20)),
    30: tuple(range(30)),
    40: tuple(range(40)),
}

SUBSET_NAMES = {number: tuple(CONCEPTS[concept] for concept in subset) for number, subset in CLASS_SUBSETS.items()}
