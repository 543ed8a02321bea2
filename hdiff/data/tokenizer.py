"""Tokenizer: a frozen `tokenizers.Tokenizer`.

The mask is not in it: models add mask_id = vocab_size.
"""

from __future__ import annotations

import codecs
import copy
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdiff.data.byte_characters import bytes_of_characters
from hdiff.data.tokenizer_facts import TokenizerFacts, check_ids
from hdiff.errors import DataError
from hdiff.parsers.base import check_text

if TYPE_CHECKING:
    import tokenizers

FILE_NAME = "tokenizer.json"

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_NEIGHBOURS = ("a", ".", "\n", "1")


@dataclass(frozen=True)
class Tokenizer:
    """Text to token ids and back, without special tokens.

    Attributes:
        backend: The tokenizer of the `tokenizers` library; do not change it.
        facts: What it is.
    """

    backend: tokenizers.Tokenizer
    facts: TokenizerFacts

    @classmethod
    def of(
        cls,
        backend: tokenizers.Tokenizer,
        named: Mapping[str, str] | None = None,
        *,
        end_id: int | None = None,
    ) -> Tokenizer:
        """Wraps a tokenizer; it must not pad, truncate, be random or read special tokens out of plain text.

        Args:
            backend: Any tokenizer of the `tokenizers` library.
            named: Special tokens by role, `eos_token` and so on, where a configuration names them.
            end_id: Id of the token that ends a document, if it is known.

        Returns:
            The wrapper.

        Raises:
            DataError: If no token can end a document, or ids cannot be used.
        """
        from hdiff.data.tokenizer_files import complete

        check_ids(backend)
        if end_id is None:
            complete(backend, named or {})
        backend.no_padding()
        backend.no_truncation()
        backend.encode_special_tokens = True
        if getattr(backend.model, "dropout", None):
            backend.model.dropout = None
        return cls(backend=backend, facts=TokenizerFacts.of(backend, named or {}, end_id=end_id))

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Reads a tokenizer from disk.

        Args:
            path: A tokenizer.json, or a folder that holds one, or vocab.json with merges.txt (byte-level
                BPE as in GPT-2), or vocab.txt (WordPiece as in BERT). A tokenizer_config.json beside it is
                heeded: its special tokens, and `do_lower_case`.

        Returns:
            The tokenizer.

        Raises:
            DataError: If it is missing or unreadable, or has no token that can end a document.
        """
        from hdiff.data.tokenizer_files import read_backend

        backend, named = read_backend(Path(path))
        return cls.of(backend, named)

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
        from hdiff.data.tokenizer_training import train_backend

        return cls.of(train_backend(texts, spec))

    @property
    def vocab_size(self) -> int:
        """Number of ids, without the mask: one more than the largest."""
        return self.facts.vocab_size

    @property
    def eos_id(self) -> int:
        """Id of the token that ends a document."""
        return self.facts.end_id

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

        Raises:
            ParserError: If a character is half a surrogate pair.
            DataError: If the tokenizer cannot read the text.
        """
        try:
            encoding = self.backend.encode(text, add_special_tokens=False)
        except Exception as error:  # the library raises bare Exception
            check_text(text)
            raise DataError(
                f"the tokenizer cannot read {text[:40]!r}: {error}; add its unknown token to its vocabulary"
            ) from error
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

    def encode_marked(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """As `encode`, of what a chat template has written: special tokens in it are meant as such."""
        encoding = self._marking.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    @cached_property
    def _marking(self) -> tokenizers.Tokenizer:
        backend = copy.deepcopy(self.backend)
        backend.encode_special_tokens = False
        return backend

    def encode_inside(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Tokens of a text that stands after another one: without the space that may be put before a text."""
        for before in _NEIGHBOURS if self.facts.adds_prefix_space else ():
            ids, offsets = self.encode(before + text)
            count = sum(start < len(before) for start, _ in offsets)
            is_cut = all(end <= len(before) for _, end in offsets[:count])
            if is_cut and "".join(self.pieces(ids)[count:]) == text:
                return ids[count:], [
                    (start - len(before), end - len(before)) for start, end in offsets[count:]
                ]
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of tokens, special tokens included."""
        if self._has_bytes:  # the library drops a run of bytes as a whole where one of them is wrong
            return "".join(self.pieces(ids))
        return str(self.backend.decode(list(ids), skip_special_tokens=False))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Text of each token, joined the decoded text; a character of several tokens stands at the last."""
        pieces: list[str] = []
        characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
        previous: list[int] = []
        for token_id in ids:
            raw = self.token_bytes(token_id)
            if raw is not None:
                pieces.append(characters.decode(raw))
            else:
                if rest := characters.decode(b"", final=True):
                    pieces[-1] += rest
                pieces.append(self._text_after(previous, token_id))
            if self.backend.id_to_token(token_id) is not None:
                previous = [token_id]
        if rest := characters.decode(b"", final=True):
            pieces[-1] += rest
        return pieces

    def token_bytes(self, token_id: int) -> bytes | None:
        """The bytes that a token is; None for a token of characters or an id without token."""
        token = self.backend.id_to_token(token_id) if self._has_bytes else None
        if token is None:
            return None
        if not self.facts.is_byte_level:
            match = _BYTE_TOKEN.fullmatch(token)
            return bytes([int(match[1], 16)]) if match else None
        bytes_of = bytes_of_characters()
        if all(character in bytes_of for character in token):
            return bytes(bytes_of[character] for character in token)
        return token.encode()  # an added token is stored as plain text

    def name(self, token_id: int) -> str:
        """What to call a token where it stands alone: its text, else its bytes or its number."""
        text = self.pieces([token_id])[0]
        if text and "\N{REPLACEMENT CHARACTER}" not in text:
            return text
        raw = self.token_bytes(token_id)
        return f"<id {token_id}>" if not raw else "".join(f"<0x{byte:02X}>" for byte in raw)

    def save(self, directory: str | Path) -> Path:
        """Writes tokenizer.json into an existing folder and returns the file."""
        path = Path(directory) / FILE_NAME
        path.write_text(self.backend.to_str(pretty=True), encoding="utf-8")
        return path

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_string, (self.backend.to_str(), self.facts.end_id)

    @property
    def _has_bytes(self) -> bool:
        return self.facts.is_byte_level or self.facts.has_byte_fallback

    def _text_after(self, previous: Sequence[int], token_id: int) -> str:
        before = self.backend.decode(list(previous), skip_special_tokens=False)
        return str(self.backend.decode([*previous, token_id], skip_special_tokens=False)[len(before) :])


def _from_string(text: str, end_id: int) -> Tokenizer:
    import tokenizers

    return Tokenizer.of(tokenizers.Tokenizer.from_str(text), end_id=end_id)
