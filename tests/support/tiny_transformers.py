"""Tiny checkpoints of transformers and recipes on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from word_tokenizer import SPARE_ROWS

from hdiff.data.tokenizer import Tokenizer
from hdiff.recipe import resolve

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
