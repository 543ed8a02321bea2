"""Hostile text: every document is in the data set or in rejected.jsonl, whatever it holds."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from hdiff.data.prepare.run import prepare
from hdiff.data.prepared import PreparedData
from hdiff.data.sources.corpus import MAX_DOCUMENT_CHARACTERS

FINE = [f"The {word} dog slept in the garden." for word in ("old", "red", "big", "sad", "new", "wet")]
HOSTILE = {
    "empty": "",
    "blank": " \t\n\u2003\u200a ",
    "controls": "".join(map(chr, range(32))) + "The dog\x00\x07\x1b[31m slept.\x7f\x85",
    "lone surrogate": "The dog \ud83d slept.",
    "marks alone": "\u0301\u0323\u200d\ufe0f",
    "mixed scripts": "The dog собака 犬が寝た الكلب नमस्ते ślept 👩‍👩‍👧 \u202ereversed\u202c.",
    "brackets": "(((((((S (NP -LRB- ``''`` )))) <eos> </s> <|endoftext|> [SEP] [MASK]",
    "no spaces": "dog" * 3000,
    "one long sentence": " and ".join(["the old dog that barked saw a red cat"] * 1112),
    "quotes": '"' * 500 + "'" * 500,
    "right to left": "\u200f\u202b(\u05d0\u05d1)\u202c!",
}


def write(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="ascii")
    return str(path)


@pytest.mark.parametrize("parser", ["spacy", "plain", "random:spacy", "right_branching:plain"])
def test_every_document_is_kept_or_rejected_with_a_reason(tmp_path: Path, parser: str) -> None:
    texts = [*FINE, *HOSTILE.values()]
    random.Random(0).shuffle(texts)
    manifest = prepare(
        write(tmp_path / "hostile.jsonl", texts),
        tmp_path / "out",
        validation=write(tmp_path / "fine.jsonl", FINE),
        parser=parser,
        levels=("sentence",),
        tokenizer="train:300",
    )
    rejected = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    rows = PreparedData.load(tmp_path / "out").split("train")
    kept = [text.strip() for text in texts if text.strip() not in {row["text"] for row in rejected}]
    assert [row["text"] for row in rows] == kept
    assert manifest["counts"]["train"]["documents"] + len(rejected) == len(texts)
    assert sum(manifest["rejected"].values()) == len(rejected)
    reasons = {row["text"]: row["reason"] for row in rejected}
    assert reasons[""] == "empty text"
    assert reasons[HOSTILE["lone surrogate"]] == "lone surrogate"
    kinds = {kind for kind, text in HOSTILE.items() if text.strip() in reasons}
    assert kinds <= {"empty", "blank", "lone surrogate", "marks alone", "quotes"}


def test_a_document_of_a_million_characters_is_cut_and_none_of_its_words_is_lost(tmp_path: Path) -> None:
    sentence = "The old dog that barked all night slept in the garden of the king. "
    text = sentence * (1_050_000 // len(sentence))
    prepare(
        write(tmp_path / "long.jsonl", [text]),
        tmp_path / "out",
        validation=write(tmp_path / "fine.jsonl", FINE),
        parser="plain",
        levels=("sentence",),
        tokenizer="train:300",
    )
    rows = PreparedData.load(tmp_path / "out").split("train")
    assert len(rows) > 10
    parts = [row["text"] for row in rows]
    assert max(map(len, parts)) <= MAX_DOCUMENT_CHARACTERS
    assert " ".join(parts).split() == text.split()
