"""NeuroClips as a baseline; `method.py` has the way from a trial to a video."""

from bench.toolbox.lazy import load_lazily

__getattr__ = load_lazily(__name__, NeuroClips="method", list_paper_parts="networks", list_work="work")
