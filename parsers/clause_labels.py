"""Clause labels: which Penn Treebank category a clause of a dependency tree has. No torch."""

from __future__ import annotations

from .dependency import DependencyTree

SUBJECTS = frozenset(("nsubj", "nsubjpass", "csubj", "csubjpass", "expl"))
AUXILIARIES = frozenset(("aux", "auxpass"))
WH_WORDS = frozenset(
    ("that", "what", "when", "where", "which", "who", "whom", "whose", "why", "how", "whatever", "whoever")
)
_MAIN = frozenset(("ROOT", "conj", "parataxis"))


def clause_label(tree: DependencyTree, head: int, body: int) -> str:
    """The category of the whole clause of a verb.

    Args:
        tree: The sentence.
        head: The verb.
        body: First word after its subordinator, relative pronoun or question word.

    Returns:
        S, SBAR, SBARQ, SQ, SINV, or VP for a participle that modifies a noun.
    """
    relation = tree.deps[head]
    if relation in _MAIN:
        return _main_label(tree, head)
    if relation == "relcl" or body > tree.edges[head][0]:
        return "SBAR"
    is_bare = all(
        tree.deps[child] not in SUBJECTS and (child > head or tree.pos[child] != "PART")
        for child in tree.children[head]
    )
    return "VP" if relation == "acl" and is_bare else "S"


def inner_label(tree: DependencyTree, head: int) -> str:
    """The category of a clause without its subordinator or question word."""
    return "SQ" if tree.deps[head] == "ROOT" and _main_label(tree, head) == "SBARQ" else "S"


def _main_label(tree: DependencyTree, head: int) -> str:
    """S, or a question with or without a wh-word, or an inverted clause."""
    children = tree.children[head]
    subject = next((child for child in children if tree.deps[child] in SUBJECTS), None)
    is_inverted = subject is not None and (
        head < subject or any(child < subject and tree.deps[child] in AUXILIARIES for child in children)
    )
    if _is_question(tree):
        left, right = tree.edges[head]
        first = next((word for word in range(left, right + 1) if tree.pos[word] != "PUNCT"), head)
        if tree.word(first) in WH_WORDS - {"that"}:
            return "SBARQ"
        return "SQ" if is_inverted else "S"
    return "SINV" if is_inverted and subject is not None and tree.deps[subject] != "expl" else "S"


def _is_question(tree: DependencyTree) -> bool:
    """Whether a question mark is among the marks that end the sentence."""
    for word in range(len(tree) - 1, -1, -1):
        if tree.pos[word] != "PUNCT":
            break
        if "?" in tree.word(word):
            return True
    return False
