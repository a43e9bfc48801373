# %% [markdown]
# # Brain2Video Bench from Python
#
# Everything that the command line does is a function of the package `bench`: plain arguments in, pandas frames or small
# frozen objects out, errors as `bench.BenchError`. Open this file as a notebook (VS Code, Jupytext), or run it as a
# script in an empty folder. The first run takes a few minutes on two cores; then only what has changed is made again.

# %%
import tempfile
from pathlib import Path

import numpy as np

import bench
from bench.store.video import write_lossless

# %% [markdown]
# ## A method is one class
# It may be defined right here. It is given brain signals, clips and captions of the training trials, and later brain
# signals alone.


# %%
class NearestMean:
    """The mean training clip of the concept whose mean signal is nearest."""

    modality = "eeg"
    version = 1

    def __init__(self, *, suite, seed, shrinkage=0.5):
        self.shrinkage = shrinkage

    def fit(self, train, validation):
        concept = train.concepts[train.clip]  # (trial,)
        signal = describe(train.brain)
        known = np.unique(concept)
        self.centres = np.stack([signal[concept == one].mean(axis=0) for one in known])  # (concept, channel)
        self.video = np.stack([train.video[train.concepts == one].mean(axis=0) for one in known]).astype(np.uint8)

    def adapt(self, calibration):
        pass

    def reconstruct(self, brain):
        distance = ((describe(brain.brain)[:, None] - (1 - self.shrinkage) * self.centres) ** 2).sum(axis=2)
        return self.video[distance.argmin(axis=1)]  # u8 (trial, frame, height, width, 3)

    @property
    def parameter_count(self):
        return self.centres.size


def describe(brain):
    """Each channel's mean over time: (trial, channel)."""
    return brain[np.arange(len(brain))].mean(axis=2)


# %% [markdown]
# ## Run it
# On the tiny phantom, with its floors, baselines and ceilings beside it. The result stands between the best floor and
# the best ceiling; `brain_share` says how far.

# %%
result = bench.run(NearestMean, split="cross_subject", quick=True)
print(result.table[["method", "protocol", "metric", "value", "floor", "ceiling"]].head(8).to_string())

# %%
less = bench.run(NearestMean, split="cross_subject", quick=True, parameters={"shrinkage": 0.0})
print(less.table[["variant", "metric", "value"]].head(3).to_string())

# %% [markdown]
# ## What the store holds

# %%
table = bench.table(dataset="phantom_eeg:tiny", metric="ssim", references=True)
print(table[["method", "variant", "role", "value", "low", "high"]].to_string())

# %%
comparison = bench.compare("NearestMean", "retrieval", dataset="phantom_eeg:tiny", metric="ssim")
print(comparison.table.T.to_string())
print(comparison.extremes)

# %% [markdown]
# ## Score videos that were made elsewhere
# Two folders of videos of the same names; a missing clip scores the worst value and is counted.

# %%
folder = Path(tempfile.mkdtemp())
for name in ("truth", "videos"):
    (folder / name).mkdir()
generator = np.random.default_rng(0)
for number in range(3):
    clip = generator.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    write_lossless(folder / "truth" / f"{number}.mp4", clip, fps=3)
    if number:
        write_lossless(folder / "videos" / f"{number}.mp4", clip, fps=3)
scored = bench.score(folder / "videos", folder / "truth", metrics="ssim,psnr")
print(bench.summarise_scores(scored).T.to_string())

# %% [markdown]
# ## What is wrong is said before anything is made

# %%
try:
    bench.run("sam_nett", quick=True)
except bench.BenchError as error:
    print(error)
