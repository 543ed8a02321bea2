"""hdiff diagnose: the files it writes, the object that others read, one clear line on bad input."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_masked_models import Pairs, subject_of

from hdiff.cli import run as hdiff
from hdiff.diagnosis import Diagnosis, HeldOut, diagnose
from hdiff.diagnosis.marginal_trap import TrapExample
from hdiff.diagnosis.page import diagnosis_page, json_of, markdown, write_diagnosis
from hdiff.pages.svg import ticks
from hdiff.recipe import load_recipe
from hdiff.training.build import build_training
from hdiff.training.trainer import fit

FILES = {
    "diagnosis.json",
    "diagnosis.md",
    "diagnosis.html",
    "frequency_collapse.svg",
    "marginal_trap.svg",
}
SMALL = ["--prefixes", "3", "--pairs", "3", "--masks", "10", "-q"]
RECIPE = """
name: small
data: {{path: {data}, sequence_length: 32}}
model: {{width: 16, depth: 1, num_heads: 2}}
corruption: {{kind: span_masking, segmentation: random, lengths: {{1: 0.5, 2: 0.5}}}}
head: {{kind: autoregressive, num_heads: 2}}
train: {{steps: 1, batch_size: 2, warmup_steps: 1}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, prepared_folder: Path) -> Path:
    """A run folder of one update."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "small.yaml").write_text(RECIPE.format(data=prepared_folder))
    fit(build_training(load_recipe(folder / "small.yaml", [f"output={folder / 'small'}"])))
    return folder / "small"


@pytest.fixture(scope="module")
def diagnosis() -> Diagnosis:
    """The diagnosis of a toy whose pairs determine each other: one figure is infinite."""
    words = torch.arange(400).remainder(6).numpy()
    counts = torch.ones(6, dtype=torch.float64).numpy()
    text = HeldOut(words, counts, 0, "a toy text")
    subject = subject_of(Pairs(torch.eye(6, dtype=torch.float64) / 6))
    return diagnose(replace(subject, longest=16), text, prefixes=3, masks=8, pairs=4)


def test_a_run_is_diagnosed_into_its_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert hdiff(["diagnose", str(run), *SMALL, "--json", "--seed", "4"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {file.name for file in run.iterdir()} >= FILES
    assert json.loads((run / "diagnosis.json").read_text()) == printed
    assert (printed["model"], printed["seed"]) == (str(run), 4)
    collapse, trap = printed["frequency_collapse"], printed["marginal_trap"]
    assert collapse["distance"] == list(range(1, 11))
    for key in ("kl_to_unigram", "kl_stderr", "entropy", "top10_share"):
        assert len(collapse[key]) == 10
    assert {"unigram_entropy", "half_distance"} <= set(collapse)
    assert collapse["prefixes"] == 3
    keys = {"count", "total_correlation", "stderr", "excess_surprise", "head_joint_recovers"}
    assert keys <= set(trap["pairs"])
    assert keys <= set(trap["agreement"])
    assert trap["pairs"]["head_joint_recovers"] is not None
    assert all({"context", "product", "chain"} <= set(example) for example in trap["examples"])


def test_text_of_ones_own_is_read_in_its_place(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.txt").write_text("The list of words is returned by the function. " * 90)
    arguments = ["diagnose", str(run), "--text", str(tmp_path / "own.txt"), "--output", str(tmp_path / "out")]
    capsys.readouterr()
    assert hdiff([*arguments, *SMALL]) == 0
    assert "own.txt; unigram distribution of the same file" in capsys.readouterr().out
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hf:somewhere/model"], "give held-out text: --text FILE"),
        (["no/such/run"], "is not a run folder"),
        (["no/such/run", "--shifted"], "--shifted is for models of transformers"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert hdiff(["diagnose", *arguments, "-q"]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_foreign_model_is_diagnosed_into_a_folder_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers", reason="foreign models need transformers")
    from tiny_checkpoints import TEXT, make_bert

    make_bert(tmp_path / "tiny-bert")
    (tmp_path / "text.txt").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert hdiff(["diagnose", "hf:./tiny-bert", "--text", "text.txt", *SMALL]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("Diagnosis of hf:./tiny-bert")
    assert captured.err == ""
    assert {file.name for file in (tmp_path / "diagnosis-tiny-bert").iterdir()} == FILES


# --- pages ----------------------------------------------------------------------------------------


def test_infinite_figures_become_null(diagnosis: Diagnosis, tmp_path: Path) -> None:
    assert diagnosis.pairs.excess_surprise == float("inf")
    write_diagnosis(diagnosis, tmp_path)
    written = json.loads((tmp_path / "diagnosis.json").read_text())
    assert written == json_of(diagnosis)
    assert written["marginal_trap"]["pairs"]["excess_surprise"] is None


def test_the_page_holds_everything_and_loads_nothing(diagnosis: Diagnosis) -> None:
    page = diagnosis_page(diagnosis)
    assert page.count("<svg ") == 2
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "nan" not in "".join(re.findall(r"<svg .*?</svg>", page, flags=re.DOTALL))
    assert "var(--ink)" in page
    assert 'name="viewport"' in page
    for title in ("Frequency collapse", "Marginal trap", "Notes"):
        assert f"<h2>{title}</h2>" in page


def test_hostile_text_stays_text(diagnosis: Diagnosis) -> None:
    hostile = "<script>alert(1)</script> | x"
    example = TrapExample(hostile, hostile, hostile, -1.0)
    changed = replace(diagnosis, model=hostile, examples=(example,))
    assert "<script>alert" not in diagnosis_page(changed)
    table = [line for line in markdown(changed).splitlines() if "alert" in line and line.startswith("|")]
    assert table[0].count("|") == 5
    assert "<script>" not in table[0]


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 7.2) == [0, 2, 4, 6]
    assert ticks(1, 48) == [10, 20, 30, 40]
    assert ticks(1, 1) == [1]
