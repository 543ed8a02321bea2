"""What figures of an evaluation mean: best process, cost of parallel decoding, judged samples."""

from typing import Any

import pytest

from hdiff.evaluation.reading import (
    best_process,
    judged,
    judged_text,
    parallel_cost,
    processes,
    sampler_text,
)
from hdiff.evaluation.table import print_evaluation
from hdiff.pages.report_text import headlines, quality_table
from hdiff.runs.record import RunRecord

BOUND = {
    "kind": "nelbo", "nats_per_token": 4.0, "stderr": 0.05, "tokens": 100, "conditional_on_structure": False,
    "structure_nats_per_token": 0.0, "uniform_nats_per_token": 8.0,
}  # fmt: skip
SAMPLES = {
    "unigram_entropy": 3.0,
    "distinct_2": 0.5,
    "repetition_4": 0.0,
    "seconds_per_sample": 1.0,
    "nfe": 2.0,
}


def evaluation(curve: dict[str, float], **more: Any) -> dict[str, Any]:
    return {
        "step": 5,
        "bound": BOUND,
        "t_step": curve,
        "t_step_stderr": dict.fromkeys(curve, 0.02),
        "quality": {},
        "sampler": {"kind": "planned"},
        **more,
    }


def quality_of(samples: int, judge: float | None = 5.0, error: float | None = 0.1) -> dict[str, Any]:
    return {"2": {**SAMPLES, "samples": samples, "judge_nll": judge, "judge_nll_stderr": error}}


@pytest.mark.parametrize(
    ("found", "name", "nats"),
    [
        (evaluation({}), "as in training", 4.0),
        (evaluation({"1": 4.5, "8": 4.1}), "as in training", 4.0),
        (evaluation({"1": 3.9, "8": 3.5}), "planned, T = 8", 3.5),
        (evaluation({"1": 3.2, "8": 3.5}), "planned, T = 1", 3.2),
        (evaluation({"16": 3.2, "2": 3.1, "1": 3.15}), "planned, T = 2", 3.1),
        (evaluation({"1": 3.9}, sampler=None), "sampler, T = 1", 3.9),
        (evaluation({"1": 3.9}, t_step_stderr={}), "planned, T = 1", 3.9),
        (evaluation({}, bound={**BOUND, "kind": "exact"}), "left to right", 4.0),
    ],
)
def test_the_best_process_has_the_lowest_bound(found: dict, name: str, nats: float) -> None:
    best = best_process([found])
    assert best is not None
    assert (best.name, best.nats) == (name, nats)


def test_a_bound_given_the_structure_is_no_process() -> None:
    given = evaluation({"1": 2.0}, bound={**BOUND, "conditional_on_structure": True})
    assert processes(given) == []
    assert best_process([given, evaluation({"4": 3.0})]).nats == 3.0
    assert best_process([]) is None
    assert best_process([{}]) is None


@pytest.mark.parametrize(
    ("curve", "unigram", "nats", "context"),
    [
        ({"1": 6.0, "32": 4.0}, 6.5, 2.0, 2.5),
        ({"1": 6.0, "32": 5.99}, 6.0, 0.01, 0.01),  # knows next to nothing, and loses next to nothing
        ({"1": 6.0, "32": 6.1}, 6.0, -0.1, -0.1),
        ({"2": 5.0, "4": 4.5, "16": 4.2}, 6.0, 0.8, 1.8),
        ({"1": 5.0, "2": 4.5}, None, 0.5, None),
        ({"4": 5.0, "16": 4.5}, 5.5, 0.5, 1.0),
    ],
)
def test_the_cost_of_parallel_decoding_stands_beside_what_context_is_worth(
    curve: dict[str, float], unigram: float | None, nats: float, context: float | None
) -> None:
    more = {} if unigram is None else {"unigram_nats_per_token": unigram}
    cost = parallel_cost(evaluation(curve, **more))
    assert cost is not None
    assert cost.nats == pytest.approx(nats)
    assert cost.context == (None if context is None else pytest.approx(context))
    assert ("nothing to lose" in cost.meaning) == (context is not None)


@pytest.mark.parametrize("curve", [{}, {"1": 4.0}, {"16": 4.0}])
def test_one_step_count_has_no_cost(curve: dict[str, float]) -> None:
    assert parallel_cost(evaluation(curve)) is None


@pytest.mark.parametrize("samples", [1, 2, 8, 16, 32, 63, 64, 65, 1000])
def test_few_samples_are_not_judged_anywhere(
    samples: int, capsys: pytest.CaptureFixture[str], tmp_path
) -> None:
    found = evaluation({"2": 3.5}, quality=quality_of(samples), reference=quality_of(samples, 4.5)["2"])
    is_shown = samples >= 64
    assert (judged(found["quality"]["2"]) is not None) == is_shown
    assert judged_text(found["quality"]["2"]) == ("5.000 ± 0.100" if is_shown else "")
    table = quality_table(found)
    assert table is not None
    assert any("5.00 ± 0.10" in row for row in table.rows) == is_shown
    record = RunRecord(tmp_path, {}, None, None, found, {}, None, None, None, {}, None)
    assert any(line.label == "Samples under the judge" for line in headlines(record, found)) == is_shown
    print_evaluation(found, title="run")
    out = capsys.readouterr().out
    assert ("5.000 ± 0.100" in out) == is_shown
    assert ("evaluation.samples=64" in out) != is_shown


@pytest.mark.parametrize("figures", [None, {}, {"judge_nll": None, "samples": 64}, {"judge_nll": 3.0}])
def test_what_was_not_judged_has_no_figure(figures: dict | None) -> None:
    assert judged(figures) is None
    assert judged_text(figures) == ""


def test_eval_marks_the_best_bound_and_says_what_is_total_correlation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = evaluation({"1": 3.9, "8": 3.5}, unigram_nats_per_token=6.0)
    print_evaluation(found, title="run")
    out = capsys.readouterr().out
    assert "3.5000 *" in out
    assert "3.9000 *" not in out
    assert "best process (*): planned, T = 8, 3.500 ± 0.020 nats/token, perplexity (upper bound) 33.12" in out
    assert "All context is worth 2.500" in out
    assert "total correlation" not in out
    print_evaluation({**found, "total_correlation_nats_per_token": 0.4}, title="run")
    assert "total correlation of the units: about 0.400" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (None, None),
        ({"order": "spaced"}, None),
        ({"kind": "ancestral"}, "ancestral"),
        ({"kind": "planned", "order": "confidence"}, "planned (order: confidence)"),
        ({"kind": "ancestral", "lengths": {"32": 1.0}}, "ancestral (lengths: {32: 1})"),
        ({"kind": "ancestral", "lengths": {"2": 0.5, "6": 2}}, "ancestral (lengths: {2: 0.5, 6: 2})"),
        ({"kind": "confidence", "threshold": None}, "confidence (threshold: None)"),
    ],
)
def test_samplers_are_named_as_a_recipe_has_them(spec: object, said: str | None) -> None:
    assert sampler_text(spec) == said


@pytest.mark.parametrize(("many", "said"), [(5.59301, "= 0.000"), (5.5927, "= 0.000"), (5.592, "= 0.001")])
def test_no_cost_is_not_a_negative_one(many: float, said: str) -> None:
    cost = parallel_cost({"t_step": {"1": 5.593, "4": many}})
    assert cost is not None
    assert f"{said} nats/token" in cost.meaning
