"""Errors a user can act on. The CLI prints their text as one line and exits with code 2."""


class UserError(Exception):
    """Something the user can put right: the message gives the value, the expectation and the remedy."""


class RecipeError(UserError):
    """A recipe is malformed: unknown key, wrong type, impossible combination."""


class DataError(UserError):
    """A source text or a prepared data set is missing, unreadable or does not fit."""


class ParserError(UserError):
    """A parser or its model is missing or cannot parse what it was given."""


class CheckpointError(UserError):
    """A run folder or checkpoint is missing, incomplete or damaged."""
