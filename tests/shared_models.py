"""Small runs of every family of corruption, and changes of a shared folder."""

from __future__ import annotations

import json
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
TINY = [
    "model={width: 16, depth: 1, num_heads: 2}",
    "train={steps: 4, batch_size: 4, warmup_steps: 2}",
    "data.sequence_length=32",
]
FAMILIES = {
    "spans": [
        "corruption={kind: span_masking, segmentation: mixture, level: phrase, lengths: corpus}",
        "head={kind: autoregressive, num_heads: 2}",
        "planner={}",
    ],
    "cascade": ["corruption={kind: tree_cascade, levels: [word], types: [label], num_labels: 32}"],
    "speeds": ["corruption={kind: rate_matched, num_buckets: 3}", "data.salience_buckets=3"],
    "learned": ["corruption={kind: learned_rates}"],
    "blocks": ["corruption={kind: block_masking, block_size: 8}"],
    "classes": ["corruption={kind: soft_masking, num_classes: 8}"],
    "replaced": ["corruption={kind: uniform_state}"],
    "gaussian": ["corruption={kind: gaussian, embedding_width: 8}"],
    "judge": ["corruption={kind: token_masking}", "model.kind=autoregressive"],
}


def change_config(folder: Path, **changes: object) -> None:
    """Writes other values into config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
