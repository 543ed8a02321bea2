"""Tokenizers from files in the usual formats."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdiff.data.tokenizer_facts import end_token, find_end, types_of
from hdiff.errors import DataError
from hdiff.shipped import model_folder

if TYPE_CHECKING:
    import tokenizers
    from tokenizers import decoders

_GPT2_EOS = "<|endoftext|>"
_BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ROLES = ("eos_token", "sep_token", "bos_token", "cls_token", "mask_token")
_QWEN_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
"""How Qwen2 and Dream split text, otherwise than GPT-2. Source: tokenizer.json of Qwen2."""
_NUM_BYTES = 256


def read_backend(path: Path) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    """Reads a tokenizer, see `Tokenizer.load`, and which special tokens the configuration beside it names."""
    path = model_folder(path)
    folder = path if path.is_dir() else path.parent
    name = path.name if path.is_file() else None
    if not path.exists():
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(path)) and ".json" not in path.name:
            raise DataError(
                f"no tokenizer {path} here; give a file, a folder, train:N or words; one of the hub is "
                f"downloaded before, into a folder to give:",
                f"hf download {path} --include '*token*' --include 'vocab*' --local-dir FOLDER",
            )
        raise DataError(f"no tokenizer {path}; give a file, a folder, train:N or words")
    config = _configuration(folder)
    backend = None
    try:
        if name is None and (folder / "tokenizer.json").exists():
            backend = _from_json(folder / "tokenizer.json", config)
        elif name in (None, "vocab.json", "merges.txt") and (folder / "vocab.json").exists():
            backend = _byte_level_bpe(folder / "vocab.json", folder / "merges.txt", config)
        elif name in (None, "vocab.txt") and (folder / "vocab.txt").exists():
            backend = _word_piece(folder / "vocab.txt", config)
        elif name is not None and path.suffix != ".model":
            backend = _from_json(path, config)
    except DataError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise DataError(f"cannot read the tokenizer {path}: {error}; export it again") from error
    if backend is None:
        raise _no_tokenizer(path, folder)
    named = {role: token for role in _ROLES if (token := _content(config.get(role)))}
    return backend, _completed(named, folder, backend)


def _no_tokenizer(path: Path, folder: Path) -> DataError:
    models = [path] if path.suffix == ".model" else sorted(folder.glob("*.model"))
    if not models:
        return DataError(
            f"{path} holds no tokenizer; expected tokenizer.json, or vocab.json with merges.txt, or vocab.txt"
        )
    if (folder / "config.json").exists():
        code = (
            f"from transformers import AutoTokenizer as T; T.from_pretrained('{folder}')"
            f".save_pretrained('{folder}')"
        )
    else:
        code = (
            "from types import SimpleNamespace as S; from transformers.convert_slow_tokenizer import "
            f"SpmConverter as C; C(S(vocab_file='{models[0]}')).converted().save('{folder}/tokenizer.json')"
        )
    return DataError(
        f"{models[0]} is a model of sentencepiece, which is not read as it is; write tokenizer.json from it:",
        f'python -c "{code}"',
    )


def _configuration(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json, over special_tokens_map.json and added_tokens.json where it lacks a key."""
    configuration: dict[str, Any] = {}
    for name in ("added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"):
        file = folder / name
        if not file.is_file():
            continue
        try:
            values = json.loads(file.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read {file}: {error}; put it right or remove it") from error
        if not isinstance(values, dict):
            raise DataError(
                f"{file} holds a {type(values).__name__}, not an object of keys and values; remove it"
            )
        configuration.update({"added_tokens": values} if name == "added_tokens.json" else values)
    return configuration


def _completed(named: dict[str, str], folder: Path, backend: tokenizers.Tokenizer) -> dict[str, str]:
    """Special tokens by role, with those that only the config.json of a model beside the tokenizer names."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return named  # a tokenizer alone, or a file that the model's reader refuses
    ends = find_end(backend, json.loads(backend.to_str()), named) is not None
    for role in ("mask_token", *(() if ends else ("eos_token",))) if isinstance(config, dict) else ():
        ids = config.get(f"{role}_id")
        token_id = ids[0] if isinstance(ids, list) and ids else ids
        if isinstance(token_id, int) and (token := backend.id_to_token(token_id)) is not None:
            named.setdefault(role, token)
    return named


def _content(token: Any) -> str | None:
    """A special token as configurations write it: its text, or an object with `content`."""
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None


def _added_tokens(config: Mapping[str, Any]) -> list[str]:
    """Tokens beyond the vocabulary, in the order of their ids."""
    plain, decoder = config.get("added_tokens") or {}, config.get("added_tokens_decoder") or {}
    by_id = {int(number): _content(token) for number, token in decoder.items()}
    by_id.update({int(number): token for token, number in plain.items()})
    return [token for _, token in sorted(by_id.items()) if token]


def complete(backend: tokenizers.Tokenizer, named: Mapping[str, str]) -> None:
    """Puts into a tokenizer what its file leaves out: a decoder, and the end of text that is named beside it.

    Args:
        backend: The tokenizer, which is changed.
        named: Special tokens by role.

    Raises:
        DataError: If no token can end a document.
    """
    from tokenizers import processors

    parts = json.loads(backend.to_str())
    decoder = _fitting_decoder(parts) if backend.decoder is None else None
    if decoder is not None:
        backend.decoder = decoder
    end = end_token(backend, parts, named)
    if end == find_end(backend, parts, {}):
        return
    # A post-processor says what stands behind a text: so tokenizer.json alone is enough from now on.
    single: list[Any] = ["$A", end]
    behind = processors.TemplateProcessing(single=single, special_tokens=[(end, backend.token_to_id(end))])
    trims = "ByteLevel" in types_of(parts["post_processor"])
    backend.post_processor = processors.Sequence([processors.ByteLevel(), behind]) if trims else behind


def _fitting_decoder(parts: Mapping[str, Any]) -> decoders.Decoder | None:
    """The decoder that undoes how a tokenizer splits a text; None joins tokens by spaces."""
    from tokenizers import decoders

    model, splitting = parts["model"], list(types_of(parts["pre_tokenizer"]))
    if "ByteLevel" in splitting:
        return decoders.ByteLevel()
    if "Metaspace" in splitting:
        return decoders.Metaspace()
    if model["type"] == "WordPiece":
        return decoders.WordPiece(prefix=model["continuing_subword_prefix"], cleanup=False)
    if model.get("end_of_word_suffix"):
        return decoders.BPEDecoder(suffix=model["end_of_word_suffix"])
    return decoders.Fuse() if not splitting and model["type"] != "WordLevel" else None


def _from_json(path: Path, config: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """tokenizer.json, with case and accents as tokenizer_config.json says, like transformers."""
    from tokenizers import Tokenizer, normalizers

    backend = Tokenizer.from_file(str(path))
    parts = json.loads(path.read_text(encoding="utf-8"))
    added = [(token["content"], token["id"]) for token in parts.get("added_tokens") or ()]
    moved = {token: token_id for token, token_id in added if backend.token_to_id(token) != token_id}
    if moved and isinstance(parts["model"]["vocab"], dict):
        # The library numbers added tokens by their count, which may be another token's where ids are missing.
        parts["model"]["vocab"].update(moved)
        backend = Tokenizer.from_str(json.dumps(parts))
    if isinstance(backend.normalizer, normalizers.BertNormalizer):
        if isinstance(config.get("do_lower_case"), bool):
            backend.normalizer.lowercase = config["do_lower_case"]
        if isinstance(config.get("strip_accents"), bool):
            backend.normalizer.strip_accents = config["strip_accents"]
    return backend


def _byte_level_bpe(vocabulary: Path, merges: Path, config: Mapping[str, Any]) -> tokenizers.Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    backend = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
    missing = [
        letter for letter in pre_tokenizers.ByteLevel.alphabet() if backend.token_to_id(letter) is None
    ]
    if missing:
        raise DataError(
            f"{vocabulary} lacks {len(missing)} of the {_NUM_BYTES} bytes and is no byte-level BPE as in "
            f"GPT-2, so that text would get lost; give a tokenizer.json"
        )
    prefix = config.get("add_prefix_space") is True
    is_qwen = str(config.get("tokenizer_class", "")).startswith(("Qwen2", "Dream"))
    splitting: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=not is_qwen)]
    if is_qwen:
        splitting.insert(0, pre_tokenizers.Split(Regex(_QWEN_PIECES), behavior="isolated"))
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(splitting) if is_qwen else splitting[0]
    backend.decoder = decoders.ByteLevel()
    special = {_GPT2_EOS, *(_content(config.get(role)) for role in _ROLES)}
    backend.add_special_tokens(
        [token for token in sorted(filter(None, special)) if backend.token_to_id(token) is not None]
    )
    backend.add_special_tokens(_added_tokens(config))
    return backend


def _word_piece(vocabulary: Path, config: Mapping[str, Any]) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    unknown = _content(config.get("unk_token")) or "[UNK]"
    backend = Tokenizer(models.WordPiece.from_file(str(vocabulary), unk_token=unknown))
    special = {*_BERT_SPECIALS, *(_content(config.get(role)) for role in _ROLES)}
    lower_cases = config.get("do_lower_case")
    if not isinstance(lower_cases, bool):  # a vocabulary of lower-cased text has no capitals
        lower_cases = all(
            token == token.lower()
            for token in backend.get_vocab()
            if token not in special and not token.startswith("[")
        )
    accents = config.get("strip_accents")
    backend.normalizer = normalizers.BertNormalizer(
        lowercase=lower_cases,
        strip_accents=accents if isinstance(accents, bool) else None,
        handle_chinese_chars=config.get("tokenize_chinese_chars") is not False,
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=False)
    present = [token for token in sorted(filter(None, special)) if backend.token_to_id(token) is not None]
    backend.add_special_tokens(present)
    backend.add_special_tokens(_added_tokens(config))
    return backend
