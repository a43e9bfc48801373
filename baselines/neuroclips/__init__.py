"""NeuroClips as a baseline; `method.py` has the way from a trial to a video."""

from baselines.neuroclips.method import NeuroClips

__all__ = ["NeuroClips"]
