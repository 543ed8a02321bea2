"""List operations: the language by brute force, its ceilings by simulation, and the evaluation with oracles.

Dimensions: B rows, L tokens, V vocabulary, D = L, S spans, P packed tokens.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from pathlib import Path

import pytest
import torch

from hdiff.data.batch import Batch
from hdiff.data.sources.builtin import read_builtin
from hdiff.errors import DataError
from hdiff.factory import build_corruption
from hdiff.languages.list_operations import (
    ITEMS,
    LIST_LENGTH,
    OPERATIONS,
    PROMPT_LENGTH,
    ROW_LENGTH,
    draw_tasks,
    entropy_per_token,
    factorised_ceiling,
    factorised_floor,
    is_valid,
    num_right_answers,
    right_answers,
    row_entropy_per_token,
)
from hdiff.recipe import differences, load_recipe
from hdiff.samplers.selection import cut

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
PROMPT = ("vopo", "tine", "libu", "supa")


@pytest.mark.parametrize(
    ("operation", "count"), [("copy", 1), ("reverse", 1), ("shuffle", 24), ("replace", 36)]
)
def test_valid_answers_are_those_that_are_listed_and_no_others(operation: str, count: int) -> None:
    """All 13^4 answers, with the words that are no items among them."""
    words = (*ITEMS, "gives", "copy", "<unk>")
    valid = {a for a in itertools.product(words, repeat=LIST_LENGTH) if is_valid(operation, PROMPT, a)}
    listed = right_answers(operation, PROMPT)
    assert valid == set(listed)
    assert len(listed) == len(valid) == count == num_right_answers(operation)


@pytest.mark.parametrize(
    ("operation", "right", "wrong"),
    [
        ("copy", ["vopo tine libu supa"], ["vopo tine supa libu", "vopo tine libu supa supa"]),
        ("reverse", ["supa libu tine vopo"], ["vopo tine libu supa"]),
        ("shuffle", ["supa vopo tine libu"], ["supa supa tine libu", "supa vopo tine sodo"]),
        (
            "replace",
            ["vopo tine libu sodo", "vopo tine libu tine"],
            ["vopo tine libu supa", "vopo tine sodo sodo", "vopo tine libu"],
        ),
    ],
)
def test_answers_are_judged_as_a_person_would(operation: str, right: list[str], wrong: list[str]) -> None:
    assert all(is_valid(operation, PROMPT, answer.split()) for answer in right)
    assert not any(is_valid(operation, PROMPT, answer.split()) for answer in wrong)


@pytest.mark.parametrize(
    ("operation", "items"),
    [("sort", PROMPT), ("copy", PROMPT[:3]), ("copy", ("vopo",) * 4), ("copy", (*PROMPT[:3], "list"))],
)
def test_what_is_not_of_the_language_is_refused(operation: str, items: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=r"use one of copy|give 4 different items"):
        is_valid(operation, items, items)
    with pytest.raises(DataError, match=r"use one of copy|give 4 different items"):
        right_answers(operation, items)


def test_unknown_operations_and_step_counts_are_refused() -> None:
    for call in (
        num_right_answers,
        entropy_per_token,
        lambda name: list(draw_tasks(1, seed=0, operation=name)),
    ):
        with pytest.raises(DataError, match="no list operation 'sort'; use one of copy"):
            call("sort")
    for bound in (factorised_ceiling, factorised_floor):
        with pytest.raises(DataError, match="num_steps is 0"):
            bound("copy", 0)


def test_tasks_are_uniform_over_operations_lists_and_right_answers() -> None:
    tasks = list(draw_tasks(24_000, seed=5))
    counts = Counter(task.operation for task in tasks)
    assert all(abs(counts[operation] - 6000) < 5 * math.sqrt(24_000 * 3 / 16) for operation in OPERATIONS)
    for place in range(LIST_LENGTH):
        items = Counter(task.items[place] for task in tasks)
        assert all(abs(items[item] - 2400) < 5 * math.sqrt(24_000 * 0.09) for item in ITEMS)
    for operation in ("shuffle", "replace"):
        share = num_right_answers(operation)
        ranks = Counter(
            right_answers(operation, task.items).index(task.answer)
            for task in draw_tasks(20_000, seed=6, operation=operation)
        )
        expected = 20_000 / share
        statistic = sum((ranks[rank] - expected) ** 2 / expected for rank in range(share))
        assert statistic < share + 5 * math.sqrt(2 * share)


def test_documents_are_the_same_each_time_and_all_right() -> None:
    train, validation = (
        list(read_builtin("list_operations")),
        list(read_builtin("list_operations:validation")),
    )
    assert (len(train), len(validation)) == (100_000, 2_000)
    assert train == list(read_builtin("list_operations"))
    assert validation[:3] != train[:3]
    assert train[:2] == [
        "copy duzo supa vopo mefa gives this list\nduzo supa vopo mefa",
        "shuffle galo tine sodo duzo gives this list\ntine duzo galo sodo",
    ]
    for text in (*train[:10_000], *validation):
        prompt, answer = (line.split() for line in text.split("\n"))
        assert prompt[5:] == ["gives", "this", "list"]
        assert is_valid(prompt[0], prompt[1:5], answer)


def test_recipes_differ_in_what_they_compare_and_the_joint_one_fills_the_answer_as_one_unit() -> None:
    joint = load_recipe(RECIPES / "list_operations.yaml")
    product = load_recipe(RECIPES / "list_operations_product.yaml")
    compared = ("name", "output", "head.", "corruption.", "model.depth", "evaluation.steps")
    assert all(key.startswith(compared) for key in differences(joint, product))
    assert joint.data.sequence_length == ROW_LENGTH
    corruption = build_corruption(joint.corruption, mask_id=99, unit_lengths=lambda level: [])
    is_hidden = (torch.arange(ROW_LENGTH) >= PROMPT_LENGTH)[None]
    units = cut(corruption.units(Batch.of(torch.zeros(1, ROW_LENGTH, dtype=torch.long))), is_hidden)
    assert len(units[is_hidden].unique()) == 1


def test_entropy_is_the_logarithm_of_the_number_of_right_answers() -> None:
    assert entropy_per_token("copy") == entropy_per_token("reverse") == 0.0
    assert entropy_per_token("shuffle") == pytest.approx(math.log(24) / 4)
    assert entropy_per_token("replace") == pytest.approx(math.log(36) / 4)
    answers = (math.log(24) + math.log(36)) / 4
    assert row_entropy_per_token() == pytest.approx((math.log(4 * 5040) + answers) / 12)


def test_ceilings_in_closed_form() -> None:
    for operation in ("copy", "reverse"):
        assert [factorised_ceiling(operation, steps) for steps in (1, 2, 4)] == pytest.approx([1.0] * 3)
    assert factorised_ceiling("shuffle", 1) == pytest.approx(math.factorial(4) / 4**4)
    # Two steps of two: the first differ with 3/4, then the two items left are drawn differently with 1/2.
    assert factorised_ceiling("shuffle", 2) == pytest.approx(3 / 8)
    assert factorised_ceiling("replace", 1) == pytest.approx(4 * (1 / 4) * (3 / 4) ** 3)
    # Exactly one change in the first two (then the rest is a copy), or none, and then one of two with 1/2.
    assert factorised_ceiling("replace", 2) == pytest.approx(2 * 3 / 16 + 9 / 16 / 2)
    for operation in OPERATIONS:
        assert [factorised_ceiling(operation, steps) for steps in (4, 5, 100)] == pytest.approx([1.0] * 3)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_one_step_ceiling_and_floor_agree_with_enumerating_all_answers(operation: str) -> None:
    """Every answer of 4 items has its probability under the product of the true marginals."""
    answers = right_answers(operation, PROMPT)
    marginals = [Counter(answer[place] for answer in answers) for place in range(LIST_LENGTH)]
    probability = {
        answer: math.prod(marginals[place][item] / len(answers) for place, item in enumerate(answer))
        for answer in itertools.product(ITEMS, repeat=LIST_LENGTH)
    }
    assert sum(probability.values()) == pytest.approx(1.0)
    right = [p for answer, p in probability.items() if is_valid(operation, PROMPT, answer)]
    assert factorised_ceiling(operation, 1) == pytest.approx(sum(right))
    assert factorised_floor(operation, 1) == pytest.approx(-sum(map(math.log, right)) / len(right) / 4)


@pytest.mark.parametrize("operation", ["shuffle", "replace"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 4])
def test_ceiling_agrees_with_simulating_exact_marginals(operation: str, num_steps: int) -> None:
    generator = random.Random(num_steps)
    trials, valid = 2000, 0
    for _ in range(trials):
        items = tuple(generator.sample(ITEMS, LIST_LENGTH))
        order = generator.sample(range(LIST_LENGTH), LIST_LENGTH)
        drawn: dict[int, str] = {}
        for step in range(num_steps):
            here = [p for rank, p in enumerate(order) if rank * num_steps // LIST_LENGTH == step]
            consistent = [
                a for a in right_answers(operation, items) if all(a[p] == item for p, item in drawn.items())
            ]
            if not consistent:
                break
            drawn.update({place: generator.choice(consistent)[place] for place in here})
        valid += is_valid(operation, items, [drawn.get(place, "") for place in range(LIST_LENGTH)])
    ceiling = factorised_ceiling(operation, num_steps)
    assert abs(valid / trials - ceiling) <= 4 * math.sqrt(ceiling * abs(1 - ceiling) / trials) + 1e-9


@pytest.mark.parametrize("operation", OPERATIONS)
def test_more_steps_never_cost_and_four_reach_the_entropy(operation: str) -> None:
    ceilings = [factorised_ceiling(operation, steps) for steps in (1, 2, 3, 4)]
    floors = [factorised_floor(operation, steps) for steps in (1, 2, 3, 4)]
    assert ceilings == pytest.approx(sorted(ceilings))
    assert floors == pytest.approx(sorted(floors, reverse=True))
    assert floors[-1] == pytest.approx(entropy_per_token(operation))
