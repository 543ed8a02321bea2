"""Free: the tokens of a batch that are not given, as a batch of their own. Torch only.

A corruption, an objective and a sampler meet the free tokens alone, so that none of them can hide, change or
score a given one. The network meets whole rows.
Dimensions: B batch, L tokens of a whole row, N free tokens of the row that has most, R type streams.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from hdiff.corruption.corrupted import Corrupted, TypeTerm
from hdiff.data.batch import Batch, Known, check_free
from hdiff.errors import DataError
from hdiff.packed_spans import PackedSpans
from hdiff.reveal_order import given_order

_TOKENS = ("x_t", "x_0", "context")
"""Fields of states that hold tokens: of given ones the clean token."""


@dataclass(frozen=True)
class Free:
    """The free tokens of a batch.

    Attributes:
        whole: The batch with all its tokens.
        batch: Its free tokens, moved together; rows that have fewer end in padding.
        place: Where each of them stands in its whole row, L at padding, long (B, N).
    """

    whole: Batch
    batch: Batch
    place: Tensor

    @classmethod
    def of(cls, whole: Batch) -> Free:
        """Takes the free tokens out of a batch with `given`."""
        is_free, known = whole.free_mask, whole.known
        if known is None:
            check_free(is_free)
        length = is_free.shape[1]
        places = torch.arange(length, device=is_free.device).expand_as(is_free)
        order = places.masked_fill(~is_free, length).sort(1).values
        place = order[:, : int(is_free.sum(1).max()) if known is None else known.most_free]
        free = cls(whole, whole, place)
        return replace(free, batch=free._moved_together())

    def gather(self, values: Tensor) -> Tensor:
        """Values of free tokens, (B, N, ...), out of those of whole rows; at padding some other token's."""
        return values.gather(1, _index(self.place.clamp(max=values.shape[1] - 1), values))

    def spread(self, values: Tensor, around: Tensor) -> Tensor:
        """Puts values of free tokens into whole rows.

        Args:
            values: Of the free tokens, (B, N, ...).
            around: Values at all other places, (B, L, ...).

        Returns:
            (B, L, ...).
        """
        wide = torch.cat([around, around[:, :1]], 1)  # padding is put behind the row
        return wide.scatter(1, _index(self.place, values), values)[:, :-1]

    def rows(self, chosen: Tensor) -> Free:
        """The free tokens of the chosen rows, bool (B,)."""
        whole = Batch(self.whole.input_ids[chosen], self.whole.token_mask[chosen])
        return Free(whole, self.batch, self.place[chosen])

    def state(self, corrupted: Corrupted, type_sizes: Sequence[int] = ()) -> Corrupted:
        """A state of the free tokens as one of whole rows, in which the given tokens are clean.

        Args:
            corrupted: What a corruption made of `batch`.
            type_sizes: Types of each type stream; those of given tokens stay hidden.

        Returns:
            The state that the network reads.
        """
        whole, shape = self.whole, self.batch.input_ids.shape
        check_blocks(self.place, getattr(corrupted, "block_size", None))
        changes: dict[str, Any] = {
            "token_mask": whole.token_mask,
            "document_ids": whole.document_ids,
            "spans": self._spans(corrupted.spans),
            "type_terms": tuple(self._term(term) for term in corrupted.type_terms),
        }
        for field in fields(corrupted):
            value = getattr(corrupted, field.name)
            if field.name in changes or not isinstance(value, Tensor) or value.shape[:2] != shape:
                continue
            around = value.new_full(
                (*whole.input_ids.shape, *value.shape[2:]), corrupted.at_given(field.name)
            )
            if field.name in _TOKENS:
                around = whole.input_ids
            elif field.name == "types_t":
                around = value.new_tensor(list(type_sizes)).expand(*whole.input_ids.shape, -1)
            elif field.name == "order":
                around = self.order_around(value.device)
            changes[field.name] = self.spread(value, around)
        return replace(corrupted, **changes)

    def order_around(self, device: torch.device) -> Tensor:
        """In which order the given tokens count as revealed: before all free ones, long (B, L)."""
        shape = self.whole.input_ids.shape
        return given_order(shape[1], device=device).expand(shape)

    def _term(self, term: TypeTerm) -> TypeTerm:
        targets = self.spread(term.targets, torch.zeros_like(self.whole.input_ids))
        return replace(term, spans=self._spans(term.spans), targets=targets)

    def _spans(self, spans: PackedSpans) -> PackedSpans:
        """The same spans, at the places of their tokens in whole rows."""
        width, length = self.place.shape[1], self.whole.input_ids.shape[1]
        row = torch.div(spans.token_index, width, rounding_mode="floor")
        return replace(spans, token_index=row * length + self.place.flatten()[spans.token_index])

    def _moved_together(self) -> Batch:
        whole = self.whole
        is_real = self.place < whole.input_ids.shape[1]

        def gathered(values: Tensor | None) -> Tensor | None:
            return None if values is None else self.gather(values)

        return Batch(
            input_ids=self.gather(whole.input_ids),
            token_mask=is_real,
            unit_ids={level: self._units(ids, is_real) for level, ids in whole.unit_ids.items()},
            labels={level: self.gather(values) for level, values in whole.labels.items()},
            salience=gathered(whole.salience),
            salience_buckets=gathered(whole.salience_buckets),
            sample_ids=whole.sample_ids,
            document_ids=None
            if whole.document_ids is None
            else self.gather(whole.document_ids).masked_fill(~is_real, -1),
            known=whole.known and self._known(whole.known),
        )

    def _known(self, known: Known) -> Known:
        rows, width = self.place.shape
        return replace(known, is_padded=known.num_tokens < rows * width, num_real=known.num_tokens)

    def _units(self, ids: Tensor, is_real: Tensor) -> Tensor:
        """Units of the free tokens, numbered anew; a unit never reaches over a given token."""
        own = self.gather(ids)
        begins = torch.ones_like(is_real)
        begins[:, 1:] = (own.diff(dim=1) != 0) | (self.place.diff(dim=1) != 1) | ~is_real[:, 1:]
        return begins.long().cumsum(1) - 1


def check_blocks(place: Tensor, block_size: int | None) -> None:
    """Raises DataError if free tokens, at these places (B, N), do not begin where a block begins."""
    if block_size is not None and bool((place[:, 0] % block_size != 0).any()):
        raise DataError(
            f"a prompt ends inside a block of {block_size} tokens; put end-of-text tokens before it, so that "
            f"the answer begins with a block"
        )


def corrupt_free(
    batch: Batch, corrupt: Callable[[Batch], Corrupted], type_sizes: Sequence[int] = ()
) -> Corrupted:
    """Corrupts the tokens of a batch that are not given.

    Args:
        batch: The clean batch, with or without given tokens.
        corrupt: Corrupts a batch without any.
        type_sizes: Types of each type stream of the corruption.

    Returns:
        The state of whole rows; given tokens are clean in it, and no span to predict holds one.

    Raises:
        DataError: If all tokens of a row are given.
    """
    if batch.given is None:
        state = corrupt(batch)
    else:
        free = Free.of(batch)
        state = free.state(corrupt(free.batch), type_sizes)
    return replace(state, is_padded=batch.is_padded)


def _index(place: Tensor, values: Tensor) -> Tensor:
    """Places for `gather` and `scatter` along dimension 1 of values with more dimensions."""
    index = place.view(*place.shape, *[1] * (values.ndim - 2))
    return index.expand(*place.shape, *values.shape[2:])
