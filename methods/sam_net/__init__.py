"""SAM-Net: cross-subject EEG-to-video reconstruction (Han and Tan, "Cross-Subject EEG-to-Video Reconstruction and
Beyond").
"""

from bench.toolbox.lazy import load_lazily

__getattr__ = load_lazily(__name__, SamNet="method", list_work="work")
