"""Results of different requests stand beside each other in a run folder, each with what was asked for."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from hdiff.cli import run as hdiff
from hdiff.pages.report import build_report
from hdiff.recipe import resolve
from hdiff.runs.results import request_digest, request_text
from hdiff.training.build import build_training
from hdiff.training.trainer import fit

CHECKOUT = Path(__file__).resolve().parents[1]

SAMPLES = [
    ([], "samples"),
    (["--num", "2"], "samples"),
    (["--num", "2", "--steps", "3"], "samples"),
    (["--num", "2", "--seed", "4"], "samples"),
    (["--num", "1", "--length", "9"], "samples"),
    (["--num", "1", "--temperature", "0.5"], "samples_temperature"),
    (["--num", "1", "--top-k", "3"], "samples_top_k"),
    (["--num", "1", "--top-p", "0.5"], "samples_top_p"),
    (["--num", "1", "--sampler", "planned"], "samples_sampler"),
    (["--num", "1", "--sampler", "{kind: planned, order: random}"], "samples_sampler"),
    (["--num", "1", "--infill", "The list [2]"], "samples_infill"),
    (["--num", "1", "--infill", "The list [3]"], "samples_infill"),
    (["--num", "1", "--infill", "The list [2-3]", "--temperature", "0.5"], "samples_infill_temperature"),
    (["--num", "1", "--keywords", "list", "--length", "6"], "samples_keywords"),
    (["--num", "1", "--rewrite", "The list is", "--phrase", "The list"], "samples_rewrite"),
]
EVALUATIONS = [
    ([], "eval"),
    (["--steps", "1"], "eval"),
    (["--steps", "1,2"], "eval"),
    (["--agreement", "--max-pairs", "1", "--steps", "1"], "eval"),
    (["--steps", "1", "--seed", "3"], "eval_seed"),
    (["--steps", "1", "--seed", "4"], "eval_seed"),
    (["--steps", "2", "--sampler", "planned"], "eval_sampler"),
    (["--steps", "2", "--sampler", "{kind: planned, order: random}"], "eval_sampler"),
    (["--steps", "1", "--given-structure"], "eval_given_structure"),
    (["--steps", "1", "--data", "DATA"], "eval_data"),
    (["--steps", "1", "--data", "DATA", "--seed", "1"], "eval_data_seed"),
    (["--steps", "1", "--given-structure", "--sampler", "ancestral"], "eval_given_structure_sampler"),
]


@pytest.fixture(scope="module")
def trained(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("requests") / "run"
    values = {
        "name": "small",
        "output": str(output),
        "data": {"path": str(prepared_folder), "sequence_length": 32, "max_unit_tokens": 6},
        "model": {"width": 16, "depth": 1, "num_heads": 2},
        "corruption": {
            "kind": "span_masking",
            "segmentation": "mixture",
            "level": "phrase",
            "lengths": "corpus",
        },
        "planner": {},
        "train": {"steps": 2, "batch_size": 4, "warmup_steps": 1, "checkpoint_every": 2},
        "evaluation": {"steps": [1], "blocks": 2, "draws": 1, "samples": 2},
    }
    fit(build_training(resolve(values, where="test")))
    return output


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def results(run: Path, name: str) -> dict[str, dict[str, Any]]:
    return {file.stem: json.loads(file.read_text()) for file in run.glob(f"{name}*.json")}


def said(page: str, section: str) -> str:
    return re.findall(rf'<section id="{section}">(.*?)</section>', page, re.DOTALL)[0]


@pytest.mark.parametrize(
    ("command", "name", "requests"), [("sample", "samples", SAMPLES), ("eval", "eval", EVALUATIONS)]
)
def test_no_request_overwrites_the_result_of_another(
    command: str, name: str, requests: list[tuple[list[str], str]], run: Path, prepared_folder: Path
) -> None:
    asked = []
    for options, kind in requests:
        words = [str(prepared_folder) if word == "DATA" else word for word in options]
        assert hdiff([command, str(run), *words, "-q"]) == 0
        newest = json.loads((run / f"{kind}.json").read_text())
        assert newest["created"]
        typed = shlex.split(request_text(newest["asked"]))
        assert set(words[::2] if command == "sample" else words) - {"ancestral", "planned"} - set(typed) <= {
            word for word in words if word.startswith("{")
        }
        asked.append(newest["asked"])
    kept = [found["asked"] for found in results(run, name).values()]
    assert sorted(map(request_digest, kept)) == sorted(map(request_digest, asked))
    assert len(kept) == len(requests)


@pytest.mark.parametrize("options", [options for options, _ in SAMPLES])
def test_what_was_asked_for_can_be_typed_and_gives_the_same(options: list[str], run: Path) -> None:
    assert hdiff(["sample", str(run), *options, "-q"]) == 0
    first = results(run, "samples")
    ((name, result),) = first.items()
    assert hdiff(["sample", str(run), *shlex.split(request_text(result["asked"])), "-q"]) == 0
    ((again, repeated),) = results(run, "samples").items()
    assert (again, repeated["samples"], repeated["asked"]) == (name, result["samples"], result["asked"])


def test_a_page_calls_unselected_only_what_was_asked_for_freely(run: Path) -> None:
    assert hdiff(["sample", str(run), "--num", "1", "--infill", "The list [2]", "-q"]) == 0
    assert "Unselected samples" not in said(build_report(run), "samples")
    assert hdiff(["sample", str(run), "--num", "1", "--temperature", "0.1", "-q"]) == 0
    assert "Unselected samples" not in said(build_report(run), "samples")
    assert hdiff(["sample", str(run), "--num", "1", "--seed", "7", "-q"]) == 0
    page = said(build_report(run), "samples")
    assert f"hdiff sample {run} --num 1 --seed 7" in page
    free, _, others = page.partition('<details id="other-samples">')
    assert "The list" not in free
    assert "--infill" in others
    assert "--temperature 0.1" in others
    assert hdiff(["sample", str(run), "--num", "1", "--seed", "8", "-q"]) == 0
    free, _, others = said(build_report(run), "samples").partition('<details id="other-samples">')
    assert "--seed 8" in free
    assert "--seed 7" in others


GIVEN = {"text": "The", "step": 0, "unit": 0, "level": "given"}
DRAWN = {"text": "The", "step": 1, "unit": 0, "level": "word"}


@pytest.mark.parametrize(
    ("samples", "is_free"),
    [
        ([{"text": "The", "pieces": [DRAWN]}], True),
        ([{"text": "The", "pieces": [GIVEN, DRAWN]}], False),
        ([{"text": "The", "pieces": [DRAWN], "score": 2.5}], False),
        ([{"text": "The"}], True),
    ],
)
def test_samples_of_an_older_version_are_free_if_nothing_was_given(
    samples: list[dict[str, Any]], is_free: bool, run: Path
) -> None:
    (run / "samples.json").write_text(json.dumps({"num_steps": 1, "seed": 0, "samples": samples}))
    page = said(build_report(run), "samples")
    assert ("other-samples" not in page) == is_free
    assert ("No samples yet" in page) != is_free
    assert hdiff(["sample", str(run), "--num", "1", "-q"]) == 0
    assert json.loads((run / "samples_older.json").read_text())["samples"] == samples


def test_a_damaged_result_is_made_anew(run: Path) -> None:
    for content in ("{", "[]", "\0"):
        (run / "samples.json").write_text(content)
        assert hdiff(["sample", str(run), "--num", "1", "-q"]) == 0
        assert list(results(run, "samples")) == ["samples"]


def test_text_of_ones_own_is_diagnosed_beside_the_diagnosis_of_the_run(run: Path, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("The list of words is returned by the function. " * 90)
    small = ["--prefixes", "3", "--masks", "8", "--pairs", "4", "-q"]
    assert hdiff(["diagnose", str(run), *small]) == 0
    before = (run / "diagnosis.json").read_text()
    assert hdiff(["diagnose", str(run), *small, "--text", str(tmp_path / "own.txt")]) == 0
    assert (run / "diagnosis.json").read_text() == before
    assert json.loads((run / "diagnosis_text" / "diagnosis.json").read_text())["asked"]["text"].endswith(
        "own.txt"
    )
    assert hdiff(["diagnose", str(run), *small, "--seed", "5"]) == 0
    (kept,) = (file for file in run.glob("diagnosis_*.json"))
    assert kept.read_text() == before


def test_every_file_of_a_run_folder_has_an_owner_in_the_docs(run: Path, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("The list of words is returned by the function. " * 90)
    small = ["--prefixes", "3", "--masks", "8", "--pairs", "4"]
    for words in (
        ["eval"],
        ["eval", "--steps", "1"],
        ["sample", "--num", "1"],
        ["sample", "--num", "1", "--infill", "The [2]"],
        ["diagnose", *small],
        ["diagnose", *small, "--text", str(tmp_path / "own.txt")],
        ["report"],
    ):
        assert hdiff([words[0], str(run), *words[1:], "-q"]) == 0, words
    page = (CHECKOUT / "docs" / "evaluate.md").read_text(encoding="utf-8")
    table = page.partition("## Files of a run folder")[2]
    patterns = re.findall(
        r"`([\w.*/-]+)`", "\n".join(line.split("|")[1] for line in table.splitlines() if "|" in line)
    )
    found = [path.relative_to(run) for path in run.iterdir()]
    assert {
        str(path) for path in found if not any(path.match(pattern.rstrip("/")) for pattern in patterns)
    } == set()
