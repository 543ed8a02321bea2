"""InverseDocumentFrequency: how much of a text's information each word carries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import log
from typing import Any, final

from hdiff.errors import DataError
from hdiff.structure import SpanTree

from .meaning_words import FLOORS, shape_prior
from .salience_base import Salience
from .word_statistics import WordStatistics

POS_PRIOR: Mapping[str, float] = {
    "NOUN": 1.0,
    "PROPN": 1.0,
    "NUM": 0.9,
    "VERB": 0.8,
    "ADJ": 0.8,
    "X": 0.8,
    "ADV": 0.6,
    "INTJ": 0.5,
    "SYM": 0.4,
    "PRON": 0.3,
    "AUX": 0.2,
    "ADP": 0.2,
    "SCONJ": 0.2,
    "DET": 0.1,
    "CCONJ": 0.1,
    "PART": 0.1,
    "PUNCT": 0.02,
    "SPACE": 0.0,
}
"""How far a part of speech can be a keyword; ours: content words high, function words low."""

CODE_PRIOR: Mapping[str, float] = {
    "DEFINITION": 1.0,
    "ATTRIBUTE": 0.9,
    "NAME": 0.8,
    "PARAMETER": 0.8,
    "STRING": 0.7,
    "ARGUMENT": 0.6,
    "NUMBER": 0.6,
    "DOCSTRING": 0.5,
    "COMMENT": 0.5,
    "CONSTANT": 0.4,
    "KEYWORD": 0.2,
    "OPERATOR": 0.1,
    "BRACKET": 0.02,
}
"""The same for kinds of tokens of source code (parser `python`); ours: identifiers high, syntax low."""

UNKNOWN_POS_PRIOR = 0.5


def prior_of(label: str) -> float:
    """How far a word of some kind can be a keyword, whatever the word."""
    return POS_PRIOR.get(label, CODE_PRIOR.get(label, UNKNOWN_POS_PRIOR))


def word_prior(form: str, label: str) -> float:
    """How far, in [0, 1], a lower-cased word can be a keyword, by its shape or its kind."""
    shape = None if label in CODE_PRIOR else shape_prior(form)
    return prior_of(label) if shape is None else shape


def floor_of(form: str, label: str) -> float:
    """Least salience of a word: that of negation, quantifiers and modals (`FLOORS`), but for code."""
    return 0.0 if label in CODE_PRIOR else FLOORS.get(form, 0.0)


@final
@dataclass(frozen=True)
class InverseDocumentFrequency(Salience):
    """Salience of a word w with part of speech p, in [0, 1]:

        salience(w, p) = max(prior(w, p) * idf(w) / idf_max, floor(w))
        idf(w) = log((N + 1) / (df(w) + 1)),  idf_max = log(N + 1)

    N is the number of documents, df(w) in how many of them the lower-cased word occurs. Words seen
    in fewer than two documents count as unseen, df = 0, which keeps the table small. Without
    documents (N = 0) salience is the prior and the floor alone. The floor is that of negation, quantifiers
    and modals (`meaning_words.FLOORS`).
    Source: Sparck Jones, "A statistical interpretation of term specificity", J. Documentation 28
    (1972), add-one smoothing; the prior is ours.

    Attributes:
        num_documents: N.
        document_counts: df of every lower-cased word that occurs in two documents or more.
    """

    name = "idf"

    num_documents: int = 0
    document_counts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def fit(cls, trees: Iterable[SpanTree]) -> InverseDocumentFrequency:
        """Counts documents; one tree is one document."""
        return cls.of(WordStatistics.of(trees))

    @classmethod
    def of(cls, statistics: WordStatistics) -> InverseDocumentFrequency:
        """The scores that counts give."""
        counts = sorted(statistics.document_counts.items())
        return cls(statistics.num_documents, {word: count for word, count in counts if count >= 2})

    def score(self, word: str, pos: str) -> float:
        """Salience in [0, 1] of a word in any case."""
        form = word.lower()
        score = word_prior(form, pos)
        if self.num_documents:
            idf_max = log(self.num_documents + 1)
            score *= 1 - log(self.document_counts.get(form, 0) + 1) / idf_max
        return max(score, floor_of(form, pos))

    def scores(self, tree: SpanTree) -> tuple[float, ...]:
        text = tree.text
        return tuple([self.score(text[word.start : word.end], word.label) for word in tree.words])

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy; `from_dict` restores it exactly."""
        return {"num_documents": self.num_documents, "document_counts": dict(self.document_counts)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> InverseDocumentFrequency:
        """Restores what `to_dict` gave."""
        missing = {"num_documents", "document_counts"} - set(data)
        if missing:
            raise DataError(f"salience data lacks {sorted(missing)}; give what to_dict() returned")
        num_documents = int(data["num_documents"])
        if num_documents < 0:
            raise DataError(f"salience data has {num_documents} documents; give what to_dict() returned")
        counts = {str(word): int(count) for word, count in data["document_counts"].items()}
        for word, count in counts.items():
            if not 1 <= count <= num_documents:
                raise DataError(
                    f"salience data has '{word}' in {count} of {num_documents} documents; "
                    "a word occurs in one to all of them: fit the salience again"
                )
        return cls(num_documents, counts)
