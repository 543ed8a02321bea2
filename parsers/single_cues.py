"""PartOfSpeechPrior, NamedEntities: salience from a single cue, without counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from hdiff.structure import SpanTree

from .salience import floor_of, word_prior
from .salience_base import Salience
from .word_statistics import WordStatistics


class _WithoutCounts(Salience):
    """A method that has nothing to fit and nothing to save."""

    @classmethod
    def of(cls, statistics: WordStatistics) -> Salience:
        return cls()

    def to_dict(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Salience:
        return cls()


@final
class PartOfSpeechPrior(_WithoutCounts):
    """How far a word's shape or part of speech can be a keyword (`word_prior`, `floor_of`)."""

    name = "pos"

    def scores(self, tree: SpanTree) -> tuple[float, ...]:
        forms = [(tree.text[word.start : word.end].lower(), word.label) for word in tree.words]
        return tuple([max(word_prior(form, pos), floor_of(form, pos)) for form, pos in forms])


@final
class NamedEntities(_WithoutCounts):
    """1 inside a named entity, else 0."""

    name = "entities"
    needs = ("entities",)

    def scores(self, tree: SpanTree) -> tuple[float, ...]:
        return tuple([float(bool(entity)) for entity in tree.entities or ()])
