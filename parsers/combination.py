"""Combination: salience as a logistic regression over all cues, fitted on gold keywords."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log
from typing import TYPE_CHECKING, Any, final

from hdiff.structure import SpanTree

from .centrality import text_rank
from .salience import POS_PRIOR, floor_of
from .salience_base import Salience
from .word_statistics import WordStatistics

if TYPE_CHECKING:
    from numpy.typing import NDArray

PARTS_OF_SPEECH = tuple(pos for pos in POS_PRIOR if pos != "SPACE")
HEADS = ("NOUN", "PROPN", "VERB", "ADP")
FEATURES: tuple[str, ...] = (
    *("bias", "rarity", "text rank", "entity", "capital inside", "digit"),
    *(f"pos {pos}" for pos in PARTS_OF_SPEECH),
    *(f"head {pos}" for pos in HEADS),
)
"""No feature tells one word from another but by how often it occurs."""

FLOOR_SHARE = 1 / 3
"""Share of the floors that counts here: slot values, the gold of the weights, hold no negation."""

NEVER_NEGATIVE = ("rarity", "text rank")
"""Cues that must not count against a word, however the keywords of one corpus happen to be distributed."""

DEFAULT_WEIGHTS: Mapping[str, float] = {
    "bias": -2.518,
    "rarity": 0.0,
    "text rank": 0.0,
    "entity": 0.908,
    "capital inside": 2.675,
    "digit": 1.799,
    "pos NOUN": 1.707,
    "pos PROPN": 2.569,
    "pos NUM": 1.112,
    "pos VERB": -2.941,
    "pos ADJ": 2.137,
    "pos X": -0.038,
    "pos ADV": 0.203,
    "pos INTJ": -0.239,
    "pos SYM": 3.122,
    "pos PRON": -2.164,
    "pos AUX": -2.767,
    "pos ADP": 1.265,
    "pos SCONJ": -0.597,
    "pos DET": 0.237,
    "pos CCONJ": -2.015,
    "pos PART": -1.411,
    "pos PUNCT": -2.697,
    "head NOUN": -0.144,
    "head PROPN": 2.014,
    "head VERB": -0.551,
    "head ADP": 0.476,
}
"""Fitted by recipes/benchmarks/salience.py on 4,000 texts of E2E (docs/results/preprocessing.md)."""


@final
@dataclass(frozen=True)
class Combination(Salience):
    """Salience of a word: the probability that it is a keyword, sigmoid(weights . features), and its floor.

    rarity(w) = 1 - log(df(w) + 1) / log(N + 1), with df and N as in InverseDocumentFrequency.

    Attributes:
        statistics: Counts over the training documents.
        weights: Weight of each feature in `FEATURES`; a missing one is 0.
    """

    statistics: WordStatistics
    weights: Mapping[str, float] = field(default_factory=lambda: DEFAULT_WEIGHTS)

    name = "combined"
    needs = ("heads", "entities")

    @classmethod
    def of(cls, statistics: WordStatistics) -> Combination:
        return cls(statistics)

    @classmethod
    def fit(
        cls, trees: Iterable[SpanTree], are_keywords: Iterable[Sequence[bool]], statistics: WordStatistics
    ) -> Combination:
        """Fits the weights by Newton steps with an L2 penalty of 1e-4 per word.

        Weights of `NEVER_NEGATIVE` that come out negative are set to 0 and the others fitted again.

        Args:
            trees: Trees with heads and entities.
            are_keywords: For each tree, whether each of its words is a keyword.
            statistics: Counts over the documents of the domain.

        Returns:
            The fitted salience.
        """
        import numpy as np

        blank = cls(statistics, {})
        x = np.array([row for tree in trees for row in blank.features(tree)])  # (words, features)
        y = np.array([float(is_keyword) for flags in are_keywords for is_keyword in flags])
        used = list(FEATURES)
        while True:
            columns = [FEATURES.index(name) for name in used]
            fitted = dict(zip(used, _logistic_regression(x[:, columns], y).round(3).tolist(), strict=True))
            negative = [name for name in NEVER_NEGATIVE if fitted.get(name, 0.0) < 0]
            if not negative:
                return cls(statistics, {name: fitted.get(name, 0.0) for name in FEATURES})
            used = [name for name in used if name not in negative]

    def scores(self, tree: SpanTree) -> tuple[float, ...]:
        weights = [self.weights.get(name, 0.0) for name in FEATURES]
        logits = (sum(w * x for w, x in zip(weights, row, strict=True)) for row in self.features(tree))
        chances = (1 / (1 + exp(-max(-30.0, min(30.0, logit)))) for logit in logits)
        floors = (floor_of(tree.text[word.start : word.end].lower(), word.label) for word in tree.words)
        return tuple([max(c, FLOOR_SHARE * floor) for c, floor in zip(chances, floors, strict=True)])

    def features(self, tree: SpanTree) -> list[list[float]]:
        """What is known of each word, in the order of `FEATURES`."""
        words, heads, entities = tree.words, tree.heads or (), tree.entities or ()
        ranks = text_rank(tree)
        sentence_starts = {sentence.start for sentence in tree.at("sentence")}
        log_documents = log(self.statistics.num_documents + 1) or 1.0
        rows = []
        for word, head, entity, rank in zip(words, heads, entities, ranks, strict=True):
            form = tree.text[word.start : word.end]
            count = self.statistics.document_counts.get(form.lower(), 0)
            rarity = 1 - log(count + 1) / log_documents
            head_pos = words[head].label if head >= 0 else ""
            capital = form[:1].isupper() and word.start not in sentence_starts
            cues = (1.0, rarity, rank, bool(entity), capital, any(c.isdigit() for c in form))
            rows.append(
                [
                    *map(float, cues),
                    *(float(word.label == pos) for pos in PARTS_OF_SPEECH),
                    *(float(head_pos == pos) for pos in HEADS),
                ]
            )
        return rows

    def to_dict(self) -> dict[str, Any]:
        return {"statistics": self.statistics.to_dict(), "weights": dict(self.weights)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Combination:
        return cls(WordStatistics.from_dict(data["statistics"]), dict(data["weights"]))


def _logistic_regression(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """Weights (features,) for x (words, features) and y (words,) of 0 and 1."""
    import numpy as np

    ridge = 1e-4 * len(y)
    weights = np.zeros(x.shape[1])
    for _ in range(20):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (p - y) + ridge * weights
        hessian = (x * (p * (1 - p))[:, None]).T @ x + ridge * np.eye(len(weights))
        weights -= np.linalg.solve(hessian, gradient)
    return weights
