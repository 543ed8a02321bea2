"""Prepare: complete or not there, the same however it was made, and clear about what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from arrow_digests import PLAIN, arrow_digests
from hypothesis import given, settings
from hypothesis import strategies as st

from hdiff.data.prepare.run import prepare
from hdiff.data.prepare.selection import Selection
from hdiff.data.prepared import PreparedData
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError, ParserError
from hdiff.parsers import InverseDocumentFrequency
from hdiff.structure import LEVELS


def test_data_set_holds_every_document_with_its_spans(prepared: PreparedData) -> None:
    manifest = prepared.manifest
    rows = [*prepared.split("train"), *prepared.split("validation")]
    assert len(rows) == 40
    assert manifest["levels"] == ["clause", "phrase", "word"]
    for row in rows:
        assert prepared.tokenizer.decode(row["input_ids"]) == row["text"]
        assert len(row["salience"]) == len(row["input_ids"])
        assert all(0 <= score <= 1 for score in row["salience"])
        spans = list(zip(row["span_start"], row["span_end"], strict=True))
        assert all(0 <= start < end <= len(row["input_ids"]) for start, end in spans)
        labels = [manifest["labels"][label] for label in row["span_label"]]
        phrases = {
            (label, prepared.tokenizer.decode(row["input_ids"][start:end]).strip())
            for (start, end), label, level in zip(spans, labels, row["span_level"], strict=True)
            if LEVELS[level] == "phrase"
        }
        if row["text"].startswith("The old dog"):
            assert ("NP", "The old dog") in phrases
    assert len({row["text"] for row in rows}) == 40


def test_manifest_counts_what_is_there(prepared: PreparedData) -> None:
    for split, counts in prepared.manifest["counts"].items():
        rows = list(prepared.split(split))
        assert counts["documents"] == len(rows)
        assert counts["tokens"] == sum(len(row["input_ids"]) for row in rows)
        assert counts["characters"] == sum(len(row["text"]) for row in rows)
        for level, number in counts["spans"].items():
            assert number == sum(row["span_level"].count(LEVELS.index(level)) for row in rows)
    assert prepared.manifest["rejected"] == {}
    tokenizer = prepared.manifest["tokenizer"]
    assert tokenizer["vocab_size"] == prepared.tokenizer.vocab_size
    assert tokenizer["eos_id"] == prepared.tokenizer.eos_id
    salience = prepared.salience
    assert isinstance(salience, InverseDocumentFrequency)
    assert salience.num_documents == prepared.manifest["counts"]["train"]["documents"]
    prepared.verify()


def test_a_finished_data_set_is_returned_and_never_overwritten(source: str, tmp_path: Path) -> None:
    stages: list[str] = []
    first = prepare(source, tmp_path / "out", **PLAIN)
    before = arrow_digests(tmp_path / "out")
    again = prepare(
        source, tmp_path / "out", **PLAIN, progress=lambda stage, done, total: stages.append(stage)
    )
    assert again == first
    assert stages == ["already prepared"]
    for change in ({"tokenizer": "words"}, {"levels": ()}, {"limit": 30}, {"validation_fraction": 0.5}):
        with pytest.raises(
            DataError, match=r"made from other inputs \(different: .*; delete the folder, or give another"
        ):
            prepare(source, tmp_path / "out", **{**PLAIN, **change})
    with pytest.raises(DataError, match=r"different: documents"):
        prepare("builtin:phrase_bank", tmp_path / "out", **PLAIN)
    assert arrow_digests(tmp_path / "out") == before


def test_a_folder_with_something_else_is_left_alone(source: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not empty and holds no data set; give another: --out FOLDER"):
        prepare(source, tmp_path, **PLAIN)
    with pytest.raises(DataError, match="is a file; give a folder"):
        prepare(source, source, **PLAIN)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"levels": ("phrase",)},
            r"'plain' does not give level 'phrase', it gives sentence, word; .*--levels",
        ),
        ({"levels": ("noun",)}, r"unknown level 'noun'"),
        ({"tokenizer": "nowhere/tokenizer.json"}, r"no tokenizer nowhere"),
        ({"tokenizer": "train:lots"}, r"cannot train a tokenizer 'train:lots'"),
        ({"validation_fraction": 1.0}, r"validation fraction is 1.0, expected a number between 0 and 1"),
        ({"limit": 0}, r"limit is 0 documents"),
        ({"workers": 0}, r"workers is 0"),
        ({"validation": "nowhere.txt"}, r"no file or folder nowhere.txt"),
    ],
)
def test_impossible_requests_are_refused(
    source: str, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        prepare(source, tmp_path / "out", **{**PLAIN, **options})
    with pytest.raises(DataError):
        PreparedData.load(tmp_path / "out")


def test_unknown_parsers_are_refused_before_anything_is_written(source: str, tmp_path: Path) -> None:
    with pytest.raises(ParserError, match="unknown parser"):
        prepare(source, tmp_path / "out", parser="spicy")
    assert not (tmp_path / "out").exists()


def test_rejected_documents_are_counted_and_kept(tmp_path: Path) -> None:
    texts = [f"Document {i} is fine." for i in range(30)] + ["broken \ud800 text", "broken too \udfff"]
    source = tmp_path / "text.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="ascii")
    manifest = prepare(str(source), tmp_path / "out", **PLAIN, validation_fraction=0.3)
    assert manifest["rejected"] == {"lone surrogate": 2}
    assert sum(counts["documents"] for counts in manifest["counts"].values()) == 30
    lines = (tmp_path / "out" / "rejected.jsonl").read_text(encoding="ascii").splitlines()
    assert {json.loads(line)["text"] for line in lines} == set(texts[30:])


def test_a_split_without_any_acceptable_document_is_refused(source: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"text": "broken \ud800 text"}) + "\n", encoding="ascii")
    with pytest.raises(DataError, match=r"rejects all 1 documents of split 'validation': lone surrogate"):
        prepare(source, tmp_path / "out", **PLAIN, validation=str(bad))


@given(
    st.lists(st.text(st.characters(categories=["L"]), min_size=1, max_size=5), min_size=1),
    st.floats(0.05, 0.95),
)
@settings(deadline=None, max_examples=30)
def test_equal_texts_are_in_one_split_wherever_they_stand(texts: list[str], fraction: float) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "text.txt"
        file.write_text("\n\n".join([*texts, *reversed(texts)]), encoding="utf-8")
        splits: dict[str, set[str]] = {}
        for split, row in Selection(str(file)).rows(fraction, print):
            splits.setdefault(row.text, set()).add(split)
    assert all(len(found) == 1 for found in splits.values())


def test_explicit_validation_is_taken_as_it_is(source: str, tmp_path: Path) -> None:
    (tmp_path / "valid.txt").write_text("Held out.\n\nThis too.", encoding="utf-8")
    manifest = prepare(source, tmp_path / "out", **PLAIN, validation=str(tmp_path / "valid.txt"))
    assert {split: counts["documents"] for split, counts in manifest["counts"].items()} == {
        "train": 60,
        "validation": 2,
    }


def test_phrase_bank_sentences_are_its_phrases(tmp_path: Path) -> None:
    options = {"parser": "plain", "levels": ("sentence",), "tokenizer": "words", "limit": 200}
    manifest = prepare("builtin:phrase_bank", tmp_path / "out", **options)
    assert manifest["validation"] == "builtin:phrase_bank:validation"
    assert manifest["tokenizer"]["vocab_size"] == 34
    assert manifest["counts"]["train"]["spans"] == {"sentence": 1600, "word": 6400}
    row = PreparedData.load(tmp_path / "out").split("train")[0]
    sentences = [i for i, level in enumerate(row["span_level"]) if level == 0]
    assert [(row["span_start"][i], row["span_end"][i]) for i in sentences] == [
        (i, i + 4) for i in range(0, 32, 4)
    ]


def test_other_tokenizers_can_be_used(source: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "tokenizer").mkdir()
    tokenizer.save(tmp_path / "tokenizer")
    prepare(source, tmp_path / "out", **{**PLAIN, "tokenizer": str(tmp_path / "tokenizer")})
    data = PreparedData.load(tmp_path / "out")
    assert data.tokenizer.sha256 == tokenizer.sha256
    assert data.split("train")[0]["input_ids"] == tokenizer.encode(data.split("train")[0]["text"])[0]
