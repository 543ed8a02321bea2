"""Scripts: which writing system a text is in, and whether a parser was made for it. No torch."""

from __future__ import annotations

import unicodedata
from collections import Counter

_OF_LANGUAGES = {
    "LATIN": "ca da de en es fi fr hr it lt nb nl pl pt ro sl sv",
    "GREEK": "el",
    "CYRILLIC": "mk ru uk",
    "CJK": "ja zh",
    "HANGUL": "ko",
}
SCRIPTS = {language: script for script, languages in _OF_LANGUAGES.items() for language in languages.split()}
"""Script of the languages that have spaCy pipelines: https://spacy.io/models."""

_SAME = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "FULLWIDTH": "LATIN"}
MIN_LETTERS = 20


def script_of(text: str) -> str | None:
    """The script of most letters of a text, as Unicode names it, or CJK; None if there are few."""
    counts: Counter[str] = Counter()
    for letter, number in Counter(filter(str.isalpha, text)).items():
        name = unicodedata.name(letter, "").partition(" ")[0]
        counts[_SAME.get(name, name)] += number
    return counts.most_common(1)[0][0] if counts.total() >= MIN_LETTERS else None


def misfit(text: str, language: str | None) -> str | None:
    """What to say of a text in another script than the language of a parser; None if they fit."""
    expected, actual = SCRIPTS.get(language or ""), script_of(text)
    if expected is None or actual is None or expected == actual:
        return None
    return (
        f"the text is in {actual.capitalize()} script, the parser was made for language '{language}': its "
        "spans mean little there; give a model of the language (--parser spacy:MODEL), or --parser plain"
    )
