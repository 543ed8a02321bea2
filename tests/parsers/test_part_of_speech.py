"""PartOfSpeech: exactly what the attribute ruler of the pipeline says, or the ruler stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import spacy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hdiff.parsers.part_of_speech import can_replace
from hdiff.parsers.spacy_models import EXCLUDED, MODELS
from hdiff.parsers.spacy_parser import SpacyParser
from hdiff.parsers.spacy_words import WordReader

FIXTURE = Path(__file__).parents[1] / "fixtures" / "gum_academic" / "sentences.txt"
WORDS = [
    "to",
    "that",
    "there",
    "'s",
    "not",
    "can",
    "have",
    "been",
    "being",
    "do",
    "no",
    "one",
    "ca",
    "n't",
    "so",
    "US",
    "$",
    "%",
    "more",
    "as",
    "her",
    "(",
    ".",
    "3.5",
    "going",
    "is",
    "get",
    "let",
    "'",
    "which",
]


@pytest.fixture(scope="module")
def pipeline():
    """The pipeline as it comes, with its attribute ruler."""
    model = next(name for name in MODELS if spacy.util.is_package(name))
    return spacy.load(model, exclude=list(EXCLUDED))


@pytest.fixture(scope="module")
def reader(pipeline):
    """A reader that has taken the ruler's work over, for the documents of another copy of the pipeline."""
    copy = spacy.load(pipeline.path, exclude=list(EXCLUDED))
    taken = WordReader.taking_over(copy)
    assert "attribute_ruler" not in copy.pipe_names
    return copy, taken


def differences(texts, pipeline, reader) -> list[tuple[str, str, str]]:
    copy, taken = reader
    found = []
    for text, ruled, plain in zip(texts, pipeline.pipe(texts), copy.pipe(texts), strict=True):
        words = [token for token in ruled if not token.is_space]
        parts = [pos for sentence in taken.sentences(plain, text, 0) for pos in sentence.pos]
        assert len(parts) == len(words)
        found += [(t.text, t.pos_, pos) for t, pos in zip(words, parts, strict=True) if t.pos_ != pos]
    return found


def test_every_word_of_real_text_has_the_part_of_speech_of_the_ruler(pipeline, reader):
    assert differences(FIXTURE.read_text(encoding="utf-8").split("\n"), pipeline, reader) == []


@pytest.mark.parametrize("name", ["gum_open/train.txt", "craft/dev.txt", "tinystories/valid.txt"])
def test_it_holds_on_corpora(shared_data, pipeline, reader, name):
    texts = (shared_data / name).read_text(encoding="utf-8").split("\n\n")[:60]
    assert differences(texts, pipeline, reader) == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=4)), max_size=12).map(" ".join))
def test_it_holds_on_any_text(pipeline, reader, text):
    if text.isprintable():
        assert differences([text], pipeline, reader) == []


@pytest.mark.parametrize(
    ("patterns", "attributes"),
    [
        ([[{"LEMMA": "dog"}]], {"POS": "NOUN"}),
        ([[{"TAG": "NN", "OP": "+"}]], {"POS": "NOUN"}),
        ([[{"TAG": "NN"}]], {"DEP": "ROOT"}),
        ([[{"ENT_TYPE": "ORG"}]], {"POS": "PROPN"}),
    ],
)
def test_a_ruler_that_looks_at_more_stays(tmp_path, patterns, attributes):
    model = next(name for name in MODELS if spacy.util.is_package(name))
    changed = spacy.load(model, exclude=list(EXCLUDED))
    ruler = changed.get_pipe("attribute_ruler")
    assert can_replace(ruler)
    ruler.add(patterns, attributes)
    assert not can_replace(ruler)
    changed.to_disk(tmp_path)
    parser = SpacyParser(str(tmp_path))
    assert "attribute_ruler" in parser._pipeline.pipe_names
    assert all(word.label for word in next(iter(parser.parse(["The old dog slept."]))).words)
