"""Sentence: what a person typed as tokens of the model, with the spans of its parse.

Dimensions: L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hdiff.corruption import Corruption, SpanMasking
from hdiff.data.alignment import align, token_texts
from hdiff.data.batch import Batch
from hdiff.errors import DataError, ParserError
from hdiff.serve.served_run import ServedRun
from hdiff.structure import LEVELS, Span, SpanTree, level_rank, segment

UNITS_AT_LEAST = 5
"""Random spans are cut so that a sentence has about so many of them, or more."""


@dataclass(frozen=True)
class Sentence:
    """A text in the model's tokens.

    Attributes:
        ids: Token ids, L of them.
        pieces: Text of each token, white space before it included; joined they are the text.
        spans: Spans in token positions, in nesting order; those of words carry the part of speech.
        salience: Salience of each token's word, or of its id, in [0, 1].
        is_parsed: Whether there was a parser.
        notes: What could not be shown, in sentences.
    """

    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    spans: tuple[Span, ...]
    salience: tuple[float, ...]
    is_parsed: bool
    notes: tuple[str, ...]

    @classmethod
    def of(cls, text: str, run: ServedRun) -> Sentence:
        """Tokenizes and parses a text."""
        text = text.strip()
        ids, offsets = run.tokenizer.encode(text)
        if not ids:
            raise DataError("the text has no word; write a sentence")
        most = run.recipe.data.sequence_length
        if len(ids) > most:
            raise DataError(f"the text has {len(ids)} tokens, the rows of this model {most}; shorten it")
        notes: tuple[str, ...] = ()
        tree = SpanTree.build(text, ())
        is_parsed = run.parser is not None
        if run.parser is not None:
            try:
                tree = run.salience.apply(next(iter(run.parser.parse([text]))))
            except ParserError as error:
                is_parsed, notes = False, (f"There is no tree: {error}.",)
        aligned = align(tree, offsets)
        spans = tuple(
            Span(int(start), int(end), label, level)
            for start, end, label, level in zip(
                aligned.starts, aligned.ends, aligned.labels, aligned.levels, strict=True
            )
        )
        salience = aligned.salience
        if run.recipe.data.lexical_salience and run.prepared is not None:
            salience = run.prepared.token_salience[np.array(ids)]
        pieces = tuple(token_texts(text, offsets))
        return cls(tuple(ids), pieces, spans, tuple(map(float, salience)), is_parsed, notes)

    def groups(self, level: str, max_length: int | None = None) -> list[int]:
        """Units of a level, as training makes them: 0, 0, 1, 2, 2 ..."""
        starts, ends = [span.start for span in self.spans], [span.end for span in self.spans]
        levels = [span.level for span in self.spans]
        return segment(starts, ends, levels, len(self.ids), level=level, max_length=max_length)

    def batch(self, run: ServedRun) -> Batch:
        """The batch of this sentence alone, with what batches of the model hold."""
        longest = run.recipe.data.max_unit_tokens
        levels = LEVELS[:-1] if self.is_parsed else ()
        units = {level: self.groups(level, longest) for level in levels}
        numbers = (run.folder.record.get("data") or {}).get("labels") or {}
        labels = {
            level: _label_numbers(self, units[level], level, numbers.get(level, {})) for level in levels
        }
        salience = torch.tensor([self.salience], dtype=torch.float32)
        buckets = run.buckets
        return Batch(
            input_ids=torch.tensor([self.ids]),
            token_mask=torch.ones(1, len(self.ids), dtype=torch.bool),
            unit_ids={level: torch.tensor([ids]) for level, ids in units.items()},
            labels={level: torch.tensor([ids]) for level, ids in labels.items()},
            salience=salience,
            salience_buckets=None if buckets is None else torch.from_numpy(buckets.indexes(salience.numpy())),
        )

    def corruption(self, run: ServedRun) -> tuple[Corruption | None, tuple[str, ...]]:
        """The run's corruption, or what is left of it without a tree, and what is to be said about it."""
        if run.is_autoregressive:
            return None, (
                "This is an autoregressive model: it reads from left to right and corrupts nothing, so there "
                "are no states x_t.",
            )
        if self.is_parsed or not run.corruption.required_levels():
            return self._in_several_units(run.corruption)
        plain = run.corruption.unconditional()
        if plain.required_levels():
            return None, ("This corruption needs the spans of a tree, so no state x_t can be shown.",)
        return plain, ("Without a tree the units of this corruption are random ones, as in sampling.",)

    def _in_several_units(self, corruption: Corruption) -> tuple[Corruption, tuple[str, ...]]:
        """Random spans that are short enough for several of them to lie in the sentence, and what to say."""
        longest = max(1, len(self.ids) // UNITS_AT_LEAST)
        if not isinstance(corruption, SpanMasking):
            return corruption, ()
        shorter = corruption.of_at_most(longest)
        if shorter is corruption:
            return corruption, ()
        return shorter, (
            f"The model was trained on longer spans too; those of a sentence as short as this have at most "
            f"{longest} token{'' if longest == 1 else 's'} here, so that there are several.",
        )


def _label_numbers(
    sentence: Sentence, units: Sequence[int], level: str, numbers: dict[str, int]
) -> list[int]:
    """Number of the label of each token's unit, as packing gives it: that of the coarsest span it equals."""
    by_extent: dict[tuple[int, int], str] = {}
    for span in sentence.spans:
        if level_rank(span.level) >= level_rank(level):
            by_extent.setdefault((span.start, span.end), span.label)
    unseen = max(numbers.values(), default=0) + 1
    known = []
    for unit in units:
        first = units.index(unit)
        label = by_extent.get((first, first + units.count(unit)))
        known.append(0 if label is None else numbers.get(label, unseen))
    return known
