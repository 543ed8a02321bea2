"""Answers to prompts: every family trains on them, answers, and leaves the prompt alone."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from answering_families import FAMILIES, HEADED, TINY, prepare_answers, train_family

from hdiff.cli import run as hdiff
from hdiff.control import Pattern, infill
from hdiff.control.answers import Answering
from hdiff.data.sources.prompts import PromptFormat
from hdiff.errors import DataError, UserError
from hdiff.heads.sampling import GREEDY
from hdiff.models.length_head import LengthHead
from hdiff.runs.folder import RunFolder
from hdiff.samplers import AncestralSampler
from hdiff.sharing import PretrainedModel
from hdiff.sharing.pipeline import TextDiffusionPipeline


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_answers(tmp_path_factory.mktemp("answers"))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Trains a family once."""
    return cache(lambda family: train_family(family, data, tmp_path_factory.mktemp("run")))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_on_prompts_and_answers_them(
    family: str, trained: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained(family)
    assert hdiff(["eval", str(path), "-q"]) == 0
    said = capsys.readouterr().out
    bound = json.loads((path / "eval.json").read_text())["bound"]
    assert bound["given"] == "prompt"
    assert bound["nats_per_token"] > 0
    assert "-log p(answer | prompt)" in said
    assert "-log p(x_0)" not in said
    answering = Answering.of_run(RunFolder.load(path))
    assert answering.end == {"left to right": "token"}.get(
        family, "length" if HEADED in FAMILIES[family] else "padding"
    )
    prompts = ["who runs 1", "who sleeps 2", "who runs", "runs", "who who who who who"]
    answers = answering(prompts, max_tokens=8, generator=torch.Generator().manual_seed(1))
    assert [one.prompt for one in answers] == prompts
    eos = answering.tokenizer.eos_id
    for one in answers:
        assert len(one.tokens) <= 8
        assert eos not in one.tokens
        assert one.has_ended or len(one.tokens) == 8
    assert any(one.tokens for one in answers)
    again = answering(prompts, max_tokens=8, generator=torch.Generator().manual_seed(1))
    assert again == answers


@pytest.mark.parametrize("family", ["spans", "blocks", "left to right", "tokens, end tokens"])
def test_the_command_answers(
    family: str, trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained(family)
    command = ["sample", str(path), "--prompt", "who runs 1", "--max-tokens", "6", "--num", "2"]
    assert hdiff(command) == 0
    assert "--- answer 2 of 2" in capsys.readouterr().out
    asked = tmp_path / "asked.jsonl"
    asked.write_text('{"prompt": "who runs 1"}\n\n{"prompt": "who sleeps 3"}\n')
    assert hdiff(["sample", str(path), "--prompts", str(asked), "--json", "--steps", "8", "--seed", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["prompt"] for one in found["answers"]] == ["who runs 1", "who sleeps 3"]
    (tmp_path / "asked.txt").write_text("who runs 1\nwho sleeps 3\n")
    assert (
        hdiff(
            [
                "sample",
                str(path),
                "--prompts",
                str(tmp_path / "asked.txt"),
                "--json",
                "--steps",
                "8",
                "--seed",
                "3",
            ]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out) == found


REFUSED: list[tuple[list[str], str]] = [
    (["--prompt", "  "], "the prompt is empty"),
    (["--prompt", "who", "--max-tokens", "0"], "give at least 1"),
    (
        ["--prompt", "who runs", "--max-tokens", "30"],
        "leaves 16 for the answer, not 30; ask for fewer: --max-tokens 16",
    ),
    (["--prompt", "who " * 30], "leaves no room for an answer; shorten the prompt"),
    (["--prompt", "who", "--prompts", "x.jsonl"], "--prompt and --prompts at once"),
    (["--prompt", "who", "--length", "4"], "--length does not go with a prompt"),
    (["--prompt", "who", "--infill", "who [3]"], "--infill does not go with a prompt"),
    (["--prompt", "who", "--keywords", "dog"], "--keywords does not go with a prompt"),
    (["--prompt", "who", "--trajectory", "x.html"], "--trajectory does not go with a prompt"),
    (["--max-tokens", "4"], "--max-tokens is of answers"),
    (["--prompts", "absent.jsonl"], "cannot read absent.jsonl"),
    (["--prompt", "who", "--num", "0"], "draw at least 1"),
    (["--prompts", "{broken}"], "line 1 is not JSON"),
    (["--prompts", "{number}"], "line 1 is no object"),
    (["--prompts", "{empty}"], "holds no prompt"),
    (["--prompts", "{other}"], "without column 'prompt'"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_cannot_be_answered_is_refused(
    options: list[str], message: str, trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"broken": "{", "number": "7", "empty": "\n", "other": '{"q": "who"}'}
    for name, text in files.items():
        (tmp_path / f"{name}.jsonl").write_text(text)
    places = {name: str(tmp_path / f"{name}.jsonl") for name in files}
    given = [option.format(**places) if option.startswith("{") else option for option in options]
    assert hdiff(["sample", str(trained("spans")), *given]) == 2
    assert message in capsys.readouterr().err


def test_the_room_that_is_named_is_room(trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sample", str(trained("spans")), "--prompt", "who runs 1", "--max-tokens"]
    assert hdiff([*command, "100"]) == 2
    typed = re.search(r"--max-tokens (\d+)", capsys.readouterr().err)
    assert typed is not None
    assert hdiff([*command, typed[1]]) == 0
    assert hdiff([*command, str(int(typed[1]) + 1)]) == 2


def test_a_length_head_draws_lengths_that_have_room(trained: Any) -> None:
    run = RunFolder.load(trained("spans"))
    answering = Answering.of_run(run, sampling=GREEDY)
    for most in range(1, 9):
        (answer,) = answering(["who runs 1"], max_tokens=most)
        assert 1 <= len(answer.tokens) <= most
    head = run.model.length_head  # type: ignore[union-attr]
    assert isinstance(head, LengthHead)
    law = head(torch.randn(3, 16), torch.tensor([1, 5, 20])).exp()
    assert torch.allclose(law.sum(1), torch.ones(3))
    assert [int((row > 0).sum()) for row in law] == [1, 5, 20]


def test_a_shared_model_and_its_pipeline_answer_as_the_run_does(trained: Any, tmp_path: Path) -> None:
    path = trained("spans")
    assert hdiff(["export", str(path), str(tmp_path / "shared")]) == 0
    shared = PretrainedModel.from_pretrained(tmp_path / "shared")
    assert shared.description.prompts == PromptFormat().to_dict()
    pipeline = TextDiffusionPipeline.of(shared)
    made = pipeline(
        prompt=["who runs 1", "who sleeps 2"], max_tokens=6, generator=torch.Generator().manual_seed(0)
    )
    own = Answering.of_run(RunFolder.load(path))
    answers = own(["who runs 1", "who sleeps 2"], max_tokens=6, generator=torch.Generator().manual_seed(0))
    assert made.texts == tuple(one.text for one in answers)
    assert len(pipeline(2, prompt="who runs 1").texts) == 2
    for options in ({"prefix": "who"}, {"infill": "who [2]"}, {"length": 3}):
        with pytest.raises(DataError, match="a prompt has no prefix"):
            pipeline(prompt="who", **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="max_tokens is of answers"):
        pipeline(max_tokens=3)


@pytest.mark.parametrize(
    "pattern",
    ["who [*]", "[*] runs", "who [*] runs", "[*]", "who [*] and [*]", "[*] and [2-3]", "the [2] [*]"],
)
def test_gaps_of_free_length_get_one_from_the_length_head(pattern: str, trained: Any) -> None:
    run = RunFolder.load(trained("spans"))
    made = infill(
        run.denoiser,
        run.corruption,
        run.tokenizer,
        AncestralSampler(16),
        pattern,
        num_samples=6,
        longest=20,
        generator=torch.Generator().manual_seed(0),
    )
    assert len(made.texts) == len(made.scores) == 6
    assert len({len(tokens) for tokens in made.tokens}) > 1
    assert all(len(tokens) <= 18 for tokens in made.tokens)
    words = [word for word in pattern.replace("[*]", " ").replace("[2-3]", " ").replace("[2]", " ").split()]
    for text in made.texts:
        places = [text.find(word) for word in words]
        assert -1 not in places
        assert all(f"[{mark}]" not in text for mark in "*")
    bare = RunFolder.load(trained("tokens, end tokens"))
    with pytest.raises(DataError, match=r"\[\*\] is a gap of free length"):
        infill(bare.denoiser, bare.corruption, bare.tokenizer, AncestralSampler(4), pattern)


def test_a_free_gap_is_a_gap(trained: Any) -> None:
    tokenizer = RunFolder.load(trained("spans")).tokenizer
    (gap,) = Pattern.parse("who [phrase *]", tokenizer).gaps
    assert gap.is_free
    assert gap.kind == "phrase"
    for broken in ("who [**]", "who [*-3]", "who [ *]", "who [2-*]"):
        with pytest.raises(DataError, match="is no gap"):
            Pattern.parse(broken, tokenizer)


UNANSWERABLE: list[tuple[list[str], str, str]] = [
    (["corruption={kind: uniform_state}", "head={kind: product}"], "hides no tokens", "length_head=null"),
    (["corruption={kind: gaussian}", "head={kind: product}"], "hides no tokens", "length_head=null"),
    (
        ["model.kind=autoregressive", "head={kind: product}", "corruption={kind: token_masking}"],
        "has no length head",
        "length_head=null",
    ),
    (["data.sequence_length=6"], "documents do not fit", r"data\.sequence_length=\d+"),
    (["data.sequence_length=9"], "leave them out", "data.drop_long=true"),
    (["head.sees_row=true"], "which heads do not see", "head.sees_row=false"),
    (
        ["data.stream={source: 'builtin:pydoc'}"],
        "streams and mixtures have none",
        "data.stream=null data.mixture=[]",
    ),
    (["data.mixture=[{path: {data}}]"], "streams and mixtures have none", "data.stream=null data.mixture=[]"),
    (["length_head={longest: 0}"], "give at least 1 token", ""),
    (["length_head={weight: -1}"], "give a number of at least 0", ""),
    (["length_head={longst: 3}"], "longst", ""),
]


@pytest.mark.parametrize(("changes", "message", "remedy"), UNANSWERABLE)
def test_recipes_that_cannot_answer_are_refused_with_what_to_type(
    changes: list[str],
    message: str,
    remedy: str,
    trained: Any,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = trained("spans").parent / "recipe.yaml"
    given = [change.replace("{data}", str(data)) for change in changes]
    command = ["train", str(recipe), *given, f"output={tmp_path / 'run'}", "-q"]
    assert hdiff(command) == 2
    said = capsys.readouterr().err
    assert message in said
    if remedy:
        typed = re.search(remedy if "\\" in remedy else re.escape(remedy), said)
        assert typed is not None
        assert hdiff([*command, *typed[0].split()]) == 0


def test_a_trunk_without_prompts_continues_a_text(prepared_folder: Path, tmp_path: Path) -> None:
    text = TINY.format(out=tmp_path / "run", data=prepared_folder, buckets="null") + "length_head: {}\n"
    (tmp_path / "recipe.yaml").write_text(text)
    assert hdiff(["train", str(tmp_path / "recipe.yaml"), "-q"]) == 0
    run = RunFolder.load(tmp_path / "run")
    answering = Answering.of_run(run)
    assert answering.end == "padding"
    (answer,) = answering(["The list"], max_tokens=5, generator=torch.Generator().manual_seed(0))
    assert len(answer.tokens) <= 5
    made = infill(run.denoiser, run.corruption, run.tokenizer, AncestralSampler(4), "The [*] is", longest=20)
    assert made.texts[0].startswith("The ")
    assert issubclass(DataError, UserError)
