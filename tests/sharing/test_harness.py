"""The real lm-evaluation-harness, offline, on local tasks: legal figures, clear words where none exist."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from shared_models import CHECKOUT

from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.models.autoregressive import Autoregressive
from hdiff.sharing import PretrainedModel

pytest.importorskip("lm_eval", reason="the harness is not installed; pip install '.[harness]'")
PAIRS = [("The lists are sorted.", "The lists is sorted."), ("A function returns.", "A function return.")]
TASKS = {
    "local_blimp": {
        "output_type": "multiple_choice",
        "doc_to_text": "",
        "target_delimiter": "",
        "doc_to_target": 0,
        "doc_to_choice": "{{[sentence_good, sentence_bad]}}",
        "metric_list": [{"metric": "acc"}],
    },
    "local_context": {
        "output_type": "multiple_choice",
        "doc_to_text": "Python is fine.",
        "doc_to_target": 0,
        "doc_to_choice": "{{[sentence_good, sentence_bad]}}",
        "metric_list": [{"metric": "acc"}],
    },
    "local_perplexity": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{sentence_good}}",
        "metric_list": [{"metric": "word_perplexity"}],
    },
    "local_continuation": {
        "output_type": "generate_until",
        "doc_to_text": "{{sentence_good}}",
        "doc_to_target": "",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 6, "do_sample": False},
        "metric_list": [{"metric": "bypass"}],
    },
    "local_infill": {
        "output_type": "generate_until",
        "doc_to_text": "The list [2-3] the function",
        "doc_to_target": "",
        "generation_kwargs": {"until": [], "infill": True},
        "metric_list": [{"metric": "bypass"}],
    },
    "local_beams": {
        "output_type": "generate_until",
        "doc_to_text": "{{sentence_good}}",
        "doc_to_target": "",
        "generation_kwargs": {"until": [], "num_beams": 4},
        "metric_list": [{"metric": "bypass"}],
    },
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Task files over a local text file: twenty pairs of BLiMP where they are at hand, else a few of ours."""
    folder = tmp_path_factory.mktemp("tasks")
    corpus = CHECKOUT.parent / "shared" / "data" / "blimp" / "regular_plural_subject_verb_agreement_1.jsonl"
    if corpus.is_file():
        lines = corpus.read_text().splitlines()[:20]
    else:
        lines = [json.dumps({"sentence_good": good, "sentence_bad": bad}) for good, bad in PAIRS]
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    for name, task in TASKS.items():
        data = {"data_files": {"test": str(folder / "pairs.jsonl")}}
        head = {"task": name, "dataset_path": "json", "dataset_kwargs": data, "test_split": "test"}
        (folder / f"{name}.yaml").write_text(json.dumps({**head, **task}))  # JSON is YAML
    return folder


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))


def evaluate(
    tasks: Path, task: str, run: Path, *, options: dict[str, Any] | None = None, **arguments: Any
) -> dict[str, Any]:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    import hdiff.harness  # noqa: F401  (registers the model)

    found: dict[str, Any] = simple_evaluate(
        model="hdiff",
        model_args={"run": str(run), "draws": 1, **arguments},
        tasks=[task],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        log_samples=True,
        bootstrap_iters=0,
        limit=4,
        **(options or {}),
    )
    return found


def responses(found: dict[str, Any], task: str) -> list[list[Any]]:
    return [sample["filtered_resps"] for sample in found["samples"][task]]


@pytest.mark.slow
def test_the_command_line_of_the_harness_runs_blimp(exported: Path, tasks: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hdiff.harness", "run", "--model", "hdiff", "--tasks", "local_blimp"]
    command += [
        "--model_args",
        f"run={exported},draws=1",
        "--batch_size",
        "auto",
        "--include_path",
        str(tasks),
    ]
    done = subprocess.run(
        [*command, "--output_path", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(file.read_text())
    assert 0 <= results["results"]["local_blimp"]["acc,none"] <= 1
    num_pairs = len((tasks / "pairs.jsonl").read_text().splitlines())
    assert results["n-samples"]["local_blimp"]["effective"] == num_pairs
    assert results["config"]["likelihood"].startswith("upper bound on -log p(continuation | context")


def test_the_command_line_says_in_one_line_what_is_wrong(
    tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hdiff.harness.__main__ import main

    words = ["lm-eval", "run", "--model", "hdiff", "--model_args", f"run={tmp_path}"]
    monkeypatch.setattr(sys, "argv", [*words, "--tasks", "local_blimp", "--include_path", str(tasks)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "is no hdiff model" in capsys.readouterr().err.splitlines()[-1]


def test_an_autoregressive_model_is_exact(families: Path, tasks: Path) -> None:
    found = evaluate(tasks, "local_context", families / "judge")
    assert found["config"]["likelihood"] == "exact -log p(continuation | context)"
    pretrained = PretrainedModel.from_pretrained(families / "judge")
    tokenizer, model = pretrained.tokenizer, pretrained.model
    assert isinstance(model, Autoregressive)
    for sample in found["samples"]["local_context"]:
        for choice, (nats, _) in zip(
            (sample["doc"]["sentence_good"], sample["doc"]["sentence_bad"]),
            sample["filtered_resps"],
            strict=True,
        ):
            context = tokenizer.encode("Python is fine.")[0]
            both = tokenizer.encode(f"Python is fine. {choice}")[0]
            ids = [tokenizer.eos_id, *both[-30:]]  # a context that does not fit loses its beginning
            with torch.no_grad():
                log_prob = model(Batch.of(torch.tensor([ids])))[0]
            expected = log_prob[len(context) - len(both) :].sum()
            assert nats == pytest.approx(float(expected), abs=1e-4)


def test_perplexity_of_a_chain_is_exact(families: Path, tasks: Path) -> None:
    """Word perplexity of the harness, from the model's own log-probabilities."""
    found = evaluate(tasks, "local_perplexity", families / "judge")
    pretrained = PretrainedModel.from_pretrained(families / "judge")
    nats, words = 0.0, 0
    for sample in found["samples"]["local_perplexity"]:
        text = sample["doc"]["sentence_good"]
        ids = [pretrained.tokenizer.eos_id, *pretrained.tokenizer.encode(text)[0]]
        assert len(ids) <= 31, "the sentence is one part"
        with torch.no_grad():
            nats -= float(pretrained.model(Batch.of(torch.tensor([ids])))[0, 1:].sum())  # type: ignore[arg-type]
        words += len(text.split())
    assert found["results"]["local_perplexity"]["word_perplexity,none"] == pytest.approx(
        math.exp(nats / words), rel=1e-4
    )


def test_texts_are_continued_and_filled(exported: Path, tasks: Path) -> None:
    found = evaluate(tasks, "local_continuation", exported)
    for (text,) in responses(found, "local_continuation"):
        assert text
        assert "\n" not in text
    again = evaluate(tasks, "local_continuation", exported)
    assert responses(again, "local_continuation") == responses(found, "local_continuation")
    for (text,) in responses(evaluate(tasks, "local_infill", exported), "local_infill"):
        assert text.startswith("The list")
        assert text.endswith(" the function")


@pytest.mark.parametrize("family", ["replaced", "gaussian", "classes", "blocks"])
def test_families_without_given_words_score_whole_texts_only(
    family: str, families: Path, tasks: Path
) -> None:
    found = evaluate(tasks, "local_blimp", families / family)
    assert found["config"]["likelihood"].startswith("upper bound on -log p(text with both ends)")
    for answers in responses(found, "local_blimp"):
        assert all(-math.inf < nats < 0 for nats, _ in answers)
    with pytest.raises(DataError, match="difference of two bounds is none; use tasks without context"):
        evaluate(tasks, "local_context", families / family)


REFUSED: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "generated structure": ("cascade", "local_blimp", {}, "texts that nobody parsed have none"),
    "greedy noise": ("gaussian", "local_continuation", {}, "top_k and top_p are for masked units"),
    "greedy replacement": ("replaced", "local_continuation", {}, "top_k and top_p are for masked units"),
    "beams": ("spans", "local_beams", {}, "no argument 'num_beams'"),
    "an unknown argument": (
        "spans",
        "local_blimp",
        {"drwas": 3},
        "--model hdiff: no argument 'drwas'; did you mean 'draws'",
    ),
    "steps of a chain": ("judge", "local_blimp", {"steps": 4}, "leave steps out"),
}


@pytest.mark.parametrize("family", ["judge", "blocks", "classes", "spans"])
def test_families_continue_given_words(family: str, families: Path, tasks: Path) -> None:
    found = [
        responses(evaluate(tasks, "local_continuation", families / family), "local_continuation")
        for _ in "12"
    ]
    assert found[0] == found[1]
    assert all("\n" not in text for (text,) in found[0])
    assert any(text for (text,) in found[0])


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_a_model_cannot_give_is_refused(case: str, families: Path, tasks: Path) -> None:
    family, task, arguments, expected = REFUSED[case]
    with pytest.raises(DataError, match=expected):
        evaluate(tasks, task, families / family, **arguments)


WRONG_OPTIONS = [
    ({"batch_size": "abc"}, "batch_size is 'abc'; give a whole number of at least 1, or auto"),
    ({"batch_size": "0"}, "batch_size is '0'; give a whole number of at least 1, or auto"),
    ({"device": "bogus"}, "device is 'bogus'"),
    ({"apply_chat_template": True}, "no chat template; leave --apply_chat_template out"),
]


@pytest.mark.parametrize(("options", "expected"), WRONG_OPTIONS)
@pytest.mark.parametrize("task", ["local_blimp", "local_perplexity", "local_continuation"])
def test_wrong_options_of_the_harness_are_refused(
    task: str, options: dict[str, Any], expected: str, exported: Path, tasks: Path
) -> None:
    with pytest.raises(DataError, match=expected):
        evaluate(tasks, task, exported, options=options)


def test_arguments_of_the_command_line_reach_the_check(exported: Path, tasks: Path) -> None:
    with pytest.raises(DataError, match="max_gen_toks is 'abc'; give a whole number of at least 1"):
        evaluate(tasks, "local_continuation", exported, options={"gen_kwargs": "max_gen_toks=abc"})
