"""Layout: how a family of diffusion models writes its checkpoints, and which network computes the same.

A layout gives the configuration of a network of transformers and says what its tensors are called in the
released files. No code of a checkpoint runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hdiff.errors import CheckpointError

A2D_PREFIX = "a2d-"
"""Type of a decoder that dLLM converted: the prefix, then the type of the decoder."""

NETWORKS = ("llama", "qwen2", "qwen3", "mistral", "gpt2", "gpt_neox", "olmo2", "phi3", "gemma")
"""Decoders of transformers that may stand behind the prefix."""

_OF_THE_FILES = ("_name_or_path", "architectures", "auto_map", "dtype", "model_type", "torch_dtype")
_NOT_OF_THE_NETWORK = frozenset({*_OF_THE_FILES, "transformers_version", "use_cache"})


@dataclass(frozen=True)
class Layout:
    """A released layout, read for one checkpoint.

    Attributes:
        name: Name of the family.
        config: Configuration of the network of transformers, with its `model_type`.
        shifted: Whether the scores at a position are about the next one.
        names: Released name of a tensor -> its name in the network, where they differ.
    """

    name: str
    config: dict[str, Any]
    shifted: bool = False
    names: Mapping[str, str] = field(default_factory=dict)

    def inner_name(self, released: str) -> str:
        """Name in the network of a tensor of the files."""
        return self.names.get(released, released)


def layout_of(config: Mapping[str, Any]) -> Layout | None:
    """The layout of a configuration; None for a model of transformers' own."""
    kind = str(config.get("model_type", "")).lower()
    read = _READERS.get(kind)
    if read is not None:
        return read(config)
    return _a2d(config, kind) if kind.startswith(A2D_PREFIX) else None


def _llada(config: Mapping[str, Any]) -> Layout:
    """LLaDA: a Llama written with the names of OLMo. Source: arXiv:2502.09992 and its released "
    "config.json."""
    _check(config, "LLaDA", _LLADA_ALLOWED)
    width, heads = _number(config, "d_model"), _number(config, "n_heads")
    depth = _number(config, "n_layers")
    tied = bool(config.get("weight_tying", False))
    key_heads = config.get("n_kv_heads") or (1 if config.get("multi_query_attention") else heads)
    values = {
        "model_type": "qwen2" if config.get("include_qkv_bias") else "llama",  # which has such biases
        "vocab_size": config.get("embedding_size") or _number(config, "vocab_size"),
        "hidden_size": width,
        "intermediate_size": config.get("mlp_hidden_size") or _number(config, "mlp_ratio") * width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "max_position_embeddings": config.get("max_sequence_length", 4096),
        "rms_norm_eps": config.get("rms_norm_eps", 1e-5),
        "rope_theta": config.get("rope_theta", 10_000.0),
        "tie_word_embeddings": tied,
    }
    names = {
        "model.transformer.wte.weight": "model.embed_tokens.weight",
        "model.transformer.ln_f.weight": "model.norm.weight",
        "model.transformer.ff_out.weight": "lm_head.weight",
    }
    for layer in range(depth):
        for theirs, ours in _LLADA_LAYER.items():
            for part in ("weight", "bias"):
                names[f"model.transformer.blocks.{layer}.{theirs}.{part}"] = (
                    f"model.layers.{layer}.{ours}.{part}"
                )
    return Layout("LLaDA", values, names=names)


_LLADA_LAYER = {
    "attn_norm": "input_layernorm",
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ff_norm": "post_attention_layernorm",
    "ff_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "ff_out": "mlp.down_proj",
}

_LLADA_ALLOWED: dict[str, tuple[Any, ...]] = {
    "block_type": ("llama",),
    "block_group_size": (1,),
    "activation_type": ("silu",),
    "layer_norm_type": ("rms",),
    "layer_norm_with_affine": (True,),
    "bias_for_layer_norm": (False, None),
    "rope": (True,),
    "alibi": (False,),
    "attention_layer_norm": (False,),
    "include_bias": (False,),
    "clip_qkv": (None,),
    "input_emb_norm": (False,),
    "scale_logits": (False,),
}


def _dream(config: Mapping[str, Any]) -> Layout:
    """Dream: a Qwen2 whose scores at a position are about the next one. Source: arXiv:2508.15487."""
    _check(config, "Dream", {"use_sliding_window": (False, None), "rope_scaling": (None,)})
    return Layout("Dream", {**_of_the_network(config), "model_type": "qwen2"}, shifted=True)


def _a2d(config: Mapping[str, Any], kind: str) -> Layout:
    """A decoder of transformers made bidirectional by dLLM, with the decoder's own names. Source: "
    "2602.22661."""
    network = kind.removeprefix(A2D_PREFIX)
    if network not in NETWORKS:
        raise CheckpointError(
            f"config.json says model_type '{kind}', a converted decoder of a kind that is not mapped; mapped "
            f"are {', '.join(A2D_PREFIX + name for name in NETWORKS)}, so convert one of those"
        )
    return Layout(f"A2D ({network})", {**_of_the_network(config), "model_type": network})


def _not_mapped(name: str, why: str) -> Callable[[Mapping[str, Any]], Layout]:
    def refuse(config: Mapping[str, Any]) -> Layout:
        raise CheckpointError(
            f"config.json is of {name}, {why}; give a checkpoint of LLaDA, Dream, or a converted decoder "
            "(A2D)"
        )

    return refuse


_READERS: dict[str, Callable[[Mapping[str, Any]], Layout]] = {
    "llada": _llada,
    "dream": _dream,
    "llada_moe": _not_mapped("LLaDA-MoE", "whose experts no network of transformers computes alike"),
    "llada2_moe": _not_mapped("LLaDA2", "whose experts no network of transformers computes alike"),
    "diffusion_gemma": _not_mapped(
        "DiffusionGemma", "whose decoder reads the cache of an encoder and its own scores"
    ),
    "sdar": _not_mapped("SDAR", "which writes blocks from left to right and does not see later ones"),
}


def _of_the_network(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in _NOT_OF_THE_NETWORK}


def _check(config: Mapping[str, Any], family: str, allowed: Mapping[str, tuple[Any, ...]]) -> None:
    for key, values in allowed.items():
        if key in config and config[key] not in values:
            raise CheckpointError(
                f"config.json says {key}: {config[key]!r:.60}, and the network that {family} is mapped onto "
                f"has {values[0]!r}; give a checkpoint of {family} as it was released"
            )


def _number(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(
            f"config.json says {key}: {value!r:.60}, a whole number is expected; download it again"
        )
    return value
