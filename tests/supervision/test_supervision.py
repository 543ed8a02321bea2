"""Supervision: second losses are what their formulas say, of training alone, and no bound knows of them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from supervised_batches import WIDTH, batch_of

from hdiff.data.batch import Batch
from hdiff.data.token_targets import INSIDE_WORD
from hdiff.supervision import LabelSupervision, TreeRegularization
from hdiff.supervision.tree_regularization import span_of_splits, split_scores


def test_labels_begin_as_guesses_at_the_number_of_values() -> None:
    labels = LabelSupervision(WIDTH, targets=["pos", "opens"], num_labels=9)
    batch = batch_of({"pos": torch.randint(9, (3, 7)), "opens": torch.randint(4, (3, 7))}, num_real=5)
    assert float(labels(torch.randn(3, 7, WIDTH), batch)) == pytest.approx((math.log(9) + math.log(4)) / 2)


def test_labels_are_the_mean_cross_entropy_of_real_tokens() -> None:
    labels = LabelSupervision(WIDTH, targets=["phrase", "closes"], num_labels=5)
    torch.nn.init.normal_(labels.predict.weight)
    batch = batch_of({"phrase": torch.randint(5, (2, 6)), "closes": torch.randint(4, (2, 6))}, num_real=4)
    hidden = torch.randn(2, 6, WIDTH, requires_grad=True)
    nats = 0.0
    for row in range(2):
        for token in range(4):
            scores = labels.predict(hidden[row, token])
            for name, part in (("phrase", scores[:5]), ("closes", scores[5:])):
                nats -= float(part.log_softmax(-1)[batch.targets[name][row, token]])
    loss = labels(hidden, batch)
    assert float(loss) == pytest.approx(nats / (2 * 2 * 4), rel=1e-5)
    loss.backward()
    assert (hidden.grad[:, :4].abs().sum(-1) > 0).all()
    assert not hidden.grad[:, 4:].any()


def test_lexical_targets_ask_the_batch_for_nothing() -> None:
    tables = {("clusters", 3): [0, 1, 2, 2], ("random", 2): [1, 0, 1, 0]}
    labels = LabelSupervision(
        WIDTH, targets=["clusters:3", "random:2"], table=lambda kind, number: tables[kind, number]
    )
    assert labels.spec is None
    loss = labels(torch.randn(2, 5, WIDTH), Batch.of(torch.randint(4, (2, 5))))
    assert float(loss) == pytest.approx((math.log(3) + math.log(2)) / 2)


def brackets(gaps: list[int], first: int, end: int) -> list[tuple[int, int, int]]:
    """(first, split, end) of a span and all spans in it, by recursion: an independent reading of the gaps."""
    places = [place for place in range(first + 1, end) if gaps[place] != INSIDE_WORD]
    if not places:
        return []
    split = min(places, key=lambda place: (gaps[place], place))
    return [(first, split, end), *brackets(gaps, first, split), *brackets(gaps, split, end)]


def slow_loss(hidden: torch.Tensor, gaps: list[int]) -> float:
    """TreeReg of one row, written out."""

    def new(of: int, on: int) -> float:
        unit = F.normalize(hidden[on], dim=0)
        return float((hidden[of] - (hidden[of] @ unit) * unit).norm())

    starts = [place for place, gap in enumerate(gaps) if gap == 0 or place == 0]
    losses = []
    for begin, stop in zip(starts, [*starts[1:], len(gaps)], strict=True):
        for first, split, end in brackets(gaps, begin, stop):
            places = [place for place in range(first + 1, end) if gaps[place] != INSIDE_WORD]
            if len(places) < 2:
                continue
            scores = torch.tensor(
                [
                    (0.0 if first == begin else new(k - 1, first - 1)) + new(end - 1, k - 1) + new(k, k - 1)
                    for k in places
                ]
            )
            losses.append(-float(scores.log_softmax(0)[places.index(split)]))
    return sum(losses) / len(gaps)


TREES_OF_ROWS = {
    "one sentence": [0, 2, 1, 3, 2, 1, 2],
    "two sentences": [0, 1, 2, 2, 0, 2, 1, 3],
    "words of several tokens": [0, -1, 2, 1, -1, -1, 2, 3, 1],
    "many equal parts": [0, 1, 1, 1, 1, 1],
    "right branching": [0, 1, 2, 3, 4, 5],
    "left branching": [0, 5, 4, 3, 2, 1],
    "cut by the row": [3, 2, 4, 1, 2, 0, 1, 2],
    "cut in the middle": [1, 2, 3, 2, 4, 3, 0, 1, 2],
    "cut inside a word": [-1, 2, 3, 2, 1, 3, 0, 1, 2],
    "single words between": [0, 0, 0, 2, 1, 2, 0, 0],
    "deep": [0, 7, 9, 8, 2, 5, 3, 1, 4],
    "ends inside": [0, 1, 4, 3, -1, 2, 2, -1],
}


@pytest.mark.parametrize("case", list(TREES_OF_ROWS))
def test_tree_regularization_is_the_papers_recursion(case: str) -> None:
    gaps = TREES_OF_ROWS[case]
    trees = TreeRegularization(WIDTH, share=0.5)
    hidden = torch.randn(
        2, len(gaps) + 3, WIDTH, generator=torch.Generator().manual_seed(3), requires_grad=True
    )
    column = torch.tensor([[*gaps, 5, 0, 2]]).repeat(2, 1)
    loss = trees(hidden, batch_of({"gaps": column}, num_real=len(gaps)))
    expected = [slow_loss(hidden[row, : len(gaps), :8].detach(), gaps) for row in range(2)]
    assert float(loss) == pytest.approx(sum(expected) / 2, rel=1e-4)
    loss.backward()
    assert hidden.grad.isfinite().all()
    assert not hidden.grad[..., 8:].any()


def test_every_split_of_a_random_tree_finds_its_span() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        gaps = [0, *torch.randint(1, 6, (11,), generator=generator).tolist()]
        first, end = span_of_splits(torch.tensor([gaps]))
        for begin, split, stop in brackets(gaps, 0, len(gaps)):
            assert (int(first[0, split]), int(end[0, split])) == (begin, stop)


def test_orthogonal_parts_have_the_best_scores() -> None:
    hidden = torch.eye(6)[[0, 0, 1, 1]][None]  # two words that repeat each other, twice
    gaps = torch.tensor([[0, 1, 1, 1]])
    first, end = torch.zeros(1, 4, dtype=torch.long), torch.full((1, 4), 4)
    scores = split_scores(hidden, first, end, torch.ones(1, 4, dtype=torch.bool))[0, 0]
    assert int(scores[1:].argmax()) + 1 == 2
    assert gaps.shape == (1, 4)


def test_a_row_without_a_tree_costs_nothing_and_keeps_gradients_finite() -> None:
    hidden = torch.randn(1, 4, WIDTH, requires_grad=True)
    loss = TreeRegularization(WIDTH)(hidden, batch_of({"gaps": torch.zeros(1, 4, dtype=torch.long)}))
    loss.backward()
    assert float(loss) == 0
    assert not hidden.grad.any()
