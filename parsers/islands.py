"""Islands: what stands in brackets, or is joined by hyphens, made one subtree. No torch.

So no span takes in half of it, whatever the dependency parser made of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from .dependency import ROOT, DependencyTree
from .pairs import APOSTROPHES, Pair

_JOINED = re.compile(r"\w[-/–]\w")
_NOMINAL = frozenset(("NOUN", "PROPN", "ADJ"))


def joined_words(tree: DependencyTree) -> list[tuple[int, int]]:
    """Words joined by hyphens or slashes that are one modifier or name: [light-emitting] diode, [RT-PCR].

    Args:
        tree: The sentence.

    Returns:
        First and last word of each, both inclusive. Names without digits (Bailey-Ross) are left out.
    """
    offsets, pos, text = tree.offsets, tree.pos, tree.text
    if not _JOINED.search(text, offsets[0][0], offsets[-1][1]):
        return []
    is_glued = [end == start for (_, end), (start, _) in pairwise(offsets)]
    words = [text[start:end] for start, end in offsets]
    runs = []
    first = 0
    while first < len(words) - 2:
        last = first
        while (
            last + 2 < len(words)
            and words[last + 1] in ("-", "/", "–")
            and is_glued[last]
            and is_glued[last + 1]
            and words[last].isalnum()
            and words[last + 2].isalnum()
        ):
            last += 2
        if last == first:
            first += 1
            continue
        is_code = sum(map(str.isupper, joined := "".join(words[first : last + 1]))) > 2
        is_code = is_code or any(map(str.isdigit, joined))
        is_before_noun = last + 1 < len(words) and pos[last + 1] in _NOMINAL and pos[last] != "PROPN"
        if is_code or is_before_noun or pos[last] == "ADJ":
            runs.append((first, last))
        first = last + 1
    return runs


def with_marks(tree: DependencyTree) -> DependencyTree:
    """The sentence with brackets and the like as punctuation: spaCy takes `[` for an unknown word."""
    if "X" not in tree.pos:
        return tree
    words = (tree.text[start:end] for start, end in tree.offsets)
    pos = tuple(
        "PUNCT" if part == "X" and word not in APOSTROPHES and not any(map(str.isalnum, word)) else part
        for word, part in zip(words, tree.pos, strict=True)
    )
    return replace(tree, pos=pos)


def with_islands(
    tree: DependencyTree, brackets: Sequence[Pair], joined: Sequence[tuple[int, int]]
) -> DependencyTree:
    """The sentence with each island under one of its words.

    A word outside that hangs on one inside goes to its next head up that is outside: nothing becomes a
    cycle, and what is outside keeps its order.

    Args:
        tree: The sentence.
        brackets: Pairs, inner ones first; both marks hang on the island's word.
        joined: First and last word of words that are joined; the last one heads them.

    Returns:
        The same words with other heads; the tree itself if there are no islands.
    """
    if not brackets and not joined:
        return tree
    heads, deps = list(tree.heads), list(tree.deps)
    for first, last in joined:
        _isolate(heads, deps, tree.pos, range(first, last + 1), top=last)
    for pair in brackets:
        inside = range(pair.first + 1, pair.last)
        if inside:
            top = _isolate(heads, deps, tree.pos, inside, marks=(pair.first, pair.last))
            for mark in (pair.first, pair.last):
                heads[mark], deps[mark] = top, "punct"
    return DependencyTree(tree.text, tree.offsets, tuple(heads), tuple(deps), tree.pos, tree.tags)


def _isolate(
    heads: list[int],
    deps: list[str],
    pos: Sequence[str],
    inside: range,
    *,
    marks: tuple[int, ...] = (),
    top: int | None = None,
) -> int:
    """Puts words under one of them, which is returned; `marks` belong to them, too."""
    tops = [word for word in inside if heads[word] not in inside]
    if top is None:
        words = [word for word in tops if pos[word] != "PUNCT"] or tops
        top = next((word for word in words if heads[word] == ROOT), words[0])
        source = top
    else:
        source = tops[-1]
    island = {*inside, *marks}
    outside = [word for word in range(len(heads)) if word not in island]
    new_heads = {word: _outside(heads, word, island) for word in outside if heads[word] in island}
    new_heads[top] = _outside(heads, source, island)
    deps[top] = deps[source]
    roots = [word for word in outside if new_heads.get(word, heads[word]) == ROOT]
    if new_heads[top] == ROOT and roots:  # the sentence goes on outside: its root is there
        root = next((word for word in roots if pos[word] != "PUNCT"), roots[0])
        new_heads[top], deps[top] = root, "dep"
        new_heads |= {word: root for word in roots if word != root}
        new_heads[root], deps[root] = ROOT, "ROOT"
    above = _path(heads, top, inside)
    for word in inside:
        if word != top and (heads[word] not in inside or word in above):
            heads[word] = top
    for word, head in new_heads.items():
        heads[word] = head
    return top


def _path(heads: Sequence[int], word: int, inside: range) -> list[int]:
    """The heads above a word that are inside."""
    path = []
    while heads[word] in inside:
        word = heads[word]
        path.append(word)
    return path


def _outside(heads: Sequence[int], word: int, island: set[int]) -> int:
    """The next head up that is outside of the island."""
    head = heads[word]
    while head in island:
        head = heads[head]
    return head
