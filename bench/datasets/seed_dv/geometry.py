"""Where everything lies in SEED-DV's layout: channels, timing, order of the concepts, frames.

Source: EEG2Video's scripts (segmentation, `extract_gif.py`, the metric script) and the release's meta-info. A block is
40 slots of one concept each: a hint that names the concept (3 s), then five clips of 2 s without a gap. The official
numbers are the defaults here; a phantom writes its own to `geometry.json` and is read by the same code.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from bench.core.errors import DatasetError
from bench.datasets.seed_dv.concepts import CONCEPTS

CHANNELS: tuple[str, ...] = (
    *("FP1", "FPZ", "FP2", "AF3", "AF4", "F7", "F5", "F3", "F1", "FZ", "F2", "F4", "F6", "F8"),
    *("FT7", "FC5", "FC3", "FC1", "FCZ", "FC2", "FC4", "FC6", "FT8"),
    *("T7", "C5", "C3", "C1", "CZ", "C2", "C4", "C6", "T8"),
    *("TP7", "CP5", "CP3", "CP1", "CPZ", "CP2", "CP4", "CP6", "TP8"),
    *("P7", "P5", "P3", "P1", "PZ", "P2", "P4", "P6", "P8"),
    *("PO7", "PO5", "PO3", "POZ", "PO4", "PO6", "PO8", "CB1", "O1", "OZ", "O2", "CB2"),
)

# concept (1-based, as released) of each slot, a row a block: `GT_label` of the scripts, `All_video_label.npy`
GT_LABEL: tuple[tuple[int, ...], ...] = tuple(
    tuple(int(number) for number in row.split(","))
    for row in (
        "23,22,9,6,18,14,5,36,25,19,28,35,3,16,24,40,15,27,38,33,34,4,39,17,1,26,20,29,13,32,37,2,11,12,30,31,8,21,7,10",
        "27,33,22,28,31,12,38,4,18,17,35,39,40,5,24,32,15,13,2,16,34,25,19,30,23,3,8,29,7,20,11,14,37,6,21,1,10,36,26,9",
        "15,36,31,1,34,3,37,12,4,5,21,24,14,16,39,20,28,29,18,32,2,27,8,19,13,10,30,40,17,26,11,9,33,25,35,7,38,22,23,6",
        "16,28,23,1,39,10,35,14,19,27,37,31,5,18,11,25,29,13,20,24,7,34,26,4,40,12,8,22,21,30,17,2,38,9,3,36,33,6,32,15",
        "18,29,7,35,22,19,12,36,8,15,28,1,34,23,20,13,37,9,16,30,2,33,27,21,14,38,10,17,31,3,24,39,11,32,4,25,40,5,26,6",
        "29,16,1,22,34,39,24,10,8,35,27,31,23,17,2,15,25,40,3,36,26,6,14,37,9,12,19,30,5,28,32,4,13,18,21,20,7,11,33,38",
        "38,34,40,10,28,7,1,37,22,9,16,5,12,36,20,30,6,15,35,2,31,26,18,24,8,3,23,19,14,13,21,4,25,11,32,17,39,29,33,27",
    )
)

BLOCK_NAMES = ("1st_10min", "2nd_10min", "3rd_10min", "4th_10min", "5th_10min", "6th_10min", "7th_10min")


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Shape and timing of a data set in SEED-DV's layout. `concepts` are indices into `CONCEPTS`."""

    subjects: int = 20
    concepts: tuple[int, ...] = tuple(range(40))
    clips: int = 5  # of a concept in a block
    hint_seconds: int = 3
    clip_seconds: int = 2
    sampling_rate: int = 200  # Hz
    fps: int = 24
    frames: tuple[int, ...] = (0, 8, 16, 24, 32, 40)  # of the 48 of a clip: 3 a second
    width: int = 512
    height: int = 288

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(CONCEPTS[concept] for concept in self.concepts)

    @property
    def order(self) -> Int64[np.ndarray, "block slot"]:
        """Concept of each slot as an index into `names`: the official order, without the concepts not shown."""
        place = {concept + 1: index for index, concept in enumerate(self.concepts)}
        return np.array([[place[number] for number in row if number in place] for row in GT_LABEL])

    @property
    def slot_seconds(self) -> int:
        return self.hint_seconds + self.clips * self.clip_seconds

    @property
    def block_seconds(self) -> int:
        return len(self.concepts) * self.slot_seconds

    @property
    def block_samples(self) -> int:
        return self.block_seconds * self.sampling_rate

    @property
    def block_frames(self) -> int:
        return self.block_seconds * self.fps

    @property
    def clip_samples(self) -> int:
        return self.clip_seconds * self.sampling_rate

    @property
    def block_clips(self) -> int:
        return len(self.concepts) * self.clips

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a recording: (block, channel, sample)."""
        return len(GT_LABEL), len(CHANNELS), self.block_samples

    def onset(self, slot: int, position: int) -> int:
        """Seconds from the block's start to the start of a clip. No latency shift, no gap between clips."""
        return slot * self.slot_seconds + self.hint_seconds + position * self.clip_seconds

    def clip_table(self) -> dict[str, Int64[np.ndarray, " clip"]]:
        """Columns clip, block (1-7), slot, position, concept of all clips, in order of presentation."""
        blocks, slots = self.order.shape
        block, slot, position = (grid.ravel() for grid in np.indices((blocks, slots, self.clips)))
        return {
            "clip": np.arange(len(block)),
            "block": block + 1,
            "slot": slot,
            "position": position,
            "concept": self.order[block, slot],
        }

    def concept_slots(self, block: int) -> Int64[np.ndarray, " concept"]:
        """Slot of each concept in a block (1-7): the `indices` by which the papers pair test clips."""
        return np.argsort(self.order[block - 1])

    def concept_order(self, block: int) -> Int64[np.ndarray, " clip"]:
        """Clips of a block (1-7), concept by concept as the papers evaluate them, not as they were shown."""
        first = (block - 1) * self.block_clips + self.concept_slots(block) * self.clips
        return (first[:, None] + np.arange(self.clips)).ravel()

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def read_geometry(root: Path) -> Geometry:
    """`geometry.json` of the folder, or the official geometry; raises DatasetError for an unusable file."""
    path = root / "geometry.json"
    if not path.exists():
        return Geometry()
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        tuples = {name: tuple(stored[name]) for name in ("concepts", "frames")}
        return Geometry(**{**stored, **tuples})
    except (ValueError, TypeError, KeyError) as error:
        raise DatasetError(f"{path} is no geometry ({error}); make the phantom again or delete the file") from error
