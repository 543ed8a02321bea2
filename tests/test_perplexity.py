"""Perplexity stands beside nats, says that it bounds, and is left out where it would mislead."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hdiff.evaluation.perplexity import perplexity_text, shown
from hdiff.evaluation.table import print_evaluation


def evaluation(kind: str = "nelbo", *, conditional: bool = False, **quality: Any) -> dict[str, Any]:
    figures = {"judge_nll": None, "unigram_entropy": 3.0, "distinct_2": 0.5, "repetition_4": 0.0}
    return {
        "step": 10,
        "bound": {
            "kind": kind,
            "nats_per_token": math.log(50),
            "stderr": 0.1,
            "tokens": 100,
            "structure_nats_per_token": 0.0,
            "conditional_on_structure": conditional,
            "uniform_nats_per_token": 6.0,
        },
        "t_step": {"2": math.log(200)},
        "t_step_stderr": {"2": 0.1},
        "quality": {"2": {**figures, "seconds_per_sample": 0.5, "nfe": 2.0, **quality}},
        "reference": figures,
    }


@pytest.mark.parametrize(
    ("nats", "text"),
    [
        (0.0, "1.00"),
        (math.log(2), "2.00"),
        (math.log(99.994), "99.99"),
        (math.log(162.34), "162.3"),
        (math.log(1855.2), "1,855"),
        (math.log(123456.7), "123,457"),
        (math.log(2e7), "2.00e+07"),
        (1e4, "1.01e+304"),
        (float("inf"), "1.01e+304"),
        (-math.log(2), "0.50"),
    ],
)
def test_a_perplexity_has_three_or_four_digits(nats: float, text: str) -> None:
    assert shown(nats) == text


def test_the_label_says_whether_it_bounds() -> None:
    assert perplexity_text(evaluation()["bound"]) == "perplexity per token (upper bound) 50.00"
    assert perplexity_text(evaluation("exact")["bound"]) == "perplexity per token 50.00"
    assert perplexity_text(evaluation(conditional=True)["bound"]) is None


def test_eval_prints_perplexity_beside_nats_and_passes_beside_calls(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_evaluation(evaluation(head_passes=16.0), title="run")
    out = capsys.readouterr().out
    assert "3.9120 ± 0.1000 nats/token, perplexity per token (upper bound) 50.00, over 100 tokens" in out
    head, row = (
        next(line for line in out.splitlines() if word in line) for word in ("head passes", "5.2983")
    )
    assert "perplexity" in head
    assert "200.0" in row
    assert [cell.strip() for cell in row.split("│")][-3:-1] == ["2", "16"]


def test_eval_of_a_bound_given_the_structure_prints_none(capsys: pytest.CaptureFixture[str]) -> None:
    print_evaluation(evaluation(conditional=True, head_passes=2.0), title="run")
    assert "perplexity" not in capsys.readouterr().out


def test_an_evaluation_from_before_passes_were_counted_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_evaluation(evaluation(), title="run")
    row = next(line for line in capsys.readouterr().out.splitlines() if "5.2983" in line)
    assert [cell.strip() for cell in row.split("│")][-3:-1] == ["2", "–"]
