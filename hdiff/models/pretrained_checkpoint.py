"""load_trunk: a checkpoint of transformers becomes a trunk and the rows of a token table.

transformers is imported by the functions that load; remote code stays off and pickles unread.
Dimensions: L tokens, D width, V vocabulary.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hdiff.data.tokenizer import FILE_NAME, Tokenizer
from hdiff.errors import CheckpointError, RecipeError
from hdiff.models.pretrained_trunk import POSITIONS, SHAPE, PretrainedTrunk
from hdiff.plugins import install_command

_TRANSFORMS = ("cls.predictions.transform", "head")
"""Where BERT and ModernBERT keep the layer between the encoder and the token table."""

_PROBE_TOKENS = 6
_ROUNDING = 1e-5


@dataclass(frozen=True)
class TokenTable:
    """What a checkpoint knows of tokens, for the table of a head.

    Attributes:
        rows: Input vectors of the vocabulary and of the hidden token, float (V + 1, D).
        bias: Output bias of the vocabulary, float (V,); None if it has none.
        tokenizer_sha256: Digest of its tokenizer.
    """

    rows: Tensor
    bias: Tensor | None
    tokenizer_sha256: str

    def check_tokenizer(self, path: str, vocab_size: int, data_path: str) -> None:
        """Refuses a tokenizer that is not the data set's: rows would belong to other tokens.

        Args:
            path: Folder of the checkpoint.
            vocab_size: Vocabulary V of the data set.
            data_path: Folder of the data set; where it is not at hand only the sizes are compared.

        Raises:
            RecipeError: If they differ.
        """
        file = Path(data_path) / FILE_NAME
        is_same = not file.is_file() or Tokenizer.load(file).sha256 == self.tokenizer_sha256
        if len(self.rows) - 1 != vocab_size or not is_same:
            raise RecipeError(
                f"the data set {data_path} ({vocab_size:,} tokens) has another tokenizer than the checkpoint "
                f"{path} ({len(self.rows) - 1:,}); prepare it anew:",
                f"hdiff prepare SOURCE --out DATA --tokenizer {shlex.quote(str(path))}",
            )

    def copy_to(self, embedding: nn.Embedding, output_bias: Tensor) -> None:
        """Starts the table of a head from these rows.

        Args:
            embedding: Table of the head, (V + 1, D).
            output_bias: Its bias, (V,).
        """
        with torch.no_grad():
            embedding.weight.copy_(self.rows)
            if self.bias is not None:
                output_bias.copy_(self.bias)


def load_trunk(path: str, *, dropout: float = 0.0) -> tuple[PretrainedTrunk, TokenTable]:
    """Reads a checkpoint of transformers.

    Args:
        path: Folder with config.json, model.safetensors and the tokenizer.
        dropout: In place of every dropout of the checkpoint.

    Returns:
        The trunk, and rows for the table of a head.

    Raises:
        CheckpointError: If the folder cannot be read, or its network is no trunk.
    """
    transformers = _transformers()
    if not (Path(path) / "config.json").is_file():
        raise CheckpointError(
            f"model.pretrained is '{path}', which is no folder with a config.json; download a checkpoint:",
            "hf download NAME --local-dir FOLDER",
        )
    local: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    try:
        config = _prepared(transformers.AutoConfig.from_pretrained(path, **local), dropout)
        whole, loading = _auto_class(transformers, config).from_pretrained(
            path,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **local,
        )
    except Exception as error:  # of a file or a class that is not as transformers expects
        raise CheckpointError(
            f"transformers cannot read {path} without pickles and remote code ({_first_words(error)}); give "
            f"a folder of a model of transformers' own with model.safetensors"
        ) from error
    missing = sorted(name for name in loading["missing_keys"] if "pooler" not in name)
    if missing:
        raise CheckpointError(
            f"{path} lacks {len(missing)} tensors of its network, {missing[0]} first; download it again"
        )
    tokenizer = Tokenizer.load(path)
    try:
        table = _token_table(whole, tokenizer, path)
        trunk = _assemble(whole, config)
        _check_trunk(trunk, table.rows.shape[1])
    except CheckpointError:
        raise
    except Exception as error:  # architectures that are no trunk fail in their own ways
        raise CheckpointError(
            f"{path} ({config.model_type}) cannot be a trunk: {_first_words(error)}; give an encoder (BERT, "
            f"RoBERTa, DeBERTa, ModernBERT), the encoder of T5 or BART, or a decoder whose attention "
            f"transformers can open (Llama, Qwen, GPT-2)"
        ) from error
    return trunk, table


def build_trunk(config_values: dict[str, Any], *, dropout: float = 0.0) -> PretrainedTrunk:
    """The network of a configuration, with weights that are about to be overwritten.

    Args:
        config_values: `PretrainedTrunk.config_values`.
        dropout: In place of every dropout of the configuration.

    Returns:
        The trunk.

    Raises:
        CheckpointError: If transformers does not know the configuration.
    """
    transformers = _transformers()
    values = {name: value for name, value in config_values.items() if name != "auto_map"}  # no remote code
    try:
        config = _prepared(transformers.AutoConfig.for_model(**values), dropout)
        whole = _auto_class(transformers, config).from_config(config, trust_remote_code=False)
        return _assemble(whole, config)
    except Exception as error:
        raise CheckpointError(
            f"transformers cannot build the trunk ({_first_words(error)}); install the version the model was "
            f"made with"
        ) from error


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise CheckpointError(
            "a pretrained trunk needs transformers; run:", install_command("transformers")
        ) from error
    return transformers


def _first_words(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _prepared(config: Any, dropout: float) -> Any:
    """The configuration of a network that sees both ways, with one dropout and no cache."""
    for name, value in config.to_dict().items():
        if "dropout" in name and isinstance(value, int | float) and not isinstance(value, bool):
            setattr(config, name, dropout)
    config.is_causal = False  # read by the masks of transformers
    config.use_cache = False
    return config


def _auto_class(transformers: Any, config: Any) -> Any:
    """Models of masked words come with the layer in front of their token table, others without."""
    names = config.architectures or [""]
    is_masked = any(name.endswith("ForMaskedLM") for name in names)
    return transformers.AutoModelForMaskedLM if is_masked else transformers.AutoModel


def _token_table(whole: Any, tokenizer: Tokenizer, path: str) -> TokenTable:
    rows = whole.get_input_embeddings().weight.detach()
    size = tokenizer.vocab_size
    if size > len(rows):
        raise CheckpointError(
            f"{path} has a tokenizer of {size:,} tokens and a table of {len(rows):,}; download it again"
        )
    mask_id = tokenizer.facts.mask_id
    mask = rows[:size].mean(0) if mask_id is None else rows[mask_id]
    output = whole.get_output_embeddings()
    bias = None if output is None or output.bias is None else output.bias.detach()[:size].clone()
    return TokenTable(torch.cat([rows[:size], mask[None]]), bias, tokenizer.sha256)


def _assemble(whole: Any, config: Any) -> PretrainedTrunk:
    """Network and transform of a model; its token tables, which heads own, are dropped."""
    encoder = whole.get_encoder() if config.is_encoder_decoder else whole.base_model
    transform = None
    if whole is not encoder and not config.is_encoder_decoder:
        transform = next((found for name in _TRANSFORMS if (found := _inner(whole, name)) is not None), None)
    encoder.set_input_embeddings(nn.Identity())
    for module in encoder.modules():
        if getattr(module, "is_causal", False):
            module.is_causal = False  # read by attention where there is no mask
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = nn.Identity()  # makes one vector of a text, which nothing here reads
    values = {name: value for name, value in config.to_dict().items() if name != "_name_or_path"}
    for name in (*SHAPE.values(), POSITIONS):  # GPT-2 calls them n_embd, n_layer ...
        if name not in values and isinstance(value := getattr(config, name, None), int):
            values[name] = value
    return PretrainedTrunk(encoder, transform, values)


def _inner(module: Any, dotted: str) -> nn.Module | None:
    for name in dotted.split("."):
        module = getattr(module, name, None)
    return module if isinstance(module, nn.Module) else None


def _check_trunk(trunk: PretrainedTrunk, width: int) -> None:
    """Tries it: vectors of its own width out, from all positions of a row and from no padding.

    Raises:
        ValueError: If it is no trunk, saying why.
    """
    generator = torch.Generator().manual_seed(0)
    row = torch.randn(1, _PROBE_TOKENS, width, generator=generator)
    changed = row.clone()
    changed[:, -1] *= -1
    token_mask = torch.ones(2, _PROBE_TOKENS, dtype=torch.bool)
    hides_last = token_mask.clone()
    hides_last[:, -1] = False
    trunk.eval()
    with torch.no_grad():
        seen, hidden = (trunk(torch.cat([row, changed]), mask) for mask in (token_mask, hides_last))
    trunk.train()
    if seen.shape != (2, *row.shape[1:]):
        raise ValueError(
            f"vectors of width {width} become {tuple(seen.shape[1:])}, not as many of that width"
        )
    if not bool(seen.isfinite().all()):
        raise ValueError("it returns numbers that are not finite")
    if not _differ(seen[:, 0]):
        raise ValueError("the first position does not see the last one")
    if _differ(hidden[:, :-1]):
        raise ValueError("padding changes what it returns")


def _differ(pair: Tensor) -> bool:
    first, second = pair
    return float((first - second).norm()) > _ROUNDING * float(first.norm())
