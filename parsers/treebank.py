"""TreebankParser: gold trees of a treebank file, looked up by their text. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import final

from hdiff.errors import ParserError
from hdiff.structure import Span, SpanTree

from .base import Parser, Words
from .brackets import clean, locate, read_brackets, to_span_tree
from .conllu import Sentence, read_conllu
from .constituents import constituents

SUFFIXES = (".ptb", ".mrg", ".conllu")


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
    """

    name = "treebank"
    levels = ("sentence", "clause", "phrase", "word")
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
        trees = _projected(self.path) if self.path.suffix == ".conllu" else gold_sentences(self.path)
        self._trees = {tree.text: tree for tree in trees}

    def texts(self) -> Iterator[str]:
        """The texts it has trees for, in the order of the file, each once."""
        return iter(self._trees)

    def parse(self, texts: Iterable[str]) -> Iterator[SpanTree]:
        for text in texts:
            if text not in self._trees:
                raise ParserError(f"{self.path} has no tree for '{text[:60]}'; parse the texts of the file")
            yield self._trees[text]

    def parse_words(self, sentences: Iterable[Words]) -> Iterator[SpanTree]:
        return self.parse(sentence.text for sentence in sentences)

    def fingerprint(self) -> dict[str, str]:
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return {"name": self.name, "model": str(self.path), "model_sha256": digest, "rules": "1"}


def gold_sentences(path: Path) -> Iterator[SpanTree]:
    """Trees of a bracketed file, with the spacing of the CoNLL-U file beside it if there is one.

    Args:
        path: A .ptb or .mrg file.

    Yields:
        One tree per bracket that has a word.

    Raises:
        ParserError: If a file is malformed, or they do not have the same number of sentences.
    """
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
    """Constituents projected from the gold dependencies of a CoNLL-U file, a tree per sentence.

    Args:
        path: The file.

    Yields:
        The trees.

    Raises:
        ParserError: If the file is malformed.
    """
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


def _projected(path: Path) -> Iterator[SpanTree]:
    """A tree per document of a CoNLL-U file, its sentences on lines of their own."""
    for _, group in groupby(read_conllu(path), key=lambda sentence: sentence.document or sentence.line):
        parts: list[str] = []
        spans: list[Span] = []
        heads: list[int] = []
        offset = 0
        for sentence in group:
            first = len(heads)
            heads.extend([head if head < 0 else first + head for head in sentence.tree.heads])
            spans.extend(
                Span(offset + span.start, offset + span.end, span.label, span.level)
                for span in constituents(sentence.tree)
            )
            parts.append(sentence.tree.text)
            offset += len(sentence.tree.text) + 1
        yield SpanTree.build("\n".join(parts), spans, heads=heads)
