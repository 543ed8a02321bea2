"""hdiff sample and hdiff eval take what hdiff export wrote, and leave it as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hdiff.cli import run as hdiff
from hdiff.sharing import PretrainedModel


def test_a_shared_model_is_sampled_like_its_run(
    exported: Path, families: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {file.name: file.stat().st_mtime_ns for file in exported.iterdir()}
    found = []
    for folder in (families / "spans", exported):
        capsys.readouterr()
        assert hdiff(["sample", str(folder), "--num", "2", "--steps", "4", "--json"]) == 0
        found.append([sample["text"] for sample in json.loads(capsys.readouterr().out)["samples"]])
    assert found[0] == found[1]
    page = tmp_path / "page.html"
    assert hdiff(["sample", str(exported), "--infill", "The [3] .", "--trajectory", str(page)]) == 0
    assert page.stat().st_size > 1000
    assert {file.name: file.stat().st_mtime_ns for file in exported.iterdir()} == files


@pytest.mark.parametrize("family", ["spans", "speeds", "cascade", "judge"])
def test_a_shared_model_is_evaluated_like_its_run(
    family: str, families: Path, prepared_folder: Path, tmp_path: Path
) -> None:
    """Rows, units and salience buckets are made as they were in training."""
    shared = PretrainedModel.from_pretrained(families / family).save_pretrained(tmp_path / "shared")
    options = ["--steps", "4", "-q", "--data", str(prepared_folder)]
    found = []
    for folder in (families / family, shared):
        output = tmp_path / f"{folder.name}.json"
        assert hdiff(["eval", str(folder), *options, "--output", str(output)]) == 0
        figures = json.loads(output.read_text())
        found.append((figures["bound"], figures["t_step"]))
    assert found[0] == found[1]
    assert not (shared / "eval.json").exists()


def test_a_shared_model_has_no_data_set_of_its_own(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hdiff(["eval", str(exported)]) == 2
    error = capsys.readouterr().err
    assert "is a shared model, which has no data set" in error
    assert f"hdiff prepare TEXT --out DATA --tokenizer {exported}\n" in error


def test_a_shared_model_is_diagnosed_on_a_text(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hdiff(["diagnose", str(exported)]) == 2
    assert "has no text; give held-out text: --text FILE" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("command", [["export"], ["eval", "--judge"]])
def test_commands_that_need_the_run_say_that_it_is_a_shared_model(
    command: list[str], exported: Path, families: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = {"export": [str(tmp_path / "out")], "eval": [str(families / "spans"), "-q"]}
    assert hdiff([*command, str(exported), *others[command[0]]]) == 2
    error = capsys.readouterr().err
    assert f"{exported} is a shared model (hdiff export), not a run folder; give the run folder" in error
    assert "hdiff train" not in error


@pytest.mark.parametrize("command", ["sample", "eval"])
def test_other_folders_are_refused_with_what_to_do(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hdiff([command, str(tmp_path / "nowhere")]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert hdiff([command, str(tmp_path), *(["--data", "x"] if command == "eval" else [])]) == 2
    assert "is no hdiff model but one of transformers ('bert')" in capsys.readouterr().err
