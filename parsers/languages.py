"""Languages: which one a text is in, and whether a parser was made for it. No torch.

Languages are told by py3langid (BSD, 139 languages, offline), where it is installed; scripts always.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

from .scripts import MIN_LETTERS, SCRIPTS, script_of

MAX_CHARACTERS = 1500
"""So many characters of a text are looked at."""

MIN_UNCAPITALISED = 8
"""Letters in words without a capital."""

MIN_PROBABILITY = 0.5
"""Another language has at least this probability, or it is not named."""

MAX_OF_EXPECTED = 0.02
"""The expected language has at most this probability where another one is named."""

MAX_WITHOUT_ACCENTS = 0.1
"""The same, by the words without a capital and without their accents."""

MIN_SHARE = 0.05
"""Share of the texts of a corpus in other languages that is worth a remark."""

_NOISE = re.compile(r"https?://\S+|www\.\S+|\S*[@#_/\\<>{}=\d]\S*")
_ACCENTS = re.compile("[\u0300-\u036f]")
_NO_LANGUAGE = "zxx"
_OF_NAMES = {"la": 0.98}
"""Least probability of Latin: scientific names are Latin."""

_ALIKE = tuple(
    frozenset(codes.split()) for codes in ("no nb nn da", "hr sr bs sh", "id ms", "zh wuu yue", "ca oc")
)
"""Languages that are taken for one another."""

_WRITTEN = {"no": "nb", "wuu": "zh", "yue": "zh"}
"""Codes by which spaCy has the written language."""


def is_told() -> bool:
    """Whether languages can be told here, not scripts alone."""
    try:
        import py3langid  # noqa: F401
    except ImportError:
        return False
    return True


def language_of(text: str, expected: str = "en") -> str | None:
    """The language of a text that is clearly not in the expected one.

    Words with a capital, and accents, count only where the rest says the same: lists of names and addresses
    are no text, and English has its cafés.

    Args:
        text: The text.
        expected: Code of the language that it is in by default.

    Returns:
        Code of the other language, as `fr`; None if it is the expected one, or this is not clear.
    """
    cleaned = _NOISE.sub(" ", text[:MAX_CHARACTERS])
    words = (cleaned.lower() if cleaned.isupper() else cleaned).split()
    if (identifier := _identifier()) is None or _num_letters(words) < MIN_LETTERS:
        return None
    found = _other(identifier, words, expected, MIN_PROBABILITY)
    uncapitalised = [word for word in words if not word[:1].isupper()]
    if found is None or _num_letters(uncapitalised) < MIN_UNCAPITALISED:
        return None
    without_accents = _ACCENTS.sub("", unicodedata.normalize("NFD", " ".join(uncapitalised))).split()
    is_clear = _other(identifier, without_accents, expected, 0.0, MAX_WITHOUT_ACCENTS) is not None
    return _WRITTEN.get(found, found) if is_clear else None


def misfit(texts: Iterable[str], language: str | None) -> str | None:
    """What to say if texts are not in the language that a parser was made for.

    Args:
        texts: Texts of a corpus.
        language: Code of the language, as `en`; None for a parser of every language.

    Returns:
        A sentence with the remedy; None if they fit, or it is not known.
    """
    if language is None:
        return None
    found: Counter[str] = Counter()
    num_told = 0
    for text in texts:
        script = script_of(text[:MAX_CHARACTERS])
        num_told += script is not None
        if script is not None and SCRIPTS.get(language, script) != script:
            found[f"{script if script == 'CJK' else script.capitalize()} script"] += 1
        elif other := language_of(text, language):
            found[f"language '{other}'"] += 1
    if not found or found.total() < MIN_SHARE * num_told:
        return None
    most = " and ".join(name for name, _ in found.most_common(3))
    whose = "the text is" if num_told == 1 else f"{found.total()} of {num_told} texts looked at are"
    return (
        f"{whose} in {most}, the parser was made for language '{language}': its spans mean little there; "
        "give a model of the language (--parser spacy:MODEL), --parser auto for a model of each language "
        "that is installed, or --parser plain"
    )


def _num_letters(words: Iterable[str]) -> int:
    return sum(unicodedata.category(letter)[0] in "LM" for word in words for letter in word)


def _other(
    identifier: Any,
    words: list[str],
    expected: str,
    min_probability: float,
    max_of_expected: float = MAX_OF_EXPECTED,
) -> str | None:
    probabilities = dict(identifier.rank(" ".join(words)))
    found = max(probabilities, key=probabilities.__getitem__)
    same: frozenset[str] = next((group for group in _ALIKE if expected in group), frozenset((expected,)))
    of_expected = sum(probabilities.get(code, 0.0) for code in same)
    if found in same or found == _NO_LANGUAGE or of_expected > max_of_expected:
        return None
    return found if probabilities[found] >= max(min_probability, _OF_NAMES.get(found, 0.0)) else None


@cache
def _identifier() -> Any | None:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        return None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
