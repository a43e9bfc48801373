"""How often a retrieved memory shows the true object: the mixture of modalities against each alone (§3.2).

    python -m methods.cine_neuron.analysis.retrieval_accuracy [--dataset phantom_fmri] [--split single_subject]

fits CineNeuron on each fold and asks the *same* trained networks for the memories of the test trials by the mixture
with the router's weights, with equal weights, and by text, image or action alone. The paper says that one modality
alone retrieves worse and shows no figure; `--ablation retrieval` measures what it does to the videos, with networks
trained for it.

Differences are the mixture's minus the one alone, paired by trial. Subjects see the same clips, so a clip is the unit:
its difference is averaged over subjects, the interval is Student's over clips, and p is from flipping the clips' signs.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int64
from scipy.stats import permutation_test, ttest_1samp

from bench.core.contracts import BrainData
from bench.core.seeds import derive_seed
from methods.cine_neuron.memory import retrieve
from methods.cine_neuron.method import CineNeuron
from methods.cine_neuron.voxels import read_signals

LEARNED, EQUAL = "mixture, router's weights", "mixture, equal weights"
FLIPS = 10_000


@torch.inference_mode()
def find_memories(method: CineNeuron, brain: BrainData, k: int) -> dict[str, Int64[np.ndarray, "trial k"]]:
    """The K memories of each trial by each way of asking, best first."""
    networks = method.trained()
    rows = np.arange(len(brain.brain))
    signals = read_signals(brain.brain, rows, brain.subject, method.choices, brain.seed).to(method.device)
    f_c, f_e = networks.brain(signals, torch.from_numpy(brain.subject).to(method.device))
    queries, weights = networks.ask(f_c, f_e)
    ways = {LEARNED: (queries, weights), EQUAL: (queries, torch.full_like(weights, 1 / len(queries)))}
    ways |= {f"{name} alone": ({name: query}, torch.ones_like(weights[:, :1])) for name, query in queries.items()}
    pool = method.memories.pool
    return {way: retrieve(*asked, pool, k=k)[1].cpu().numpy() for way, asked in ways.items()}


def measure_recall(dataset: Any, suite: Any, split: str, *, k: int = 5, seed: int = 0) -> pd.DataFrame:
    """One row a test trial and way: subject, clip, whether the first memory shows the true object, and any of K does,
    and whether it shows the object that the mixture's shows."""
    from bench.core.splits import make_folds
    from bench.harness.inputs import fold_scalings, training_set
    from bench.harness.normalise import normalised

    rows = []
    for fold in make_folds(dataset, split):
        scalings = fold_scalings(dataset, fold)
        train, test = (training_set(dataset, part, scalings) for part in (fold.train, fold.test))
        method = CineNeuron(suite=suite, seed=seed)
        method.fit(train, training_set(dataset, fold.validation, scalings))
        if len(fold.calibration):
            method.adapt(training_set(dataset, fold.calibration, scalings))
        seeds = np.array([derive_seed("recall", seed, int(trial)) for trial in fold.test])
        brain = BrainData(
            brain=normalised(dataset, fold.test, test.subject, scalings),
            subject=test.subject,
            seed=seeds,
            channels=dataset.channels,
            sampling_rate=dataset.sampling_rate,
        )
        shown = np.unique(np.asarray(dataset.trials["clip"])[fold.test])[test.clip]
        found = find_memories(method, brain, k)
        chosen = method.concepts[found[LEARNED][:, 0]]
        for way, entries in found.items():
            right = method.concepts[entries] == test.concepts[test.clip][:, None]  # (trial, K)
            part = {"subject": test.subject, "clip": shown, "first": right[:, 0], "any": right.any(axis=1)}
            part["as_mixture"] = method.concepts[entries[:, 0]] == chosen
            rows.append(pd.DataFrame({"way": way, **part}))
    return pd.concat(rows, ignore_index=True)


def compare_ways(recall: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """A row a way: share of trials whose first memory (any of K) is right, and whose first is of the mixture's object;
    the mixture minus it, interval and p."""
    made = []
    by_clip = recall.pivot_table("first", "clip", "way", aggfunc="mean")  # over subjects
    for way in dict.fromkeys(recall["way"]):
        trials = recall[recall["way"] == way]
        row: dict[str, Any] = {"way": way, "first": trials["first"].mean(), "any": trials["any"].mean()}
        row["as_mixture"] = trials["as_mixture"].mean()
        difference = (by_clip[LEARNED] - by_clip[way]).to_numpy()
        if way != LEARNED and np.ptp(difference):
            interval = ttest_1samp(difference, 0).confidence_interval()
            flips = permutation_test(
                (difference,),
                np.mean,
                permutation_type="samples",
                n_resamples=FLIPS,
                rng=np.random.default_rng(derive_seed("recall", "flips", seed)),
            )
            row |= {"gain": difference.mean(), "low": interval.low, "high": interval.high, "p": flips.pvalue}
        made.append(row)
    return pd.DataFrame(made)


def main() -> None:
    from bench.datasets.catalogue import open_dataset
    from bench.pretrained.suite import load_suite

    parser = argparse.ArgumentParser(description="accuracy of CineNeuron's retrieval by modality")
    parser.add_argument("--dataset", default="phantom_fmri")
    parser.add_argument("--data-root", metavar="DIR", help="where a real data set lies")
    parser.add_argument("--split", default="single_subject")
    parser.add_argument("--suite", default="mini")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    dataset, suite = open_dataset(options.dataset, data_root=options.data_root), load_suite(options.suite)
    recall = pd.concat(
        [measure_recall(dataset, suite, options.split, seed=seed) for seed in range(options.seeds)], ignore_index=True
    )
    print(compare_ways(recall).round(4).to_markdown(index=False))


if __name__ == "__main__":
    main()
