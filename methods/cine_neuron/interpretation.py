"""Which voxels and regions the Brain Model reads (§4.4, Figure 5): the weights of the first regression layer.

The paper averages a voxel's weights and normalises them to [0, 1]. The average is taken here of absolute values, since
signs differ from output to output and would cancel.

What fools it: the weight of a voxel says how much it is read, not how much it says. Correlated voxels share a weight
that one of them would have alone, so a region of many voxels has small weights. The optimiser's steps have the same
size for all weights, so a voxel of pure noise gains weight too, if less. Weights start at zero (brain_model.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float64

from methods.cine_neuron.brain_model import BrainModel, InputLayer


def measure_voxel_weights(brain: BrainModel) -> dict[int, Float64[np.ndarray, " voxel"]]:
    """For each subject, the mean absolute weight of each voxel that is read, over all outputs; in the layer's order."""
    weights = {}
    for number, layer in brain.inputs.items():
        assert isinstance(layer, InputLayer)
        weights[int(number)] = layer.regress.weight.detach().abs().mean(dim=0).double().cpu().numpy()
    return weights


def tabulate_regions(
    weights: Mapping[int, Float64[np.ndarray, " voxel"]], regions: Mapping[int, Sequence[str]]
) -> pd.DataFrame:
    """One row a subject and region: voxels, mean weight normalised to [0, 1] within the subject, and the region's share
    of all absolute weight beside its share of voxels (a ratio of 1 is a region read as much as its size says).

    `regions[subject]` names the region of each voxel of `weights[subject]` (`VoxelChoice.regions`).
    """
    rows = []
    for subject, own in weights.items():
        low, high = own.min(), own.max()
        scaled = (own - low) / (high - low) if high > low else np.zeros_like(own)
        names = np.asarray(regions[subject])
        for name in dict.fromkeys(names.tolist()):
            mask = names == name
            share, size = own[mask].sum() / own.sum(), mask.mean()
            rows.append((subject, name, int(mask.sum()), scaled[mask].mean(), share, size, share / size))
    columns = ["subject", "region", "voxels", "weight", "weight_share", "voxel_share", "ratio"]
    return pd.DataFrame(rows, columns=columns)
