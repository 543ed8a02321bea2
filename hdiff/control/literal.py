"""Given: text that is given, as tokens the model knows, and how it stands in the result."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hdiff.data.alignment import token_texts
from hdiff.errors import DataError

if TYPE_CHECKING:
    from hdiff.data.tokenizer import Tokenizer

_SHOWN = 60
_FOLLOWERS = "a.1"
"""Stand for what fills a gap: one of them is a token of its own behind any text."""


class Given(tuple[int, ...]):
    """The tokens of a stretch of given text; `pieces` joined are it, character by character."""

    pieces: tuple[str, ...]

    def __new__(cls, tokens: Sequence[int], pieces: Sequence[str]) -> Given:
        """The stretch of these tokens."""
        given = super().__new__(cls, tokens)
        given.pieces = tuple(pieces)
        return given

    @classmethod
    def of(cls, text: str, tokenizer: Tokenizer, *, is_inside: bool = False) -> Given:
        """Tokens of a given text; `is_inside` says whether other text stands before it."""
        ids, offsets = literal_tokens(text, tokenizer, is_inside=is_inside)
        return cls(ids, token_texts(text, offsets) if ids else ())

    @classmethod
    def before_gap(cls, text: str, tokenizer: Tokenizer, *, is_inside: bool = False) -> Given:
        """Tokens of a given text behind which a gap begins, cut where they are cut in text.

        White space at the end is cut as it is before a word: line ends and indentation are tokens there, and
        the last space is part of what fills the gap.

        Args:
            text: The text.
            tokenizer: The model's tokenizer.
            is_inside: Whether other text stands before it.

        Returns:
            The stretch.

        Raises:
            DataError: As `of`.
        """
        space = " " if text.endswith(" ") and tokenizer.facts.keeps_spaces else ""
        plain = cls.of(text.removesuffix(space), tokenizer, is_inside=is_inside)
        for follower in _FOLLOWERS if plain and tokenizer.facts.keeps_spaces else "":
            ids, _ = _known_tokens(text + follower, tokenizer, is_inside=is_inside)
            pieces = tokenizer.pieces(ids)
            if pieces[-1] == space + follower and "".join(pieces) == text + follower:
                return cls(ids[:-1], pieces[:-1]).followed_by(space)
        return plain.followed_by(space)

    def followed_by(self, space: str) -> Given:
        """The same tokens, of which the last one is shown with white space behind it."""
        return Given(self, (*self.pieces[:-1], self.pieces[-1] + space)) if self else self


@dataclass(frozen=True)
class GivenText:
    """How the given tokens of a row stand in its text.

    Attributes:
        pieces: Text of each given token, in the order of the row.
        has_spaces: Whether the white space around gaps is given too; else it is that of the tokens.
    """

    pieces: tuple[str, ...]
    has_spaces: bool

    def texts(self, pieces: Sequence[str], is_given: Sequence[bool], *, keeps_spaces: bool) -> list[str]:
        """Text of each token of a row.

        Args:
            pieces: What the tokenizer makes of each token.
            is_given: Whether a token is given.
            keeps_spaces: Whether white space is part of the tokenizer's tokens.

        Returns:
            One string per token. Given text is there character by character, and no space is doubled by
            what fills the gap beside it.
        """
        given = iter(self.pieces)
        texts = [next(given) if is_known else piece for piece, is_known in zip(pieces, is_given, strict=True)]
        for place, (text, is_known) in enumerate(zip(texts, is_given, strict=True)):
            if place > 0 and is_known == is_given[place - 1]:
                continue
            if not self.has_spaces:
                if is_known:
                    raw, own = pieces[place], text.lstrip()
                    # Drawn bytes that are no character stand before the white space of the given word.
                    bare = raw.lstrip() if own.startswith("\ufffd") else raw.lstrip("\ufffd").lstrip()
                    texts[place] = raw[: len(raw) - len(bare)] + own
            elif is_known and place > 0:
                if text[:1].isspace():
                    texts[place - 1] = texts[place - 1].rstrip(" ")
            elif place > 0 and (texts[place - 1][-1:].isspace() or not keeps_spaces):
                texts[place] = text.lstrip(" ")
        return texts


def literal_tokens(
    text: str, tokenizer: Tokenizer, *, is_inside: bool = False
) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids of a given text, and the characters [start, end) of each."""
    ids, offsets = _known_tokens(text, tokenizer, is_inside=is_inside)
    wrong = {tokenizer.facts.unknown_id, tokenizer.eos_id}
    for token_id, (start, end) in zip(ids, offsets, strict=True):
        if token_id in wrong:
            word = _named(text[start:end] or text)
            raise DataError(f"{word} is not a word the model knows; use words of its training text")
    spelled = "".join(tokenizer.pieces(ids))
    if _letters(spelled) != _letters(text):
        raise DataError(_difference(text, spelled, tokenizer))
    return ids, offsets


def _known_tokens(
    text: str, tokenizer: Tokenizer, *, is_inside: bool
) -> tuple[list[int], list[tuple[int, int]]]:
    """Tokens of a text; a word that is unknown because of punctuation at it is read in parts."""
    ids, offsets = tokenizer.encode_inside(text) if is_inside else tokenizer.encode(text)
    unknown = tokenizer.facts.unknown_id
    if unknown is None or unknown not in ids or tokenizer.facts.keeps_spaces:
        return ids, offsets
    known_ids: list[int] = []
    known_offsets: list[tuple[int, int]] = []
    for token_id, (start, end) in zip(ids, offsets, strict=True):
        parts = [token_id], [(start, end)]
        if token_id == unknown:
            words = list(re.finditer(r"\w+|[^\w\s]", text[start:end]))
            encoded = [tokenizer.encode(word[0]) for word in words]
            tokens = [one for part, _ in encoded for one in part]
            if unknown not in tokens:
                places = [
                    (start + word.start() + left, start + word.start() + right)
                    for word, (_, borders) in zip(words, encoded, strict=True)
                    for left, right in borders
                ]
                parts = tokens, places
        known_ids += parts[0]
        known_offsets += parts[1]
    return known_ids, known_offsets


def _letters(text: str) -> str:
    """What must stand in the result as it is given: all but white space, in canonical form."""
    return unicodedata.normalize("NFC", "".join(text.split()))


def _difference(text: str, spelled: str, tokenizer: Tokenizer) -> str:
    """Which characters the tokenizer does not keep, and what to write instead."""
    missing = sorted(set(_letters(text)) - set(_letters(spelled)), key=text.find) or sorted(
        set(_letters(text))
    )
    names = ", ".join(f"'{letter}' (U+{ord(letter):04X})" for letter in missing[:4])
    changes = tokenizer.facts.changes
    habit = f" (it {' and '.join(changes)})" if changes else ""
    said = f"the tokenizer reads '{_short(text)}' as '{_short(spelled)}'{habit} and does not keep {names}"
    if _letters(spelled) and _spells(spelled.strip(), tokenizer):
        return (
            f"{said}; write '{spelled.strip()}', or train with a tokenizer that keeps it, such as train:4096"
        )
    return f"{said}; leave it out, or train with a tokenizer that keeps it, such as train:4096"


def _named(word: str) -> str:
    """A word between quotes, with the numbers of characters that cannot be seen."""
    unseen = ", ".join(f"U+{ord(letter):04X}" for letter in word if not letter.isprintable())
    return f"'{word}' ({unseen})" if unseen else f"'{word}'"


def _spells(text: str, tokenizer: Tokenizer) -> bool:
    ids, _ = tokenizer.encode(text)
    known = not {tokenizer.facts.unknown_id, tokenizer.eos_id} & set(ids)
    return known and _letters("".join(tokenizer.pieces(ids))) == _letters(text)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
