"""Gold: files of gold trees, and the scores of a parser on them, for `hdiff parser eval`. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hdiff.errors import ParserError
from hdiff.structure import SpanTree

from .base import Parser, Words
from .conllu import Sentence, paragraphs, read_conllu
from .evaluation import evaluate, sentence_boundaries
from .loading import load_parser
from .treebank import SUFFIXES, dependency_sentences, gold_sentences

PROJECTED = "dependencies"
"""In place of a parser: constituents of the gold dependencies."""

_GENRE = re.compile(r"(?:[A-Z]+_)?[A-Za-z]+")
_GROUP = 20


@dataclass(frozen=True)
class Gold:
    """Gold trees of a file.

    Attributes:
        path: The file.
        trees: One tree per sentence.
        sentences: The same sentences with their documents and paragraphs; empty if the file has brackets
            and no .conllu beside it.
    """

    path: Path
    trees: tuple[SpanTree, ...]
    sentences: tuple[Sentence, ...]

    def genres(self) -> list[str]:
        """The letters that the document of each tree begins with: GUM_news of GUM_news_iodine."""
        if not self.sentences:
            raise ParserError(
                f"{self.path} names no documents; give a .conllu file beside it, or leave out --by prefix"
            )
        names = (sentence.document for sentence in self.sentences)
        return [match.group() if (match := _GENRE.match(name)) else "other" for name in names]

    def documents(self) -> Iterator[list[list[str]]]:
        """Sentences of each paragraph of each document; in groups if there are none."""
        if self.sentences:
            yield from paragraphs(self.sentences)
            return
        texts = [tree.text for tree in self.trees]
        for first in range(0, len(texts), _GROUP):
            yield [texts[first : first + _GROUP]]


def read_gold(path: Path, limit: int | None = None) -> Gold:
    """Gold trees of a file.

    Args:
        path: A .ptb, .mrg or .conllu file.
        limit: Most sentences.

    Returns:
        The trees.

    Raises:
        ParserError: If it is no such file, or malformed.
    """
    if not path.is_file() or path.suffix not in SUFFIXES:
        raise ParserError(f"{path} is no file of gold trees; give a .ptb, .mrg or .conllu file")
    is_conllu = path.suffix == ".conllu"
    parsed = dependency_sentences(path) if is_conllu else gold_sentences(path)
    trees = tuple(islice(parsed, limit))
    beside = path.with_suffix(".conllu")
    sentences = tuple(islice(read_conllu(beside), limit)) if beside.is_file() else ()
    return Gold(path, trees, sentences if len(sentences) == len(trees) else ())


def scores_of(gold: Sequence[Gold], spec: str, *, by: str | None = None) -> dict[str, Any]:
    """Scores of a parser on gold trees.

    Args:
        gold: The trees of each file.
        spec: As `load_parser` takes it, or `PROJECTED`.
        by: `file` or `prefix`, for figures by file or genre as well.

    Returns:
        What `evaluate` returns; `fallbacks` and `sentence_boundaries` of a parser, and
        `sentence_boundaries_without_layout` where it can do without.
    """
    trees = [tree for each in gold for tree in each.trees]
    groups: list[str] = []
    for each in gold if by is not None else ():
        groups += each.genres() if by == "prefix" else [str(each.path)] * len(each.trees)
    if spec == PROJECTED:
        projected = [
            tree
            for each in gold
            for tree in islice(dependency_sentences(each.path.with_suffix(".conllu")), len(each.trees))
        ]
        return evaluate(trees, projected, groups=groups)
    parser = load_parser(spec)
    words = [Words(tree.text, tuple((word.start, word.end) for word in tree.words)) for tree in trees]
    list(parser.parse_words(words[:_GROUP]))  # caches fill before the clock starts
    fallbacks = getattr(parser, "num_fallbacks", 0)
    result = evaluate(trees, parser.parse_words(words), groups=groups)
    result["fallbacks"] = getattr(parser, "num_fallbacks", 0) - fallbacks
    return result | _boundaries(parser, spec, gold)


def _boundaries(parser: Parser, spec: str, gold: Sequence[Gold]) -> dict[str, Any]:
    documents = [document for each in gold for document in each.documents()]
    try:
        scores = {"sentence_boundaries": sentence_boundaries(parser, documents)}
    except ParserError:  # a treebank has trees for its own texts only
        return {}
    flag = "no-layout"
    name, colon, model = spec.partition(":")
    if flag in parser.options and flag not in name:
        without = load_parser(f"{name}+{flag}{colon}{model}")
        scores["sentence_boundaries_without_layout"] = sentence_boundaries(without, documents)
    return scores
