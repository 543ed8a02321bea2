"""Checkpoints of transformers as trunks: visible both ways, their own scores, trained and shared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from word_tokenizer import SPARE_ROWS, words

from hdiff.cli import run as hdiff
from hdiff.corruption import SpanMasking, sample_times
from hdiff.data.batch import Batch
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import CheckpointError, DataError, RecipeError
from hdiff.factory import build_model
from hdiff.models.pretrained_checkpoint import load_trunk
from hdiff.objectives import nelbo
from hdiff.recipe import resolve
from hdiff.runs.folder import RunFolder
from hdiff.samplers import AncestralSampler, hidden_rows
from hdiff.sharing import PretrainedModel
from hdiff.sharing.pipeline import TextDiffusionPipeline

transformers = pytest.importorskip("transformers", reason="pretrained trunks need transformers")

SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
CLASSES = {
    "bert": ("BertConfig", "BertForMaskedLM", {}),
    "modernbert": ("ModernBertConfig", "ModernBertForMaskedLM", {"local_attention": 8}),
    "llama": ("LlamaConfig", "LlamaForCausalLM", {"num_key_value_heads": 2}),
    "qwen": ("Qwen2Config", "Qwen2ForCausalLM", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
}


def checkpoint(kind: str, folder: Path, tokenizer: Tokenizer) -> Any:
    """A tiny untrained checkpoint on the disk; returns the model of transformers."""
    config_name, model_name, options = CLASSES[kind]
    torch.manual_seed(0)
    config = getattr(transformers, config_name)(
        vocab_size=tokenizer.vocab_size + SPARE_ROWS,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
        **SHAPE,
        **options,
    )
    if kind == "modernbert":
        config.pad_token_id = 0
    model = getattr(transformers, model_name)(config).eval()
    with torch.no_grad():  # as far from initial values as weights that were trained
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tokenizer.save(folder)
    return model


def recipe(folder: Path, data: Path | str = "nowhere", **model: Any) -> Any:
    shape = {"width": 32, "depth": 2, "num_heads": 4, "pretrained": str(folder)}
    return resolve(
        {
            "name": "x",
            "output": "x",
            "data": {"path": str(data), "sequence_length": 32},
            "model": {**shape, **model},
        },
        where="test",
    )


@pytest.mark.parametrize("kind", list(CLASSES))
def test_a_later_token_changes_earlier_outputs(kind: str, tmp_path: Path) -> None:
    checkpoint(kind, tmp_path, words())
    trunk, _ = load_trunk(str(tmp_path))
    trunk.eval()
    row = torch.randn(1, 7, 32)
    later, earlier = row.clone(), row.clone()
    later[:, -1] *= -1
    earlier[:, 0] *= -1
    before, after_later, after_earlier = trunk(row), trunk(later), trunk(earlier)
    assert not torch.allclose(before[:, 0], after_later[:, 0], atol=1e-4)
    assert not torch.allclose(before[:, -1], after_earlier[:, -1], atol=1e-4)


@pytest.mark.parametrize("kind", list(CLASSES))
def test_padding_is_not_seen(kind: str, tmp_path: Path) -> None:
    checkpoint(kind, tmp_path, words())
    trunk, _ = load_trunk(str(tmp_path))
    trunk.eval()
    row, token_mask = torch.randn(2, 7, 32), torch.ones(2, 7, dtype=torch.bool)
    token_mask[0, 5:] = False
    other = row.clone()
    other[0, 5:] *= -1
    assert torch.allclose(trunk(row, token_mask)[0, :5], trunk(other, token_mask)[0, :5], atol=1e-6)
    assert torch.allclose(trunk(row, token_mask)[1], trunk(row[1:])[0], atol=1e-5)
    assert torch.allclose(trunk(row, token_mask)[0, :5], trunk(row[:1, :5])[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_a_product_head_starts_with_the_scores_of_the_checkpoint(kind: str, tmp_path: Path) -> None:
    """Number for number those of transformers at its own mask: nothing of the training is lost."""
    tokenizer = words()
    theirs = checkpoint(kind, tmp_path, tokenizer)
    size = tokenizer.vocab_size
    model = build_model(recipe(tmp_path), size).eval()
    tokens = torch.randint(5, size, (3, 10), generator=torch.Generator().manual_seed(1))
    is_masked = torch.rand(3, 10, generator=torch.Generator().manual_seed(2)) < 0.4
    mask = tokenizer.backend.token_to_id("[MASK]")
    with torch.no_grad():
        expected = theirs(input_ids=tokens.masked_fill(is_masked, mask)).logits[..., :size]
        found = model.head.logits(model.hidden(tokens.masked_fill(is_masked, size)))  # type: ignore[union-attr, operator, call-arg, misc]
    assert expected.std() > 0.1
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("kind", list(CLASSES))
def test_every_weight_of_the_network_is_the_checkpoints_and_learns(kind: str, tmp_path: Path) -> None:
    theirs = checkpoint(kind, tmp_path, words())
    trunk, table = load_trunk(str(tmp_path))
    given = dict(theirs.base_model.named_parameters())
    for name, value in trunk.encoder.named_parameters():
        assert torch.equal(value, given[name]), name
    dropped = set(given) - set(dict(trunk.encoder.named_parameters()))
    assert all("embed" in name or "pooler" in name for name in dropped)
    assert len(table.rows) == words().vocab_size + 1
    trunk(torch.randn(1, 5, 32)).sum().backward()
    assert all(value.grad is not None for value in trunk.parameters())


def test_the_hidden_token_of_a_decoder_is_the_mean_of_all(tmp_path: Path, prepared_folder: Path) -> None:
    tokenizer = Tokenizer.load(prepared_folder)  # without a mask
    theirs = checkpoint("llama", tmp_path, tokenizer)
    _, table = load_trunk(str(tmp_path))
    rows = theirs.get_input_embeddings().weight[: tokenizer.vocab_size]
    assert torch.allclose(table.rows[-1], rows.mean(0))
    assert table.bias is None


@pytest.mark.parametrize("kind", list(CLASSES))
def test_a_short_training_lowers_the_loss(kind: str, tmp_path: Path) -> None:
    tokenizer = words()
    checkpoint(kind, tmp_path, tokenizer)
    model = build_model(recipe(tmp_path), tokenizer.vocab_size)
    corruption = SpanMasking(segmentation="random", lengths={1: 0.5, 2: 0.5}, mask_id=tokenizer.vocab_size)
    ids, _ = tokenizer.encode("the old dog that barked all night slept in a park")
    batch = Batch.of(torch.tensor([ids] * 16))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(40):
        corrupted = corruption.corrupt(batch, sample_times(batch, generator=generator), generator=generator)
        loss = nelbo(model(corrupted), batch, corrupted).mean  # type: ignore[arg-type]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_dropout_is_that_of_the_recipe(tmp_path: Path) -> None:
    checkpoint("bert", tmp_path, words())
    row = torch.randn(1, 6, 32)
    quiet = load_trunk(str(tmp_path))[0].train()
    assert torch.equal(quiet(row), quiet(row)), "BERT's own dropout of 0.1 is off"
    noisy = load_trunk(str(tmp_path), dropout=0.5)[0].train()
    assert not torch.equal(noisy(row), noisy(row))


@pytest.mark.parametrize("kind", list(CLASSES))
def test_a_text_longer_than_the_positions_is_refused_with_how_many_there_are(
    kind: str, tmp_path: Path
) -> None:
    checkpoint(kind, tmp_path, words())
    trunk, _ = load_trunk(str(tmp_path))
    assert trunk(torch.randn(1, 64, 32)).shape == (1, 64, 32)
    with pytest.raises(DataError, match=r"65 tokens, the pretrained trunk has 64 positions.*--length 64"):
        trunk(torch.randn(1, 65, 32))


def test_positions_of_roberta_are_counted_from_behind_its_padding(tmp_path: Path) -> None:
    config = transformers.RobertaConfig(vocab_size=words().vocab_size, pad_token_id=1, **SHAPE)
    transformers.RobertaForMaskedLM(config).save_pretrained(tmp_path)
    words().save(tmp_path)
    trunk, _ = load_trunk(str(tmp_path))
    assert trunk(torch.randn(1, 62, 32)).shape == (1, 62, 32)
    with pytest.raises(DataError, match="63 tokens, the pretrained trunk has 62 positions"):
        trunk(torch.randn(1, 63, 32))
    with pytest.raises(RecipeError, match="63, the pretrained trunk has 62 positions"):
        trunk.check_length(63)


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
