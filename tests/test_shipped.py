"""The model that ships: every place that takes a run or a shared folder takes `builtin:stories`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from hdiff.cli import run as hdiff
from hdiff.control.tour import tour
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import CheckpointError, DataError
from hdiff.pages.report import build_report
from hdiff.pages.tour import tour_page
from hdiff.sharing.pipeline import TextDiffusionPipeline
from hdiff.sharing.shared_run import load_model
from hdiff.shipped import FOLDER, model_folder, model_name, read_stories, record_folder, twin_tour

NAME = "builtin:stories"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few stories in the tokens of the shipped model, prepared by its name."""
    folder = tmp_path_factory.mktemp("stories")
    text = folder / "text.txt"
    stories = [story for story, _ in zip(read_stories("validation"), range(12), strict=False)]
    text.write_text("\n<|endoftext|>\n".join(stories), encoding="utf-8")
    options = ["--parser", "plain", "--levels", "sentence", "--validation-fraction", "0.5", "-q"]
    assert hdiff(["prepare", str(text), "--out", str(folder / "data"), "--tokenizer", NAME, *options]) == 0
    return folder / "data"


def test_the_folder_is_small_and_is_what_its_card_says() -> None:
    folder = model_folder(NAME)
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert set(files) == {"README.md", "config.json", "model.safetensors", "tokenizer.json"}
    assert sum(map(len, files.values())) < 6_000_000
    sha256 = json.loads(files["config.json"])["sha256"]
    assert {name: hashlib.sha256(files[name]).hexdigest() for name in sha256} == sha256
    card = files["README.md"].decode()
    assert "CDLA-Sharing-1.0" in card
    assert "Upper bound on -log p(x_0): **" in card
    assert str(Path.home()) not in card
    assert all(word not in card for word in ("/work", "/tmp"))


def test_it_is_sampled_by_its_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in FOLDER.rglob("*") if file.is_file()}
    page = tmp_path / "film.html"
    words = ["--infill", "Once upon a time, [12].", "--trajectory", str(page)]
    assert hdiff(["sample", NAME, "--num", "1", *words, "--json", "-q"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["samples"][0]["text"].startswith("Once upon a time,")
    assert "Given text is there from the start" in page.read_text()
    assert hdiff(["sample", NAME, "--num", "2", "--steps", "2", "--length", "64", "-q"]) == 0
    assert "sample 2 of 2" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in FOLDER.rglob("*") if file.is_file()} == before


def test_the_pipeline_knows_the_name() -> None:
    pipeline = TextDiffusionPipeline.from_pretrained(NAME)
    made = pipeline(1, prefix="Lily saw a", length=16, generator=torch.Generator().manual_seed(0))
    assert made.texts[0].startswith("Lily saw a")
    assert Tokenizer.load(NAME).sha256 == pipeline.tokenizer.sha256


def test_eval_asks_for_data_by_commands_that_work(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert hdiff(["eval", NAME, "-q"]) == 2
    said = capsys.readouterr().err
    assert "hdiff prepare builtin:stories-text --out DATA --tokenizer builtin:stories" in said
    target = tmp_path / "eval.json"
    options = ["--data", str(data), "--steps", "1,2", "--output", str(target), "-q"]
    assert hdiff(["eval", NAME, *options]) == 0
    assert capsys.readouterr().out.startswith("builtin:stories, step ")
    found = json.loads(target.read_text())
    assert found["bound"]["nats_per_token"] < 4.0  # log V is 8: it has learned the language
    assert found["unigram_nats_per_token"] - found["bound"]["nats_per_token"] > 1.5


def test_diagnose_takes_its_held_out_stories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--prefixes", "2", "--masks", "4", "--pairs", "2", "--output", str(tmp_path / "out"), "-q"]
    assert hdiff(["diagnose", NAME, *options]) == 0
    assert "builtin:stories" in capsys.readouterr().out
    assert (tmp_path / "out" / "diagnosis.html").is_file()


def test_training_starts_from_it(data: Path, tmp_path: Path) -> None:
    own = [f"init={NAME}", f"data.path={data}", f"output={tmp_path / 'run'}", "supervision=null"]
    short = ["train.steps=1", "train.decay_steps=0", "train.evaluate_every=0", "train.keep_best=false"]
    assert hdiff(["train", "recipes/stories.yaml", *own, *short, "train.batch_size=2", "-q"]) == 0
    theirs, ours = (load_model(Path(path)) for path in (NAME, tmp_path / "run"))
    assert ours.record["head_classes"] == theirs.record["head_classes"]


def test_it_is_served_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hdiff.serve.page import page
    from hdiff.serve.served_run import ServedRun

    html = page(ServedRun.load(model_folder(NAME)))
    assert "A little girl and her dog ran to the garden" in html
    assert 'value="garden, butterfly"' in html
    monkeypatch.chdir(tmp_path)
    assert hdiff(["report", NAME, "-q"]) == 0
    report = (tmp_path / "stories.html").read_text()
    assert "hdiff eval builtin:stories" in report
    assert "lengths: {32: 1}" in report
    assert "hdiff report builtin:stories" not in report  # it would add nothing
    assert build_report(record_folder(NAME)).count("builtin:stories") > 0


@pytest.mark.parametrize(
    "name",
    ["builtin:poems", "builtin:", "builtin:Stories", "builtin:stories-text", "builtin:stories.v2",
     "builtin:pydoc", "builtin:../stories", "builtin:stories_record", "builtin:stories ", "builtin:twin"],
)  # fmt: skip
@pytest.mark.parametrize("command", ["sample", "eval", "serve", "diagnose", "report", "tour"])
def test_other_names_are_refused_by_every_command(
    name: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hdiff([command, name, "-q"]) == 2
    assert "there is no model" in capsys.readouterr().err


def test_names_and_folders_are_told_apart(tmp_path: Path) -> None:
    assert model_name(model_folder(NAME)) == model_name(record_folder(NAME)) == NAME
    assert model_folder(tmp_path) == tmp_path
    assert model_name(tmp_path) == str(tmp_path)
    with pytest.raises(CheckpointError):
        TextDiffusionPipeline.from_pretrained("builtin:poems")


def test_the_tour_shows_both_models_on_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "tour.html"
    assert hdiff(["tour", "--html", str(page), "-q"]) == 0
    said = capsys.readouterr().out
    assert said.count("--- stories_token_masking\n") == 11
    assert said.count("--- stories\n") == 10  # three spans are filled in 4 steps as in 16
    assert said.count("(the same texts as: Free text in 4 steps)") == 1
    html = page.read_text()
    assert "such texts are no free samples" in html
    assert html.count("data-film=") == 15
    twin = json.loads(twin_tour().read_text())
    ours = tour(load_model(Path(NAME)))
    assert abs(twin["parameters"] / ours["parameters"] - 1) < 0.03
    with pytest.raises(DataError, match="different things"):
        tour_page([ours, {**twin, "parts": twin["parts"][1:]}], title="")


@pytest.mark.parametrize("content", ["", "[]", "{}", "{", "null", '"text"', "\x00", '{"part": []}'])
def test_what_is_no_tour_is_refused(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tour.json"
    file.write_text(content)
    assert hdiff(["tour", NAME, "--beside", str(file), "-q"]) == 2
    assert "hdiff tour FOLDER --json > FILE" in capsys.readouterr().err
