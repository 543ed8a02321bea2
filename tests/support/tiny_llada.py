"""A tiny LLaDA checkpoint and trainings on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import released_checkpoints as released
import torch

from hdiff.data.tokenizer import Tokenizer
from hdiff.recipe import resolve

SPANS = "{kind: span_masking, segmentation: random, lengths: {2: 0.5, 3: 0.5}}"


def llada(folder: Path, data: Path, **changes: Any) -> dict[str, torch.Tensor]:
    """A tiny LLaDA with the tokenizer of a prepared data set; its tensors."""
    tokenizer = Tokenizer.load(data)
    size = tokenizer.vocab_size + 3
    config = {
        **released.LLADA,
        "vocab_size": size,
        "embedding_size": size,
        "mask_token_id": size - 1,
        **changes,
    }
    tensors = released.llada_tensors(config, size)
    released.write(folder, config, tensors)
    tokenizer.save(folder)
    return tensors


def recipe(folder: Path, data: Path, output: Path, **train: Any) -> Any:
    return resolve(
        {
            "name": "adapted",
            "output": str(output),
            "data": {"path": str(data), "sequence_length": 16},
            "model": {"width": 16, "depth": 2, "num_heads": 4, "pretrained": str(folder)},
            "head": {"kind": "autoregressive", "num_heads": 2, "residual": True},
            "corruption": {"kind": "span_masking", "segmentation": "random", "lengths": {2: 0.5, 3: 0.5}},
            "train": {"steps": 4, "batch_size": 2, "warmup_steps": 1, "checkpoint_every": 2, **train},
        },
        where="test",
    )


def command(folder: Path, data: Path, output: Path, *changes: str) -> list[str]:
    return [
        "train",
        "recipes/quickstart.yaml",
        f"model={{width: 16, depth: 2, num_heads: 4, pretrained: {folder}}}",
        f"data={{path: {data}, sequence_length: 16}}",
        "head={kind: autoregressive, num_heads: 2, residual: true}",
        f"corruption={SPANS}",
        "planner=null",
        "train={steps: 4, batch_size: 2, warmup_steps: 1, checkpoint_every: 2, trackers: []}",
        "train.ema_decay=0.9",
        *changes,
        f"output={output}",
        "-q",
    ]
