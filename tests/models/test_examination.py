"""`hdiff doctor FOLDER`: what a checkpoint is, and that it fits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import released_checkpoints as released
import torch
from word_tokenizer import SPARE_ROWS, words

from hdiff.cli import run as hdiff
from hdiff.models.pretrained_checkpoint import load_trunk

transformers = pytest.importorskip("transformers", reason="pretrained trunks need transformers")

ROWS = words().vocab_size + SPARE_ROWS


def write(folder: Path, family: str) -> None:
    if family == "llada":
        config = {**released.LLADA, "vocab_size": ROWS, "mask_token_id": ROWS - 1, "pad_token_id": 0}
        released.write(folder, config, released.llada_tensors(config, ROWS))
    elif family == "Dream":
        config = {**released.DREAM, "vocab_size": ROWS, "mask_token_id": 4}
        released.write(folder, config, released.qwen_tensors(config, ROWS, biases=True))
    else:
        shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 8}
        options = {"pad_token_id": 0} if family == "ModernBert" else {}
        config_class = getattr(transformers, f"{family}Config")
        model = getattr(transformers, f"{family}{'ForCausalLM' if family == 'Llama' else 'ForMaskedLM'}")
        model(config_class(vocab_size=ROWS, max_position_embeddings=64, **shape, **options)).save_pretrained(
            folder
        )
    words().save(folder)


@pytest.mark.parametrize(
    ("family", "kind", "about", "tables"),
    [
        ("llada", "LLaDA, computed by llama of transformers", "the token there", "tables of its own"),
        ("Dream", "Dream, computed by qwen2 of transformers", "the next token", "tables of its own"),
        ("Llama", "llama of transformers", "the token there", "tables of its own"),
        ("Bert", "bert of transformers", "the token there", "one table"),
        ("Roberta", "roberta of transformers", "the token there", "one table"),
        ("ModernBert", "modernbert of transformers", "the token there", "one table"),
    ],
)
def test_doctor_says_what_a_checkpoint_is(
    family: str, kind: str, about: str, tables: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, family)
    capsys.readouterr()
    assert hdiff(["doctor", str(tmp_path), "--json"]) == 0
    found = {probe["name"]: probe for probe in json.loads(capsys.readouterr().out)}
    assert found["checkpoint"]["detail"] == kind
    assert found["network"]["detail"] == "16 width, 2 layers, 4 heads"
    assert about in found["output"]["detail"]
    assert tables in found["trunk"]["detail"]
    assert found["mask"]["detail"].startswith(str(ROWS - 1) if family == "llada" else "4 ([MASK])")
    assert "model.width=16 model.depth=2 model.num_heads=4" in found["trunk"]["remedy"]
    assert {probe["status"] for probe in found.values()} == {"ok"}


def test_doctor_refuses_what_no_training_can_start_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "llada")
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    assert hdiff(["doctor", str(tmp_path)]) == 2
    assert (
        "holds pickles (pytorch_model.bin), which can run code, and no safetensors" in capsys.readouterr().err
    )
    assert hdiff(["doctor", str(tmp_path / "nowhere")]) == 2
    assert "no folder with a config.json" in capsys.readouterr().err


@pytest.mark.parametrize("family", ["Bert", "Roberta", "XLMRoberta", "DistilBert", "ModernBert", "Esm"])
def test_scores_of_encoders_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    """All layers before the output table are the checkpoint's."""
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 8}
    if family == "DistilBert":
        shape = {"dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 8}
    options: dict[str, object] = {"pad_token_id": 0} if family in ("ModernBert", "Esm") else {}
    options |= (
        {"mask_token_id": 4, "token_dropout": False, "position_embedding_type": "rotary"}
        if family == "Esm"
        else {}
    )
    config = getattr(transformers, f"{family}Config")(
        vocab_size=ROWS, max_position_embeddings=64, **shape, **options
    )
    theirs = getattr(transformers, f"{family}ForMaskedLM")(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path)
    words().save(tmp_path)
    trunk, table = load_trunk(str(tmp_path))
    tokens = torch.randint(5, words().vocab_size, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
        hidden = trunk.eval()(table.rows[tokens] * 16**0.5)
        found = hidden @ (table.rows[:-1] if table.output is None else table.output).T
        found = found if table.bias is None else found + table.bias
    assert torch.allclose(found, expected[..., : words().vocab_size], atol=1e-4)
