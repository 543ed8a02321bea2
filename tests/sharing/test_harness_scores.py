"""Scores and arguments of the harness, without its command line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from hdiff.errors import CheckpointError, DataError
from hdiff.evaluation.continuations import Continuation, ContinuationScorer
from hdiff.evaluation.minimal_pair_files import MinimalPair
from hdiff.evaluation.minimal_pairs import score_pairs
from hdiff.sharing import PretrainedModel

pytest.importorskip("lm_eval", reason="the harness is not installed; pip install '.[harness]'")

from hdiff.harness.rows import rows_of

PAIRS = [("The lists are sorted.", "The lists is sorted."), ("A function returns.", "A function return.")]


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
