"""Models of transformers: real tiny checkpoints made here; what is unsafe or cannot fill masks is refused."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hdiff.diagnosis import HeldOut, diagnose
from hdiff.diagnosis.masked_model import log_probs_at
from hdiff.errors import CheckpointError, DataError

transformers = pytest.importorskip("transformers", reason="foreign models need transformers")

from tiny_checkpoints import TEXT, bert_config, make_bert, make_llama, word_pieces  # noqa: E402

from hdiff.diagnosis.foreign_model import load_foreign  # noqa: E402


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "held_out.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path / "held_out.txt"


def test_a_bert_is_diagnosed(tmp_path: Path, text: Path) -> None:
    subject = load_foreign(make_bert(tmp_path / "bert"))
    assert (subject.row_ends, subject.longest, subject.joint) == (((2,), (3,)), 40, None)
    held_out = HeldOut.of_file(text, subject.tokenizer, subject.model.vocab_size)
    found = diagnose(subject, held_out, prefixes=6, pairs=5)
    assert len(found.frequency_collapse.distance) == 29  # 40 less two ends less a prefix of 9
    assert all(math.isfinite(nats) for nats in found.frequency_collapse.kl_to_unigram)
    assert 0 < found.frequency_collapse.entropy[0] < math.log(subject.model.vocab_size - 1)
    assert found.pairs.total_correlation > 0.001
    assert found.pairs.unit == "whole words"
    assert all("##" not in example.context for example in found.examples)


def test_probabilities_are_those_of_the_network_without_the_mask(tmp_path: Path) -> None:
    subject = load_foreign(make_bert(tmp_path / "bert"))
    network = transformers.BertForMaskedLM.from_pretrained(tmp_path / "bert").eval()
    row = [2, 4, 6, 4, 8, 3]
    with torch.no_grad():
        scores = network(input_ids=torch.tensor([row])).logits[0, 3].double()
    scores[4] = -torch.inf
    found = log_probs_at(subject.model, [row, [2, 4, 6, 4]], (3,))[0, 0]
    torch.testing.assert_close(found, scores.log_softmax(-1), rtol=1e-4, atol=1e-5)
    assert found[4] == -torch.inf


def test_a_decoder_made_bidirectional_is_diagnosed_in_tokens_of_its_own(tmp_path: Path, text: Path) -> None:
    name = make_llama(tmp_path / "llada", is_causal=False)
    subject = load_foreign(name)
    assert (subject.row_ends, subject.longest) == (((), ()), 64)
    held_out = HeldOut.of_file(text, subject.tokenizer, subject.model.vocab_size)
    found = diagnose(subject, held_out, prefixes=4, pairs=3)
    assert len(found.frequency_collapse.distance) == 48
    assert found.pairs.count == 3


def test_shifted_scores_are_those_of_the_place_before(tmp_path: Path) -> None:
    name = make_llama(tmp_path / "dream", is_causal=False)
    row = [5, 6, 1, 1, 9, 10]
    straight = log_probs_at(load_foreign(name).model, [row], (1, 2, 3))
    shifted = log_probs_at(load_foreign(name, shifted=True).model, [row], (2, 3, 4))
    torch.testing.assert_close(straight, shifted)


def test_a_mask_may_be_named_by_the_config_alone(tmp_path: Path) -> None:
    name = make_llama(tmp_path / "llada", is_causal=False, mask=None, mask_token_id=1)
    assert load_foreign(name).model.mask_id == 1


def refused(name: str) -> str:
    with pytest.raises(CheckpointError) as error:
        load_foreign(name)
    return str(error.value)


def test_a_model_without_mask_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    for name in (
        make_bert(tmp_path / "bert", masked=False),
        make_llama(tmp_path / "llama", is_causal=False, mask=None),
    ):
        Path(name[3:], "model.safetensors").unlink()
        said = refused(name)
        assert name in said
        assert "no mask token" in said
        assert "mask_token_id" in said


def test_a_decoder_that_reads_to_the_left_only_is_refused(tmp_path: Path) -> None:
    said = refused(make_llama(tmp_path / "llama", is_causal=True))
    assert "reads only the text to the left" in said
    assert '"is_causal": false' in said


def test_pickles_are_never_read(tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    name = make_bert(folder)
    weights = transformers.BertForMaskedLM.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    said = refused(name)
    assert "only safetensors are read" in said
    assert "save_pretrained" in said


def test_code_of_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    folder = tmp_path / "llada"
    name = make_llama(folder, is_causal=False)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "llada"
    config["auto_map"] = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert "never run" in refused(name)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_without_its_head_is_refused(tmp_path: Path) -> None:
    size = word_pieces(tmp_path / "bert")
    transformers.BertModel(bert_config(size)).save_pretrained(tmp_path / "bert")
    said = refused(f"hf:{tmp_path / 'bert'}")
    assert "lacks weights of BertForMaskedLM" in said
    assert "would be random" in said


def test_a_mask_outside_of_the_token_table_is_refused(tmp_path: Path) -> None:
    size = word_pieces(tmp_path / "bert")
    transformers.BertForMaskedLM(bert_config(4)).save_pretrained(tmp_path / "bert")
    assert size > 4
    assert "the mask id 4 is outside" in refused(f"hf:{tmp_path / 'bert'}")


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    """As `add_tokens` leaves it without `resize_token_embeddings`."""
    size = word_pieces(tmp_path / "bert")
    transformers.BertForMaskedLM(bert_config(size - 3)).save_pretrained(tmp_path / "bert")
    said = refused(f"hf:{tmp_path / 'bert'}")
    assert f"a tokenizer of {size} tokens and scores for {size - 3}; resize its embeddings" in said


def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    said = refused(f"hf:{tmp_path / 'none'}")
    assert "cannot be loaded" in said
    assert "\n" not in said


def edited(**changes: Any) -> Callable[[Path], None]:
    """Writes other values into config.json."""

    def edit(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return edit


def written(name: str, content: str | bytes) -> Callable[[Path], Any]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def weights(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    """Saves changed weights."""

    def edit(folder: Path) -> None:
        found = load_file(folder / "model.safetensors")
        change(found)
        save_file(found, folder / "model.safetensors", {"format": "pt"})

    return edit


def all_nan(found: dict[str, torch.Tensor]) -> None:
    found.update({name: torch.full_like(value, torch.nan) for name, value in found.items()})


def halved(found: dict[str, torch.Tensor]) -> None:
    found.update({name: value[..., : max(1, value.shape[-1] // 2)].clone() for name, value in found.items()})


SPOILED: dict[str, Callable[[Path], Any]] = {
    "a width that heads do not divide": edited(hidden_size=15),
    "a width that is a text": edited(hidden_size="sixteen"),
    "no heads": edited(num_attention_heads=0),
    "a negative depth": edited(num_hidden_layers=-1),
    "an unknown activation": edited(hidden_act="nonsense"),
    "an activation that is a list": edited(hidden_act=[1]),
    "an unknown dtype": edited(dtype="float7", torch_dtype="float7"),
    "an unknown attention": edited(_attn_implementation="nonsense", attn_implementation="nonsense"),
    "a vocabulary that is null": edited(vocab_size=None),
    "a vocabulary of none": edited(vocab_size=0),
    "a list in place of a model type": edited(model_type=["bert"]),
    "a quantization that is not there": edited(quantization_config={"quant_method": "nonsense"}),
    "another model": edited(model_type="t5"),
    "a model of images": edited(model_type="vit"),
    "a config that is a list": written("config.json", "[1, 2]"),
    "a config that is nested deeply": written("config.json", "[" * 100_000),
    "a config of no text": written("config.json", bytes(range(256))),
    "weights of no safetensors": written("model.safetensors", bytes(range(256))),
    "weights that are cut": lambda folder: os.truncate(folder / "model.safetensors", 999),
    "weights that are empty": written("model.safetensors", b""),
    "weights of another shape": weights(halved),
    "weights that are no numbers": weights(all_nan),
    "a tokenizer that is a list": written("tokenizer.json", "[1, 2]"),
    "a tokenizer that is cut": lambda folder: os.truncate(folder / "tokenizer.json", 99),
    "a tokenizer config that is a text": written("tokenizer_config.json", '"text"'),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "an index of shards that are not there": written(
        "model.safetensors.index.json", '{"weight_map": {"a": "no.safetensors"}}'
    ),
}


def outcome(name: str, text: Path) -> str:
    """What is said of a model, nothing if it is diagnosed."""
    try:
        subject = load_foreign(name)
        held_out = HeldOut.of_file(text, subject.tokenizer, subject.model.vocab_size)
        found = diagnose(subject, held_out, prefixes=2, masks=4, pairs=2)
    except CheckpointError as error:
        return str(error)
    assert all(math.isfinite(nats) for nats in found.frequency_collapse.kl_to_unigram)
    return ""


@pytest.mark.parametrize("kind", SPOILED)
def test_whatever_a_foreign_model_raises_is_a_sentence(kind: str, tmp_path: Path, text: Path) -> None:
    name = make_bert(tmp_path / "bert")
    SPOILED[kind](tmp_path / "bert")
    said = outcome(name, text)
    assert said == "" or said.startswith(name)
    assert "\n" not in said


def test_roberta_counts_positions_from_after_its_padding(tmp_path: Path) -> None:
    folder = tmp_path / "roberta"
    size = word_pieces(folder)
    config = transformers.RobertaConfig(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=34,
        pad_token_id=0,
    )
    transformers.RobertaForMaskedLM(config).save_pretrained(folder)
    subject = load_foreign(f"hf:{folder}")
    assert subject.longest == 33
    log_probs_at(subject.model, [[5] * 33], (0,))
    with pytest.raises(CheckpointError, match="cannot read"):
        log_probs_at(subject.model, [[5] * 34], (0,))


def test_text_is_encoded_without_cutting_or_special_tokens(tmp_path: Path) -> None:
    subject = load_foreign(make_bert(tmp_path / "bert"))
    tokens = subject.tokenizer.encode("[MASK] the dog " + "ran " * 2000)[0]
    assert len(tokens) > 2000
    assert subject.model.mask_id not in tokens
    empty = tmp_path / "empty.txt"
    empty.write_text(" ")
    with pytest.raises(DataError, match="no token"):
        HeldOut.of_file(empty, subject.tokenizer, subject.model.vocab_size)
