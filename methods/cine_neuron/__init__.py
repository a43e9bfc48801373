"""CineNeuron: fMRI-to-video reconstruction by semantic enrichment and a mixture of memories (Wei, Ma et al., "Bridging
Brain and Semantics: A Hierarchical Framework for Semantically Enhanced fMRI-to-Video Reconstruction").
"""

from bench.toolbox.lazy import load_lazily

__getattr__ = load_lazily(__name__, CineNeuron="method", list_paper_parts="networks", list_work="work")
