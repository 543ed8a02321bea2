"""trajectory: step by step, which spans a sampler filled, for people and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hdiff.structure import LEVELS, Span, SpanTree

if TYPE_CHECKING:
    from hdiff.data.tokenizer import Tokenizer
    from hdiff.parsers.base import Parser
    from hdiff.samplers.samples import Samples


def trajectory(
    samples: Samples,
    tokenizer: Tokenizer,
    pieces_of: Sequence[Sequence[str]] | None = None,
    *,
    parser: Parser | None,
    title: str,
    num_steps: int,
    seed: int,
) -> dict[str, Any]:
    """The record of a sampling run.

    A filled span is given the finest level at which it lies inside one span of the finished text's
    parse: `word` inside a word, `phrase` inside a phrase, and so on; `crossing` if it lies in none. Tokens
    that were given have step 0 and level `given`.

    Args:
        samples: Samples with their steps and units.
        tokenizer: Turns tokens into text.
        pieces_of: Text of each token; None: as the tokenizer spells it.
        parser: Parses the finished texts; None leaves every level at `token`.
        title: Title of the record.
        num_steps: Steps T asked for.
        seed: Seed used.

    Returns:
        JSON-able values: title, num_steps, nfe, head_passes, seed, samples.
    """
    rows = samples.tokens.tolist()
    if pieces_of is None:
        pieces_of = [tokenizer.pieces(row) for row in rows]
    pieces_of = [
        _whole_characters(pieces, steps, [bool(tokenizer.token_bytes(token)) for token in row])
        for pieces, steps, row in zip(pieces_of, samples.steps.tolist(), rows, strict=True)
    ]
    texts = ["".join(pieces) for pieces in pieces_of]
    trees = list(parser.parse(texts)) if parser is not None else [None] * len(texts)
    recorded = [
        {"text": text, "pieces": _pieces(pieces, steps, units, tree)}
        for text, pieces, steps, units, tree in zip(
            texts, pieces_of, samples.steps.tolist(), samples.units.tolist(), trees, strict=True
        )
    ]
    cost = {"nfe": samples.nfe, "head_passes": int(samples.passes.max())}
    return {"title": title, "num_steps": num_steps, **cost, "seed": seed, "samples": recorded}


def _whole_characters(pieces: Sequence[str], steps: Sequence[int], is_bytes: Sequence[bool]) -> list[str]:
    """The same text, where a character of several tokens stands at the token that was filled last.

    Bytes that a model drew and that are no character belong to it, not to the given word behind them.
    """
    moved, first = list(pieces), 0
    for place, piece in enumerate(pieces):
        if not piece and is_bytes[place]:
            continue
        if steps[place] < 0 and place and (own := piece.lstrip("\ufffd")):
            moved[place - 1] += piece[: len(piece) - len(own)]
            moved[place], first = own, place + 1
            continue
        last = max(range(first, place + 1), key=lambda token: steps[token])
        moved[place], moved[last], first = moved[last], moved[place], place + 1
    return moved


def num_filling_steps(record: Mapping[str, Any]) -> int:
    """Steps in which a token was filled in; fewer than T where there was less to fill than steps."""
    return max((piece["step"] for sample in record["samples"] for piece in sample["pieces"]), default=0)


def steps_text(record: Mapping[str, Any]) -> str:
    """The steps of a record in words: `16 steps`, or `8 of 16 steps` if nothing was left for the others."""
    filling, asked = num_filling_steps(record), record["num_steps"]
    return f"{'' if filling == asked else f'{filling} of '}{asked} step{'' if asked == 1 else 's'}"


def _pieces(
    pieces: Sequence[str], steps: Sequence[int], units: Sequence[int], tree: SpanTree | None
) -> list[dict[str, Any]]:
    extents = _unit_extents(pieces, units)
    levels = {unit: _level(start, end, tree) for unit, (start, end) in extents.items()}
    return [
        {"text": piece, "step": step + 1, "unit": unit, "level": levels[unit] if step >= 0 else "given"}
        for piece, step, unit in zip(pieces, steps, units, strict=True)
    ]


def _unit_extents(pieces: Sequence[str], units: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Characters [start, end) of each unit, without white space around them."""
    extents: dict[int, tuple[int, int]] = {}
    position = 0
    for piece, unit in zip(pieces, units, strict=True):
        start = position + len(piece) - len(piece.lstrip())
        end = position + len(piece.rstrip())
        position += len(piece)
        if start < end:
            first, _ = extents.get(unit, (start, end))
            extents[unit] = (first, end)
        else:
            extents.setdefault(unit, (start, start))
    return extents


def _level(start: int, end: int, tree: SpanTree | None) -> str:
    if tree is None:
        return "token"
    unit = Span(start, max(end, start + 1), "", "token")
    holding = [span for span in tree.spans if span.contains(unit)]
    if not holding:
        return "crossing"
    return max((span.level for span in holding), key=LEVELS.index)
