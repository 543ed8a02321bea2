"""Tokenizers: loaded, trained, and their pieces."""

from __future__ import annotations

import pickle
import random
import shutil
from pathlib import Path

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError

SAME_FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@SAME_FIXTURE
@given(text=st.text())
def test_byte_level_tokens_restore_every_text(trained: Tokenizer, text: str) -> None:
    ids, offsets = trained.encode(text)
    assert len(ids) == len(offsets)
    assert trained.decode(ids) == text
    assert "".join(trained.pieces(ids)) == text


@SAME_FIXTURE
@given(data=st.data())
def test_pieces_joined_are_the_decoded_text(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=20))
    pieces = tokenizer.pieces(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == tokenizer.decode(ids)


def test_offsets_count_characters_not_bytes(tokenizer: Tokenizer) -> None:
    text = "naïve 👩‍👩‍👧 漢字 end"
    _, offsets = tokenizer.encode(text)
    assert offsets[-1][1] == len(text)


def test_saving_and_pickling_keep_the_tokenizer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    for copy in (Tokenizer.load(tmp_path), Tokenizer.load(tmp_path / "tokenizer.json")):
        assert copy.sha256 == tokenizer.sha256
        assert copy.encode("The old dog, 漢字") == tokenizer.encode("The old dog, 漢字")
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert (copy.sha256, copy.eos_id) == (tokenizer.sha256, tokenizer.eos_id)


def test_the_digest_survives_numbers_that_are_not_read_back_exactly() -> None:
    numbers = random.Random(0)
    for _ in range(20):
        vocabulary = [("<unk>", 0.0), ("</s>", 0.0)]
        vocabulary += [(chr(97 + letter), -20 * numbers.random()) for letter in range(26)]
        tokenizer = Tokenizer.of(tokenizers.Tokenizer(tokenizers.models.Unigram(vocabulary, 0, False)))
        copy = pickle.loads(pickle.dumps(tokenizer))
        assert copy.sha256 == tokenizer.sha256
        vocabulary[2] = ("a", vocabulary[2][1] * 1.001)
        other = Tokenizer.of(tokenizers.Tokenizer(tokenizers.models.Unigram(vocabulary, 0, False)))
        assert other.sha256 != tokenizer.sha256


def test_special_tokens_in_plain_text_do_not_end_documents(tokenizer: Tokenizer) -> None:
    text = "a <eos> <|endoftext|> [SEP] </s></s> b"
    ids, offsets = tokenizer.encode(text)
    assert tokenizer.eos_id not in ids
    covered = {place for start, end in offsets for place in range(start, end)}
    assert {place for place, character in enumerate(text) if not character.isspace()} <= covered


def test_training_is_deterministic() -> None:
    texts = ["the old dog slept", "the new dog ran home", "naïve 漢字"] * 5
    for spec in ("train:300", "words", "words:6"):
        assert len({Tokenizer.train(texts, spec).sha256 for _ in range(3)}) == 1
    assert Tokenizer.train(texts, "words:6").vocab_size == 6
    assert Tokenizer.train(texts, "train:300").vocab_size <= 300


def test_word_list_of_a_text_that_spells_special_tokens_has_one_id_each() -> None:
    tokenizer = Tokenizer.train(["a <unk> b <unk> b c <eos> a"], "words")
    vocabulary = tokenizer.backend.get_vocab()
    assert sorted(vocabulary.values()) == list(range(5))
    assert tokenizer.vocab_size == 5
    ids, offsets = tokenizer.encode("a <unk> z")
    assert ids[1] == ids[2] == vocabulary["<unk>"]
    assert offsets == [(0, 1), (2, 7), (8, 9)]


def test_word_list_has_one_token_per_word(word_list: Tokenizer) -> None:
    ids, _ = word_list.encode("The old\ncat that barked")
    assert word_list.decode(ids) == "The old <unk> that barked"
    assert word_list.eos_id not in ids


def test_formats_on_disk_are_recognised(shared_data: Path, tmp_path: Path) -> None:
    gpt2 = Tokenizer.load(shared_data / "tokenizers" / "gpt2")
    assert (gpt2.vocab_size, gpt2.eos_id) == (50257, 50256)
    assert Tokenizer.load(shared_data / "tokenizers" / "gpt2" / "vocab.json").sha256 == gpt2.sha256
    bert = Tokenizer.load(shared_data / "tokenizers" / "bert-base-uncased" / "vocab.txt")
    assert (bert.vocab_size, bert.eos_id) == (30522, 102)
    assert gpt2.encode("Hello world")[0] == [15496, 995]
    assert bert.encode("Hello world")[0] == [7592, 2088]
    shutil.copy(shared_data / "tokenizers" / "gpt2" / "vocab.json", tmp_path)
    with pytest.raises(DataError, match="cannot read the tokenizer"):
        Tokenizer.load(tmp_path)


def test_bad_tokenizers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no tokenizer .*; give a file, a folder, train:N or words"):
        Tokenizer.load(tmp_path / "missing")
    with pytest.raises(DataError, match=r"holds no tokenizer; expected tokenizer.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="cannot read the tokenizer"):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.txt").write_text("[UNK]\na\nb\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"does not say which token ends a text|no token that ends a text"):
        Tokenizer.load(tmp_path / "vocab.txt")
    for spec in ("train", "train:", "train:x", "train:-5", "words:", "words:x", "bpe:4"):
        with pytest.raises(DataError, match="cannot train"):
            Tokenizer.train(["a"], spec)
    for spec in ("train:256", "words:2"):
        with pytest.raises(DataError, match="too few tokens"):
            Tokenizer.train(["a"], spec)
