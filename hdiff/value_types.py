"""Value types: what a key of a recipe or of another strict file may hold.

Truth values, numbers and texts are never converted into each other; numbers are finite.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, Strict

LARGEST = 2**31 - 1
"""Largest count: what one dimension of a tensor, or a wait in seconds, can be asked for without overflow."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_EXPANDED_BY_A_SHELL = re.compile(r"^~|^\$|\$\{")


def _visible(text: str) -> str:
    if control := _CONTROL.search(text):
        raise ValueError(f"the character {control[0]!r} is in it; expected text on one line")
    return text


def _written_out(path: str) -> str:
    if _EXPANDED_BY_A_SHELL.search(path):
        raise ValueError(
            f"only a shell expands that; write the path out, or put ./ before it: {_guess(path)}"
        )
    return path


def _guess(path: str) -> str:
    return shlex.quote(str(Path.home()) + path[1:] if path == "~" or path.startswith("~/") else f"./{path}")


Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict(), Field(ge=0, le=LARGEST)]
Count = Annotated[int, Strict(), Field(ge=1, le=LARGEST)]
Seed = Annotated[int, Strict(), Field(ge=0, lt=2**63)]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
Fraction = Annotated[Number, Field(ge=0, lt=1)]
Seconds = Annotated[Number, Field(gt=0, le=10**6)]
Text = Annotated[str, Strict(), Field(min_length=1), AfterValidator(_visible)]
Folder = Annotated[Text, AfterValidator(_written_out)]


def plain_values(value: Any) -> Any:
    """The normal form of arguments, what JSON gives back of them: lists for tuples, texts for keys."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"expected numbers, texts, lists and sections ({error})") from error
    except ValueError as error:
        raise ValueError("expected finite numbers") from error
    return json.loads(text, object_pairs_hook=_without_repeats)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"two keys are written alike among {[key for key, _ in pairs]}; keep one of them")
    return values


def is_section(value: dict[str, Any]) -> dict[str, Any]:
    """Refuses a component without a `kind`, or whose kind is no text."""
    if not isinstance(value.get("kind"), str):
        raise ValueError("expected a kind in it: {kind: NAME, ...}")
    return value


EXPECTED: Mapping[str, str] = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "string_too_short": "a text that is not empty",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a section of keys",
    "model_type": "a section of keys",
    "mapping_type": "a section of keys",
    "dataclass_type": "a section of keys",
}
"""Kind of a problem as pydantic names it -> what the value should have been."""


def expectation(problem: Mapping[str, Any]) -> str:
    """What a key should hold, as a clause for an error: `expected ...`."""
    if (kind := problem["type"]) in EXPECTED:
        return f"expected {EXPECTED[kind]}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return message.replace("Input should be a valid ", "expected ").replace("Input should be", "expected")


def spelled(value: object, length: int = 200) -> str:
    """A value as a file has it, cut to so many characters."""
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= length else f"{text[:length]}..."


AnswerEnd = Literal["length", "token", "padding"]
"""How an answer to a prompt ends: a head gives its length, and the token behind it is given; one end-of-text
token that is scored; or end-of-text tokens up to the end of the row, all of them scored."""
