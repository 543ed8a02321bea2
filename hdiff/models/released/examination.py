"""examine: what a folder of weights is, and whether a trunk can start from it; for `hdiff doctor FOLDER`."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hdiff.data.tokenizer import Tokenizer
from hdiff.doctor import Probe
from hdiff.models.pretrained_checkpoint import load_trunk
from hdiff.models.pretrained_trunk import POSITIONS, SHAPE
from hdiff.models.released.folder import CheckpointFolder
from hdiff.models.released.layout import Layout, layout_of
from hdiff.models.released.network import (
    bidirectional,
    check_tensors,
    layout_config,
    transformers_library,
)
from hdiff.models.token_table import mask_token

MOST_TRIED = 1 << 30
"""Parameters up to which the weights themselves are loaded and tried; of others only the headers are read."""


def examine(path: Path) -> list[Probe]:
    """Says what a checkpoint is, a line for each thing a recipe depends on, and that it fits."""
    return list(_examine(CheckpointFolder.open(path)))


def _examine(folder: CheckpointFolder) -> Iterator[Probe]:
    layout = layout_of(folder.config)
    config = _config(folder, layout)
    shape = {name: getattr(config, theirs, None) for name, theirs in SHAPE.items()}
    names = {"width": "width", "depth": "layers", "num_heads": "heads"}
    size = ", ".join(f"{value} {names[name]}" for name, value in shape.items())
    kind = f"{config.model_type} of transformers"
    yield Probe("checkpoint", "ok", kind if layout is None else f"{layout.name}, computed by {kind}")
    yield Probe("network", "ok", size)
    tensors = folder.tensors
    count = sum(math.prod(tensor.shape) for tensor in tensors.values())
    types = "/".join(sorted({tensor.dtype for tensor in tensors.values()}))
    if layout is not None:
        check_tensors(layout, config, {name: tensor.shape for name, tensor in tensors.items()}, folder)
    complete = "" if layout is None else ", exactly those of its network"
    yield Probe("weights", "ok", f"{len(tensors)} tensors, {count:,} parameters, stored as {types}{complete}")
    yield from _tokens(folder, config)
    shifted = layout is not None and layout.shifted
    yield Probe("output", "ok", f"at a position about {'the next token' if shifted else 'the token there'}")
    if (positions := getattr(config, POSITIONS, None)) is not None:
        yield Probe("positions", "ok", f"{positions:,}, the longest row")
    yield _trial(folder, count, shape)


def _config(folder: CheckpointFolder, layout: Layout | None) -> Any:
    if layout is not None:
        return layout_config(layout)
    transformers = transformers_library()
    known = transformers.AutoConfig
    try:
        config = known.from_pretrained(folder.path, trust_remote_code=False, local_files_only=True)
    except Exception:  # said in full by the loader, of which this is the first step
        load_trunk(str(folder.path))
        raise
    return bidirectional(config, 0.0)


def _tokens(folder: CheckpointFolder, config: Any) -> Iterator[Probe]:
    tokenizer = Tokenizer.load(folder.path)
    yield Probe("tokenizer", "ok", f"{tokenizer.vocab_size:,} tokens")
    config.mask_token_id = folder.config.get("mask_token_id", getattr(config, "mask_token_id", None))
    for name, token_id, otherwise in (
        ("mask", mask_token(config, tokenizer), "none; the hidden token starts as the mean of all"),
        ("end of text", tokenizer.eos_id, ""),
        ("padding", folder.config.get("pad_token_id"), "none; rows are padded outside of the attention"),
    ):
        token = None if not isinstance(token_id, int) else tokenizer.backend.id_to_token(token_id)
        yield Probe(name, "ok", otherwise if token_id is None else f"{token_id} ({token})")


def _trial(folder: CheckpointFolder, count: int, shape: dict[str, Any]) -> Probe:
    recipe = " ".join(f"model.{name}={value}" for name, value in shape.items())
    use = f"start from it with: model.pretrained={shlex.quote(str(folder.path))} {recipe}"
    if count > MOST_TRIED:
        return Probe("trunk", "n/a", f"not tried: {count * 4 / 1e9:.0f} GB would be loaded", use)
    trunk, table = load_trunk(str(folder.path))
    origin = trunk.origin
    tables = (
        "tables of its own for input and output" if origin["untied"] else "one table for input and output"
    )
    return Probe(
        "trunk", "ok", f"every position sees all others; {len(table.rows) - 1:,} tokens, {tables}", use
    )
