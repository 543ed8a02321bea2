"""Groups: tokens of a row are in a label's group if and only if a span of it holds them."""

import numpy as np
import pytest

from hdiff.analysis.groups import groupings
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.parsers.buckets import Buckets
from hdiff.structure import LEVELS


@pytest.fixture(scope="module")
def prepared(prepared_folder):
    return PreparedData.load(prepared_folder)


def by_hand(prepared, *, separator: bool):
    """For every token of the split (level, label, length) of all spans around it, document by document."""
    around = []
    for row in prepared.split("validation"):
        tokens = [[] for _ in row["input_ids"]]
        spans = zip(row["span_start"], row["span_end"], row["span_level"], row["span_label"], strict=True)
        for start, end, level, label in spans:
            for position in range(start, end):
                name = prepared.manifest["labels"][label]
                tokens[position].append((LEVELS[level], name, end - start))
        around += [*tokens, *([[]] if separator else [])]
    return around


@pytest.mark.parametrize("separator", [True, False])
@pytest.mark.parametrize("length", [24, 31])
def test_members_are_the_tokens_inside_of_spans(prepared, separator, length):
    blocks = PackedBlocks.build(prepared, "validation", sequence_length=length, separator=separator)
    rows = [0, 1, 4, len(blocks) - 1]
    found = {each.name: each.members for each in groupings(prepared, blocks, rows, Buckets((0.5,)))}
    around = by_hand(prepared, separator=separator)
    assert len(around) == blocks.num_tokens
    checked = 0
    for place, row in enumerate(rows):
        for column in range(length):
            position = row * length + column
            spans = around[position] if position < len(around) else []
            for level in prepared.manifest["levels"]:
                labels = {label for each, label, _ in spans if each == level}
                members = found[f"{level}: label"]
                assert {name for name, inside in members.items() if inside[place, column]} == labels
                lengths = [length_ for each, _, length_ in spans if each == level]
                groups = found[f"{level}: length in tokens"]
                holding = [name for name, inside in groups.items() if inside[place, column]]
                assert len(holding) == bool(lengths)
                if lengths and min(lengths) <= 4:
                    assert holding == [str(min(lengths))]
                checked += len(labels)
    assert checked > 50


def test_every_text_token_has_one_salience_group(prepared):
    blocks = PackedBlocks.build(prepared, "validation", sequence_length=32)
    rows = list(range(len(blocks)))
    salience = groupings(prepared, blocks, rows, Buckets((0.1, 0.4)))[-1]
    assert salience.name == "salience"
    assert list(salience.members) == ["0.00 to 0.10", "0.10 to 0.40", "0.40 to 1.00"]
    counts = np.sum([members for members in salience.members.values()], axis=0)
    batch = blocks.batch(rows)
    is_text = (batch.token_mask & (batch.input_ids != blocks.eos_id)).numpy()
    assert np.array_equal(counts, is_text)
    high = salience.members["0.40 to 1.00"]
    assert np.array_equal(high, is_text & (batch.salience.numpy() >= 0.4))
