"""Self-supervised reconstruction of natural films, as a baseline; `method.py` has the whole of it."""

from baselines.kupershmidt.method import Kupershmidt

__all__ = ["Kupershmidt"]
