"""PackedSpans: whole units packed one after another, and what is known of a batch before it is moved."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hdiff.corruption.given import Free
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.packed_spans import PackedSpans


def packed_plainly(units: Tensor, selected: Tensor) -> list[list[int]]:
    """Places of the tokens of each span, span by span."""
    spans: dict[tuple[int, int], list[int]] = {}
    length = units.shape[1]
    for row, place in selected.nonzero().tolist():
        spans.setdefault((row, int(units[row, place])), []).append(row * length + place)
    return list(spans.values())


@pytest.mark.parametrize("seed", range(12))
def test_units_are_packed_in_order_of_rows_and_places(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    rows, length = 1 + seed % 4, 1 + 3 * seed
    begins = torch.rand(rows, length, generator=g) < 0.5
    begins[:, 0] = False
    units = begins.long().cumsum(1)
    # Also parts of units, as samplers that fill a part of a unit ask for, and nothing at all.
    selected = torch.rand(rows, length, generator=g) < (0.0 if seed == 5 else 0.6)
    expected = packed_plainly(units, selected)
    other = torch.ones_like(selected)
    spans, every = PackedSpans.of_streams([(units, selected), (units, other)])
    assert spans.token_index.tolist() == [place for span in expected for place in span]
    assert spans.lengths == spans.length.tolist() == [len(span) for span in expected]
    assert spans.span_index.tolist() == [n for n, span in enumerate(expected) for _ in span]
    assert spans.offset.tolist() == [n for span in expected for n in range(len(span))]
    assert spans.row.tolist() == [span[0] // length for span in expected]
    assert spans.token_index[spans.first].tolist() == [span[0] for span in expected]
    assert every.token_index.tolist() == list(range(rows * length))


@pytest.mark.parametrize("real", [(4, 4), (4, 2), (1, 3)])
def test_values_of_real_tokens_are_the_same_once_their_number_is_known(real: tuple[int, int]) -> None:
    batch = Batch.of(torch.arange(8).view(2, 4))
    batch = replace(batch, token_mask=torch.arange(4) < torch.tensor(real)[:, None])
    known = batch.checked(8)
    values = torch.randn(2, 4, 3)
    assert known.real(values).equal(batch.real(values))
    assert known.is_padded is (sum(real) < 8)
    assert known.known is not None
    assert known.known.num_tokens == sum(real)


@pytest.mark.parametrize("free", [[[1, 1, 0, 1], [0, 1, 1, 1]], [[0, 0, 0, 1], [1, 1, 1, 1]]])
def test_free_tokens_are_the_same_once_their_number_is_known(free: list[list[int]]) -> None:
    ids = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]])
    units = {"word": torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]])}
    batch = Batch(ids, torch.ones_like(ids, dtype=torch.bool), units, given=~torch.tensor(free).bool())
    plain, known = Free.of(batch), Free.of(batch.checked(8))
    assert torch.equal(plain.place, known.place)
    assert torch.equal(plain.batch.input_ids, known.batch.input_ids)
    assert torch.equal(plain.batch.unit_ids["word"], known.batch.unit_ids["word"])
    assert known.batch.is_padded is not bool(plain.batch.token_mask.all())
    assert known.batch.known is not None
    assert known.batch.known.num_real == int(plain.batch.token_mask.sum())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_ids": torch.tensor([[0, 8]])}, "the model's tokens are 0 to 7"),
        ({"given": torch.ones(1, 2, dtype=torch.bool)}, "all tokens of a row are given"),
        ({"token_mask": torch.zeros(1, 2, dtype=torch.bool)}, "all padding"),
        ({"unit_ids": {"word": torch.tensor([[0, 2]])}}, "overlap or leave gaps"),
        ({"salience": torch.tensor([[0.5, 1.5]])}, "score in"),
    ],
)
def test_a_batch_is_refused_before_it_is_moved(changes: dict[str, Tensor], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(Batch.of(torch.tensor([[0, 1]])), **changes).checked(8)
