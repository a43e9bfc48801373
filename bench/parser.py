"""The commands and their options. Which function of `bench.cli` serves a command is its `verb`."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.parser_board import add_board_verbs

FORMATS = ("md", "csv", "json", "latex")
CLASSES = (10, 20, 30, 40)
KINDS = ("methods", "datasets", "splits", "protocols", "metrics", "suites")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Brain2Video Bench")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    run = verbs.add_parser("run", help="make, reconstruct and score the cells of a method, with floors and ceilings")
    what = run.add_mutually_exclusive_group(required=True)
    what.add_argument("--method", help="a name of `list methods`, or path/file.py:Class")
    what.add_argument("--paper", metavar="TABLE", help="all that a paper's table lacks, such as sam_net.3")
    run.add_argument("--split", default="cross_subject", help="single_subject, cross_subject (default) or new_subject")
    run.add_argument("--variant", action="append", default=[], help="a named variant (again for more)")
    run.add_argument("--ablation", help="every variant of a group, with its base")
    run.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the method")
    add_setting(run)
    run.add_argument("--seeds", type=positive, default=1, help="how many seeds, from 0 (3 before a difference is one)")
    run.add_argument("--jobs", type=positive, help="local processes (default: one a core)")
    run.add_argument("--threads", type=positive, default=1, help="threads a cell computes with")
    run.add_argument("--shard", metavar="i/n", help="only this part of the cells, for several machines")
    run.add_argument("--dry-run", action="store_true", help="print the cells and whether they are there")
    run.add_argument("--quick", action="store_true", help="the same chain on the tiny phantom")
    run.add_argument(
        "--protocol", action="append", default=[], metavar="NAME", help="score by this one too, or path/file.py:NAME"
    )
    add_references(run)
    add_output(run)
    run.set_defaults(verb="run_method")

    table = verbs.add_parser("table", help="tables of what the store holds")
    table.add_argument("--paper", metavar="TABLE", help="a paper's table, reported beside measured (sam_net.1); or all")
    table.add_argument(
        "--differences", action="store_true", help="with --paper: what its ablations claim, and whether it was measured"
    )
    table.add_argument("--published", action="store_true", help="of the committed results, not of --runs")
    table.add_argument("--ablation", help="paired differences between a group's base and its variants")
    table.add_argument("--method", help="only this method (with --ablation: default the one that has it)")
    table.add_argument("--split", help="only this split")
    add_setting(table)
    table.add_argument("--protocol", default="corrected", help="a name of `list protocols`, path/file.py:NAME, or all")
    table.add_argument("--metric", help="only this metric")
    add_references(table)
    add_output(table)
    table.set_defaults(verb="print_table")

    add_figures(verbs.add_parser("figure", help="pictures of the store and of fitted methods, with their numbers"))

    score = verbs.add_parser("score", help="score videos made elsewhere (mp4, gif, webm, npy, frame folders)")
    score.add_argument("--predictions", required=True, type=Path, metavar="DIR")
    score.add_argument("--targets", type=Path, metavar="DIR", help="true videos, named alike; without them: vbench")
    score.add_argument("--target-name", default="{}", metavar="gt_{}", help="how a target is named after its clip")
    score.add_argument("--side-by-side", choices=("truth-left", "truth-right"), help="both videos in one picture")
    score.add_argument("--frames", default="same", metavar="RULE", help="same, first:N or even:N frames are compared")
    score.add_argument("--protocol", default="eeg2video", help="a name of `list protocols`, path/file.py:NAME, or all")
    score.add_argument("--metrics", default="all", help="names or path/file.py:NAME, separated by commas; or all")
    score.add_argument("--suite", default="mini")
    score.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the judges; fp32 is exact")
    score.add_argument("--threads", type=positive, help="threads the judges compute with (default: all cores)")
    score.add_argument("--no-floors", action="store_true", help="leave the floors out: fewer passes of the judges")
    score.add_argument("--table", choices=("summary", "clips"), help="one table only (default: both; csv, json: clips)")
    add_output(score)
    score.set_defaults(verb="score_folder")

    listing = verbs.add_parser("list", help="what there is to run")
    listing.add_argument("kind", nargs="?", choices=KINDS)
    listing.set_defaults(verb="list_names")

    data = verbs.add_parser("data", help="make, verify and describe data sets")
    data.add_argument("action", choices=("make", "verify", "info"))
    data.add_argument("dataset", help="a name of `list datasets`, such as phantom_fmri or phantom_eeg:tiny")
    data.add_argument("--root", dest="data_root", type=Path, metavar="DIR", help="where the data set lies")
    data.add_argument("--jobs", type=positive)
    add_output(data)
    data.set_defaults(verb="handle_data")

    suite = verbs.add_parser("suite", help="build, fetch, verify and describe suites of pretrained networks")
    suite.add_argument("action", choices=("build", "fetch", "verify", "info"))
    suite.add_argument("suite", help="mini, paper or a folder")
    suite.add_argument("--only", help="build one network only")
    add_output(suite)
    suite.set_defaults(verb="handle_suite")

    audit = verbs.add_parser("audit", help="look for leaks and confounds in a data set, its splits and its results")
    audit.add_argument("--dataset", default="phantom_eeg")
    audit.add_argument("--data-root", metavar="DIR", help="where a real data set lies")
    audit.add_argument("--runs", type=Path, metavar="DIR", help="a store whose predictions are examined too")
    audit.add_argument("--measure", action="store_true", help="detection and false alarms on phantoms with confounds")
    audit.add_argument("--seeds", type=positive, default=50, help="phantoms to measure on")
    audit.add_argument("--jobs", type=positive, help="local processes (default: one a core)")
    add_output(audit)
    audit.set_defaults(verb="audit_data")

    speed = verbs.add_parser("speed", help="time scoring against a plain script, and the board's statistics")
    speed.add_argument("what", choices=("scoring", "memory", "statistics"))
    speed.add_argument("--clips", type=positive, default=16)
    speed.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="beside exact fp32")
    speed.add_argument("--threads", type=positive, help="threads the judges compute with (default: all cores)")
    add_output(speed)
    speed.set_defaults(verb="measure_speed")

    add_board_verbs(verbs, add_setting, add_output)

    doctor = verbs.add_parser("doctor", help="check this machine")
    doctor.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    add_output(doctor)
    doctor.set_defaults(verb="examine")
    return parser


def add_figures(parser: argparse.ArgumentParser) -> None:
    figures = parser.add_subparsers(required=True, metavar="NAME")
    clips = figures.add_parser("clips", help="true clips against reconstructions in the store; runs nothing")
    clips.add_argument("--method", action="append", default=[], help="a method, floor or ceiling (again for more)")
    clips.add_argument("--variant", action="append", default=[], help="of the methods that have it (again for more)")
    clips.add_argument("--ablation", help="every variant of a group of the first method that has it")
    clips.add_argument("--split", default="cross_subject")
    clips.add_argument("--clips", type=numbers, metavar="N,N", help="these clips; default: by hash, so nobody picks")
    clips.add_argument("--count", type=positive, default=4, help="how many clips the hash chooses")
    clips.add_argument("--frames", type=positive, default=3, help="of a clip, evenly spread")
    clips.add_argument("--subject", type=int, help="default: by hash for each clip")
    subjects = figures.add_parser("subjects", help="subjects before and after C-SA and New2Source; fits SAM-Net twice")
    electrodes = figures.add_parser("electrodes", help="scalp maps of what HRT reads; fits SAM-Net")
    voxels = figures.add_parser("voxels", help="what CineNeuron's first layer reads by region; fits its first stage")
    for one in (subjects, electrodes, voxels):
        one.add_argument(
            "--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter; epochs=5 fits quickly"
        )
    for one in (clips, subjects, electrodes, voxels):
        add_setting(one)
        one.add_argument("--seed", type=int, default=0)
        one.add_argument("--format", choices=FORMATS, default="md", help="of the numbers on standard output")
        one.add_argument("--output", type=Path, metavar="FILE", help="png, pdf or svg (default: in figures/)")
        one.set_defaults(verb="draw_figure", figure=one.prog.split()[-1])


def numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers like 12,40") from None


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def add_setting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset", help="or path/file.py:Class; default: the phantom of the kind that the method decodes"
    )
    parser.add_argument("--data-root", metavar="DIR", help="where a real data set lies")
    parser.add_argument("--suite", default="mini", help="mini, paper or a folder")
    parser.add_argument("--classes", type=int, default=40, choices=CLASSES, help="subset of concepts")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="the store")


def add_references(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--references", action="store_true", help="also a row for each floor and ceiling")


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=FORMATS, default="md")
    parser.add_argument("--output", type=Path, metavar="FILE")
