"""Whether f^e reaches the picture, equations (6) to (8): the same trained networks, given another f^e.

    python -m methods.cine_neuron.analysis.embedding_use [--data-root DIR] [--folds 1] [--loss-alone] [--oracle-trained]

fits CineNeuron on each fold and asks it for the test trials in five ways. What a trial retrieves stays its own, and so
do its noise and its text; what differs is f^e, which asks the memories for pictures and actions and is added to the
text:

| way            | f^e is                                                                                      |
|----------------|---------------------------------------------------------------------------------------------|
| own            | the trial's own                                                                             |
| other          | that of another test trial of the subject, of another clip                                  |
| none           | not there: z_t of equation (7) alone                                                        |
| oracle         | what the Brain Model makes of a first layer that says of the true clip what is true         |
| oracle, other  | that of the other trial's clip                                                              |

If own is no better than other, f^e is not used, or what it says is in the text already. `--oracle-trained` trains the
networks on the oracle's f^e, so that "oracle" is what they know: the most that this way to the generator, trained for
as long, could make of decoded numbers without noise.

**loss** is the decoder's, of the true clip, over some draws of noise that all ways share: where videos cost minutes it
costs seconds, and it is what stage 2 lowers. Concepts are those whose training clips' mean, in what a judge says (of
frames: CLIP, of videos: the video judge), is nearest to the video's. Errors are standard errors over clips, of whose
trials the mean is taken over subjects; differences are paired.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64, Int64, UInt8
from skimage.metrics import structural_similarity
from torch import Tensor

from bench.core.contracts import BrainData, TrainingSet
from bench.core.errors import BenchError
from bench.core.seeds import derive_seed
from bench.pretrained.decoders import Decoder
from bench.toolbox.resize import make_videos
from bench.toolbox.targets import encode_clips
from methods.cine_neuron.integration import Fusion
from methods.cine_neuron.memory import retrieve
from methods.cine_neuron.method import DECODED, CineNeuron
from methods.cine_neuron.targets import Targets, encode_targets
from methods.cine_neuron.training import Look

OWN, OTHER, NONE, ORACLE, ORACLE_OTHER = "own", "other", "none", "oracle", "oracle, other"
AGAINST = {OTHER: OWN, NONE: OWN, ORACLE: OWN, ORACLE_OTHER: ORACLE}  # whose difference to it a row shows
DRAWS = 8  # of noise, for a trial's loss
VIEWS = {"frame": "clip", "video": "video"}  # measure -> view of the suite's judges
MEASURES = ("loss", *VIEWS, "ssim", "error")  # error: mean squared, of pixels in [0, 1]
Clips = UInt8[np.ndarray, "n frame height width 3"]


def choose_others(clip: Int64[np.ndarray, " trial"], *, seed: int = 0) -> Int64[np.ndarray, " trial"]:
    """For each trial another one, of another clip; each is taken once.

    Trials in random order, those of a clip side by side, are moved on by as many as the commonest clip has. Raises
    BenchError where one clip has more than half of the trials.
    """
    rng = np.random.default_rng(derive_seed("embedding use", "others", seed))
    most = int(np.bincount(clip).max())
    if 2 * most > len(clip):
        raise BenchError(f"one clip has {most} of {len(clip)} trials; take a fold of more clips")
    order = np.argsort(rng.permutation(int(clip.max()) + 1)[clip], kind="stable")
    others = np.empty(len(clip), np.int64)
    others[order] = np.roll(order, -most)
    return others


class OracleTrained(CineNeuron):
    """CineNeuron whose stages are trained on the oracle's f^e; f^c, and so what is retrieved, is as ever."""

    def look(self, train: TrainingSet, targets: Targets) -> Look:
        seen, clip = super().look(train, targets), torch.from_numpy(train.clip)

        def look(rows: np.ndarray) -> tuple[Tensor, Tensor]:
            return seen(rows)[0], imagine(self, targets, clip[torch.from_numpy(rows)])

        return look


def imagine(method: CineNeuron, targets: Targets, clip: Int64[Tensor, " trial"]) -> Float[Tensor, "trial token width"]:
    """The oracle's f^e: of numbers that say of each trial's clip what is true (`first_layer.Aims`)."""
    brain = method.trained().brain
    if method.parameters.first_layer == "learned":
        raise BenchError("a learned first layer has numbers of which nobody knows the truth; take first_layer='solved'")
    volumes = brain.lift.in_features // brain.channels
    numbers = method.aims.describe(targets).unflatten(1, (brain.tokens, 1, -1)).expand(-1, -1, volumes, -1).flatten(2)
    return brain.understand(numbers[clip.to(numbers.device)])[1]


def describe_clips(method: CineNeuron, test: TrainingSet, suite: Any) -> Targets:
    """Test clips in the coordinates of the training clips'."""
    parameters = method.parameters
    targets = encode_targets(
        suite,
        test,
        frames=parameters.alignment_frames,
        extract=method.extract if method.classes else None,
        classes=method.classes,
    )
    return targets if method.spaces is None else method.spaces.place(targets)


@torch.inference_mode()
def make_conditions(
    method: CineNeuron,
    brain: BrainData,
    others: Int64[np.ndarray, " trial"],
    oracle: Float[Tensor, "trial token width"],
) -> dict[str, Float[Tensor, "trial token text"]]:
    """What the decoder is given by each way. Raises BenchError for a variant without equation (8)."""
    networks, memories = method.trained(), method.memories
    fusion = networks.fusion
    if not isinstance(fusion, Fusion):
        raise BenchError(f"condition={networks.condition!r} fuses nothing; take condition='fused'")
    f_c, f_e = method.read(brain, np.arange(len(brain.subject)))
    _, entries = retrieve(*networks.ask(f_c, f_e), memories.pool, k=networks.memories)
    images, actions = (memories.pool.embeddings[name][entries] for name in ("image", "action"))
    text = memories.read_texts(entries[:, 0])
    moved = torch.from_numpy(others).to(f_e.device)
    told = {OWN: f_e, OTHER: f_e[moved], ORACLE: oracle, ORACLE_OTHER: oracle[moved]}
    made = {way: fusion(one, images, actions, text) for way, one in told.items()}
    return {**made, NONE: fusion.zero_text(text) + text}


@torch.inference_mode()
def measure_losses(
    decoder: Decoder, latents: Float[Tensor, "trial ..."], condition: Float[Tensor, "trial token text"]
) -> Float64[np.ndarray, " trial"]:
    """The decoder's loss of each trial; its noise depends on its place alone."""
    losses = []
    for place, (clip, told) in enumerate(zip(latents, condition, strict=True)):
        noise = torch.Generator().manual_seed(derive_seed("embedding use", "noise", place))
        clips, tokens = (one.expand(DRAWS, *one.shape) for one in (clip, told))
        losses.append(float(decoder.measure_loss(clips, tokens, noise)))
    return np.array(losses)


def recognise(
    observe: Callable[[Clips], Float[np.ndarray, "n ..."]], train: TrainingSet
) -> Callable[[Clips], Int64[np.ndarray, " n"]]:
    """A function that names the concept of each video: the nearest mean of training clips, by cosine to their mean."""

    def summarise(video: Clips) -> Float64[np.ndarray, "n d"]:
        seen = observe(video).astype(np.float64)
        return seen.mean(axis=1) if seen.ndim == 3 else seen

    shown, known = summarise(train.video), np.unique(train.concepts)
    middle = shown.mean(axis=0)
    means = np.stack([shown[train.concepts == one].mean(axis=0) - middle for one in known])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return lambda video: known[((summarise(video) - middle) @ means.T).argmax(axis=1)]


def compare_pictures(video: Clips, true: Clips) -> dict[str, Float64[np.ndarray, " n"]]:
    """SSIM in scikit-image's default form and mean squared error of each clip."""
    ssim = [
        np.mean([structural_similarity(a, b, data_range=255, channel_axis=-1) for a, b in zip(*pair, strict=True)])
        for pair in zip(video, true, strict=True)
    ]
    error = ((video.astype(np.float32) - true.astype(np.float32)) / 255) ** 2
    return {"ssim": np.array(ssim), "error": error.mean(axis=(1, 2, 3, 4)).astype(np.float64)}


def measure_use(
    dataset: Any,
    suite: Any,
    split: str,
    *,
    seed: int = 0,
    folds: int | None = None,
    videos: bool = True,
    oracle_trained: bool = False,
    **parameters: Any,
) -> pd.DataFrame:
    """A row a test trial and way: subject, clip, and the measures. `folds`: the first so many; without `videos` the
    loss alone."""
    from bench.core.splits import make_folds
    from bench.harness.inputs import fold_scalings, training_set
    from bench.harness.normalise import normalised

    rows = []
    for fold in make_folds(dataset, split)[:folds]:
        scalings = fold_scalings(dataset, fold)
        train, test = (training_set(dataset, part, scalings) for part in (fold.train, fold.test))
        method = (OracleTrained if oracle_trained else CineNeuron)(suite=suite, seed=seed, **parameters)
        method.fit(train, training_set(dataset, fold.validation, scalings))
        if len(fold.calibration):
            method.adapt(training_set(dataset, fold.calibration, scalings))
        brain = BrainData(
            brain=normalised(dataset, fold.test, test.subject, scalings),
            subject=test.subject,
            seed=np.array([derive_seed("embedding use", seed, int(trial)) for trial in fold.test]),
            channels=dataset.channels,
            sampling_rate=dataset.sampling_rate,
        )
        readers = {
            measure: recognise(lambda video, view=view: suite.judges.observe(view, video), train)  # type: ignore[misc]
            for measure, view in (VIEWS if videos else {}).items()
        }
        use = measure_fold(method, brain, test, readers, videos=videos)
        shown = np.unique(np.asarray(dataset.trials["clip"])[fold.test])
        rows.append(use.assign(clip=shown[use["clip"]]))
    return pd.concat(rows, ignore_index=True)


def measure_fold(
    method: CineNeuron,
    brain: BrainData,
    test: TrainingSet,
    readers: dict[str, Callable[[Clips], Int64[np.ndarray, " n"]]],
    *,
    videos: bool = True,
) -> pd.DataFrame:
    """Rows of one fitted method, way by way, trials in order; clips by their place in `test`."""
    others = np.empty(len(test.clip), np.int64)
    for number in np.unique(test.subject):
        trials = np.flatnonzero(test.subject == number)
        others[trials] = trials[choose_others(test.clip[trials])]
    true, concept, clip = test.video[test.clip], test.concepts[test.clip], torch.from_numpy(test.clip)
    with torch.inference_mode():
        oracle = imagine(method, describe_clips(method, test, method.suite), clip)
        latents = encode_clips(method.suite, method.decoder, test.video)[clip].to(oracle)
    rows = []
    for way, condition in make_conditions(method, brain, others, oracle).items():
        row: dict[str, Any] = {"way": way, "subject": test.subject, "clip": test.clip}
        row["loss"] = measure_losses(method.decoder, latents, condition)
        if videos:

            def make(some: np.ndarray, condition: Tensor = condition) -> Clips:
                return method.decoder.generate(condition[some], brain.seed[some].tolist())

            video = make_videos(len(true), make, at_once=DECODED, shape=true.shape[1:])
            row |= {measure: (read(video) == concept).astype(float) for measure, read in readers.items()}
            row |= compare_pictures(video, true)
        rows.append(pd.DataFrame(row))
    return pd.concat(rows, ignore_index=True)


def compare_ways(use: pd.DataFrame) -> pd.DataFrame:
    """A row a way and measure: mean and its error; whose difference to it is shown, that difference and its error."""
    rows = []
    for measure in [one for one in MEASURES if one in use]:
        by_clip = use.pivot_table(measure, "clip", "way", aggfunc="mean")  # over subjects
        for way in dict.fromkeys(use["way"]):
            row = {"measure": measure, "way": way, "mean": by_clip[way].mean(), "error": by_clip[way].sem()}
            if way in AGAINST:
                gain = by_clip[AGAINST[way]] - by_clip[way]
                row |= {"against": AGAINST[way], "gain": gain.mean(), "gain's error": gain.sem()}
            rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    from bench.datasets.catalogue import open_dataset
    from bench.pretrained.suite import load_suite

    parser = argparse.ArgumentParser(description="whether f^e reaches CineNeuron's videos")
    parser.add_argument("--dataset", default="phantom_fmri")
    parser.add_argument("--data-root", metavar="DIR", help="where a data set lies")
    parser.add_argument("--split", default="single_subject")
    parser.add_argument("--suite", default="mini")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folds", type=int, help="the first so many")
    parser.add_argument("--loss-alone", action="store_true", help="make no videos")
    parser.add_argument("--oracle-trained", action="store_true", help="train on the oracle's f^e")
    options = parser.parse_args()
    dataset, suite = open_dataset(options.dataset, data_root=options.data_root), load_suite(options.suite)
    use = [
        measure_use(
            dataset,
            suite,
            options.split,
            seed=seed,
            folds=options.folds,
            videos=not options.loss_alone,
            oracle_trained=options.oracle_trained,
        )
        for seed in range(options.seeds)
    ]
    print(compare_ways(pd.concat(use)).round(4).to_markdown(index=False))


if __name__ == "__main__":
    main()
