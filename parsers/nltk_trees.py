"""Between SpanTree and nltk.Tree, for NLTK's corpus readers and grammars. Imports NLTK; no torch."""

from __future__ import annotations

from typing import Any

from nltk.tree import Tree

from hdiff.errors import ParserError
from hdiff.structure import SpanTree

from .brackets import Node, clean, to_span_tree

ROOT = "TOP"


def from_nltk(tree: Tree, text: str | None = None) -> SpanTree:
    """A tree of one sentence out of NLTK, cleaned as brackets of a file are (`brackets.clean`).

    Args:
        tree: The tree; its leaves are words.
        text: The text its words stand in; None joins them by spaces.

    Returns:
        The sentence.

    Raises:
        ParserError: If the tree has no word, a leaf without a tag, or words that are not in the text.
    """
    root = Node(str(tree.label()))
    stack: list[tuple[Any, Node]] = [(tree, root)]
    while stack:
        source, node = stack.pop()
        children = list(source)
        if len(children) == 1 and not isinstance(children[0], Tree):
            node.word = str(children[0])
            continue
        for child in children:
            if not isinstance(child, Tree):
                raise ParserError(f"the word '{child}' of ({node.label} ...) has no tag of its own; add one")
            below = Node(str(child.label()))
            node.children.append(below)
            stack.append((child, below))
    cleaned = clean(root)
    if cleaned is None or not any(True for _ in cleaned.leaves()):
        raise ParserError("the tree has no word; give the tree of a sentence")
    return to_span_tree(cleaned, text)


def to_nltk(tree: SpanTree) -> Tree:
    """A tree of one sentence for NLTK: a TOP node over it, words as leaves under their label."""
    root = Tree(ROOT, [])
    stack: list[tuple[int, Tree]] = [(len(tree.text), root)]
    for span in tree.spans:
        while stack[-1][0] <= span.start:
            stack.pop()
        leaf = [tree.text[span.start : span.end]] if span.level == "word" else []
        node = Tree(span.label, leaf)
        stack[-1][1].append(node)
        if span.level != "word":
            stack.append((span.end, node))
    return root
