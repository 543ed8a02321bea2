"""Gaps in source: whole statements and expressions, filled in T steps, scored as they are drawn."""

from __future__ import annotations

import ast
import json
import shlex
import statistics
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from benchmark_scripts import benchmark_script

from hdiff.corruption import TokenMasking
from hdiff.data.batch import Batch
from hdiff.data.prepare.run import prepare
from hdiff.data.prepared import PreparedData
from hdiff.heads import AutoregressiveHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser

TINY = [
    "data.sequence_length=32",
    "model={width: 16, depth: 1, num_heads: 2}",
    "train.steps=2",
    "train.batch_size=2",
    "train.warmup_steps=1",
    "evaluation.blocks=2",
]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return benchmark_script("code_gaps")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two modules of the library, and their twin with shuffled trees."""
    folder = tmp_path_factory.mktemp("data")
    options = {"validation": f"python:{shlex.__file__}", "levels": ["sentence", "clause", "phrase"]}
    source = f"python:{statistics.__file__}"
    prepare(source, folder / "code", parser="python", tokenizer="train:400", **options)
    tokenizer = str(folder / "code")
    prepare(source, folder / "code_shuffled", parser="shuffled:python", tokenizer=tokenizer, **options)
    return folder


@pytest.mark.parametrize("kind", ["statement", "expression"])
def test_gaps_are_whole_statements_and_expressions_that_parse_as_they_are(
    kind: str, script: ModuleType, data: Path
) -> None:
    prepared = PreparedData.load(data / "code")
    generator = np.random.default_rng(0)
    gaps = script.draw_gaps(prepared, kind, number=50, length=32, generator=generator)
    assert len(gaps) >= 30
    for gap in gaps:
        own = gap.row[gap.first : gap.first + gap.length]
        text = prepared.tokenizer.decode(own).strip()
        tree = ast.parse(f"({text})" if kind == "expression" else text.replace("return", "yield"))
        assert len(tree.body) == 1
        assert gap.parses(own, prepared.tokenizer)
        assert not gap.parses(prepared.tokenizer.encode(" ) = (")[0], prepared.tokenizer)


@pytest.mark.parametrize("is_joint", [True, False])
@pytest.mark.parametrize("num_steps", [1, 2, 4, 9])
def test_a_gap_is_filled_in_as_many_steps_as_asked(
    is_joint: bool, num_steps: int, script: ModuleType, generator: torch.Generator
) -> None:
    torch.manual_seed(0)
    model = Denoiser(Trunk(16, depth=1, num_heads=2), AutoregressiveHead(5, 16, num_heads=2)).eval()
    corruption = TokenMasking(mask_id=model.mask_id)
    is_hidden = torch.zeros(2, 12, dtype=torch.bool)
    is_hidden[0, 2:7] = is_hidden[1, 4:7] = True
    tokens = torch.randint(5, (2, 12)).masked_fill(is_hidden, model.mask_id)
    sampler = script.GapSampler(num_steps, is_joint=is_joint)
    samples = sampler.sample(model, corruption, tokens, generator=generator)
    for row, size in enumerate((5, 3)):
        steps = samples.steps[row][is_hidden[row]].tolist()
        assert sorted(set(steps)) == list(range(min(num_steps, size)))
        assert not is_joint or steps == sorted(steps)
        units = samples.units[row][is_hidden[row]].tolist()
        assert len(set(units)) == (min(num_steps, size) if is_joint else size)


def test_over_all_fillings_probabilities_sum_to_one(script: ModuleType) -> None:
    """At any T of a joint head, whose steps have a fixed order."""
    torch.manual_seed(0)
    model = Denoiser(Trunk(16, depth=1, num_heads=2), AutoregressiveHead(3, 16, num_heads=2)).eval()
    fillings = torch.cartesian_prod(*[torch.arange(3)] * 3)
    rows = torch.randint(3, (1, 6)).repeat(len(fillings), 1)
    rows[:, 2:5] = fillings
    is_hidden = torch.zeros_like(rows, dtype=torch.bool)
    is_hidden[:, 2:5] = True
    for num_steps in (1, 2, 3):
        sampler = script.GapSampler(num_steps, is_joint=True)
        score = sampler.score(model, TokenMasking(mask_id=3), Batch.of(rows), is_hidden=is_hidden)
        assert float((-score.nats).exp().sum()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.slow
def test_systems_are_trained_measured_and_tabulated(
    script: ModuleType,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--data", str(data), "--out", str(tmp_path), "--seeds", "[0]", "--gaps", "20"]
    options += ["--json", str(tmp_path / "figures.json"), "--set", *TINY]
    monkeypatch.setattr(sys, "argv", ["code_gaps.py", *options])
    script.main()
    systems = ("parsed_spans", "random_spans", "shuffled_trees", "token_masking")
    for system in systems:
        found = json.loads((tmp_path / f"{system}-0" / "code_gaps.json").read_text())
        for kind in ("statement", "expression"):
            assert set(found[kind]["parse"]) == {"1", "2", "4"}
            assert all(0.0 <= share <= 1.0 for share in found[kind]["parse"].values())
            assert all(nats > 0 for nats in found[kind]["nats"].values())
    assert set(json.loads((tmp_path / "figures.json").read_text())) == set(systems)
    said = capsys.readouterr().out
    assert "| statement | parsed_spans - random_spans | 1 |" in said
    assert "| expression | token_masking | 1 |" in said
