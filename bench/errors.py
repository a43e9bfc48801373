"""The errors that the command line shows without a traceback: what was bad, what is allowed, what to do."""

from __future__ import annotations


class BenchError(Exception):
    """A problem that the user can act on. The message names the bad value, what is allowed and the next step."""
