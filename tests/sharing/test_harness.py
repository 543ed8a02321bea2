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
from hdiff.errors import CheckpointError, DataError
from hdiff.evaluation.continuations import Continuation, ContinuationScorer
from hdiff.evaluation.minimal_pair_files import MinimalPair
from hdiff.evaluation.minimal_pairs import score_pairs
from hdiff.models.autoregressive import Autoregressive
from hdiff.sharing import PretrainedModel

pytest.importorskip("lm_eval", reason="the harness is not installed; pip install '.[harness]'")
from hdiff.harness.rows import rows_of

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


def test_figures_of_masked_units_are_those_of_minimal_pairs(exported: Path) -> None:
    """Both are the bound of the same orders' distribution: with many draws they meet."""
    pretrained = PretrainedModel.from_pretrained(exported)
    good, bad = PAIRS[0]
    pairs = [MinimalPair(good, bad, "p", "f")]
    units = pretrained.corruption.unconditional()
    expected = score_pairs(pretrained.model, units, pretrained.tokenizer, pairs, draws=200).nats[0]
    score = ContinuationScorer(pretrained.model, pretrained.corruption, draws=200)
    rows = []
    for text in (good, bad):
        eos, ids = pretrained.tokenizer.eos_id, pretrained.tokenizer.encode(text)[0]
        rows.append(Continuation((eos, *ids, eos), 1, 1 + len(ids)))
    for found, nats in zip(score(rows), expected, strict=True):
        assert found.nats == pytest.approx(nats, rel=0.01)


def test_the_parts_of_a_text_add_up(exported: Path) -> None:
    """A chain of parts is a bound of the whole, and what is given is not paid for again."""
    pretrained = PretrainedModel.from_pretrained(exported)
    with torch.no_grad():  # a model that ignores what it reads has the same nats for any split
        pretrained.model.head.embedding.weight.zero_()
        pretrained.model.head.output_bias.copy_(torch.randn(pretrained.tokenizer.vocab_size))
    log_probs = pretrained.model.head.output_bias.detach().double().log_softmax(-1)
    ids = pretrained.tokenizer.encode("The lists are sorted.")[0]
    eos = pretrained.tokenizer.eos_id
    row = (eos, *ids, eos)
    score = ContinuationScorer(pretrained.model, pretrained.corruption, draws=1)
    whole, begin, end = score(
        [Continuation(row, 1, 1 + len(ids)), Continuation(row, 1, 3), Continuation(row, 3, 1 + len(ids))]
    )
    assert whole.nats == pytest.approx(-float(log_probs[ids].sum()), rel=1e-5)
    assert begin.nats + end.nats == pytest.approx(whole.nats, rel=1e-5)


@pytest.mark.parametrize("family", ["spans", "classes"])
def test_the_two_choices_of_a_pair_meet_the_same_noise(family: str, families: Path) -> None:
    """A sentence is exactly as likely as itself, also when other rows of its shape stand between."""
    pretrained = PretrainedModel.from_pretrained(families / family)
    score = ContinuationScorer(pretrained.model, pretrained.corruption, draws=1, rows_per_call=2)
    one, other, longer = (
        Continuation((0, *body, 0), 1, 1 + len(body)) for body in ([5, 6], [7, 8], [5, 6, 7])
    )
    found = [score.nats for score in score([one, longer, other, other, one, one, longer, longer])]
    assert found[2] == found[3]
    assert found[4] == found[5]
    assert found[6] == found[7]
    assert found[0] != found[4], "other calls meet other noise"


@pytest.mark.parametrize("family", ["spans", "judge"])
def test_greedy_continuations_are_known(family: str, families: Path) -> None:
    pretrained = PretrainedModel.from_pretrained(families / family)
    favourite = pretrained.tokenizer.encode("e")[0][0]
    with torch.no_grad():
        pretrained.model.head.output_bias[favourite] = 1e4
    corruption = None if family == "judge" else pretrained.corruption
    score = ContinuationScorer(pretrained.model, corruption, draws=1)
    eos = pretrained.tokenizer.eos_id
    likely, unlikely = score([Continuation((eos, 9, favourite), 2, 3), Continuation((eos, 9, 7), 2, 3)])
    assert (likely.is_greedy, unlikely.is_greedy) == (True, False)
    assert likely.nats < 1 < unlikely.nats


def test_a_score_does_not_depend_on_what_stands_beside_it(families: Path) -> None:
    pretrained = PretrainedModel.from_pretrained(families / "judge")
    score = ContinuationScorer(pretrained.model, None)
    rows = [Continuation((0, 5, 6, 7), 1, 3), Continuation((0, 5), 1, 2), Continuation((0, 9, 8, 7), 1, 4)]
    together = score(rows)
    assert [one.nats for one in together] == pytest.approx([score([row])[0].nats for row in rows], rel=1e-6)


def test_long_texts_are_scored_in_parts_once_per_token() -> None:
    tokens = list(range(100, 175))
    rows = rows_of([7] * 3, tokens, eos_id=0, max_tokens=30, is_end_given=True)
    assert [token for row in rows for token in row.tokens[row.first : row.last]] == tokens
    assert max(len(row.tokens) for row in rows) <= 32
    assert [row.num_given for row in rows] == [0, 15, 15, 15]
    for row in rows[1:]:
        start = tokens.index(row.tokens[row.first])
        assert list(row.tokens[1 : row.first]) == tokens[start - row.num_given : start]
    assert [row.tokens[-1] == 0 for row in rows] == [False, False, False, True]
    (cut,) = rows_of([5, *[6] * 99], [9] * 10, eos_id=0, max_tokens=30, is_end_given=False)
    assert cut.tokens == (0, *[6] * 20, *[9] * 10)
    assert rows_of([5], [], eos_id=0, max_tokens=30, is_end_given=True) == []


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


@pytest.mark.parametrize("wanted", [1, 2, 15, 16, 30, 31, 256, 100_000])
@pytest.mark.parametrize("num_words", [0, 1, 5, 16, 40, 500])
def test_a_continuation_is_given_the_end_of_its_context_however_much_is_asked_for(
    wanted: int, num_words: int, exported: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from lm_eval.api.instance import Instance

    from hdiff.harness import HdiffLM
    from hdiff.harness.arguments import GenerationArguments
    from hdiff.harness.generation import Writer

    model = HdiffLM(run=exported)
    pretrained, room = model.pretrained, model.max_tokens
    writer = Writer(pretrained.model, pretrained.corruption, pretrained.tokenizer, room)  # type: ignore[arg-type]
    context = " ".join(["list"] * num_words)
    ids = model.tok_encode(context)
    *given, gap = writer._continuation(context, wanted).parts
    kept = list(given[0]) if given else []
    assert kept == ids[len(ids) - len(kept) :]
    assert len(kept) >= min(len(ids), room // 2)
    assert 1 <= gap.shortest == gap.longest <= min(wanted, room - len(kept))  # type: ignore[union-attr]
    is_whole = len(kept) == len(ids) and gap.shortest == wanted  # type: ignore[union-attr]
    assert writer.is_cut(context, GenerationArguments(max_gen_toks=wanted)) != is_whole
    (text,) = model.generate_until([Instance("generate_until", {}, (context, {"max_gen_toks": wanted}), 0)])
    assert text
    assert ("1 of 1 contexts and max_gen_toks do not fit" in caplog.text) != is_whole


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


WRONG_ARGUMENTS: list[tuple[str, Any, str]] = [
    *(("draws", value, "a whole number of at least 1") for value in ("abc", "", None, 1.5, 0, True)),
    *(("steps", value, "a whole number of at least 1, or leave it out") for value in ("abc", 0, 2.5, True)),
    *(("seed", value, "a whole number") for value in ("x", None, 0.5)),
    *(("run", value, "a folder or repository") for value in ("", 1.1, True)),
    *(("revision", value, "a branch, tag or commit") for value in ("", 1e5)),
    *(("batch_size", value, "a whole number of at least 1, or auto") for value in ("abc", "0", 0, "autos")),
    ("max_batch_size", "abc", "a whole number of at least 1"),
    ("device", 5, "cpu, cuda, cuda:0 or another"),
    *(("device", value, "cpu, cuda, cuda:0 or another") for value in ("bogus", "cuda:x", "meta", "")),
]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG_ARGUMENTS)
def test_wrong_arguments_are_named_before_a_model_is_loaded(name: str, value: Any, expected: str) -> None:
    from hdiff.harness import HdiffLM

    with pytest.raises(DataError) as refused:
        HdiffLM.create_from_arg_obj({"run": "/nowhere", name: value})
    message = str(refused.value)
    assert message.startswith(f"--model hdiff: {name} is {value!r}")
    assert f"give {expected}" in message


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


def test_all_wrong_arguments_are_named_at_once() -> None:
    from hdiff.harness import HdiffLM

    with pytest.raises(DataError, match=r"draws is 'abc'; .*; seed is 'x'; .*; no argument 'sede'; did you"):
        HdiffLM.create_from_arg_string("run=/nowhere,draws=abc,seed=x,sede=1")


@pytest.mark.parametrize("batch_size", ["auto", "auto:4", "3", 3])
def test_arguments_go_before_options(batch_size: int | str, exported: Path) -> None:
    from hdiff.harness import HdiffLM

    model = HdiffLM.create_from_arg_string(
        f"run={exported},device=cpu,batch_size={batch_size},seed=-1",
        {"device": "bogus", "batch_size": 1, "max_batch_size": None},
    )
    assert model.device == torch.device("cpu")
    assert model.score.rows_per_call == (3 if str(batch_size) == "3" else 64)
    assert model.seed == -1


def test_a_run_may_be_named_by_digits(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hdiff.harness import HdiffLM

    for name in ("5", "007"):
        (tmp_path / name).symlink_to(exported)
    monkeypatch.chdir(tmp_path)
    HdiffLM.create_from_arg_string("run=5")
    HdiffLM.create_from_arg_string('run="007"')


WRONG_GENERATION: list[tuple[str, Any, str]] = [
    *(("max_gen_toks", value, "a whole number of at least 1") for value in ("abc", None, 1.5, 0, True)),
    *(("temperature", value, "a number of at least 0") for value in ("abc", None, -1, math.nan, True)),
    *(("until", value, "a text or a list of texts") for value in (5, [5], True, {"a": 1})),
    *(("top_k", value, "a whole number of at least 1, or leave it out") for value in ("x", 0, 1.5, True)),
    *(("top_p", value, "a probability in (0, 1], or leave it out") for value in ("x", 0, 2)),
    *(("do_sample", value, "true or false") for value in ("abc", 2)),
    *(("infill", value, "true or false") for value in ("abc", None)),
]


@pytest.fixture(scope="module")
def spans(families: Path) -> Any:
    """A model of spans that would say so if it wrote anything."""
    from hdiff.harness import HdiffLM

    model = HdiffLM(run=families / "spans")
    model.pretrained.model.trunk.register_forward_pre_hook(lambda *_: pytest.fail("the model ran"))
    return model


@pytest.mark.parametrize(("name", "value", "expected"), WRONG_GENERATION)
def test_wrong_generation_arguments_are_named_before_a_text_is_written(
    name: str, value: Any, expected: str, spans: Any
) -> None:
    from lm_eval.api.instance import Instance

    right, wrong = ({"until": ["\n"], "max_gen_toks": 2}, {"until": [], name: value})
    requests = [
        Instance("generate_until", {}, ("The list", arguments), place)
        for place, arguments in enumerate((right, wrong))
    ]
    with pytest.raises(DataError) as refused:
        spans.generate_until(requests)
    assert str(refused.value).startswith(
        f"generation_kwargs (--gen_kwargs): {name} is {value!r}; give {expected}"
    )


def test_arguments_of_the_command_line_reach_the_check(exported: Path, tasks: Path) -> None:
    with pytest.raises(DataError, match="max_gen_toks is 'abc'; give a whole number of at least 1"):
        evaluate(tasks, "local_continuation", exported, options={"gen_kwargs": "max_gen_toks=abc"})


def test_other_refusals(exported: Path) -> None:
    import hdiff.harness

    with pytest.raises(DataError, match="model_args run=FOLDER"):
        hdiff.harness.HdiffLM()
    with pytest.raises(CheckpointError, match="no folder"):
        hdiff.harness.HdiffLM(run="/nowhere")
    model = hdiff.harness.HdiffLM(run=str(exported))
    with pytest.raises(DataError, match="no chat template"):
        model.apply_chat_template([])
    with pytest.raises(DataError, match="num_steps is 0; give at least 1"):
        ContinuationScorer(model.pretrained.model, model.pretrained.corruption, num_steps=0)
