"""Streams as tests open, read and compare them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hdiff.config import DataConfig
from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.data.rows.streaming import StreamedRows
from hdiff.data.rows.training_rows import RowTerms


def opened(
    prepared: PreparedData,
    source: Path | str,
    *,
    levels: tuple[str, ...] = ("phrase",),
    process: tuple[int, int] = (0, 1),
    packing: dict[str, Any] | None = None,
    **stream: Any,
) -> StreamedRows:
    stream = {"source": str(source), "shuffle_buffer": 7, **stream}
    data = DataConfig.model_validate(
        {"path": str(prepared.path), "sequence_length": 16, "stream": stream, **(packing or {})}
    )
    blocks = PackedBlocks.build(prepared, "train", levels=levels, **data.packing())
    assert data.stream is not None
    terms = RowTerms(data, prepared, blocks, levels, data.salience_buckets is not None, process)
    return StreamedRows.open(data.stream, terms, seed=3)


def take(rows: StreamedRows, batches: int, first: int = 0, *, size: int = 2) -> list[Batch]:
    rank, world = rows.documents.rank, rows.documents.world_size
    return [
        rows.batch([(first + index) * size * world + row * world + rank for row in range(size)])
        for index in range(batches)
    ]


def assert_same(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        assert torch.equal(left.input_ids, right.input_ids)
        assert left.sample_ids is not None
        assert right.sample_ids is not None
        assert torch.equal(left.sample_ids, right.sample_ids)
        assert left.unit_ids.keys() == right.unit_ids.keys()
        for level in left.unit_ids:
            assert torch.equal(left.unit_ids[level], right.unit_ids[level])
            assert torch.equal(left.labels[level], right.labels[level])
        if left.salience is not None and right.salience is not None:
            assert torch.equal(left.salience, right.salience)
