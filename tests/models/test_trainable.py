"""What a recipe trains of a released model: all, the head, or adapters; checkpoints, averages, exports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_llada import command, llada, recipe

from hdiff.cli import run as hdiff
from hdiff.factory import build_model
from hdiff.heads import AutoregressiveHead, ProductHead
from hdiff.models.trainable import frozen_names
from hdiff.packed_spans import PackedSpans
from hdiff.runs.folder import RunFolder
from hdiff.training.build import build_training
from hdiff.training.optimisation import Average

pytest.importorskip("transformers", reason="pretrained trunks need transformers")
pytest.importorskip("peft", reason="adapters come from peft")


@pytest.mark.parametrize("masked", [True, False])
def test_the_token_that_hides_others_is_said(
    masked: bool, tmp_path: Path, prepared_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llada(tmp_path / "base", prepared_folder, **({"mask_token_id": 7} if masked else {"mask_token_id": None}))
    run = tmp_path / "run"
    arguments = command(tmp_path / "base", prepared_folder, run, "train.steps=1")
    assert hdiff([word for word in arguments if word != "-q"]) == 0
    said = capsys.readouterr().err
    expected = (
        "the checkpoint's mask, 7 (" if masked else "no mask token; the hidden token starts as the mean"
    )
    assert expected in " ".join(said.split())
    trunk = json.loads((run / "run.json").read_text())["trunk"]
    assert trunk["mask_id"] == (7 if masked else None)
    assert trunk["layout"] == "LLaDA"
    assert len(trunk["sha256"]) == 64


def weights(run: Path, part: str = "model") -> dict[str, torch.Tensor]:
    newest = max((run / "checkpoints").glob("step-*"))
    return load_file(newest / f"{part}.safetensors")


@pytest.mark.parametrize("trainable", ["head", "lora"])
def test_the_trunk_and_the_input_table_stay_as_they_were_released(
    trainable: str, tmp_path: Path, prepared_folder: Path
) -> None:
    llada(tmp_path / "base", prepared_folder)
    run = tmp_path / "run"
    assert hdiff(command(tmp_path / "base", prepared_folder, run, f"train.trainable={trainable}")) == 0
    before = build_model(recipe(tmp_path / "base", prepared_folder, run, trainable=trainable), 512)
    after = RunFolder.load(run).model
    frozen = frozen_names(after)
    assert frozen == frozen_names(before)
    start, end = before.state_dict(), after.state_dict()
    assert {name for name in start if not torch.equal(start[name], end[name])} <= set(start) - frozen
    assert "head.embedding.weight" in frozen
    assert "head.output_embedding" in frozen
    assert not any(
        name.startswith("trunk.") for name in frozen ^ {n for n in start if n.startswith("trunk.")}
    ) or (trainable == "lora")
    moved = {name for name in start if name not in frozen and not torch.equal(start[name], end[name])}
    assert any("addition" in name for name in moved)
    assert any("lora_B" in name for name in moved) == (trainable == "lora")


@pytest.mark.parametrize("trainable", ["head", "lora"])
def test_checkpoints_hold_what_was_trained_and_no_trunk(
    trainable: str, tmp_path: Path, prepared_folder: Path
) -> None:
    llada(tmp_path / "base", prepared_folder)
    run = tmp_path / "run"
    assert hdiff(command(tmp_path / "base", prepared_folder, run, f"train.trainable={trainable}")) == 0
    names = set(weights(run))
    assert not any(".base_layer." in name or "embed" in name for name in names)
    assert any("lora_A" in name for name in names) == (trainable == "lora")
    assert set(weights(run, "ema")) == names
    size = sum(file.stat().st_size for file in max((run / "checkpoints").glob("step-*")).iterdir())
    base = (tmp_path / "base" / "model.safetensors").stat().st_size
    assert size < 2 * base


@pytest.mark.parametrize(
    "changes",
    [
        ["train.trainable=head"],
        ["train.trainable=lora"],
        ["train.trainable=lora", "train.lora={rank: 2, dropout: 0.3, targets: [q_proj, v_proj]}"],
        ["train.trainable=lora", "train.gradient_checkpointing=true"],
        ["train.trainable=lora", "train.trains_table=true", "train.ema_decay=0"],
        ["train.trainable=lora", "model.weights=bfloat16"],
        ["train.gradient_checkpointing=true"],
    ],
    ids=" ".join,
)
def test_resuming_gives_the_same_bits(changes: list[str], tmp_path: Path, prepared_folder: Path) -> None:
    llada(tmp_path / "base", prepared_folder)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert hdiff(command(tmp_path / "base", prepared_folder, whole, *changes)) == 0
    assert hdiff(command(tmp_path / "base", prepared_folder, parts, *changes)) == 0
    shutil.rmtree(parts / "checkpoints" / "step-00000004")  # as a kill before it was written leaves them
    assert hdiff([*command(tmp_path / "base", prepared_folder, parts, *changes), "resume=auto"]) == 0
    for part in ("model", "optimizer", *(() if "train.ema_decay=0" in changes else ("ema",))):
        expected, found = weights(whole, part), weights(parts, part)
        assert set(expected) == set(found)
        assert all(torch.equal(expected[name], found[name]) for name in expected), part


def test_checkpointed_gradients_are_the_same(tmp_path: Path, prepared_folder: Path) -> None:
    llada(tmp_path / "base", prepared_folder)
    runs = {}
    for again in ("false", "true"):
        runs[again] = tmp_path / again
        change = f"train.gradient_checkpointing={again}"
        assert hdiff(command(tmp_path / "base", prepared_folder, runs[again], change)) == 0
    kept, computed = weights(runs["false"]), weights(runs["true"])
    assert all(torch.allclose(kept[name], computed[name], atol=1e-6) for name in kept)


def test_own_trunks_compute_again_too(tmp_path: Path, prepared_folder: Path) -> None:
    found = {}
    for again in (False, True):
        own = recipe(tmp_path, prepared_folder, tmp_path / "run", gradient_checkpointing=again)
        own = own.model_copy(
            update={"model": own.model.model_copy(update={"pretrained": None, "dropout": 0.2})}
        )
        model = build_model(own, 512).train()
        torch.manual_seed(1)
        model.hidden(torch.arange(12)[None]).pow(2).sum().backward()  # type: ignore[union-attr, operator, misc]
        found[again] = [parameter.grad for parameter in model.trunk.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(found[False], found[True], strict=True))


def test_a_joint_head_begins_as_the_product_head_of_the_checkpoint() -> None:
    torch.manual_seed(0)
    joint, product = AutoregressiveHead(50, 16, residual=True), ProductHead(50, 16)
    product.load_state_dict(joint.state_dict(), strict=False)
    hidden, targets = 3 * torch.randn(12, 16), torch.randint(50, (12,))
    units = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2]])
    spans = PackedSpans.from_units(units, torch.ones_like(units, dtype=torch.bool))
    assert torch.allclose(joint.log_prob(hidden, targets, spans), product.log_prob(hidden, targets, spans))
    plain = AutoregressiveHead(50, 16)
    assert not torch.allclose(
        plain.log_prob(hidden, targets, spans), product.log_prob(hidden, targets, spans)
    )


def test_averages_share_the_frozen_weights(tmp_path: Path, prepared_folder: Path) -> None:
    llada(tmp_path / "base", prepared_folder)
    model = build_model(recipe(tmp_path / "base", prepared_folder, tmp_path, trainable="lora"), 512)
    average = Average(model, 0.9)
    ours = dict(average.model.named_parameters())
    for name, parameter in model.named_parameters():
        assert (ours[name].data_ptr() == parameter.data_ptr()) == (name in frozen_names(model)), name
    before = {name: value.clone() for name, value in ours.items()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name not in frozen_names(model):
                parameter.add_(1)
    average.update(model, 1)
    for name, value in ours.items():
        assert torch.equal(value, before[name]) == (name in frozen_names(model)), name


def test_the_optimiser_knows_only_what_is_trained(tmp_path: Path, prepared_folder: Path) -> None:
    llada(tmp_path / "base", prepared_folder)
    training = build_training(
        recipe(tmp_path / "base", prepared_folder, tmp_path / "run", trainable="head", trackers=[])
    )
    held = {id(p) for group in training.state.optimizer.param_groups for p in group["params"]}
    names = {name for name, p in training.model.named_parameters() if id(p) in held}
    assert names == {name for name, p in training.model.named_parameters() if p.requires_grad}
    assert not any(name.startswith("trunk.") for name in names)
