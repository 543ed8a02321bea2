"""Pattern: given tokens and gaps; `infill` fills the gaps."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hdiff.control.candidates import Controlled, check_masked_units, check_rows, fill_best
from hdiff.control.free_gaps import draw_lengths, fitting
from hdiff.control.literal import Given, GivenText
from hdiff.corruption.base import DEFAULT_STEPS, Corruption
from hdiff.errors import DataError
from hdiff.models.wrapped import unwrapped
from hdiff.samplers import OnStep, Sampler
from hdiff.samplers.base import HasHead
from hdiff.strict_yaml import is_unicode

if TYPE_CHECKING:
    from hdiff.data.tokenizer import Tokenizer

MAX_CANDIDATES = 64
"""Most combinations of gap lengths that are tried."""

MAX_GAP = 1_000_000
"""Longest gap that can be asked for; rows of models are shorter."""

_PIECE = re.compile(
    r"\[\[|\[(?:(?P<kind>[a-z]+) )?(?:(?P<free>\*)|(?P<shortest>[0-9]+)(?:-(?P<longest>[0-9]+))?)\]"
    r"|(?P<broken>\[)"
)


@dataclass(frozen=True)
class Gap:
    """A stretch to fill.

    Args:
        shortest: Fewest tokens, at least 1.
        longest: Most tokens.
        kind: Level that the stretch is one unit of, for a model that tells them; None: any stretch.
        is_free: Whether the length head of the model draws its length.

    Raises:
        DataError: If no length is possible, 0 is one, or one is above `MAX_GAP`.
    """

    shortest: int
    longest: int
    kind: str | None = None
    is_free: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest:
            raise DataError(
                f"a gap of {self.shortest} to {self.longest} tokens; give at least 1, and the smaller number "
                f"first"
            )
        if self.longest > MAX_GAP:
            raise DataError(f"a gap of up to {self.longest:,} tokens; at most {MAX_GAP:,} can be asked for")


@dataclass(frozen=True)
class Pattern:
    """A text with gaps: given tokens and gaps in the order of the text."""

    parts: tuple[Given | Gap, ...]

    @classmethod
    def parse(cls, text: str, tokenizer: Tokenizer) -> Pattern:
        """Reads `The dog [4] in the [2-5].`: `[n]` is a gap of n tokens, `[a-b]` of a to b, `[[` a bracket.

        `[*]` is a gap whose length the model draws, if it has a length head.
        `[phrase 3]` asks a model that tells kinds of units for a phrase (`span_masking`, `flagged: true`).

        White space around a gap stands in the result as it is written: write `[3] barked.` and `a ([2])` as
        you would write the text. The tokens of a gap are counted without the text around it.

        Args:
            text: The pattern.
            tokenizer: The model's tokenizer.

        Returns:
            The pattern.

        Raises:
            DataError: If there is no gap, one is malformed or of 0 tokens, or a word is unknown.
        """
        if not is_unicode(text):
            raise DataError(f"{text!r} holds bytes that are no UTF-8; write the pattern as UTF-8 text")
        parts: list[Given | Gap] = []
        literal, position = "", 0
        for match in _PIECE.finditer(text):
            literal += text[position : match.start()]
            position = match.end()
            if match["broken"]:
                raise DataError(
                    f"'{text[match.start() : match.start() + 12]}' is no gap; write [4] for 4 tokens, [2-5] "
                    f"for 2 to 5, [*] for any number, [phrase 3] for a phrase, [[ for a bracket"
                )
            if match["shortest"] is None and match["free"] is None:
                literal += "["
                continue
            parts += _given(literal, tokenizer, is_inside=bool(parts), is_before_gap=True)
            literal = ""
            if match["free"]:
                parts.append(Gap(1, 1, match["kind"], is_free=True))
                continue
            shortest = _whole(match["shortest"])
            longest = _whole(match["longest"]) if match["longest"] else shortest
            parts.append(Gap(shortest, longest, match["kind"]))
        parts += _given(literal + text[position:], tokenizer, is_inside=bool(parts), is_before_gap=False)
        if not any(isinstance(part, Gap) for part in parts):
            raise DataError(f"'{text}' has no gap; write [4] where 4 tokens are to be filled")
        return cls(tuple(parts))

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps in the order of the text."""
        return tuple(part for part in self.parts if isinstance(part, Gap))

    @property
    def given(self) -> GivenText:
        """The given text of all parts."""
        pieces = (part.pieces for part in self.parts if isinstance(part, Given))
        return GivenText(tuple(itertools.chain.from_iterable(pieces)), has_spaces=True)

    @property
    def fewest_hidden(self) -> int:
        """Tokens to fill if every gap is as short as it may be; one of free length has steps by default."""
        return sum(DEFAULT_STEPS if gap.is_free else gap.shortest for gap in self.gaps)

    @property
    def shortest_lengths(self) -> tuple[int, ...]:
        """The least length of each gap."""
        return tuple(gap.shortest for gap in self.gaps)

    @property
    def longest(self) -> int:
        """Tokens of the text if every gap is as long as it may be."""
        return sum(part.longest if isinstance(part, Gap) else len(part) for part in self.parts)

    def lengths(self) -> list[tuple[int, ...]]:
        """Every combination of gap lengths in the order of the text, of at most `MAX_CANDIDATES`."""
        ranges = [range(gap.shortest, gap.longest + 1) for gap in self.gaps]
        count = math.prod(gap.longest - gap.shortest + 1 for gap in self.gaps)
        if count > MAX_CANDIDATES:
            raise DataError(
                f"the gaps have {count} combinations of lengths, at most {MAX_CANDIDATES} are tried; narrow "
                f"their ranges"
            )
        return list(itertools.product(*ranges))

    def row(self, lengths: tuple[int, ...], *, mask_id: int, eos_id: int) -> list[int]:
        """Tokens of one combination of gap lengths, with `mask_id` at gaps and `eos_id` at both ends."""
        tokens, remaining = [eos_id], iter(lengths)
        for part in self.parts:
            tokens += [mask_id] * next(remaining) if isinstance(part, Gap) else part
        return [*tokens, eos_id]

    def flags(self, lengths: tuple[int, ...], levels: Sequence[str]) -> torch.Tensor | None:
        """Which kind of units is asked for at each token of `row`.

        Args:
            lengths: A length for each gap.
            levels: Levels that the model tells (`Corruption.flag_levels`).

        Returns:
            Numbers of the levels from 1, 0 where none is asked for, long (L,); None if none is anywhere.

        Raises:
            DataError: If the model does not tell a level.
        """
        if not any(gap.kind for gap in self.gaps):
            return None
        flags, remaining = [0], iter(lengths)
        for part in self.parts:
            if isinstance(part, Given):
                flags += [0] * len(part)
                continue
            if part.kind is not None and part.kind not in levels:
                told = ", ".join(levels) or "no kinds of units"
                raise DataError(
                    f"a gap asks for a {part.kind}, the model tells {told}; "
                    f"leave the word out, or train with corruption: {{kind: span_masking, segmentation: "
                    f"mixture, level: {part.kind}, flagged: true}}"
                )
            flags += [0 if part.kind is None else 1 + list(levels).index(part.kind)] * next(remaining)
        return torch.tensor([*flags, 0])


def infill(
    denoiser: HasHead,
    corruption: Corruption,
    tokenizer: Tokenizer,
    sampler: Sampler,
    pattern: Pattern | str,
    *,
    num_samples: int = 1,
    longest: int | None = None,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Controlled:
    """Fills the gaps of a text; of several possible lengths the likeliest per token is kept.

    Nats are those of a bound on -log p(gaps | given text) of the sampler, divided by the tokens of the gaps
    and one for the end. Bounds per token are compared, not probabilities of lengths. A gap of free length
    gets one from the length head of the model, another one for each text.

    Args:
        denoiser: The model.
        corruption: Its corruption, of masked units.
        tokenizer: Its tokenizer.
        sampler: Fills the gaps.
        pattern: The text with gaps, or how `Pattern.parse` writes it.
        num_samples: Texts to make.
        longest: Tokens of the rows the model was trained on; None: any.
        generator: Source of randomness, on the model's device.
        on_step: Called after every step of every length.

    Returns:
        The texts.

    Raises:
        DataError: If the pattern is malformed, too long or has too many lengths, or as `fill_best`.
    """
    if isinstance(pattern, str):
        pattern = Pattern.parse(pattern, tokenizer)
    check_rows(num_samples, pattern.longest, longest)
    if any(gap.is_free for gap in pattern.gaps):
        check_masked_units(corruption)
        made = []
        for _ in range(num_samples):
            drawn = draw_lengths(
                unwrapped(denoiser),
                pattern,
                sampler,
                eos_id=tokenizer.eos_id,
                longest=longest,
                generator=generator,
            )
            filler = fitting(sampler, drawn.fewest_hidden)
            given = (denoiser, corruption, tokenizer, filler, drawn)
            made.append(infill(*given, longest=longest, generator=generator, on_step=on_step))
        return Controlled.joined(made)
    ids = {"mask_id": unwrapped(denoiser).mask_id, "eos_id": tokenizer.eos_id}
    rows = [pattern.row(lengths, **ids) for lengths in pattern.lengths()]
    candidates = [torch.tensor([row] * num_samples) for row in rows]
    return fill_best(
        denoiser,
        corruption,
        tokenizer,
        sampler,
        candidates,
        given=pattern.given,
        flags=[pattern.flags(lengths, corruption.flag_levels) for lengths in pattern.lengths()],
        generator=generator,
        on_step=on_step,
    )


def _whole(digits: str) -> int:
    """A number of tokens; one of more digits than `MAX_GAP` has is one too many, however many it is."""
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= len(str(MAX_GAP)) else MAX_GAP + 1


def _given(text: str, tokenizer: Tokenizer, *, is_inside: bool, is_before_gap: bool) -> list[Given]:
    """A stretch of given text, or nothing; the space before a gap is shown, but a token of the gap has it."""
    read = Given.before_gap if is_before_gap else Given.of
    given = read(text, tokenizer, is_inside=is_inside)
    return [given] if given else []
