"""load_trunk: a checkpoint of others becomes a trunk and the rows of a token table.

Dimensions: L tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import CheckpointError
from hdiff.models.pretrained_trunk import POSITIONS, SHAPE, PretrainedTrunk, check_trunk
from hdiff.models.released.folder import CheckpointFolder
from hdiff.models.released.layout import layout_of
from hdiff.models.released.network import (
    bidirectional,
    first_words,
    load_network,
    network_class,
    transformers_library,
)
from hdiff.models.token_table import TokenTable, around_output

_TRANSFORMS = ("cls.predictions.transform", "head")
"""Where BERT and ModernBERT keep the layer between the encoder and the token table."""

_LAYERS_OF_DISTILBERT = ("vocab_transform", "activation", "vocab_layer_norm")

OWN = "hdiff"
"""Key of a trunk's configuration under which stands what transformers does not know of it."""


def load_trunk(
    path: str, *, dropout: float = 0.0, shifted: bool | None = None
) -> tuple[PretrainedTrunk, TokenTable]:
    """Reads a checkpoint of transformers, LLaDA, Dream or a converted decoder.

    Args:
        path: Folder with config.json, safetensors and the tokenizer.
        dropout: In place of every dropout of the checkpoint.
        shifted: Whether the output at a position is about the next one; None: as the checkpoint's layout
            says.

    Returns:
        The trunk, and rows for the table of a head.

    Raises:
        CheckpointError: If the folder cannot be read, or its network is no trunk.
    """
    folder = CheckpointFolder.open(path)
    whole = load_network(folder, dropout=dropout)
    layout = layout_of(folder.config)
    tokenizer = Tokenizer.load(path)
    own: dict[str, Any] = {
        "shifted": bool(layout and layout.shifted) if shifted is None else shifted,
        "layout": None if layout is None else layout.name,
        "sha256": folder.digest,
    }
    try:
        named = folder.config.get("mask_token_id")
        if named is not None:  # a layout's network need not know of it
            whole.config.mask_token_id = named
        table = TokenTable.of(whole, tokenizer, path)
        own |= {
            "untied": table.output is not None,
            "biased": table.bias is not None,
            "mask_id": table.mask_id,
        }
        trunk = _assemble(whole, whole.config, own)
        check_trunk(trunk, table.rows.shape[1])
    except CheckpointError:
        raise
    except Exception as error:  # architectures that are no trunk fail in their own ways
        raise CheckpointError(
            f"{path} ({whole.config.model_type}) cannot be a trunk: {first_words(error)}; give an encoder "
            "(BERT, RoBERTa, DeBERTa, ModernBERT), the encoder of T5 or BART, or a decoder whose attention "
            "transformers can open (Llama, Qwen, GPT-2)"
        ) from error
    return trunk, table


def build_trunk(config_values: dict[str, Any], *, dropout: float = 0.0) -> PretrainedTrunk:
    """The network of a configuration, with weights that are about to be overwritten."""
    transformers = transformers_library()
    values = {name: value for name, value in config_values.items() if name not in ("auto_map", OWN)}
    try:
        config = bidirectional(transformers.AutoConfig.for_model(**values), dropout)
        whole = network_class(config).from_config(config, trust_remote_code=False)  # no remote code
        return _assemble(whole, config, config_values.get(OWN) or {})
    except Exception as error:
        raise CheckpointError(
            f"transformers cannot build the trunk ({first_words(error)}); install the version the model was "
            "made with"
        ) from error


def _assemble(whole: Any, config: Any, own: dict[str, Any]) -> PretrainedTrunk:
    """Network and transform of a model; its token tables, which heads own, are dropped."""
    encoder = whole.get_encoder() if config.is_encoder_decoder else whole.base_model
    transform = None
    if whole is not encoder and not config.is_encoder_decoder:
        transform = output_transform(whole)
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
    return PretrainedTrunk(encoder, transform, {**values, OWN: own})


def output_transform(whole: Any) -> nn.Module | None:
    """The layers between a network and its output table."""
    known = next((inner for name in _TRANSFORMS if (inner := _inner(whole, name)) is not None), None)
    if known is not None:
        return known
    parts = [part for name in _LAYERS_OF_DISTILBERT if (part := _inner(whole, name)) is not None]
    if len(parts) == len(_LAYERS_OF_DISTILBERT):
        return nn.Sequential(*parts)
    around = around_output(whole)  # as in RoBERTa and ESM
    if around is None or not (hasattr(around, "dense") and hasattr(around, "layer_norm")):
        return None
    return nn.Sequential(around.dense, nn.GELU(), around.layer_norm)


def _inner(module: Any, dotted: str) -> nn.Module | None:
    for name in dotted.split("."):
        module = getattr(module, name, None)
    return module if isinstance(module, nn.Module) else None
