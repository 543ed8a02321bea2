"""Tokenizers that are learned from text: which ones a specification names, and their training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hdiff.errors import DataError

if TYPE_CHECKING:
    import tokenizers

_EOS = "<eos>"
_UNKNOWN = "<unk>"
_MAX_WORDS = 50_000
_TRAINABLE = ("train", "words")
_NUM_BYTES = 256


def is_trainable(spec: str) -> bool:
    """Whether a specification says to train a tokenizer; otherwise it is a path."""
    return spec.partition(":")[0] in _TRAINABLE


def vocabulary_limit(spec: str) -> int:
    """The largest number of tokens that `train:N`, `words` or `words:N` may give, checked."""
    kind, colon, number = spec.partition(":")
    if kind == "words" and not colon:
        return _MAX_WORDS
    smallest = {"train": _NUM_BYTES + 1, "words": 3}.get(kind)
    if smallest is None or not number.isdecimal():
        raise DataError(f"cannot train a tokenizer '{spec}'; write train:4096, words or words:4096")
    if int(number) < smallest:
        raise DataError(f"tokenizer '{spec}' has too few tokens; '{kind}' needs at least {smallest}")
    return int(number)


def train_backend(texts: Iterable[str], spec: str) -> tokenizers.Tokenizer:
    """Trains byte-level BPE or a word list, see `Tokenizer.train`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    limit = vocabulary_limit(spec)
    if spec.startswith("words"):
        backend = Tokenizer(models.WordLevel(unk_token=_UNKNOWN))
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer: trainers.Trainer = trainers.WordLevelTrainer(
            vocab_size=limit, special_tokens=[_EOS, _UNKNOWN], show_progress=False
        )
        texts = (_without_special_words(text) for text in texts)
    else:
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=limit,
            special_tokens=[_EOS],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
    backend.train_from_iterator(texts, trainer)
    return backend


def _without_special_words(text: str) -> str:
    """The words of a text but `<eos>` and `<unk>`: the trainer would give them a second id."""
    return " ".join(word for word in text.split() if word not in (_EOS, _UNKNOWN))
