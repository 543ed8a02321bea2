"""Two processes: what one of them meets stops both after the same update, and the weights are untouched."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from process_groups import train
from torch import Tensor

from hdiff.training.losses import DiffusionLoss

RECIPE = """
name: two
output: {output}
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6}}
model: {{width: 16, depth: 1, num_heads: 2}}
head: {{kind: product}}
corruption: {{kind: token_masking}}
train: {{steps: 12, batch_size: 2, warmup_steps: 2, log_every: 1, checkpoint_every: 1, keep_checkpoints: 12}}
"""


def from_update_3_on_process_1(happens: Callable[[Tensor], Tensor]) -> None:
    """Lets something happen to the losses of one of two processes."""
    forward, updates = DiffusionLoss.forward, itertools.count(1)

    def changed(self: DiffusionLoss, *arguments: Any) -> tuple[Tensor, dict[str, Tensor]]:
        bound, parts = forward(self, *arguments)
        if next(updates) < 3 or os.environ["RANK"] != "1":
            return bound, parts
        return happens(bound), {name: happens(value) for name, value in parts.items()}

    DiffusionLoss.forward = changed  # type: ignore[method-assign]


def is_not_a_number() -> None:
    from_update_3_on_process_1(lambda loss: loss * float("nan"))


def gets_a_signal() -> None:
    def signalled(loss: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGUSR1)
        return loss

    from_update_3_on_process_1(signalled)


@pytest.fixture
def recipe(tmp_path: Path, prepared_folder: Path) -> Path:
    file = tmp_path / "two.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "run", data=prepared_folder))
    return file


@pytest.mark.slow
def test_nan_on_one_process_stops_both_and_touches_no_weight(recipe: Path, tmp_path: Path) -> None:
    for said in train(recipe, processes=2, prepare=is_not_a_number, code=2):
        assert "with gradient norm nan at step 5, the last 3 updates were skipped" in said
    checkpoints = sorted((tmp_path / "run" / "checkpoints").iterdir())
    weights = [(path / "model.safetensors").read_bytes() for path in checkpoints]
    assert [path.name[-1] for path in checkpoints] == ["1", "2", "3", "4"]
    assert weights[0] != weights[1] == weights[2] == weights[3]
    kept = {path.name for path in (tmp_path / "run" / "skipped").iterdir()}
    assert kept == {f"step-0000000{step}-process-{rank}.safetensors" for step in (3, 4, 5) for rank in (0, 1)}


@pytest.mark.slow
def test_signal_to_one_process_stops_both_after_the_same_update(recipe: Path, tmp_path: Path) -> None:
    """Else one of them would wait for the other for ever."""
    train(recipe, processes=2, prepare=gets_a_signal, code=128 + signal.SIGUSR1)
    assert (tmp_path / "run" / "checkpoints" / "step-00000003").is_dir()
    assert not (tmp_path / "run" / "checkpoints" / "step-00000004").exists()
