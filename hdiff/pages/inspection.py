"""Inspection: how one text is parsed, weighted and corrupted, as JSON for pages."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hdiff.errors import DataError
from hdiff.structure import SpanTree, segment

if TYPE_CHECKING:
    from hdiff.parsers import Parser, Salience


def explore(tree: SpanTree, masking_times: Sequence[float], *, level: str, title: str) -> dict[str, Any]:
    """Everything there is to see of one corrupted text, JSON-able.

    Args:
        tree: The parsed text.
        masking_times: Time in [0, 1] at which each word is masked; a word is hidden when its time < t.
        level: The coarsest level of a unit.
        title: Heading.

    Returns:
        `title`, `text`, `level`; `words`, each with `text`, `space_before`, `pos`, `salience`, `time`
        and `unit` (its id); `spans` above the words, each with `start` and `end` (word positions,
        half-open), `label` and `level`, in nesting order.

    Raises:
        DataError: If the number of times is not the number of words, or the level is unknown.
    """
    words = tree.words
    if len(masking_times) != len(words):
        raise DataError(f"{len(masking_times)} masking times for {len(words)} words; give one per word")
    spans = _word_spans(tree)
    ends = [0, *(word.end for word in words)]
    units = _units(spans, len(words), level)
    return {
        "title": title,
        "text": tree.text,
        "level": level,
        "words": [
            {
                "text": tree.text[word.start : word.end],
                "space_before": word.start > end_before,
                "pos": word.label,
                "salience": salience,
                "time": float(time),
                "unit": unit,
            }
            for word, end_before, salience, time, unit in zip(
                words, ends[:-1], tree.salience, masking_times, units, strict=True
            )
        ],
        "spans": spans,
    }


def inspect_sentence(
    text: str,
    *,
    parser: Parser,
    level: str,
    seed: int,
    salience: Salience | None = None,
    title: str | None = None,
) -> dict[str, Any]:
    """Parses a text and corrupts it as in training, with one token per word.

    Args:
        text: A sentence or more.
        parser: The parser.
        level: The coarsest level of a unit that is masked as a whole.
        seed: Seed of the masking times.
        salience: Scores for the words; None keeps the parser's.
        title: Heading; None says what is masked together.

    Returns:
        See `explore`.

    Raises:
        ParserError: If the text cannot be parsed.
        DataError: If the parser does not produce the level.
    """
    if level != "token" and level not in parser.levels:
        raise DataError(
            f"level '{level}' is not produced by parser '{parser.name}', "
            f"which gives {', '.join(parser.levels)}; choose one of these:",
            *(f"--level {given}" for given in parser.levels),
        )
    tree = next(iter(parser.parse([text])))
    if salience is not None:
        tree = salience.apply(tree)
    units = _units(_word_spans(tree), len(tree.words), level)
    title = f"Masked by {level}" if title is None else title
    return explore(tree, _draw_times(units, level, seed), level=level, title=title)


def _word_spans(tree: SpanTree) -> list[dict[str, Any]]:
    """Spans above the words, their extents in word positions; those without a word are left out."""
    words = tree.words
    starts, ends = [word.start for word in words], [word.end for word in words]
    spans = []
    for span in tree.spans:
        start, end = bisect_left(starts, span.start), bisect_left(ends, span.end + 1)
        if span.level != "word" and start < end:
            spans.append({"start": start, "end": end, "label": span.label, "level": span.level})
    return spans


def _units(spans: Sequence[Mapping[str, Any]], num_words: int, level: str) -> list[int]:
    """Unit id of every word; a word that no span covers is a unit of its own."""
    starts, ends = [span["start"] for span in spans], [span["end"] for span in spans]
    return segment(starts, ends, [span["level"] for span in spans], num_words, level=level)


def _draw_times(units: Sequence[int], level: str, seed: int) -> list[float]:
    """Masking times of the words under the corruption that training uses."""
    if not units:
        return []
    import torch

    from hdiff.corruption import SpanMasking
    from hdiff.data.batch import Batch

    ids = torch.tensor([units])  # (1, words)
    batch = Batch(
        input_ids=torch.zeros_like(ids),
        token_mask=torch.ones_like(ids, dtype=torch.bool),
        unit_ids={level: ids},
    )
    times = SpanMasking(level=level).masking_times(batch, generator=torch.Generator().manual_seed(seed))
    return [float(time) for time in times[0]]


def cuts(spans: Sequence[Mapping[str, Any]], num_words: int) -> list[list[int]]:
    """How a tree comes apart: the unit of every word when each span above a depth has given way to its parts.

    Args:
        spans: As `explore` gives them, in nesting order.
        num_words: Number of words.

    Returns:
        Unit ids of the words at depth 0, 1, ... ; each refines the one before, and the last has single words.
    """
    ends: list[int] = []
    depths = []
    for span in spans:
        while ends and ends[-1] <= span["start"]:
            ends.pop()
        depths.append(len(ends))
        ends.append(span["end"])
    cut_units: list[list[int]] = []
    for depth in range(max(depths, default=-1) + 2):
        kept = [span for span, its in zip(spans, depths, strict=True) if its >= depth]
        units = _units(kept, num_words, "sentence")
        if not cut_units or units != cut_units[-1]:
            cut_units.append(units)
    return cut_units
