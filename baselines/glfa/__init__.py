"""GLFA: fMRI of several subjects on one common map, then to video. The README says what is faithful."""

from baselines.glfa.method import Glfa

__all__ = ["Glfa"]
