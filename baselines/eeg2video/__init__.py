"""EEG2Video: windows of EEG to frame latents and text embeddings, and a tuned video generator (Liu et al., "EEG2Video:
Towards Decoding Dynamic Visual Perception from EEG Signals", NeurIPS 2024).
"""

from bench.toolbox.lazy import load_lazily

__getattr__ = load_lazily(__name__, EEG2Video="method", list_paper_parts="method", list_work="work")
