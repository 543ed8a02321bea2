"""Runs from checkpoints of transformers: trained, shared, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_transformers import checkpoint, recipe, transformers
from word_tokenizer import words

from hdiff.cli import run as hdiff
from hdiff.corruption import SpanMasking
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import CheckpointError, DataError, RecipeError
from hdiff.factory import build_model
from hdiff.models.pretrained_checkpoint import load_trunk
from hdiff.runs.folder import RunFolder
from hdiff.samplers import AncestralSampler, hidden_rows
from hdiff.sharing import PretrainedModel
from hdiff.sharing.pipeline import TextDiffusionPipeline


def test_a_run_from_a_checkpoint_trains_and_is_shared_without_it(
    tmp_path: Path, prepared_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Train, export, take the checkpoint away: the shared folder holds all that is needed."""
    start = tmp_path / "start"
    checkpoint("bert", start, Tokenizer.load(prepared_folder))
    recipe_file = Path(__file__).parents[2] / "recipes" / "e2e_control.yaml"
    run = tmp_path / "run"
    changes = [
        f"model={{width: 32, depth: 2, num_heads: 4, pretrained: {start}}}",
        "train={steps: 3, batch_size: 4, warmup_steps: 1}",
        f"data={{path: {prepared_folder}, sequence_length: 32}}",
        "corruption={kind: span_masking, segmentation: mixture, level: phrase, lengths: corpus}",
        "head={kind: autoregressive, num_heads: 2}",
        "planner={}",
        f"output={run}",
        "-q",
    ]
    assert hdiff(["train", str(recipe_file), *changes]) == 0
    assert hdiff(["sample", str(run), "--num", "1", "--steps", "2"]) == 0
    assert hdiff(["export", str(run), str(tmp_path / "shared")]) == 0
    expected = RunFolder.load(run).model.state_dict()
    shutil.rmtree(start)
    assert hdiff(["sample", str(tmp_path / "shared"), "--length", "100"]) == 2
    assert "hdiff: a text of 100 tokens, the pretrained trunk has 64 positions" in capsys.readouterr().err
    loaded = PretrainedModel.from_pretrained(tmp_path / "shared")
    with pytest.raises(DataError, match="ask for at most 64"):
        TextDiffusionPipeline.of(loaded)(1, length=100)
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    config = json.loads((tmp_path / "shared" / "config.json").read_text())
    assert config["model"]["pretrained"] == "start"
    card = (tmp_path / "shared" / "README.md").read_text(encoding="utf-8")
    assert "whatever `start`, whose weights it started from, has read" in card
    assert "Needs hdiff, and transformers" in card
    assert 'pip install ".[transformers]"' in card
    assert str(tmp_path) not in json.dumps(config)
    with pytest.raises(CheckpointError, match=r"no folder with a config\.json"):
        RunFolder.load(run)


def test_another_tokenizer_is_refused_with_the_command_that_helps(
    tmp_path: Path, prepared_folder: Path
) -> None:
    checkpoint("bert", tmp_path, words())
    with pytest.raises(RecipeError, match=f"hdiff prepare SOURCE --out DATA --tokenizer {tmp_path}"):
        build_model(recipe(tmp_path, prepared_folder), 512)
    theirs = Tokenizer.load(prepared_folder)  # as many tokens, in another order
    swapped = json.loads(theirs.backend.to_str())
    vocab = swapped["model"]["vocab"]
    one, other = list(vocab)[100:102]
    vocab[one], vocab[other] = vocab[other], vocab[one]
    again = tmp_path / "again"
    (again).mkdir()
    (again / "tokenizer.json").write_text(json.dumps(swapped))
    checkpoint("bert", again, Tokenizer.load(again))
    with pytest.raises(RecipeError, match="has another tokenizer than the checkpoint"):
        build_model(recipe(again, prepared_folder), theirs.vocab_size)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    tokenizer = words()
    size = tokenizer.vocab_size
    checkpoint("bert", tmp_path, tokenizer)
    with pytest.raises(RecipeError, match=r"use model\.width=32 model\.depth=2 model\.num_heads=4"):
        build_model(recipe(tmp_path, width=64), size)
    with pytest.raises(RecipeError, match=r"'autoregressive' with model\.pretrained"):
        build_model(recipe(tmp_path, kind="autoregressive"), size)
    long = recipe(tmp_path).model_copy(
        update={"data": recipe(tmp_path).data.model_copy(update={"sequence_length": 65})}
    )
    with pytest.raises(RecipeError, match="65, the pretrained trunk has 64 positions"):
        build_model(long, size)
    model = build_model(recipe(tmp_path), size)
    corruption = SpanMasking(segmentation="random", lengths={1: 1.0}, mask_id=size)
    with pytest.raises(DataError, match="keeps no cache; use a sampler with refresh: 1"):
        AncestralSampler(2, refresh=2).sample(model, corruption, hidden_rows(model, 1, 4))  # type: ignore[arg-type]


def test_pickles_and_remote_code_are_not_read(tmp_path: Path) -> None:
    checkpoint("bert", tmp_path, words())
    config = json.loads((tmp_path / "config.json").read_text())
    code = {"AutoConfig": "evil.Config", "AutoModelForMaskedLM": "evil.Model"}
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "evil", "auto_map": code}))
    with pytest.raises(CheckpointError, match="without pickles and remote code"):
        load_trunk(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="without pickles and remote code"):
        load_trunk(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_network_that_cannot_look_ahead_is_refused(tmp_path: Path) -> None:
    """A state-space model reads left to right whatever its masks say."""
    config = transformers.MambaConfig(
        vocab_size=words().vocab_size, hidden_size=32, num_hidden_layers=2, state_size=4
    )
    transformers.MambaForCausalLM(config).save_pretrained(tmp_path)
    words().save(tmp_path)
    with pytest.raises(CheckpointError, match="does not see the last one"):
        load_trunk(str(tmp_path))


def test_missing_weights_are_not_made_up(tmp_path: Path) -> None:
    checkpoint("bert", tmp_path, words())
    tensors = load_file(tmp_path / "model.safetensors")
    dropped = "bert.encoder.layer.1.attention.self.query.weight"
    save_file(
        {name: value for name, value in tensors.items() if name != dropped}, tmp_path / "model.safetensors"
    )
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors .*query\.weight"):
        load_trunk(str(tmp_path))
