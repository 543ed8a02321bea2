"""BeneparParser: real models, made here, that plain benepar loads; what they cannot take is counted."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("benepar", reason="pip install '.[benepar]'")

import torch
import transformers
from nltk.tree import Tree

from hdiff.cli import run
from hdiff.data.prepare.run import prepare
from hdiff.errors import ParserError
from hdiff.parsers import BeneparParser, load_parser
from hdiff.parsers.base import Words
from hdiff.parsers.benepar_repairs import import_benepar, lenient_loading
from hdiff.parsers.benepar_settings import TrainingSettings
from hdiff.parsers.benepar_training import STATE, train
from hdiff.parsers.brackets import clean, parse_brackets, to_span_tree
from hdiff.structure import SpanTree

SMALL: dict[str, Any] = {
    "epochs": 12,
    "batch_size": 16,
    "learning_rate": 4e-3,
    "warmup_steps": 10,
    "d_model": 64,
    "num_layers": 1,
    "num_heads": 2,
    "d_kv": 16,
    "d_ff": 64,
    "d_label_hidden": 32,
    "d_char": 16,
    "dropout": 0.0,
    "max_length": 24,
}
SENTENCE = "The old dog saw a cat in the park."


def brackets(number: int) -> str:
    """A sentence of a small grammar."""
    choose = random.Random(number)

    def noun_phrase(depth: int) -> str:
        adjective = f"(JJ {choose.choice(['old', 'big', 'red'])}) " if choose.random() < 0.5 else ""
        noun = choose.choice(["dog", "cat", "park", "tree"])
        base = f"(NP (DT {choose.choice(['the', 'a'])}) {adjective}(NN {noun}))"
        if depth and choose.random() < 0.4:
            return f"(NP {base} (PP (IN {choose.choice(['in', 'near'])}) {noun_phrase(depth - 1)}))"
        return base

    verb = choose.choice(["saw", "liked", "heard"])
    if choose.random() < 0.2:
        return "(S (VP (VB go)) (. .))"
    return f"(S {noun_phrase(1)} (VP (VBD {verb}) {noun_phrase(1)}) (. .))"


def trees(numbers: range) -> list[SpanTree]:
    nodes = parse_brackets([brackets(number) for number in numbers], where="grammar")
    return [to_span_tree(node) for node in map(clean, nodes) if node is not None]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("benepar")
    best = train(trees(range(300)), trees(range(1000, 1060)), folder, TrainingSettings(**SMALL))
    return folder / "model.pt", best


@pytest.fixture(scope="module")
def parser(trained: tuple[Path, dict[str, float]]) -> BeneparParser:
    return BeneparParser(str(trained[0]), annotations=("heads", "entities"))


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


def labels(tree: SpanTree) -> list[tuple[str, str, str]]:
    return [(s.level, s.label, tree.text[s.start : s.end]) for s in tree.spans if s.level != "word"]


def test_training_learns_the_grammar(trained: tuple[Path, dict[str, float]]) -> None:
    assert trained[1]["f1"] >= 0.9
    assert 1 <= trained[1]["epoch"] <= SMALL["epochs"]


def test_plain_benepar_loads_and_runs_what_was_trained(trained: tuple[Path, dict[str, float]]) -> None:
    benepar = import_benepar()
    found = benepar.Parser(str(trained[0])).parse(
        benepar.InputSentence(words=["the", "dog", "saw", "a", "cat", "."])
    )
    assert isinstance(found, Tree)
    assert [subtree.label() for subtree in found.subtrees(lambda t: t.height() > 2)] == [
        "TOP", "S", "NP", "VP", "NP"
    ]  # fmt: skip


def test_trees_have_its_constituents_over_the_words_of_spacy(parser: BeneparParser) -> None:
    (tree,) = parser.parse(["the old dog saw a cat."])
    assert labels(tree) == [
        ("sentence", "S", "the old dog saw a cat."),
        ("phrase", "NP", "the old dog"),
        ("phrase", "VP", "saw a cat"),
        ("phrase", "NP", "a cat"),
    ]
    assert [word.label for word in tree.words][:3] == ["DET", "ADJ", "NOUN"]
    assert tree.heads is not None
    assert tree.entities is not None
    told = {name: getattr(tree, name) for name in ("heads", "entities", "tags", "relations")}
    assert SpanTree.build(tree.text, tree.spans, **told) == tree


def test_every_text_gives_one_tree_in_order_and_words_can_be_given(parser: BeneparParser) -> None:
    texts = ["", "the dog saw a cat. a cat liked the dog.", " \n ", "go."]
    found = list(parser.parse(texts))
    assert [tree.text for tree in found] == texts
    assert [len(tree.at("sentence")) for tree in found] == [0, 2, 0, 1]
    (tree,) = parser.parse_words([Words("go .", ((0, 2), (3, 4)))])
    assert labels(tree) == [("sentence", "S", "go ."), ("phrase", "VP", "go")]


def test_a_sentence_over_the_limit_of_the_encoder_keeps_other_spans_and_is_counted(
    parser: BeneparParser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="hdiff.parsers.benepar_parser")
    before = parser.num_fallbacks
    long = "The old dog saw " + "the big red tree and " * 10 + "a cat."
    short = "the dog saw a cat."
    first, second = parser.parse([long, short])
    assert parser.num_fallbacks == before + 1
    assert first.spans == next(iter(load_parser("spacy").parse([long]))).spans
    assert "a sentence of 57 words keeps the spans of parser spacy" in caplog.text
    assert labels(second) == labels(next(iter(parser.parse([short]))))
    assert parser.num_fallbacks == before + 1


def test_fallbacks_are_in_the_manifest(trained: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    long = "The old dog saw " + "the big red tree and " * 10 + "a cat."
    source = tmp_path / "text.txt"
    source.write_text("\n\n".join([long, *(f"the dog saw {n} cats." for n in range(40))]), encoding="utf-8")
    manifest = prepare(str(source), tmp_path / "out", parser=f"benepar:{trained[0]}", tokenizer="words")
    assert manifest["fallbacks"] == 1
    assert manifest["rejected"] == {}
    assert manifest["parser"]["model"] == str(trained[0])
    assert len(manifest["parser"]["model_sha256"]) == 64


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
