"""Released diffusion models as trunks: their scores, number for number, and refusals of damaged folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import released_checkpoints as released
import torch
from torch import Tensor
from word_tokenizer import SPARE_ROWS, words

from hdiff.errors import CheckpointError
from hdiff.factory import build_model
from hdiff.models.pretrained_checkpoint import build_trunk, load_trunk
from hdiff.recipe import resolve

pytest.importorskip("transformers", reason="pretrained trunks need transformers")

SIZE = words().vocab_size
MASK = words().backend.token_to_id("[MASK]")


def recipe(folder: Path, **model: Any) -> Any:
    return resolve(
        {
            "name": "x",
            "output": "x",
            "data": {"path": "nowhere", "sequence_length": 16},
            "model": {"width": 16, "depth": 2, "num_heads": 4, "pretrained": str(folder), **model},
        },
        where="test",
    )


def make(
    folder: Path,
    family: str,
    *,
    shards: int = 1,
    dtype: torch.dtype = torch.float32,
    **changes: Any,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A checkpoint of a family on the disk; its configuration and tensors."""
    rows = SIZE + SPARE_ROWS
    if family == "llada":
        config = {
            **released.LLADA,
            "vocab_size": SIZE,
            "embedding_size": rows,
            "mask_token_id": MASK,
            **changes,
        }
        tensors = released.llada_tensors(config, rows)
    else:
        base = released.DREAM if family == "Dream" else {**released.A2D, "model_type": family}
        config = {**base, "vocab_size": rows, "mask_token_id": MASK, **changes}
        tensors = released.qwen_tensors(
            config, rows, biases=family in ("Dream", "a2d-qwen2"), norms=family == "a2d-qwen3"
        )
    tensors = {name: value.to(dtype) for name, value in tensors.items()}
    released.write(folder, config, tensors, shards=shards)
    words().save(folder)
    return config, tensors


def published(config: Mapping[str, Any], tensors: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
    if config["model_type"] == "llada":
        return released.llada_logits(config, tensors, tokens)
    return released.qwen_logits(config, tensors, tokens, shifted=config["model_type"] == "Dream")


def ours(model: Any, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return model.head.logits(model.hidden(tokens))  # type: ignore[no-any-return]


CASES: list[tuple[str, dict[str, Any]]] = [
    ("llada", {}),
    ("llada", {"n_kv_heads": 2}),
    ("llada", {"n_kv_heads": None}),
    ("llada", {"weight_tying": True}),
    ("llada", {"include_qkv_bias": True}),
    ("llada", {"mlp_hidden_size": None, "mlp_ratio": 2}),
    ("llada", {"rope_theta": 10000.0, "rms_norm_eps": 1e-3}),
    ("llada", {"n_layers": 3, "n_heads": 2, "n_kv_heads": 1}),
    ("llada", {"shards": 3}),
    ("llada", {"dtype": torch.bfloat16}),
    ("Dream", {}),
    ("Dream", {"num_key_value_heads": 4}),
    ("Dream", {"num_key_value_heads": 1, "rope_theta": 10000.0}),
    ("Dream", {"tie_word_embeddings": True}),
    ("Dream", {"shards": 2, "dtype": torch.bfloat16}),
    ("Dream", {"rms_norm_eps": 1e-2}),
    ("a2d-llama", {}),
    ("a2d-qwen2", {"tie_word_embeddings": True}),
    ("a2d-qwen3", {}),
    ("a2d-qwen3", {"num_key_value_heads": 4, "dtype": torch.float16}),
]


@pytest.mark.parametrize(("family", "changes"), CASES, ids=str)
def test_scores_are_those_of_the_published_network(
    family: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    config, tensors = make(tmp_path, family, **changes)
    shape = {"depth": config.get("n_layers", 2), "num_heads": config.get("n_heads", 4)}
    model = build_model(recipe(tmp_path, **shape), SIZE).eval()
    tokens = torch.randint(5, SIZE, (3, 9), generator=torch.Generator().manual_seed(1))
    is_masked = torch.rand(3, 9, generator=torch.Generator().manual_seed(2)) < 0.5
    expected = published(config, tensors, tokens.masked_fill(is_masked, MASK))[..., :SIZE]
    found = ours(model, tokens.masked_fill(is_masked, SIZE))
    assert expected.std() > 0.1
    assert float((found - expected).abs().max()) < 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("family", ["llada", "Dream", "a2d-llama", "a2d-qwen3"])
def test_an_exported_configuration_builds_the_same_network(family: str, tmp_path: Path) -> None:
    make(tmp_path, family)
    trunk, _ = load_trunk(str(tmp_path))
    again = build_trunk(json.loads(json.dumps(trunk.config_values)))
    again.load_state_dict(trunk.state_dict())
    row = torch.randn(2, 7, 16)
    assert torch.equal(trunk.eval()(row), again.eval()(row))
    assert again.shifted == (family == "Dream")


def test_a_plain_decoder_can_be_read_as_shifted(tmp_path: Path) -> None:
    """Its scores at a position are about the next one, as it was trained."""
    make(tmp_path, "a2d-llama")
    tokens = torch.randint(5, SIZE, (2, 8), generator=torch.Generator().manual_seed(1))
    plain = ours(build_model(recipe(tmp_path), SIZE).eval(), tokens)
    shifted = ours(build_model(recipe(tmp_path, shifted=True), SIZE).eval(), tokens)
    assert torch.equal(shifted[:, 1:], plain[:, :-1])
    make(tmp_path / "dream", "Dream")
    off = ours(build_model(recipe(tmp_path / "dream", shifted=False), SIZE).eval(), tokens)
    on = ours(build_model(recipe(tmp_path / "dream"), SIZE).eval(), tokens)
    assert torch.equal(on[:, 1:], off[:, :-1])


@pytest.mark.parametrize("family", ["llada", "Dream", "a2d-qwen3"])
def test_the_hidden_token_is_the_mask_that_the_configuration_names(family: str, tmp_path: Path) -> None:
    name = "model.transformer.wte.weight" if family == "llada" else "model.embed_tokens.weight"
    for mask in (7, SIZE + 2):
        _, tensors = make(tmp_path, family, mask_token_id=mask)
        _, table = load_trunk(str(tmp_path))
        assert table.mask_id == mask
        assert torch.equal(table.rows[-1], tensors[name][mask])
    _, tensors = make(tmp_path, family, mask_token_id=None)
    assert load_trunk(str(tmp_path))[1].mask_id == MASK  # that of the tokenizer


def test_input_and_output_tables_are_trained_apart(tmp_path: Path) -> None:
    make(tmp_path, "llada")
    model = build_model(recipe(tmp_path), SIZE)
    assert model.head.output_embedding is not None
    model.head.logits(torch.randn(4, 16)).sum().backward()
    assert model.head.embedding.weight.grad is None
    assert model.head.output_embedding.grad is not None


Damage = Callable[[dict[str, Any], dict[str, Tensor]], None]


def drop(name: str) -> Damage:
    return lambda config, tensors: tensors.__delitem__(name)


def put(**values: Any) -> Damage:
    return lambda config, tensors: config.update(values)


def reshape(name: str) -> Damage:
    return lambda config, tensors: tensors.update({name: tensors[name][:-1].clone()})


def add(name: str) -> Damage:
    return lambda config, tensors: tensors.update({name: torch.zeros(2, 2)})


def quantise(name: str) -> Damage:
    return lambda config, tensors: tensors.update({name: tensors[name].to(torch.int8)})


BLOCK = "model.transformer.blocks"
REFUSED: list[tuple[str, Damage, str]] = [
    ("llada", drop(f"{BLOCK}.1.q_proj.weight"), r"lacks 1 tensors \(model\.transformer\.blocks\.1\.q_proj"),
    ("llada", drop("model.transformer.ff_out.weight"), r"lacks 1 tensors \(model\.transformer\.ff_out"),
    ("llada", put(n_layers=3), r"lacks 9 tensors .*3 layers"),
    ("llada", put(n_layers=1), r"has besides those of its network 9 tensors .*1 layers"),
    ("llada", add("model.vision.patch.weight"), r"has besides .*model\.vision\.patch"),
    ("llada", reshape(f"{BLOCK}.0.up_proj.weight"), r"up_proj\.weight of shape \(23, 16\).* \(24, 16\)"),
    ("llada", put(d_model=24), r"of shape .*config\.json asks for"),
    ("llada", put(n_heads="four"), r"n_heads: 'four', a whole number is expected"),
    ("llada", put(block_type="sequential"), r"block_type: 'sequential'.*has 'llama'"),
    ("llada", put(alibi=True), "alibi: True"),
    ("llada", put(activation_type="swiglu"), "activation_type: 'swiglu'"),
    ("llada", put(attention_layer_norm=True), "attention_layer_norm: True"),
    ("llada", put(mask_token_id=4000), "mask id 4,000 and a table of"),
    ("llada", put(quantization_config={"quant_method": "gptq"}), r"quantised \(gptq\)"),
    ("llada", quantise(f"{BLOCK}.0.ff_out.weight"), r"ff_out\.weight as I8, so its weights are quantised"),
    ("Dream", drop("model.layers.0.self_attn.k_proj.bias"), r"lacks 1 tensors .*k_proj\.bias"),
    ("Dream", drop("lm_head.weight"), r"lacks 1 tensors \(lm_head\.weight"),
    ("Dream", add("model.layers.2.mlp.up_proj.weight"), r"has besides .*layers\.2"),
    ("Dream", reshape("model.norm.weight"), r"model\.norm\.weight of shape \(15,\)"),
    ("Dream", put(use_sliding_window=True), "use_sliding_window: True"),
    ("Dream", put(quantization_config={"quant_method": "bitsandbytes"}), r"quantised \(bitsandbytes\)"),
    ("a2d-qwen3", put(model_type="a2d-mamba"), "'a2d-mamba'.*not mapped; mapped are a2d-llama"),
    ("a2d-qwen3", put(model_type="llada_moe"), "LLaDA-MoE, whose experts"),
    ("a2d-qwen3", put(model_type="diffusion_gemma"), "DiffusionGemma, whose decoder"),
    ("a2d-qwen3", put(format="hdiff"), "is a model of hdiff"),
    ("a2d-qwen3", put(model_type="unheard"), "without pickles and remote code"),
]


@pytest.mark.parametrize(
    ("family", "damage", "message"),
    REFUSED,
    ids=lambda value: getattr(value, "__qualname__", str(value)[:40]),
)
def test_a_checkpoint_that_does_not_fit_is_refused_in_a_sentence(
    family: str, damage: Damage, message: str, tmp_path: Path
) -> None:
    config, tensors = make(tmp_path, family)
    damage(config, tensors)
    released.write(tmp_path, config, tensors)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_trunk(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_counts_of_positions_are_no_quantised_weights(tmp_path: Path) -> None:
    """BERTs of older versions of transformers keep them, as whole numbers."""
    import transformers

    config = transformers.BertConfig(
        vocab_size=SIZE, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model = transformers.BertModel(config)
    tensors = {**model.state_dict(), "embeddings.position_ids": torch.arange(512)[None]}
    released.write(tmp_path, {**config.to_dict(), "architectures": ["BertModel"]}, tensors)
    words().save(tmp_path)
    trunk, _ = load_trunk(str(tmp_path))
    assert trunk.shape == {"width": 16, "depth": 1, "num_heads": 2}


def test_files_that_are_not_the_weights_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "llada", shards=2)
    (tmp_path / "model-00002-of-00002.safetensors").rename(tmp_path / "kept")
    with pytest.raises(CheckpointError, match=r"lacks model-00002-of-00002\.safetensors, one of its 2"):
        load_trunk(str(tmp_path))
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(pointer)
    with pytest.raises(CheckpointError, match="is a pointer of Git LFS"):
        load_trunk(str(tmp_path))
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_trunk(str(tmp_path))
    (tmp_path / "model.safetensors.index.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"index\.json is damaged"):
        load_trunk(str(tmp_path))
    alone = tmp_path / "adapter"
    alone.mkdir()
    (alone / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds an adapter alone"):
        load_trunk(str(alone))
    empty = tmp_path / "empty"
    released.write(empty, {}, {})
    (empty / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds no weights and no safetensors"):
        load_trunk(str(empty))
    (empty / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="no object of keys"):
        load_trunk(str(empty))


def test_the_digest_tells_trunks_apart(tmp_path: Path) -> None:
    _, tensors = make(tmp_path / "one", "llada")
    config, _ = make(tmp_path / "two", "llada")
    digests = [load_trunk(str(tmp_path / name))[0].origin["sha256"] for name in ("one", "two")]
    assert digests[0] == digests[1]
    changed = {**tensors, f"{BLOCK}.1.attn_norm.weight": tensors[f"{BLOCK}.1.attn_norm.weight"] + 1e-3}
    released.write(tmp_path / "two", config, changed)
    assert load_trunk(str(tmp_path / "two"))[0].origin["sha256"] != digests[0]
