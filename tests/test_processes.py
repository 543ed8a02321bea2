"""Processes: the same global batch gives the same training on one, two and four, and on what is resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from process_groups import RECIPE, assert_same_training, split, stopped_at_8, train
from torch.nn.parallel import DistributedDataParallel

from hdiff.runs.metrics_file import read_metrics


def say_when_gradients_are_exchanged() -> None:
    forward = DistributedDataParallel.forward

    def changed(self: DistributedDataParallel, *arguments: Any) -> Any:
        print("exchanged:", self.require_backward_grad_sync, flush=True)
        return forward(self, *arguments)

    DistributedDataParallel.forward = changed  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, prepared_folder: Path) -> Path:
    file = tmp_path_factory.mktemp("processes") / "many.yaml"
    file.write_text(RECIPE.format(output=file.parent / "run", data=prepared_folder))
    return file


@pytest.fixture(scope="module")
def on_two(recipe: Path) -> Path:
    """A run on two processes, in single precision and without dropout."""
    train(recipe, f"output={recipe.parent / 'two'}", *split(2), processes=2)
    record = json.loads((recipe.parent / "two" / "run.json").read_text())
    assert record["processes"] == 2
    assert record["data"]["train_tokens"] % 256 != 0  # so a row is padded
    assert record["data"]["train_tokens"] <= 16 * 8 * 256  # and was trained on
    return recipe.parent / "two"


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "accumulation"), [(1, 1), (1, 4), (4, 1), (2, 2)])
def test_training_is_the_same_on_any_number_of_processes(
    recipe: Path, on_two: Path, processes: int, accumulation: int
) -> None:
    """What is minimised is the mean over all tokens of an update, however its rows are split."""
    run = recipe.parent / f"{processes}-{accumulation}"
    train(recipe, f"output={run}", *split(processes, accumulation), processes=processes)
    assert_same_training(on_two, run, relative=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "accumulation"), [(1, 2), (4, 1)])
def test_run_of_two_processes_goes_on_with_fewer_and_more(
    recipe: Path, on_two: Path, tmp_path: Path, processes: int, accumulation: int
) -> None:
    run = stopped_at_8(on_two, tmp_path / "run")
    train(recipe, f"output={run}", "resume=auto", *split(processes, accumulation), processes=processes)
    assert_same_training(on_two, run, relative=1e-6)


@pytest.mark.slow
def test_run_does_not_go_on_with_other_updates(recipe: Path, on_two: Path, tmp_path: Path) -> None:
    run = stopped_at_8(on_two, tmp_path / "run")
    [said] = train(recipe, f"output={run}", "resume=auto", *split(2), code=2)
    assert "has 8 rows per update, this start would have 4: train.batch_size 4 x" in said


@pytest.mark.slow
def test_bf16_on_two_processes_learns_alike_and_exchanges_gradients_once_per_update(
    recipe: Path, on_two: Path, tmp_path: Path
) -> None:
    options = ("train.steps=4", "train.mixed_precision=bf16", *split(2, 4))
    said = train(
        recipe,
        f"output={tmp_path / 'run'}",
        *options,
        processes=2,
        prepare=say_when_gradients_are_exchanged,
    )
    for text in said:
        exchanged = [line.split()[1] for line in text.splitlines() if line.startswith("exchanged:")]
        assert exchanged == ["False", "False", "False", "True"] * 4
    whole, half = (
        [line["loss"] for line in read_metrics(run / "metrics.jsonl")][:3]
        for run in (on_two, tmp_path / "run")
    )
    assert half == pytest.approx(whole, rel=5e-3)
    assert half != whole
