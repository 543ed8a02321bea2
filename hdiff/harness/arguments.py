"""ModelArguments, GenerationArguments: what `--model_args` and `--gen_kwargs` may hold. No lm_eval, no torch.

The harness reads `key=value` itself: a word of digits is a number by then, and None and true are no texts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from hdiff.errors import DataError, nearest


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):  # pydantic would read true as 1
        raise ValueError("a truth value is not a number")
    return value


def _name(value: Any) -> Any:
    """Digits are a name; of a name that reads as 1e5 nobody knows how it was written."""
    return str(value) if isinstance(value, int | os.PathLike) and not isinstance(value, bool) else value


Whole = Annotated[int, BeforeValidator(_no_bool)]
Count = Annotated[Whole, Field(ge=1)]
Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Name = Annotated[str, BeforeValidator(_name), Field(min_length=1)]
Automatic = Annotated[str, Field(pattern=r"^auto(:\d+)?$")]

_COUNT = "a whole number of at least 1"
_NAME = "put a name that reads as a number in quotes"


class Arguments(BaseModel):
    """Arguments that are checked before anything is loaded; descriptions of fields say what is expected."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    where: ClassVar[str]


class ModelArguments(Arguments):
    """Arguments of `--model hdiff`.

    Attributes:
        run: Run folder, folder of `hdiff export`, or repository of the hub.
        draws: Orders (or states) that a likelihood averages over.
        steps: Steps T of scoring and of generating; None scores unit by unit and generates in 16.
        seed: Seed of everything random.
        revision: Of a repository.
        batch_size: Texts scored together; `auto` and None take 64.
        max_batch_size: Not used.
        device: Where the model runs; None is the CPU, which also takes the place of a GPU that is not there.
    """

    where = "--model hdiff"

    run: Name | None = Field(None, description=f"a folder or repository; {_NAME}")
    draws: Count = Field(4, description=_COUNT)
    steps: Count | None = Field(None, description=f"{_COUNT}, or leave it out to score unit by unit")
    seed: Whole = Field(0, description="a whole number")
    revision: Name | None = Field(None, description=f"a branch, tag or commit; {_NAME}")
    batch_size: Count | Automatic | None = Field(None, description=f"{_COUNT}, or auto")
    max_batch_size: Count | None = Field(None, description=f"{_COUNT}, or leave it out")
    device: str | None = Field(None, description="cpu, cuda, cuda:0 or another device of PyTorch")


class GenerationArguments(Arguments):
    """What a task may ask of generated text.

    Attributes:
        until: Texts that end it.
        max_gen_toks: Its tokens; the default is that of the harness.
        do_sample: Whether tokens are drawn; None draws at temperatures other than 0 and 1.
        temperature: Divides the logits; 0 is greedy.
        top_k: As in `Sampling`.
        top_p: As in `Sampling`.
        infill: Whether the context is a text with gaps, `The dog [4].`.
    """

    where = "generation_kwargs (--gen_kwargs)"

    until: str | tuple[str, ...] | None = Field(
        None, description="a text or a list of texts; put one that reads as a number in quotes"
    )
    max_gen_toks: Count = Field(256, description=_COUNT)
    do_sample: bool | None = Field(None, description="true or false")
    temperature: Annotated[Number, Field(ge=0)] = Field(1.0, description="a number of at least 0")
    top_k: Count | None = Field(None, description=f"{_COUNT}, or leave it out to keep all")
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = Field(
        None, description="a probability in (0, 1], or leave it out to keep all"
    )
    infill: bool = Field(False, description="true or false")


Kind = TypeVar("Kind", bound=Arguments)


def checked(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """Reads arguments of a kind."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        names = dict.fromkeys(str(item["loc"][0]) for item in error.errors())
        problems = [_problem(kind, name, values) for name in names]
        raise DataError(f"{kind.where}: {'; '.join(problems)}") from None


def _problem(kind: type[Arguments], name: str, values: Mapping[str, Any]) -> str:
    fields = kind.model_fields
    if name not in fields:
        return f"no argument '{name}'{nearest(name, fields)} (known: {', '.join(fields)})"
    return f"{name} is {values[name]!r:.80}; give {fields[name].description}"
