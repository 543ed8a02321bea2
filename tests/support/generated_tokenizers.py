"""Tokenizers of every model of the library `tokenizers`, with normalisers and decoders drawn at random."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from hdiff.data.tokenizer import Tokenizer

LETTERS = "abcdeé ()[].,-'\n"
ALPHABET = "abcdeAé ()[].,-'\n\u200b😀\u0301ﬁ漢"
WORDS = [
    "the",
    "list",
    "is",
    "returned",
    "dog",
    "barked",
    "a",
    "b",
    "cab",
    "dé",
    ".",
    ",",
    "(",
    ")",
    "-",
    "'",
    "A",
]
NORMALIZERS = (
    None,
    normalizers.NFC,
    normalizers.NFKC,
    normalizers.Lowercase,
    normalizers.BertNormalizer,
    lambda: normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
)
KINDS = ("words", "pieces", "bytes", "metaspace", "fallback", "suffix", "unigram", "characters")


@st.composite
def generated_tokenizers(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS) -> Tokenizer:
    """A tokenizer: its model, how it splits and joins, and holes in the numbers of its tokens."""
    kind = draw(st.sampled_from(kinds))
    make_normalizer = draw(st.sampled_from(NORMALIZERS))
    backend = Backend(_model(draw, kind))
    if make_normalizer is not None and kind != "fallback":
        backend.normalizer = make_normalizer()
    prefix = draw(st.booleans())
    if kind == "words":
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    elif kind == "pieces":
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece(cleanup=draw(st.booleans()))
    elif kind == "bytes":
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        backend.decoder = decoders.ByteLevel()
        if draw(st.booleans()):
            backend.post_processor = processors.ByteLevel(trim_offsets=True)
    elif kind in ("metaspace", "unigram"):
        scheme = draw(st.sampled_from(["always", "first", "never"]))
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
        backend.decoder = decoders.Metaspace(prepend_scheme=scheme)
    elif kind == "fallback":
        steps = [normalizers.Prepend("▁")] if prefix else []
        backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
        strip = [decoders.Strip(" ", 1, 0)] if prefix else []
        backend.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
        )
    elif kind == "suffix":
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        backend.decoder = decoders.BPEDecoder(suffix="</w>")
    backend.add_special_tokens(["<s>", "</s>", "<mask>"][: draw(st.integers(0, 3))])
    if draw(st.booleans()):
        backend.enable_truncation(3)
        backend.enable_padding(length=7)
    return Tokenizer.of(backend)


def _model(draw: st.DrawFn, kind: str) -> Any:
    unknown = (
        draw(st.sampled_from(["<unk>", None]))
        if kind in ("bytes", "metaspace", "suffix", "characters")
        else "<unk>"
    )
    tokens = ["<unk>", "</s>", "<s>", "<mask>"]
    letters = [*dict.fromkeys(LETTERS)]
    if kind == "words":
        tokens += draw(st.lists(st.sampled_from(WORDS), unique=True, min_size=1))
        return models.WordLevel(_numbered(draw, tokens), unk_token="<unk>")
    if kind == "pieces":
        tokens += [*WORDS, *letters[:6], *(f"##{letter}" for letter in letters[:6])]
        return models.WordPiece(_numbered(draw, tokens), unk_token="<unk>")
    if kind == "unigram":
        pieces = [(token, 0.0) for token in tokens]
        pieces += [(text, -2.0 - len(text)) for text in (*letters[:6], *letters[7:], "▁", "▁the", "▁dog")]
        return models.Unigram(pieces, 0, False)
    merges: list[tuple[str, str]] = []
    if kind == "bytes":
        tokens += sorted(pre_tokenizers.ByteLevel.alphabet())
        merges = [("Ġ", "a"), ("a", "b")]
    elif kind == "suffix":
        tokens += [*letters, *(f"{letter}</w>" for letter in letters)]
        return models.BPE(_numbered(draw, tokens), [], unk_token=unknown, end_of_word_suffix="</w>")
    else:
        tokens += [letter for letter in letters if letter != " " or kind == "characters"]
        if kind != "characters":
            tokens.append("▁")
            merges = [("▁", "a"), ("a", "b")]
        if kind == "fallback":
            tokens += [f"<0x{byte:02X}>" for byte in range(256)]
    tokens += ["".join(pair) for pair in merges]
    return models.BPE(
        _numbered(draw, tokens),
        merges,
        unk_token=unknown,
        byte_fallback=kind == "fallback",
        fuse_unk=draw(st.booleans()),
    )


def _numbered(draw: st.DrawFn, tokens: list[str]) -> dict[str, int]:
    """Numbers of tokens, with holes now and then."""
    step = draw(st.sampled_from([1, 1, 2, 3]))
    return {token: step * place for place, token in enumerate(dict.fromkeys(tokens))}
