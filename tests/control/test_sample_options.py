"""`hdiff sample` with controls: the text has what is asked for, JSON its keys, bad input one clear line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from hdiff.cli import run as hdiff
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.structure import level_rank

CHECKOUT = Path(__file__).resolve().parents[2]
TINY = [
    "model={width: 16, depth: 1, num_heads: 2}",
    "train={steps: 4, batch_size: 4, warmup_steps: 2}",
    "data.sequence_length=32",
]
SYSTEMS = {
    "spans": [
        "corruption={kind: span_masking, segmentation: random, lengths: corpus}",
        "head={kind: autoregressive, num_heads: 2}",
    ],
    "labels": ["corruption={kind: tree_cascade, levels: [word], types: [label], num_labels: 32}"],
    "replaced": ["corruption={kind: uniform_state}"],
}


@pytest.fixture(scope="module")
def runs(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of masked spans, a cascade and a model of replaced tokens, after a few updates."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = str(CHECKOUT / "recipes" / "e2e_control.yaml")
    for name, changes in SYSTEMS.items():
        tiny = [*TINY, f"data.path={prepared_folder}", f"output={folder / name}", "-q"]
        assert hdiff(["train", recipe, *changes, *tiny]) == 0
    return folder


def sampled(capsys: pytest.CaptureFixture[str], run: Path, *options: str) -> dict[str, Any]:
    capsys.readouterr()
    assert hdiff(["sample", str(run), "--num", "2", "--json", *options]) == 0, capsys.readouterr().err
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    keys = {
        "title",
        "num_steps",
        "step",
        "nfe",
        "head_passes",
        "seed",
        "samples",
        "asked",
        "created",
        "process",
    }
    assert set(record) == keys
    assert len(record["samples"]) == 2
    for sample in record["samples"]:
        assert set(sample["pieces"][0]) == {"text", "step", "unit", "level"}
        assert "".join(piece["text"] for piece in sample["pieces"]) == sample["text"]
    return record


def test_a_run_knows_the_numbers_of_its_labels(runs: Path, prepared_folder: Path) -> None:
    """Word by word of the first document: the name that is stored, and the number that models see."""
    known = json.loads((runs / "labels" / "run.json").read_text())["data"]["labels"]
    assert list(known) == ["word"], "levels that types do not show have no numbers"
    prepared = PreparedData.load(prepared_folder)
    document = prepared.split("train")[0]
    blocks = PackedBlocks.build(prepared, "train", levels=["word"], sequence_length=32)
    words = [
        (start, prepared.manifest["labels"][label])
        for start, label, rank in zip(
            document["span_start"], document["span_label"], document["span_level"], strict=True
        )
        if rank == level_rank("word")
    ]
    assert len(words) > 50
    assert [known["word"][name] for _, name in words] == [
        int(blocks.labels["word"][start]) for start, _ in words
    ]
    assert len({name for _, name in words}) > 5


def test_infilling_shows_given_tokens_at_step_0(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = sampled(capsys, runs / "spans", "--infill", "The function [3] the list", "--steps", "2")
    for sample in record["samples"]:
        assert sample["text"].startswith("The function")
        assert sample["text"].endswith(" the list")
        steps = [piece["step"] for piece in sample["pieces"]]
        assert steps[0] == steps[-1] == 0
        assert sum(step > 0 for step in steps) == 3
        assert max(steps) <= record["num_steps"] == 2
        assert sample["score"] > 0


def test_continuation_is_a_gap_at_the_end(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = sampled(capsys, runs / "spans", "--infill", "The list [2-4]")
    assert all(sample["text"].startswith("The list") for sample in record["samples"])


def test_keywords_are_in_the_text(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--keywords", "list, function", "--length", "12", "--tries", "2"]
    for sample in sampled(capsys, runs / "spans", *options)["samples"]:
        assert -1 < sample["text"].find(" list") < sample["text"].rfind(" function")
        assert len(sample["pieces"]) == 12


def test_a_phrase_is_rewritten(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--rewrite", "The list is sorted", "--phrase", "list is", "--phrase-length", "1-2"]
    for sample in sampled(capsys, runs / "spans", *options)["samples"]:
        assert sample["text"].startswith("The")
        assert sample["text"].endswith(" sorted")


def test_a_skeleton_sets_the_length_and_has_no_score(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for sample in sampled(capsys, runs / "labels", "--skeleton", "DET NOUN:2 VERB *:3")["samples"]:
        assert len(sample["pieces"]) == 7
        assert "score" not in sample


def test_options_of_the_sampler_change_what_is_drawn(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def texts(*options: str) -> list[str]:
        record = sampled(capsys, runs / "spans", "--length", "9", *options)
        return [sample["text"] for sample in record["samples"]]

    plain = texts()
    assert texts() == plain
    assert texts("--seed", "1") != plain
    for option in (["--temperature", "0.2"], ["--top-k", "2"], ["--top-p", "0.05"]):
        assert texts(*option) != plain
    confident = ["--sampler", "{kind: confidence, threshold: 0.0001}"]
    record = sampled(capsys, runs / "spans", "--length", "9", *confident)
    assert record["nfe"] < 9
    assert record["num_steps"] == record["nfe"], "the threshold, not a default, says how many steps"
    assert sampled(capsys, runs / "spans", "--sampler", "{kind: ancestral}", "--steps", "3")["nfe"] == 3


def test_given_tokens_are_labelled_in_what_pages_read(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = sampled(capsys, runs / "spans", "--infill", "The list [2]")
    assert json.loads((runs / "spans" / "samples_infill.json").read_text()) == record
    for sample in record["samples"]:
        for piece in sample["pieces"]:
            assert (piece["level"] == "given") == (piece["step"] == 0)


def test_scores_and_trajectories_are_shown(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    capsys.readouterr()
    options = ["--infill", "The list [2]", "--num", "1", "--trajectory", str(page)]
    assert hdiff(["sample", str(runs / "spans"), *options]) == 0
    out = capsys.readouterr().out
    assert re.search(r"--- sample 1 of 1, (1 of )?2 steps, seed 0, ", out)
    assert "nats/token\nThe list" in out
    assert '"given"' in page.read_text()
    assert hdiff(["report", str(runs / "spans")]) == 0, "the report draws the same samples"


BAD_OPTIONS: dict[str, tuple[str, list[str], str]] = {
    "two controls": ("spans", ["--infill", "[2]", "--skeleton", "NP"], "--infill and --skeleton at once"),
    "no gap": ("spans", ["--infill", "The list"], "has no gap"),
    "malformed gap": ("spans", ["--infill", "The [two]"], "is no gap"),
    "too long": ("spans", ["--infill", "The [40]"], "the model's rows 32"),
    "keywords without length": ("spans", ["--keywords", "list"], "without --length"),
    "empty keyword": ("spans", ["--keywords", "list,", "--length", "9"], "none that is empty"),
    "keywords too long": ("spans", ["--keywords", "list", "--length", "1"], "do not fit"),
    "rewrite without phrase": ("spans", ["--rewrite", "The list"], "without --phrase"),
    "phrase not there": ("spans", ["--rewrite", "The list", "--phrase", "dog"], "occurs 0 times"),
    "phrase length": (
        "spans",
        ["--rewrite", "The list", "--phrase", "list", "--phrase-length", "2-x"],
        "--phrase-length is '2-x'",
    ),
    "phrase without rewrite": ("spans", ["--phrase", "list"], "it is for --rewrite"),
    "tries without keywords": ("spans", ["--infill", "[2]", "--tries", "2"], "it is for --keywords"),
    "length of a pattern": ("spans", ["--infill", "[2]", "--length", "2"], "does not go with --infill"),
    "skeleton without labels": ("spans", ["--skeleton", "NOUN:2"], "generates labels before words"),
    "unknown label": ("labels", ["--skeleton", "NUON:2"], "did you mean 'NOUN'"),
    "gaps of a cascade": ("labels", ["--infill", "The [2]"], "model of masked units"),
    "gaps of replaced tokens": ("replaced", ["--infill", "The [2]"], "takes no given text"),
    "sampler of a cascade": ("labels", ["--sampler", "ancestral"], "TreeCascade"),
    "unknown sampler": ("spans", ["--sampler", "{kind: confidenc}"], "did you mean 'confidence'"),
    "unknown key": ("spans", ["--sampler", "{kind: confidence, treshold: 1}"], "did you mean 'threshold'"),
    "steps of a sampler without": (
        "spans",
        ["--sampler", "{kind: entropy_bounded, gamma: 1}", "--steps", "2"],
        "finds its number of steps itself",
    ),
    "steps twice": (
        "spans",
        ["--sampler", "{kind: ancestral, num_steps: 2}", "--steps", "2"],
        "leave --steps (num_inference_steps) out",
    ),
    "temperature": ("spans", ["--temperature", "0"], "temperature is 0"),
    "top-k": ("spans", ["--top-k", "0"], "top_k is 0"),
    "top-p": ("spans", ["--top-p", "1.5"], "top_p is 1.5"),
    "no step": ("spans", ["--steps", "0"], "at least 1 step"),
    "no step for a gap": ("spans", ["--infill", "[2]", "--steps", "0"], "at least 1 step"),
    "more steps than tokens": ("spans", ["--length", "9", "--steps", "10"], "at most 9 steps"),
    "more steps than the gap": ("spans", ["--infill", "The [2-3]", "--steps", "3"], "at most 2 steps"),
    "no sample": ("spans", ["--num", "0"], "draw at least 1"),
    "no sample of a gap": ("spans", ["--infill", "[2]", "--num", "0"], "draw at least 1"),
    "no token": ("spans", ["--length", "0"], "at least 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(BAD_OPTIONS))
def test_bad_options_are_one_clear_line_and_exit_code_2(
    case: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, options, expected = BAD_OPTIONS[case]
    capsys.readouterr()
    assert hdiff(["sample", str(runs / run), *options]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hdiff: ")]
    assert len(lines) == 1
    assert expected in lines[0]


def test_free_samples_are_drawn_by_the_sampler_of_the_recipe(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs / "spans", run)
    recipe = run / "recipe.yaml"
    assert "sampler: null" in recipe.read_text()
    recipe.write_text(
        recipe.read_text().replace("sampler: null", "sampler: {kind: ancestral, lengths: {8: 1.0}}")
    )
    assert sampled(capsys, run, "--steps", "16")["nfe"] == 4  # a row is four spans of 8
    assert (
        sampled(capsys, run, "--steps", "16", "--sampler", "{kind: ancestral, lengths: {4: 1.0}}")["nfe"] == 8
    )
