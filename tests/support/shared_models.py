"""Small runs of every family of corruption, and changes of a shared folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from hdiff.data.tokenizer import Tokenizer
from hdiff.factory import build_corruption, build_model
from hdiff.sharing import ModelDescription, PretrainedModel

CHECKOUT = Path(__file__).resolve().parents[2]
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


def save_untrained(folder: Path, *, always: str | None = None) -> Path:
    """Writes a folder of `hdiff export` with an untrained model of masked spans.

    Args:
        folder: The folder.
        always: Writes nothing but the first token of this text.

    Returns:
        The folder.
    """
    tokenizer = Tokenizer.train(["The list is sorted. The old list is returned. " * 20], "train:300")
    description = ModelDescription(
        name="untrained",
        vocab_size=tokenizer.vocab_size,
        sequence_length=32,
        model={"width": 16, "depth": 1, "num_heads": 2},
        head={"kind": "autoregressive", "num_heads": 2},
        corruption={"kind": "span_masking", "segmentation": "random", "lengths": {1: 0.5, 3: 0.5}},
    )
    corruption = build_corruption(
        description.corruption, mask_id=tokenizer.vocab_size, unit_lengths=lambda level: [1.0]
    )
    model = build_model(description.recipe, tokenizer.vocab_size, corruption)
    if always is not None:
        with torch.no_grad():
            model.head.output_bias[tokenizer.encode(always)[0][0]] = 1e4
    return PretrainedModel(description, tokenizer, model.eval(), corruption).save_pretrained(folder)


def change_config(folder: Path, **changes: object) -> None:
    """Writes other values into config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
