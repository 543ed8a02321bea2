"""The cases of ../shared/cases, as a user meets them: commands, files and whole scripts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from read_only import read_only

from hdiff.cli import run as hdiff
from hdiff.data.prepared import PreparedData
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import RecipeError
from hdiff.parsers import SpacyParser, TreebankParser
from hdiff.recipe import load_recipe

CHECKOUT = Path(__file__).resolve().parents[1]
CASES = CHECKOUT.parent / "shared" / "cases"
TINY = [
    "model={width: 16, depth: 1, num_heads: 2}",
    "train={steps: 2, batch_size: 4, warmup_steps: 1}",
    "data.sequence_length=32",
]
PLAIN = ["--parser", "plain", "--levels", "sentence"]
MOVED = {
    "hdiff.pipeline": "hdiff.sharing.pipeline",
    "hdiff.models.trunk": "hdiff.layers.trunk",
    "hdiff.data.prepare import": "hdiff.data.prepare.run import",
}
"""Modules that the scripts import from where they were."""

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not beside this checkout")


def case(name: str) -> Path:
    (folder,) = CASES.glob(f"{name}-*")
    return folder


def test_every_case_is_tested_here() -> None:
    tested = set(re.findall(r'case\("(\w+)"\)', Path(__file__).read_text(encoding="utf-8")))
    assert tested == {folder.name.partition("-")[0] for folder in CASES.iterdir() if folder.is_dir()}


def prepare(source: object, out: Path, *more: str) -> PreparedData:
    words = ["prepare", str(source), "--out", str(out), "-q", *more]
    assert hdiff([*words, *([] if "--tokenizer" in more else ["--tokenizer", "words"])]) == 0
    return PreparedData.load(out)


def train(data: Path, out: Path, *more: str) -> Path:
    recipe = CHECKOUT / "recipes" / "baselines" / "token_masking.yaml"
    assert hdiff(["train", str(recipe), *TINY, f"data.path={data}", f"output={out}", *more]) == 0
    return out


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set of English sentences about code."""
    folder = tmp_path_factory.mktemp("cases")
    sentence = "The list of {0} words is returned by the function. A class has {0} arguments and one name."
    (folder / "t.txt").write_text("\n\n".join(sentence.format(number) for number in range(90)))
    prepare(folder / "t.txt", folder / "data", *PLAIN, "--tokenizer", "train:400")
    return folder / "data"


@pytest.fixture(scope="module")
def trained(plain: Path) -> Path:
    spans = "corruption={kind: span_masking, segmentation: random, lengths: {1: 0.5, 3: 0.5}}"
    return train(plain, plain.parent / "runs" / "quickstart", spans)


# --- Files of texts ---------------------------------------------------------------------------------------


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


# --- Tokenizers -------------------------------------------------------------------------------------------


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


# --- Recipes and runs -------------------------------------------------------------------------------------

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


@pytest.mark.parametrize(
    "words", [["sample", "RUN", "--num", "1"], ["eval", "RUN", "--steps", "1"], ["report", "RUN"]]
)
def test_a_run_that_may_not_be_written_prints_or_refuses(
    words: list[str], trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert case("63").is_dir()
    with read_only(trained):
        code = hdiff([str(trained) if word == "RUN" else word for word in words])
    said = capsys.readouterr()
    assert code in (0, 2)
    assert said.out if code == 0 else len(said.err.splitlines()[-1]) < 300


@pytest.mark.parametrize("way", ["own reader", "json"])
def test_a_null_in_a_stream_is_counted(
    way: str, plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert case("82").is_dir()
    rows = [json.dumps({"text": f"Number {index} is here, and that is all."}) for index in range(200)]
    (tmp_path / "t.jsonl").write_text("\n".join([*rows, '{"text": null}', *rows[:20]]))
    source = {"own reader": f"source: {tmp_path / 't.jsonl'}"}.get(
        way, f"source: json, data_files: {tmp_path / 't.jsonl'}"
    )
    train(plain, tmp_path / "run", f"data.stream={{{source}}}", "train.steps=60")
    assert "null in column 'text'" in capsys.readouterr().out
    (row,) = map(json.loads, (tmp_path / "run" / "rejected.jsonl").read_text().splitlines())
    assert row["place"].endswith("t.jsonl line 201")


def test_a_foreign_model_is_diagnosed_or_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="foreign models need transformers")
    from tiny_checkpoints import TEXT, make_bert, make_llama

    assert case("84").is_dir()
    (tmp_path / "t.txt").write_text(TEXT, encoding="utf-8")
    for model in (make_bert(tmp_path / "a"), make_llama(tmp_path / "b", is_causal=True)):
        words = ["diagnose", f"hf:{model}", "--text", str(tmp_path / "t.txt"), "--prefixes", "2"]
        assert hdiff([*words, "--pairs", "2", "-q"]) in (0, 2)


# --- Scripts ----------------------------------------------------------------------------------------------


def script(name: str, folder: Path) -> list[str]:
    """Runs a script whole; its lines."""
    text = (case(name) / "t.py").read_text(encoding="utf-8")
    for old, new in MOVED.items():
        text = text.replace(old, new)
    (folder / "t.py").write_text(text, encoding="utf-8")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "t.py"], cwd=folder, env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def failures(lines: list[str]) -> dict[str, str]:
    """What failed, and with which sentence of hdiff; no other error may come."""
    found = dict(line.split(" FAIL ", 1) for line in lines if " FAIL " in line)
    strange = {
        what: said for what, said in found.items() if not re.match(r"(Data|Parser|Recipe)Error ", said)
    }
    assert strange == {}
    return found


def test_a_script_without_a_main_guard_prepares_with_workers(tmp_path: Path) -> None:
    assert case("71").is_dir()
    (tmp_path / "base.txt").write_text(
        "\n\n".join(f"Number {n} is here.\nAnd that is all." for n in range(40))
    )
    (line,) = script("71", tmp_path)
    assert "'documents': 37" in line


@pytest.mark.slow
def test_components_work_or_refuse_with_a_sentence(trained: Path) -> None:
    assert case("72").is_dir()
    lines = script("72", trained.parents[1])
    refused = failures(lines)
    assert {what for what in refused if not what.startswith("Batch ")} == {"pipeline 0 samples"}
    assert len(lines) >= 45
    assert not [
        line for line in lines if re.search(r" ok .*\b(False|nan)\b", line) and "True, False" not in line
    ]


@pytest.mark.slow
def test_requests_of_the_harness_have_numbers_that_fit_or_a_sentence(trained: Path) -> None:
    pytest.importorskip("lm_eval", reason="the harness is not installed; pip install '.[harness]'")
    assert case("76").is_dir()
    lines = script("76", trained.parents[1])
    refused = failures(lines)
    assert {
        what.rpartition(", '")[2].partition("'")[0] if what.startswith("gen {") else what for what in refused
    } == {
        *("lone surrogate", "gen infill no gap", "max_new_tokens", "max_length", "num_beams"),
        *("skip_special_tokens", "max_gen_toks", "repetition_penalty", "seed"),
    }
    scores = [float(nats) for line in lines for nats in re.findall(r"\((-?[\d.]+), (?:True|False)\)", line)]
    assert len(scores) > 12
    assert all(nats <= 0 for nats in scores)
