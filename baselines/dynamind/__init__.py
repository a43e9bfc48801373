"""DynaMind (Liu et al., arXiv 2509.01177): EEG to video through regions, a prior, a blueprint and Tune-A-Video."""

from bench.toolbox.lazy import load_lazily

__getattr__ = load_lazily(
    __name__, DynaMind="method", DynaMindOracle="oracle", list_paper_parts="networks", list_work="work"
)
