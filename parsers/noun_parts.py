"""Noun parts: what of a noun phrase is a phrase by itself. Found on training sets. No torch."""

from __future__ import annotations

from .dependency import DependencyTree

COORDINATION = frozenset(("cc", "conj"))
JOINTS = frozenset("-/–")


def is_joined(tree: DependencyTree, first: int, last: int) -> bool:
    """Whether the words are joined by hyphens or slashes, or begin with a number: [5 wk] old mice.

    Names that are joined are one name: Mary Berez-Kroeker.
    """
    if all(tree.word(word) == "-" or _is_name(tree, word) for word in range(first, last + 1)):
        return False
    return tree.deps[first] == "nummod" or any(tree.word(word) in JOINTS for word in range(first, last))


def _is_name(tree: DependencyTree, word: int) -> bool:
    return tree.pos[word] == "PROPN" and tree.word(word).isalpha()


def has_complement(tree: DependencyTree, head: int, label: str) -> bool:
    """Whether what follows completes a noun, which is no phrase without it: [the need to rest].

    So does what an adjective says of its subject: [it difficult] to rest.
    """
    if label == "ADJP":
        return any(tree.deps[child] == "nsubj" for child in tree.children[head])
    right = [child for child in tree.children[head] if child > head and tree.pos[child] != "PUNCT"]
    if not right or tree.deps[right[0]] != "acl" or tree.edges[right[0]][0] != head + 1:
        return False
    before = (child for child in tree.children[right[0]] if child < right[0])
    return any(tree.deps[child] == "mark" or tree.pos[child] == "PART" for child in before)


def is_date(tree: DependencyTree, last: int) -> bool:
    """Whether a day is followed by its year: [August 2, 1754] holds no [August 2]."""
    return (
        tree.deps[last] == "nummod"
        and tree.pos[last + 1 : last + 3] == ("PUNCT", "NUM")
        and tree.word(last + 1) == ","
    )


def base_last(tree: DependencyTree, head: int) -> int:
    """Last word of a noun with its possessive marker, or the numbers that follow it: [29 April 1832]."""
    last = head
    for child in tree.children[head]:
        relation = tree.deps[child]
        if child == last + 1 and (relation == "case" or (relation == "nummod" and not tree.children[child])):
            last = child
    return last


def is_flat(tree: DependencyTree, head: int) -> bool:
    """Whether bare words are coordinated and share what is before them: [the food and drink]."""
    right = [child for child in tree.children[head] if child > head and tree.pos[child] != "PUNCT"]
    conjuncts = [child for child in right if tree.deps[child] == "conj"]
    if not conjuncts or any(tree.deps[child] not in COORDINATION for child in right):
        return False
    below = (child for conjunct in conjuncts for child in tree.children[conjunct])
    return all(tree.deps[child] in COORDINATION or tree.pos[child] == "PUNCT" for child in below)
