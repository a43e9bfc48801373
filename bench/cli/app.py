"""The command `bench`: its verbs, and how each of them ends.

Results go to standard output (or `--output`), progress and errors to standard error. Exit code 1: a cell failed or the
user's input was refused; 2: the command cannot be read; 130: stopped by the user.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from bench.cli.audit import audit
from bench.cli.board import board
from bench.cli.check import check
from bench.cli.compare import compare
from bench.cli.data import data
from bench.cli.doctor import doctor
from bench.cli.figure import figure
from bench.cli.human import human
from bench.cli.list import list_names
from bench.cli.new import new
from bench.cli.pack import pack
from bench.cli.publish import publish
from bench.cli.run import run
from bench.cli.score import score
from bench.cli.speed import speed
from bench.cli.streams import close_output, drop, open_streams
from bench.cli.submit import submit
from bench.cli.suite import suite
from bench.cli.table import table
from bench.cli.verify import verify
from bench.core.errors import BenchError
from bench.core.progress import WIDTH, complain, say
from bench.core.version import __version__

VERBS = (
    *(run, table, score, submit, compare, figure, list_names, new, check, pack, verify, publish, board),
    *(data, suite, audit, human, doctor, speed),
)
LIMITS = {  # what the user may raise or free
    errno.EFBIG: "files and memory may be no larger here: raise `ulimit -f`",
    errno.EMFILE: "no more files may be open here: raise `ulimit -n`",
    errno.ENFILE: "no more files may be open on this machine: ask who runs it",
    errno.ENOSPC: "free some space, or name another folder",
    errno.EDQUOT: "free some of your quota, or name another folder",
}


class InOrder(click.Group):
    """A group that lists its commands as they were added: those that are used most come first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": WIDTH},
    epilog="Example: python -m bench run --method sam_net --split cross_subject",
)
@click.version_option(__version__, prog_name="brain2video-bench")
def command() -> None:
    """Brain2Video Bench: run methods, score videos, and see each score between its floor and its ceiling."""


for verb in VERBS:
    command.add_command(verb)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    open_streams()
    try:
        Path.cwd()
    except OSError:  # libraries end the process where there is none, and no relative path means anything
        say("error: the folder that this was started in is not there any more; change into one that is")
        return 1
    code = run_command(arguments)
    if failure := close_output():
        complain(f"error: {failure}")
        return code or 1
    return code


def run_command(arguments: Sequence[str] | None) -> int:
    entered = Path(sys.argv[0]).name
    try:
        code = command.main(
            args=None if arguments is None else list(arguments),
            prog_name="bench" if entered == "bench" else "python -m bench",
            standalone_mode=False,
        )
        return int(code or 0)
    except click.ClickException as error:
        complain(read_usage(error))
        return error.exit_code
    except BenchError as error:
        complain(f"error: {error}")
        return 1
    except (KeyboardInterrupt, click.Abort):
        say("stopped; the same command goes on at the next cell")
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough, as `| head` does
        drop(sys.stdout)
        return 0
    except OSError as error:
        if error.filename is None:
            drop(sys.stdout)  # most likely what could not be written
        complain(f"error: {describe_failure(error)}")
        return 1


def read_usage(error: click.ClickException) -> str:
    """What click shows of a command that it cannot read: the usage, where to find help, and what is wrong."""
    shown = io.StringIO()
    error.show(file=shown)
    return shown.getvalue().rstrip("\n")


def describe_failure(error: OSError) -> str:
    """What the system refused, and on which file: a disk that is full, a folder that is somebody else's or is gone."""
    where = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, (str, bytes)) else ""
    step = LIMITS.get(error.errno or 0, "")
    return f"{error.strerror or error}{where}{step and '; '}{step}"
