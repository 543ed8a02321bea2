"""Two processes: what one of them meets stops both after the same update, and the weights are untouched."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = """
name: two
output: {output}
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6}}
model: {{width: 16, depth: 1, num_heads: 2}}
head: {{kind: product}}
corruption: {{kind: token_masking}}
train: {{steps: 12, batch_size: 2, warmup_steps: 2, log_every: 1, checkpoint_every: 1, keep_checkpoints: 12}}
"""

AS_ONE_OF_TWO = """
import os, signal, sys
from hdiff.cli import run
from hdiff.losses import DiffusionLoss

forward, update = DiffusionLoss.forward, 0

def from_the_third_update_on(self, *arguments):
    global update
    update += 1
    bound, parts = forward(self, *arguments)
    if update >= 3 and os.environ["RANK"] == "1":
        if sys.argv[1] == "nan":
            return bound * float("nan"), {"loss": parts["loss"] * float("nan")}
        os.kill(os.getpid(), signal.SIGUSR1)
    return bound, parts

DiffusionLoss.forward = from_the_third_update_on
sys.exit(run(sys.argv[2:]))
"""


def run_two(what: str, tmp_path: Path, data: Path) -> list[tuple[int, str]]:
    """Exit code and messages of both processes; something happens to the second one in its third update."""
    recipe = tmp_path / "two.yaml"
    recipe.write_text(RECIPE.format(output=tmp_path / "run", data=data))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", AS_ONE_OF_TWO, what, "train", str(recipe), "-q"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


@pytest.mark.slow
def test_nan_on_one_process_stops_both_and_touches_no_weight(tmp_path: Path, prepared_folder: Path) -> None:
    for code, said in run_two("nan", tmp_path, prepared_folder):
        assert code == 2, said
        assert "with gradient norm nan at step 5, the last 3 updates were skipped" in said
    checkpoints = sorted((tmp_path / "run" / "checkpoints").iterdir())
    weights = [(path / "model.safetensors").read_bytes() for path in checkpoints]
    assert [path.name[-1] for path in checkpoints] == ["1", "2", "3", "4"]
    assert weights[0] != weights[1] == weights[2] == weights[3]
    kept = {path.name for path in (tmp_path / "run" / "skipped").iterdir()}
    assert kept == {f"step-0000000{step}-process-{rank}.safetensors" for step in (3, 4, 5) for rank in (0, 1)}


@pytest.mark.slow
def test_signal_to_one_process_stops_both_after_the_same_update(
    tmp_path: Path, prepared_folder: Path
) -> None:
    """Else one of them would wait for the other for ever."""
    for code, said in run_two("signal", tmp_path, prepared_folder):
        assert code == 128 + signal.SIGUSR1, said
    assert (tmp_path / "run" / "checkpoints" / "step-00000003").is_dir()
    assert not (tmp_path / "run" / "checkpoints" / "step-00000004").exists()
