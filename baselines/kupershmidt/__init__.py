"""Self-supervised reconstruction of natural films, as a baseline; `method.py` has the whole of it."""

from bench.toolbox.lazy import load_lazily

__getattr__ = load_lazily(__name__, Kupershmidt="method", list_paper_parts="method")
