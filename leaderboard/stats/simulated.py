"""Whether the study's intervals hold: studies of simulated scores, where the truth is known.

Scores are simulated, not networks. Each study has a few ablations, half of which take nothing away (a planted zero).
How likely a trial is right is a level, plus what its subject, its concept and its clip are to base and ablation alike,
plus the luck of a training, drawn for each seed anew and for base and ablation apart (as a whole, by subject and by
concept), less what the ablation takes away, which is more of some subjects and concepts than of others. All are drawn
evenly from ranges that never leave 0..1, so the truth is exact: the effect, and of *these subjects* the mean of theirs.
A 40-way score is a draw of 0 or 1, a 2-way one a draw from a beta distribution (a share of distractors that are
beaten), both with that mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from leaderboard.stats import intervals as statistics
from leaderboard.stats.crossed import QUESTIONS, Question, bound_effect, interval_of, part_variance

Array = npt.NDArray[np.float64]

EFFECTS = (0.0, 0.0, 0.0, 0.02, 0.04, 0.08)  # that the ablations of a study have
CONCEPTS, CLIPS = 40, 3  # clips a concept
DESIGNS = ((6, 5), (9, 5), (3, 5))  # subjects and seeds: cross_subject, single_subject, fMRI
LEVELS = {"2way": 0.75, "40way": 0.45}  # how likely a trial is right
SPREAD = 2.0  # of a beta distribution, a + b
# half widths of the ranges: of what base and ablation share, of the luck of a training, of the effect's share
SUBJECT, CONCEPT, CLIP = 0.04, 0.06, 0.03
LUCK = {"whole": 0.01, "subject": 0.01, "concept": 0.03}
OF_SUBJECT, OF_CONCEPT = 0.4, 0.4


def measure_study(studies: int = 200) -> pd.DataFrame:
    """A row for each design, metric and question, over so many studies.

    `coverage`: of the truth by the 95 % intervals. `zero_called_effect`: the share of studies in which a planted zero
    is called an effect, after Holm. `zero_bound`: the mean x of "no effect larger than x" of planted zeros, and
    `bound_holds`, how often any effect's truth is within it. `effect_found`: of the effects of .04 and more.
    """
    rows = []
    for subjects, seeds in DESIGNS:
        for metric in LEVELS:
            judged = [judge_study(subjects, seeds, metric, number) for number in range(studies)]
            for place, question in enumerate(QUESTIONS):
                about: dict[str, Any] = {"subjects": subjects, "seeds": seeds, "metric": metric, "question": question}
                means = pd.DataFrame([one[place] for one in judged]).mean()
                rows.append({**about, "studies": studies, **dict(means)})
    return pd.DataFrame(rows)


def judge_study(subjects: int, seeds: int, metric: str, number: int) -> list[dict[str, float]]:
    """What became of one study, question by question."""
    generator = np.random.default_rng([number, subjects, seeds, len(metric)])
    drawn = [simulate_ablation(effect, subjects, seeds, metric, generator) for effect in EFFECTS]
    concepts = np.repeat(np.arange(CONCEPTS), CLIPS)
    parts = [part_variance(scores, concepts) for scores, _ in drawn]
    zero, large = np.array(EFFECTS) == 0, np.array(EFFECTS) >= 0.04
    judged = []
    for question in QUESTIONS:
        intervals = [interval_of(one, question) for one in parts]
        truths = np.array([truth[question] for _, truth in drawn])
        called = statistics.holm([statistics.p_value(one) for one in intervals]) <= 0.05
        bounds = np.array([bound_effect(one) for one in intervals])
        low, high = (np.array([getattr(one, end) for one in intervals]) for end in ("low", "high"))
        judged.append(
            {
                "coverage": float(((low <= truths) & (truths <= high)).mean()),
                "zero_called_effect": float(called[zero].any()),
                "zero_bound": float(bounds[zero].mean()),
                "bound_holds": float((np.abs(truths) <= bounds).mean()),
                "effect_found": float(called[large].mean()),
            }
        )
    return judged


def simulate_ablation(
    effect: float, subjects: int, seeds: int, metric: str, generator: np.random.Generator
) -> tuple[Array, Mapping[Question, float]]:
    """Differences f64 [seed, subject, clip] of a base and an ablation, and the truth for each question."""

    def draw(half: float, *shape: int) -> Array:
        return generator.uniform(-half, half, shape)

    clips = CONCEPTS * CLIPS
    concept = np.repeat(np.arange(CONCEPTS), CLIPS)
    level = LEVELS[metric] + draw(SUBJECT, subjects, 1) + draw(CONCEPT, CONCEPTS)[concept] + draw(CLIP, clips)
    of_subject, of_concept = draw(OF_SUBJECT, subjects, 1), draw(OF_CONCEPT, CONCEPTS)[concept]
    lost = effect * (1 + of_subject + of_concept)
    scores = []
    for taken in (np.zeros_like(lost), lost):
        luck = draw(LUCK["whole"], seeds, 1, 1) + draw(LUCK["subject"], seeds, subjects, 1)
        luck = luck + draw(LUCK["concept"], seeds, 1, CONCEPTS)[:, :, concept]
        mean = level - taken + luck
        scores.append(
            (generator.random(mean.shape) < mean).astype(np.float64)
            if metric == "40way"
            else generator.beta(SPREAD * mean, SPREAD * (1 - mean))
        )
    return scores[0] - scores[1], {
        "these subjects": effect * float(1 + of_subject.mean()),
        "new subjects": effect,
    }
