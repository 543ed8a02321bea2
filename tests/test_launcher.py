"""Settings of launchers: what is not honoured is refused by name, before anything is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hdiff.cli import run as hdiff
from hdiff.config.train import TrainConfig
from hdiff.errors import RecipeError
from hdiff.training.launcher import check_launcher

REFUSED = [
    ("ACCELERATE_USE_DEEPSPEED", "true"),
    ("ACCELERATE_USE_MEGATRON_LM", "true"),
    ("ACCELERATE_USE_SAGEMAKER", "1"),
    ("ACCELERATE_USE_PARALLELISM_CONFIG", "true"),
    ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR"),
    ("ACCELERATE_DYNAMO_BACKEND", "eager"),
    ("ACCELERATE_DOWNCAST_BF16", "yes"),
    ("ACCELERATE_FP8_BACKEND", "TE"),
    ("ACCELERATE_MIXED_PRECISION", "bf16"),
    ("ACCELERATE_MIXED_PRECISION", "fp8"),
    ("ACCELERATE_MIXED_PRECISION", "anything"),
    ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4"),
    ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "auto"),
    ("RANK", "x"),
    ("LOCAL_RANK", "-1"),
    ("WORLD_SIZE", ""),
    ("MASTER_PORT", "tcp"),
]
HONOURED = [
    ("ACCELERATE_MIXED_PRECISION", "no"),
    ("ACCELERATE_DYNAMO_BACKEND", "NO"),
    ("ACCELERATE_USE_DEEPSPEED", "false"),
    ("ACCELERATE_DOWNCAST_BF16", ""),
    ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1"),
    ("RANK", "0"),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_it_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match=f"{name} is '{value}'"):
        check_launcher(TrainConfig(steps=1))


@pytest.mark.parametrize(("name", "value"), HONOURED)
def test_what_launchers_set_by_themselves_is_taken(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    check_launcher(TrainConfig(steps=1))


def test_the_recipe_may_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    check_launcher(TrainConfig(steps=1, mixed_precision="bf16"))


def test_an_environment_that_cannot_start_is_said_with_its_variables() -> None:
    """In a process of its own: Accelerate keeps what it found for all later accelerators of a process."""
    code = (
        "from hdiff.config.train import TrainConfig; from hdiff.training.processes import make_accelerator; "
        "make_accelerator(TrainConfig(steps=1))"
    )
    environment = {**os.environ, "ACCELERATE_TORCH_DEVICE": "toaster"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "RecipeError" in done.stderr
    assert "ACCELERATE_TORCH_DEVICE=toaster" in done.stderr


def test_the_command_says_it(
    prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: a\noutput: {tmp_path / 'run'}\ndata: {{path: {prepared_folder}}}\n")
    assert hdiff(["train", str(recipe), "-q"]) == 2
    assert "TorchDynamo" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


ONE_AFTER_ANOTHER = [
    ("no", "bf16"),
    ("bf16", "no"),
    ("no", "bf16", "no"),
    ("bf16", "no", "bf16", "no"),
    ("no", "no"),
]


@pytest.mark.parametrize("precisions", ONE_AFTER_ANOTHER)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_trainings_of_other_precision_follow_each_other_in_one_process(
    precisions: tuple[str, ...], accumulation: int
) -> None:
    """As in a notebook."""
    pytest.importorskip("accelerate")
    from hdiff.training.processes import make_accelerator

    for precision in (*precisions, "no"):
        config = TrainConfig.model_validate(
            {"steps": 1, "mixed_precision": precision, "gradient_accumulation": accumulation}
        )
        made = make_accelerator(config)
        assert made.mixed_precision == precision
        assert made.gradient_accumulation_steps == accumulation
