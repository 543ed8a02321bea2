"""Documents with prompts: the answer is parsed, the prompt is only read. No torch."""

from __future__ import annotations

from dataclasses import replace

from hdiff.data.sources.prompts import BORDER, halves
from hdiff.data.sources.rejected import Rejected
from hdiff.data.tokenizer import Tokenizer
from hdiff.structure import SpanTree


def answer_of(row: str | Rejected) -> str | Rejected:
    """The answer of a document; a row that cannot be read stays as it is."""
    return row if isinstance(row, Rejected) else halves(row)[1]


def behind_prompt(item: SpanTree | Rejected, row: str | Rejected) -> SpanTree | Rejected:
    """The tree of an answer as one of the whole document: its spans, moved behind the prompt."""
    if isinstance(row, Rejected):
        return item
    if isinstance(item, Rejected):
        return replace(item, text=row)
    first = len(row) - len(item.text)
    spans = tuple(replace(span, start=first + span.start, end=first + span.end) for span in item.spans)
    return replace(item, text=row, spans=spans)


def encode_pair(
    document: str, tokenizer: Tokenizer, *, is_marked: bool
) -> tuple[list[int], list[tuple[int, int]]]:
    """Tokens of a document with a prompt: prompt, end-of-text token, answer.

    Answers never hold that token, so the last one is where the prompt ends.

    Args:
        document: Prompt and answer with `BORDER` between them.
        tokenizer: The tokenizer.
        is_marked: Whether special tokens that the prompt spells are meant as such.

    Returns:
        Token ids, and the characters [start, end) of each; nothing if the answer has no token.
    """
    prompt, answer = halves(document)
    before, offsets = tokenizer.encode_marked(prompt) if is_marked else tokenizer.encode(prompt)
    after, places = tokenizer.encode(answer)
    if not after:
        return [], []
    first = len(prompt) + len(BORDER)
    behind = [(first + start, first + end) for start, end in places]
    return [*before, tokenizer.eos_id, *after], [*offsets, (len(prompt), first), *behind]
