"""Constituents: a dependency tree turned into nested clauses, phrases and words.

Heads project phrases that grow outward over their dependents, and arguments and conjuncts are cut
apart as in the Penn Treebank. Source: Xia and Palmer, "Converting dependency structures to phrase
structures" (HLT 2001), their third algorithm, for ClearNLP relations; we keep the spans of two
words or more only, and drop a subtree with gaps instead of moving its words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hdiff.structure import Span, level_rank

from .dependency import ROOT, DependencyTree

CLAUSE_RELATIONS = frozenset(
    "ROOT ccomp xcomp advcl relcl acl csubj csubjpass pcomp parataxis".split()  # noqa: SIM905
)
SUBJECTS = frozenset(("nsubj", "nsubjpass", "csubj", "csubjpass", "expl"))
AUXILIARIES = frozenset(("aux", "auxpass"))
PREMODIFIERS = frozenset(("det", "amod", "compound", "nummod", "poss", "predet", "quantmod", "nmod", "neg"))
WH_WORDS = frozenset("who whom whose which what when where why how whoever whatever whichever that".split())  # noqa: SIM905
PHRASE_LABELS = {
    "NOUN": "NP", "PROPN": "NP", "PRON": "NP", "NUM": "QP", "ADJ": "ADJP", "ADV": "ADVP", "ADP": "PP",
    "SCONJ": "PP", "VERB": "VP", "AUX": "VP", "INTJ": "INTJ", "PART": "ADVP", "DET": "NP", "SYM": "NP",
}  # fmt: skip
NOMINAL = frozenset(("NOUN", "PROPN", "PRON", "NUM", "DET", "SYM", "X"))


class Candidate(NamedTuple):
    """A possible span; `first` and `last` are word indexes, both inclusive."""

    first: int
    last: int
    label: str
    level: str


def constituents(tree: DependencyTree) -> list[Span]:
    """Nested spans of one sentence.

    Args:
        tree: The sentence.

    Returns:
        One sentence, its clauses and phrases (two words or more, no outer punctuation, no extent
        twice) and all words, in no particular order, in characters of `tree.text`.
    """
    if not len(tree):
        return []
    whole = Candidate(0, len(tree) - 1, "S", "sentence")
    spans = [
        Span(tree.offsets[kept.first][0], tree.offsets[kept.last][1], kept.label, kept.level)
        for kept in nest([whole, *candidates(tree)], len(tree))
    ]
    spans.extend(Span(*offsets, pos, "word") for offsets, pos in zip(tree.offsets, tree.pos, strict=True))
    return spans


def nest(spans: Iterable[Candidate], length: int) -> list[Candidate]:
    """The spans that fit into one tree, coarse levels first, then long before short.

    Args:
        spans: Candidates, which may cross or repeat.
        length: Number of words.

    Returns:
        Candidates no two of which cross or have the same extent.
    """
    longest_from = [-1] * length  # last word of the longest kept span that starts here
    longest_to = [length] * length  # first word of the longest kept span that ends here
    kept: dict[tuple[int, int], Candidate] = {}
    for span in sorted(spans, key=lambda span: (level_rank(span.level), span.first - span.last, span.first)):
        first, last = span.first, span.last
        if (first, last) in kept:
            continue
        if max(longest_from[first + 1 : last + 1], default=-1) > last:
            continue
        if min(longest_to[first:last], default=length) < first:
            continue
        kept[first, last] = span
        longest_from[first] = max(longest_from[first], last)
        longest_to[last] = min(longest_to[last], first)
    return list(kept.values())


def candidates(tree: DependencyTree) -> Iterator[Candidate]:
    """Clauses and phrases of two words or more without outer punctuation; some may cross.

    Args:
        tree: The sentence.

    Yields:
        Candidates of the levels clause and phrase.
    """
    for head in range(len(tree)):
        if tree.pos[head] == "PUNCT":
            continue
        for span in _projections(tree, head):
            first, last = span.first, span.last
            while first < last and tree.pos[first] == "PUNCT":
                first += 1
            while last > first and tree.pos[last] == "PUNCT":
                last -= 1
            if first < last:
                yield span._replace(first=first, last=last)


def _projections(tree: DependencyTree, head: int) -> Iterator[Candidate]:
    """All spans a head projects."""
    first, last = tree.edges[head]
    if not tree.is_contiguous[head]:
        return
    own_last = _last_before_conjuncts(tree, head)
    is_verbal = _is_verbal(tree, head)
    label, level = _category(tree, head)
    if tree.deps[head] != "conj":
        yield Candidate(first, last, label, level)
    elif is_verbal and _has(tree, head, SUBJECTS):
        yield Candidate(first, _last_of_verb_phrase(tree, head), label, level)
    if is_verbal:
        yield from _verb_phrases(tree, head)
    else:
        yield Candidate(first, own_last, label, level)
        yield from _base_phrase(tree, head)


def _category(tree: DependencyTree, head: int) -> tuple[str, str]:
    """Label and level of the full projection."""
    relation = _relation(tree, head)
    if _is_verbal(tree, head) and relation in CLAUSE_RELATIONS:
        return relation, "clause"
    return PHRASE_LABELS.get(tree.pos[head], "XP"), "phrase"


def _relation(tree: DependencyTree, head: int) -> str:
    """The relation of the first conjunct: conjuncts stand for it."""
    while tree.deps[head] == "conj" and tree.heads[head] != ROOT:
        head = tree.heads[head]
    return tree.deps[head]


def _is_verbal(tree: DependencyTree, head: int) -> bool:
    return tree.pos[head] in ("VERB", "AUX") and tree.deps[head] not in (*AUXILIARIES, "amod", "compound")


def _has(tree: DependencyTree, head: int, relations: frozenset[str]) -> bool:
    return any(tree.deps[child] in relations for child in tree.children[head])


def _last_before_conjuncts(tree: DependencyTree, head: int) -> int:
    """Last word of a head's own part, before its first conjunction or conjunct."""
    for child in tree.children[head]:
        if child > head and tree.deps[child] in ("cc", "conj"):
            return tree.edges[child][0] - 1
    return tree.edges[head][1]


def _last_of_verb_phrase(tree: DependencyTree, head: int) -> int:
    """Last word before the first conjunct that has a subject of its own."""
    conjunct = head
    while True:
        following = [child for child in tree.children[conjunct] if child > conjunct and tree.deps[child] == "conj"]
        if not following:
            return tree.edges[head][1]
        if _has(tree, following[0], SUBJECTS):
            return _last_before_conjuncts(tree, conjunct)
        conjunct = following[0]


def _verb_phrases(tree: DependencyTree, head: int) -> Iterator[Candidate]:
    """Clause without its subordinator; verb phrase of each auxiliary and of the verb."""
    first, last = tree.edges[head]
    own_last = _last_before_conjuncts(tree, head)
    has_subject = _has(tree, head, SUBJECTS)
    phrase_last = _last_of_verb_phrase(tree, head) if has_subject else own_last
    left = [child for child in tree.children[head] if child < head]
    body = first
    for child in left:
        is_wh = tree.word(tree.edges[child][0]) in WH_WORDS or tree.word(child) in WH_WORDS or any(tree.word(x) in WH_WORDS for x in tree.children[child])
        if tree.deps[child] == "mark" or (is_wh and tree.edges[child][0]==body and tree.deps[head] in ("relcl","ccomp","advcl","csubj","pcomp")):
            body = tree.edges[child][1] + 1
        elif tree.deps[child] not in ("punct", "cc"):
            break
    if body > first:
        yield Candidate(body, phrase_last, "S", "clause")
    if has_subject:
        yield Candidate(first, phrase_last, "S", "clause")
    subject_last = max((tree.edges[c][1] for c in left if tree.deps[c] in SUBJECTS), default=first - 1)
    for child in (*left, head):
        if child > subject_last and (child == head or tree.deps[child] in AUXILIARIES):
            yield Candidate(child, phrase_last, "VP", "phrase")
            yield Candidate(child, own_last, "VP", "phrase")


def _base_phrase(tree: DependencyTree, head: int) -> Iterator[Candidate]:
    """The head with its left dependents and without the right ones."""
    first, last = tree.edges[head]
    yield Candidate(first, head, PHRASE_LABELS.get(tree.pos[head], "XP"), "phrase")
