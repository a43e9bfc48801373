"""What determines a phantom EEG data set, in its sizes; what is planted, how large, and why so large.

Everything here is chosen from what is known of real signals, or from the aim that is named, before any method was run;
the two strengths that had to be found (`evoked`, `induced`) on the seeds 101-103, not on the shipped one (0).

| planted                                     | size                                    | known of real signals       |
|---------------------------------------------|-----------------------------------------|-----------------------------|
| evoked responses, `evoked`                  | 1.6 µV over the cap, noise 6-8 µV       | -10 to -20 dB a trial       |
| power of rhythms, `induced`                 | deviation .5 of its logarithm at most   | [1] [2] [3]                 |
| normalisation within a lobe                 | doubled drive: response × 1.26          | [4] [5]                     |
| latency by strength, `latency_by_strength`  | 8 ms earlier for e times the drive      | [6] [7]                     |
| latency from trial to trial, `jitter`       | 8 ms                                    | [8]                         |
| conjunctions, object × action, × place      | gain 0.4-0.9 of the object's own        | [9] [10] [11]               |
| states of noise: alpha, background          | power × 6, × 1.5, about 10 s long       | [1] [12]                    |

 1. Aranibar & Pfurtscheller 1978: alpha falls by 72 ± 13 % when a light comes on, by 42 ± 24 % when it goes off
 2. Hoogenboom et al. 2006, Muthukumaraswamy & Singh 2013: gamma of visual cortex rises with the stimulus and its kind
 3. Pfurtscheller & Lopes da Silva 1999: event-related changes of alpha and beta power, tens of per cent
 4. Heeger 1992, Carandini & Heeger 2012: r = u / (σ² + pool)^½, σ near the middle of the range
 5. Kay et al. 2013: compressive from V1 on, more so further forward (LO, VO)
 6. Laron et al. 2009: 6 ms later from the highest to the lowest contrast
 7. Pijn et al. 1985, Müller & Göpfert 1988: peak latencies fall with the logarithm of contrast
 8. Comput. Math. Methods Med. 2021, 8875445: estimates of latency are tried on jitters of ±5 and ±10 ms
 9. Baldassano et al. 2017: pSTS represents human-object interactions beyond the sum of both; the LOC does not
10. Brandman & Peelen 2017: objects and scenes interact beyond the sum, 320 ms after onset
11. Sripati & Olson 2010: nonlinear terms in IT's responses to compound objects exist, weaker than the linear ones
12. Arazi et al. 2017: variability and broadband power move together, by about 40 %

Lobes (`head.GAINS`, `head.RHYTHM_GAINS`) follow the visual system: colour and luminance occipital; objects temporal
(LOC, fusiform) and less in occipital and parietal lobes; motion parietal (MT's projection to the scalp); conjunctions
temporal (pSTS) and parietal. Power: gamma where the stimulus is analysed (occipital, temporal), alpha where attention
releases it (occipital, parietal), beta in between; the central lobe has a little mu and beta for objects that can be
handled (Proverbio 2012). Frontal rhythms carry nothing, and frontal evoked responses next to nothing.

What no linear reader reads: the conjunctions (their mean over actions and places is zero for every concept), which
state a trial is in, latency, and powers unless it is given their logarithms as features. Nothing is planted for the
sake of a method: volume conduction spreads every lobe, a third of the tuning is a head's own, confounds are off.

How the sizes were found. `evoked` and `induced` (and how loud the rhythms are) on seeds 101-103, so that ridge reads
about the same from either; `exemplar` so that the observer, which knows everything, stays below one; more trials a
subject (3 clips of a concept in a block, not 2) as far as the main job's ten minutes allow. `shifted` on seeds
102-105, with whose means a pooled ridge reads .194 of the known subjects' concepts, .057 of the new subjects' and .152
with a map.

`small`: 840 trials a subject. `shifted`: the same in heads that differ more (`SHIFTED`). `study`: SEED-DV's own
geometry, 15 known and 5 new subjects, 1,400 trials each, 3.6 GB. `tiny`: for tests.
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
    version: int = 2  # of the generator
    subjects: int = 9
    concepts: tuple[int, ...] = tuple(range(40))
    clips: int = 3  # of a concept in a block
    hint_seconds: int = 1
    pixels: int = 64

    # what a clip is to the head
    coarse: float = 0.5  # share of an object's embedding that its coarse class has in common
    own: float = 0.87
    object_norm: float = 4.0
    exemplar: float = 0.9  # deviation of a clip's embedding from its concept's, a dimension
    evoked: float = 1.8  # microvolts over the cap of what features evoke in a head without differences
    trial_gain: float = 0.2
    normalisation: float = 1.0  # of a lobe's responses by its drive; 0 leaves them linear
    latency_by_strength: float = 0.008  # earlier, for e times the drive
    jitter: float = 0.008  # deviation of a trial's latency
    conjunctions: float = 1.0  # scales the gains of object × action and object × place

    # what a clip does to rhythms
    induced: float = 0.7  # deviation over concepts of a rhythm's logarithmic power, where its gain is one
    rhythm_alpha: float = 4.0  # microvolts over the cap
    rhythm_beta: float = 3.0
    rhythm_gamma: float = 1.5

    # noise
    background: float = 6.0
    alpha: float = 4.0
    sensor: float = 2.0
    ongoing: float = 0.3  # activity of the task dipoles, in units of a feature
    alpha_states: float = 6.0  # power in the one state to that in the other
    background_states: float = 1.5
    state_stays: float = 0.8  # probability that a clip is in the state of the one before
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
    electrode_gain: float = 0.0
    conductivity: float = 0.0  # of the skull

    # planted confounds, for the audits to find; all off by default
    block_drift: float = 0.0  # microvolts: a slow course over the block, alike in all blocks and subjects
    hint_response: float = 0.0  # share of the object response that the written name evokes during the hint
    leaked_label: float = 0.0  # microvolts: a 30 Hz tone in one channel whose strength tells the concept
    run_offset: float = 0.0  # microvolts: a level of each channel that is each block's own, in each subject

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

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


# Strengths at which a confound is planted for the audits to find: each is a field of the spec. None is louder than
# what the clips evoke (1.6 µV over the cap), and all lie well below the background (6 µV): nobody would see them in
# the raw traces. A written name that evokes half of what its picture evokes is what reading studies would call small.
PLANTED: dict[str, float] = {"block_drift": 0.8, "run_offset": 0.8, "hint_response": 0.5, "leaked_label": 1.2}

# Differences between the heads of `shifted`, all through the head model. The folds of two cortices do not match, so the
# sources of one area point anywhere; the area itself lies a centimetre or two elsewhere (V5's place differs by up to
# 27 mm: Watson et al. 1993); a cap sits a few centimetres off (a degree is 1.7 mm on the scalp), far more than one that
# is put on with care; impedances and amplifiers differ by a third; the skull conducts 50 to 130 times worse than the
# brain (ratios of 15 to 80 are in use: Wang & Ren 2013, doi 10.1155/2013/459346).
# Responses are a fifth louder than in `small`: what a map brings back has to stand clear of chance.
SHIFTED: dict[str, Any] = {
    "orientation": 180.0,
    "position": 0.012,
    "cap": 14.0,
    "electrode_gain": 0.3,
    "conductivity": 0.5,
    "evoked": 2.2,
    "induced": 0.85,
}

SIZES: dict[str, PhantomSpec] = {
    "tiny": PhantomSpec(size="tiny", subjects=4, concepts=CLASS_SUBSETS[10], clips=1),
    "small": PhantomSpec(size="small"),
    "shifted": PhantomSpec(size="shifted", **SHIFTED),
    "study": PhantomSpec(size="study", subjects=20, clips=5, hint_seconds=3),
}


def find_spec(size: str, **changes: Any) -> PhantomSpec:
    """The spec of a size with changes; raises BenchError for an unknown size."""
    if size not in SIZES:
        raise BenchError(f"unknown phantom size {size!r}; there are {', '.join(SIZES)}, e.g. phantom_eeg:tiny")
    return replace(SIZES[size], **changes)


def read_spec(stored: dict[str, Any]) -> PhantomSpec:
    """A spec from its JSON form."""
    return PhantomSpec(**{**stored, "concepts": tuple(stored["concepts"])})
