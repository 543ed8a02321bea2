"""Joins: pieces that a parser took for sentences, and that belong to the one before or after. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .dependency import ROOT, DependencyTree
from .layout import ENUMERATOR


def joined(sentences: Iterable[DependencyTree]) -> Iterator[DependencyTree]:
    """Sentences in which the number of an item opens one, and marks without a letter close one."""
    held: DependencyTree | None = None
    for sentence in sentences:
        if held is not None and (_is_enumerator(held) or not _has_letter(sentence)):
            held = _together(held, sentence)
            continue
        if held is not None:
            yield held
        held = sentence
    if held is not None:
        yield held


def _is_enumerator(sentence: DependencyTree) -> bool:
    return len(sentence) <= 3 and bool(ENUMERATOR.fullmatch(_text(sentence)))


def _has_letter(sentence: DependencyTree) -> bool:
    return any(map(str.isalnum, _text(sentence)))


def _text(sentence: DependencyTree) -> str:
    return sentence.text[sentence.offsets[0][0] : sentence.offsets[-1][1]]


def _together(first: DependencyTree, second: DependencyTree) -> DependencyTree:
    """One sentence of two; the root of what has no letters, or of a number, hangs on the other's."""
    size = len(first)
    heads = [*first.heads, *(head if head == ROOT else size + head for head in second.heads)]
    deps = [*first.deps, *second.deps]
    is_number = _is_enumerator(first)
    roots = [word for word, head in enumerate(heads) if head == ROOT]
    root = next((word for word in roots if (word >= size) == is_number), roots[0])
    for word in roots:
        if word != root and (word < size) == is_number:
            heads[word], deps[word] = root, "punct"
    return DependencyTree(
        first.text,
        (*first.offsets, *second.offsets),
        tuple(heads),
        tuple(deps),
        (*first.pos, *second.pos),
        (*first.tags, *second.tags),
    )
