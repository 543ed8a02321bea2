"""A small training and its weights."""

from __future__ import annotations

from pathlib import Path

import torch

from hdiff.config import Recipe
from hdiff.recipe import load_recipe
from hdiff.runs.checkpoint import load_checkpoint

RECIPE = """
name: small
output: {output}
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6}}
model: {{width: 16, depth: 1, num_heads: 2, dropout: 0.1}}
head: {{kind: autoregressive, num_heads: 2}}
corruption: {{kind: span_masking, segmentation: mixture, level: phrase, lengths: corpus}}
train: {{steps: 8, batch_size: 4, warmup_steps: 2, ema_decay: 0.9, log_every: 1, checkpoint_every: 4}}
evaluation: {{steps: [1, 4], blocks: 8, draws: 1, samples: 4}}
"""


def recipe_of(file: Path, *overrides: str) -> Recipe:
    return load_recipe(file, overrides)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(run / "checkpoints").tensors["model"]
