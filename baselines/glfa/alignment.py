"""Global-local functional alignment: the cortex of several subjects on one common map.

In the paper the common space is an atlas: each subject's cortex is drawn as a picture of 256 × 256 pixels, and learned
functional kernels move what lies there to where other subjects have it, locally (`func_kernel` 13: within 13 × 13
pixels) and globally. Voxels here have no coordinates. What stands in:

- *local*: within a region of interest, a linear map from a subject's voxels of that region to the common sites of that
  region. It can move activity anywhere within the region and nowhere else, as a local kernel does;
- *global*: a linear map from all voxels of the subject to sites of their own, which no region has.

Both are found the same way, by what the subjects saw in common. Let X_s be the trials of subject s (one row a trial and
volume), Z_s the matrix that says which clip and volume a row is, and G the common response to each. G and maps W_s
minimise

    Σ_s |Z_s G − X_s W_s|² + λ_s |W_s|²       with  Gᵀ (Σ_s Z_sᵀ Z_s) G = rows · I,  λ_s = ridge × rows of s

which is canonical correlation among subjects (MAXVAR) where a clip may be missing for some and repeated for others. It
is solved exactly by two singular value decompositions. A single subject is aligned among its own repeats. Without
repeats that is a ridge-weighted principal component analysis.

A new subject is mapped onto G by the clips of its calibration that known subjects saw.

Maps fitted to the very trials that they are applied to are too good there, and a network trained on those would trust
them too much. So the training trials get maps that were fitted without their clips (`cross_map`); new trials get those
of all clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int64

from bench.core.errors import BenchError
from bench.toolbox.rows import allocate

WHOLE = "whole cortex"  # the name of the global part beside those of regions
Signals = Float32[np.ndarray, "trial column time"]


class CannotAlign(BenchError):
    """Subjects that have nothing in common to be aligned by."""


@dataclass(frozen=True)
class Factors:
    """A subject's centred rows X = U diag(s) Vᵀ, with the subject's ridge."""

    left: Float[np.ndarray, "row rank"]
    values: Float[np.ndarray, " rank"]
    right: Float[np.ndarray, "rank voxel"]
    penalty: float

    def project(self, targets: Float[np.ndarray, "row site"]) -> Float[np.ndarray, "voxel site"]:
        """Ridge regression of the rows onto the targets."""
        return self.right.T @ ((self.values / (self.values**2 + self.penalty))[:, None] * (self.left.T @ targets))


def factor(rows: Float[np.ndarray, "row voxel"], ridge: float) -> Factors:
    left, values, right = np.linalg.svd(rows, full_matrices=False)
    return Factors(left, values, right, ridge * len(rows))


def find_template(
    factors: Sequence[Factors], labels: Sequence[Int64[np.ndarray, " row"]], count: int, sites: int
) -> Float[np.ndarray, "label site"]:
    """G: the common response of `count` labels in `sites` directions, the most common first, zeros behind the last."""
    seen = np.bincount(np.concatenate(labels), minlength=count)
    scale = 1 / np.sqrt(np.maximum(seen, 1))
    parts = []
    for one, own in zip(factors, labels, strict=True):
        weighted = one.left * np.sqrt(one.values**2 / (one.values**2 + one.penalty))
        gathered = np.zeros((count, weighted.shape[1]))
        np.add.at(gathered, own, weighted)
        parts.append(gathered * scale[:, None])
    axes, strength, _ = np.linalg.svd(np.concatenate(parts, axis=1), full_matrices=False)
    kept = min(sites, int((strength > 1e-6 * strength[0]).sum()))
    template = np.zeros((count, sites))
    template[:, :kept] = axes[:, :kept] * scale[:, None] * np.sqrt(seen.sum())
    return template


class FunctionalAlignment:
    """The common map: its parts and their sites, templates of the training clips, a linear map for each subject.

    `sites` of each region, `global_sites` of the whole cortex; 0 leaves a part out.
    """

    def __init__(self, *, sites: int, global_sites: int, ridge: float, global_ridge: float) -> None:
        self.sites, self.global_sites = sites, global_sites
        self.ridge, self.global_ridge = ridge, global_ridge
        self.parts: tuple[str, ...] = ()
        self.templates: dict[str, Float[np.ndarray, "label site"]] = {}
        self.maps: dict[int, dict[str, tuple[Int64[np.ndarray, " voxel"], Float[np.ndarray, "voxel site"]]]] = {}
        self.means: dict[int, Float[np.ndarray, " column"]] = {}

    def plan(self, regions: Mapping[int, Sequence[str]]) -> tuple[str, ...]:
        """Parts of the map for these subjects. Raises CannotAlign where there is none."""
        first, *others = regions.values()
        shared = [name for name in dict.fromkeys(first) if all(name in other for other in others)]
        parts = (*(shared if self.sites else ()), *((WHOLE,) if self.global_sites else ()))
        if not parts:
            raise CannotAlign("the map has no site: subjects share no region; set global_patches above 0")
        return parts

    def count(self, regions: Mapping[int, Sequence[str]]) -> int:
        """Numbers of the maps of these subjects, before they are fitted."""
        parts = self.plan(regions)
        voxels = {
            part: sum(len(own) if part == WHOLE else own.count(part) for own in map(list, regions.values()))
            for part in parts
        }
        return sum(voxels[part] * self._count(part) for part in parts)

    def fit(
        self,
        signals: Signals,
        subject: Int64[np.ndarray, " trial"],
        clip: Int64[np.ndarray, " trial"],
        clips: int,
        regions: Mapping[int, Sequence[str]],
        *,
        folds: int,
    ) -> Float32[np.ndarray, "trial site time"]:
        """Templates and maps of all subjects here; returns the trials on the map, each by maps without its clip.

        `signals` may be such as are read when they are indexed: those of one subject are there at a time, and what is
        returned lies in a file where it is large. A region is a part of the map if every subject has it. With fewer
        than 2 `folds` the maps have seen the clips.
        """
        numbers = np.unique(subject).tolist()
        self.parts = self.plan({number: regions[number] for number in numbers})
        self.volumes = signals.shape[2]
        rows = {number: np.flatnonzero(subject == number) for number in numbers}
        self.means |= {number: signals[own].mean(axis=(0, 2)) for number, own in rows.items()}
        labels = {number: self._label(clip[own]) for number, own in rows.items()}
        made = allocate((len(signals), self.total_sites, self.volumes), np.dtype(np.float32))
        for part in self.parts:
            ridge = self._ridge(part)

            def stack(number: int, part: str = part) -> tuple[Int64[np.ndarray, " voxel"], np.ndarray]:
                return self._stack(signals[rows[number]], number, part, regions[number])

            factors = {number: factor(stack(number)[1], ridge) for number in rows}
            template = find_template(
                list(factors.values()), list(labels.values()), clips * self.volumes, self._count(part)
            )
            self.templates[part] = template
            for number in rows:
                (columns, x), targets = stack(number), template[labels[number]]
                weights = factors[number].project(targets)
                self.maps.setdefault(number, {})[part] = (columns, weights)
                crossed = (
                    cross_map(x, targets, labels[number] // self.volumes, ridge, folds) if folds > 1 else x @ weights
                )
                made[rows[number], self._slice(part)] = self._unstack(crossed)
        return made

    def add_subject(
        self,
        number: int,
        signals: Signals,
        label: Int64[np.ndarray, " trial"],
        regions: Sequence[str],
    ) -> None:
        """Map a new subject onto the templates; `label` is the training clip of each trial, -1 where it is none.

        Raises CannotAlign where no known subject saw any of the clips, or where the subject lacks a region.
        """
        known = np.flatnonzero(label >= 0)
        if not len(known):
            raise CannotAlign(
                f"subject {number} saw no clip that the known subjects saw; glfa aligns by common clips: "
                "take a data set that shares clips between subjects"
            )
        if missing := [part for part in self.parts if part != WHOLE and part not in regions]:
            raise CannotAlign(f"subject {number} has no voxels in {', '.join(missing)}; leave local_patches at 0")
        self.means[number] = signals.mean(axis=(0, 2))
        labels = self._label(label[known])
        for part in self.parts:
            columns, x = self._stack(signals[known], number, part, regions)
            weights = factor(x, self._ridge(part)).project(self.templates[part][labels])
            self.maps.setdefault(number, {})[part] = (columns, weights)

    def apply(self, signals: Signals, subject: Int64[np.ndarray, " trial"]) -> Float32[np.ndarray, "trial site time"]:
        """Trials on the common map. Raises CannotAlign for a subject without maps."""
        made = np.zeros((len(signals), self.total_sites, self.volumes), np.float32)
        for number in np.unique(subject).tolist():
            if number not in self.maps:
                known = ", ".join(map(str, self.maps))
                raise CannotAlign(f"subject {number} has no map; there are {known}; call adapt with its trials first")
            rows = np.flatnonzero(subject == number)
            centred = signals[rows] - self.means[number][:, None]
            for part, (columns, weights) in self.maps[number].items():
                made[rows, self._slice(part)] = np.einsum("nvt,vs->nst", centred[:, columns], weights)
        return made

    @property
    def total_sites(self) -> int:
        return sum(self._count(part) for part in self.parts)

    @property
    def parameter_count(self) -> int:
        return sum(weights.size for maps in self.maps.values() for _, weights in maps.values())

    def _count(self, part: str) -> int:
        return self.global_sites if part == WHOLE else self.sites

    def _ridge(self, part: str) -> float:
        return self.global_ridge if part == WHOLE else self.ridge

    def _slice(self, part: str) -> slice:
        start = sum(self._count(one) for one in self.parts[: self.parts.index(part)])
        return slice(start, start + self._count(part))

    def _label(self, clip: Int64[np.ndarray, " trial"]) -> Int64[np.ndarray, " row"]:
        return (clip[:, None] * self.volumes + np.arange(self.volumes)).ravel()

    def _stack(
        self, signals: Signals, number: int, part: str, regions: Sequence[str]
    ) -> tuple[Int64[np.ndarray, " voxel"], Float[np.ndarray, "row voxel"]]:
        """Columns of a part and its centred rows, a row a trial and volume."""
        names = np.asarray(regions)
        columns = np.arange(len(names)) if part == WHOLE else np.flatnonzero(names == part)
        centred = signals[:, columns] - self.means[number][columns, None]
        return columns, centred.transpose(0, 2, 1).reshape(-1, len(columns)).astype(np.float64)

    def _unstack(self, rows: Float[np.ndarray, "row site"]) -> Float[np.ndarray, "trial site time"]:
        return rows.reshape(-1, self.volumes, rows.shape[1]).transpose(0, 2, 1)


def cross_map(
    x: Float[np.ndarray, "row voxel"],
    targets: Float[np.ndarray, "row site"],
    clip: Int64[np.ndarray, " row"],
    ridge: float,
    folds: int,
) -> Float[np.ndarray, "row site"]:
    """Each row on the map by ridge regression on the rows of the clips in other folds; neighbours share a fold."""
    fold = clip * folds // (int(clip.max()) + 1)
    made = np.empty((len(x), targets.shape[1]))
    for one in np.unique(fold):
        out = fold == one
        rest = x[~out] if (~out).any() else x
        aims = targets[~out] if (~out).any() else targets
        made[out] = x[out] @ solve_ridge(rest, aims, ridge * len(rest))
    return made


def solve_ridge(
    x: Float[np.ndarray, "row voxel"], y: Float[np.ndarray, "row site"], penalty: float
) -> Float[np.ndarray, "voxel site"]:
    """argmin |y − x w|² + penalty |w|², in whichever of the two forms is smaller."""
    if len(x) < x.shape[1]:
        return x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y)
    return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
