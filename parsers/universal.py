"""Universal Dependencies turned into the function-headed trees that `constituents` projects from.

UD makes content words heads: "in the box" hangs on "box", "is red" on "red". Phrases grow around function
words: prepositions head their phrases, copulas their clauses, conjuncts hang on the one before. The
relations get their ClearNLP names. The steps are ours; relations: https://universaldependencies.org/u/dep/.
"""

from __future__ import annotations

from dataclasses import dataclass

from .dependency import DependencyTree

RENAMED = {
    "obj": "dobj",
    "iobj": "dative",
    "nsubj:pass": "nsubjpass",
    "csubj:pass": "csubjpass",
    "aux:pass": "auxpass",
    "nmod:poss": "poss",
    "acl:relcl": "relcl",
    "obl": "npadvmod",
    "nmod": "npadvmod",
    "discourse": "intj",
    "vocative": "npadvmod",
    "flat": "compound",
    "fixed": "compound",
    "goeswith": "compound",
    "compound:prt": "prt",
    "root": "ROOT",
}
_OF_THE_CLAUSE = frozenset(
    ("nsubj", "csubj", "aux", "mark", "advcl", "punct", "conj", "cc", "expl", "ccomp", "xcomp", "parataxis",
     "discourse", "vocative", "dislocated", "obl", "obj", "iobj")
)  # fmt: skip
_OF_UD = frozenset(("case", "cop", "obl", "obj", "aux:pass", "nsubj:pass", "acl:relcl", "nmod"))
_NOT_OF_UD = frozenset(("prep", "pobj", "dobj", "nsubjpass", "auxpass", "relcl"))


def is_universal(tree: DependencyTree) -> bool:
    """Whether a tree has relations of UD and none of ClearNLP."""
    return bool(_OF_UD & set(tree.deps)) and not _NOT_OF_UD & set(tree.deps)


def function_headed(tree: DependencyTree) -> DependencyTree:
    """The same words with function words as heads."""
    graph = _Graph(list(tree.heads), list(tree.deps))
    children = [list(words) for words in tree.children]
    prepositions = {
        word: case
        for word in range(len(tree))
        if (case := _preposition(tree, children[word], word)) is not None
    }
    for word in range(len(tree)):
        _chain_conjuncts(graph, children[word], tree)
    for word, case in prepositions.items():
        _raise_preposition(graph, word, case, prepositions)
    for word in range(len(tree)):
        _raise_copula(graph, children[word], word, prepositions.get(word, word), tree)
    names = [
        "aux" if dep == "mark" and tree.word(word) == "to" else RENAMED.get(dep, dep.partition(":")[0])
        for word, dep in enumerate(graph.deps)
    ]
    names = [RENAMED.get(name, name) for name in names]
    return DependencyTree.build(tree.text, tree.offsets, graph.heads, names, tree.pos)


@dataclass(frozen=True)
class _Graph:
    """Heads and relations that are being changed."""

    heads: list[int]
    deps: list[str]

    def attach(self, word: int, head: int, dep: str) -> None:
        self.heads[word], self.deps[word] = head, dep


def _preposition(tree: DependencyTree, children: list[int], word: int) -> int | None:
    """The first case marker before a word."""
    markers = (child for child in children if child < word and tree.deps[child].startswith("case"))
    return next(markers, None)


def _chain_conjuncts(graph: _Graph, children: list[int], tree: DependencyTree) -> None:
    """Hangs each conjunct on the one before, and its conjunction and comma there too."""
    conjuncts = [child for child in children if tree.deps[child].startswith("conj")]
    if not conjuncts:
        return
    before = tree.heads[conjuncts[0]]
    for conjunct in conjuncts:
        graph.heads[conjunct] = before
        for child in tree.children[conjunct]:
            if child < conjunct and tree.deps[child] in ("cc", "cc:preconj", "punct"):
                graph.heads[child] = before
        before = conjunct


def _raise_preposition(graph: _Graph, word: int, case: int, prepositions: dict[int, int]) -> None:
    """A case marker takes the place of its noun, which becomes its object."""
    head, dep = graph.heads[word], graph.deps[word]
    if dep.startswith("conj") and head in prepositions:
        head = prepositions[head]
    is_modifier = dep.partition(":")[0] in ("obl", "nmod", "advmod", "advcl")
    graph.attach(case, head, "prep" if is_modifier else dep)
    graph.attach(word, case, "pobj")


def _raise_copula(graph: _Graph, children: list[int], word: int, top: int, tree: DependencyTree) -> None:
    """A copula takes the place of its predicate and what belongs to the clause."""
    copula = next((child for child in children if tree.deps[child] == "cop"), None)
    if copula is None:
        return
    graph.attach(copula, graph.heads[top], graph.deps[top])
    for child in children:
        kind = tree.deps[child].partition(":")[0]
        belongs = kind in _OF_THE_CLAUSE or (kind == "advmod" and child < copula)
        if child != copula and belongs and graph.heads[child] == word:
            graph.heads[child] = copula
    graph.attach(top, copula, "acomp" if tree.pos[word] == "ADJ" else "attr")
