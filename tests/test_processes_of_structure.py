"""Second losses, output classes and flags: the same training on two processes, and on what is resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from process_groups import assert_same_training, split, stopped_at_8, train

from hdiff.runs.checkpoint import load_checkpoint
from hdiff.runs.metrics_file import read_metrics

RECIPE = """
name: structure
output: {output}
data: {{path: {data}, sequence_length: 128, max_unit_tokens: 6}}
model: {{width: 16, depth: 1, num_heads: 2}}
head: {{kind: autoregressive, num_heads: 2, classes: {{kind: syntax, sizes: [4, 16]}}}}
planner: {{}}
corruption:
  kind: span_masking
  segmentation: mixture
  level: phrase
  more_levels: [clause]
  flagged: true
  lengths: [1, 1, 1]
supervision: {{targets: [pos, phrase, opens, closes]}}
train: {{steps: 16, batch_size: 8, warmup_steps: 4, ema_decay: 0.9, log_every: 1, checkpoint_every: 8}}
"""
SYSTEMS = {
    "labels": [],
    "trees": ["supervision={kind: tree_regularization}"],
    "shuffled": ["supervision={targets: [phrase, parent], trees: shuffled}"],
    "clusters": ["supervision={targets: ['clusters:4', 'random:8']}", "head.classes=clusters"],
    "sees_row": ["head.sees_row=true", "corruption.final_parsed_fraction=0.0"],
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, prepared_folder: Path) -> Path:
    file = tmp_path_factory.mktemp("structure") / "structure.yaml"
    file.write_text(RECIPE.format(output=file.parent / "run", data=prepared_folder))
    return file


@pytest.mark.slow
@pytest.mark.parametrize("system", list(SYSTEMS))
def test_two_processes_and_accumulation_train_alike_and_resume_to_the_last_bit(
    system: str, recipe: Path, tmp_path: Path
) -> None:
    two, one, again = tmp_path / "two", tmp_path / "one", tmp_path / "again"
    train(recipe, *SYSTEMS[system], f"output={two}", *split(2, 2), processes=2)
    assert json.loads((two / "run.json").read_text())["processes"] == 2
    train(recipe, *SYSTEMS[system], f"output={one}", *split(1, 4))
    assert_same_training(two, one, relative=1e-5)
    first, second = (
        [line for line in read_metrics(run / "metrics.jsonl") if "loss" in line] for run in (two, one)
    )
    for line, same in zip(first, second, strict=True):
        assert line["supervision_loss"] == pytest.approx(same["supervision_loss"], rel=1e-5)
    assert first[0]["supervision_loss"] != first[-1]["supervision_loss"]

    stopped_at_8(two, again)
    train(recipe, *SYSTEMS[system], f"output={again}", "resume=auto", *split(2, 2), processes=2)
    saved, resumed = (load_checkpoint(run / "checkpoints").tensors for run in (two, again))
    for part in ("model", "ema", "optimizer"):
        assert saved[part].keys() == resumed[part].keys()
        for name, tensor in saved[part].items():
            assert torch.equal(tensor, resumed[part][name]), (part, name)
