"""Errors a user can act on. The CLI prints their text as one line and exits with code 2."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

CPU_ALLOCATOR = "DefaultCPUAllocator"
"""What torch's message says where the memory of a CPU does not suffice; it has no error class of its own."""


class UserError(Exception):
    """Something the user can put right: the message gives the value, the expectation and the remedy.

    Args:
        message: Value and expectation, and the words that lead to the remedies.
        *remedies: What can be typed, any one of them: a command, options or `key=value`. They are printed
            behind the message; a word in capitals stands for what only the user knows.
    """

    key = ""
    """Dotted key of the recipe that it is about, where a component knows it (`at_key`)."""

    def __init__(self, message: str = "", *remedies: str) -> None:
        super().__init__(message, *remedies)  # all of it: an exception travels between processes by its args
        self.remedies = remedies

    def __str__(self) -> str:
        return f"{self.args[0]} {' or '.join(self.remedies)}".rstrip()


class RecipeError(UserError):
    """A recipe is malformed: unknown key, wrong type, impossible combination."""


class DataError(UserError):
    """A source text or a prepared data set is missing, unreadable or does not fit."""


class ParserError(UserError):
    """A parser or its model is missing or cannot parse what it was given."""


class CheckpointError(UserError):
    """A run folder or checkpoint is missing, incomplete or damaged."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint `; did you mean 'x'?`, or an empty string if nothing is near."""
    by_lower_case = {each.casefold(): each for each in known}
    close = get_close_matches(name.casefold(), by_lower_case, n=1)
    return f"; did you mean '{by_lower_case[close[0]]}'?" if close else ""


@contextmanager
def at_key(key: str) -> Iterator[None]:
    """Notes on errors which key of the recipe they are about; the innermost counts."""
    try:
        yield
    except UserError as error:
        error.key = error.key or key
        raise
