"""People's judgement: a page for raters, and what they answered."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.api import names
from bench.api.figures import find_cells
from bench.api.setting import Setting
from bench.core.errors import BenchError
from bench.core.progress import say
from bench.core.variants import parse_side

if TYPE_CHECKING:
    import pandas as pd


def build_study(
    methods: Sequence[str],
    output: str | Path,
    *,
    split: str = "cross_subject",
    seed: int = 0,
    count: int = 12,
    shuffled: bool = True,
    name_seed: int | None = None,
    form: Literal["ratings", "preference"] = "ratings",
    each: int | None = None,
    dataset: str | None = None,
    data_root: str | Path | None = None,
    suite: str = "mini",
    classes: int = 40,
    runs: str | Path = "runs",
) -> Path:
    """Write a static page that shows true clips beside anonymous reconstructions of these methods; returns the page.

    `methods` are names, or `method:variant`. A hash chooses `count` clips. `name_seed` names the videos (drawn, where
    it is not given). `form` "ratings" has each video judged from 1 to 5, "preference" the best of each clip's chosen,
    of `each` clips a rater (None: all). Raises BenchError where the store holds none of a method, with the command
    that makes it.
    """
    sides = list(dict.fromkeys(parse_side(one) for one in methods))
    submitted = [names.find_submitted(method, runs) for method, _ in sides]
    names.check_split(split)
    names.check_output(Path(output) / "key.json")
    setting = Setting(
        dataset=dataset or next(filter(None, submitted), None) or names.default_dataset(sides[0][0]),
        data_root=data_root,
        suite=suite,
        classes=classes,
        runs=runs,
    )
    from leaderboard.figures import find_rows
    from leaderboard.web.human import build_study as write_study

    cells, opened = find_cells(setting, seed)
    rows: dict[tuple[str, str], list[Any]] = {}
    for method, variant in sides:
        rows |= find_rows(cells, [method], [variant], None, split)
    if absent := [
        f"--method {method} --variant {variant}" for (method, variant), cells_there in rows.items() if not cells_there
    ]:
        rest = f"--seeds {seed + 1} --split {split} {setting.repeat()}"
        commands = "; ".join(f"`python -m bench run {one} {rest}`" for one in absent)
        raise BenchError(f"{runs} holds no such reconstructions of {setting.dataset}; make them with: {commands}")
    # Whoever knows the seed can name the videos, so nobody does before the study is made; the key keeps it.
    name_seed = secrets.randbits(48) if name_seed is None else name_seed
    page = write_study(rows, opened, Path(output), count=count, seed=name_seed, shuffled=shuffled, form=form, each=each)
    say(f"written: {page}; give the raters its folder {page.parent}, and keep {Path(output) / 'key.json'} from them")
    return page


def tally_study(key: str | Path, answers: Sequence[str | Path]) -> pd.DataFrame:
    """Means, of preferences shares, with intervals and the raters' agreement, of the answers that they handed back."""
    from leaderboard.web.human import read_key, tally
    from leaderboard.web.preferences import tally_choices

    count = tally_choices if read_key(Path(key)).get("form") == "preference" else tally
    return count([Path(one) for one in answers], Path(key))
