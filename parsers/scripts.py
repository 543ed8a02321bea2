"""Scripts: which writing system a text is in. No torch."""

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
_DENSE = {"CJK": 3, "HANGUL": 2}
"""A letter of these scripts says as much as so many of others."""

MIN_LETTERS = 12


def script_of(text: str) -> str | None:
    """The script of most letters of a text, as Unicode names it, or CJK; None if there are few."""
    counts: Counter[str] = Counter()
    for letter, number in Counter(text).items():
        if unicodedata.category(letter)[0] in "LM":
            name = unicodedata.name(letter, "").partition(" ")[0]
            script = _SAME.get(name, name)
            counts[script] += number * _DENSE.get(script, 1)
    return counts.most_common(1)[0][0] if counts.total() >= MIN_LETTERS else None
