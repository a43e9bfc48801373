"""Mind-Animator: fMRI to video through decoders of semantics, structure and motion (Lu et al., "Animate Your Thoughts:
Reconstruction of Dynamic Natural Vision from Human Brain Activity", ICLR 2025).
"""

from bench.toolbox.lazy import load_lazily

__getattr__ = load_lazily(__name__, MindAnimator="method", list_paper_parts="method", list_work="work")
