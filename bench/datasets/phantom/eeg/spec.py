"""What determines a phantom EEG data set, in three sizes.

The defaults started from the feasibility study's and two numbers were set, `evoked` and `exemplar`, before any
method was run, on the populations and stimuli of other seeds than the reported one (seed 0), with block 6 as the
test and block 7 unread. Aim: open-set concept observer within 0.6-0.95, a new subject visibly worse than one's own.
`small`, subjects 1, 2, 3, 7; linear decoder from 400 trials of one subject; "new" from three others:

| evoked, exemplar | seed | open set           | linear decoder, 40-way | pooled: known, new |
|------------------|------|--------------------|------------------------|--------------------|
| 2.0 µV, 0.6      | 1000 | .85 .88 .90 .80    | .18 .38 .21 .19        | .21, .09           |
| 2.0 µV, 0.6      | 1001 | .95 .90 .98 .95    | .34 .28 .56 .45        | .30, .14           |
| 2.0 µV, 0.6      | 1002 | .96 .99 .96 .95    | .50 .43 .28 .44        | .38, .20           |
| **1.6 µV, 0.7**  | 1000 | .73 .80 .89 .71    | .18 .33 .20 .15        | .15, .06           |
| **1.6 µV, 0.7**  | 1002 | .91 .94 .91 .94    | .43 .40 .16 .36        | .29, .16           |

(Standard error of one number about 0.04: 80 clips.) A first setting that was not made equally strong for all seeds
had been looked at on seed 0, block 7, once: open set 0.97, above the aim. That led to `population_strength` and to
the weaker setting; no number was chosen on seed 0. Nothing here was set for the sake of a method: volume conduction
spreads every lobe, a third of the tuning is a head's own, and no confound is planted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from bench.core.errors import BenchError
from bench.datasets.seed_dv.concepts import CLASS_SUBSETS
from bench.datasets.seed_dv.geometry import Geometry


@dataclass(frozen=True, kw_only=True)
class PhantomSpec:
    """Numbers of a phantom. Lengths in metres, times in seconds, EEG in microvolts."""

    size: str
    seed: int = 0
    version: int = 1  # of the generator
    subjects: int = 9
    concepts: tuple[int, ...] = tuple(range(40))
    clips: int = 2  # of a concept in a block
    hint_seconds: int = 1
    pixels: int = 64

    # what a clip is to the head
    coarse: float = 0.5  # share of an object's embedding that its coarse class has in common
    own: float = 0.87
    object_norm: float = 4.0
    exemplar: float = 0.7  # deviation of a clip's embedding from its concept's, a dimension
    evoked: float = 1.6  # microvolts over the cap of what features evoke in a head without differences
    trial_gain: float = 0.2

    # noise
    background: float = 6.0
    alpha: float = 4.0
    sensor: float = 2.0
    ongoing: float = 0.3  # activity of the task dipoles, in units of a feature
    blinks: float = 0.25  # a second
    saccades: float = 1.0

    # differences between heads
    own_tuning: float = 0.35  # share of the variance of the tuning
    position: float = 0.006
    orientation: float = 30.0  # degrees
    cap: float = 3.0  # degrees of rotation an axis
    source_gain: float = 0.25  # of the logarithm, as all gains
    head_gain: float = 0.2
    latency_scale: float = 0.06
    latency_shift: float = 0.010
    background_gain: float = 0.25
    alpha_gain: float = 0.35
    channel_noise: float = 0.35

    # planted confounds, for the audits to find; all off by default
    block_drift: float = 0.0  # microvolts: a slow course over the block, alike in all blocks and subjects
    hint_response: float = 0.0  # share of the object response that the written name evokes during the hint
    leaked_label: float = 0.0  # microvolts: a 30 Hz tone in one channel whose strength tells the concept
    run_offset: float = 0.0  # microvolts: a level of each channel that is each block's own, in each subject

    def as_dict(self) -> dict[str, Any]:
        """All numbers; one that later versions added only where it is set, so that older phantoms keep their digest."""
        return {name: value for name, value in asdict(self).items() if name not in ADDED or value != ADDED[name]}

    @property
    def geometry(self) -> Geometry:
        return Geometry(
            subjects=self.subjects,
            concepts=self.concepts,
            clips=self.clips,
            hint_seconds=self.hint_seconds,
            width=self.pixels,
            height=self.pixels,
        )


ADDED = {"run_offset": 0.0}  # fields younger than the first phantoms, and what those have

# Strengths at which a confound is planted for the audits to find: each is a field of the spec. None is louder than
# what the clips evoke (1.6 µV over the cap), and all lie well below the background (6 µV): nobody would see them in
# the raw traces. A written name that evokes half of what its picture evokes is what reading studies would call small.
PLANTED: dict[str, float] = {"block_drift": 0.8, "run_offset": 0.8, "hint_response": 0.5, "leaked_label": 1.2}

SIZES: dict[str, PhantomSpec] = {
    "tiny": PhantomSpec(size="tiny", subjects=4, concepts=CLASS_SUBSETS[10], clips=1),
    "small": PhantomSpec(size="small"),
    "full": PhantomSpec(size="full", subjects=20, clips=5, hint_seconds=3),
}


def find_spec(size: str, **changes: Any) -> PhantomSpec:
    """The spec of a size with changes; raises BenchError for an unknown size."""
    if size not in SIZES:
        raise BenchError(f"unknown phantom size {size!r}; there are {', '.join(SIZES)}, e.g. phantom_eeg:tiny")
    return replace(SIZES[size], **changes)


def read_spec(stored: dict[str, Any]) -> PhantomSpec:
    """A spec from its JSON form."""
    return PhantomSpec(**{**stored, "concepts": tuple(stored["concepts"])})
