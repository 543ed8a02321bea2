"""Success is only announced when it is there: what a command leaves undone is said, with the exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from ablation_files import write as write_ablation
from stops import stop_at

from hdiff.cli import run as hdiff
from hdiff.errors import DataError
from hdiff.recipe import load_recipe
from hdiff.runs.checkpoint import load_checkpoint
from hdiff.training.build import build_training
from hdiff.training.trainer import fit

RECIPE = """
name: ending
output: {output}
data: {{path: {data}, sequence_length: 24}}
model: {{width: 16, depth: 1, num_heads: 2}}
train: {{steps: 4, batch_size: 2, warmup_steps: 1, checkpoint_every: 1, keep_checkpoints: 9, trackers: []}}
evaluation: {{steps: [1], blocks: 2, draws: 1, samples: 0}}
"""


@pytest.fixture
def file(prepared_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(output=tmp_path / "run", data=prepared_folder))
    return path


@pytest.fixture(scope="module")
def unfinished(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped by a signal after its second update."""
    folder = tmp_path_factory.mktemp("unfinished")
    (folder / "recipe.yaml").write_text(RECIPE.format(output=folder / "run", data=prepared_folder))
    trainer = build_training(load_recipe(folder / "recipe.yaml"))
    assert fit(trainer, before_update=stop_at(2)).stopped_by == 15
    return folder / "run"


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_weights_that_are_not_finite_at_the_end_are_no_success(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], steps: int
) -> None:
    assert hdiff(["train", str(file), "train.learning_rate=1e39", f"train.steps={steps}", "-q"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"no checkpoint of step {steps} was saved, as the weights are not finite" in said.err
    assert not list((tmp_path / "run").glob("checkpoints/step-*")), "no checkpoint of such weights"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["steps"] == 0


def test_the_last_good_checkpoint_is_kept(file: Path, tmp_path: Path) -> None:
    trainer = build_training(load_recipe(file))

    def poison(step: int) -> None:
        if step == 4:
            with torch.no_grad():
                trainer.model.head.output_bias[0] = float("nan")

    with pytest.raises(
        DataError, match=r"no checkpoint of step 4 was saved.*the last 1 updates were skipped"
    ):
        fit(trainer, before_update=poison)
    assert load_checkpoint(tmp_path / "run" / "checkpoints").step == 3


def test_skipped_updates_are_told_beside_the_success(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hdiff(["train", str(file), "train.learning_rate=1e30", "train.steps=2"]) == 0
    assert (
        "trained 2 steps, 1 of them skipped as their loss or gradient was not finite"
        in capsys.readouterr().out
    )


def test_a_finished_run_that_is_resumed_says_so(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hdiff(["train", str(file)]) == 0
    assert "trained 4 steps; next" in capsys.readouterr().out
    assert hdiff(["train", str(file), "resume=auto"]) == 0
    assert "was trained to step 4 before, nothing was left to do" in capsys.readouterr().out
    for steps in (2, 8):
        assert hdiff(["train", str(file), "resume=auto", f"train.steps={steps}", "-q"]) == 2
        assert "different: train.steps" in capsys.readouterr().err
    assert hdiff(["train", str(file), "-q"]) == 2, "without resume=auto nothing is overwritten"


@pytest.mark.parametrize("command", [["eval"], ["sample", "--num", "1"], ["report"], ["export"]])
def test_what_is_made_of_an_unfinished_run_says_so(
    unfinished: Path, tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(unfinished, run)
    words = [
        command[0],
        str(run),
        *([str(tmp_path / "shared")] if command[0] == "export" else []),
        *command[1:],
    ]
    assert hdiff(words) == 0
    said = capsys.readouterr().err
    assert "is not trained to its end, its newest checkpoint is used; resume: hdiff train" in said
    assert hdiff(["train", str(run / "recipe.yaml"), f"output={run}", "resume=auto", "-q"]) == 0, "the remedy"
    capsys.readouterr()
    assert hdiff(["sample", str(run), "--num", "1"]) == 0
    assert "not trained to its end" not in capsys.readouterr().err


def test_a_report_without_figures_says_so(
    unfinished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(unfinished, run)
    assert hdiff(["report", str(run)]) == 0
    assert f"no figures in the report; measure them: hdiff eval {run}" in capsys.readouterr().err
    assert hdiff(["eval", str(run), "-q"]) == 0
    assert hdiff(["report", str(run)]) == 0
    assert "no figures" not in capsys.readouterr().err.split("\n")[-3:]


@pytest.mark.parametrize(
    "words",
    [
        ["sample", "{run}", "--num", "0"],
        ["sample", "{run}", "--num", "-1"],
        ["sample", "{run}", "--steps", "0"],
        ["eval", "{run}", "--steps", "0"],
        ["eval", "{run}", "--steps", ""],
        ["eval", "{run}", "--data", "{empty}"],
        ["eval", "{run}", "--blimp", "{empty}"],
        ["eval", "{run}", "--agreement", "--max-pairs", "0"],
        ["report", "{empty}"],
        ["export", "{empty}", "{empty}/out"],
        ["prepare", "{blank}", "--out", "{empty}/data"],
        ["prepare", "{empty}", "--out", "{empty}/data"],
        ["train", "{recipe}", "output={empty}/r", "data.sequence_length=2000000"],
        ["train", "{recipe}", "output={empty}/r", "train.batch_size=1000000"],
    ],
    ids=lambda words: " ".join(words),
)
def test_nothing_to_do_is_no_success(
    unfinished: Path, file: Path, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    empty, blank = tmp_path / "empty", tmp_path / "blank.txt"
    empty.mkdir()
    blank.write_text(" \n\n \n")
    places = {"run": unfinished, "empty": empty, "blank": blank, "recipe": file}
    assert hdiff([word.format(**places) for word in words]) == 2
    assert capsys.readouterr().out == ""


def test_an_ablation_whose_runs_leave_nothing_fails_with_the_reason(
    prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ablation = write_ablation(tmp_path, data=prepared_folder)
    launcher = tmp_path / "launcher"
    launcher.write_text("#!/bin/sh\nexit 0\n")  # ends well and has done nothing
    launcher.chmod(0o755)
    assert hdiff(["ablate", str(ablation), "--launcher", str(launcher), "--json", "-q"]) == 1
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["failed"] == dict.fromkeys(
        ["judge-0", "tokens-0", "spans-0", "tokens-1", "spans-1"], "not trained yet"
    )
    assert "FAILED: tokens-0, not trained yet" in said.err
    assert hdiff(["ablate", str(ablation), "--table", "-q"]) == 1
