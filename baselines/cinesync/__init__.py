"""CineSync, of CineBrain's authors: fMRI or EEG to video. The README says what is faithful."""

from bench.toolbox.lazy import load_lazily

__getattr__ = load_lazily(__name__, CineSync="method", list_paper_parts="method", list_work="work")
