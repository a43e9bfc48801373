"""GLFA: fMRI of several subjects on one common map, then to video. The README says what is faithful."""

from bench.toolbox.lazy import load_lazily

__getattr__ = load_lazily(__name__, Glfa="method", list_paper_parts="method", list_work="work")
