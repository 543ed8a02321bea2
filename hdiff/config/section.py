"""Section: a strict part of a recipe. No torch."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from hdiff.value_types import is_section, plain_values


class Section(BaseModel):
    """A strict, frozen recipe section."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Arguments = Annotated[dict[str, Any], BeforeValidator(plain_values)]
"""Constructor arguments in their normal form, on which equality, files and digests agree."""

Component = Annotated[Arguments, AfterValidator(is_section)]
"""`{kind: name, **constructor arguments}`; the constructor's signature checks the arguments."""
