"""Tokenizers of words."""

from __future__ import annotations

from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers


def word_level(*tokens: str, special: tuple[str, ...] = ()) -> Backend:
    backend = Backend(models.WordLevel({token: n for n, token in enumerate(tokens)}, unk_token=tokens[0]))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(list(special))
    return backend
