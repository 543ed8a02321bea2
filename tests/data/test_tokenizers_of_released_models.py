"""Tokenizers that lie beside released diffusion models: how they split text, and which tokens have roles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hdiff.data.tokenizer import Tokenizer

TEXTS = [
    "It's 12345 o'clock, isn't it?",
    "THEY'LL pay $1,999.99 in 2026!",
    "def f(x):\n    return x ** 2\n\n",
    "  two spaces, a tab\t, trailing  ",
    "cafe\u0301 and café are one word",
    "你好，世界。 Привет, мир 123",
    "line\r\nline\r\n\r\n",
    "emoji 🙂🙂 and ½ and ①②",
    "snake_case CamelCase kebab-case",
    "",
]


def vocabulary(folder: Path) -> None:
    """vocab.json and merges.txt of byte-level BPE, learned from the texts as Qwen2 splits them."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers, trainers

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    backend.train_from_iterator(TEXTS * 3, trainer)
    backend.model.save(str(folder))


@pytest.mark.parametrize("class_name", ["Qwen2Tokenizer", "DreamTokenizer", "Qwen2TokenizerFast"])
def test_vocabularies_of_qwen_and_dream_split_text_as_theirs_do(class_name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers has the tokenizer of Qwen2")
    vocabulary(tmp_path)
    added = {
        str(500 + n): {"content": name, "special": True} for n, name in enumerate(["<|end|>", "<|mask|>"])
    }
    config = {"tokenizer_class": class_name, "eos_token": "<|end|>", "mask_token": "<|mask|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "added_tokens_decoder": added}))
    ours = Tokenizer.load(tmp_path)
    merges = [tuple(line.split()) for line in (tmp_path / "merges.txt").read_text().splitlines()[1:]]
    vocab = json.loads((tmp_path / "vocab.json").read_text())
    theirs = transformers.Qwen2Tokenizer(vocab=vocab, merges=merges, unk_token=None)
    for text in TEXTS:
        assert ours.encode(text)[0] == theirs(text, add_special_tokens=False)["input_ids"], text
    assert ours.backend.id_to_token(ours.eos_id) == "<|end|>"
    assert ours.facts.mask_id == ours.backend.token_to_id("<|mask|>")


@pytest.mark.parametrize(
    ("config", "end", "mask"),
    [
        ({"eos_token_id": 0, "mask_token_id": 1}, "<a>", "<b>"),
        ({"eos_token_id": [1, 0]}, "<b>", None),
        ({"eos_token_id": 2, "mask_token_id": 0}, "<c>", "<a>"),
        ({"eos_token_id": 2, "mask_token_id": 999}, "<c>", None),
        ({"eos_token_id": 1, "mask_token_id": None}, "<b>", None),
        ({"eos_token_id": 3}, "word", None),
    ],
)
def test_tokens_without_a_role_have_the_one_that_the_model_names(
    config: dict[str, object], end: str, mask: str | None, tmp_path: Path
) -> None:
    import tokenizers

    names = ["<a>", "<b>", "<c>", "word"]
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({n: i for i, n in enumerate(names)}, "word"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(names[:3])
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.backend.id_to_token(tokenizer.eos_id) == end
    assert tokenizer.facts.mask_id == (None if mask is None else tokenizer.backend.token_to_id(mask))


@pytest.mark.parametrize("end", ["<eos>", "</s>", "<|endoftext|>", "[SEP]"])
def test_the_end_that_a_tokenizer_has_is_not_taken_from_the_defaults_of_a_configuration(
    end: str, tmp_path: Path
) -> None:
    """Configurations of Llama say eos_token_id: 2, whatever the tokenizer is."""
    import tokenizers

    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({end: 0, "a": 1, "b": 2, "<unk>": 3}, unk_token="<unk>")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens([end])
    backend.save(str(tmp_path / "tokenizer.json"))
    alone = Tokenizer.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 2, "bos_token_id": 1}))
    beside = Tokenizer.load(tmp_path)
    assert beside.eos_id == alone.eos_id == 0
    assert beside.sha256 == alone.sha256
