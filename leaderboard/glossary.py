"""Metrics and floors in plain words: what each measures and what fools it, for pages that anybody may read.

A metric of the project is known by its name (`frame_40way`, `ssim`); one from outside is shown by its name alone. What
exactly is computed stands in the metric's own spec and in `metrics.protocols`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FLOOR_WORDS = {
    "constant_grey": "middle grey",
    "mean_of_others": "the blurred mean of the other clips",
    "still_frame": "another clip held still",
    "shuffled": "another clip's reconstruction",
    "chance": "chance",
}
RIVAL_WORDS = FLOOR_WORDS | {  # and the best floors of the board's rows, by the names of their methods
    "shuffled_brain": "its own shuffled brain",
    "random_clip": "a random training clip",
    "train_mean": "the blurred mean of the training clips",
    "best_constant": "the best constant answer",
    "position_only": "the best answer given the position alone",
    "noise_brain": "a method fed noise",
}


@dataclass(frozen=True, kw_only=True)
class Words:
    """A metric's title, what it measures, and what scores well under it without being right."""

    title: str
    measures: str
    fooled: str


SUBJECTS = {"frame": "Frames", "video": "Video"}
JUDGED = (
    "A generator that draws sharp, ordinary scenes is named with ease whatever it was shown: so look at another clip's "
    "reconstruction beside it"
)
STILL = "A still clip, or one that hardly moves, scores best, and nothing is compared with the true clip"
ENTRIES: tuple[tuple[str, Words], ...] = (
    (
        r"frame_(\d+)way",
        Words(
            title="Frames, {0}-way",
            measures="Whether a network that names pictures gives a frame the true frame's name sooner than {others}",
            fooled=JUDGED,
        ),
    ),
    (
        r"video_(\d+)way",
        Words(
            title="Video, {0}-way",
            measures="Whether a network that names actions gives the clip the true clip's name sooner than {others}",
            fooled=JUDGED,
        ),
    ),
    (
        r"(frame|video)_(\d+)way_normalised",
        Words(
            title="{subject}, {1}-way, rescaled",
            measures="The {1}-way accuracy, moved so that guessing scores 0 and always being right scores 1",
            fooled=JUDGED,
        ),
    ),
    (
        r"concept_(\d+)way",
        Words(
            title="Own concepts, {0}-way",
            measures="Whether a network of pictures and words finds the clip more like its own concept's name than "
            "{others}",
            fooled="Whoever knows how often each concept comes may draw the commonest",
        ),
    ),
    (
        r"(?:frame_)?retrieval_top(\d+)",
        Words(
            title="Finding the clip again, among the first {0}",
            measures="Whether the true clip is among the {0} of all true clips here that a network finds most like "
            "the reconstruction",
            fooled="With few clips chance is high, and colours alone may lead back to the right one",
        ),
    ),
    (
        r"ssim(_grey)?",
        Words(
            title="SSIM",
            measures="How alike light, contrast and edges of the two clips are, window by window",
            fooled="Flat grey and blur score high: where nothing is drawn, nothing is drawn wrongly",
        ),
    ),
    (
        r"psnr",
        Words(
            title="PSNR",
            measures="How small the squared difference of all pixels is, in decibels",
            fooled="A blurred mean scores best: it is never far off",
        ),
    ),
    (
        r"pixcorr",
        Words(
            title="Pixel correlation",
            measures="How well the pixels of a frame go up and down with those of the true frame",
            fooled="A bright middle in a dark frame goes with most films",
        ),
    ),
    (
        r"hue_correlation|hue_pcc",
        Words(
            title="Colour",
            measures="How alike the hues of the two clips are, pixel by pixel",
            fooled="Brownish pictures go with most films",
        ),
    ),
    (
        r"epe(_dis)?",
        Words(
            title="Motion, error of the flow",
            measures="How far, in pixels, each point moves otherwise than in the true clip",
            fooled="A still clip often wins: where little moves, no motion is a good guess",
        ),
    ),
    (
        r"dynamic_difference",
        Words(
            title="Amount of motion, difference",
            measures="How far the amount of motion is from the true clip's",
            fooled="Any motion of the usual amount will do, whatever it is that moves",
        ),
    ),
    (
        r"dynamic_degree_error(_dis)?",
        Words(
            title="Whether it moves, wrong",
            measures="Whether a clip moves where the true one stands still, or the other way round",
            fooled="Where most true clips move, clips that all move are seldom wrong",
        ),
    ),
    (
        r"dynamic_magnitude|dynamic_degree(_dis)?",
        Words(
            title="Amount of motion",
            measures="How much moves in the clip",
            fooled="Flicker counts as motion, and nothing is compared with the true clip",
        ),
    ),
    (
        r"vifi_score",
        Words(
            title="Likeness by ViFi-CLIP",
            measures="How alike a network of films and words finds the two clips",
            fooled="All films of people in rooms are alike to it",
        ),
    ),
    (
        r"clip_pcc|clip_consistency|ctc|dtc|subject_consistency|background_consistency",
        Words(
            title="Consistency ({name})",
            measures="How alike a network finds the frames of one clip",
            fooled=STILL,
        ),
    ),
    (
        r"temporal_flickering|motion_smoothness(_dis)?",
        Words(
            title="Smoothness ({name})",
            measures="How little the frames of one clip jump",
            fooled=STILL,
        ),
    ),
    (
        r"fvd|frame_frechet",
        Words(
            title="Fréchet distance ({name})",
            measures="How far the reconstructions, as a crowd, are from the true clips in what a network sees",
            fooled="It sees no pairs: the right films in the wrong order score as well, and few clips make it large",
        ),
    ),
)


def explain_metric(name: str) -> Words:
    """The words of a metric; of one that nobody described its name alone.

    >>> explain_metric("frame_40way").title, explain_metric("ssim").title, explain_metric("mine").title
    ('Frames, 40-way', 'SSIM', 'mine')
    """
    for pattern, words in ENTRIES:
        if found := re.fullmatch(pattern, name):
            parts = [part or "" for part in found.groups()]
            filled = {
                "name": name,
                "subject": SUBJECTS.get(parts[0] if parts else "", ""),
                "others": tell_others(parts),
            }
            title, measures, fooled = (text.format(*parts, **filled) for text in vars(words).values())
            return Words(title=title, measures=measures, fooled=fooled)
    return Words(title=name, measures="", fooled="")


def tell_others(parts: Sequence[str]) -> str:
    """Against how many names an N-way accuracy is held: "1 other name", "39 other names"."""
    ways = int(parts[0]) if parts and parts[0].isdigit() else 0
    return f"{ways - 1} other name{'' if ways == 2 else 's'}"


def write_page(protocols: Mapping[str, Iterable[Any]]) -> str:
    """The page of all metrics of some protocols, as Markdown: what each measures, what fools it, and who computes it.

    protocols: by name, the specs of a protocol's metrics. `docs/metrics.md` is this page (`tests/test_docs.py`).
    """
    named: dict[str, tuple[Words, list[str]]] = {}
    for protocol, metrics in protocols.items():
        for metric in metrics:
            words = explain_metric(metric.name)
            if words.measures:
                named.setdefault(metric.name, (words, []))[1].append(protocol)
    lines = [
        "# Every metric, and what fools it",
        "",
        "What a metric measures in plain words, what scores well under it without being right, and which protocols",
        "compute it (each in its own way: `python -m bench list protocols`). So a score is read beside its floors.",
        "",
        "| metric | measures | what fools it | protocols |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {words.title} (`{name}`) | {words.measures} | {words.fooled} | {', '.join(users)} |"
        for name, (words, users) in sorted(named.items(), key=lambda one: (one[1][0].title, one[0]))
    ]
    return "\n".join(lines) + "\n"
