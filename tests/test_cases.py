"""The cases of ../shared/cases, as a user meets them: commands, files and whole scripts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from case_commands import CASES, CHECKOUT, PLAIN, case, prepare, train

from hdiff.cli import run as hdiff
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import RecipeError
from hdiff.parsers import SpacyParser, TreebankParser
from hdiff.recipe import load_recipe

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not beside this checkout")


def test_every_case_is_tested_here() -> None:
    files = Path(__file__).parent.glob("test_cases*.py")
    tested = {name for file in files for name in re.findall(r'case\("(\w+)"\)', file.read_text("utf-8"))}
    assert tested == {folder.name.partition("-")[0] for folder in CASES.iterdir() if folder.is_dir()}


def test_unquoted_commas_are_refused_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prepare", str(case("08b") / "rows.csv"), "--out", str(tmp_path / "o"), *PLAIN]
    assert hdiff([*words, "--tokenizer", "words"]) == 2
    assert "rows.csv line 2: more values than columns; put quotes around text" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["mac", "empty", "checkpoints"])
def test_folders_give_their_texts_once(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = {"mac": case("13"), "empty": case("14"), "checkpoints": case("15")}[folder] / "corpus"
    prepare(source, tmp_path / "o", *PLAIN)
    counts = json.loads((tmp_path / "o" / "manifest.json").read_text())["counts"]
    visible = [p for p in source.glob("*.txt") if not p.name.startswith(".") and p.stat().st_size > 9]
    paragraphs = [part for path in visible for part in path.read_text().split("\n\n") if part.strip()]
    assert sum(split["documents"] for split in counts.values()) == len(paragraphs) == 60
    capsys.readouterr()
    assert hdiff(["prepare", str(source), "--out", str(tmp_path / "p"), *PLAIN, "--tokenizer", "words"]) == 0
    said = {"mac": "7 hidden files", "empty": "2 files have no text", "checkpoints": "1 hidden files"}
    assert said[folder] in capsys.readouterr().out


def test_an_unnamed_root_with_children_is_one_sentence_with_labels() -> None:
    parser = TreebankParser(str(case("26") / "t.ptb"))
    for tree in parser.parse(parser.texts()):
        assert len(tree.at("sentence")) == 1
        assert all(span.label for span in tree.spans)


def test_a_form_with_a_blank_is_one_word(tmp_path: Path) -> None:
    file = "treebank:" + str(case("37") / "t.conllu")
    data = prepare(file, tmp_path / "o", "--parser", file, "--levels", "sentence,phrase")
    parser = TreebankParser(str(case("37") / "t.conllu"))
    for row in data.split("train"):
        (tree,) = parser.parse([row["text"]])
        words = [tree.text[word.start : word.end] for word in tree.words]
        assert words[1:] == ["paid", "10 000", "kr\N{NO-BREAK SPACE}"]


@pytest.mark.parametrize("name", ["none", "penn"])
def test_missing_parts_of_speech_are_said(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = "treebank:" + str(case("43b") / f"{name}.conllu")
    words = ["prepare", file, "--parser", file, "--out", str(tmp_path / "o"), "--tokenizer", "words"]
    assert hdiff([*words, "--levels", "sentence,phrase"]) == 2
    assert "part of speech" in capsys.readouterr().err


def test_a_pipeline_without_tagger_says_what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import spacy

    assert case("80").is_dir()
    pipeline = spacy.load(SpacyParser().model, exclude=["tagger", "attribute_ruler"])
    pipeline.to_disk(tmp_path / "pipeline")
    (tmp_path / "t.txt").write_text("\n\n".join(f"The old dog {n} slept in the garden." for n in range(30)))
    words = ["prepare", str(tmp_path / "t.txt"), "--out", str(tmp_path / "o"), "--tokenizer", "words"]
    assert hdiff([*words, "--parser", f"spacy:{tmp_path / 'pipeline'}", "--levels", "phrase"]) == 2
    assert "save the pipeline with 'tagger' and 'attribute_ruler'" in capsys.readouterr().err


def test_the_end_of_a_llama_tokenizer_is_the_one_it_names() -> None:
    tokenizer = Tokenizer.load(case("43"))
    assert tokenizer.backend.id_to_token(tokenizer.eos_id) == "<|end_of_text|>"


def test_a_cased_word_list_keeps_its_case() -> None:
    tokenizer = Tokenizer.load(case("45"))
    for text in ("The", "the"):
        ids = tokenizer.encode(text)[0]
        assert tokenizer.decode(ids) == text or tokenizer.facts.unk_id in ids


def test_given_words_that_a_tokenizer_cannot_read_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "t.txt"
    text.write_text("\n\n".join([*(f"The gardener watered {n} trees." for n in range(40)), "春天"]))
    prepare(text, tmp_path / "o", *PLAIN, "--tokenizer", str(case("46")))
    run = train(tmp_path / "o", tmp_path / "run")
    capsys.readouterr()
    assert hdiff(["sample", str(run), "--num", "1", "--infill", "The 春 [2]", "-q"]) == 2
    assert "春" in capsys.readouterr().err


def test_samples_have_the_emoji_they_were_given(tmp_path: Path) -> None:
    folder = case("48")
    prepare(folder / "emoji.jsonl", tmp_path / "o", *PLAIN, "--tokenizer", str(folder))
    run = train(tmp_path / "o", tmp_path / "run")
    assert hdiff(["sample", str(run), "--num", "2", "--infill", "Day 0 was calm. 😀 [2] 春天", "-q"]) == 0
    texts = [sample["text"] for sample in json.loads((run / "samples_infill.json").read_text())["samples"]]
    assert len(texts) == 2
    for text in texts:
        assert text.startswith("Day 0 was calm. 😀")
        assert text.endswith("春天")
        assert "\N{REPLACEMENT CHARACTER}" not in text


VALUES = {
    "learning_rate=1e-4": None,
    "learning_rate=1E-4": None,
    "learning_rate=3.e-4": None,
    "learning_rate=yes": "train.learning_rate",
    "steps=on": "train.steps",
    "steps=no": "train.steps",
    "steps=1:30": "train.steps",
    "steps=0x10": None,
    "steps=010": None,
    "steps=1_000": "train.steps",
    "steps=${STEPS}": "train.steps",
    "steps=4 # four": "put the value in quotes",
    "steps=\t4": "steps",
    "steps=": "train.steps",
    "steps=~": "train.steps",
    "steps=four": "train.steps",
}


@pytest.mark.parametrize("value", VALUES)
def test_values_of_yaml_are_numbers_or_refused_by_key(value: str) -> None:
    assert case("61").is_dir()
    recipe = CHECKOUT / "recipes" / "baselines" / "token_masking.yaml"
    key = VALUES[value]
    if key is None:
        load_recipe(recipe, [f"train.{value}"])
    else:
        with pytest.raises(RecipeError, match=re.escape(key)):
            load_recipe(recipe, [f"train.{value}"])


@pytest.mark.parametrize("start", ["\ufeff", "train: {steps: 3}\n", "\tx: 1\n"])
def test_files_of_yaml_are_read_or_refused_by_line(start: str, tmp_path: Path) -> None:
    assert case("61").is_dir()
    recipe = (CHECKOUT / "recipes" / "baselines" / "token_masking.yaml").read_text(encoding="utf-8")
    (tmp_path / "r.yaml").write_text(start + recipe, encoding="utf-8")
    if start == "\ufeff":
        load_recipe(tmp_path / "r.yaml")
    else:
        with pytest.raises(RecipeError, match=r"r\.yaml.*(twice|line|tab)"):
            load_recipe(tmp_path / "r.yaml")
