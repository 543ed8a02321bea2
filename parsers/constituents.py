"""Constituents: a dependency tree turned into nested clauses, phrases and words.

Heads project phrases that grow outward over their dependents, and arguments and conjuncts are cut
apart as in the Penn Treebank. Source: Xia and Palmer, "Converting dependency structures to phrase
structures" (HLT 2001), their third algorithm, for ClearNLP relations; we keep the spans of two
words or more only, and drop a subtree with gaps instead of moving its words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

from hdiff.structure import Span, level_rank

from .dependency import DependencyTree
from .universal import function_headed, is_universal

CLAUSE_RELATIONS = frozenset(
    ("ROOT", "ccomp", "xcomp", "advcl", "relcl", "acl", "csubj", "csubjpass", "pcomp", "parataxis", "conj")
)
SUBJECTS = frozenset(("nsubj", "nsubjpass", "csubj", "csubjpass", "expl"))
AUXILIARIES = frozenset(("aux", "auxpass"))
COORDINATION = frozenset(("cc", "conj"))
WH_CLAUSES = frozenset(("relcl", "ccomp", "advcl", "csubj", "pcomp"))
WH_WORDS = frozenset(
    ("that", "what", "when", "where", "which", "who", "whom", "whose", "why", "how", "whatever", "whoever")
)
PHRASE_LABELS = {
    "NOUN": "NP", "PROPN": "NP", "PRON": "NP", "DET": "NP", "SYM": "NP", "NUM": "QP", "ADJ": "ADJP",
    "ADV": "ADVP", "PART": "ADVP", "ADP": "PP", "SCONJ": "PP", "VERB": "VP", "AUX": "VP", "INTJ": "INTJ",
}  # fmt: skip
"""Phrase that a part of speech heads; the others (X, CCONJ, PUNCT) head none."""


class Candidate(NamedTuple):
    """A possible span; `first` and `last` are word indexes, both inclusive."""

    first: int
    last: int
    label: str
    level: str


def constituents(tree: DependencyTree) -> list[Span]:
    """Nested spans of one sentence.

    Args:
        tree: The sentence, in ClearNLP relations or Universal Dependencies.

    Returns:
        One sentence, its clauses and phrases (two words or more, no outer punctuation, no extent
        twice) and all words, in nesting order, in characters of `tree.text`.
    """
    if not len(tree):
        return []
    if is_universal(tree):
        tree = function_headed(tree)
    whole = Candidate(0, len(tree) - 1, "S", "sentence")
    offsets = tree.offsets
    spans = [
        Span(offsets[first][0], offsets[last][1], label, level)
        for first, last, label, level in nest([whole, *candidates(tree)], len(tree))
    ]
    spans += [Span(start, end, pos, "word") for (start, end), pos in zip(tree.offsets, tree.pos, strict=True)]
    # Coarse levels come first already, and sorting keeps the order of what is equal.
    spans.sort(key=attrgetter("end"), reverse=True)
    spans.sort(key=attrgetter("start"))
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
    for span in sorted(spans, key=_coarse_and_long_first):
        first, last, _, _ = span
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


def _coarse_and_long_first(span: Candidate) -> tuple[int, int, int]:
    first, last, _, level = span
    return (level_rank(level), first - last, first)


def candidates(tree: DependencyTree) -> Iterator[Candidate]:
    """Clauses and phrases of two words or more without outer punctuation; some may cross.

    Args:
        tree: The sentence.

    Yields:
        Candidates of the levels clause and phrase. A subtree with gaps yields none.
    """
    pos, is_contiguous = tree.pos, tree.is_contiguous
    for head, children in enumerate(tree.children):
        if not children or not is_contiguous[head] or pos[head] not in PHRASE_LABELS:
            continue
        project = _verbal if _is_verbal(tree, head) else _nominal
        for span in project(tree, head):
            first, last, label, level = span
            while first < last and pos[first] == "PUNCT":
                first += 1
            while last > first and pos[last] in ("PUNCT", "CCONJ"):
                last -= 1
            if first < last:
                is_same = first == span[0] and last == span[1]
                yield span if is_same else Candidate(first, last, label, level)


def _nominal(tree: DependencyTree, head: int) -> Iterator[Candidate]:
    """Projections of a noun, adjective, adverb or preposition: the whole, its own part, its base."""
    first, last = tree.edges[head]
    label = PHRASE_LABELS[tree.pos[head]]
    is_conjunct = tree.deps[head] == "conj"
    if not is_conjunct:  # the whole of a later conjunct is no phrase: [a, b and c], not [b and c]
        yield Candidate(first, last, label, "phrase")
    if last == head:
        if is_conjunct:
            yield Candidate(first, last, label, "phrase")
        return
    if _is_flat(tree, head):
        return
    own_last = _own_last(tree, head)
    yield Candidate(first, own_last, label, "phrase")
    if label != "PP" and own_last != head:
        has_case = any(child == head + 1 and tree.deps[child] == "case" for child in tree.children[head])
        yield Candidate(first, head + has_case, label, "phrase")


def _is_flat(tree: DependencyTree, head: int) -> bool:
    """Whether bare words are coordinated and share what is before them: [the food and drink]."""
    right = [child for child in tree.children[head] if child > head and tree.pos[child] != "PUNCT"]
    conjuncts = [child for child in right if tree.deps[child] == "conj"]
    if not conjuncts or any(tree.deps[child] not in COORDINATION for child in right):
        return False
    below = (child for conjunct in conjuncts for child in tree.children[conjunct])
    return all(tree.deps[child] in COORDINATION or tree.pos[child] == "PUNCT" for child in below)


def _is_verbal(tree: DependencyTree, head: int) -> bool:
    is_modifier = tree.deps[head] in AUXILIARIES or tree.deps[head] in ("amod", "compound")
    return tree.pos[head] in ("VERB", "AUX") and not is_modifier


def _verbal(tree: DependencyTree, head: int) -> Iterator[Candidate]:
    """Projections of a verb: clause, clause without subordinator or later conjuncts, verb phrases."""
    first, last = tree.edges[head]
    relation = tree.deps[head]
    has_subject = _first_of(tree, head, SUBJECTS) is not None
    own_last = _own_last(tree, head)
    # Conjuncts without a subject of their own share this one: they belong to the verb phrase.
    phrase_last = _shared_last(tree, head) if has_subject or relation != "conj" else own_last
    if relation != "conj" or has_subject:
        label, level = (relation, "clause") if relation in CLAUSE_RELATIONS else ("VP", "phrase")
        yield Candidate(first, last if relation != "conj" else phrase_last, label, level)
    if has_subject:
        yield Candidate(first, phrase_last, "S", "clause")
    body = _body_first(tree, head)
    if body > first:
        yield Candidate(body, phrase_last, "S", "clause")
    yield from _verb_phrases(tree, head, phrase_last=phrase_last, own_last=own_last)


def _verb_phrases(tree: DependencyTree, head: int, *, phrase_last: int, own_last: int) -> Iterator[Candidate]:
    """One verb phrase from each auxiliary after the subject, and one from the verb."""
    left = [child for child in tree.children[head] if child < head]
    subject_last = max((tree.edges[child][1] for child in left if tree.deps[child] in SUBJECTS), default=-1)
    starts = [child for child in left if child > subject_last and tree.deps[child] in AUXILIARIES]
    if not starts and tree.deps[head] == "conj":  # [then stops taking classes]
        adverb = head - 1
        while adverb in left and tree.deps[adverb] in ("advmod", "neg") and tree.edges[adverb][0] == adverb:
            adverb -= 1
        starts = [] if adverb == head - 1 else [adverb + 1]
    conjunct = _first_of(tree, head, frozenset(("conj",)), after=head)
    shares_auxiliary = conjunct is None or _first_of(tree, conjunct, AUXILIARIES) is None
    for start in (*starts, head):
        yield Candidate(start, own_last, "VP", "phrase")
        if shares_auxiliary or start == (*starts, head)[0]:
            yield Candidate(start, phrase_last, "VP", "phrase")


def _body_first(tree: DependencyTree, head: int) -> int:
    """First word of a clause after its subordinator or question word."""
    body = tree.edges[head][0]
    for child in tree.children[head]:
        if child > head:
            break
        first, last = tree.edges[child]
        opens = (first, child, *tree.children[child])
        is_wh = tree.deps[head] in WH_CLAUSES and any(tree.word(word) in WH_WORDS for word in opens)
        if tree.deps[child] == "mark" or (is_wh and first == body):
            body = last + 1
        elif tree.deps[child] not in ("punct", "cc"):
            break
    return body


def _first_of(tree: DependencyTree, head: int, relations: frozenset[str], *, after: int = -1) -> int | None:
    """The first dependent with one of the relations."""
    deps = tree.deps
    for child in tree.children[head]:
        if child > after and deps[child] in relations:
            return child
    return None


def _own_last(tree: DependencyTree, head: int) -> int:
    """Last word of a head's own part, before its first conjunction or conjunct."""
    coordination = _first_of(tree, head, COORDINATION, after=head)
    # A conjunct whose subtree crosses the head leaves the bare head.
    return tree.edges[head][1] if coordination is None else max(head, tree.edges[coordination][0] - 1)


def _shared_last(tree: DependencyTree, head: int) -> int:
    """Last word before the first conjunct that has a subject of its own."""
    conjunct = head
    while True:
        following = _first_of(tree, conjunct, frozenset(("conj",)), after=conjunct)
        if following is None:
            return tree.edges[head][1]
        if _first_of(tree, following, SUBJECTS) is not None:
            return max(head, _own_last(tree, conjunct))
        conjunct = following
