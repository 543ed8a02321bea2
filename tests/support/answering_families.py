"""Every family that answers prompts, as a short run on a few answers."""

from __future__ import annotations

import json
from pathlib import Path

from hdiff.cli import run as hdiff
from hdiff.data.prepare.run import prepare
from hdiff.data.sources.prompts import PromptFormat

TINY = (
    "name: tiny\noutput: {out}\ndata: {{path: {data}, sequence_length: 20, salience_buckets: {buckets}}}\n"
    "model: {{width: 16, depth: 1, num_heads: 2}}\n"
    "train: {{steps: 3, batch_size: 4, warmup_steps: 1, ema_decay: 0, trackers: [], learning_rate: 1e-2}}\n"
    "evaluation: {{steps: [1, 3], blocks: 4, draws: 2, samples: 2}}\n"
)
JOINT = "head: {kind: autoregressive, num_layers: 1, num_heads: 2}"
HEADED = "length_head: {}"
FAMILIES: dict[str, tuple[str, ...]] = {
    "tokens": ("corruption: {kind: token_masking}", HEADED),
    "tokens, end tokens": ("corruption: {kind: token_masking}",),
    "spans": (
        "corruption: {kind: span_masking, segmentation: random, lengths: {1: 0.5, 2: 0.5}}",
        JOINT,
        HEADED,
    ),
    "parsed spans": (
        "corruption: {kind: span_masking, level: phrase, segmentation: mixture, lengths: corpus}",
        JOINT,
        HEADED,
    ),
    "crf": (
        "corruption: {kind: span_masking, segmentation: random, lengths: {2: 1.0}}",
        "head: {kind: crf}",
        HEADED,
    ),
    "blocks": ("corruption: {kind: block_masking, block_size: 4}", HEADED),
    "blocks, end tokens": ("corruption: {kind: block_masking, block_size: 4}",),
    "cascade": (
        "corruption: {kind: tree_cascade, levels: [phrase], types: [boundary, label], num_labels: 4}",
        HEADED,
    ),
    "cascade of nodes": ("corruption: {kind: tree_cascade, levels: [phrase], unit: node}", HEADED),
    "classes": ("corruption: {kind: soft_masking, classes: random, num_classes: 4}", HEADED),
    "rates": ("corruption: {kind: rate_matched, num_buckets: 2, order: keyword_first}", HEADED),
    "learned rates": ("corruption: {kind: learned_rates}", HEADED),
    "replacement": ("corruption: {kind: uniform_state}",),
    "gaussian": ("corruption: {kind: gaussian, embedding_width: 4}",),
    "left to right": ("model: {kind: autoregressive, width: 16, depth: 1, num_heads: 2}",),
}


def prepare_answers(folder: Path) -> Path:
    """Answers whose words and lengths follow from their prompts."""
    names = ["the red dog", "a cat", "the old man", "my bird"]
    rows = [
        {"prompt": f"who {verb} {number}", "answer": " and ".join([f"{name} {verb}"] * (1 + number % 2))}
        for number in range(8)
        for name in names
        for verb in ("sleeps", "runs")
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    prepare(
        str(folder / "rows.jsonl"),
        folder / "data",
        text_column=PromptFormat(),
        tokenizer="words",
        levels=["phrase"],
        validation_fraction=0.3,
    )
    return folder / "data"


def train_family(family: str, data: Path, folder: Path) -> Path:
    """A short run of a family, its recipe beside it."""
    keys = FAMILIES[family]
    text = TINY.format(out=folder / "run", data=data, buckets=2 if family == "rates" else "null")
    replaced = [key.partition(":")[0] for key in keys]
    lines = [line for line in text.splitlines() if line.partition(":")[0] not in replaced]
    recipe = folder / "recipe.yaml"
    recipe.write_text("\n".join([*lines, *keys]) + "\n")
    assert hdiff(["train", str(recipe), "-q"]) == 0
    return folder / "run"
