"""Commands that need no run: pages of text, of a machine, and one clear line on bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from said import said
from shared_models import CHECKOUT


@pytest.mark.parametrize("levels", ["sentence,word", "word,sentence", "sentence, word", "word"])
def test_inspect_shows_levels_side_by_side(
    levels: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "inspect.html"
    words = ["inspect", "The old dog slept.", "--parser", "plain", "--level", levels, "--html", str(page)]
    code, out, _ = said(capsys, words)
    assert code == 0
    named = [level.strip() for level in levels.split(",")]
    assert out.count("Corruption (units: ") == len(named)
    for level in named:
        assert f"<b>{', '.join(named)}</b>" in page.read_text()
        assert f"Corruption (units: {level})" in out


@pytest.mark.parametrize("levels", ["word,phrases", "phrases,word", ",", "word,", "word;sentence", ""])
def test_levels_that_there_are_not_are_refused(levels: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, errors = said(capsys, ["inspect", "A dog.", "--parser", "plain", "--level", levels])
    assert code == 2
    assert "is not produced by parser" in errors


def test_inspect_draws_tree_salience_and_corruption(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "inspect.html"
    code, out, _ = said(capsys, ["inspect", "The old dog that barked slept.", "--html", str(page)])
    assert code == 0
    for part in ("SBAR", "NP", "0.1", "0.9", "dog"):
        assert part in out
    assert "The old dog" in page.read_text()


def test_doctor_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, ["doctor", "--json"])
    assert code == 0
    checks = {check["name"]: check for check in json.loads(out)}
    assert checks["torch"]["status"] == "ok"


def test_prepare_again_is_at_once_and_other_inputs_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "text.txt"
    source.write_text("\n\n".join(f"The cat number {i} sat on a mat." for i in range(40)))
    arguments = ["prepare", str(source), "--out", str(tmp_path / "out"), "--tokenizer", "train:300", "-q"]
    assert said(capsys, arguments)[0] == 0
    assert said(capsys, arguments)[0] == 0
    code, _, err = said(capsys, [*arguments[:-2], "words", "-q"])
    assert code == 2
    assert "other inputs" in err


BAD_INPUT = {
    "no such file": (["prepare", "none.txt", "--out", "out"], "none.txt"),
    "empty file": (["prepare", "empty.txt", "--out", "out"], "empty"),
    "not UTF-8": (["prepare", "latin.txt", "--out", "out"], "UTF-8"),
    "binary": (["prepare", "binary.txt", "--out", "out"], "binary"),
    "no word": (["prepare", "blank.txt", "--out", "out"], "has no text"),
    "unknown parser": (["prepare", "good.txt", "--out", "out", "--parser", "spay"], "spacy"),
    "unknown level": (["prepare", "good.txt", "--out", "out", "--levels", "phrases"], "phrases"),
    "no such tokenizer": (["prepare", "good.txt", "--out", "out", "--tokenizer", "none"], "none"),
    "no such recipe": (["train", "none.yaml"], "no recipe none.yaml"),
    "misspelt key": (
        ["train", str(CHECKOUT / "recipes/quickstart.yaml"), "train.stpes=4"],
        "did you mean 'steps'",
    ),
    "no data set": (["train", str(CHECKOUT / "recipes/quickstart.yaml"), "data.path=none"], "hdiff prepare"),
    "no run folder": (["eval", "none"], "not a run folder"),
    "folder that is no run": (["sample", "."], "not a run folder"),
    "report of nothing": (["report", "none"], "none"),
    "inspect nothing": (["inspect", "  "], "no word"),
    "unknown inspect level": (["inspect", "A dog.", "--level", "phrases"], "phrases"),
    "unknown option": (["train", "--stpes"], "--stpes"),
    "unknown command": (["trian"], "trian"),
}


@pytest.mark.parametrize("case", list(BAD_INPUT))
def test_bad_input_is_one_clear_line_and_exit_code_2(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.txt").write_text("The cat sat on the mat.\n\nA dog barked.\n")
    Path("empty.txt").write_text("")
    Path("blank.txt").write_text(" \n\t\n\n")
    Path("latin.txt").write_bytes("Le café était fermé.".encode("latin-1"))
    Path("binary.txt").write_bytes(bytes(range(256)) * 4)
    arguments, expected = BAD_INPUT[case]
    code, _, err = said(capsys, arguments)
    assert code == 2
    lines = [line for line in err.splitlines() if line.startswith("hdiff: ")]
    assert len(lines) == 1, err
    assert expected in lines[0]
    assert "Traceback" not in err
    assert not Path("out/manifest.json").exists()


def test_debug_shows_the_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hdiff", "eval", "none", "--debug"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" in done.stderr


def test_help_is_quick_and_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("prepare", "train", "eval", "sample", "inspect", "report", "doctor"):
        code, out, _ = said(capsys, [command, "--help"])
        assert code == 0
        assert "xample" in out
