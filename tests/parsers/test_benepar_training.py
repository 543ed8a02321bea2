"""Training of benepar models: encoders, what cannot be trained or loaded, runs that go on."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("benepar", reason="pip install '.[benepar]'")

import torch
import transformers
from benepar_trees import SMALL, brackets, trees

from hdiff.cli import run
from hdiff.errors import ParserError
from hdiff.parsers import BeneparParser, load_parser
from hdiff.parsers.benepar_repairs import import_benepar, lenient_loading
from hdiff.parsers.benepar_settings import TrainingSettings
from hdiff.parsers.benepar_training import STATE, train

SENTENCE = "The old dog saw a cat in the park."


def encoder_folder(kind: str, folder: Path) -> Path:
    """An untrained encoder with its tokenizer, as transformers saves it."""
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz.",
        "the",
        "##s",
        "dog",
    ]
    words += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    size = {"vocab_size": len(words), "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    if kind == "bert":
        config: Any = transformers.BertConfig(**size, intermediate_size=32, max_position_embeddings=64)
        model: Any = transformers.BertModel(config)
    else:
        config = transformers.ElectraConfig(**size, embedding_size=32, intermediate_size=32)
        model = transformers.ElectraModel(config)
    model.save_pretrained(folder)
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["bert", "electra"])
def test_pretrained_encoders_train_and_load_with_buffers_of_older_versions(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "encoder").mkdir()
    encoder = encoder_folder(kind, tmp_path / "encoder")
    settings = TrainingSettings(**{**SMALL, "epochs": 2}, encoder=str(encoder))
    best = train(trees(range(60)), trees(range(1000, 1010)), tmp_path / "out", settings)
    assert 0.0 <= best["f1"] <= 1.0
    model = tmp_path / "out" / "model"
    shutil.rmtree(encoder)
    weights = torch.load(model / "benepar_model.bin", weights_only=True)
    weights["pretrained_model.embeddings.position_ids"] = torch.arange(64)
    torch.save(weights, model / "benepar_model.bin")
    capfd.readouterr()
    (tree,) = BeneparParser(str(model)).parse([SENTENCE])
    assert tree.at("sentence")
    assert capfd.readouterr().err == "", "transformers has nothing to say to the user"
    del weights["f_label.0.weight"]
    torch.save(weights, model / "benepar_model.bin")
    with pytest.raises(ParserError, match=r"cannot be loaded: Error\(s\) in loading state_dict"):
        BeneparParser(str(model))


def test_loading_is_strict_again_afterwards() -> None:
    module = torch.nn.Linear(2, 2)
    state = {**module.state_dict(), "position_ids": torch.zeros(1)}
    with lenient_loading():
        module.load_state_dict(state)
    with pytest.raises(RuntimeError, match="position_ids"):
        module.load_state_dict(state)


def test_special_tokens_are_put_where_the_tokenizer_puts_them(tmp_path: Path) -> None:
    import_benepar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder_folder("bert", tmp_path))
    ids = tokenizer("dog", add_special_tokens=False)["input_ids"]
    assert tokenizer.build_inputs_with_special_tokens(ids) == tokenizer("dog")["input_ids"]


class Code:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return Path.touch, (Path("was_run"),)  # type: ignore[return-value]


def test_a_model_file_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"config": Code(), "state_dict": {}}, tmp_path / "zip.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps({"config": Code()}))
    for name in ("zip.pt", "pickle.pt"):
        with pytest.raises(ParserError, match="cannot be loaded"):
            BeneparParser(name)
    assert not Path("was_run").exists()


def test_a_folder_cannot_run_code_of_its_own(tmp_path: Path) -> None:
    folder = encoder_folder("bert", tmp_path)
    (folder / "mine.py").write_text("import pathlib; pathlib.Path('was_run').touch()\n", encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModel": "mine.Mine"}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "benepar_model.bin").write_bytes(b"")
    with pytest.raises(ParserError, match="cannot be loaded"):
        BeneparParser(str(folder))
    assert not Path("was_run").exists()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("benepar", "needs a model; write its path after a colon"),
        ("benepar:nowhere.pt", r"'nowhere\.pt' cannot be loaded: it does not exist\. Give a \.pt file"),
        ("benepar:@plain", "needs a model before the @"),
        ("benepar:FILE", "cannot be loaded"),
        ("benepar:FILE@spcy", "unknown parser 'spcy'; did you mean 'spacy'"),
    ],
)
def test_models_that_are_none_are_named(spec: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "text.pt"
    file.write_text("no model", encoding="utf-8")
    with pytest.raises(ParserError, match=message):
        load_parser(spec.replace("FILE", str(file)))


class Killed(Exception):
    """Stands in for a kill between two updates."""


def test_a_killed_training_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    settings = TrainingSettings(**{**SMALL, "epochs": 2, "dropout": 0.2})
    data, dev = trees(range(400)), trees(range(1000, 1010))
    whole = train(data, dev, tmp_path / "whole", settings)

    def kill(line: dict[str, float]) -> None:
        if line["step"] >= 20:
            raise Killed

    with pytest.raises(Killed):
        train(data, dev, tmp_path / "parts", settings, report=kill, save_every=0.0)
    state = torch.load(tmp_path / "parts" / STATE, weights_only=True)
    assert 0 < state["step"] < 50
    assert train(data, dev, tmp_path / "parts", settings) == whole
    first, second = (
        torch.load(tmp_path / name / "model.pt", weights_only=True)["state_dict"]
        for name in ("whole", "parts")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    with pytest.raises(ParserError, match="holds the training of other trees or settings"):
        train(data, trees(range(9)), tmp_path / "parts", settings)


def test_bfloat16_trains_other_weights_to_the_same_end(tmp_path: Path) -> None:
    settings = {**SMALL, "epochs": 8}
    exact = train(
        trees(range(200)), trees(range(1000, 1030)), tmp_path / "fp32", TrainingSettings(**settings)
    )
    rough = TrainingSettings(**settings, bf16=True)
    assert (
        train(trees(range(200)), trees(range(1000, 1030)), tmp_path / "bf16", rough)["f1"]
        > exact["f1"] - 0.15
    )
    one, other = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("fp32", "bf16"))
    assert not torch.equal(one["state_dict"]["f_label.0.weight"], other["state_dict"]["f_label.0.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": float("nan")}, "learning_rate is nan; it must be positive"),
        ({"epochs": 0}, "epochs is 0"),
        ({"dropout": 1.0}, r"dropout is 1\.0; it must lie in"),
        ({"encoder": "nowhere"}, r"nowhere has no config\.json; give the folder of a pretrained encoder"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParserError, match=message):
        TrainingSettings(**{**SMALL, **change})


def test_the_commands_train_evaluate_and_say_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, numbers in (("train", range(200)), ("dev", range(1000, 1030))):
        lines = "\n".join(brackets(number) for number in numbers)
        (tmp_path / f"{name}.ptb").write_text(lines, encoding="utf-8")
    gold, dev, out = tmp_path / "train.ptb", tmp_path / "dev.ptb", tmp_path / "parser"
    options = [
        "--epochs",
        "4",
        "--width",
        "64",
        "--layers",
        "1",
        "--learning-rate",
        "4e-3",
        "--batch-size",
        "8",
    ]
    assert run(["parser", "train", str(gold), "--dev", str(dev), "--out", str(out), *options]) == 0
    printed, told = capsys.readouterr()
    assert "epoch 4: loss" in told
    assert f"use it with --parser benepar:{out / 'model.pt'}" in printed
    assert run(["parser", "eval", str(dev), "--parser", f"benepar:{out / 'model.pt'}", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["evalb"]["f1"] >= 0.8
    assert result["failed"] == result["fallbacks"] == 0
    assert run(["parser", "train", str(tmp_path), "--dev", str(dev), "--out", str(out)]) == 2
    assert "no file of bracketed trees" in capsys.readouterr().err
