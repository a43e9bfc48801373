"""MinD-Video: fMRI to video by a brain encoder with temporal attention and an inflated Stable Diffusion (Chen et al.,
"Cinematic Mindscapes: High-quality Video Reconstruction from Brain Activity", NeurIPS 2023).
"""

from bench.toolbox.lazy import load_lazily

__getattr__ = load_lazily(__name__, MindVideo="method", list_paper_parts="method", list_work="work")
