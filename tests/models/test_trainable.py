"""What a recipe trains of a released model: all, the head, or adapters; checkpoints, averages, exports."""

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

from hdiff.cli import run as hdiff
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import CheckpointError, RecipeError
from hdiff.factory import build_model
from hdiff.heads import AutoregressiveHead, ProductHead
from hdiff.models.trainable import frozen_names, linear_layers, merge_adapters, trained_tensors
from hdiff.packed_spans import PackedSpans
from hdiff.recipe import resolve
from hdiff.runs.folder import RunFolder
from hdiff.sharing import PretrainedModel
from hdiff.training.build import build_training
from hdiff.training.optimisation import Average

pytest.importorskip("transformers", reason="pretrained trunks need transformers")
pytest.importorskip("peft", reason="adapters come from peft")

SPANS = "{kind: span_masking, segmentation: random, lengths: {2: 0.5, 3: 0.5}}"


def llada(folder: Path, data: Path, **changes: Any) -> dict[str, torch.Tensor]:
    """A tiny LLaDA with the tokenizer of a prepared data set; its tensors."""
    tokenizer = Tokenizer.load(data)
    size = tokenizer.vocab_size + 3
    config = {
        **released.LLADA,
        "vocab_size": size,
        "embedding_size": size,
        "mask_token_id": size - 1,
        **changes,
    }
    tensors = released.llada_tensors(config, size)
    released.write(folder, config, tensors)
    tokenizer.save(folder)
    return tensors


def recipe(folder: Path, data: Path, output: Path, **train: Any) -> Any:
    return resolve(
        {
            "name": "adapted",
            "output": str(output),
            "data": {"path": str(data), "sequence_length": 16},
            "model": {"width": 16, "depth": 2, "num_heads": 4, "pretrained": str(folder)},
            "head": {"kind": "autoregressive", "num_heads": 2, "residual": True},
            "corruption": {"kind": "span_masking", "segmentation": "random", "lengths": {2: 0.5, 3: 0.5}},
            "train": {"steps": 4, "batch_size": 2, "warmup_steps": 1, "checkpoint_every": 2, **train},
        },
        where="test",
    )


def command(folder: Path, data: Path, output: Path, *changes: str) -> list[str]:
    return [
        "train",
        "recipes/quickstart.yaml",
        f"model={{width: 16, depth: 2, num_heads: 4, pretrained: {folder}}}",
        f"data={{path: {data}, sequence_length: 16}}",
        "head={kind: autoregressive, num_heads: 2, residual: true}",
        f"corruption={SPANS}",
        "planner=null",
        "train={steps: 4, batch_size: 2, warmup_steps: 1, checkpoint_every: 2, trackers: []}",
        "train.ema_decay=0.9",
        *changes,
        f"output={output}",
        "-q",
    ]


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
