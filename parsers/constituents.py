"""Constituents: a dependency tree turned into nested clauses, phrases and words. No torch.

`projection` proposes spans, `islands` mends the tree before, and here they are balanced and nested: a span
that holds one of two brackets or quotes holds the other, or neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

from hdiff.structure import Span, level_rank

from .clause_labels import SUBJECTS, clause_label
from .dependency import ROOT, DependencyTree
from .islands import joined_words, with_islands, with_marks
from .pairs import Pair, pairs
from .projection import PHRASE_LABELS, Candidate, candidates, head_label, is_verbal
from .references import with_references
from .universal import function_headed, is_universal

FRAGMENT = "FRAG"
PARENTHETICAL = "PRN"
_WHOLE_PHRASES = {"NP": "NP", "QP": "NP", "PP": "PP", "ADJP": "ADJP", "INTJ": "INTJ"}
"""Phrases that can be all of a sentence, and its label; another sentence without a clause is a fragment."""


def constituents(tree: DependencyTree, *, own_labels: bool = False, single_words: bool = False) -> list[Span]:
    """Nested spans of one sentence.

    Args:
        tree: The sentence, in ClearNLP relations or Universal Dependencies.
        own_labels: Whether clauses have the name of their relation in place of that of the treebank.
        single_words: Whether words that are phrases by themselves have a phrase, too: [NP She] [VP slept].

    Returns:
        One sentence, its clauses and phrases (two words or more but for these, no extent twice; at their
        ends no punctuation but marks whose partner is inside) and all words, in nesting order, in
        characters of `tree.text`.
    """
    if not len(tree):
        return []
    if is_universal(tree):
        tree = function_headed(tree)
    tree = with_marks(tree)
    marks = pairs(tree)
    brackets = [pair for pair in marks if pair.is_bracket]
    joined = joined_words(tree)
    tree = with_references(with_islands(tree, brackets, joined), brackets)
    proposed = [*candidates(tree, single_words=single_words), *_of_islands(tree, brackets, joined)]
    whole = Candidate(0, len(tree) - 1, "S" if own_labels else _sentence_label(tree), "sentence")
    kept = nest([whole, *balanced(proposed, marks, tree, least=1 if single_words else 2)], len(tree))
    offsets = tree.offsets
    spans = [
        Span(offsets[first][0], offsets[last][1], own if own_labels and own else label, level)
        for first, last, label, level, own in kept
    ]
    spans += [Span(start, end, pos, "word") for (start, end), pos in zip(offsets, tree.pos, strict=True)]
    # Coarse levels come first already, and sorting keeps the order of what is equal.
    spans.sort(key=attrgetter("end"), reverse=True)
    spans.sort(key=attrgetter("start"))
    return spans


def balanced(
    spans: Iterable[Candidate], marks: Sequence[Pair], tree: DependencyTree, *, least: int = 2
) -> Iterator[Candidate]:
    """Spans without outer punctuation that hold both marks of each pair, or none.

    A mark at the end of a span stays if its partner is inside. A partner that follows at once is taken in;
    a span that cannot be mended is left out.

    Args:
        spans: Candidates.
        marks: Pairs of marks.
        tree: The sentence.
        least: Fewest words of a span.

    Yields:
        The candidates that remain.
    """
    pos = tree.pos
    for span in spans:
        first, last, label, level, own = span
        if label != PARENTHETICAL:
            while first < last and pos[first] == "PUNCT":
                first += 1
            while last > first and pos[last] in ("PUNCT", "CCONJ"):
                last -= 1
            if marks:
                first, last = _with_partners(first, last, marks, pos)
        if last - first + 1 >= least:
            is_same = first == span.first and last == span.last
            yield span if is_same else Candidate(first, last, label, level, own)


def _with_partners(first: int, last: int, marks: Sequence[Pair], pos: Sequence[str]) -> tuple[int, int]:
    """The extent that takes in, or leaves, the partners of its marks; an empty one if there is none."""
    halves_of_pairs = {word for pair in marks for word in (pair.first, pair.last)}
    for _ in range(len(marks) + 1):
        halves = (pair for pair in marks if (first <= pair.first <= last) != (first <= pair.last <= last))
        half = next(halves, None)
        if half is None:
            return first, last
        opening, closing, _is_bracket = half
        if opening >= first:  # the closing mark is outside
            if all(pos[word] == "PUNCT" for word in range(last + 1, closing)):
                last = closing
            elif opening == first:
                first += 1
                while first < last and pos[first] == "PUNCT" and first not in halves_of_pairs:
                    first += 1  # it stood behind the mark, and is outer punctuation now
            else:
                break
        elif all(pos[word] == "PUNCT" for word in range(opening + 1, first)):
            first = opening
        elif closing == last:
            last -= 1
            while last > first and pos[last] in ("PUNCT", "CCONJ") and last not in halves_of_pairs:
                last -= 1
        else:
            break
    return first, first - 1


def _of_islands(
    tree: DependencyTree, brackets: Sequence[Pair], joined: Sequence[tuple[int, int]]
) -> Iterator[Candidate]:
    """Parentheticals with their brackets, what is in them, and words joined by hyphens."""
    for first, last, _ in brackets:
        yield Candidate(first, last, PARENTHETICAL, "phrase")
        top = next((word for word in range(first + 1, last) if not first < tree.heads[word] < last), None)
        if top is not None and tree.pos[top] in PHRASE_LABELS:
            yield Candidate(first + 1, last - 1, head_label(tree, top), "phrase")
    for first, last in joined:
        is_adjective = tree.pos[last] in ("ADJ", "VERB")
        yield Candidate(first, last, "ADJP" if is_adjective else "NP", "phrase")


def _sentence_label(tree: DependencyTree) -> str:
    """Label of the whole: that of its clause, or of its only phrase; else it is a fragment."""
    pos = tree.pos
    roots = [word for word, head in enumerate(tree.heads) if head == ROOT and pos[word] != "PUNCT"]
    if not roots:
        return FRAGMENT
    root = roots[0]
    children = tree.children[root]
    if is_verbal(tree, root):
        return clause_label(tree, root, tree.edges[root][0])
    if any(tree.deps[child] in SUBJECTS for child in children):
        return "S"
    label = head_label(tree, root)
    left, right = tree.edges[root]
    is_all = all(pos[word] == "PUNCT" for word in (*range(left), *range(right + 1, len(tree))))
    return _WHOLE_PHRASES.get(label, FRAGMENT) if is_all else FRAGMENT


def nest(spans: Iterable[Candidate], length: int) -> list[Candidate]:
    """The spans that fit into one tree, coarse levels first, then long before short."""
    longest_from = [-1] * length  # last word of the longest kept span that starts here
    longest_to = [length] * length  # first word of the longest kept span that ends here
    kept: dict[tuple[int, int], Candidate] = {}
    for span in sorted(spans, key=_coarse_and_long_first):
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


def _coarse_and_long_first(span: Candidate) -> tuple[int, int, int]:
    first, last, _, level, _ = span
    return (level_rank(level), first - last, first)
