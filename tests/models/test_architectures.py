"""Architectures of transformers as trunks: those that return what a trunk must, and a sentence for others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from word_tokenizer import SPARE_ROWS, words

from hdiff.errors import CheckpointError
from hdiff.models.pretrained_checkpoint import build_trunk, load_trunk

transformers = pytest.importorskip("transformers", reason="pretrained trunks need transformers")

WIDTH = 32
NAMES = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size"), WIDTH),
    **dict.fromkeys(("num_hidden_layers", "encoder_layers", "decoder_layers", "n_layer", "n_layers"), 2),
    **dict.fromkeys(("num_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("n_head", "n_heads", "num_heads", "attention_window", "rotary_dim", "state_size"), 4),
    **dict.fromkeys(("intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim", "hidden_dim", "d_ff"), 48),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 64),
    **dict.fromkeys(("num_key_value_heads", "num_experts", "num_local_experts"), 2),
    **dict.fromkeys(("d_kv", "head_dim"), 8),
}
"""What configurations call their sizes, and tiny ones."""

TRUNKS = [
    "Albert",
    "Bart",
    "Bloom",
    "DebertaV2",
    "DistilBert",
    "Electra",
    "Esm",
    "GPT2",
    "GPTNeoX",
    "LayoutLM",
]
TRUNKS += [
    "MBart",
    "Mistral",
    "Mixtral",
    "OPT",
    "Pegasus",
    "Phi3",
    "Roberta",
    "SqueezeBert",
    "T5",
    "XGLM",
    "XLM",
]
REFUSED = {
    "CLIPText": "input_ids",
    "ConvBert": "padding changes what it returns",
    "FNet": "padding changes what it returns",
    "Hubert": "get_input_embeddings",
    "Jamba": "does not see the last one",
    "Longformer": "must match the size",
    "Lxmert": "visual_feats",
    "Mamba": "does not see the last one",
    "OpenAIGPT": "does not see the last one",
    "Rwkv": "does not see the last one",
    "Speech2Text": "set_input_embeddings",
    "ViT": "PatchEmbeddings",
    "Wav2Vec2": "get_input_embeddings",
    "Xmod": "language unknown",
}


def checkpoint(name: str, folder: Path, **changes: Any) -> None:
    """A tiny untrained checkpoint of an architecture, with the tokenizer of these tests."""
    tokenizer = words()
    config_class = getattr(transformers, f"{name}Config")
    plain = config_class()
    sizes = {key: value for key, value in NAMES.items() if isinstance(getattr(plain, key, None), int)}
    if hasattr(plain, "vocab_size"):
        sizes["vocab_size"] = tokenizer.vocab_size + SPARE_ROWS
    config = config_class(**{**sizes, **changes})
    for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
        if hasattr(config, key):
            setattr(config, key, 0)
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config)
    with torch.no_grad():  # as far from initial values as weights that were trained
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tokenizer.save(folder)


@pytest.mark.parametrize("name", TRUNKS)
def test_it_is_a_trunk_and_can_be_built_again(name: str, tmp_path: Path) -> None:
    checkpoint(name, tmp_path)
    trunk, table = load_trunk(str(tmp_path))
    assert trunk.shape == {"width": WIDTH, "depth": 2, "num_heads": 4}
    assert table.rows.shape[1] == WIDTH
    again = build_trunk(trunk.config_values)
    again.load_state_dict(trunk.state_dict())
    row = torch.randn(2, 5, WIDTH)
    assert torch.equal(again.eval()(row), trunk.eval()(row))


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_it_is_refused_with_the_reason(name: str, reason: str, tmp_path: Path) -> None:
    checkpoint(name, tmp_path)
    with pytest.raises(CheckpointError, match=reason) as refused:
        load_trunk(str(tmp_path))
    assert "give an encoder (BERT" in str(refused.value)


def test_embeddings_narrower_than_the_network_are_refused(tmp_path: Path) -> None:
    checkpoint("Electra", tmp_path, embedding_size=16)
    with pytest.raises(CheckpointError, match="vectors of width 16 become"):
        load_trunk(str(tmp_path))
