"""CineSync, of CineBrain's authors: fMRI or EEG to video. The README says what is faithful."""

from baselines.cinesync.method import CineSync

__all__ = ["CineSync"]
