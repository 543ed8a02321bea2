"""References: bracketed numbers, years and figures at the end of a sentence, hung where treebanks have them.

A dependency parser hangs them on the word before. They belong to the whole clause; after the full stop, to
the sentence alone. Found on the training parts of GUM and CRAFT. No torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from .dependency import ROOT, DependencyTree
from .pairs import Pair

REFERENCE = "reference"
"""Relation of a reference that stands after the full stop: no verb phrase holds it."""

_OPENS = frozenset("[(")
_STOPS = frozenset(".!?")
_NUMBERS = re.compile(r"\d[\d\s,–-]*")
_YEAR = re.compile(r".*\b\d{4}[a-z]?", re.DOTALL)
_FIGURE = re.compile(
    r"(?:(?:data|see|fig|figs|figures?|tables?|additional|supplementary|supporting)\b).*", re.DOTALL
)


def with_references(tree: DependencyTree, brackets: Sequence[Pair]) -> DependencyTree:
    """The sentence with the references at its end under its root.

    Args:
        tree: The sentence, its brackets made islands.
        brackets: Pairs of brackets.

    Returns:
        The same words with other heads; the tree itself if it ends with no reference.
    """
    heads, deps = list(tree.heads), list(tree.deps)
    root = next((word for word, head in enumerate(heads) if head == ROOT and tree.pos[word] != "PUNCT"), None)
    end = len(tree)
    for first, last, _ in sorted(brackets, reverse=True):
        if last >= end or tree.word(first) not in _OPENS:
            continue
        if any(tree.pos[word] != "PUNCT" for word in range(last + 1, end)):
            break
        is_after_stop = first > 0 and tree.word(first - 1) in _STOPS
        top = next((word for word in range(first + 1, last) if not first <= heads[word] <= last), None)
        if (
            top is None
            or root is None
            or heads[top] == ROOT
            or not (is_after_stop or _is_one(tree, first, last))
        ):
            break
        heads[top], deps[top] = root, REFERENCE if is_after_stop else "dep"
        end = first
    return tree if end == len(tree) else replace(tree, heads=tuple(heads), deps=tuple(deps))


def _is_one(tree: DependencyTree, first: int, last: int) -> bool:
    """Whether numbers, a year at the end, or a figure is in the brackets."""
    inside = tree.text[tree.offsets[first][1] : tree.offsets[last][0]].strip().lower()
    return any(kind.fullmatch(inside) for kind in (_NUMBERS, _YEAR, _FIGURE))
