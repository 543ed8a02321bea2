"""Selection: cutting what is hidden into spans, and taking the first of them in some order.

Dimensions: B rows, L tokens, S spans.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hdiff.packed_spans import PackedSpans
from hdiff.reveal_order import GOLDEN_RATIO


def cut(units: Tensor, is_masked: Tensor) -> Tensor:
    """Units that hold hidden tokens only: a unit ends where visible tokens begin.

    Args:
        units: Unit ids, long (B, L), non-decreasing.
        is_masked: Hidden tokens, bool (B, L).

    Returns:
        Unit ids 0, 0, 1, 2 ..., long (B, L); visible tokens are units of their own.
    """
    begins = torch.ones_like(is_masked)
    begins[:, 1:] = (units.diff(dim=1) != 0) | ~is_masked[:, 1:] | ~is_masked[:, :-1]
    return begins.cumsum(1) - 1


def limit(begins: Tensor, is_masked: Tensor, longest: int) -> Tensor:
    """Units from predicted beginnings, none longer than `longest` tokens.

    Args:
        begins: Whether a span begins at a token, bool (B, L).
        is_masked: Hidden tokens, bool (B, L).
        longest: Longest span.

    Returns:
        Unit ids, long (B, L).
    """
    units = cut(begins.long().cumsum(1), is_masked)
    places = torch.arange(units.shape[1], device=units.device).expand_as(units)
    offset = places - first_positions(units)
    return (offset % longest == 0).cumsum(1) - 1


def shuffle_lengths(units: Tensor, is_masked: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """The same units in a random order within each hidden stretch of a row.

    Args:
        units: Unit ids, long (B, L), cut at visible tokens.
        is_masked: Hidden tokens, bool (B, L).
        generator: Source of randomness.

    Returns:
        Unit ids, long (B, L).
    """
    spans = PackedSpans.from_units(units, is_masked)
    stretch_begins = is_masked.clone()
    stretch_begins[:, 1:] &= ~is_masked[:, :-1]
    stretch = stretch_begins.flatten().long().cumsum(0)[spans.token_index][spans.first]  # (S,)
    keys = torch.rand(spans.num_spans, generator=generator, device=units.device)
    order = keys.argsort()
    order = order[stretch[order].argsort(stable=True)]
    lengths = spans.length[order]
    begins = torch.zeros(units.numel(), dtype=torch.bool, device=units.device)
    begins[spans.token_index[lengths.cumsum(0) - lengths]] = True
    return cut(begins.view_as(is_masked).long().cumsum(1), is_masked)


def first_positions(units: Tensor) -> Tensor:
    """First position of each token's unit: a number that no other segmentation gives to other units.

    Args:
        units: Unit ids, long (B, L), non-decreasing.

    Returns:
        long (B, L).
    """
    places = torch.arange(units.shape[1], device=units.device).expand_as(units)
    is_first = torch.ones_like(units, dtype=torch.bool)
    is_first[:, 1:] = units.diff(dim=1) != 0
    return torch.where(is_first, places, 0).cummax(1).values


def take_first(
    spans: PackedSpans, priority: Tensor, weight: Tensor, budget: Tensor, *, num_rows: int
) -> Tensor:
    """Takes spans of each row by falling priority while those before weigh at most the budget.

    The first span of a row is always taken.

    Args:
        spans: Spans in row-major order.
        priority: What comes first, float (S,).
        weight: What each span takes of the budget, >= 0, (S,).
        budget: Budget of each row, >= 0, (B,).
        num_rows: Rows B.

    Returns:
        Whether each span is taken, bool (S,).
    """
    order = priority.argsort(descending=True, stable=True)
    order = order[spans.row[order].argsort(stable=True)]  # by row, then by priority
    sorted_weight = weight.double()[order]
    before = sorted_weight.cumsum(0) - sorted_weight
    row_total = torch.zeros(num_rows, dtype=torch.float64, device=weight.device)
    row_total = row_total.index_add(0, spans.row, weight.double())
    earlier_rows = row_total.cumsum(0) - row_total
    taken = torch.empty(spans.num_spans, dtype=torch.bool, device=weight.device)
    # Rounding of the running sum must not cost a span, least of all the first of a row.
    taken[order] = before - earlier_rows[spans.row[order]] <= budget.double()[spans.row[order]] + 1e-6
    return taken


def spread(values: Tensor, spans: PackedSpans, shape: torch.Size) -> Tensor:
    """Per-span truth as per-token truth: bool (S,) -> bool (B, L)."""
    flat = torch.zeros(shape.numel(), dtype=torch.bool, device=values.device)
    flat[spans.token_index] = values[spans.span_index]
    return flat.view(shape)


def tokens_per_step(is_masked: Tensor, steps_left: int) -> Tensor:
    """How many tokens each row must fill now so that `steps_left` equal steps suffice, long (B,)."""
    return -torch.div(-is_masked.sum(1), max(1, steps_left), rounding_mode="floor")


def spaced(number: Tensor, start: Tensor) -> Tensor:
    """Priorities of neighbours that differ much: multiples of the golden ratio, modulo 1.

    Whatever share of the largest (or smallest) is taken, it lies evenly spread over the row.

    Args:
        number: Place of each span in its row, up to a constant per row, long (...).
        start: Random start of each row, in [0, 1), float, broadcast against `number`.

    Returns:
        In [0, 1), float64 (...).
    """
    return (number.double() * GOLDEN_RATIO + start.double()) % 1.0
