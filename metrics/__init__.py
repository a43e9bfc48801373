"""Metrics: pure functions of two videos, a file an idea, and the protocols that put them together.

Nothing of this project outside this folder is imported. `n_way`, `retrieval`, `pixel`, `ssim`, `colour`, `consistency`,
`flow`, `motion` and `frechet` hold the functions and, below them, their specs; `specs` says what a spec is, `checks`
what a function of videos refuses; `protocols` names which metrics are computed together, and how.
"""
