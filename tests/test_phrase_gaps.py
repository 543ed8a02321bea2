"""Gaps at phrase borders: whole phrases, random ones of the same lengths, and nats that add up."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from benchmark_scripts import benchmark_script

from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.heads import AutoregressiveHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return benchmark_script("phrase_gaps")


@pytest.fixture(scope="module")
def blocks(prepared_folder: Path) -> PackedBlocks:
    prepared = PreparedData.load(prepared_folder)
    return PackedBlocks.build(
        prepared, "validation", sequence_length=64, levels=("phrase",), max_unit_tokens=16
    )


def test_gaps_are_whole_phrases_and_spans_of_their_lengths(
    script: ModuleType, blocks: PackedBlocks, generator: torch.Generator
) -> None:
    batch = blocks.batch(range(len(blocks)))  # the last row is padded
    gaps = script.draw_gaps(batch, generator)
    rows = [batch.input_ids.tolist().index(row) for row in gaps.batch.input_ids.tolist()]
    assert len(rows) > len(blocks) // 2
    phrases, others = (gaps.is_hidden[kind] for kind in script.KINDS)
    assert torch.equal(phrases.sum(1), others.sum(1))
    assert not torch.equal(phrases, others)
    for hidden, row in zip(phrases, rows, strict=True):
        units = batch.unit_ids["phrase"][row]
        assert len(set(units[hidden].tolist())) == 1
        assert int((units == units[hidden][0]).sum()) == int(hidden.sum())
        assert int(batch.labels["phrase"][row][hidden].min()) > 0
        assert 2 <= int(hidden.sum()) <= 16
    for hidden in (phrases, others):
        edges = (hidden[:, 1:] != hidden[:, :-1]).sum(1)
        assert edges.tolist() == [2] * len(rows), "one stretch, not at an end"
        assert not bool((hidden & ~gaps.batch.token_mask).any())


def test_nats_are_those_of_the_head_given_the_rest(
    script: ModuleType, blocks: PackedBlocks, generator: torch.Generator
) -> None:
    """Over all fillings of a gap the probabilities sum to one."""
    torch.manual_seed(0)
    model = Denoiser(Trunk(16, depth=1, num_heads=2), AutoregressiveHead(5, 16)).eval()
    with torch.no_grad():
        model.head.output_bias.normal_()
    row = torch.randint(5, (1, 8), generator=generator)
    hidden = torch.zeros(1, 8, dtype=torch.bool)
    hidden[0, 3:5] = True
    total = 0.0
    for first in range(5):
        for second in range(5):
            text = row.clone()
            text[0, 3], text[0, 4] = first, second
            gaps = script.Gaps(script.Batch.of(text), {"phrases": hidden})
            total += float(torch.tensor(-script.nats(model, gaps, "phrases")).exp())
    assert total == pytest.approx(1, abs=1e-5)
