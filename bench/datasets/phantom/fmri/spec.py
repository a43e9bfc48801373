"""What determines a phantom fMRI data set, in two layouts (cc2017, CineBrain), each in several sizes.

Two numbers were set on other seeds than the reported one (seed 0), before any method of the benchmark was run (the
card's readers were). `signal` (the deviation that a unit of a V1 voxel's own mixture of features causes, in deviations
of its own noise) is such that two repeats of cc2017's clips correlate by about .3 in V1, which is what is published of
people who watch a film again, falling towards higher regions (Schmälzle et al. 2017, doi 10.1101/158188); how it falls
is `cortex`'s. CineBrain has no repeats; its single volumes are taken to be less than half as strong, for they last
0.8 s. `exemplar`, how much a clip's object differs from others of its concept, is such that the open-set observer lies
within 0.6-0.95.

| layout    | size  | signal, exemplar | seed    | subjects | ideal observer, 40-way | best linear | reliability in V1 |
|-----------|-------|------------------|---------|----------|------------------------|-------------|-------------------|
| cc2017    | study | **1.2, 1.0**     | 101     | 4        | .91 .92 .88 .90        | .78 to .84  | .26 and .36       |
| cc2017    | study | **1.2, 1.0**     | 102     | 4        | .89 .90 .92 .91        | .80 to .83  |                   |
| cc2017    | study | **1.2, 1.0**     | 103     | 4        | .90 .92 .94 .91        | .82 to .84  |                   |
| cinebrain | small | **0.5, 2.0**     | 1000    | 2        | .86 .88                | .77 .89     |                   |
| cinebrain | small | 0.35, 2.0        | 1000    | 2        | .76 .85                | .69 .77     |                   |
| cinebrain | small | 0.5, 2.5         | 1000    | 2        | .80 .86                | .74 .85     |                   |

(Standard error of one number about 0.015 of `study`, 0.035 of `small`.) The former phantom had a signal of 0.30 and an
exemplar of 0.6: voxels repeated themselves by about .03, and measurement noise hid all that was not linear (on seed
101 a reader that was told what moves and what is open gained nothing from it). `tiny` has fewer voxels and ten
concepts; its trials for CineBrain are louder. `tested` has `small`'s subjects and as many clips to train on, and tests
600 in place of 120: what an ablation changes is decided by tested clips, and a fit costs no more for them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from bench.core.errors import BenchError
from bench.datasets.seed_dv.concepts import CLASS_SUBSETS, CONCEPTS

Layout = Literal["cc2017", "cinebrain"]
VERSION = 2


@dataclass(frozen=True, kw_only=True)
class FmriSpec:
    """Numbers of a phantom. Times in seconds; a volume's noise has about unit deviation before the z-score."""

    layout: Layout
    size: str
    seed: int = 0
    version: int = VERSION  # of the generator
    subjects: int = 3
    concepts: tuple[int, ...] = tuple(range(40))
    pixels: int = 64

    # what is shown: cc2017 has training and test segments, CineBrain common episodes and a group's own
    segments: tuple[int, int] = (10, 2)
    segment_clips: int = 60
    repeats: tuple[int, int] = (2, 10)
    tr: float = 2.0
    clip_volumes: int = 1
    delay_volumes: int = 2  # from a clip's first volume to the one that is stored for it: 4 s
    frames: int = 6
    eeg_rate: int = 0  # Hz; 0 for no EEG

    # what a clip is to the cortex
    coarse: float = 0.5  # share of an object's embedding that its coarse class has in common
    own: float = 0.87
    exemplar: float = 1.0  # deviation of a clip's object embedding from its concept's, a dimension
    memory_span: float = 60.0  # clips after which the trace of one seen has fallen to 1/e
    sound: float = 0.0  # strength of the sound track: cc2017's films are silent
    conjunctions: float = 1.0  # strength of what is tuned to object × action and object × place; 0 for none

    # cortex and noise
    voxels: float = 1.0  # of the numbers in cortex.REGIONS
    signal: float = 1.2  # deviation that a unit of a V1 voxel's own mixture of features causes, in its own noise's
    ar_share: float = 0.5  # of the variance of a voxel's own noise that is AR(1), the rest is white
    ar: float = 0.4  # of that process, from one second to the next
    physiology: float = 0.6  # deviation of what all voxels share, in that of their own noise, over both states
    physiology_ar: float = 0.7
    drowsy: float = 0.3  # share of the time in which the subject is drowsy
    drowsy_gain: float = 2.0  # deviation of what all voxels share, drowsy over awake
    drowsy_seconds: float = 60.0  # that it lasts, on average
    eeg_signal: float = 0.35

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def clip_seconds(self) -> float:
        return self.tr * self.clip_volumes

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(CONCEPTS[concept] for concept in self.concepts)

    @property
    def episodes(self) -> int:
        """Segments or episodes that exist; in CineBrain's layout two groups of subjects have late ones of their own."""
        return sum(self.segments) if self.layout == "cc2017" else self.segments[0] + 2 * self.segments[1]

    @property
    def clips(self) -> int:
        return self.episodes * self.segment_clips

    def part_episodes(self, subject: int) -> dict[str, list[int]]:
        """Training and test episodes of a subject, in order.

        In CineBrain's layout the last two are tested; subjects 1, 2 and 6 are one group, 3, 4 and 5 the other.
        """
        common, late = self.segments
        if self.layout == "cc2017":
            return {"train": list(range(common)), "test": list(range(common, common + late))}
        first = common + (0 if subject in (1, 2, 6) else late)
        seen = [*range(common), *range(first, first + late)]
        return {"train": seen[:-2], "test": seen[-2:]}


def cinebrain(size: str, **numbers: Any) -> FmriSpec:
    defaults: dict[str, Any] = {
        "subjects": 6,
        "segments": (5, 5),
        "segment_clips": 50,
        "repeats": (1, 1),
        "tr": 0.8,
        "clip_volumes": 5,
        "delay_volumes": 5,
        "frames": 33,
        "eeg_rate": 100,
        "sound": 1.0,
        "signal": 0.5,
        "exemplar": 2.0,
    }
    return FmriSpec(layout="cinebrain", size=size, **{**defaults, **numbers})


TEN = CLASS_SUBSETS[10]
SIZES: dict[str, dict[str, FmriSpec]] = {
    "phantom_fmri": {
        "tiny": FmriSpec(
            layout="cc2017", size="tiny", concepts=TEN, segments=(4, 1), segment_clips=20, voxels=0.25, pixels=64
        ),
        "small": FmriSpec(layout="cc2017", size="small"),
        "tested": FmriSpec(layout="cc2017", size="tested", segments=(10, 10)),
        # the last training segment validates: 2,000 clips are left to train on
        "study": FmriSpec(layout="cc2017", size="study", subjects=8, segments=(11, 2), segment_clips=200),
    },
    "phantom_cinebrain": {
        "tiny": cinebrain("tiny", concepts=TEN, segments=(2, 3), segment_clips=20, voxels=0.15, signal=0.8),
        "small": cinebrain("small"),
        # each subject trains on 13 episodes, one more validates, and each group is tested on two of its own
        "study": cinebrain("study", segments=(10, 6), segment_clips=100),
    },
}


def find_fmri_spec(kind: str, size: str, **changes: Any) -> FmriSpec:
    """The spec of a phantom's size with changes; raises BenchError for an unknown size."""
    if size not in SIZES[kind]:
        raise BenchError(f"unknown phantom size {size!r}; there are {', '.join(SIZES[kind])}, e.g. {kind}:tiny")
    return replace(SIZES[kind][size], **changes)


def read_fmri_spec(stored: dict[str, Any]) -> FmriSpec:
    """A spec from its JSON form. Raises BenchError for what another version of the generator made."""
    if stored.get("version") != VERSION:
        raise BenchError(
            f"a phantom of the generator's version {stored.get('version')}, this is version {VERSION}: "
            "make it again with `python -m bench data make`"
        )
    return FmriSpec(**{**stored, **{name: tuple(stored[name]) for name in ("concepts", "segments", "repeats")}})
