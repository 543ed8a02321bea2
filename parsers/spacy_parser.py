"""SpacyParser: sentences, clauses, phrases and words from a spaCy dependency parse."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise, tee
from typing import final

from hdiff.errors import ParserError
from hdiff.structure import Span, SpanTree

from . import (
    clause_labels,
    constituents,
    dependency,
    islands,
    joins,
    layout,
    noun_parts,
    pairs,
    projection,
    references,
    spacy_words,
    universal,
)
from .base import ANNOTATIONS, Parser, Words, check_text
from .dependency import ROOT, DependencyTree
from .spacy_models import digest_of, installed_model, load_model
from .spacy_words import WordReader

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
    noun_parts,
    pairs,
    projection,
    references,
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
        self.model = installed_model() if model is None else model
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
        return {
            "name": self.name,
            "model": self.model,
            "model_version": str(meta["version"]),
            "model_sha256": digest_of(self._pipeline.path),
            "spacy": version("spacy"),
            "components": ",".join(self._components),
            "annotations": ",".join(self.wanted),
            **({"options": ",".join(options)} if (options := self._given_options()) else {}),
            "max_piece": str(MAX_PIECE),
            "rules_sha256": rules_sha256(),
        }

    def _given_options(self) -> list[str]:
        given = (not self.layout, self.own_labels, self.single_words)
        return [name for name, is_given in zip(self.options, given, strict=True) if is_given]

    def _constituents(self, sentence: DependencyTree) -> list[Span]:
        return constituents.constituents(sentence, own_labels=self.own_labels, single_words=self.single_words)

    def _load(self) -> None:
        self._pipeline = load_model(self.model, entities="entities" in self.wanted)
        self._components = tuple(self._pipeline.pipe_names)
        self.language = self._pipeline.lang
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
            cuts = list(self._pieces(text))
            for number, (offset, piece) in enumerate(cuts, start=1):
                if batch and (len(batch) == self.batch_size or size + len(piece) > MAX_BATCH):
                    yield batch
                    batch, size = [], 0
                batch.append((text, offset, piece, number == len(cuts)))
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


def rules_sha256() -> str:
    """SHA-256 of the rules that make spans of dependencies."""
    rules = "".join(inspect.getsource(module) for module in _RULES)
    return hashlib.sha256(rules.encode()).hexdigest()


def pieces(text: str, max_length: int = MAX_PIECE) -> Iterator[tuple[int, str]]:
    """Cuts a long text at its last paragraph, line, sentence or word border that fits: (offset, piece)."""
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
