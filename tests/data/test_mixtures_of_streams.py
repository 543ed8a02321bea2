"""Mixtures with streams: proportions, resuming, names of samples, and rows that are the corpora's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from hdiff.config import DataConfig
from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.data.rows import stream_documents
from hdiff.data.rows.mixture import MixedRows
from hdiff.data.rows.mixture_order import MixtureOrder
from hdiff.data.rows.streaming import StreamedRows
from hdiff.data.rows.training_rows import PreparedRows, RowTerms
from hdiff.errors import DataError

LENGTH = 16
SEED = 3


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two files: one says what is, one asks; read in groups of a few documents."""
    monkeypatch.setattr(stream_documents, "GROUP_CHARACTERS", 150)
    says, asks = tmp_path / "says.txt", tmp_path / "asks.txt"
    says.write_text("\n\n".join(f"It is {n}. Then it was {n}." for n in range(70)))
    asks.write_text("\n\n".join(f"Was it {n} then? Is it {n}?" for n in range(50)))
    return says, asks


def opened(
    prepared: PreparedData,
    members: list[dict[str, Any]],
    *,
    process: tuple[int, int] = (0, 1),
    levels: tuple[str, ...] = ("sentence",),
) -> MixedRows:
    data = DataConfig.model_validate(
        {"path": str(prepared.path), "mixture": members, "sequence_length": LENGTH}
    )
    blocks = PackedBlocks.build(prepared, "train", levels=levels, **data.packing())
    return MixedRows.open(RowTerms(data, prepared, blocks, levels, False, process), seed=SEED)


def three(prepared: PreparedData, sources: tuple[Path, Path], **stream: Any) -> list[dict[str, Any]]:
    says, asks = ({"source": str(source), "shuffle_buffer": 9, **stream} for source in sources)
    return [
        {"stream": says, "weight": 3},
        {"path": str(prepared.path), "weight": 2},
        {"stream": asks, "weight": 1},
    ]


def take(rows: MixedRows, batches: int, first: int = 0, *, size: int = 4) -> list[Batch]:
    rank, world = rows.process
    return [
        rows.batch([((first + index) * size + row) * world + rank for row in range(size)])
        for index in range(batches)
    ]


def tokens(batches: list[Batch]) -> torch.Tensor:
    return torch.cat([batch.input_ids for batch in batches])


def samples(batches: list[Batch]) -> list[int]:
    found = []
    for batch in batches:
        assert batch.sample_ids is not None
        found += batch.sample_ids.tolist()
    return found


def test_rows_are_those_of_the_corpora_in_their_proportions(
    plain: PreparedData, sources: tuple[Path, Path]
) -> None:
    mixed = opened(plain, three(plain, sources))
    batches = take(mixed, 24)
    rows = tokens(batches)
    order = MixtureOrder((3, 2, 1), seed=SEED)
    owners = [order.at(place)[0] for place in range(len(rows))]
    assert [owners.count(corpus) for corpus in range(3)] == [48, 32, 16]
    for corpus, member in enumerate(opened(plain, three(plain, sources)).corpora):
        own = rows[[place for place, owner in enumerate(owners) if owner == corpus]]
        assert torch.equal(own, member.batch(range(len(own))).input_ids)
    for batch in batches:
        batch.check()
        assert batch.unit_ids.keys() == {"sentence"}


def test_resumed_mixture_goes_on_with_the_same_rows(plain: PreparedData, sources: tuple[Path, Path]) -> None:
    whole = take(opened(plain, three(plain, sources)), 30)
    stopped = opened(plain, three(plain, sources))
    for done in (0, 7, 22):
        fresh = opened(plain, three(plain, sources))
        state = stopped.state()
        assert state is not None
        fresh.restore(json.loads(json.dumps(state)))
        begin = done
        end = {0: 7, 7: 22, 22: 30}[done]
        batches = take(fresh, end - begin, begin)
        assert torch.equal(tokens(batches), tokens(whole[begin:end]))
        assert samples(batches) == samples(whole[begin:end])
        stopped = fresh


def test_samples_of_all_processes_have_names_of_their_own(
    plain: PreparedData, sources: tuple[Path, Path]
) -> None:
    """Prepared rows come up again under their name, each row of a stream has a new one."""
    found: list[int] = []
    for rank in range(2):
        mixed = opened(plain, three(plain, sources), process=(rank, 2))
        found += samples(take(mixed, 40))
    prepared = mixed.corpora[1].rows
    assert isinstance(prepared, PreparedRows)
    size = len(prepared.blocks)
    assert {sample for sample in found if sample < size} == set(range(size))
    of_streams = [sample for sample in found if sample >= size]
    assert len(set(of_streams)) == len(of_streams)
    assert abs(len(of_streams) - 2 * 40 * 4 * 4 / 6) < 16


def test_streams_of_one_mixture_are_shuffled_apart(plain: PreparedData, sources: tuple[Path, Path]) -> None:
    """The same text under two names does not come in the same order."""
    says, _ = sources
    copy = says.with_name("copy.txt")
    copy.write_text(says.read_text())
    mixed = opened(plain, three(plain, (says, copy)))
    first, _, last = (member.batch(range(3)).input_ids for member in mixed.corpora)
    assert not torch.equal(first, last)


def test_mixture_with_streams_goes_forward_only(plain: PreparedData, sources: tuple[Path, Path]) -> None:
    mixed = opened(plain, three(plain, sources))
    take(mixed, 2)
    with pytest.raises(DataError, match=r"rows \[0, 1, 2\] .* the next ones are \[8, 9, 10\]"):
        take(mixed, 1)
    with pytest.raises(DataError, match="goes forward only"):
        mixed.batch([8, 10])


def test_facts_and_sizes_say_what_is_streamed(plain: PreparedData, sources: tuple[Path, Path]) -> None:
    mixed = opened(plain, three(plain, sources))
    mixed.check(4)
    with pytest.raises(DataError, match="its part of a batch is"):
        mixed.check(10_000)
    assert mixed.num_tokens is None
    first, second, third = json.loads(json.dumps(mixed.facts()))["mixture"]
    assert first["stream"]["source"] == str(sources[0])
    assert third["weight"] == 1
    assert second["tokens"] > 0
    mixed.close()


def test_unparsed_streams_leave_no_salience(plain: PreparedData, sources: tuple[Path, Path]) -> None:
    """Nothing reads it there; a batch has it for all rows or for none."""
    batch = take(opened(plain, three(plain, sources), levels=()), 1, size=16)[0]
    assert batch.salience is None
    assert batch.salience_buckets is None


def test_a_member_is_a_path_or_a_stream_and_comes_once() -> None:
    stream = {"stream": {"source": "text"}}
    with pytest.raises(ValidationError, match="either a path or a stream"):
        DataConfig.model_validate({"path": "data/a", "mixture": [{"weight": 1}]})
    with pytest.raises(ValidationError, match="either a path or a stream"):
        DataConfig.model_validate({"path": "data/a", "mixture": [{"path": "data/a", **stream}]})
    with pytest.raises(ValidationError, match="names a corpus twice"):
        DataConfig.model_validate({"path": "data/a", "mixture": [stream, stream]})


def test_workers_help_each_stream(plain: PreparedData, sources: tuple[Path, Path]) -> None:
    alone, helped = opened(plain, three(plain, sources)), opened(plain, three(plain, sources, workers=1))
    try:
        assert torch.equal(tokens(take(helped, 6)), tokens(take(alone, 6)))
    finally:
        helped.close()
    assert all(
        member.rows._encoded is None for member in helped.corpora if isinstance(member.rows, StreamedRows)
    )
