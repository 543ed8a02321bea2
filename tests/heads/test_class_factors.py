"""Class-factored heads: the product of class and token is exact, whichever way it is computed or drawn."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hdiff.errors import RecipeError
from hdiff.heads import AS_IT_IS, HEADS, AutoregressiveHead, ProductHead, Sampling
from hdiff.heads.class_factors import ClassFactors
from hdiff.packed_spans import PackedSpans

VOCAB, WIDTH = 40, 16
LEVELS = {
    "one class": [[0] * VOCAB],
    "a class per token": [list(range(VOCAB))],
    "some": [[(7 * token + token // 3) % 6 for token in range(VOCAB)]],
    "unequal": [[0 if token < 30 else token - 29 for token in range(VOCAB)]],
    "nested": [[token % 3 for token in range(VOCAB)], [token % 12 for token in range(VOCAB)]],
    "three levels": [
        [token // 20 for token in range(VOCAB)],
        [token // 5 for token in range(VOCAB)],
        list(range(VOCAB)),
    ],
    "a level twice": [[token % 5 for token in range(VOCAB)]] * 2,
}


def head_of(case: str, kind: str = "product"):
    torch.manual_seed(1)
    head = HEADS[kind](VOCAB, WIDTH, classes=LEVELS[case])
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=0.7)
    return head


def slow_log_prob(head: ProductHead, state: Tensor, token: int) -> Tensor:
    """The formula, level by level, for one token."""
    factors = head.factors
    assert factors is not None
    scores = F.linear(state, factors.embedding, factors.bias).split(factors.level_sizes)
    tables = [*LEVELS_OF[id(head)], list(range(VOCAB))]
    every = [*scores, F.linear(state, head.embedding.weight[:VOCAB], head.output_bias)]
    nats = torch.zeros(())
    above = [0] * VOCAB
    for table, score in zip(tables, every, strict=True):
        allowed = sorted({table[v] for v in range(VOCAB) if above[v] == above[token]})
        nats = nats + score[allowed].log_softmax(0)[allowed.index(table[token])]
        above = table
    return nats


LEVELS_OF: dict[int, list[list[int]]] = {}


@pytest.mark.parametrize("case", list(LEVELS))
def test_both_computations_are_the_formula(case: str, generator: torch.Generator) -> None:
    head = head_of(case)
    LEVELS_OF[id(head)] = LEVELS[case]
    states = torch.randn(50, WIDTH, generator=generator)
    targets = torch.randint(VOCAB, (50,), generator=generator)
    expected = torch.stack(
        [slow_log_prob(head, state, int(token)) for state, token in zip(states, targets, strict=True)]
    )
    quick = head.token_log_prob(states, targets)
    dense = head.logits(states)
    assert torch.allclose(quick, expected, atol=1e-5)
    assert torch.allclose(dense.gather(1, targets[:, None]).squeeze(1), expected, atol=1e-5)
    assert torch.allclose(dense.exp().sum(-1), torch.ones(50), atol=1e-5)
    names, parameters = zip(*head.named_parameters(), strict=True)
    slow = torch.autograd.grad(expected.sum(), parameters, allow_unused=True)
    fast = torch.autograd.grad(quick.sum(), parameters, allow_unused=True)
    for name, one, other in zip(names, slow, fast, strict=True):
        other = torch.zeros_like(one) if other is None else other
        assert torch.allclose(one, other, atol=1e-4), name


@pytest.mark.parametrize("case", list(LEVELS))
def test_a_class_is_drawn_and_then_a_token_of_it(case: str, generator: torch.Generator) -> None:
    head = head_of(case)
    state = torch.randn(1, WIDTH, generator=generator)
    count = 40_000
    expected = head.logits(state).exp()[0].double() * count
    for sampling in (AS_IT_IS, Sampling(temperature=1.0 + 1e-9)):  # class first, and all tokens at once
        drawn = head.draw_tokens(state.expand(count, -1), sampling, generator=generator).bincount(
            minlength=VOCAB
        )
        kept = expected > 5
        chi_square = ((drawn[kept] - expected[kept]) ** 2 / expected[kept]).sum()
        freedom = int(kept.sum())
        assert chi_square < freedom + 5 * (2 * freedom) ** 0.5


def test_truncation_and_bans_are_about_tokens_whatever_their_classes(generator: torch.Generator) -> None:
    head = head_of("nested")
    state = torch.randn(1, WIDTH, generator=generator)
    log_probs = head.logits(state)[0]
    likely = log_probs.argsort(descending=True).tolist()

    def drawn(**options) -> set[int]:
        sampling = Sampling(**options)
        return set(head.draw_tokens(state.expand(3000, -1), sampling, generator=generator).tolist())

    assert drawn(top_k=1) == {likely[0]}
    assert drawn(top_k=4, temperature=5.0) == set(likely[:4])
    assert drawn(banned=(likely[0], likely[2]), top_k=2) == {likely[1], likely[3]}
    mass = log_probs.exp()[likely].cumsum(0)
    inside = int((mass < 0.5).sum()) + 1
    assert drawn(top_p=0.5) <= set(likely[:inside])
    assert likely[0] not in drawn(banned=(likely[0],))
    # Temperature acts on the tokens' distribution, as for a flat head with the same probabilities.
    count = 40_000
    warm = head.draw_tokens(state.expand(count, -1), Sampling(temperature=2.0), generator=generator)
    expected = (log_probs / 2).softmax(-1) * count
    found = warm.bincount(minlength=VOCAB)
    assert ((found - expected) ** 2 / expected).sum() < VOCAB + 5 * (2 * VOCAB) ** 0.5


def test_a_support_renormalises(generator: torch.Generator) -> None:
    head = head_of("some")
    states = torch.randn(6, WIDTH, generator=generator)
    support = torch.rand(6, VOCAB, generator=generator) < 0.3
    support[:, 3] = True
    targets = torch.full((6,), 3)
    expected = head.logits(states)[:, 3] - head.logits(states).masked_fill(~support, -torch.inf).logsumexp(-1)
    found = head.token_log_prob(states, targets, support)
    assert torch.allclose(found, expected, atol=1e-5)
    drawn = head.draw_tokens(states, AS_IT_IS, generator=generator, support=support)
    assert support.gather(1, drawn[:, None]).all()


@pytest.mark.parametrize("kind", list(HEADS))
def test_every_head_scores_single_tokens_as_one_look_says(kind: str, generator: torch.Generator) -> None:
    head = head_of("nested", kind)
    hidden = torch.randn(5, WIDTH, generator=generator)
    table = head.token_log_probs(hidden)
    spans = PackedSpans.single_tokens(5)
    for value in (0, 7, VOCAB - 1):
        found = head.log_prob(hidden, torch.full((5,), value), spans)
        assert torch.allclose(found, table[:, value], atol=1e-4)
    assert torch.allclose(table.exp().sum(-1), torch.ones(5), atol=1e-4)


def test_no_place_gives_no_probability_and_no_draw() -> None:
    head = AutoregressiveHead(VOCAB, WIDTH, num_heads=2, classes=LEVELS["nested"])
    nothing = torch.zeros(0, WIDTH)
    assert head.token_log_prob(nothing, torch.zeros(0, dtype=torch.long)).shape == (0,)
    assert head.draw_tokens(nothing, AS_IT_IS).shape == (0,)


def test_a_flat_head_is_what_it_was(generator: torch.Generator) -> None:
    torch.manual_seed(2)
    head = ProductHead(VOCAB, WIDTH)
    assert set(dict(head.named_parameters())) == {"embedding.weight", "output_bias"}
    states = torch.randn(4, WIDTH, generator=generator)
    targets = torch.tensor([1, 2, 3, 4])
    expected = -F.cross_entropy(head.logits(states), targets, reduction="none")
    assert torch.equal(head.token_log_prob(states, targets), expected)


def test_uniform_scores_give_log_v_only_with_classes_of_one_size() -> None:
    """All scores equal: classes are equally likely, and so are the tokens of one class."""
    head = ProductHead(12, WIDTH, classes=[[token % 4 for token in range(12)]])
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
    found = head.logits(torch.randn(3, WIDTH))
    assert torch.allclose(found, torch.full((3, 12), -torch.log(torch.tensor(12.0))))


WRONG = {
    "another tokenizer": ([[0, 1, 0]], "has 3 token ids, the vocabulary 4; it is of another tokenizer"),
    "longer": ([[0, 1, 0, 1, 1]], "has 5 token ids"),
    "second level": ([[0, 1, 0, 1], [0, 1]], "level 2 of the class table has 2 token ids"),
    "empty class": ([[0, 2, 0, 2]], "classes 0 to 2, 2 of them with a token"),
    "empty first class": ([[1, 1, 2, 2]], "classes 1 to 2"),
    "negative": ([[-1, 0, 1, 0]], "classes -1 to 1"),
    "empty fine class": ([[0, 0, 1, 1], [0, 1, 3, 3]], "level 2 of the class table has classes 0 to 3"),
    "not nested": ([[0, 0, 1, 1], [0, 1, 1, 2]], "level 2 of the class table is not nested"),
    "coarser below": ([[0, 1, 2, 3], [0, 0, 1, 1]], "level 2 of the class table is not nested"),
    "third level": ([[0, 0, 1, 1], [0, 1, 2, 2], [0, 0, 1, 2]], "level 3 of the class table is not nested"),
    "no level": ([], "has no level"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_a_wrong_table_is_refused_in_a_sentence(case: str) -> None:
    tables, message = WRONG[case]
    with pytest.raises(RecipeError, match=message):
        ClassFactors(tables, 4, WIDTH)
    with pytest.raises(RecipeError, match=message):
        ProductHead(4, WIDTH, classes=tables)
