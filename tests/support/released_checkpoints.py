"""Tiny random checkpoints as LLaDA, Dream and converted decoders are released, and their published networks.

The networks are written in plain torch from the papers, on the released names, and know nothing of hdiff.
Dimensions: B batch, L tokens, D width, H heads, E width of a head, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

LLADA = {
    "model_type": "llada",
    "architectures": ["LLaDAModelLM"],
    "auto_map": {
        "AutoConfig": "configuration_llada.LLaDAConfig",
        "AutoModelForCausalLM": "modeling_llada.LLaDAModelLM",
    },
    "d_model": 16,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 4,
    "mlp_hidden_size": 24,
    "mlp_ratio": 4,
    "max_sequence_length": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "weight_tying": False,
    "block_type": "llama",
    "activation_type": "silu",
    "layer_norm_type": "rms",
    "layer_norm_with_affine": True,
    "rope": True,
    "alibi": False,
    "include_bias": False,
    "include_qkv_bias": False,
}
DREAM = {
    "model_type": "Dream",
    "architectures": ["DreamModel"],
    "auto_map": {"AutoConfig": "configuration_dream.DreamConfig", "AutoModel": "modeling_dream.DreamModel"},
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "sliding_window": None,
}
A2D = {**DREAM, "architectures": ["A2DLMHeadModel"], "auto_map": {}, "head_dim": 4}


def llada_tensors(config: Mapping[str, Any], size: int) -> dict[str, Tensor]:
    width, heads = config["d_model"], config["n_heads"]
    inner = config.get("mlp_hidden_size") or config["mlp_ratio"] * width
    keys = (config.get("n_kv_heads") or heads) * (width // heads)
    shapes = {"model.transformer.wte": (size, width), "model.transformer.ln_f": (width,)}
    if not config["weight_tying"]:
        shapes["model.transformer.ff_out"] = (size, width)
    biases = {}
    for layer in range(config["n_layers"]):
        block = f"model.transformer.blocks.{layer}"
        shapes |= {f"{block}.{norm}": (width,) for norm in ("attn_norm", "ff_norm")}
        shapes |= {f"{block}.q_proj": (width, width), f"{block}.attn_out": (width, width)}
        shapes |= {f"{block}.{name}": (keys, width) for name in ("k_proj", "v_proj")}
        shapes |= {f"{block}.{name}": (inner, width) for name in ("ff_proj", "up_proj")}
        shapes[f"{block}.ff_out"] = (width, inner)
        if config["include_qkv_bias"]:
            biases |= {f"{block}.q_proj": (width,), f"{block}.k_proj": (keys,), f"{block}.v_proj": (keys,)}
    return _drawn(shapes, biases)


def qwen_tensors(
    config: Mapping[str, Any], size: int, *, biases: bool, norms: bool = False
) -> dict[str, Tensor]:
    width, heads = config["hidden_size"], config["num_attention_heads"]
    each = config.get("head_dim") or width // heads
    keys = config["num_key_value_heads"] * each
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens": (size, width), "model.norm": (width,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head"] = (size, width)
    of_bias = {}
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        shapes |= {f"{layer}.{norm}": (width,) for norm in ("input_layernorm", "post_attention_layernorm")}
        shapes |= {f"{layer}.self_attn.q_proj": (heads * each, width)}
        shapes |= {f"{layer}.self_attn.{name}": (keys, width) for name in ("k_proj", "v_proj")}
        shapes |= {f"{layer}.self_attn.o_proj": (width, heads * each)}
        inner = config["intermediate_size"]
        shapes |= {f"{layer}.mlp.{name}": (inner, width) for name in ("gate_proj", "up_proj")}
        shapes[f"{layer}.mlp.down_proj"] = (width, inner)
        if biases:
            of_bias |= {f"{layer}.self_attn.q_proj": (heads * each,)}
            of_bias |= {f"{layer}.self_attn.{name}": (keys,) for name in ("k_proj", "v_proj")}
        if norms:
            shapes |= {f"{layer}.self_attn.{name}": (each,) for name in ("q_norm", "k_norm")}
    return _drawn(shapes, of_bias)


def _drawn(shapes: Mapping[str, tuple[int, ...]], biases: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"{name}.weight": 0.5 * torch.randn(shape, generator=generator) for name, shape in shapes.items()
    }
    tensors |= {
        f"{name}.bias": 0.5 * torch.randn(shape, generator=generator) for name, shape in biases.items()
    }
    return tensors


def write(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], *, shards: int = 1) -> None:
    """config.json and safetensors, in one file or in several with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    stored = {name: value.contiguous() for name, value in tensors.items()}
    if shards == 1:
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(stored)
    places = {
        name: f"model-{number % shards + 1:05d}-of-{shards:05d}.safetensors"
        for number, name in enumerate(names)
    }
    for file in sorted(set(places.values())):
        held = {name: stored[name] for name in names if places[name] == file}
        save_file(held, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def llada_logits(config: Mapping[str, Any], tensors: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
    """LLaDA: Llama with attention to both sides. Source: arXiv:2502.09992, section 2.1 and appendix B."""
    weights = {name: value.float() for name, value in tensors.items()}
    heads = config["n_heads"]
    hidden = weights["model.transformer.wte.weight"][tokens]
    for layer in range(config["n_layers"]):
        block = f"model.transformer.blocks.{layer}"
        normed = _rms(hidden, weights[f"{block}.attn_norm.weight"], config["rms_norm_eps"])
        query, key, value = (
            F.linear(normed, weights[f"{block}.{name}.weight"], weights.get(f"{block}.{name}.bias"))
            for name in ("q_proj", "k_proj", "v_proj")
        )
        mixed = _attention(query, key, value, heads, config["rope_theta"])
        hidden = hidden + mixed @ weights[f"{block}.attn_out.weight"].T
        normed = _rms(hidden, weights[f"{block}.ff_norm.weight"], config["rms_norm_eps"])
        gate = normed @ weights[f"{block}.ff_proj.weight"].T
        grown = gate * torch.sigmoid(gate) * (normed @ weights[f"{block}.up_proj.weight"].T)
        hidden = hidden + grown @ weights[f"{block}.ff_out.weight"].T
    hidden = _rms(hidden, weights["model.transformer.ln_f.weight"], config["rms_norm_eps"])
    table = weights.get("model.transformer.ff_out.weight", weights["model.transformer.wte.weight"])
    return hidden @ table.T


def qwen_logits(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], tokens: Tensor, *, shifted: bool
) -> Tensor:
    """Qwen2 or Qwen3 with attention to both sides; shifted as in Dream. Source: arXiv:2508.15487, section "
    "3."""
    weights = {name: value.float() for name, value in tensors.items()}
    epsilon, heads = config["rms_norm_eps"], config["num_attention_heads"]
    hidden = weights["model.embed_tokens.weight"][tokens]
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        normed = _rms(hidden, weights[f"{layer}.input_layernorm.weight"], epsilon)
        query, key, value = (
            F.linear(
                normed,
                weights[f"{layer}.self_attn.{name}.weight"],
                weights.get(f"{layer}.self_attn.{name}.bias"),
            )
            for name in ("q_proj", "k_proj", "v_proj")
        )
        if f"{layer}.self_attn.q_norm.weight" in weights:
            each = query.shape[-1] // heads
            query = _rms(
                query.unflatten(-1, (-1, each)), weights[f"{layer}.self_attn.q_norm.weight"], epsilon
            )
            key = _rms(key.unflatten(-1, (-1, each)), weights[f"{layer}.self_attn.k_norm.weight"], epsilon)
            query, key = query.flatten(-2), key.flatten(-2)
        mixed = _attention(query, key, value, heads, config["rope_theta"])
        hidden = hidden + mixed @ weights[f"{layer}.self_attn.o_proj.weight"].T
        normed = _rms(hidden, weights[f"{layer}.post_attention_layernorm.weight"], epsilon)
        gate = normed @ weights[f"{layer}.mlp.gate_proj.weight"].T
        grown = gate * torch.sigmoid(gate) * (normed @ weights[f"{layer}.mlp.up_proj.weight"].T)
        hidden = hidden + grown @ weights[f"{layer}.mlp.down_proj.weight"].T
    hidden = _rms(hidden, weights["model.norm.weight"], epsilon)
    logits = hidden @ weights.get("lm_head.weight", weights["model.embed_tokens.weight"]).T
    if not shifted:
        return logits
    before = logits.clone()  # position i is scored at i - 1, the first one by itself
    for position in range(1, tokens.shape[1]):
        before[:, position] = logits[:, position - 1]
    return before


def _rms(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return weight * x / torch.sqrt((x * x).mean(-1, keepdim=True) + epsilon)


def _attention(query: Tensor, key: Tensor, value: Tensor, heads: int, theta: float) -> Tensor:
    """Softmax attention with rotary positions; several query heads share a key. (B, L, H E) -> (B, L, H "
    "E)."""
    each = query.shape[-1] // heads
    shared = heads // (key.shape[-1] // each)
    rows, length = query.shape[:2]
    angles = torch.arange(length)[:, None] / theta ** (torch.arange(0, each, 2) / each)  # (L, E / 2)
    out = torch.empty(rows, length, heads * each)
    for head in range(heads):
        mine = slice(head * each, (head + 1) * each)
        theirs = slice(head // shared * each, (head // shared + 1) * each)
        turned_query, turned_key = _turn(query[..., mine], angles), _turn(key[..., theirs], angles)
        scores = turned_query @ turned_key.transpose(1, 2) / each**0.5
        out[..., mine] = scores.softmax(-1) @ value[..., theirs]
    return out


def _turn(x: Tensor, angles: Tensor) -> Tensor:
    first, second = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat(
        [first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()], -1
    )
