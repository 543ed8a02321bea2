"""Runs of block diffusion: trained, evaluated and sampled from a recipe; T below the blocks is left out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from hdiff.cli import run as hdiff
from hdiff.control.request import Request
from hdiff.control.samples import controlled_samples
from hdiff.errors import DataError, RecipeError
from hdiff.evaluation.run import evaluate_run
from hdiff.progress import Progress
from hdiff.recipe import load_recipe
from hdiff.runs.folder import RunFolder
from hdiff.sharing.pipeline import TextDiffusionPipeline
from hdiff.training.build import build_training
from hdiff.training.trainer import fit

RECIPE = """
name: blocks
output: {output}
data: {{path: {data}, sequence_length: 32}}
model: {{width: 16, depth: 1, num_heads: 2}}
corruption: {{kind: block_masking, block_size: 8}}
train: {{steps: 4, batch_size: 4, warmup_steps: 1, ema_decay: 0.5, log_every: 1, checkpoint_every: 2}}
evaluation: {{steps: [1, 2, 4, 6, 32], blocks: 8, draws: 8, samples: 3}}
"""


@pytest.fixture(scope="module")
def recipe_file(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blocks")
    file = folder / "blocks.yaml"
    file.write_text(RECIPE.format(output=folder / "run", data=prepared_folder))
    return file


@pytest.fixture(scope="module")
def run(recipe_file: Path) -> RunFolder:
    recipe = load_recipe(recipe_file)
    fit(build_training(recipe))
    return RunFolder.load(recipe.output)


def test_evaluation_has_the_steps_that_four_blocks_allow(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluate_run(run, progress=Progress("eval"))
    assert found["sampler"] == {"kind": "blocks"}
    assert list(found["t_step"]) == list(found["quality"]) == ["4", "6", "32"]
    assert "left out: T = 1, 2; 'blocks' needs at least 4 steps" in capsys.readouterr().err
    for num_steps, figures in found["quality"].items():
        assert figures["nfe"] == int(num_steps)
    assert not found["bound"]["conditional_on_structure"]
    # A sampler with a step per token is the chain of states whose bound is printed above it.
    gap = found["t_step"]["32"] - found["bound"]["nats_per_token"]
    assert abs(gap) < 4 * (found["t_step_stderr"]["32"] + found["bound"]["stderr"])


def test_samples_say_what_is_missing(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    sampled = controlled_samples(run, Request(), num_samples=2, num_steps=5)
    assert sampled["nfe"] == sampled["num_steps"] == 5
    assert [len(sample["pieces"]) for sample in sampled["samples"]] == [32, 32]
    assert hdiff(["sample", str(run.path), "--num", "1"]) == 0
    capsys.readouterr()
    assert hdiff(["sample", str(run.path), "--num", "1", "--steps", "2"]) == 2
    assert "give at least 4 steps" in capsys.readouterr().err
    assert hdiff(["sample", str(run.path), "--num", "1", "--infill", "The {3} slept"]) == 2
    assert "takes no given text" in capsys.readouterr().err


@pytest.fixture(scope="module")
def many_blocks(recipe_file: Path) -> Path:
    """A run of 32 blocks, more than the 16 steps of other models."""
    folder = recipe_file.parent / "many"
    fit(build_training(load_recipe(recipe_file, ["corruption.block_size=1", f"output={folder}"])))
    return folder


def test_every_block_has_a_step_where_none_are_asked_for(
    many_blocks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hdiff(["sample", str(many_blocks), "--num", "1", "--json"]) == 0
    sampled = json.loads(capsys.readouterr().out)
    assert sampled["num_steps"] == sampled["nfe"] == 32
    assert hdiff(["sample", str(many_blocks), "--num", "1", "--json", "--length", "20"]) == 0
    assert json.loads(capsys.readouterr().out)["num_steps"] == 20
    pipeline = TextDiffusionPipeline.from_pretrained(many_blocks)
    one, two = (pipeline(num, generator=torch.Generator().manual_seed(0)).texts for num in (1, 2))
    assert one == (sampled["samples"][0]["text"],)
    pipeline.free_sampler = {"kind": "blocks"}
    assert pipeline(1).nfe == 32
    assert hdiff(["export", str(many_blocks), str(tmp_path / "shared")]) == 0
    card = (tmp_path / "shared" / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    capsys.readouterr()
    exec(snippet.replace("THIS FOLDER", str(tmp_path / "shared")), {})
    assert capsys.readouterr().out == f"{two}\n"


def test_the_page_writes_all_blocks_where_no_steps_are_asked_for(many_blocks: Path) -> None:
    pytest.importorskip("starlette", reason="needs the extra serve")
    from starlette.testclient import TestClient

    from hdiff.serve.app import create_app
    from hdiff.serve.served_run import ServedRun

    client = TestClient(create_app(ServedRun.load(many_blocks)), base_url="http://127.0.0.1:8000")
    assert client.get("/").status_code == 200
    answer = client.post("/api/restore", json={"length": 32})
    assert answer.status_code == 200, answer.text
    assert answer.json()["nfe"] == 32


def test_samplers_of_whole_rows_are_refused(run: RunFolder) -> None:
    for spec in ({"kind": "ancestral"}, {"kind": "confidence"}, {"kind": "planned"}):
        with pytest.raises(DataError, match="BlockMasking has a sampler of its own"):
            evaluate_run(run, steps=[4], sampler=spec)
    with pytest.raises(DataError, match="give at least 4 steps"):
        evaluate_run(run, steps=[4], sampler={"kind": "blocks", "num_steps": 2})


def test_a_planner_is_refused(recipe_file: Path) -> None:
    with pytest.raises(RecipeError, match="use planner=null"):
        build_training(load_recipe(recipe_file, ["planner={}", f"output={recipe_file.parent / 'other'}"]))


def test_minimal_pairs_are_scored_by_states(run: RunFolder) -> None:
    from hdiff.evaluation.agreement_pairs import agreement_pairs
    from hdiff.evaluation.minimal_pairs import evaluate_minimal_pairs

    found = evaluate_minimal_pairs(run, agreement_pairs()[:3], draws=1)
    assert found["pairs"] == 3
    assert "states per token" in found["likelihood"]
