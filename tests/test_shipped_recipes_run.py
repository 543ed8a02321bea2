"""Every shipped recipe trains and is evaluated, every shipped ablation fills its table, at tiny size."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from preloaded_python import preloaded

from hdiff.cli import run as hdiff
from hdiff.data.tokenizer import Tokenizer
from hdiff.recipe import differences, load_recipe
from hdiff.strict_yaml import read_yaml

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
FILES = sorted(file for file in RECIPES.rglob("*.yaml"))
ABLATIONS = [file for file in FILES if "\nvariants:" in file.read_text(encoding="utf-8")]
PLAIN = [file for file in FILES if file not in ABLATIONS]
TINY = [
    "data.sequence_length=24",
    "train.steps=2",
    "train.batch_size=2",
    "train.warmup_steps=1",
    "train.trackers=[]",
    "train.gradient_accumulation=1",
    "train.mixed_precision=no",
    "evaluation.blocks=2",
    "evaluation.draws=1",
    "evaluation.steps=[1, 4]",
    "evaluation.batch_size=4",
    "model.width=16",
    "model.num_heads=2",
]
WITHOUT_STEPS = ("rate_matched", "learned_rates", "uniform_state", "gaussian")
"""Corruptions that are not drawn in T steps of a sampler, so that their cells at every T are dashes."""
HEADS_OF_SIZE = {"num_layers": 1, "num_heads": 2}


def tiny_llama(folder: Path, data: Path) -> Path:
    """A checkpoint of the size that `small` gives models, with the tokenizer of a data set."""
    transformers = pytest.importorskip("transformers", reason="released trunks need transformers")
    tokenizer = Tokenizer.load(data)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=tokenizer.vocab_size, max_position_embeddings=64, **shape)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save(folder)
    return folder


def small(file: Path, data: Path, out: Path) -> list[str]:
    """Overrides that keep everything of a recipe but its sizes and its data."""
    recipe = load_recipe(file)
    changed = [*TINY, f"data.path={data}", f"output={out}", "model.depth=1", "evaluation.samples=2"]
    if recipe.head["kind"] == "autoregressive":
        changed += [f"head.{key}={value}" for key, value in HEADS_OF_SIZE.items()]
    if recipe.data.mixture:
        changed.append(f"data.mixture=[{{path: {data}, weight: 2}}, {{stream: {{source: 'builtin:pydoc'}}}}]")
    if recipe.model.pretrained is not None:
        changed.append(f"model.pretrained={tiny_llama(out.parent / 'released', data)}")
    if recipe.data.stream is not None:
        changed += ["data.stream.source=builtin:pydoc", "data.stream.workers=0"]
    return changed


@pytest.mark.slow
@pytest.mark.parametrize("file", PLAIN, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_shipped_recipe_trains_and_is_evaluated(file: Path, prepared_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    overrides = small(file, prepared_folder, out)
    assert hdiff(["train", str(file), *overrides, "-q"]) == 0
    assert load_recipe(out / "recipe.yaml") == load_recipe(file, overrides)
    assert hdiff(["eval", str(out), "-q"]) == 0
    found = json.loads((out / "eval.json").read_text())
    assert found["bound"]["nats_per_token"] > 0
    assert sorted(found["t_step"]) in (["1", "4"], ["4"], []), "not every family has steps"
    # Started again, it is the same run: nothing is trained anew and nothing is refused.
    assert hdiff(["train", str(file), *overrides, "resume=auto", "-q"]) == 0


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with preloaded(tmp_path_factory.mktemp("python")) as executable:
        yield executable


@pytest.mark.slow
@pytest.mark.parametrize("file", ABLATIONS, ids=lambda file: file.stem)
def test_a_shipped_ablation_fills_its_table(
    file: Path,
    prepared_folder: Path,
    tmp_path: Path,
    interpreter: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "executable", str(interpreter))
    seeds = [0, 1] if file.stem == "heads" else [0]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "code_shuffled").symlink_to(prepared_folder)  # a variant of code_gaps names it
    monkeypatch.chdir(tmp_path)
    command = ["ablate", str(file), *TINY, f"seeds={seeds}", f"output={tmp_path / 'out'}"]
    command += [f"data.path={prepared_folder}", "evaluation.samples=2", "--json"]
    assert hdiff(command) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["failed"], found["unfinished"]) == ({}, [])
    written = read_yaml(file, what="ablation", remedy="")
    assert list(found["variants"]) == list(written["variants"])
    for variant, entry in found["variants"].items():
        assert entry["seeds"] == seeds, variant
        figures = entry["figures"]
        assert figures["bound"]["mean"] > 0, variant
        recipe = load_recipe(tmp_path / "out" / f"{variant}-0" / "recipe.yaml")
        if recipe.model.kind == "autoregressive" or recipe.corruption["kind"] in WITHOUT_STEPS:
            continue
        judged = ["judge_nll"] if "judge" in written else []
        for figure in ("L", "unigram_entropy", *judged):
            assert "4" in figures[figure], (variant, figure)
    for saved in (tmp_path / "out").glob("*-[0-9]/recipe.yaml"):
        asked = tmp_path / "out" / "recipes" / f"{saved.parent.name}.yaml"
        assert differences(load_recipe(saved), load_recipe(asked)) == []
    assert hdiff(command) == 0, "started again"
    again = capsys.readouterr()
    assert "done in" not in again.err, "what is computed is kept"
    assert json.loads(again.out) == found
