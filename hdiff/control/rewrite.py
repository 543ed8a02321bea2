"""rewrite: one phrase of a text is filled anew, the rest stays."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from hdiff.control.candidates import Controlled
from hdiff.control.literal import Given, literal_tokens
from hdiff.control.pattern import Gap, Pattern, infill
from hdiff.corruption.base import Corruption
from hdiff.data.alignment import token_texts
from hdiff.errors import DataError
from hdiff.samplers.base import HasHead, Sampler

if TYPE_CHECKING:
    from hdiff.data.tokenizer import Tokenizer


def rewriting_pattern(
    text: str, phrase: str, tokenizer: Tokenizer, *, gap: Gap | None = None, levels: Sequence[str] = ()
) -> Pattern:
    """The text with a gap in place of a phrase.

    Args:
        text: The text.
        phrase: The phrase; it must occur exactly once and consist of whole tokens.
        tokenizer: The model's tokenizer.
        gap: Length of what takes its place; None: as many tokens as it has.
        levels: Levels that the model tells (`Corruption.flag_levels`); if `phrase` is among them, one is
            asked for.

    Returns:
        The pattern.

    Raises:
        DataError: If the phrase is empty, does not occur once or cuts a token, or a word is unknown.
    """
    phrase = phrase.strip()
    places = [match.start() for match in re.finditer(f"(?={re.escape(phrase)})", text)] if phrase else []
    if len(places) != 1:
        raise DataError(
            f"the phrase '{phrase}' occurs {len(places)} times in '{text}'; name one that occurs exactly once"
        )
    start, end = places[0], places[0] + len(phrase)
    ids, offsets = literal_tokens(text, tokenizer)
    inside = [place for place, (left, right) in enumerate(offsets) if left < end and start < right]
    first, last = inside[0], inside[-1] + 1
    hidden = text[offsets[first][0] : offsets[last - 1][1]].strip()
    if hidden != phrase:
        raise DataError(f"the phrase '{phrase}' cuts the tokens of '{hidden}'; name whole tokens")
    gap = gap or Gap(last - first, last - first)
    if gap.kind is None and "phrase" in levels:
        gap = replace(gap, kind="phrase")
    texts = token_texts(text, offsets)
    if first:  # the space before the phrase is given
        texts[first - 1] += texts[first][: len(texts[first]) - len(texts[first].lstrip())]
    before, after = Given(ids[:first], texts[:first]), Given(ids[last:], texts[last:])
    return Pattern(tuple(part for part in (before, gap, after) if part))


def rewrite(
    denoiser: HasHead,
    corruption: Corruption,
    tokenizer: Tokenizer,
    sampler: Sampler,
    text: str,
    phrase: str,
    *,
    gap: Gap | None = None,
    num_samples: int = 1,
    longest: int | None = None,
    generator: torch.Generator | None = None,
) -> Controlled:
    """Writes a phrase of a text anew, by `rewriting_pattern` and `infill`; it may come out as it was."""
    return infill(
        denoiser,
        corruption,
        tokenizer,
        sampler,
        rewriting_pattern(text, phrase, tokenizer, gap=gap, levels=corruption.flag_levels),
        num_samples=num_samples,
        longest=longest,
        generator=generator,
    )
