"""Where tokenizers come from: files in the usual formats, or training. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from hdiff.errors import DataError

if TYPE_CHECKING:
    import tokenizers

_EOS = "<eos>"
_UNKNOWN = "<unk>"
_GPT2_EOS = "<|endoftext|>"
_BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_NUM_BYTES = 256
_MAX_WORDS = 50_000
_TRAINABLE = ("train", "words")


def is_trainable(spec: str) -> bool:
    """Whether a specification says to train a tokenizer; otherwise it is a path."""
    return spec.partition(":")[0] in _TRAINABLE


def vocabulary_limit(spec: str) -> int:
    """Checks a specification of a tokenizer to train.

    Args:
        spec: `train:N`, `words` or `words:N`.

    Returns:
        The largest number of tokens it may have.

    Raises:
        DataError: If the specification is malformed or N too small.
    """
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


def read_backend(path: Path) -> tokenizers.Tokenizer:
    """Reads tokenizer.json, vocab.json with merges.txt, or vocab.txt, see `Tokenizer.load`."""
    from tokenizers import Tokenizer

    folder = path if path.is_dir() else path.parent
    name = path.name if path.is_file() else None
    if not path.exists():
        raise DataError(f"no tokenizer {path}; give a file, a folder, train:N or words")
    try:
        if name is None and (folder / "tokenizer.json").exists():
            return Tokenizer.from_file(str(folder / "tokenizer.json"))
        if name in (None, "vocab.json", "merges.txt") and (folder / "vocab.json").exists():
            return _byte_level_bpe(folder / "vocab.json", folder / "merges.txt")
        if name in (None, "vocab.txt") and (folder / "vocab.txt").exists():
            return _word_piece(folder / "vocab.txt")
        if name is not None:
            return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise DataError(f"cannot read the tokenizer {path}: {error}; export it again") from error
    raise DataError(
        f"{path} holds no tokenizer; expected tokenizer.json, or vocab.json with merges.txt, or vocab.txt"
    )


def _byte_level_bpe(vocabulary: Path, merges: Path) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    backend = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if backend.token_to_id(_GPT2_EOS) is not None:
        backend.add_special_tokens([_GPT2_EOS])
    return backend


def _word_piece(vocabulary: Path) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    backend = Tokenizer(models.WordPiece.from_file(str(vocabulary), unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=False)
    present = [token for token in _BERT_SPECIALS if backend.token_to_id(token) is not None]
    backend.add_special_tokens(present)
    return backend
