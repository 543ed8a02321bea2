"""Adapters: shared small, merged exactly, and what cannot be trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import released_checkpoints as released
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_llada import command, llada, recipe

from hdiff.cli import run as hdiff
from hdiff.errors import CheckpointError, RecipeError
from hdiff.factory import build_model
from hdiff.models.trainable import frozen_names, linear_layers, merge_adapters, trained_tensors
from hdiff.runs.folder import RunFolder
from hdiff.sharing import PretrainedModel

pytest.importorskip("transformers", reason="pretrained trunks need transformers")
pytest.importorskip("peft", reason="adapters come from peft")


def test_adapters_of_another_trunk_are_refused(
    tmp_path: Path, prepared_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = llada(tmp_path / "base", prepared_folder)
    run = tmp_path / "run"
    arguments = command(tmp_path / "base", prepared_folder, run, "train.trainable=lora")
    assert hdiff(arguments) == 0
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    released.write(tmp_path / "base", config, {name: value + 0.01 for name, value in tensors.items()})
    with pytest.raises(CheckpointError, match="was trained on another trunk"):
        RunFolder.load(run)
    assert hdiff([*arguments, "train.steps=6", "resume=auto"]) == 2
    assert hdiff([*arguments, "resume=auto"]) == 2
    assert "put the checkpoint that it began with in its place" in capsys.readouterr().err


def test_adapters_are_shared_small_and_merged_on_request(
    tmp_path: Path, prepared_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, run = tmp_path / "base", tmp_path / "run"
    llada(base, prepared_folder)
    assert hdiff(command(base, prepared_folder, run, "train.trainable=lora")) == 0
    assert hdiff(["export", str(run), str(tmp_path / "small"), "-q"]) == 0
    assert hdiff(["export", str(run), str(tmp_path / "whole"), "--merge", "-q"]) == 0
    assert hdiff(["export", str(tmp_path / "small"), str(tmp_path / "again"), "--base", str(base), "-q"]) == 0
    with safe_open(tmp_path / "small" / "model.safetensors", framework="pt") as file:
        assert not any(".base_layer." in name for name in file.keys())  # noqa: SIM118
    assert hdiff(["sample", str(tmp_path / "small")]) == 2
    assert "--base TRUNK" in capsys.readouterr().err
    expected = RunFolder.load(run).model
    adapter = PretrainedModel.from_pretrained(tmp_path / "small", base=base)
    tokens = torch.randint(0, 500, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = expected.hidden(tokens)  # type: ignore[union-attr, operator, misc]
        assert torch.equal(adapter.denoiser.hidden(tokens), wanted)  # type: ignore[union-attr, operator, misc]
        shutil.rmtree(base)
        for name in ("whole", "again"):
            merged = PretrainedModel.from_pretrained(tmp_path / name).denoiser
            assert torch.allclose(merged.hidden(tokens), wanted, atol=1e-4)  # type: ignore[union-attr, operator, misc]
            assert not any("lora" in key for key in merged.state_dict())
    assert hdiff(["sample", str(tmp_path / "whole"), "--num", "1", "--steps", "2", "-q"]) == 0


@pytest.mark.parametrize("trainable", ["all", "head", "lora"])
def test_a_model_is_written_back_as_it_was_released(
    trainable: str, tmp_path: Path, prepared_folder: Path
) -> None:
    """The published network, in plain torch, computes from the written file what hdiff's model computes."""
    base, run, back = tmp_path / "base", tmp_path / "run", tmp_path / "back"
    tensors = llada(base, prepared_folder)
    change = [f"train.trainable={trainable}", "head={kind: product}", "train.learning_rate=0.01"]
    change += ["train.trains_table=true"] if trainable != "all" else []
    assert hdiff(command(base, prepared_folder, run, *change)) == 0
    assert hdiff(["export", str(run), str(back), "--original", "-q"]) == 0
    written = load_file(back / "model.safetensors")
    assert {name: value.shape for name, value in written.items()} == {n: v.shape for n, v in tensors.items()}
    config = json.loads((back / "config.json").read_text())
    assert config == json.loads((base / "config.json").read_text())
    assert (back / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    if trainable != "head":
        name = "model.transformer.blocks.1.q_proj.weight"
        assert not torch.equal(written[name], tensors[name])
    model = RunFolder.load(run).model
    tokens = torch.randint(0, 500, (2, 9), generator=torch.Generator().manual_seed(0))
    tokens[:, ::2] = model.head.vocab_size
    with torch.no_grad():
        found = model.head.logits(model.hidden(tokens))  # type: ignore[union-attr, operator, misc]
    masked = tokens.masked_fill(tokens == model.head.vocab_size, config["mask_token_id"])
    expected = released.llada_logits(config, written, masked)[..., : model.head.vocab_size]
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trainable": "lora", "lora": {"targets": ["att_proj"]}}, "names 'att_proj', .*known are down_proj"),
        ({"trainable": "none"}, "train.trainable is 'none'"),
        ({"trainable": "head", "lora": {"rank": 4}}, "lora describes adapters, and trainable is head"),
        ({"trains_table": True}, "trains_table is for a frozen trunk"),
        ({"trainable": "lora", "lora": {"rank": 0}}, "train.lora.rank is 0"),
        ({"trainable": "lora", "lora": {"rang": 2}}, "no key 'rang' in train.lora; did you mean 'rank'"),
        ({"trainable": "lora", "lora": {"alpha": -1}}, "train.lora.alpha is -1"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    values: dict[str, Any], message: str, tmp_path: Path, prepared_folder: Path
) -> None:
    llada(tmp_path / "base", prepared_folder)
    with pytest.raises(RecipeError, match=message):
        build_model(recipe(tmp_path / "base", prepared_folder, tmp_path, **values), 512)


def test_a_trunk_that_nobody_trained_is_not_frozen(tmp_path: Path, prepared_folder: Path) -> None:
    own = recipe(tmp_path, prepared_folder, tmp_path, trainable="head")
    for update, message in (
        ({"pretrained": None}, r"no checkpoint is given .*train\.trainable=all"),
        ({"pretrained": None, "weights": "bfloat16"}, r"train\.trainable=all"),
    ):
        model = own.model.model_copy(update=update)
        with pytest.raises(RecipeError, match=message):
            build_model(own.model_copy(update={"model": model}), 512)
    llada(tmp_path / "base", prepared_folder)
    all_in_bf16 = recipe(tmp_path / "base", prepared_folder, tmp_path)
    model = all_in_bf16.model.model_copy(update={"weights": "bfloat16"})
    with pytest.raises(RecipeError, match=r"model\.weights=float32 or train\.trainable=lora"):
        build_model(all_in_bf16.model_copy(update={"model": model}), 512)


def test_a_head_without_weights_of_its_own_is_refused(tmp_path: Path, prepared_folder: Path) -> None:
    llada(tmp_path / "base", prepared_folder)
    values = recipe(tmp_path / "base", prepared_folder, tmp_path, trainable="head")
    product = values.model_copy(update={"head": {"kind": "product"}})
    with pytest.raises(RecipeError, match=r"nothing is left to train; use train\.trains_table=true"):
        build_model(product, 512)


def test_merging_adds_adapters_exactly(tmp_path: Path, prepared_folder: Path) -> None:
    llada(tmp_path / "base", prepared_folder)
    model: Any = build_model(
        recipe(tmp_path / "base", prepared_folder, tmp_path, trainable="lora"), 512
    ).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.1)
    tokens = torch.arange(12)[None]
    with torch.no_grad():
        before = model.hidden(tokens)
        after = merge_adapters(model).hidden(tokens)  # type: ignore[operator]
    assert torch.allclose(before, after, atol=1e-4)
    assert trained_tensors(model).keys() == model.state_dict().keys()
    assert len(linear_layers(model.trunk.encoder)) == 14


def test_frozen_weights_in_bf16_take_half_the_memory(tmp_path: Path, prepared_folder: Path) -> None:
    llada(tmp_path / "base", prepared_folder)
    values = recipe(tmp_path / "base", prepared_folder, tmp_path, trainable="lora")
    short = values.model_copy(update={"model": values.model.model_copy(update={"weights": "bfloat16"})})
    exact, rounded = (build_model(one, 512).eval() for one in (values, short))
    for name, value in rounded.named_parameters():
        is_frozen_trunk = name.startswith("trunk.") and name in frozen_names(rounded)
        assert value.dtype == (torch.bfloat16 if is_frozen_trunk else torch.float32), name
    tokens = torch.arange(12)[None]
    one, other = (model.hidden(tokens) for model in (exact, rounded))  # type: ignore[union-attr, operator, misc]
    assert other.dtype == torch.float32
    assert 0 < float((one - other).detach().norm() / one.detach().norm()) < 0.2
