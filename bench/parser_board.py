"""The commands of comparing, publishing and submitting; as `bench.parser`, it loads nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

Adder = Callable[[argparse.ArgumentParser], None]


def add_board_verbs(verbs: Any, add_setting: Adder, add_output: Adder) -> None:
    """`verbs` is what `add_subparsers` returned; the others add the options that many verbs share."""
    compare = verbs.add_parser("compare", help="two methods on the same clips: differences, their certainty, extremes")
    compare.add_argument("a", metavar="A", help="a method, or method:variant")
    compare.add_argument("b", metavar="B", help="another method or variant")
    compare.add_argument("--split", help="only this split")
    compare.add_argument("--protocol", default="corrected", help="a name of `list protocols`, or path/file.py:NAME")
    compare.add_argument("--metric", help="only this metric, with the clips where both differ most")
    compare.add_argument("--published", action="store_true", help="compare committed results, not those of --runs")
    add_setting(compare)
    add_output(compare)
    compare.set_defaults(verb="compare")

    publish = verbs.add_parser("publish", help="copy manifests, scores and a few clips of a store into the results")
    publish.add_argument("--bundle", type=Path, metavar="FILE", help="a submission in place of --runs, verified first")
    publish.add_argument("--results", type=Path, metavar="DIR", help="default: leaderboard/results of this checkout")
    add_setting(publish)
    publish.set_defaults(verb="publish_results", classes=None)  # all subsets

    board = verbs.add_parser("board", help="LEADERBOARD.md, its exports and its site from the committed results")
    board.add_argument("--results", type=Path, metavar="DIR", help="default: leaderboard/results of this checkout")
    board.add_argument("--output", type=Path, metavar="DIR", help="default: leaderboard of this checkout")
    board.add_argument("--check", action="store_true", help="write nothing; exit 1 if the files there would change")
    board.add_argument(
        "--hub",
        type=Path,
        metavar="DIR",
        help="instead, write every clip's scores there as a data set for Hugging Face",
    )
    board.set_defaults(verb="make_board")

    add_human(
        verbs.add_parser("human", help="people's judgement: a page for raters, and what they answered"),
        add_setting,
        add_output,
    )

    check = verbs.add_parser("check", help="try every contract of a method on the tiny phantom")
    check.add_argument("method", help="a name of `list methods`, or path/file.py:Class")
    check.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the method")
    check.add_argument("--suite", default="mini")
    add_output(check)
    check.set_defaults(verb="check")

    new = verbs.add_parser("new", help="write a method of one screen that runs, and its test, to start from")
    new.add_argument("name", help="such as my_method")
    new.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="where to write (default: here)")
    new.add_argument("--modality", choices=("eeg", "fmri"), default="eeg")
    new.set_defaults(verb="start_method")

    pack = verbs.add_parser("pack", help="put a method's cells into one file to submit")
    pack.add_argument("--method", required=True)
    pack.add_argument("--variant", default="base")
    pack.add_argument("--split", help="only this split (default: all in the store)")
    pack.add_argument("--bundle", type=Path, metavar="FILE", help="default: <method>.<variant>.zip")
    add_setting(pack)
    pack.set_defaults(verb="pack_method")

    verify = verbs.add_parser("verify", help="check a bundle offline and score it again")
    verify.add_argument("bundle", type=Path)
    verify.add_argument("--data-root", metavar="DIR", help="where a real data set lies")
    add_output(verify)
    verify.set_defaults(verb="verify_file")


def add_human(parser: argparse.ArgumentParser, add_setting: Adder, add_output: Adder) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    build = actions.add_parser("build", help="a static page that shows truth and anonymous methods; runs nothing")
    build.add_argument("--method", action="append", required=True, help="a method, or method:variant (again for more)")
    build.add_argument("--split", default="cross_subject")
    build.add_argument("--seed", type=int, default=0, help="of the runs")
    build.add_argument("--count", type=int, default=12, metavar="N", help="how many clips the hash chooses")
    build.add_argument("--no-shuffled", action="store_true", help="leave the shuffled brains out: half as many videos")
    build.add_argument(
        "--name-seed", type=int, metavar="N", help="of the videos' names (default: drawn; the key has it)"
    )
    build.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder")
    add_setting(build)
    build.set_defaults(verb="build_study")

    tally = actions.add_parser("tally", help="means with intervals, and the raters' agreement, of their answers")
    tally.add_argument("key", type=Path, metavar="DIR/key.json", help="what `build` wrote beside the page")
    tally.add_argument("answers", type=Path, nargs="+", metavar="answers.json", help="a file a rater")
    add_output(tally)
    tally.set_defaults(verb="tally_answers")
