"""Protocols: which metrics are computed, and exactly how: one paper's way each, and ours.

All published scripts rank the judge's classes for the true clip and count the three best as right, so the chance level
of their "N-way" is 3/(N+2); the N−1 distractors come from the judge's other classes, so "40-way" is not over the 40
concepts of SEED-DV. Left out of all of them on purpose: the random drawing of distractors (its exact expectation is
taken; `n_way.sample_n_way_accuracy` is the drawn form) and the rounding of probabilities to half precision before
they are ranked (it only makes ties among the least likely classes, which an unstable sort then broke arbitrarily).
The published "±" is no standard error of the table value and is not computed; intervals are those of this project.

Pixels are prepared as each publisher's script does, not as a checkpoint's processor says: a metric asks for a view of
that preparation (`clip_vbench`, `dinov2_dynamind`; `bench.pretrained.judges.publishers`), the same judge's view may
differ between two protocols, and each has a digest of its own. `tests/publisher_rows.py` holds every such metric
against its script, written anew, at 16:9, square, odd, portrait and small sizes: equal to 1e-6, but for what is said
below with its size there (on random networks of the papers' side). All scripts read files with OpenCV, decord or PIL
and, on a GPU, CLIP in half precision; here PyAV reads them, and float32 is the default.

- `eeg2video` (`40_class_run_metrics.py`): six frames at their native size; frame accuracies averaged over all frames;
  SSIM as scikit-image computes it by default on RGB. PSNR is what the newer script of those authors intends.
- `neuroclips`: no metric code was released. The paper names N-way, SSIM, PSNR and CLIP-pcc on six frames; its SSIM is
  most likely that of the MindEye line (grey, column by column, see `neurons`), CLIP-pcc is taken as adjacent cosine
  without a gate (CLIP ViT-B/32, the model is not named). PixCorr is its training-time figure.
- `neurons` (`eval_metrics.py`): side-by-side GIFs cut in two halves with their 2-pixel grid border left in; SSIM after
  `rgb2gray` with `channel_axis=-1` on a 2-D picture, so that each column of pixels is a "channel"; CLIP-pcc over all
  pairs of frames with ViT-L/14, version 2: pixels of transformers' processor, whose crop rounds half of an odd margin
  down (open_clip, as in version 1, rounds it to the even number: a pixel to the side, 3e-3).
- `mind_animator`: 8 frames at 512², the truth resized to the prediction's size by OpenCV (bilinear); 2-way only; PSNR
  capped at 100 dB; hue with red and blue exchanged and a cosine called pcc; EPE by Farneback on pictures whose red and
  blue are exchanged; CLIP-pcc is 0 unless a VIFI similarity exceeds 0.6. `frame_2way` was drawn 20 or 100 times.
  Version 2 of `hue_pcc` takes the first 6 frames, as the newer script does; of `vifi_score` and of `clip_pcc`, which it
  gates, pixels as `VIFI_CLIP_score.py` makes them: squashed to 512², 256², the middle 224, red and blue exchanged
  (OpenCV wrote RGB frames as BGR), ImageNet's mean and deviation as ViFi-CLIP was trained with, and frames weighed as
  mmaction samples them (all alike where there are 8). What stays different: that script reads its videos from Xvid
  files, which are not written again here (0.015 in `vifi_score`); and the truth's files of that one script may have
  been written in true colours (`img_to_avi.py`), while in the repository's other uses both sides are exchanged
  (`gif_to_avi.py`): here both are, so that a perfect prediction scores 1 (0.11). Frames that are not square fail in
  the script; here they are squashed, as its `step2_get_video_frames.py` does.
- `cinebrain`: the first 33 frames of the prediction (the video judge sees 16 tubelets and ignores the last frame); DTC
  and CTC are adjacent cosines of DINOv2 and CLIP. The authors' code for both is unreleased; that of DynaMind, which
  reports the same columns, is, and version 2 prepares pixels as its `ctc_dtc.py` does: bilinear to 256 and the middle
  224 for DINOv2 (version 1: the processor's bicubic, up to .08), transformers' crop for CLIP. DINOv2 itself is that of
  the suite (`dinov2-base`): the script asks timm for `dinov2_vits14`, a name that timm does not have. FVD is over the
  features of the video judge here, so its values compare within this board only.
- `cine_neuron`: Δ dynamic degree of CineNeuron's Table 2, a property of a set of videos (`metrics.dynamic_degree`); no
  code was released. A clip's values are whether it moves and whether that is wrong; the paper's table makes Δ of both.
- `vbench`: no truth is needed. Motion smoothness needs AMT, dynamic degree RAFT; with DIS flow in their place they
  carry `_dis` in their names, because the values differ. VBench reads mp4 at 8 frames a second: `dynamic_degree`
  counts pairs of the frames as given. Its subject consistency is weighted by frames, here by clips: the same for clips
  of one length. Version 2 of three of its metrics: subject consistency shows DINO the whole frame, its shorter side
  at 224 (version 1 squashed it, .15 a clip at 16:9); of the two ways in which VBench reads videos, files (mp4, GIF)
  without antialiasing and folders of pictures (`read_frame`) with it, both consistencies follow that of files, its
  default, because files are what is scored here (version 1 of background consistency: the other; .07); dynamic degree
  pads frames on both sides and leaves the padding in the flow (version 1 cut it, 4 %). What stays different: frames
  below 121 pixels are enlarged for RAFT, where VBench's has no flow for them; and `dino-vitb16` as converted to the
  hub has a LayerNorm epsilon of 1e-12, the original 1e-6 (2e-7).
- `corrected` (ours): only the judge's best class of the true clip is right, so chance is 1/N, and each accuracy is also
  given normalised by chance; the same over the benchmark's own concepts; consistency of frames stands beside the degree
  of motion, because a still video is perfectly consistent; grid borders are cut off. Judges see pixels as their own
  processors make them.
- `real` (ours): what can be said of real videos by an image classifier and by pixels alone, which is what suite `light`
  has: accuracies as in `corrected`, retrieval of the clip among all that are scored and a Fréchet distance by what the
  classifier knows before it names a class, colour and motion.

A metric is a pure function of `Scored` rows (`metrics.specs`), so any pairing of rows is computed from the same views.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from metrics.colour import HUE_CORRELATION, HUE_COSINE
from metrics.consistency import (
    BACKGROUND_CONSISTENCY,
    CLIP_CONSISTENCY,
    CLIP_PCC_ADJACENT,
    CLIP_PCC_ALL_PAIRS,
    CLIP_PCC_GATED,
    CTC_DYNAMIND,
    DTC,
    DTC_DYNAMIND,
    FLICKERING,
    SUBJECT_CONSISTENCY,
    VIFI_SCORE,
)
from metrics.dynamic_degree import ERROR_DIS, ERROR_RAFT
from metrics.frechet import FRAME_DISTANCE, FVD
from metrics.motion import (
    DIFFERENCE_DIS,
    DYNAMIC_DIS,
    DYNAMIC_RAFT,
    EPE_DIS,
    EPE_FARNEBACK,
    MAGNITUDE,
    SMOOTHNESS_AMT,
    SMOOTHNESS_DIS,
)
from metrics.n_way import accuracy_spec, concept_spec, normalised_spec
from metrics.pixel import PIXCORR, PSNR
from metrics.retrieval import frame_gallery_spec, gallery_spec
from metrics.specs import MetricSpec, Scored
from metrics.ssim import SSIM, SSIM_GREY_COLUMNS

__all__ = ["PROTOCOLS", "MetricSpec", "Protocol", "Scored", "ShapeMismatch"]


class ShapeMismatch(ValueError):
    """Prediction and target cannot be compared; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A named set of metrics.

    `frames` is the number of frames that a clip must have, None for any that prediction and target share; `published`
    the number that its paper scored. `border` says what becomes of the grid border of side-by-side videos, `resize`
    whether the target is resized to the prediction's size. `differs` says how it differs from `corrected`.
    Indexing by a metric's name gives its spec; it raises KeyError with the names of those there are.

    >>> mine = Protocol(name="mine", summary="pixels alone", differs="", metrics=(SSIM, PSNR))
    >>> mine["psnr"].hi
    100.0
    >>> mine["epe"]
    Traceback (most recent call last):
    KeyError: "protocol 'mine' has no metric 'epe': it has ssim, psnr"
    """

    name: str
    summary: str
    differs: str
    metrics: tuple[MetricSpec, ...]
    frames: int | None = None
    published: int = 6
    border: Literal["kept", "cut"] = "kept"
    resize: bool = False

    def __getitem__(self, metric: str) -> MetricSpec:
        for spec in self.metrics:
            if spec.name == metric:
                return spec
        names = ", ".join(spec.name for spec in self.metrics)
        raise KeyError(f"protocol {self.name!r} has no metric {metric!r}: it has {names}")

    @property
    def views(self) -> tuple[str, ...]:
        """The views that its metrics need, sorted.

        >>> EEG2VIDEO.views
        ('frame', 'video')
        """
        return tuple(sorted({view for spec in self.metrics for view in spec.views}))

    def check(self, predicted: npt.NDArray[np.uint8], target: npt.NDArray[np.uint8], *, clip: object = "") -> None:
        """Raises ShapeMismatch unless the two can be compared under this protocol.

        Both must be u8 [..., f, h, w, 3] with the same number of frames, which is `frames` where the protocol sets it,
        and of the same size unless the protocol resizes. `clip` is what the message calls them.

        >>> video = np.zeros((6, 64, 64, 3), np.uint8)
        >>> EEG2VIDEO.check(video, video)
        >>> CORRECTED.check(video, video[:5], clip=7)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        metrics.protocols.ShapeMismatch: clip 7: the prediction has 6 frames of ...: no frame of the one is known ...
        """
        which = f"clip {clip}: " if clip != "" else ""
        for side, video in (("prediction", predicted), ("target", target)):
            if video.dtype != np.uint8 or video.ndim < 4 or video.shape[-1] != 3:
                raise ShapeMismatch(
                    f"{which}the {side} is {video.dtype} {list(video.shape)}: "
                    "allowed is uint8 RGB [frame, height, width, 3]"
                )
        given, wanted = predicted.shape[-4:], target.shape[-4:]
        if given[0] != wanted[0]:
            raise ShapeMismatch(
                f"{which}the prediction has {_words(predicted)}, the target {_words(target)}: no frame of the one is "
                "known to belong to a frame of the other; name a rule, such as --frames even:6 or --frames first:6"
            )
        if given != wanted and not self.resize:
            raise ShapeMismatch(
                f"{which}the prediction has {_words(predicted)}, the target {_words(target)}: protocol {self.name!r} "
                "compares videos of one size; write predictions with the target's size"
            )
        if self.frames is not None and wanted[0] != self.frames:
            raise ShapeMismatch(
                f"{which}prediction and target have {_words(target)}: protocol {self.name!r} uses {self.frames}; "
                f"name a rule, such as --frames even:{self.frames}, or use --protocol corrected"
            )


def _words(video: npt.NDArray) -> str:
    frames, height, width, _ = video.shape[-4:]
    return f"{frames} frames of {height}×{width} pixels (height×width)"


def _accuracies(*n_ways: int, right: int) -> tuple[MetricSpec, ...]:
    return tuple(accuracy_spec(judge, n_way, right) for judge in ("video", "frame") for n_way in n_ways)


_TOP_ONE = _accuracies(2, 40, right=1)
_OF_FRAMES = tuple(accuracy_spec("frame", n_way, 1) for n_way in (2, 40, 50))
_TOP_ONE_OF_50 = _accuracies(50, right=1)  # of the fMRI papers

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="eeg2video",
            summary="the SEED-DV papers' script: top-three truth, six frames, RGB SSIM",
            differs="three classes count as right (40-way chance .071), frame counts must be 6",
            frames=6,
            metrics=(*_accuracies(2, 40, right=3), SSIM, PSNR),
        ),
        Protocol(
            name="neuroclips",
            summary="as far as NeuroClips' paper says: top-three truth, column-wise grey SSIM, adjacent CLIP cosine",
            differs="three classes count as right; SSIM of grey columns (about .12 higher than RGB)",
            metrics=(*_accuracies(2, 50, right=3), SSIM_GREY_COLUMNS, PSNR, PIXCORR, CLIP_PCC_ADJACENT),
        ),
        Protocol(
            name="neurons",
            summary="NEURONS' eval_metrics.py: top-three truth, column-wise grey SSIM, all-pairs CLIP cosine",
            differs="three classes count as right; SSIM of grey columns; grid borders kept; CLIP-pcc over all pairs",
            metrics=(*_accuracies(2, 50, right=3), SSIM_GREY_COLUMNS, PSNR, CLIP_PCC_ALL_PAIRS),
        ),
        Protocol(
            name="mind_animator",
            summary="Mind-Animator's scripts: 2-way, gated CLIP-pcc, hue cosine, Farneback EPE, VIFI score",
            differs="three classes count as right; CLIP-pcc gated; hue is no correlation; EPE of exchanged colours",
            published=8,
            resize=True,
            metrics=(
                *_accuracies(2, right=3),
                SSIM,
                PSNR,
                HUE_COSINE,
                EPE_FARNEBACK,
                CLIP_PCC_GATED,
                VIFI_SCORE,
            ),
        ),
        Protocol(
            name="cinebrain",
            summary="CineBrain's columns: top-three truth, RGB SSIM, DTC (DINOv2), CTC (CLIP), Fréchet video distance",
            differs="three classes count as right; consistency stands without the degree of motion",
            published=33,
            metrics=(*_accuracies(2, 50, right=3), SSIM, PSNR, DTC_DYNAMIND, CTC_DYNAMIND, FVD),
        ),
        Protocol(
            name="cine_neuron",
            summary="as far as CineNeuron's paper says: the dynamic degree of a set against that of the true clips",
            differs="VBench's rule, clip by clip; the paper's own number is of the whole set",
            published=57,
            metrics=(DYNAMIC_RAFT, DYNAMIC_DIS, ERROR_RAFT, ERROR_DIS),
        ),
        Protocol(
            name="vbench",
            summary="VBench's motion and consistency dimensions: no true clip needed",
            differs="nothing is compared with a true clip; a still video scores 1 in four of its dimensions",
            published=16,
            metrics=(
                SUBJECT_CONSISTENCY,
                BACKGROUND_CONSISTENCY,
                FLICKERING,
                SMOOTHNESS_AMT,
                SMOOTHNESS_DIS,
                DYNAMIC_RAFT,
                DYNAMIC_DIS,
            ),
        ),
        Protocol(
            name="corrected",
            summary="ours: only the judge's best class is right; raw and normalised; consistency beside motion",
            differs="",
            border="cut",
            metrics=(
                *_TOP_ONE,
                *_TOP_ONE_OF_50,
                *(normalised_spec(spec) for spec in _TOP_ONE),
                concept_spec(2),
                concept_spec(40),
                gallery_spec(1),
                gallery_spec(5),
                SSIM,
                PSNR,
                HUE_CORRELATION,
                CLIP_CONSISTENCY,
                DTC,
                SMOOTHNESS_DIS,
                MAGNITUDE,
                DIFFERENCE_DIS,
                EPE_DIS,
                FVD,
            ),
        ),
        Protocol(
            name="real",
            summary="ours, of real videos: an image classifier's accuracies, retrieval and distance; colour; motion",
            differs="asks the frame judge alone, which suite light has",
            border="cut",
            metrics=(
                *_OF_FRAMES,
                *(normalised_spec(spec) for spec in _OF_FRAMES),
                frame_gallery_spec(1),
                frame_gallery_spec(5),
                SSIM,
                PSNR,
                HUE_CORRELATION,
                SMOOTHNESS_DIS,
                MAGNITUDE,
                DIFFERENCE_DIS,
                EPE_DIS,
                FRAME_DISTANCE,
            ),
        ),
    )
}
EEG2VIDEO, CORRECTED = PROTOCOLS["eeg2video"], PROTOCOLS["corrected"]
