"""A small ablation with its base recipe and its judge, as files."""

from __future__ import annotations

from pathlib import Path

BASE = """
name: base
output: runs/base
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6}}
model: {{width: 16, depth: 1, num_heads: 2}}
corruption: {{kind: span_masking, segmentation: random, level: phrase, lengths: corpus}}
train: {{steps: 3, batch_size: 4, warmup_steps: 1, ema_decay: 0.5, log_every: 1, checkpoint_every: 100}}
evaluation: {{steps: [1, 4], blocks: 8, draws: 1, samples: 2}}
"""
JUDGE = BASE.replace("corruption: {{", "# {{").replace("width: 16", "kind: autoregressive, width: 16")
ABLATION = """
name: small
base: base.yaml
output: {output}
seeds: [0, 1]
set: {{train.steps: 8}}
judge: {{recipe: judge.yaml, set: {{model.depth: 2}}}}
baseline: tokens
variants:
  tokens: {{corruption: {{kind: token_masking}}}}
  spans: {{}}
"""


def write(folder: Path, text: str = ABLATION, *, data: object = "data/none") -> Path:
    """An ablation file with its base and its judge."""
    (folder / "base.yaml").write_text(BASE.format(data=data))
    (folder / "judge.yaml").write_text(JUDGE.format(data=data))
    file = folder / "small.yaml"
    file.write_text(text.format(output=folder / "out"))
    return file
