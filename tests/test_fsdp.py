"""FSDP2: weights, optimiser and averages in shards, the numbers and the checkpoints of the unsharded run."""

from __future__ import annotations

from pathlib import Path

import pytest
from process_groups import (
    RECIPE,
    assert_same_training,
    split,
    stopped_at_8,
    train,
)

from hdiff.config.train import TrainConfig
from hdiff.errors import RecipeError
from hdiff.runs.metrics_file import read_metrics
from hdiff.training.processes import make_accelerator
from hdiff.training.saving import RunWriter

SHARDED = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
"""What `accelerate launch --use_fsdp --fsdp_version 2` sets."""


def say_what_is_held() -> None:
    """Prints which part of the parameters, moments and averages this process holds at a checkpoint."""
    save = RunWriter.save

    def part(tensors: list[object]) -> float:
        return sum(t.to_local().numel() for t in tensors) / sum(t.numel() for t in tensors)

    def changed(self: RunWriter, step: int, *, is_last: bool) -> None:
        state = self.training.state
        moments = [slots["exp_avg"] for slots in state.optimizer.state.values()]
        held = [part(list(x)) for x in (state.model.parameters(), moments, state.average.model.parameters())]
        print("holds", *(f"{value:.2f}" for value in held), flush=True)
        save(self, step, is_last=is_last)

    RunWriter.save = changed  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, prepared_folder: Path) -> Path:
    file = tmp_path_factory.mktemp("sharded") / "many.yaml"
    file.write_text(RECIPE.format(output=file.parent / "run", data=prepared_folder))
    return file


@pytest.fixture(scope="module")
def unsharded(recipe: Path) -> Path:
    run = recipe.parent / "unsharded"
    train(recipe, f"output={run}", "train.evaluate_every=8", *split(2, 2), processes=2)
    return run


@pytest.mark.slow
def test_sharded_run_equals_the_unsharded_one(recipe: Path, unsharded: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = train(
        recipe,
        f"output={run}",
        "train.evaluate_every=8",
        *split(2, 2),
        processes=2,
        environment=SHARDED,
        prepare=say_what_is_held,
    )
    for text in said:
        held = [line for line in text.splitlines() if line.startswith("holds")]
        assert held == ["holds 0.50 0.50 0.50"] * 2
    assert_same_training(unsharded, run, relative=1e-6)
    bounds = [
        [
            line["validation_bound"]
            for line in read_metrics(path / "metrics.jsonl")
            if "validation_bound" in line
        ]
        for path in (unsharded, run)
    ]
    assert len(bounds[0]) == 2
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-5)
    resumed = stopped_at_8(run, tmp_path / "resumed")
    train(recipe, f"output={resumed}", "train.evaluate_every=8", "resume=auto", *split(1))
    assert_same_training(unsharded, resumed, relative=1e-6)


@pytest.mark.slow
def test_unsharded_run_goes_on_sharded(recipe: Path, unsharded: Path, tmp_path: Path) -> None:
    run = stopped_at_8(unsharded, tmp_path / "run")
    options = ("train.evaluate_every=8", "resume=auto", *split(2))
    train(recipe, f"output={run}", *options, processes=2, environment=SHARDED)
    assert_same_training(unsharded, run, relative=1e-6)


@pytest.mark.parametrize(
    ("environment", "precision", "message"),
    [
        ({"FSDP_VERSION": "1"}, "no", "version 1 is asked for"),
        ({"FSDP_OFFLOAD_PARAMS": "true"}, "no", "leave out --fsdp_offload_params"),
        ({"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "no", "leave out --fsdp_activation_checkpointing"),
        ({}, "fp16", "fp16 with FSDP is not supported"),
    ],
)
def test_what_sharding_cannot_do_is_refused(
    environment: dict[str, str], precision: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**SHARDED, **environment}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match=message):
        make_accelerator(TrainConfig.model_validate({"mixed_precision": precision}))


def test_fp16_is_refused_on_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accelerate would train in single precision and say nothing."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with pytest.raises(RecipeError, match="which Accelerate ignores on CPUs"):
        make_accelerator(TrainConfig(mixed_precision="fp16"))
