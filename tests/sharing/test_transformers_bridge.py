"""A shared model under the Auto classes of transformers: same ids, same scores, and a folder again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from shared_models import change_config

from hdiff.errors import CheckpointError, DataError
from hdiff.sharing import PretrainedModel
from hdiff.sharing.pipeline import TextDiffusionPipeline

transformers = pytest.importorskip("transformers", reason="the bridge needs pip install '.[transformers]'")
TEXT = "The list is sorted.\n\n  Caf\u00e9 <eos> <|mask| [MASK]"


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    from hdiff.sharing.transformers_bridge import register

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    register()
    register()


def test_importing_it_registers_nothing() -> None:
    code = (
        "import hdiff.sharing.transformers_bridge\n"
        "from transformers.models.auto.configuration_auto import CONFIG_MAPPING\n"
        "assert 'hdiff' not in CONFIG_MAPPING\n"
        "hdiff.sharing.transformers_bridge.register()\n"
        "assert 'hdiff' in CONFIG_MAPPING\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_the_tokenizer_gives_the_ids_of_hdiff_and_the_mask_as_v(exported: Path) -> None:
    own = PretrainedModel.from_pretrained(exported).tokenizer
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    assert tokenizer(TEXT).input_ids == own.encode(TEXT)[0]
    assert tokenizer.decode(tokenizer(TEXT).input_ids) == TEXT
    ids = tokenizer("The list <|mask|> sorted.").input_ids
    assert ids.count(own.vocab_size) == 1
    assert tokenizer.mask_token_id == own.vocab_size


def test_texts_are_cut_to_the_rows_of_the_model(exported: Path, tmp_path: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    assert tokenizer.model_max_length == 32
    assert len(tokenizer("The list is sorted. " * 20, truncation=True).input_ids) == 32
    tokenizer.save_pretrained(tmp_path)  # without the model
    assert transformers.AutoTokenizer.from_pretrained(tmp_path).model_max_length == 32
    assert transformers.AutoTokenizer.from_pretrained(exported, model_max_length=8).model_max_length == 8


def test_another_tokenizer_than_that_of_the_model_is_refused(copied: Path) -> None:
    file = copied / "tokenizer.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = values["model"]["vocab"]
    first, second = list(vocabulary)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    file.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"is not the tokenizer that config\.json describes"):
        transformers.AutoTokenizer.from_pretrained(copied)
    (copied / "config.json").unlink()  # alone it is a tokenizer like any other
    (copied / "tokenizer_config.json").write_text('{"tokenizer_class": "HdiffTokenizer"}')
    tokenizer = transformers.AutoTokenizer.from_pretrained(copied)
    assert tokenizer.convert_tokens_to_ids(first) == vocabulary[first]


def test_the_tokenizer_of_a_model_with_a_class_of_yours_needs_no_word_of_yours(copied: Path) -> None:
    """Nothing is built of what config.json names."""
    change_config(copied, corruption={"kind": "nowhere.to.be.found:Mine"})
    assert transformers.AutoTokenizer.from_pretrained(copied).model_max_length == 32
    change_config(copied, sequence_length="many")
    with pytest.raises(CheckpointError, match=r"sequence_length: .*export it again"):
        transformers.AutoTokenizer.from_pretrained(copied)


def test_logits_are_the_one_token_marginals_of_the_head(exported: Path) -> None:
    model = transformers.AutoModelForMaskedLM.from_pretrained(exported)
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    batch = tokenizer(["The <|mask|> is <|mask|><|mask|>.", "It <|mask|>"], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch).logits
    own = PretrainedModel.from_pretrained(exported).denoiser
    for row, mask in enumerate(batch["attention_mask"].bool()):
        with torch.no_grad():
            hidden = own.hidden(batch["input_ids"][row][mask][None])
            expected = own.head.token_log_probs(hidden[0])
        assert torch.allclose(logits[row][mask], expected, atol=1e-5)
    assert torch.allclose(logits.exp().sum(-1), torch.ones(batch["input_ids"].shape), atol=1e-4)
    assert not model.training


def test_labels_give_the_mean_cross_entropy_of_the_labelled_places_and_a_gradient(exported: Path) -> None:
    model = transformers.AutoModelForMaskedLM.from_pretrained(exported)
    ids = torch.tensor([[5, model.config.mask_id, 7, model.config.mask_id]])
    labels = torch.tensor([[-100, 6, -100, 8]])
    output = model(input_ids=ids, labels=labels)
    expected = -(output.logits[0, 1, 6] + output.logits[0, 3, 8]).item() / 2
    assert output.loss.item() == pytest.approx(expected)
    output.loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert model.get_input_embeddings().weight.grad.abs().sum() > 0


def test_what_it_saves_loads_in_both_worlds(exported: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForMaskedLM.from_pretrained(exported)
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(1.5)  # as if it had been trained further
    (tmp_path / "training_args.bin").write_bytes(b"of a trainer")
    model.save_pretrained(tmp_path, state_dict=model.state_dict())
    tokenizer.save_pretrained(tmp_path)
    again = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path)
    ids = torch.tensor([[5, model.config.mask_id, 7]])
    assert torch.equal(model(ids).logits, again(ids).logits)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path)(TEXT) == tokenizer(TEXT)
    generator = torch.Generator().manual_seed(0)
    assert TextDiffusionPipeline.from_pretrained(tmp_path)(1, generator=generator).texts
    assert (tmp_path / "training_args.bin").read_bytes() == b"of a trainer"


def test_the_fill_mask_pipeline_takes_it(exported: Path) -> None:
    fill = transformers.pipeline(
        "fill-mask",
        model=transformers.AutoModelForMaskedLM.from_pretrained(exported),
        tokenizer=transformers.AutoTokenizer.from_pretrained(exported),
    )
    found = fill("The <|mask|> is sorted.", top_k=3)
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("judge", "is an autoregressive model, which predicts from left to right and fills no masks"),
        ("blocks", "corruption 'block_masking', whose model gives no marginals of masked tokens"),
        ("cascade", "corruption 'tree_cascade', whose model gives no marginals of masked tokens"),
        ("gaussian", "corruption 'gaussian', whose model gives no marginals of masked tokens"),
    ],
)
def test_models_without_marginals_are_refused_by_name(
    family: str, message: str, families: Path, tmp_path: Path
) -> None:
    folder = PretrainedModel.from_pretrained(families / family).save_pretrained(tmp_path / family)
    with pytest.raises(CheckpointError, match=message):
        transformers.AutoModelForMaskedLM.from_pretrained(folder)


def test_damage_and_classes_of_others_are_refused_as_everywhere(copied: Path) -> None:
    kind = "hdiff.corruption:TokenMasking"
    change_config(copied, corruption={"kind": kind})
    with pytest.raises(CheckpointError, match=r"if you trust it, load with components="):
        transformers.AutoModelForMaskedLM.from_pretrained(copied)
    assert transformers.AutoModelForMaskedLM.from_pretrained(copied, components=[kind])
    weights = copied / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="is not the weights"):
        transformers.AutoModelForMaskedLM.from_pretrained(copied, components=[kind])


def test_what_it_cannot_do_is_refused_with_a_sentence(exported: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(exported)
    with pytest.raises(CheckpointError, match="load a folder with from_pretrained"):
        transformers.AutoModelForMaskedLM.from_config(config)
    with pytest.raises(DataError, match="take no device_map; leave it out"):
        transformers.AutoModelForMaskedLM.from_pretrained(exported, device_map="cpu")
    model = transformers.AutoModelForMaskedLM.from_pretrained(exported, dtype="float64")
    assert model.dtype == torch.float64
    with pytest.raises(CheckpointError, match="keeps its size"):
        model.resize_token_embeddings(10)
    with pytest.raises(DataError, match="padding_side = 'right'"):
        model(torch.tensor([[1, 2]]), attention_mask=torch.tensor([[0, 1]]))


@pytest.mark.parametrize("numbers", [[0, 1, 2, 3], [0, 1, 2, 9], [3, 5, 7, 8], [0, 2, 4, 1]])
def test_the_mask_is_v_whatever_numbers_a_tokenizer_has(numbers: list[int], tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    from hdiff.sharing.transformers_tokenizer import HdiffTokenizer

    words = dict(zip(["<unk>", "<eos>", "a", "b"], numbers, strict=True))
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = HdiffTokenizer(str(tmp_path / "tokenizer.json"))
    assert tokenizer.mask_token_id == max(numbers) + 1
    assert tokenizer("a <|mask|> b").input_ids == [words["a"], max(numbers) + 1, words["b"]]
