"""The errors that the command line shows without a traceback: what was bad, what is allowed, what to do."""

from __future__ import annotations

from typing import TypeVar

Made = TypeVar("Made")


class BenchError(Exception):
    """A problem that the user can act on. The message names the bad value, what is allowed and the next step."""


class DatasetError(BenchError):
    """A data set that is missing, incomplete or malformed."""


class NotFitted(BenchError):
    """A method that is asked for something before it has learned."""


class UnknownElectrode(BenchError):
    """An electrode whose place on the head its name does not tell."""


class UnknownRegion(BenchError):
    """A region of interest that was named and is not in the data."""


class UnknownSubject(BenchError):
    """A subject without a layer of its own."""


def require_fitted(fitted: Made | None, method: str) -> Made:
    """What `fit` made of a method. Raises NotFitted where there is none yet."""
    if fitted is None:
        raise NotFitted(f"{method} has not been fitted yet: call fit(train, validation) first")
    return fitted
