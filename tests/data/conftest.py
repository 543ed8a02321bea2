"""Tokenizers and a small prepared data set for the data tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import tokenizers

from hdiff.data.prepare.run import prepare
from hdiff.data.prepared import PreparedData
from hdiff.data.rows import stream_documents
from hdiff.data.tokenizer import Tokenizer

STORY = (
    "The old dog that barked all night slept in the garden. When the rain came, it ran home.\n"
    "“I don't know,” said Zoë – and naïve 👩‍👩‍👧 漢字 e\u0301 were 3.14% of it!"
)


@pytest.fixture(scope="session")
def trained() -> Tokenizer:
    return Tokenizer.train([STORY] * 3, "train:300")


@pytest.fixture(scope="session")
def word_list() -> Tokenizer:
    return Tokenizer.train([STORY], "words")


@pytest.fixture(scope="session")
def unigram() -> Tokenizer:
    """A unigram model with the normalisation of sentencepiece."""
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram())
    backend.normalizer = tokenizers.normalizers.NFKC()
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=200, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator([STORY] * 3, trainer)
    return Tokenizer.of(backend)


@pytest.fixture(scope="session")
def character_bpe() -> Tokenizer:
    """A BPE of characters that changes them: no accents, no capitals."""
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.normalizer = tokenizers.normalizers.BertNormalizer()
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=200, special_tokens=["<unk>", "</s>"], end_of_word_suffix="</w>", show_progress=False
    )
    backend.train_from_iterator([STORY] * 3, trainer)
    return Tokenizer.of(backend)


MADE_HERE = ("trained", "word_list", "unigram", "character_bpe")


@pytest.fixture(scope="session", params=[*MADE_HERE, "gpt2", "bert-base-uncased"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    if request.param in MADE_HERE:
        found: Tokenizer = request.getfixturevalue(request.param)
        return found
    shared: Path = request.getfixturevalue("shared_data")
    return Tokenizer.load(shared / "tokenizers" / request.param)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """40 short documents, parsed by spaCy."""
    folder = tmp_path_factory.mktemp("prepared")
    source = folder / "text.txt"
    subjects = ["The old dog", "My sister", "A man who sings", "Every child in the village", "It"]
    verbs = ["slept", "ate the red apple", "said that the rain came", "ran home when it rained"]
    places = ["in the garden.", "near the river that flows north."]
    lines = [f"{subject} {verb} {place}" for subject in subjects for verb in verbs for place in places]
    source.write_text("\n\n".join(lines), encoding="utf-8")
    prepare(str(source), folder / "data", validation_fraction=0.2, tokenizer="train:300")
    return PreparedData.load(folder / "data")


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """A data set whose parser needs no model, so that workers start quickly."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "text.txt").write_text("\n\n".join(f"It is {n}. Then it was {n * n}." for n in range(60)))
    prepare(
        str(folder / "text.txt"),
        folder / "data",
        validation_fraction=0.2,
        parser="plain",
        levels=("sentence",),
        tokenizer="train:300",
    )
    return PreparedData.load(folder / "data")


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of a few documents, so that little text has many."""
    monkeypatch.setattr(stream_documents, "GROUP_CHARACTERS", 150)


@pytest.fixture
def files(tmp_path: Path, prepared: PreparedData) -> Path:
    """The documents of the prepared data set, both splits, in six files."""
    rows = [
        prepared.split(split)[index]
        for split in ("train", "validation")
        for index in range(len(prepared.split(split)))
    ]
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(6):
        texts = [row["text"] for row in rows[number::6]]
        (folder / f"{number}.txt").write_text("\n\n".join(texts), encoding="utf-8")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> str:
    """60 different documents."""
    file = tmp_path / "text.txt"
    file.write_text(
        "\n\n".join(f"Number {i} is here.\nThe next is {i + 1}." for i in range(60)), encoding="utf-8"
    )
    return str(file)
