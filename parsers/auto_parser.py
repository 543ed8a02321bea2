"""AutoParser: each text to a spaCy pipeline of its language, where one is installed; else to `plain`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from typing import Any, final

from hdiff.errors import ParserError
from hdiff.plugins import install_command
from hdiff.structure import SpanTree

from .base import Parser, check_text
from .languages import is_told, language_of
from .plain import PlainParser
from .spacy_models import installed_models
from .spacy_parser import SpacyParser, rules_sha256

GROUP = 256
"""Texts that are sorted by language at a time."""

UNCLEAR = "en"
"""Language of texts that are too short or too mixed to tell."""


@final
class AutoParser(Parser):
    """Tells the language of each text and gives it to a pipeline made for it.

    Args:
        layout: As in `SpacyParser`.
        own_labels: As in `SpacyParser`.
        single_words: As in `SpacyParser`.

    Raises:
        ParserError: If languages cannot be told here, or no spaCy pipeline is installed.

    Attributes:
        models: Name of the pipeline of each language; texts of others go to `plain`.
    """

    name = "auto"
    levels = ("sentence", "clause", "phrase", "word")
    options = SpacyParser.options

    def __init__(self, *, layout: bool = True, own_labels: bool = False, single_words: bool = False) -> None:
        if not is_told():
            raise ParserError(
                "parser 'auto' needs py3langid to tell languages, it is not installed; run:",
                install_command("spacy"),
            )
        self._versions = installed_models()
        self.models = {language: model for language, (model, _) in self._versions.items()}
        if not self.models:
            raise ParserError("parser 'auto' finds no spaCy pipeline; run:", install_command("spacy"))
        self._options: dict[str, Any] = {
            "layout": layout,
            "own_labels": own_labels,
            "single_words": single_words,
        }
        given = (not layout, own_labels, single_words)
        self._given = [name for name, is_given in zip(self.options, given, strict=True) if is_given]
        self._loaded: dict[str, Parser] = {}

    def parse(self, texts: Iterable[str]) -> Iterator[SpanTree]:
        rest = iter(texts)
        while group := list(islice(rest, GROUP)):
            for text in group:
                check_text(text)
            languages = [language_of(text, UNCLEAR) or UNCLEAR for text in group]
            trees = {
                language: self.of(language).parse(
                    [text for text, found in zip(group, languages, strict=True) if found == language]
                )
                for language in dict.fromkeys(languages)
            }
            for language in languages:
                yield replace(next(trees[language]), language=language)

    def of(self, language: str) -> Parser:
        """The parser of the texts of a language, loaded when it is first needed.

        Args:
            language: Code of the language.

        Returns:
            A spaCy parser, or the plain one.
        """
        model = self.models.get(language)
        key = model or "plain"
        if key not in self._loaded:
            self._loaded[key] = PlainParser() if model is None else SpacyParser(model, **self._options)
        return self._loaded[key]

    def fingerprint(self) -> dict[str, str]:
        return {
            "name": self.name,
            "models": json.dumps(self._versions),
            **({"options": ",".join(options)} if (options := self._given) else {}),
            "py3langid": version("py3langid"),
            "spacy": version("spacy"),
            "rules": f"1,{rules_sha256()}",
            "plain": PlainParser().fingerprint()["rules"],
        }
