"""Files of tokenizers: added tokens, unknown words, and what cannot be read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend
from word_levels import word_level

from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError


def test_added_tokens_beside_a_vocabulary_have_their_numbers(shared_data: Path, tmp_path: Path) -> None:
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((shared_data / "tokenizers" / "gpt2" / name).read_bytes())
    (tmp_path / "added_tokens.json").write_text(
        json.dumps({"<pad>": 50257, "<sep>": 50258}), encoding="utf-8"
    )
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.vocab_size == 50259
    assert tokenizer.backend.token_to_id("<sep>") == 50258
    assert tokenizer.backend.id_to_token(tokenizer.eos_id) == "<|endoftext|>"


def test_a_vocabulary_that_is_not_of_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b@@": 1, "<eos>": 2}), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    with pytest.raises(DataError, match="no byte-level BPE as in GPT-2"):
        Tokenizer.load(tmp_path)


def test_the_remedy_for_a_model_of_sentencepiece_works_when_typed(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    pytest.importorskip("transformers")
    (tmp_path / "text.txt").write_text("the old dog sleeps\na cat sees the dog.\n" * 30, encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"),
        model_prefix=str(tmp_path / "spiece"),
        vocab_size=30,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with pytest.raises(DataError, match=r"write tokenizer.json from it: python -c ") as error:
        Tokenizer.load(tmp_path)
    (remedy,) = error.value.remedies
    command = remedy.replace("python", f"'{sys.executable}'", 1)
    subprocess.run(command, shell=True, check=True, capture_output=True)
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.decode(tokenizer.encode("the dog")[0]) == "the dog"
    assert tokenizer.backend.id_to_token(tokenizer.eos_id) == "</s>"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: models.WordLevel({"a": 0, "</s>": 1}, unk_token="<unk>"), "b"),
        (lambda: models.WordPiece({"a": 0, "</s>": 1}, unk_token="[UNK]"), "b"),
        (lambda: models.BPE({"a": 0, "</s>": 1}, [], unk_token="<unk>"), "b"),
        (lambda: models.Unigram([("a", 0.0), ("</s>", 0.0)], None, False), "b"),
    ],
)
def test_a_tokenizer_without_its_unknown_token_says_what_it_cannot_read(make: Any, text: str) -> None:
    tokenizer = Tokenizer.of(Backend(make()))
    assert tokenizer.encode("a")[0] == [0]
    with pytest.raises(DataError, match=r"the tokenizer cannot read 'b': .*; add its unknown token"):
        tokenizer.encode(text)


def test_added_tokens_keep_the_numbers_of_the_file(tmp_path: Path) -> None:
    backend = Backend(models.WordLevel({"?": 0, "a": 2, "b": 5}, unk_token="?"))
    parts = json.loads(backend.to_str())
    entry = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    parts["added_tokens"] = [{"id": 7, "content": "<eos>", **entry}, {"id": 9, "content": "<x>", **entry}]
    (tmp_path / "tokenizer.json").write_text(json.dumps(parts), encoding="utf-8")
    tokenizer = Tokenizer.load(tmp_path)
    assert (tokenizer.eos_id, tokenizer.vocab_size, tokenizer.facts.unused_ids) == (7, 10, (1, 3, 4, 6, 8))
    (tmp_path / "saved").mkdir()
    tokenizer.save(tmp_path / "saved")
    assert Tokenizer.load(tmp_path / "saved").facts == tokenizer.facts


@pytest.mark.parametrize(
    "model",
    [
        models.WordLevel({"?": 0, "</s>": 1, "b": 2, "c": 2}, unk_token="?"),
        models.BPE({"a": 0, "</s>": 1, "b": 2, "c": 2}, []),
        models.WordPiece({"?": 0, "</s>": 1, "b": 2, "c": 2}, unk_token="?"),
    ],
)
def test_two_tokens_with_one_number_are_refused(model: Any) -> None:
    with pytest.raises(DataError, match="the tokens 'b' and 'c' both have the id 2; give every token"):
        Tokenizer.of(Backend(model))


def test_numbers_of_tokens_may_have_holes_and_be_large() -> None:
    tokenizer = Tokenizer.of(Backend(models.WordLevel({"?": 0, "<eos>": 3, "a": 70_000}, unk_token="?")))
    assert (tokenizer.vocab_size, len(tokenizer.facts.unused_ids)) == (70_001, 69_998)
    assert tokenizer.pieces([0, 1, 70_000]) == ["?", "", " a"]
    assert tokenizer.name(1) == "<id 1>"
    with pytest.raises(DataError, match="the token '<eos>' has the id 4,000,000,000"):
        Tokenizer.of(Backend(models.WordLevel({"?": 0, "<eos>": 4_000_000_000}, unk_token="?")))


@pytest.mark.parametrize(
    "options", [{"lstrip": True}, {"rstrip": True}, {"single_word": True}, {"normalized": True}, {}]
)
def test_added_tokens_of_any_kind_leave_the_text_whole(options: dict[str, bool]) -> None:
    backend = word_level("?", "a", "b", special=("<eos>",))
    backend.add_tokens([AddedToken("<x>", **options)])
    tokenizer = Tokenizer.of(backend)
    ids, offsets = tokenizer.encode("a <x> b <eos> a")
    assert tokenizer.eos_id not in ids
    assert all(end <= len("a <x> b <eos> a") for _, end in offsets)


def test_roles_may_fall_on_one_token_or_on_a_word() -> None:
    backend = word_level("<unk>", "a", "mask", special=("<unk>", "<eos>"))
    same = Tokenizer.of(backend, {"mask_token": "<unk>"})
    assert same.facts.mask_id == same.facts.unknown_id == 0
    word = Tokenizer.of(backend, {"mask_token": "mask", "bos_token": "a"})
    assert (word.facts.mask_id, word.facts.begin_id) == (2, 1)
    assert not {1, 2} & set(word.facts.never_text), "words may be drawn"


def test_a_subword_tokenizer_without_decoder_gets_the_one_that_fits() -> None:
    vocabulary = {token: n for n, token in enumerate(["</s>", "[UNK]", "a", "▁", "##a", "a</w>", "Ġ"])}
    for model, split, text in (
        (models.BPE(vocabulary, []), pre_tokenizers.Metaspace(), "a a"),
        (models.BPE(vocabulary, []), pre_tokenizers.ByteLevel(add_prefix_space=False), "a a"),
        (models.WordPiece(vocabulary, unk_token="[UNK]"), pre_tokenizers.Whitespace(), "aa a"),
        (models.BPE(vocabulary, [], end_of_word_suffix="</w>"), pre_tokenizers.Whitespace(), "aa a"),
        (models.BPE(vocabulary, []), None, "aaa"),
    ):
        backend = Backend(model)
        if split is not None:
            backend.pre_tokenizer = split
        tokenizer = Tokenizer.of(backend)
        assert tokenizer.decode(tokenizer.encode(text)[0]) == text


def test_a_tokenizer_that_drops_merges_at_random_reads_the_same_always() -> None:
    backend = Backend(models.BPE({"a": 0, "aa": 1, "</s>": 2}, [("a", "a")], dropout=0.5))
    backend.decoder = decoders.Fuse()
    tokenizer = Tokenizer.of(backend)
    assert {tuple(tokenizer.encode("aa" * 9)[0]) for _ in range(20)} == {(1,) * 9}
