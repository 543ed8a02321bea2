"""Sentence: what a person typed as tokens of the model, with the spans of its parse.

Dimensions: L tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hdiff.config import DataConfig
from hdiff.corruption import Corruption, SpanMasking
from hdiff.data.alignment import align, token_texts
from hdiff.data.batch import Batch
from hdiff.data.unit_choice import document_keys, eligible
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

    def groups(
        self, level: str, data: DataConfig | None = None, kept: Collection[str] = LEVELS[1:-1]
    ) -> list[int]:
        """Units of a level, as training makes them of a document that is this sentence: 0, 0, 1, 2, 2 ...

        Args:
            level: The coarsest level of a unit.
            data: Says which spans may be units, and how long; None takes all spans of any length.
            kept: Levels of the data set; `data.units` chooses among their spans.

        Returns:
            Unit of each token.
        """
        spans = self.spans if data is None else self._eligible(data, kept)
        return segment(
            [span.start for span in spans],
            [span.end for span in spans],
            [span.level for span in spans],
            len(self.ids),
            level=level,
            max_length=None if data is None else data.max_unit_tokens,
        )

    def _eligible(self, data: DataConfig, kept: Collection[str]) -> list[Span]:
        """Spans that `data.units` lets become units."""
        spans = [span for span in self.spans if span.level in kept]
        ids = np.array(self.ids, dtype=np.int32)
        named = () if isinstance(data.units, str) else data.units
        labels = list(dict.fromkeys([*(span.label for span in spans), *named]))
        is_eligible = eligible(
            data.units,
            first=np.array([span.start for span in spans], dtype=np.int64),
            end=np.array([span.end for span in spans], dtype=np.int64),
            rank=np.array([level_rank(span.level) for span in spans], dtype=np.int8),
            label=np.array([labels.index(span.label) for span in spans], dtype=np.int16),
            document=np.zeros(len(spans), dtype=np.int64),
            keys=document_keys(ids, np.array([len(ids)]), seed=data.units_seed),
            labels=labels,
        )
        return [span for span, may_be_unit in zip(spans, is_eligible, strict=True) if may_be_unit]

    def batch(self, run: ServedRun) -> Batch:
        """The batch of this sentence alone, with what batches of the model hold."""
        facts = run.folder.record.get("data") or {}
        levels = LEVELS[:-1] if self.is_parsed else ()
        numbers = facts.get("labels") or {}
        kept = facts.get("levels") or (*LEVELS[1:-1], *numbers)
        units = {level: self.groups(level, run.recipe.data, kept) for level in levels}
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
