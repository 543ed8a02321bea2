"""List operations: tasks whose right answers are known, one or many, and what token-wise filling can reach.

A row is a prompt line (an operation, a list of items, the separator) and an answer line. Where many answers
are right, tokens that are filled in together must agree: a shuffled list repeats no item, a replaced one has
exactly one change.
Source: in the style of ParallelBench, arXiv:2510.04767; words, lengths and `replace` are our own.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from hdiff.errors import DataError
from hdiff.languages import phrase_bank

Items = tuple[str, ...]

OPERATIONS: tuple[str, ...] = ("copy", "reverse", "shuffle", "replace")
ITEMS: Items = ("tine", "sodo", "vopo", "delo", "mefa", "ganu", "supa", "galo", "duzo", "libu")
SEPARATOR: Items = ("gives", "this", "list")
"""Three words: spans of 4 tokens meet the answer exactly; spans of 8 leave it as the rest of the row."""

LIST_LENGTH = 4
PROMPT_LENGTH = 1 + LIST_LENGTH + len(SEPARATOR)
ROW_LENGTH = PROMPT_LENGTH + LIST_LENGTH


@dataclass(frozen=True)
class ListTask:
    """One row of the language.

    Attributes:
        operation: One of `OPERATIONS`.
        items: The list to work on, different items.
        answer: One of its right answers.
    """

    operation: str
    items: Items
    answer: Items

    @property
    def text(self) -> str:
        """The row as a document: the prompt on the first line, the answer on the second."""
        return " ".join((self.operation, *self.items, *SEPARATOR)) + "\n" + " ".join(self.answer)


def draw_tasks(num_tasks: int, *, seed: int, operation: str | None = None) -> Iterator[ListTask]:
    """Tasks drawn independently: operation, list of different items and right answer all uniform.

    random.Random.random is the same in all versions of Python.

    Args:
        num_tasks: How many.
        seed: Seed; the same seed gives the same tasks.
        operation: Draws tasks of this operation only.

    Yields:
        One task after another.

    Raises:
        DataError: If there is no such operation.
    """
    if operation is not None:
        _check_operation(operation)
    generator = random.Random(seed)
    for _ in range(num_tasks):
        chosen = operation or OPERATIONS[int(generator.random() * len(OPERATIONS))]
        rest = list(ITEMS)
        items = tuple(rest.pop(int(generator.random() * len(rest))) for _ in range(LIST_LENGTH))
        answers = right_answers(chosen, items)
        yield ListTask(chosen, items, answers[int(generator.random() * len(answers))])


def is_valid(operation: str, prompt_items: Sequence[str], answer_items: Sequence[str]) -> bool:
    """Whether an answer is exactly right.

    Args:
        operation: `copy` (the same list), `reverse` (from its end), `shuffle` (any order of it, the given
            one included) or `replace` (at exactly one place another item than in the list).
        prompt_items: The list, different items.
        answer_items: The answer; any words, any number of them.

    Returns:
        True if it is one of the right answers.

    Raises:
        DataError: If there is no such operation, or the prompt is no list of the language.
    """
    _check_prompt(operation, prompt_items)
    given, answer = tuple(prompt_items), tuple(answer_items)
    if len(answer) != len(given) or not set(ITEMS).issuperset(answer):
        return False
    if operation == "copy":
        return answer == given
    if operation == "reverse":
        return answer == given[::-1]
    if operation == "shuffle":
        return sorted(answer) == sorted(given)
    return sum(new != old for new, old in zip(answer, given, strict=True)) == 1


def right_answers(operation: str, prompt_items: Sequence[str]) -> tuple[Items, ...]:
    """All right answers to a prompt, always in the same order.

    Args:
        operation: One of `OPERATIONS`.
        prompt_items: The list, different items.

    Returns:
        Different answers, all equally likely in the language.

    Raises:
        DataError: If there is no such operation, or the prompt is no list of the language.
    """
    _check_prompt(operation, prompt_items)
    given = tuple(prompt_items)
    if operation == "copy":
        return (given,)
    if operation == "reverse":
        return (given[::-1],)
    if operation == "shuffle":
        return tuple(itertools.permutations(given))
    return tuple(
        (*given[:place], item, *given[place + 1 :])
        for place in range(LIST_LENGTH)
        for item in ITEMS
        if item != given[place]
    )


def num_right_answers(operation: str) -> int:
    """How many answers are right, the same for every prompt: 1, 1, 4! and 4 places times 9 other items."""
    _check_operation(operation)
    counts = {"shuffle": math.factorial(LIST_LENGTH), "replace": LIST_LENGTH * (len(ITEMS) - 1)}
    return counts.get(operation, 1)


def entropy_per_token(operation: str) -> float:
    """Exact -log p(answer | prompt) in nats per token of the answer."""
    return math.log(num_right_answers(operation)) / LIST_LENGTH


def row_entropy_per_token() -> float:
    """Exact -log p(row) in nats per token: prompts and answers of all operations together."""
    prompts = len(OPERATIONS) * math.perm(len(ITEMS), LIST_LENGTH)
    answers = sum(math.log(num_right_answers(operation)) for operation in OPERATIONS) / len(OPERATIONS)
    return (math.log(prompts) + answers) / ROW_LENGTH


@cache
def factorised_ceiling(operation: str, num_steps: int) -> float:
    """Share of right answers of the factorised denoiser with the exact marginals, exactly.

    Tokens filled in the same step are drawn independently, each from its true distribution given what
    is visible; the sampler splits a random order of the answer's tokens into min(T, 4) groups of nearly
    equal size (`hdiff.reveal_order`). At one step, copy and reverse have 1, shuffle 4! / 4^4 = 3/32 and
    replace, where every token changes with probability 1/4, 4 * 1/4 * (3/4)^3 = 27/64.

    It is the ceiling of a model that keeps to the language. A factorised denoiser that gives up the
    other right answers (shuffle as copy, say) can be above it; `factorised_floor` finds that out.

    Args:
        operation: One of `OPERATIONS`.
        num_steps: Steps T over the answer.

    Returns:
        Expected share of right answers.

    Raises:
        DataError: If there is no such operation or step count.
    """
    # Relabelling the items turns any prompt into any other, so one prompt stands for all.
    answers = right_answers(operation, ITEMS[:LIST_LENGTH])
    return phrase_bank.factorised_ceiling(answers, LIST_LENGTH, _check_steps(num_steps))


@cache
def factorised_floor(operation: str, num_steps: int) -> float:
    """Lowest -log p(answer | prompt) of any factorised denoiser with the same sampler, exactly.

    By cross-entropy no factorised denoiser is below the exact marginals, whatever it gives up: this is
    L_T of the answer, the entropy plus the total correlation of each group.

    Args:
        operation: One of `OPERATIONS`.
        num_steps: Steps T over the answer.

    Returns:
        Nats per token of the answer; `entropy_per_token` for T >= 4.

    Raises:
        DataError: If there is no such operation or step count.
    """
    answers = right_answers(operation, ITEMS[:LIST_LENGTH])
    num_groups = min(_check_steps(num_steps), LIST_LENGTH)
    assignments = Counter(
        tuple(rank * num_groups // LIST_LENGTH for rank in ranks)
        for ranks in itertools.permutations(range(LIST_LENGTH))
    )
    nats = sum(ways * _mean_nats(answers, steps) for steps, ways in assignments.items())
    return nats / assignments.total() / LIST_LENGTH


def _mean_nats(answers: tuple[Items, ...], steps: tuple[int, ...]) -> float:
    """Mean over the answers of -log p when token i is drawn in step steps[i] from its exact marginal."""
    nats = 0.0
    for answer in answers:
        for place, step in enumerate(steps):
            visible = [i for i in range(len(steps)) if steps[i] < step]
            consistent = [other for other in answers if all(other[i] == answer[i] for i in visible)]
            nats -= math.log(sum(other[place] == answer[place] for other in consistent) / len(consistent))
    return nats / len(answers)


def _check_operation(operation: str) -> None:
    if operation not in OPERATIONS:
        raise DataError(f"there is no list operation '{operation}'; use one of {', '.join(OPERATIONS)}")


def _check_prompt(operation: str, items: Sequence[str]) -> None:
    _check_operation(operation)
    if len(items) != LIST_LENGTH or len(set(items)) != LIST_LENGTH or not set(ITEMS).issuperset(items):
        raise DataError(
            f"the list to work on is {tuple(items)}; give {LIST_LENGTH} different items of {', '.join(ITEMS)}"
        )


def _check_steps(num_steps: int) -> int:
    if num_steps < 1:
        raise DataError(f"num_steps is {num_steps}; a sampler needs at least 1 step")
    return num_steps
