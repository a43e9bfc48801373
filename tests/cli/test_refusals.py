"""Wrong input ends before anything is read, made or run: a message that names what is allowed, and nothing left behind.

That it ends at once is tested by what it must not do: load torch, open a data set, make a phantom, make a store.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bench.cli import main
from bench.cli.app import command
from bench.core.progress import wrap_message

RUN = ("run", "--method", "sam_net")
REFUSED = {
    "an ablation with a variant": ((*RUN, "--ablation", "hrt", "--variant", "wo_hrt"), ["--ablation or --variant"]),
    "quick with a size": ((*RUN, "--quick", "--dataset", "phantom_eeg:small"), ["phantom_eeg:tiny", "leave one out"]),
    "quick on real data": ((*RUN, "--quick", "--dataset", "seed_dv"), ["seed_dv", "leave one out"]),
    "a shard that is none": ((*RUN, "--shard", "a"), ["'a'", "i/n", "2/8"]),
    "a shard beyond the last": ((*RUN, "--shard", "9/8"), ["'9/8'", "1 <= i <= n"]),
    "negative epochs": ((*RUN, "--set", "epochs=-5"), ["epochs=-5", "above 0"]),
    "a width that is no number": (("run", "--method", "cine_neuron", "--set", "width=wide"), ["width", "wide"]),
    "a billion seeds": ((*RUN, "--seeds", "1000000000"), ["1000000000", "1 to 1000"]),
    "no seed": ((*RUN, "--seeds", "0"), ["0 seeds", "1 to 1000"]),
    "a wrong split": ((*RUN, "--split", "cross"), ["'cross'", "cross_subject"]),
    "a wrong split of a table": (("table", "--split", "new"), ["'new'", "new_subject"]),
    "a wrong metric": (("table", "--metric", "sssim"), ["sssim", "ssim"]),
    "a wrong metric of a comparison": (("compare", "sam_net", "retrieval", "--metric", "psnrr"), ["psnrr", "psnr"]),
    "a wrong data set": ((*RUN, "--dataset", "phantom_eg"), ["phantom_eg", "phantom_eeg"]),
    "a wrong size of a phantom": (("audit", "--dataset", "phantom_eeg:huge"), ["huge", "tiny"]),
    "another modality": ((*RUN, "--dataset", "phantom_fmri"), ["decodes eeg", "fmri", "phantom_eeg"]),
    "a wrong method": (("compare", "samnet", "retrieval"), ["samnet", "sam_net"]),
    "a wrong variant": ((*RUN, "--variant", "wo_hrtt"), ["wo_hrtt", "wo_hrt"]),
    "a wrong ablation": (("table", "--ablation", "htr"), ["htr", "hrt"]),
    "a wrong suite": ((*RUN, "--suite", "minny"), ["minny", "mini"]),
    "a wrong protocol": ((*RUN, "--protocol", "neuron"), ["neuron", "neurons"]),
    "no time at all": ((*RUN, "--time-limit", "0s"), ["'0s'", "1h30m"]),
    "a time that is none": ((*RUN, "--time-limit", "soon"), ["'soon'", "90s"]),
    "more seeds than anybody has time for": ((*RUN, "--seeds", "1000000000"), ["1000000000", "1 to 1000"]),
    "more threads than a machine has": ((*RUN, "--threads", "1000000000"), ["1000000000 threads", "1 to 1024"]),
    "an output that is a folder": ((*RUN, "--output", "."), ["folder", "name a file"]),
    "an output below a file": (("table", "--output", "taken/table.md"), ["taken", "folder of yours"]),
    "a figure of no kind": (("figure", "clips", "--output", "clips.doc"), ["clips.doc", ".png"]),
    "a folder that is not there": (
        (*RUN, "--dataset", "seed_dv", "--data-root", "nowhere"),
        ["nowhere", "--data-root"],
    ),
    "a store beside what is committed": (("table", "--published", "--runs", "runs"), ["--runs", "leave it out"]),
    "a paper's table with a split": (("run", "--paper", "sam_net.1", "--split", "new_subject"), ["--split", "--paper"]),
    "neither method nor paper": (("run",), ["--method NAME", "--paper TABLE"]),
    "a paper's table that is none": (("table", "--paper", "sam_net.9"), ["sam_net.9", "sam_net.4"]),
    "references of an ablation": (("table", "--ablation", "hrt", "--references"), ["leave the references out"]),
    "no workers": (("speed", "scale", "--workers", "1,0"), ["'1,0'", "1 to 1024", "1,2,4"]),
    "a number of workers twice": (("speed", "scale", "--workers", "2,4,2"), ["'2,4,2'", "2 twice"]),
    "jobs of an audit": (("audit", "--jobs", "2"), ["--jobs", "--measure"]),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_wrong_input_ends_at_once_and_leaves_nothing(name, tmp_path):
    arguments, words = REFUSED[name]
    (tmp_path / "taken").touch()
    code = (
        "import sys; from bench.cli import main; code = main(sys.argv[1:]); "
        "heavy = {'torch', 'transformers', 'diffusers', 'datasets'} & set(sys.modules); "
        "assert not heavy, heavy; sys.exit(code)"
    )
    environment = os.environ | {"BENCH_HOME": str(tmp_path / "home"), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr and not done.stdout
    said = " ".join(done.stderr.split())  # however its lines were broken
    for word in words:
        assert word in said
    assert not find_wide(done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def find_wide(said: str) -> list[str]:
    """The lines of more than 100 columns; a path or an address may be longer, and then stands in a line of its own."""
    return [line for line in said.splitlines() if len(line) > 100 and len(line.split()) > 1]


def list_commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, one in group.commands.items():
        found += list_commands(one, (*path, name)) if isinstance(one, click.Group) else [((*path, name), one)]
    return found


@pytest.mark.parametrize(
    ("path", "verb"), list_commands(command), ids=lambda part: "-".join(part) if isinstance(part, tuple) else ""
)
def test_every_help_has_an_example_that_is_understood_and_every_option_its_default(path, verb, capsys):
    assert main([*path, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    example = text.partition("Example: python -m bench ")[2]
    assert example.split()[: len(path)] == list(path)
    with verb.make_context(
        path[-1], example.split()[len(path) :], parent=click.Context(command, show_default=True)
    ) as ctx:
        for option in verb.params:
            if isinstance(option, click.Option) and not (option.is_flag or option.required or option.multiple):
                _, shown = option.get_help_record(ctx) or ("", "")
                assert "[default: " in shown, option.opts


LONG = "a_folder_of_a_long_name_in_which_there_is_nothing/" * 3 + "nowhere"
WIDE = {  # refused by each verb, most of them in more than a line
    "run": ("--method", "nosuch"),
    "table": ("--paper", "sam_net.9"),
    "score": ("--predictions", LONG, "--targets", "b"),
    "submit": (*("--videos", LONG, "--dataset", "cc2017", "--method", "mine"), "--source", "http://here"),
    "compare": ("sam_net", "retrieval", "--metric", "psnrr"),
    "figure": ("clips", "--method", "sam_net", "--output", f"{LONG}.doc"),
    "list": ("nosuch",),
    "new": ("3x",),
    "check": (f"{LONG}.py:Mine",),
    "pack": ("--method", "sam_net:nosuch", "--runs", LONG),
    "verify": (f"{LONG}.zip",),
    "publish": ("--bundle", f"{LONG}.zip"),
    "board": ("--results", LONG),
    "data": ("verify", "seed_dv", "--root", "nowhere"),
    "suite": ("info", "nosuch"),
    "audit": ("--dataset", "nosuch"),
    "human": ("tally", f"{LONG}.json", "answers.json"),
    "doctor": ("nosuch",),
    "speed": ("nosuch",),
}


@pytest.mark.parametrize("verb", list(command.commands))
def test_no_refusal_is_wider_than_100_columns(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in (WIDE[verb], ("--no-such-option-as-" + "this-one" * 20,)):
        assert main([verb, *words]) in (1, 2)
        said = capsys.readouterr().err
        assert "rror:" in said and not find_wide(said), said


def test_a_message_loses_no_word_and_what_is_copied_stays_together():
    step = "`python -m bench run --method sam_net --split cross_subject --seeds 3`"
    message = f"error: {LONG} is none; {'allowed are these, ' * 9}and then ({step}, twice)\n    " + "indented " * 20
    said = wrap_message(message)
    assert said.split() == message.split() and not find_wide(said) and f"({step}," in said
    assert all(line.startswith("    ") for line in said.split("(" + step)[1].split("\n")[1:])
    assert wrap_message("short\n  as it is") == "short\n  as it is"
    assert not find_wide(wrap_message(f"a ` alone, then `{'much to type ' * 20}`"))


def test_an_epilogue_is_no_example_of_another_verb():
    for path, verb in list_commands(command):
        assert verb.epilog and f"bench {' '.join(path)}" in verb.epilog, path


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1d", 86400), ("45", 45), (1.5, 1.5)],
)
def test_a_time_limit_is_read_as_it_is_written(text, seconds):
    from bench.api.names import parse_time_limit

    assert parse_time_limit(text) == seconds
    assert parse_time_limit(None) is None
