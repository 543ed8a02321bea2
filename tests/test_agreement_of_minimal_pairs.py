"""Minimal pairs: who learnt agreement is right, and runs are evaluated into JSON."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from hdiff.corruption import (
    TokenMasking,
    sample_times,
)
from hdiff.data.batch import Batch
from hdiff.data.tokenizer import Tokenizer
from hdiff.evaluation.minimal_pair_files import MinimalPair, read_minimal_pairs
from hdiff.evaluation.minimal_pairs import evaluate_minimal_pairs, score_pairs
from hdiff.heads import ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.objectives import nelbo
from hdiff.recipe import load_recipe
from hdiff.runs.folder import RunFolder
from hdiff.training.build import build_training
from hdiff.training.trainer import fit

FIXTURES = Path(__file__).parent / "fixtures" / "blimp"
SCRIPT = Path(__file__).resolve().parents[1] / "recipes" / "benchmarks" / "blimp.py"
NOUNS = ["dog", "boy", "girl", "cat", "bear", "bird", "queen", "king", "cow", "horse"]
VERBS = ["like", "want", "see", "know", "eat", "hear", "need", "help", "love", "find"]


def small_language() -> tuple[list[MinimalPair], list[MinimalPair]]:
    """Every noun with every verb; of each one fifth of the combinations is set apart."""
    seen, held_out = [], []
    for first, noun in enumerate(NOUNS):
        for second, verb in enumerate(VERBS):
            right = (f"{noun} {verb}s it", f"{noun}s {verb} it")
            wrong = (f"{noun} {verb} it", f"{noun}s {verb}s it")
            part = seen if (first + second) % 5 else held_out
            part += [MinimalPair(*pair, "p", "f") for pair in zip(right, wrong, strict=True)]
    return seen, held_out


def test_a_model_that_learnt_agreement_is_right_about_sentences_it_never_saw():
    seen, held_out = small_language()
    assert not {pair.good for pair in seen} & {pair.good for pair in held_out}
    tokenizer = Tokenizer.train([pair.good for pair in seen], "words")
    rows = [[tokenizer.eos_id, *tokenizer.encode(pair.good)[0], tokenizer.eos_id] for pair in seen]
    batch = Batch.of(torch.tensor(rows))
    torch.manual_seed(0)
    model = Denoiser(Trunk(32, depth=2, num_heads=2), ProductHead(tokenizer.vocab_size, 32))
    corruption = TokenMasking(mask_id=model.mask_id)
    untrained = score_pairs(model, corruption, tokenizer, held_out).accuracy
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(400):
        corrupted = corruption.corrupt(batch, sample_times(batch, generator=generator), generator=generator)
        optimiser.zero_grad()
        nelbo(model(corrupted), batch, corrupted).mean.backward()
        optimiser.step()
    assert untrained < 0.7
    assert score_pairs(model, corruption, tokenizer, held_out).accuracy > 0.95


RECIPE = """
name: small
data: {{path: {data}, sequence_length: 32}}
model: {{width: 16, depth: 1, num_heads: 2}}
train: {{steps: 1, batch_size: 2, warmup_steps: 1}}
evaluation: {{blocks: 2, samples: 0}}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory, prepared_folder):
    """Makes run folders of one update each."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "small.yaml").write_text(RECIPE.format(data=prepared_folder))

    def make(name: str, *overrides: str) -> Path:
        out = folder / name
        if not out.exists():
            fit(build_training(load_recipe(folder / "small.yaml", [f"output={out}", *overrides])))
        return out

    return make


def test_a_run_is_evaluated_into_json(runs):
    run = RunFolder.load(runs("token-0", "corruption={kind: token_masking}"))
    found = evaluate_minimal_pairs(run, read_minimal_pairs(FIXTURES), draws=2, max_pairs=3, seed=5)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["pairs"], found["draws"], found["seed"]) == (9, 2, 5)
    shares = [entry["accuracy"] for entry in found["paradigms"].values()]
    assert found["accuracy"] == pytest.approx(sum(shares) / 3)
    assert found["fields"] == {"morphology": pytest.approx(found["accuracy"])}
    single = evaluate_minimal_pairs(run, read_minimal_pairs(FIXTURES), max_pairs=1)
    assert single["stderr"] is None


def test_runs_are_scored_without_their_structure(runs):
    """Parsed spans become random ones, hidden speeds play no part; both are bounds on -log p(x_0)."""
    spans = "corruption={kind: span_masking, segmentation: mixture, level: phrase, lengths: corpus}"
    rates = "corruption={kind: rate_matched, num_buckets: 4}"
    for name, corruption in (("spans-0", spans), ("rates-0", rates)):
        run = RunFolder.load(runs(name, corruption, "data.salience_buckets=4"))
        found = evaluate_minimal_pairs(run, read_minimal_pairs(FIXTURES), draws=1)
        assert found["likelihood"] == "upper bound on -log p, mean of 1 orders"


def test_the_benchmark_prints_a_line_per_system_and_says_what_it_left_out(runs, tmp_path, capsys):
    token = "corruption={kind: token_masking}"
    paths = [runs("token-0", token), runs("token-1", token, "seed=1")]
    paths.append(runs("cascade-0", "corruption={kind: tree_cascade, levels: [phrase]}"))
    spec = importlib.util.spec_from_file_location("blimp_benchmark", SCRIPT)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    out = tmp_path / "out.json"
    options = ["--blimp", str(FIXTURES), "--max-pairs", "2", "--draws", "1", "--out", str(out)]
    benchmark.main([*map(str, paths), *options])
    printed = capsys.readouterr().out
    results = json.loads(out.read_text())
    assert [result["blimp"]["pairs"] for result in results[:2]] == [6, 6]
    (line,) = [line for line in printed.splitlines() if line.startswith("| token |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    mean = sum(100 * result["agreement"]["accuracy"] for result in results[:2]) / 2
    assert cells[1] == "2"
    assert cells[3].startswith(f"{mean:.1f} ± ")
    assert "Not scored" in printed
    assert "texts that nobody parsed have none" in printed
