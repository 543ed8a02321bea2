"""SharedParser: the parser of a shared model's training text. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from hdiff.config.section import Section


class SharedParser(Section):
    """A parser a shared folder may ask for: one of hdiff's own, with an installed model or its default."""

    name: Literal["spacy", "plain"]
    model: str | None = Field(None, pattern=r"^[A-Za-z][A-Za-z0-9_]{0,99}$")

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> SharedParser | None:
        """What a record of a training says of its parser; None if it is one that cannot be named here."""
        try:
            return cls(name=record["name"], model=record.get("model"))
        except (KeyError, ValidationError):
            return None
