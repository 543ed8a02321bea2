"""Marginal trap: what filling two neighbours at once loses against filling them in turn.

Source: arXiv:2512.22630, "token-wise learning" ("I likes tennis"). With q_1(a) and q_2(b) the marginals of
one pass over two hidden neighbours and q(b | a) the prediction once the first is visible, the *chain* is
q_1(a) q(b | a) and the *product* q_1(a) q_2(b). Dimensions: P pairs, A first tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hdiff.diagnosis.adjacent_words import AdjacentPair
from hdiff.diagnosis.frequency_collapse import cross, stderr
from hdiff.diagnosis.masked_model import MaskedSubject, between, log_probs_at
from hdiff.errors import DataError

LIKELIEST = 16
DRAWN = 8
SECONDS = 8
"""First tokens summed exactly, first tokens drawn from the rest, second tokens drawn for the head."""
FAR_LESS = math.log(10)
"""A pair is trapped if the chain gives it less than a tenth of the product's probability."""
MOST_EXAMPLES = 8
_AROUND = 8


@dataclass(frozen=True)
class TruePairs:
    """-log p of the pairs that the text has, nats per pair: likelihoods given the rest of the row.

    Attributes:
        product_nats: Filled at once.
        chain_nats: Filled in turn.
        gain: Product less chain.
        gain_stderr: Its standard error over pairs.
        head_nats: Filled at once by the joint head, as one span; None without one.
    """

    product_nats: float
    chain_nats: float
    gain: float
    gain_stderr: float
    head_nats: float | None


@dataclass(frozen=True)
class PairFigures:
    """Chain against product on neighbours of held-out text; all but `true_pairs` are no likelihoods.

    Attributes:
        count: Pairs P.
        unit: `whole words` or `tokens`.
        total_correlation: KL(chain || product), nats per pair: what the model knows and filling at once
            throws away.
        stderr: Its standard error over pairs.
        excess_surprise: KL(product || chain), nats per pair: by how much the chain finds pairs that were
            filled at once less likely than the product does.
        excess_stderr: Its standard error over pairs.
        trapped: Share of pairs filled at once that the chain gives less than a tenth of their probability.
        trapped_in_turn: The same of pairs filled in turn; at most a tenth for any model.
        head_joint_recovers: `true_pairs.product_nats` less `true_pairs.head_nats`, nats per pair: what one
            pass of the joint head gains on the text, to be compared with `true_pairs.gain`; None without one.
        head_stderr: Its standard error over pairs.
        head_on_chain: E over the chain of log p_head - log product, nats per pair: how much of
            `total_correlation` the head gives back if the chain is taken for the truth.
        true_pairs: Likelihoods of the pairs that the text has.
    """

    count: int
    unit: str
    total_correlation: float
    stderr: float
    excess_surprise: float
    excess_stderr: float
    trapped: float
    trapped_in_turn: float
    head_joint_recovers: float | None
    head_stderr: float | None
    head_on_chain: float | None
    true_pairs: TruePairs


@dataclass(frozen=True)
class TrapExample:
    """A pair drawn both ways after the same first token.

    Attributes:
        context: The text around, the pair as [ ][ ].
        product: The pair filled at once.
        chain: The pair filled in turn.
        log_ratio: log chain - log product of the pair filled at once, nats.
    """

    context: str
    product: str
    chain: str
    log_ratio: float


def measure_pairs(
    subject: MaskedSubject,
    pairs: Sequence[AdjacentPair],
    *,
    unit: str = "tokens",
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> tuple[PairFigures, list[TrapExample]]:
    """Compares filling at once with filling in turn, left first.

    Second tokens are summed over the whole vocabulary. First tokens: the 16 likeliest are summed exactly, 8
    are drawn from the rest, so that the figures are unbiased, and exact where V <= 16.

    Args:
        subject: The model.
        pairs: Pairs of held-out text.
        unit: What the tokens of a pair are, for the reader.
        seed: Seed of the draws.
        progress: Called with the number of pairs done.

    Returns:
        The figures, and of the pairs drawn those that the chain likes least, worst first.

    Raises:
        DataError: If there are fewer than two pairs.
    """
    if len(pairs) < 2:
        raise DataError(f"{len(pairs)} pairs of neighbours; standard errors need at least 2, give more text")
    generator = torch.Generator().manual_seed(seed)
    measured, examples = [], []
    for number, pair in enumerate(pairs, start=1):
        figures, example = _measure(subject, pair, generator)
        measured.append(figures)
        examples.append(example)
        if progress is not None:
            progress(number)
    table = torch.tensor(measured, dtype=torch.float64)  # (P, 9)
    tc, excess, trapped, in_turn, product, chain, gain, recovers, on_chain = table.mean(0).tolist()
    errors = stderr(table).tolist()
    has_head = subject.joint is not None
    figures_of_all = PairFigures(
        count=len(pairs),
        unit=unit,
        total_correlation=tc,
        stderr=errors[0],
        excess_surprise=excess,
        excess_stderr=errors[1],
        trapped=trapped,
        trapped_in_turn=in_turn,
        head_joint_recovers=recovers if has_head else None,
        head_stderr=errors[7] if has_head else None,
        head_on_chain=on_chain if has_head else None,
        true_pairs=TruePairs(product, chain, gain, errors[6], product - recovers if has_head else None),
    )
    return figures_of_all, sorted(examples, key=lambda example: example.log_ratio)[:MOST_EXAMPLES]


def _measure(
    subject: MaskedSubject, pair: AdjacentPair, generator: torch.Generator
) -> tuple[list[float], TrapExample]:
    """The nine figures of one pair, in the order of `measure_pairs`, and an example."""
    model = subject.model
    row = between(subject.row_ends, pair.row)
    place = len(subject.row_ends[0]) + pair.place
    truth = row[place : place + 2]
    row[place : place + 2] = [model.mask_id] * 2
    first, second = log_probs_at(model, [row], (place, place + 1))[0]  # (V,) each
    tokens, weights = first_tokens(first, generator)
    revealed = [[*row[:place], token, *row[place + 1 :]] for token in [*tokens.tolist(), truth[0]]]
    given = log_probs_at(model, revealed, (place + 1,))[:, 0]  # (A + 1, V)
    given, given_truth = given[:-1], given[-1]
    p_second, p_given = second.exp(), given.exp()
    is_far_less = (given < second - FAR_LESS).double()
    product = -float(first[truth[0]] + second[truth[1]])
    chain = -float(first[truth[0]] + given_truth[truth[1]])
    recovers = on_chain = 0.0
    if subject.joint is not None:
        follow = torch.multinomial(p_given, SECONDS, replacement=True, generator=generator)  # (A, 8)
        drawn = torch.stack([tokens[:, None].expand_as(follow), follow], -1).flatten(0, 1)
        wanted = torch.cat([drawn, torch.tensor([truth])])[None]
        scores = subject.joint.pair_log_probs(torch.tensor([row]), torch.tensor([place]), wanted)[0].double()
        gains = scores[:-1] - first[drawn[:, 0]] - second[drawn[:, 1]]
        on_chain = float(weights @ gains.view_as(follow).mean(1))
        recovers = product + float(scores[-1])
    figures = [
        float(weights @ cross(p_given, given - second)),
        float(weights @ cross(p_second.expand_as(given), second - given)),
        float(weights @ (p_second * is_far_less).sum(-1)),
        float(weights @ (p_given * is_far_less).sum(-1)),
        product,
        chain,
        product - chain,
        recovers,
        on_chain,
    ]
    index = int(torch.multinomial(weights, 1, generator=generator))
    at_once = int(torch.multinomial(p_second, 1, generator=generator))
    in_turn = int(torch.multinomial(p_given[index], 1, generator=generator))
    start = int(tokens[index])
    example = TrapExample(
        context=_context(subject, pair),
        product=_line(subject, [start, at_once]),
        chain=_line(subject, [start, in_turn]),
        log_ratio=float(given[index, at_once] - second[at_once]),
    )
    return figures, example


def first_tokens(log_p: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Tokens and weights, (A,), whose weighted sum of any function is unbiased for its mean under p."""
    p = log_p.exp()
    top = p.topk(min(LIKELIEST, len(p)))
    rest = p.clone()
    rest[top.indices] = 0
    left = float(rest.sum())
    if left == 0:
        return top.indices, top.values / top.values.sum()
    drawn = torch.multinomial(rest, DRAWN, replacement=True, generator=generator)
    share = torch.full((DRAWN,), left / DRAWN, dtype=p.dtype)
    weights = torch.cat([top.values, share])
    return torch.cat([top.indices, drawn]), weights / weights.sum()


def _context(subject: MaskedSubject, pair: AdjacentPair) -> str:
    before = _line(subject, pair.row[max(0, pair.place - _AROUND) : pair.place])
    after = _line(subject, pair.row[pair.place + 2 : pair.place + 2 + _AROUND])
    return f"{before} [ ][ ] {after}".strip()


def _line(subject: MaskedSubject, tokens: Sequence[int]) -> str:
    """Text of tokens without line breaks."""
    return " ".join(subject.tokenizer.decode(tokens).split())
