"""Encoders that others published, before one read-out and one generator; and what baselines with token networks share.

`door` is the common door; `eeg`, `fmri` and `ridge` hold the encoders. `brain_tokens` and `contrast` serve GLFA,
CineSync, MinD-Video and Mind-Animator: brain data to a generator's text tokens and to CLIP's embeddings.
"""

from bench.toolbox.lazy import load_lazily

__getattr__ = load_lazily(
    __name__,
    **dict.fromkeys(("EEGNet", "ShallowConvNet", "Deep4", "EEGConformer", "ATCNet", "ContrastiveEEG"), "eeg"),
    **dict.fromkeys(("RidgeEEG", "RidgeFmri"), "ridge"),
    **dict.fromkeys(("SharedRidge", "MLPBackbone"), "fmri"),
    list_work="work",
)
