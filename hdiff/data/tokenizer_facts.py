"""TokenizerFacts: what a tokenizer is, asked of it once when it is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hdiff.errors import DataError

if TYPE_CHECKING:
    import tokenizers

END_TOKENS: tuple[str, ...] = (
    "<eos>",
    "<|endoftext|>",
    "</s>",
    "[SEP]",
    "<|end_of_text|>",
    "[EOS]",
    "<|eos|>",
    "<end_of_text>",
    "<｜end▁of▁sentence｜>",
    "<|endofsentence|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<|end|>",
)
"""Tokens that end a document where a tokenizer does not say itself, in order of preference."""

_BEGIN_TOKENS = ("<bos>", "<s>", "[CLS]", "<|begin_of_text|>", "<|startoftext|>", "[BOS]")
_MASK_TOKENS = ("[MASK]", "<mask>", "<|mask|>", "<|mdm_mask|>", "<|MASK|>")
_LARGEST_ID = 99_999_999
_SAMPLES = (("lower-cases", "A", "a"), ("strips accents", "é", "e"), ("rewrites (NFKC)", "ﬁ", "fi"))


@dataclass(frozen=True)
class TokenizerFacts:
    """What a tokenizer is.

    Attributes:
        vocab_size: One more than the largest id; ids may be missing below it.
        unused_ids: Ids below it that no token has.
        end_id: Id of the token that ends a document.
        begin_id: Id of the special token that begins one, or None.
        unknown_id: Id of the token that stands for what the vocabulary lacks, or None.
        mask_id: Id of a mask of its own, or None. Models of hdiff have another one, `vocab_size`.
        is_byte_level: Whether its tokens are written in the byte alphabet of GPT-2.
        has_byte_fallback: Whether tokens like <0xF0> are single bytes.
        keeps_spaces: Whether white space is part of its tokens.
        adds_prefix_space: Whether it puts a space before a text.
        changes: What its normaliser does to letters, such as "lower-cases".
        special_ids: Ids of its special tokens.
    """

    vocab_size: int
    unused_ids: tuple[int, ...]
    end_id: int
    begin_id: int | None
    unknown_id: int | None
    mask_id: int | None
    is_byte_level: bool
    has_byte_fallback: bool
    keeps_spaces: bool
    adds_prefix_space: bool
    changes: tuple[str, ...]
    special_ids: frozenset[int]

    @classmethod
    def of(
        cls, backend: tokenizers.Tokenizer, named: Mapping[str, str], *, end_id: int | None = None
    ) -> TokenizerFacts:
        """Asks a tokenizer; `named` are special tokens by role, `end_id` the end of a document if known."""
        parts = json.loads(backend.to_str())
        used = set(backend.get_vocab(with_added_tokens=True).values())
        vocab_size = max(used, default=-1) + 1
        if end_id is None:
            end_id = backend.token_to_id(end_token(backend, parts, named))
            assert end_id is not None, "end_token has looked it up"
        decoders, splitting = list(types_of(parts["decoder"])), list(types_of(parts["pre_tokenizer"]))
        mask = (named.get("mask_token"), *_MASK_TOKENS)
        begin = (named.get("bos_token"), *_affixes(parts)[:1], named.get("cls_token"), *_BEGIN_TOKENS)
        return cls(
            vocab_size=vocab_size,
            unused_ids=tuple(sorted(set(range(vocab_size)) - used)) if len(used) < vocab_size else (),
            end_id=end_id,
            begin_id=_first_id(backend, begin),
            unknown_id=_unknown_id(backend, parts["model"]),
            mask_id=_first_id(backend, mask),
            is_byte_level="ByteLevel" in (decoders or splitting),
            has_byte_fallback="ByteFallback" in decoders or bool(parts["model"].get("byte_fallback")),
            keeps_spaces=len("".join(_split(backend, "a b"))) > len("ab"),
            adds_prefix_space=len("".join(_split(backend, "a"))) > len("a"),
            changes=tuple(name for name, before, after in _SAMPLES if _normalised(backend, before) == after),
            special_ids=frozenset(token["id"] for token in parts["added_tokens"] if token["special"]),
        )

    @property
    def never_text(self) -> tuple[int, ...]:
        """Ids that no text has: ends, beginnings, masks, and ids without a token."""
        special = {self.begin_id, self.mask_id} & self.special_ids
        return (self.end_id, *sorted(id_ for id_ in special if id_ is not None), *self.unused_ids)


def find_end(backend: tokenizers.Tokenizer, parts: Mapping[str, Any], named: Mapping[str, str]) -> str | None:
    """The token that ends a document, named in a configuration or put behind a text; None without one."""
    wanted = (named.get("eos_token"), *_affixes(parts)[1:], named.get("sep_token"), *END_TOKENS)
    return next((name for name in wanted if name and backend.token_to_id(name) is not None), None)


def end_token(backend: tokenizers.Tokenizer, parts: Mapping[str, Any], named: Mapping[str, str]) -> str:
    """The token that ends a document."""
    token = find_end(backend, parts, named)
    if token is not None:
        return token
    others = {_unknown_id(backend, parts["model"]), _first_id(backend, _MASK_TOKENS + _BEGIN_TOKENS)}
    special = [
        token["content"] for token in parts["added_tokens"] if token["special"] and token["id"] not in others
    ]
    if special:
        raise DataError(
            f"the tokenizer does not say which token ends a text; name one of {', '.join(special[:8])} in "
            f'tokenizer_config.json beside it, as in {{"eos_token": "{special[-1]}"}}'
        )
    raise DataError(
        f"the tokenizer has no token that ends a text, such as {', '.join(END_TOKENS[:4])}; add one of them "
        f"to its vocabulary"
    )


def check_ids(backend: tokenizers.Tokenizer) -> None:
    """Refuses ids that cannot be used."""
    first: dict[int, str] = {}
    for token, token_id in sorted(backend.get_vocab(with_added_tokens=True).items()):
        if token_id > _LARGEST_ID:
            raise DataError(
                f"the token '{token}' has the id {token_id:,}, at most {_LARGEST_ID:,} is possible; number "
                f"the tokens of the tokenizer from 0 on"
            )
        if token_id in first:
            raise DataError(
                f"the tokens '{first[token_id]}' and '{token}' both have the id {token_id}; give every token "
                f"of the tokenizer an id of its own"
            )
        first[token_id] = token


def types_of(part: Any) -> Iterator[str]:
    """Types of a part of tokenizer.json, those inside of a sequence too."""
    if isinstance(part, dict):
        if part.get("type") not in (None, "Sequence"):
            yield part["type"]
        for value in part.values():
            yield from types_of(value)
    elif isinstance(part, list):
        for value in part:
            yield from types_of(value)


def _affixes(parts: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The special tokens that the post-processor puts directly before and after a text."""
    post = parts.get("post_processor") or {}
    before = after = None
    for one in post.get("processors", [post]):
        if one.get("type") in ("BertProcessing", "RobertaProcessing"):
            before, after = one["cls"][0], one["sep"][0]
        elif one.get("type") == "TemplateProcessing":
            names = [piece.get("SpecialToken", {}).get("id") for piece in one["single"]]
            text = names.index(None) if None in names else 0
            before = next(reversed(names[:text]), None)
            after = next(iter(names[text + 1 :]), None)
    return before, after


def _first_id(backend: tokenizers.Tokenizer, names: tuple[str | None, ...]) -> int | None:
    ids = (backend.token_to_id(name) for name in names if name)
    return next((token_id for token_id in ids if token_id is not None), None)


def _unknown_id(backend: tokenizers.Tokenizer, model: Mapping[str, Any]) -> int | None:
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    return backend.token_to_id(model["unk_token"]) if model.get("unk_token") else None


def _normalised(backend: tokenizers.Tokenizer, text: str) -> str:
    return str(backend.normalizer.normalize_str(text)) if backend.normalizer is not None else text


def _split(backend: tokenizers.Tokenizer, text: str) -> list[str]:
    """The text as the model of the tokenizer gets it."""
    text = _normalised(backend, text)
    if backend.pre_tokenizer is None:
        return [text]
    return [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
