"""`human`: the verb of `bench.cli` that builds a page for raters, and tallies what they answered."""

from __future__ import annotations

import argparse
import secrets
from typing import TYPE_CHECKING, Any

from bench.cli import default_dataset, open_setting
from bench.cli_tables import is_current
from bench.core.errors import BenchError
from bench.core.progress import say

if TYPE_CHECKING:
    from bench.store.cells import Cell


def build_study(options: argparse.Namespace) -> int:
    from bench.store.cells import Store
    from leaderboard.comparison import parse_side
    from leaderboard.figures import find_rows
    from leaderboard.web.human import build_study as write_study

    sides = list(dict.fromkeys(parse_side(one) for one in options.method))
    options.dataset = options.dataset or default_dataset(sides[0][0])
    dataset, suite = open_setting(options)
    made = [cell for cell in Store(options.runs).cells() if is_current(cell.manifest, dataset, suite, options.classes)]
    made = [cell for cell in made if cell.manifest["spec"]["seed"] == options.seed]
    rows: dict[tuple[str, str], list[Cell]] = {}
    for method, variant in sides:
        rows |= find_rows(made, [method], [variant], None, options.split)
    if absent := [f"--method {method} --variant {variant}" for (method, variant), cells in rows.items() if not cells]:
        rest = f"--split {options.split} --dataset {options.dataset} --classes {options.classes} --runs {options.runs}"
        commands = "; ".join(f"python -m bench run {one} --seeds {options.seed + 1} {rest}" for one in absent)
        raise BenchError(
            f"{options.runs} holds no such reconstructions of {options.dataset}; make them with: {commands}"
        )
    # Whoever knows the seed can name the videos, so nobody does before the study is made; the key keeps it.
    seed = secrets.randbits(48) if options.name_seed is None else options.name_seed
    page = write_study(rows, dataset, options.output, count=options.count, seed=seed, shuffled=not options.no_shuffled)
    say(f"written: {page}; give the raters its folder {page.parent}, and keep {options.output / 'key.json'} from them")
    return 0


def tally_answers(options: argparse.Namespace) -> int:
    from leaderboard.rendering import render, write
    from leaderboard.web.human import tally

    write(render(tally(options.answers, options.key), options.format), options.output)
    return 0


VERBS: dict[str, Any] = {verb.__name__: verb for verb in (build_study, tally_answers)}
