"""Real runs: kept when started again, resumed when killed, a crash stops nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from ablation_files import write

from hdiff.ablation import load_ablation
from hdiff.ablation.results import (
    check_folders,
    is_evaluated,
    judge_weights,
    read_results,
)
from hdiff.ablation.runs import run_ablation
from hdiff.ablation.summary import as_json, summarise
from hdiff.children import child_command
from hdiff.cli import run as hdiff
from hdiff.errors import DataError, RecipeError
from hdiff.recipe import load_recipe
from hdiff.runs.lock import LOCK_FILE


@pytest.fixture(scope="module")
def finished(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variants, two seeds and a judge, trained and evaluated by the command."""
    file = write(tmp_path_factory.mktemp("ablation"), data=prepared_folder)
    assert hdiff(["ablate", str(file), "--jobs", "2", "--quiet"]) == 0
    return file


@pytest.fixture
def unchanged(finished: Path) -> Iterator[Path]:
    """The finished ablation; the test may not write to its runs."""

    def times() -> dict[Path, int]:
        runs = [run.path for run in load_ablation(finished).all_runs]
        return {file: file.stat().st_mtime_ns for run in runs for file in run.rglob("*") if file.is_file()}

    before = times()
    yield finished
    assert times() == before


@contextmanager
def changed(file: Path, old: str, new: str) -> Iterator[None]:
    """The file with other words, for a while."""
    text = file.read_text()
    file.write_text(text.replace(old, new))
    try:
        yield
    finally:
        file.write_text(text)


@pytest.mark.slow
def test_runs_end_to_end_and_writes_all_tables(unchanged: Path) -> None:
    ablation = load_ablation(unchanged)
    found = json.loads((ablation.output / "ablation.json").read_text())
    assert found["failed"] == {}
    assert found["unfinished"] == []
    tokens, spans = found["variants"]["tokens"], found["variants"]["spans"]
    assert tokens["seeds"] == spans["seeds"] == [0, 1]
    for run in ablation.runs:
        evaluation = json.loads((run.path / "eval.json").read_text())
        figures = found["variants"][run.variant]["figures"]
        seed = str(run.seed)
        assert figures["bound"]["by_seed"][seed] == evaluation["bound"]["nats_per_token"]
        assert figures["judge_nll"]["4"]["by_seed"][seed] == evaluation["quality"]["4"]["judge_nll"] > 0
        assert figures["L"]["1"]["by_seed"][seed] == evaluation["t_step"]["1"]
    assert tokens["figures"]["tokens_seen"]["mean"] == 8 * 4 * 32
    inner = tokens["figures"]["non_embedding"]["mean"]
    assert tokens["figures"]["train_flops"]["mean"] == 6 * inner * 8 * 4 * 32
    assert tokens["figures"]["parameters"]["mean"] > inner > 0
    gaps = [d for d in found["differences"] if d["figure"] == "bound"]
    seeds = [spans["figures"]["bound"]["by_seed"][s] - tokens["figures"]["bound"]["by_seed"][s] for s in "01"]
    assert gaps[0]["mean"] == pytest.approx(sum(seeds) / 2)
    for name in ("ablation.md", "ablation.csv", "ablation.html", "bound.svg", "t_step.svg", "judge_nll.svg"):
        assert (ablation.output / name).stat().st_size > 100


@pytest.mark.slow
def test_finished_runs_and_evaluations_are_kept(unchanged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hdiff(["ablate", str(unchanged), "--json"]) == 0
    said = capsys.readouterr()
    assert "done in" not in said.err, "no process was started"
    ablation = load_ablation(unchanged)
    assert json.loads(said.out) == json.loads((ablation.output / "ablation.json").read_text())


@pytest.mark.slow
def test_the_table_alone_says_what_is_missing(unchanged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ablation = load_ablation(unchanged)
    run = ablation.output / "spans-1"
    run.rename(ablation.output / "aside")
    try:
        assert hdiff(["ablate", str(unchanged), "--table", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
    finally:
        (ablation.output / "aside").rename(run)
    assert found["unfinished"] == ["spans-1"]
    assert found["missing"] == {"spans-1": "not trained yet"}
    assert found["variants"]["spans"]["seeds"] == [0]
    assert found["differences"][0]["verdict"] == "one seed"


@pytest.mark.slow
def test_an_evaluation_by_somebody_else_does_not_count(finished: Path) -> None:
    ablation = load_ablation(finished)
    run, judge = ablation.runs[0], judge_weights(ablation)
    assert is_evaluated(run, judge)
    assert not is_evaluated(run, None)
    file = run.path / "eval.json"
    text = file.read_text()
    try:
        file.write_text(text + " ")
        assert not is_evaluated(run, judge)
        assert read_results(ablation)[run.name].state == "unfinished"
    finally:
        file.write_text(text)
    assert is_evaluated(run, judge)


@pytest.mark.slow
def test_runs_of_another_recipe_are_not_mixed_in(unchanged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with changed(unchanged, "train.steps: 8", "train.steps: 9"):
        with pytest.raises(
            RecipeError, match=r"another recipe .*\(different: train.steps\); delete that folder"
        ):
            check_folders(load_ablation(unchanged))
        assert hdiff(["ablate", str(unchanged), "--table"]) == 2
    assert "delete that folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_typo_is_called_one_although_runs_are_there(
    unchanged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with changed(unchanged, "spans: {}", "spans: {corruption.segmentatoin: random}"):
        assert hdiff(["ablate", str(unchanged), "--table"]) == 2
    assert "did you mean 'segmentation'?" in capsys.readouterr().err


@pytest.mark.slow
def test_other_evaluation_settings_evaluate_again_and_train_nothing(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(load_ablation(finished).output, tmp_path / "out")
    command = ["ablate", str(finished), f"output={tmp_path / 'out'}", "evaluation.steps=[1, 2]"]
    assert hdiff([*command, "--table", "--json"]) == 1, "not one cell of the table is filled"
    assert len(json.loads(capsys.readouterr().out)["unfinished"]) == 5, (
        "what was measured is not what is asked"
    )
    assert hdiff([*command, "--json"]) == 0
    said = capsys.readouterr()
    assert ".train.log" not in said.err
    found = json.loads(said.out)
    assert found["unfinished"] == []
    assert sorted(found["variants"]["spans"]["figures"]["L"]) == ["1", "2"]


@pytest.mark.slow
def test_runs_and_data_that_were_moved_are_kept(
    finished: Path, prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, data = tmp_path / "out", tmp_path / "data"
    shutil.copytree(load_ablation(finished).output, out)
    shutil.copytree(prepared_folder, data)
    command = ["ablate", str(finished), f"output={out}", f"data.path={data}"]
    assert hdiff([*command, "--json"]) == 0
    said = capsys.readouterr()
    assert "done in" not in said.err, "no process was started"
    assert json.loads(said.out)["unfinished"] == []
    for file in out.glob("*-*/recipe.yaml"):
        recipe = load_recipe(file)
        assert (recipe.output, recipe.data.path) == (str(file.parent), str(data))

    aside = tmp_path / "aside"
    shutil.copytree(data, aside)
    manifest = json.loads((aside / "manifest.json").read_text())
    changed = {**manifest, "levels": [*manifest["levels"], "sentence"]}
    (aside / "manifest.json").write_text(json.dumps(changed))
    for other in (aside, tmp_path / "none"):
        with pytest.raises(RecipeError, match=r"another recipe .*\(different: data.path\)"):
            check_folders(load_ablation(finished, [f"output={out}", f"data.path={other}"]))


@pytest.mark.slow
def test_two_ablations_do_not_work_in_one_folder(unchanged: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    ablation = load_ablation(unchanged)
    with (ablation.output / "lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"still work in .*wait until they end.*process ids: \d+"):
            run_ablation(ablation)


CRASHING = """
name: small
base: base.yaml
output: {output}
seeds: [0]
set: {{train.steps: 8}}
baseline: tokens
variants:
  crashing: {{train.learning_rate: 1.0e+30}}
  tokens: {{corruption: {{kind: token_masking}}}}
"""


def stopped_in_training(file: Path, output: Path) -> tuple[subprocess.Popen[bytes], int]:
    """An ablation whose training of `tokens` stands still, and the number of that process.

    Eight updates take a moment only, and a busy machine may look too late: then it is begun again.
    """
    record = output / "tokens-0" / "run.json"
    for _ in range(10):
        process = subprocess.Popen(
            child_command("ablate", str(file)), stderr=subprocess.PIPE, stdout=subprocess.PIPE
        )
        while process.poll() is None and not record.exists():
            time.sleep(0.002)
        with suppress(OSError, IndexError, psutil.NoSuchProcess):
            trainer = int((output / "tokens-0" / LOCK_FILE).read_text().split()[1])
            os.kill(trainer, signal.SIGSTOP)
            ends = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
            while (status := psutil.Process(trainer).status()) not in ends:
                time.sleep(0.01)
            if status == psutil.STATUS_STOPPED and "train_seconds" not in record.read_text():
                return process, trainer
            os.kill(trainer, signal.SIGCONT)
        process.communicate(timeout=120)
        shutil.rmtree(output)
    pytest.fail("the training was always over before it could be stopped")


@pytest.mark.slow
def test_killed_and_started_again_it_gives_the_same_table_and_a_crash_stops_nothing_else(
    finished: Path, prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A variant that crashes, then one of the finished ablation, which is interrupted while it trains."""
    file = write(tmp_path, CRASHING, data=prepared_folder)
    ablation = load_ablation(file)
    process, trainer = stopped_in_training(file, ablation.output)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    os.kill(trainer, signal.SIGCONT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"start again to resume" in err
    results = read_results(ablation)
    assert (results["crashing-0"].state, results["tokens-0"].state) == ("failed", "unfinished")

    launcher = tmp_path / "launcher"
    launched = tmp_path / "launched"
    launcher.write_text(f'#!/bin/sh\necho "$OMP_NUM_THREADS $@" >> {launched}\nexec {sys.executable} "$@"\n')
    launcher.chmod(0o755)
    assert hdiff(["ablate", str(file), "--launcher", str(launcher), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert list(found["failed"]) == ["crashing-0"]
    assert "train.learning_rate=" in found["failed"]["crashing-0"]
    assert found["unfinished"] == []
    whole = as_json(summarise(load_ablation(finished), read_results(load_ablation(finished))))
    ours, theirs = (table["variants"]["tokens"]["figures"] for table in (found, whole))
    for figure in ("bound", "tokens_seen", "train_flops"):
        assert ours[figure]["by_seed"]["0"] == theirs[figure]["by_seed"][0]
    for steps in ("1", "4"):
        for figure in ("L", "unigram_entropy", "distinct_2", "nfe"):
            assert ours[figure][steps]["by_seed"]["0"] == theirs[figure][steps]["by_seed"][0]
    commands = launched.read_text().splitlines()
    threads = os.environ["OMP_NUM_THREADS"]
    expected = " ".join([threads, *child_command("train")[1:], ""])
    assert all(line.startswith(expected) for line in commands)
    assert "crashing-0.yaml" in commands[0]
    # A sum over two threads is rounded otherwise, and the runs would not be the same.
    records = [json.loads((run.path / "run.json").read_text()) for run in ablation.runs]
    assert [record["threads"] for record in records] == [int(threads)] * 2
