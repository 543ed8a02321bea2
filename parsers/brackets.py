"""Brackets: Penn Treebank trees read from text and written to it, as SpanTrees. No torch, no NLTK.

The reader is iterative, so that no depth of nesting is too deep. Conventions: words are joined by single
spaces; traces (-NONE-) go, with the nodes they leave empty; function tags go (NP-SBJ-1 is NP); an outer
ROOT or TOP goes, and every unnamed node (children stay); -LRB- and its kin become brackets, \\/ and \\* lose
the backslash.
Source: Bies et al., "Bracketing guidelines for Treebank II style" (1995).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hdiff.errors import ParserError
from hdiff.structure import Span, SpanTree

from .bracket_words import locate, unescape

CLAUSE_LABELS = frozenset(("S", "SBAR", "SBARQ", "SINV", "SQ"))
OUTER_LABELS = frozenset(("", "ROOT", "TOP"))
TRACE = "-NONE-"

MAX_DEPTH = 50_000
"""Deepest nesting of a tree; no text has one, and memory has an end."""


_PENN_TAGS = {
    "NOUN": "NN NNS",
    "PROPN": "NNP NNPS",
    "PRON": "PRP PRP$ WP WP$ EX",
    "DET": "DT PDT WDT",
    "NUM": "CD",
    "ADJ": "JJ JJR JJS AFX",
    "ADV": "RB RBR RBS WRB",
    "AUX": "MD",
    "VERB": "VB VBD VBG VBN VBP VBZ",
    "ADP": "IN RP",
    "PART": "TO POS",
    "CCONJ": "CC",
    "INTJ": "UH",
    "SYM": "SYM $ #",
    "X": "FW LS ADD GW XX NIL",
    "PUNCT": ", . : `` '' \" -LRB- -RRB- HYPH NFP ( )",
}
UNIVERSAL_POS = {tag: pos for pos, tags in _PENN_TAGS.items() for tag in tags.split()}
"""Universal part of speech of a Penn tag, without looking at the word; X for a tag that is not here."""

_TOKEN = re.compile(r"\(|\)|[^\s()]+")


@dataclass
class Node:
    """A node of a bracketed tree.

    Attributes:
        label: Category, or the tag of a word; as written.
        word: The word of a leaf, as written; None for a constituent.
        children: Nodes below.
    """

    label: str
    word: str | None = None
    children: list[Node] = field(default_factory=list)

    def leaves(self) -> Iterator[Node]:
        """Words below, in order."""
        stack = [self]
        while stack:
            node = stack.pop()
            if node.word is not None:
                yield node
            stack.extend(reversed(node.children))


def read_brackets(path: Path) -> Iterator[Node]:
    """Trees of a .ptb or .mrg file, one node per outermost bracket, as written."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from parse_brackets(file, where=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ParserError(f"cannot read {path}: {error}; give a UTF-8 file of bracketed trees") from error


def parse_brackets(lines: Iterator[str] | Sequence[str], *, where: str) -> Iterator[Node]:
    """Trees of lines; a tree may go over many of them.

    Args:
        lines: The lines.
        where: What to name in errors.

    Yields:
        One node per outermost bracket.

    Raises:
        ParserError: Naming the line, if brackets do not match or are nested deeper than `MAX_DEPTH`.
    """
    stack: list[Node] = []
    opened_at = 0
    is_named = True
    for number, line in enumerate(lines, start=1):
        for token in _TOKEN.findall(line):
            if token == "(":
                opened_at = opened_at if stack else number
                if len(stack) == MAX_DEPTH:
                    raise ParserError(
                        f"{where}, line {number}: more than {MAX_DEPTH:,} brackets are open; close them"
                    )
                stack.append(Node(""))
                is_named = False
            elif token == ")":
                if not stack:
                    raise ParserError(f"{where}, line {number}: a ')' without '('; every tree is one bracket")
                node = stack.pop()
                is_named = True
                if node.word is None and not node.children:
                    raise ParserError(f"{where}, line {number}: ({node.label}) has neither word nor children")
                if stack:
                    if stack[-1].word is not None:
                        raise ParserError(f"{where}, line {number}: a word and a bracket in one node")
                    stack[-1].children.append(node)
                else:
                    yield node
            elif not stack:
                raise ParserError(
                    f"{where}, line {number}: '{token[:40]}' outside of brackets; expected '(LABEL ...)'"
                )
            elif not is_named:
                stack[-1].label = token
                is_named = True
            elif stack[-1].word is None and not stack[-1].children:
                stack[-1].word = token
            else:
                raise ParserError(
                    f"{where}, line {number}: '{token[:40]}' is a second word in ({stack[-1].label} ...); "
                    "every word needs a bracket with its tag"
                )
    if stack:
        raise ParserError(f"{where}: the tree that begins in line {opened_at} lacks {len(stack)} ')'")


def clean(node: Node) -> Node | None:
    """The tree without traces, function tags, escapes and outer node.

    Args:
        node: A tree as written; not changed.

    Returns:
        A new tree; None if only traces were there.
    """
    done: dict[int, Node | None] = {}
    stack = [(node, False)]
    while stack:
        current, is_seen = stack.pop()
        if not is_seen:
            stack.append((current, True))
            stack.extend((child, False) for child in current.children)
        elif current.word is not None:
            is_trace = current.label == TRACE
            done[id(current)] = None if is_trace else Node(current.label, unescape(current.word))
        else:
            children: list[Node] = []
            for child in (done[id(child)] for child in current.children):
                if child is not None:  # a node without a name adds nothing to the node above it
                    children += [child] if child.word is not None or child.label else child.children
            done[id(current)] = Node(_category(current.label), None, children) if children else None
    result = done[id(node)]
    while result is not None and result.label in OUTER_LABELS and len(result.children) == 1:
        result = result.children[0]
    return result


def to_span_tree(node: Node, text: str | None = None) -> SpanTree:
    """A cleaned tree as a SpanTree of one sentence.

    Args:
        node: What `clean` gave.
        text: The text its words stand in, in order; None joins the words by spaces.

    Returns:
        The sentence; S and its kin are clauses, other constituents phrases. Words have universal parts of
        speech.

    Raises:
        ParserError: If a word is not in the text.
    """
    leaves = list(node.leaves())
    words = [leaf.word or "" for leaf in leaves]
    text = " ".join(words) if text is None else text
    offsets = locate(words, text)
    label = "S" if node.word is not None or node.label in OUTER_LABELS else node.label
    spans = [Span(offsets[0][0], offsets[-1][1], label, "sentence")]
    position = 0
    # Nodes are entered in text order, so counting leaves gives each node its first word.
    stack: list[tuple[Node, int]] = [(node, -1)]
    while stack:
        current, first = stack.pop()
        if first >= 0:
            level = "clause" if current.label in CLAUSE_LABELS else "phrase"
            spans.append(Span(offsets[first][0], offsets[position - 1][1], current.label, level))
        elif current.word is not None:
            pos = UNIVERSAL_POS.get(current.label, current.label if current.label.isalpha() else "X")
            spans.append(Span(*offsets[position], pos, "word"))
            position += 1
        else:
            if current is not node:
                stack.append((current, position))
            stack.extend((child, -1) for child in reversed(current.children))
    # Unary chains are appended child before parent; SpanTree keeps ties in the order given.
    return SpanTree.build(text, [spans[0], *reversed(spans[1:])])


def _category(label: str) -> str:
    """A label without function tags and indexes; -LRB- and the like stay, and what has no category."""
    return re.split(r"[-=|]", label, maxsplit=1)[0] or label
