"""What a tokenizer is: asked of generated tokenizers of every model, and of files as people have them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from generated_tokenizers import ALPHABET, generated_tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import normalizers, processors
from word_levels import word_level

from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError

MANY = settings(deadline=None, max_examples=150)


@MANY
@given(generated_tokenizers(), st.text(ALPHABET, max_size=12))
def test_no_token_of_a_text_has_the_number_of_the_mask(tokenizer: Tokenizer, text: str) -> None:
    ids, offsets = tokenizer.encode(text)
    assert len(ids) == len(offsets)
    assert all(0 <= token_id < tokenizer.vocab_size for token_id in ids)
    used = set(tokenizer.backend.get_vocab().values())
    assert used.isdisjoint(tokenizer.facts.unused_ids)
    assert len(used) + len(tokenizer.facts.unused_ids) == tokenizer.vocab_size
    assert tokenizer.eos_id not in ids


@MANY
@given(generated_tokenizers(), st.data())
def test_pieces_are_the_decoded_text(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=10))
    pieces = tokenizer.pieces(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == tokenizer.decode(ids)
    assert all(tokenizer.name(token_id) for token_id in ids if tokenizer.token_bytes(token_id))


@MANY
@given(generated_tokenizers())
def test_saving_loading_and_pickling_change_nothing(tmp_path_factory: Any, tokenizer: Tokenizer) -> None:
    folder = tmp_path_factory.mktemp("saved")
    tokenizer.save(folder)
    for copy in (Tokenizer.load(folder), pickle.loads(pickle.dumps(tokenizer))):
        assert copy.facts == tokenizer.facts
        assert copy.sha256 == tokenizer.sha256


@MANY
@given(generated_tokenizers(("bytes", "fallback")), st.text("ab 😀é漢", max_size=8), st.integers(0, 255))
def test_a_wrong_byte_spoils_no_character_beside_it(tokenizer: Tokenizer, text: str, byte: int) -> None:
    ids, _ = tokenizer.encode(text)
    wrong = next(i for i in range(tokenizer.vocab_size) if tokenizer.token_bytes(i) == b"\xf0")
    shown = "".join(tokenizer.pieces([*ids, wrong]))
    assert shown == "".join(tokenizer.pieces(ids)) + "\N{REPLACEMENT CHARACTER}"


def folder_of(path: Path, backend: Backend, **config: Any) -> Path:
    backend.save(str(path / "tokenizer.json"))
    if config:
        (path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("special", "config", "end"),
    [
        (("<|end_of_text|>", "<|eot_id|>"), {"eos_token": "<|end_of_text|>"}, "<|end_of_text|>"),
        (("<|end_of_text|>", "<|eot_id|>"), {"eos_token": "<|eot_id|>"}, "<|eot_id|>"),
        (("<|end_of_text|>", "<|eot_id|>"), {}, "<|end_of_text|>"),
        (
            ("<|endoftext|>", "<|im_end|>"),
            {"eos_token": {"content": "<|im_end|>", "lstrip": False}},
            "<|im_end|>",
        ),
        (("<|endoftext|>", "<|im_end|>"), {"eos_token": None}, "<|endoftext|>"),
        (("[CLS]", "[SEP]"), {"sep_token": "[SEP]", "cls_token": "[CLS]"}, "[SEP]"),
        (("<end_of_turn>", "<eos>"), {"eos_token": "<eos>"}, "<eos>"),
        (("<｜end▁of▁sentence｜>",), {}, "<｜end▁of▁sentence｜>"),
        (("<stop>",), {"eos_token": "<stop>"}, "<stop>"),
        (("</s>",), {"eos_token": "<missing>"}, "</s>"),
        ((), {"eos_token": "word"}, "word"),
    ],
)
def test_the_end_is_the_one_that_is_named(
    special: tuple[str, ...], config: dict[str, Any], end: str, tmp_path: Path
) -> None:
    given = folder_of(tmp_path, word_level("?", "word", special=special), **config)
    tokenizer = Tokenizer.load(given)
    assert tokenizer.backend.id_to_token(tokenizer.eos_id) == end
    (tmp_path / "saved").mkdir()
    tokenizer.save(tmp_path / "saved")
    again = Tokenizer.load(tmp_path / "saved")
    assert (again.eos_id, again.sha256) == (tokenizer.eos_id, tokenizer.sha256), (
        "tokenizer.json alone says it"
    )
    assert again.encode("? ?") == tokenizer.encode("? ?")


@pytest.mark.parametrize(
    ("post", "end"),
    [
        (processors.BertProcessing(("</e>", 2), ("<b>", 3)), "</e>"),
        (processors.RobertaProcessing(("</e>", 2), ("<b>", 3)), "</e>"),
        (processors.TemplateProcessing("<b> $A </e>", special_tokens=[("<b>", 3), ("</e>", 2)]), "</e>"),
        (processors.TemplateProcessing("$A </e> <b>", special_tokens=[("<b>", 3), ("</e>", 2)]), "</e>"),
    ],
)
def test_the_end_is_what_the_tokenizer_puts_behind_a_text(post: Any, end: str) -> None:
    backend = word_level("?", "word", special=("</e>", "<b>"))
    backend.post_processor = post
    tokenizer = Tokenizer.of(backend)
    assert tokenizer.backend.id_to_token(tokenizer.eos_id) == end
    assert tokenizer.encode("word")[0] == [1], "nothing is put around a text"


def test_the_remedy_for_a_missing_end_works_when_typed(tmp_path: Path) -> None:
    folder_of(tmp_path, word_level("?", "word", special=("<stop>",)))
    with pytest.raises(
        DataError, match=r'tokenizer_config.json beside it, as in \{"eos_token": "<stop>"\}'
    ) as error:
        Tokenizer.load(tmp_path)
    said = str(error.value)
    (tmp_path / "tokenizer_config.json").write_text(said[said.index("{") :], encoding="utf-8")
    assert Tokenizer.load(tmp_path).eos_id == 2
    (tmp_path / "tokenizer_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"cannot read .*tokenizer_config.json"):
        Tokenizer.load(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match="holds a list"):
        Tokenizer.load(tmp_path)


BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "dog", "##s", "cafe", "."]


@pytest.mark.parametrize(
    ("words", "config", "text", "tokens"),
    [
        (["The", "café"], {"do_lower_case": False}, "The café", ["The", "café"]),
        (["The", "café"], None, "The café", ["The", "café"]),
        (["The"], {"do_lower_case": True}, "The café", ["the", "cafe"]),
        ([], None, "The café", ["the", "cafe"]),
        (["café"], {"strip_accents": False}, "café", ["café"]),
        (["[The]"], None, "The", ["the"]),
        (["漢字"], {"tokenize_chinese_chars": False}, "漢字", ["漢字"]),
        (["", ""], None, "the dog", ["the", "dog"]),
        (["dog", "dog"], None, "the dog", ["the", "dog"]),
        (["[unused0]"], None, "Dogs", ["dog", "##s"]),
    ],
)
def test_word_lists_of_bert_are_read_as_they_were_made(
    words: list[str], config: dict[str, Any] | None, text: str, tokens: list[str], tmp_path: Path
) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT, *words]) + "\n", encoding="utf-8")
    if config is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = Tokenizer.load(tmp_path)
    ids, _ = tokenizer.encode(text)
    assert [tokenizer.backend.id_to_token(token_id) for token_id in ids] == tokens
    assert tokenizer.vocab_size == len(BERT) + len(words), "the mask is beyond the last line"


@pytest.mark.parametrize(("wanted", "kept"), [(False, "The"), (True, "the")])
def test_case_in_tokenizer_config_goes_before_tokenizer_json(wanted: bool, kept: str, tmp_path: Path) -> None:
    backend = word_level("?", "the", "The", special=("[SEP]",))
    backend.normalizer = normalizers.BertNormalizer(lowercase=not wanted)
    tokenizer = Tokenizer.load(folder_of(tmp_path, backend, do_lower_case=wanted))
    assert tokenizer.backend.id_to_token(tokenizer.encode("The")[0][0]) == kept
    assert tokenizer.facts.changes[:1] == (("lower-cases",) if wanted else ())
