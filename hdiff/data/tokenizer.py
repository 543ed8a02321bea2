"""Tokenizer: a frozen `tokenizers.Tokenizer`. No torch.

The mask is not in it: models add mask_id = vocab_size.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdiff.errors import DataError

if TYPE_CHECKING:
    import tokenizers

EOS_TOKENS: tuple[str, ...] = ("<eos>", "<|endoftext|>", "</s>", "[SEP]")
"""Tokens that can end a document, in order of preference."""

FILE_NAME = "tokenizer.json"

_NUM_BYTES = 256


@dataclass(frozen=True)
class Tokenizer:
    """Text to token ids and back, without special tokens.

    Attributes:
        backend: The tokenizer of the `tokenizers` library; do not change it.
        eos_id: Id of the token that ends a document.
    """

    backend: tokenizers.Tokenizer
    eos_id: int

    @classmethod
    def of(cls, backend: tokenizers.Tokenizer) -> Tokenizer:
        """Wraps a tokenizer; it must not pad, truncate or read special tokens out of plain text.

        Args:
            backend: Any tokenizer of the `tokenizers` library.

        Returns:
            The wrapper.

        Raises:
            DataError: If no token can end a document.
        """
        backend.no_padding()
        backend.no_truncation()
        backend.encode_special_tokens = True
        ids = (backend.token_to_id(token) for token in EOS_TOKENS)
        eos_id = next((token_id for token_id in ids if token_id is not None), None)
        if eos_id is None:
            raise DataError(
                f"the tokenizer has none of the tokens {', '.join(EOS_TOKENS)}; add one of them to it"
            )
        return cls(backend=backend, eos_id=eos_id)

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Reads a tokenizer from disk.

        Args:
            path: A tokenizer.json, or a folder that holds one, or vocab.json with merges.txt (byte-level
                BPE as in GPT-2), or vocab.txt (WordPiece as in BERT uncased).

        Returns:
            The tokenizer.

        Raises:
            DataError: If it is missing or unreadable, or has no token that can end a document.
        """
        from hdiff.data.tokenizer_files import read_backend

        return cls.of(read_backend(Path(path)))

    @classmethod
    def train(cls, texts: Iterable[str], spec: str) -> Tokenizer:
        """Learns a tokenizer from texts; the same texts give the same tokenizer.

        Args:
            texts: Training texts.
            spec: `train:N` byte-level BPE with at most N tokens; `words` or `words:N` one token per
                whitespace-separated word, the N most frequent ones (50,000 if not given), counting
                `<eos>` and `<unk>`.

        Returns:
            The tokenizer.

        Raises:
            DataError: If the specification is none of these.
        """
        from hdiff.data.tokenizer_files import train_backend

        return cls.of(train_backend(texts, spec))

    @cached_property
    def vocab_size(self) -> int:
        """Number of tokens, without the mask."""
        return int(self.backend.get_vocab_size())

    @cached_property
    def sha256(self) -> str:
        """Digest of everything that defines the tokenizer; its scores count to six digits."""
        # `tokenizers` reads a number back with an error of its last bit, so writing is not the identity.
        parts = json.loads(self.backend.to_str(), parse_float=lambda number: f"{float(number):.6g}")
        return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()

    def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Tokens of a text.

        Args:
            text: Any valid Unicode text.

        Returns:
            Token ids, and the characters [start, end) of each token.
        """
        encoding = self.backend.encode(text, add_special_tokens=False)
        ids, offsets = encoding.ids, encoding.offsets
        if self.eos_id not in ids:
            return ids, offsets
        # The text spells the token that ends documents: it is cut inside of it and its parts encoded.
        cuts = [
            start + 1
            for token, (start, end) in zip(ids, offsets, strict=True)
            if token == self.eos_id and end - start > 1
        ]
        if not cuts:
            return ids, offsets
        ids, offsets = [], []
        for first, end in pairwise([0, *cuts, len(text)]):
            part_ids, part_offsets = self.encode(text[first:end])
            ids += part_ids
            offsets += [(first + left, first + right) for left, right in part_offsets]
        return ids, offsets

    def decode(self, ids: Sequence[int]) -> str:
        """Text of tokens, special tokens included.

        Args:
            ids: Token ids below `vocab_size`.

        Returns:
            The text.
        """
        return str(self.backend.decode(list(ids), skip_special_tokens=False))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Text of each token; a character made of several byte-level tokens stands at the last of them.

        Args:
            ids: Token ids below `vocab_size`.

        Returns:
            One string per token; joined they are `decode(ids)` (exactly so for byte-level tokenizers).
        """
        if self._is_byte_level:
            return self._byte_level_pieces(ids)
        pieces = [self.decode(ids[:1])] if ids else []
        for previous, current in pairwise(ids):
            before = self.decode([previous])
            pieces.append(self.decode([previous, current])[len(before) :])
        return pieces

    def save(self, directory: str | Path) -> Path:
        """Writes tokenizer.json.

        Args:
            directory: An existing folder.

        Returns:
            The file.
        """
        path = Path(directory) / FILE_NAME
        path.write_text(self.backend.to_str(pretty=True), encoding="utf-8")
        return path

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_string, (self.backend.to_str(),)

    @cached_property
    def _is_byte_level(self) -> bool:
        decoder = json.loads(self.backend.to_str()).get("decoder") or {}
        return decoder.get("type") == "ByteLevel"

    def _byte_level_pieces(self, ids: Sequence[int]) -> list[str]:
        bytes_of = _bytes_of_characters()
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        pieces = []
        for position, token_id in enumerate(ids, start=1):
            token = self.backend.id_to_token(token_id) or ""
            if all(character in bytes_of for character in token):
                raw = bytes(bytes_of[character] for character in token)
            else:
                raw = token.encode()  # an added token is stored as plain text
            pieces.append(decoder.decode(raw, final=position == len(ids)))
        return pieces


def _from_string(text: str) -> Tokenizer:
    import tokenizers

    return Tokenizer.of(tokenizers.Tokenizer.from_str(text))


def _bytes_of_characters() -> dict[str, int]:
    """Byte of each character of a byte-level vocabulary: printable ones stand for themselves.

    Source: github.com/openai/gpt-2, src/encoder.py, bytes_to_unicode.
    """
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(_NUM_BYTES) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    table.update({chr(_NUM_BYTES + position): byte for position, byte in enumerate(others)})
    return table
