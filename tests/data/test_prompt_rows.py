"""Rows of prompts and answers: every table alike, one split for a prompt, what fits."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prompt_rows import CHATML, answered

from hdiff.data.packing import PackedBlocks
from hdiff.data.prepare.run import prepare
from hdiff.data.prepare.selection import hash01
from hdiff.data.prepared import PreparedData
from hdiff.data.sources.prompts import BORDER, PromptFormat, halves
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError

PLAIN = {"parser": "plain", "levels": [], "tokenizer": "words", "validation_fraction": 0.2}


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("pairs", {}, "prompts are 'pairs'"),
        ("columns", {"prompt": "no column"}, "is no template"),
        ("columns", {"prompt": "{}"}, "is no template"),
        ("columns", {"answer": "{answer"}, "is no template"),
        ("columns", {"chat_template": "x.jinja"}, "--chat-template writes messages"),
        ("chat", {"prompt": "{q}"}, "--prompt-template and --answer-template are of columns"),
        ("chat", {"tokenizer": "train:512"}, "has no chat template"),
        ("chat", {"tokenizer": "words"}, "has no chat template"),
        ("chat", {"chat_template": "absent.jinja"}, "cannot read the chat template"),
    ],
)
def test_formats_that_cannot_be_are_refused(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        PromptFormat.of(kind, **options)


def rows_of(count: int = 20) -> list[dict[str, str]]:
    """Prompts of different lengths, two answers each."""
    return [
        {
            "prompt": " ".join(["ask", str(number // 2), *["please"] * (number // 2 % 3)]),
            "answer": f"say {number} now",
        }
        for number in range(count)
    ]


def written(path: Path, rows: list[dict[str, str]]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = tmp_path_factory.mktemp("prompts")
    out = folder / "data"
    prepare(str(written(folder / "rows.jsonl", rows_of())), out, text_column=PromptFormat(), **PLAIN)
    return PreparedData.load(out)


@pytest.mark.parametrize("suffix", [".json", ".csv", ".parquet"])
def test_every_table_gives_the_same_rows(suffix: str, data: PreparedData, tmp_path: Path) -> None:
    out = tmp_path / "data"
    prepare(str(written(tmp_path / f"rows{suffix}", rows_of())), out, text_column=PromptFormat(), **PLAIN)
    assert (
        PreparedData.load(out).manifest["sha256"]["train/data-00000-of-00001.arrow"]
        == data.manifest["sha256"]["train/data-00000-of-00001.arrow"]
    )


@pytest.mark.parametrize("source", ["builtin:pydoc", "rows.txt", "treebank:x.ptb"])
def test_sources_without_columns_have_no_prompts(source: str, tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("Who? Me.\n")
    given = source if ":" in source else str(tmp_path / source)
    with pytest.raises(DataError, match="no columns, so no prompts"):
        prepare(given, tmp_path / "data", text_column=PromptFormat(), **PLAIN)


def test_a_data_set_of_other_prompts_is_not_taken_for_this_one(data: PreparedData, tmp_path: Path) -> None:
    source = str(written(tmp_path / "rows.jsonl", rows_of()))
    out = tmp_path / "data"
    first = prepare(source, out, text_column=PromptFormat(), **PLAIN)
    assert prepare(source, out, text_column=PromptFormat(), **PLAIN) == first
    with pytest.raises(DataError, match="different: prompts, documents"):
        prepare(source, out, text_column=PromptFormat(prompt="Q: {prompt}"), **PLAIN)


def test_answers_to_one_prompt_stay_in_one_split(data: PreparedData) -> None:
    assert data.prompts == PromptFormat()
    prompts = {
        split: {halves(data.split(split)[row]["text"])[0] for row in range(len(data.split(split)))}
        for split in ("train", "validation")
    }
    assert prompts["validation"]
    assert not prompts["train"] & prompts["validation"]
    assert hash01(f"a{BORDER}b") == hash01(f"a{BORDER}c") == hash01("a")


@pytest.mark.parametrize("answer_end", ["length", "token", "padding"])
@pytest.mark.parametrize("block_size", [None, 4, 3])
def test_rows_are_prompt_answer_and_end(data: PreparedData, answer_end: Any, block_size: int | None) -> None:
    blocks = PackedBlocks.build(
        data, "train", sequence_length=16, levels=["word"], answer_end=answer_end, block_size=block_size
    )
    assert len(blocks) == len(data.split("train"))
    batch = blocks.batch(range(len(blocks)))
    batch.check()
    assert batch.given is not None
    assert batch.answer_lengths is not None
    eos = data.tokenizer.eos_id
    for row in range(len(blocks)):
        prompt, answer = halves(data.split("train")[row]["text"])
        tokens, free = batch.input_ids[row], batch.free_mask[row]
        first = int(free.long().argmax())
        assert data.tokenizer.decode(tokens[:first][tokens[:first] != eos].tolist()) == prompt
        size = int(batch.answer_lengths[row])
        assert data.tokenizer.decode(tokens[first : first + size].tolist()) == answer
        assert int(tokens[0]) == eos
        assert set(tokens[first + size :].tolist()) == {eos}
        assert int(free.sum()) == {"length": size, "token": size + 1, "padding": 16 - first}[answer_end]
        assert int(batch.token_mask[row].sum()) == (16 if answer_end == "padding" else first + size + 1)
        if block_size is not None:
            assert first % block_size == 0
    assert torch_equal(batch.counted_tokens.numpy(), batch.answer_lengths.numpy() + 1)


def torch_equal(left: Any, right: Any) -> bool:
    return bool(np.array_equal(left, right))


def test_documents_that_do_not_fit_are_refused_or_left_out(data: PreparedData) -> None:
    with pytest.raises(DataError, match=r"do not fit into data.sequence_length 8") as caught:
        PackedBlocks.build(data, "train", sequence_length=8)
    longest, drop = caught.value.remedies
    assert drop == "data.drop_long=true"
    every = PackedBlocks.build(data, "train", sequence_length=int(longest.partition("=")[2]))
    some = PackedBlocks.build(data, "train", sequence_length=8, drop_long=True)
    assert 0 < len(some) < len(every)
    with pytest.raises(DataError, match="give longer rows:"):
        PackedBlocks.build(data, "train", sequence_length=3, drop_long=True)
    with pytest.raises(DataError, match=r"data\.train_tokens"):
        PackedBlocks.build(data, "train", sequence_length=16, train_tokens=20)


def test_structure_is_that_of_answers_alone(data: PreparedData) -> None:
    blocks = PackedBlocks.build(data, "train", sequence_length=16, levels=["word"], answer_end="padding")
    assert blocks.unit_length_histogram("word") == [1.0]
    row = data.split("train")[0]
    border = row["text"].index(BORDER)
    tokens, _ = data.tokenizer.encode(row["text"][:border])
    assert min(row["span_start"]) == len(tokens) + 1


def test_special_tokens_count_in_what_a_chat_template_wrote_and_nowhere_else(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(["user assistant Who Me <|im_start|> <|im_end|>"], "train:300")
    tokenizer.backend.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer = Tokenizer.of(tokenizer.backend)
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": CHATML, "eos_token": "<|im_end|>"})
    )
    form = PromptFormat.of("chat", tokenizer=str(tmp_path))
    rows = [{"messages": answered("Who?", f"Me {number}")} for number in range(12)]
    rows += [{"messages": answered(f"Who {number}?", "Me")} for number in range(6)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = {**PLAIN, "tokenizer": str(tmp_path), "validation_fraction": 0.3}
    prepare(str(tmp_path / "rows.jsonl"), tmp_path / "data", text_column=form, **options)
    data = PreparedData.load(tmp_path / "data")
    assert data.prompts is not None
    assert data.prompts.is_marked
    start = data.tokenizer.backend.token_to_id("<|im_start|>")
    ids = data.split("train")[0]["input_ids"]
    assert ids.count(start) == 2
    batch = PackedBlocks.build(data, "train", sequence_length=96, answer_end="length").batch([0])
    assert int(batch.answer_lengths[0]) == len(
        data.tokenizer.encode(halves(data.split("train")[0]["text"])[1])[0]
    )  # type: ignore[index]
