"""Salience: how much of a text's information each word carries, by one of several methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any, final

from hdiff.errors import ParserError, nearest
from hdiff.plugins import load_plugin, plugin_names
from hdiff.structure import SpanTree

from .word_statistics import WordStatistics

SALIENCES: dict[str, str] = {
    "idf": ".salience:InverseDocumentFrequency",
    "pos": ".single_cues:PartOfSpeechPrior",
    "entities": ".single_cues:NamedEntities",
    "textrank": ".centrality:TextRank",
    "collocation": ".collocation:Collocations",
    "combined": ".combination:Combination",
}
"""Name -> module:class, imported on first use."""


class Salience(ABC):
    """Scores words.

    Attributes:
        name: Name in `SALIENCES`.
        needs: What trees must tell of each word besides spans, out of `heads` and `entities`.
        needs_pairs: Whether its statistics must have counted pairs of neighbours.
    """

    name: str
    needs: tuple[str, ...] = ()
    needs_pairs: bool = False

    @classmethod
    @abstractmethod
    def of(cls, statistics: WordStatistics) -> Salience:
        """The method on a corpus."""

    @abstractmethod
    def scores(self, tree: SpanTree) -> tuple[float, ...]:
        """Salience of each word of a text.

        Args:
            tree: A tree whose words carry their universal part of speech as label.

        Returns:
            One score in [0, 1] per word, in text order.

        Raises:
            ParserError: If the tree lacks what the method needs.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy; `from_dict` restores it exactly."""

    @classmethod
    @abstractmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Salience:
        """Restores what `to_dict` gave."""

    @final
    def apply(self, tree: SpanTree) -> SpanTree:
        """The same tree with this salience."""
        for need in self.needs:
            if getattr(tree, need) is None:
                raise ParserError(
                    f"salience '{self.name}' needs the {need} of the words; "
                    f"parse with load_parser(..., annotations={self.needs})"
                )
        return replace(tree, salience=self.scores(tree))


def salience_class(name: str) -> type[Salience]:
    """The class of a name from `SALIENCES` or of a plugin (`hdiff.plugins`)."""
    if name not in SALIENCES:
        return _offered_class(name)
    module, _, class_name = SALIENCES[name].partition(":")
    known: type[Salience] = getattr(import_module(module, __package__), class_name)
    return known


def _offered_class(name: str) -> type[Salience]:
    offered: type[Salience] | None = load_plugin("salience", name, Salience, error=ParserError)
    if offered is None:
        known = [*SALIENCES, *plugin_names("salience")]
        raise ParserError(f"unknown salience '{name}'{nearest(name, known)} (methods are {', '.join(known)})")
    if offered.name != name:  # a data set keeps the name, and finds the class by it
        raise ParserError(
            f"salience '{name}' has the class attribute name = '{offered.name}'; both must be the same"
        )
    return offered


def salience_to_dict(salience: Salience) -> dict[str, Any]:
    """Any salience as a JSON-able dictionary with its name."""
    return {"name": salience.name, **salience.to_dict()}


def salience_from_dict(data: Mapping[str, Any]) -> Salience:
    """Restores what `salience_to_dict` gave."""
    return salience_class(str(data.get("name"))).from_dict(data)
