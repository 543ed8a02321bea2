"""write_original: a trained model in the layout of the checkpoint that it started from.

Dimensions: D width, V vocabulary.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from hdiff.errors import CheckpointError
from hdiff.files import disk_room, write_synced
from hdiff.models.denoiser import Denoiser
from hdiff.models.pretrained_checkpoint import output_transform
from hdiff.models.pretrained_trunk import PretrainedTrunk
from hdiff.models.released.folder import CONFIG_FILE, INDEX_FILE, WEIGHTS_FILE, CheckpointFolder
from hdiff.models.released.layout import layout_of
from hdiff.models.released.network import load_network
from hdiff.models.token_table import output_bias

_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def write_original(model: Denoiser, base: CheckpointFolder, folder: Path) -> list[str]:
    """Writes config.json and safetensors as the checkpoint has them, with the weights of the model.

    Args:
        model: A model that started from it, adapters merged, in float32.
        base: The checkpoint: its configuration, names, types of weights and tokenizer are kept.
        folder: An empty or new folder.

    Returns:
        Parts of the model for which the layout has no place.

    Raises:
        CheckpointError: If the folder is not empty, or the layout cannot hold the tables of the model.
    """
    if folder.exists() and any(folder.iterdir()):
        raise CheckpointError(f"{folder} holds other files; give an empty or new folder")
    whole = load_network(base)
    inner = whole.state_dict()  # of all of it: what is filled below is seen here
    trunk: Any = model.trunk
    assert isinstance(trunk, PretrainedTrunk), "the caller has looked"
    _fill_tables(whole, model, trunk, base)
    encoder = whole.get_encoder() if whole.config.is_encoder_decoder else whole.base_model
    _fill(encoder, trunk.encoder, base)
    transform = output_transform(whole)
    if transform is not None and trunk.transform is not None:
        _fill(transform, trunk.transform, base)
    with disk_room(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_synced(folder / WEIGHTS_FILE, save(_stored(whole, inner, base), metadata={"format": "pt"}))
        for file in sorted(base.path.iterdir()):
            if (
                file.is_file()
                and file.suffix in (".json", ".txt", ".jinja", ".model")
                and file.name != INDEX_FILE
            ):
                shutil.copyfile(file, folder / file.name)
        assert (folder / CONFIG_FILE).is_file(), "it was opened"
    return _without_place(model)


def _fill_tables(whole: Any, model: Denoiser, trunk: PretrainedTrunk, base: CheckpointFolder) -> None:
    head, mask_id = model.head, trunk.origin.get("mask_id")
    if mask_id is None:
        raise CheckpointError(
            f"{base.path} has no mask token, so that its layout has no row for the hidden token; export the "
            "model without --original"
        )
    table, output = whole.get_input_embeddings().weight, whole.get_output_embeddings()
    is_tied = output is None or output.weight.data_ptr() == table.data_ptr()
    if head.output_embedding is not None and is_tied:
        raise CheckpointError(
            f"{base.path} has one table for input and output, and the model was trained with two "
            "(train.trains_table); export it without --original"
        )
    size = head.vocab_size
    with torch.no_grad():
        table[:size].copy_(head.embedding.weight[:size])
        table[mask_id].copy_(head.embedding.weight[size])
        if head.output_embedding is not None:
            output.weight[:size].copy_(head.output_embedding)
        if (bias := output_bias(whole)) is not None:
            bias[:size].copy_(head.output_bias)


@torch.no_grad()
def _fill(target: nn.Module, source: nn.Module, base: CheckpointFolder) -> None:
    theirs = dict(target.named_parameters())
    for name, value in source.named_parameters():
        if name not in theirs:
            raise CheckpointError(
                f"{base.path} has no {name}, which the model was trained with; give its checkpoint"
            )
        theirs[name].copy_(value)


def _stored(whole: nn.Module, inner: Mapping[str, Tensor], base: CheckpointFolder) -> dict[str, Tensor]:
    """Tensors by their released names, in their released types; what the network does not hold stays."""
    layout = layout_of(base.config)
    tensors: dict[str, Tensor] = {}
    written = set()
    for name, stored in base.tensors.items():
        ours = name if layout is None else layout.inner_name(name)
        value = inner.get(ours, inner.get(f"{getattr(whole, 'base_model_prefix', '')}.{ours}"))
        if value is None:
            value = base.read([name], dtype=_TYPES[stored.dtype])[name]
        written.add(value.data_ptr())
        tensors[name] = value.detach().to(_TYPES[stored.dtype], copy=True).contiguous()
    for name, value in inner.items():
        if value.data_ptr() not in written and "pooler" not in name:
            raise CheckpointError(
                f"{base.path} has no tensor called {name}, so that its names are older than its network's; "
                "export the model without --original"
            )
    return tensors


def _without_place(model: Denoiser) -> list[str]:
    """Parts that no layout of others has: all but the trunk and the tables of a product head."""
    tables = {"embedding.weight", "output_bias", "output_embedding"}
    parts = ["the joint head's layers"] if set(dict(model.head.named_parameters())) - tables else []
    named = {
        "the planner": model.planner,
        "learned speeds": model.speed,
        "flags of units": model.flag_embedding,
    }
    return parts + [name for name, module in named.items() if module is not None]
