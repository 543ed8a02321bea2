"""TreebankParser: gold trees of a treebank file, looked up by their text."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from itertools import accumulate, groupby
from pathlib import Path
from typing import final

from hdiff.errors import ParserError
from hdiff.structure import Span, SpanTree

from .base import Parser, Words
from .bracket_words import locate
from .brackets import clean, read_brackets, to_span_tree
from .conllu import Sentence, read_conllu
from .constituents import constituents

SUFFIXES = (".ptb", ".mrg", ".conllu")
MAX_CHARACTERS = 100_000
"""Longest text; a longer document of a CoNLL-U file becomes several."""

UNIVERSAL = frozenset(
    ("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT",
     "SCONJ", "SYM", "VERB", "X")
)  # fmt: skip
"""Universal parts of speech: https://universaldependencies.org/u/pos/."""


@final
class TreebankParser(Parser):
    """Gives each text the tree that a file has for it.

    A bracketed file has one text per tree; if a CoNLL-U file of the same name lies beside it, sentence by
    sentence, texts have its spacing. A CoNLL-U file has one text per document (`# newdoc`), its sentences on
    lines of their own, and its constituents are projected from the gold dependencies.

    Args:
        path: A .ptb, .mrg or .conllu file.
        annotations: What the trees also tell of each word; `heads`, from a .conllu file.

    Raises:
        ParserError: If the file is missing or malformed, or has no such annotation.

    Attributes:
        levels: `sentence` and `word` alone where no word of a .conllu file has a universal part of speech.
    """

    name = "treebank"
    levels: tuple[str, ...] = ("sentence", "clause", "phrase", "word")
    takes_model = True
    annotations = ("heads",)

    def __init__(self, path: str | None = None, *, annotations: Collection[str] = ()) -> None:
        if path is None:
            raise ParserError(f"parser 'treebank' needs a file ({', '.join(SUFFIXES)}); write treebank:PATH")
        self.path = Path(path)
        if self.path.suffix not in SUFFIXES or not self.path.is_file():
            raise ParserError(f"{path} is no treebank; give a file that ends in {', '.join(SUFFIXES)}")
        if annotations and self.path.suffix != ".conllu":
            raise ParserError(f"{path} has brackets and no heads; give a .conllu file, or another salience")
        if self.path.suffix == ".conllu":
            tags: Counter[str] = Counter()
            trees = list(_projected(_tallied(read_conllu(self.path), tags)))
            self._look_at(tags)
        else:
            trees = list(gold_sentences(self.path))
        self._texts = [tree.text for tree in trees]
        self._trees: dict[str, SpanTree] = {}
        for tree in trees:
            self._trees.setdefault(tree.text, tree)
        # Readers of files strip texts and change line ends: blanks do not tell texts apart, unless they must.
        self._by_letters: dict[str, list[str]] = {}
        for text in self._trees:
            self._by_letters.setdefault("".join(text.split()), []).append(text)

    def texts(self) -> Iterator[str]:
        """The texts it has trees for, in the order of the file; one that occurs twice has its first tree."""
        return iter(self._texts)

    def parse(self, texts: Iterable[str]) -> Iterator[SpanTree]:
        for text in texts:
            tree = self._trees.get(text)
            if tree is None:
                alike = self._by_letters.get("".join(text.split()), [])
                if len(alike) != 1:
                    raise ParserError(
                        f"{self.path} has no tree for '{text[:60]}'; parse the texts of the file"
                    )
                tree = _in_text(self._trees[alike[0]], text)
            yield tree

    def parse_words(self, sentences: Iterable[Words]) -> Iterator[SpanTree]:
        return self.parse(sentence.text for sentence in sentences)

    def fingerprint(self) -> dict[str, str]:
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return {"name": self.name, "model": str(self.path), "model_sha256": digest, "rules": "3"}

    def _look_at(self, tags: Counter[str]) -> None:
        """Says which words have no universal part of speech; no phrase grows from these."""
        unknown = {tag: number for tag, number in tags.items() if tag not in UNIVERSAL}
        if not unknown:
            return
        number, total = sum(unknown.values()), tags.total()
        examples = ", ".join(f"'{tag}'" for tag in list(unknown)[:3])
        self.lacks = (
            f"{number:,} of {total:,} words of {self.path} have no universal part of speech (UPOS, column 4, "
            f"is {examples}): fill column 4 with NOUN, VERB and so on, as UDPipe and Stanza do",
        )
        if number == total:
            self.levels = ("sentence", "word")


def gold_sentences(path: Path) -> Iterator[SpanTree]:
    """Trees of a bracketed file, with the spacing of the CoNLL-U file beside it if there is one."""
    nodes = read_brackets(path)
    beside = path.with_suffix(".conllu")
    sentences = read_conllu(beside) if beside.is_file() else None
    number = 0
    for number, node in enumerate(nodes, start=1):
        sentence = next(sentences, None) if sentences is not None else None
        if sentences is not None and sentence is None:
            raise ParserError(f"{beside} ends before tree {number} of {path}; they must be sentence-aligned")
        tree = clean(node)
        if tree is None:
            continue
        words = [leaf.word or "" for leaf in tree.leaves()]
        text = " ".join(words) if sentence is None or not _fits(words, sentence) else sentence.tree.text
        yield to_span_tree(tree, text)
    if sentences is not None and next(sentences, None) is not None:
        raise ParserError(f"{beside} has more sentences than the {number} trees of {path}")


def dependency_sentences(path: Path) -> Iterator[SpanTree]:
    """Constituents projected from the gold dependencies of a CoNLL-U file, a tree per sentence."""
    for sentence in read_conllu(path):
        heads = sentence.tree.heads
        yield SpanTree.build(sentence.tree.text, constituents(sentence.tree), heads=heads)


def _fits(words: list[str], sentence: Sentence) -> bool:
    """Whether a sentence is spelt as its tree is; quotes and brackets may be written differently."""
    try:
        locate(words, sentence.tree.text)
    except ParserError:
        return False
    return True


def _in_text(tree: SpanTree, text: str) -> SpanTree:
    """The tree of a text that differs in blanks only."""
    places = [place for place, character in enumerate(text) if not character.isspace()]
    letters = [0, *accumulate(not character.isspace() for character in tree.text)]
    spans = [
        replace(span, start=places[letters[span.start]], end=places[letters[span.end] - 1] + 1)
        for span in tree.spans
    ]
    return replace(tree, text=text, spans=tuple(spans))


def _tallied(sentences: Iterable[Sentence], tags: Counter[str]) -> Iterator[Sentence]:
    """The sentences; counts their parts of speech."""
    for sentence in sentences:
        tags.update(sentence.tree.pos)
        yield sentence


def _documents(sentences: Iterable[Sentence]) -> Iterator[list[Sentence]]:
    """Sentences of each document; long documents in several parts."""
    for _, group in groupby(sentences, key=lambda sentence: sentence.document or sentence.line):
        part: list[Sentence] = []
        size = 0
        for sentence in group:
            if part and size + len(sentence.tree.text) > MAX_CHARACTERS:
                yield part
                part, size = [], 0
            part.append(sentence)
            size += len(sentence.tree.text) + 1
        yield part


def _projected(sentences: Iterable[Sentence]) -> Iterator[SpanTree]:
    """A tree per document of a CoNLL-U file, its sentences on lines of their own."""
    for group in _documents(sentences):
        parts: list[str] = []
        spans: list[Span] = []
        heads: list[int] = []
        tags: list[str] = []
        relations: list[str] = []
        offset = 0
        for sentence in group:
            first = len(heads)
            heads.extend([head if head < 0 else first + head for head in sentence.tree.heads])
            spans.extend(
                Span(offset + span.start, offset + span.end, span.label, span.level)
                for span in constituents(sentence.tree)
            )
            tags.extend(sentence.tree.tags)
            relations.extend(sentence.tree.deps)
            parts.append(sentence.tree.text)
            offset += len(sentence.tree.text) + 1
        yield SpanTree.build("\n".join(parts), spans, heads=heads, tags=tags, relations=relations)
