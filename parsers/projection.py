"""Projection: the spans that each word of a dependency tree may head. No torch.

Heads project phrases that grow outward over their dependents, and arguments and conjuncts are cut
apart as in the Penn Treebank. Source: Xia and Palmer, "Converting dependency structures to phrase
structures" (HLT 2001), their third algorithm, for ClearNLP relations; we drop a subtree with gaps instead
of moving its words. Which projections are left out was found on training sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .clause_labels import AUXILIARIES, SUBJECTS, WH_WORDS, clause_label, inner_label
from .dependency import DependencyTree
from .noun_parts import COORDINATION, base_last, has_complement, is_date, is_flat, is_joined
from .references import REFERENCE

CLAUSE_RELATIONS = frozenset(
    ("ROOT", "ccomp", "xcomp", "advcl", "relcl", "acl", "csubj", "csubjpass", "pcomp", "parataxis", "conj")
)
WH_CLAUSES = frozenset(("relcl", "ccomp", "advcl", "csubj", "pcomp"))
PHRASE_LABELS = {
    "NOUN": "NP", "PROPN": "NP", "PRON": "NP", "DET": "NP", "SYM": "NP", "NUM": "QP", "ADJ": "ADJP",
    "ADV": "ADVP", "PART": "ADVP", "ADP": "PP", "SCONJ": "PP", "VERB": "VP", "AUX": "VP", "INTJ": "INTJ",
}  # fmt: skip
"""Phrase that a part of speech heads; the others (X, CCONJ, PUNCT) head none."""
_ARGUMENTS = frozenset(
    (
        "nsubj",
        "nsubjpass",
        "expl",
        "dobj",
        "pobj",
        "dative",
        "attr",
        "oprd",
        "appos",
        "conj",
        "npadvmod",
        "ROOT",
    )
)
CONJUNCTION = "CONJP"
"""Label of a conjunction of several words."""

_OF_NOUNS = frozenset(("nsubj", "nsubjpass", "dobj", "pobj", "dative"))
"""Relations that an adjective has only in place of a noun."""

_ALONE = {
    **dict.fromkeys(("NOUN", "PROPN", "PRON", "DET", "NUM"), _ARGUMENTS),
    "ADV": frozenset(("advmod", "prep", "conj", "ROOT")),
    "ADJ": frozenset(("acomp", "oprd", "ROOT")),
    "VERB": CLAUSE_RELATIONS,
    "INTJ": frozenset(("intj", "ROOT")),
}
"""Relations in which a word without dependents is a phrase by itself, by its part of speech."""


class Candidate(NamedTuple):
    """A possible span; `first` and `last` are word indexes, both inclusive.

    Attributes:
        first: First word.
        last: Last word.
        label: Category of the Penn Treebank.
        level: Clause or phrase.
        own: The parser's own name where it has one: the relation of a clause to its head.
    """

    first: int
    last: int
    label: str
    level: str
    own: str = ""


def candidates(tree: DependencyTree, *, single_words: bool = False) -> Iterator[Candidate]:
    """Clauses and phrases; some may cross, or have a single word.

    Args:
        tree: The sentence.
        single_words: Whether words without dependents that are phrases are proposed, too.

    Yields:
        Candidates of the levels clause and phrase. A subtree with gaps yields none.
    """
    pos, is_contiguous = tree.pos, tree.is_contiguous
    for head, children in enumerate(tree.children):
        if children and is_contiguous[head] and pos[head] in PHRASE_LABELS:
            yield from (_verbal if is_verbal(tree, head) else _nominal)(tree, head)
        elif single_words and not children and tree.deps[head] in _ALONE.get(pos[head], ()):
            yield Candidate(head, head, PHRASE_LABELS[pos[head]], "phrase")


def head_label(tree: DependencyTree, head: int) -> str:
    """The category of the phrase of a word; [most of us] is a noun phrase, whatever its head is."""
    relation, pos = tree.deps[head], tree.pos[head]
    if pos == "VERB" and relation in ("amod", "compound"):
        return "ADJP"
    if pos == "ADJ" and (
        relation in _OF_NOUNS or any(tree.deps[child] == "det" for child in tree.children[head])
    ):
        return "NP"
    if relation == "cc":
        return CONJUNCTION
    return PHRASE_LABELS.get(pos, "")


def _nominal(tree: DependencyTree, head: int) -> Iterator[Candidate]:
    """Projections of a noun, adjective, adverb or preposition: the whole, its own part, its base."""
    first, last = tree.edges[head]
    label = head_label(tree, head)
    relation = tree.deps[head]
    if label == "VP":
        return  # a bare auxiliary
    if label == "NP" and relation in ("compound", "nmod") and not is_joined(tree, first, last):
        return  # the treebank leaves a noun before a noun flat: [the public domain works]
    is_conjunct = relation == "conj"
    if not is_conjunct or last == head:  # [a, b and c] holds no [b and c]
        yield Candidate(first, last, label, "phrase")
    if last == head or is_flat(tree, head) or has_complement(tree, head, label):
        return
    own_last = _own_last(tree, head)
    if label == "NP" and own_last < last:
        yield from _coordinated_base(tree, head)
    yield Candidate(first, own_last, label, "phrase")
    if label != "PP" and own_last != head:
        base = base_last(tree, head)
        if not is_date(tree, base):
            yield Candidate(first, base, label, "phrase")


def _coordinated_base(tree: DependencyTree, head: int) -> Iterator[Candidate]:
    """Coordinated nouns without the modifiers that follow both: [both size and sequence] of it."""
    right = [child for child in tree.children[head] if child > head and tree.pos[child] != "PUNCT"]
    relations = [tree.deps[child] for child in right]
    if relations.count("conj") == 1:
        place = relations.index("conj")
        if COORDINATION.issuperset(relations[:place]) and len(relations) > place + 1:
            yield Candidate(tree.edges[head][0], tree.edges[right[place]][1], "NP", "phrase")


def is_verbal(tree: DependencyTree, head: int) -> bool:
    """Whether a word heads a clause or a verb phrase."""
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
    body = _body_first(tree, head)
    if relation != "conj" or has_subject:
        whole_last = last if relation != "conj" else phrase_last
        if relation in CLAUSE_RELATIONS:
            yield Candidate(first, whole_last, clause_label(tree, head, body), "clause", relation)
        else:
            yield Candidate(first, whole_last, "PP" if relation == "prep" else "VP", "phrase")
    if has_subject:
        yield Candidate(first, phrase_last, clause_label(tree, head, body), "clause", "S")
    inner = [body, *_openings(tree, head)] if has_subject else [body]
    for start in inner:
        if start > first:
            yield Candidate(start, phrase_last, inner_label(tree, head), "clause", "S")
    yield from _verb_phrases(tree, head, phrase_last=phrase_last, own_last=own_last)


def _openings(tree: DependencyTree, head: int) -> Iterator[int]:
    """Where a clause begins after a clause or an adverb that opens it: I think, [they won]; why [did he]."""
    for child in tree.children[head]:
        if child > head:
            break
        is_adverb = tree.deps[child] == "advmod" and tree.word(child) in ("how", "why", "when", "where")
        if is_adverb or tree.deps[child] == "ccomp":
            yield tree.edges[child][1] + 1


def _verb_phrases(tree: DependencyTree, head: int, *, phrase_last: int, own_last: int) -> Iterator[Candidate]:
    """One verb phrase from each auxiliary after the subject, and one from the verb."""
    left = [child for child in tree.children[head] if child < head]
    if (
        tree.deps[head] == "acl"
        and left
        and left[-1] == head - 1
        and tree.deps[left[-1]] in ("advmod", "neg")
    ):
        return  # a dog [newly trained] is one phrase
    reference = _first_of(tree, head, frozenset((REFERENCE,)), after=head)
    if reference is not None:
        before = tree.edges[reference][0] - 1
        phrase_last, own_last = min(phrase_last, before), min(own_last, before)
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
