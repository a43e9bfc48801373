"""The command line: a file a verb, each a thin layer over the functions that `bench` offers in Python."""

from bench.cli.app import main

__all__ = ["main"]
