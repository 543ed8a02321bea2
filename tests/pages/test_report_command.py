"""`hdiff report`: what it makes, when it makes it again, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hdiff.cli import run as hdiff
from hdiff.recipe import resolve
from hdiff.training.build import build_training
from hdiff.training.trainer import fit


@pytest.fixture(scope="module")
def small_run(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run of typed masks."""
    output = tmp_path_factory.mktemp("reported") / "run"
    values = {
        "name": "small",
        "output": str(output),
        "data": {"path": str(prepared_folder), "sequence_length": 32, "max_unit_tokens": 6},
        "model": {"width": 16, "depth": 1, "num_heads": 2},
        "corruption": {"kind": "tree_cascade", "levels": ["phrase"], "types": ["label"]},
        "train": {"steps": 2, "batch_size": 4, "warmup_steps": 1, "checkpoint_every": 2},
    }
    fit(build_training(resolve(values, where="test")))
    return output


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_run, tmp_path / "run"))


def test_makes_the_explorer_and_the_analysis_once(run: Path) -> None:
    assert hdiff(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "tree_cascade" in page
    analysis = json.loads((run / "analysis.json").read_text())
    made = {name: (run / name).stat().st_mtime_ns for name in ("analysis.json", "exploration.json")}
    assert hdiff(["report", str(run)]) == 0
    assert made == {name: (run / name).stat().st_mtime_ns for name in made}
    (run / "analysis.json").write_text(json.dumps({**analysis, "weights": "of another model"}))
    assert hdiff(["report", str(run)]) == 0
    assert json.loads((run / "analysis.json").read_text()) == analysis


def test_sentences_are_explored_as_trained_and_level_by_level(run: Path) -> None:
    assert hdiff(["report", str(run)]) == 0
    explorations = json.loads((run / "exploration.json").read_text())
    first = [each for each in explorations if each["sentence"] == 0]
    choices = [each["choice"] for each in first]
    assert choices == [
        "as this run is trained: tree_cascade", "each sentence", "each clause", "each phrase", "each word",
    ]  # fmt: skip
    counts = [len({word["unit"] for word in each["words"]}) for each in first[1:]]
    assert counts == sorted(counts)
    assert counts[-1] == len(first[0]["words"])
    assert all(word["stages"] for word in first[0]["words"])


def test_explorations_of_an_older_kind_are_made_again(run: Path) -> None:
    (run / "exploration.json").write_text("[]")
    assert hdiff(["report", str(run)]) == 0
    (run / "exploration.json").write_text(json.dumps([{"title": "old"}]))
    assert hdiff(["report", str(run)]) == 0
    assert json.loads((run / "exploration.json").read_text())[0]["choice"]


def test_what_was_made_before_the_run_went_on_is_marked(run: Path) -> None:
    assert hdiff(["eval", str(run), "-q"]) == 0
    assert hdiff(["report", str(run)]) == 0
    assert "updates; the run has" not in (run / "report.html").read_text()
    file = run / "eval.json"
    evaluation = json.loads(file.read_text())
    assert evaluation["step"] == 2
    file.write_text(json.dumps({**evaluation, "step": 1}))
    assert hdiff(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert page.count("updates; the run has 2 now. Make it again with <code>hdiff eval") == 1


def test_without_its_data_set_a_run_still_has_a_report(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = (run / "recipe.yaml").read_text()
    lines = ["  path: gone" if line.startswith("  path:") else line for line in recipe.splitlines()]
    (run / "recipe.yaml").write_text("\n".join(lines) + "\n")
    assert hdiff(["report", str(run)]) == 0
    said = capsys.readouterr().err
    assert "no loss per label and no calibration in the report" in said
    assert "no corruption explorer" in said
    assert not (run / "analysis.json").exists()
    assert "needs the weights of the run and its data set" in (run / "report.html").read_text()


def test_a_run_without_weights_still_has_a_report(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    assert hdiff(["report", str(run)]) == 0
    assert not (run / "analysis.json").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "nothing to report"),
        (lambda path: path.mkdir(), "neither run.json"),
        (lambda path: path.write_text("x"), "nothing to report"),
    ],
)
def test_what_is_neither_run_nor_ablation_is_refused(tmp_path, capsys, make, message) -> None:
    make(tmp_path / "thing")
    assert hdiff(["report", str(tmp_path / "thing")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "hdiff" in said.replace("hdiff:", "", 1)
