"""literal_tokens: text that is given, as tokens the model knows. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hdiff.errors import DataError

if TYPE_CHECKING:
    from hdiff.data.tokenizer import Tokenizer

UNKNOWN_TOKENS: tuple[str, ...] = ("<unk>", "[UNK]")
"""Tokens that stand for words outside of a vocabulary."""


def literal_tokens(text: str, tokenizer: Tokenizer) -> tuple[list[int], list[tuple[int, int]]]:
    """Tokens of a given text.

    Args:
        text: The text.
        tokenizer: The model's tokenizer.

    Returns:
        Token ids, and the characters [start, end) of each.

    Raises:
        DataError: If a word is not in the vocabulary: it could not stand in the result as it is.
    """
    ids, offsets = tokenizer.encode(text)
    unknown = {tokenizer.backend.token_to_id(token) for token in UNKNOWN_TOKENS} - {None}
    for token_id, (start, end) in zip(ids, offsets, strict=True):
        if token_id in unknown or token_id == tokenizer.eos_id:
            raise DataError(
                f"'{text[start:end]}' is not a word the model knows; use words of its training text"
            )
    return ids, offsets
