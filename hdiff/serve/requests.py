"""Requests of the page: what may be asked, and how much of it. No web server."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hdiff.control.request import Request
from hdiff.errors import DataError

MOST_CHARACTERS = 2_000
"""Longest text of a request."""
MOST_STEPS = 256
MOST_SAMPLES = 8
MOST_TRIES = 16
MOST_BYTES = 32_768
"""Largest body of a request: `MOST_CHARACTERS` in JSON, every one escaped, and some room."""

Text = Annotated[str, Field(max_length=MOST_CHARACTERS)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CorruptRequest(_Body):
    """A sentence that is to be corrupted, and the seed."""

    text: Text
    seed: Seed = 0


class DrawRequest(_Body):
    """What every request for new text may set.

    Attributes:
        samples: Texts.
        steps: Steps T; None leaves them to the sampler.
        seed: Seed of everything random.
        temperature: Divides the logits.
    """

    samples: int = Field(1, ge=1, le=MOST_SAMPLES)
    steps: Steps | None = None
    seed: Seed = 0
    temperature: float = Field(1.0, gt=0, le=5)


class RestoreRequest(DrawRequest):
    """A sentence of which what time t hides is filled in, or a fresh text.

    Attributes:
        text: The sentence; None for a fresh text.
        t: Time in (0, 1] to which it is corrupted, with the seed.
        length: Tokens of a fresh text; None takes those the model was trained on.
    """

    text: Text | None = None
    t: float = Field(1.0, gt=0, le=1)
    length: int | None = Field(None, ge=1)


class ControlRequest(DrawRequest):
    """Text under a control.

    Attributes:
        kind: `infill`, `keywords` or `skeleton`.
        text: Pattern with gaps, keywords separated by commas, or skeleton, as `hdiff sample` takes them.
        length: Tokens of a text with keywords.
        tries: Placements of the keywords, or texts drawn until a parse has the skeleton.
    """

    kind: Literal["infill", "keywords", "skeleton"]
    text: Text
    length: int | None = Field(None, ge=1)
    tries: int | None = Field(None, ge=1, le=MOST_TRIES)

    def request(self) -> Request:
        """The same as `hdiff sample` is asked."""
        named = {self.kind: self.text}
        return Request(**named, length=self.length, tries=self.tries)


Body = TypeVar("Body", bound=_Body)


def parse_body(kind: type[Body], content: bytes) -> Body:
    """Reads the JSON of a request of a kind."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        key = ".".join(map(str, first["loc"])) or "the request"
        raise DataError(f"{key}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None
