"""A tokenizer of a few words with the special tokens of BERT."""

from __future__ import annotations

from hdiff.data.tokenizer import Tokenizer

SPARE_ROWS = 5
"""Rows of the table beyond the tokenizer's, as checkpoints have them."""


def words() -> Tokenizer:
    """Words, and the special tokens of BERT."""
    import tokenizers

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    text = ["the", "old", "dog", "that", "barked", "all", "night", "slept", "in", "a", "park", "and", "saw"]
    model = tokenizers.models.WordLevel(
        {token: number for number, token in enumerate([*specials, *text])}, unk_token="[UNK]"
    )
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(specials)
    return Tokenizer.of(backend)
