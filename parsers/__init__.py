"""Parsers: text to SpanTree. Importing this package imports neither spaCy nor torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .loading import PARSERS, load_parser

if TYPE_CHECKING:
    from .base import Parser, check_text
    from .benepar_parser import BeneparParser
    from .buckets import Buckets
    from .collocation import Collocations
    from .combination import Combination
    from .dependency import DependencyTree
    from .nltk_trees import from_nltk, to_nltk
    from .plain import PlainParser
    from .python_source import PythonParser
    from .salience import InverseDocumentFrequency
    from .salience_base import Salience, salience_class, salience_from_dict, salience_to_dict
    from .spacy_parser import SpacyParser
    from .treebank import TreebankParser
    from .word_statistics import WordStatistics

_EXPORTS: dict[str, str] = {
    "Parser": ".base",
    "check_text": ".base",
    "BeneparParser": ".benepar_parser",
    "Buckets": ".buckets",
    "Collocations": ".collocation",
    "DependencyTree": ".dependency",
    "TreebankParser": ".treebank",
    "PlainParser": ".plain",
    "PythonParser": ".python_source",
    "from_nltk": ".nltk_trees",
    "to_nltk": ".nltk_trees",
    "Combination": ".combination",
    "InverseDocumentFrequency": ".salience",
    "Salience": ".salience_base",
    "salience_class": ".salience_base",
    "salience_from_dict": ".salience_base",
    "salience_to_dict": ".salience_base",
    "SpacyParser": ".spacy_parser",
    "WordStatistics": ".word_statistics",
}

__all__ = [
    "PARSERS",
    "BeneparParser",
    "Buckets",
    "Collocations",
    "Combination",
    "DependencyTree",
    "InverseDocumentFrequency",
    "Parser",
    "PlainParser",
    "PythonParser",
    "Salience",
    "SpacyParser",
    "TreebankParser",
    "WordStatistics",
    "check_text",
    "from_nltk",
    "load_parser",
    "salience_class",
    "salience_from_dict",
    "salience_to_dict",
    "to_nltk",
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'hdiff.parsers' has no attribute '{name}'")
    return getattr(import_module(_EXPORTS[name], __name__), name)
