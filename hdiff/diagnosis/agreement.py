"""Agreement: the marginal trap on sentences where two hidden words must agree.

Sentences are those of `hdiff.evaluation.agreement_pairs`, taken two by two: "He likes tennis." and
"I like tennis." give a frame with two hidden words and four fillings, two of which agree. All figures are
about these four fillings alone (probabilities are scaled to sum to 1 over them).
Dimensions: F frames, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from hdiff.data.tokenizer import Tokenizer
from hdiff.diagnosis.frequency_collapse import cross, stderr
from hdiff.diagnosis.masked_model import MaskedSubject, between, log_probs_at
from hdiff.evaluation.agreement_pairs import agreement_pairs
from hdiff.evaluation.minimal_pair_files import MinimalPair


@dataclass(frozen=True)
class Frame:
    """A sentence with two hidden words.

    Attributes:
        paradigm: What must agree.
        tokens: The sentence with one of the agreeing fillings.
        places: Where the two words are, the left one first.
        words: The two fillings that agree, a token for each place; crossed they disagree.
    """

    paradigm: str
    tokens: tuple[int, ...]
    places: tuple[int, int]
    words: tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class AgreementFigures:
    """Figures of frames, means over them; none is a likelihood.

    Attributes:
        count: Frames F.
        total_correlation: KL(chain || product) over the four fillings, nats per frame, at most log 2.
        stderr: Its standard error over frames; None for fewer than two.
        excess_surprise: KL(product || chain) over the four fillings, nats per frame.
        disagreement_product: Probability of a disagreeing filling if both words are filled at once.
        disagreement_chain: If they are filled in turn, left first.
        head_count: Frames whose words are neighbours, which a joint head can fill as one span.
        head_joint_recovers: log p of an agreeing filling, filled at once by the joint head, less that of the
            product, nats per such frame; None without a joint head.
        disagreement_head: As `disagreement_product`, filled at once by the joint head, of such frames.
        disagreement_product_there: `disagreement_product` of such frames.
        disagreement_chain_there: `disagreement_chain` of such frames.
    """

    count: int
    total_correlation: float | None
    stderr: float | None
    excess_surprise: float | None
    disagreement_product: float | None
    disagreement_chain: float | None
    head_count: int
    head_joint_recovers: float | None
    disagreement_head: float | None
    disagreement_product_there: float | None
    disagreement_chain_there: float | None


def measure_agreement(subject: MaskedSubject) -> dict[str, Any]:
    """The marginal trap on the package's agreement pairs.

    Args:
        subject: The model.

    Returns:
        For JSON: the keys of `AgreementFigures`, `left_out` (frames whose words are not one token each in
        this tokenizer) and `paradigms`, the same figures of each.
    """
    pairs = agreement_pairs()
    frames = frames_of(pairs, subject.tokenizer)
    measured = [_measure(subject, frame) for frame in frames]
    names = list(dict.fromkeys(frame.paradigm for frame in frames))
    of_name = {
        name: [row for row, frame in zip(measured, frames, strict=True) if frame.paradigm == name]
        for name in names
    }
    return {
        **asdict(_summary(measured)),
        "left_out": len(pairs) // 2 - len(frames),
        "paradigms": {name: asdict(_summary(rows)) for name, rows in of_name.items()},
    }


def frames_of(pairs: Sequence[MinimalPair], tokenizer: Tokenizer) -> list[Frame]:
    """Frames of pairs that come two by two, each two with the same four fillings.

    Args:
        pairs: Minimal pairs; the good sentences of two in a row differ in two words.
        tokenizer: The tokenizer.

    Returns:
        The frames whose fillings are one token each, wherever they stand.
    """
    frames = []
    for one, other in zip(pairs[::2], pairs[1::2], strict=True):
        first, second, *crossed = (
            tokenizer.encode(text)[0] for text in (one.good, other.good, one.bad, other.bad)
        )
        if len(first) != len(second):
            continue
        places = [place for place, both in enumerate(zip(first, second, strict=True)) if len(set(both)) == 2]
        if len(places) != 2:
            continue
        left, right = places
        swapped = [[*first], [*second]]
        swapped[0][right], swapped[1][right] = second[right], first[right]
        if sorted(swapped) == sorted(crossed):
            words = ((first[left], first[right]), (second[left], second[right]))
            frames.append(Frame(one.paradigm, tuple(first), (left, right), words))
    return frames


@dataclass(frozen=True)
class _Measured:
    """Figures of one frame; those of the head are None where it has no joint of the two places."""

    total_correlation: float
    excess_surprise: float
    product: float
    chain: float
    head: float | None
    recovers: float | None


def _measure(subject: MaskedSubject, frame: Frame) -> _Measured:
    row = between(subject.sentence_ends, frame.tokens)
    left, right = (len(subject.sentence_ends[0]) + place for place in frame.places)
    row[left] = row[right] = subject.model.mask_id
    lefts, rights = [list(tokens) for tokens in zip(*frame.words, strict=True)]
    first, second = log_probs_at(subject.model, [row], (left, right))[0]
    revealed = [[*row[:left], token, *row[left + 1 :]] for token in lefts]
    given = log_probs_at(subject.model, revealed, (right,))[:, 0][:, rights].log_softmax(-1)  # (2, 2)
    p = first[lefts].log_softmax(-1)
    product = p[:, None] + second[rights].log_softmax(-1)
    chain = p[:, None] + given
    head = recovers = None
    if subject.joint is not None and right == left + 1:
        fillings = torch.tensor([[a, b] for a in lefts for b in rights])[None]
        scores = subject.joint.pair_log_probs(torch.tensor([row]), torch.tensor([left]), fillings)[0].double()
        joint = scores.log_softmax(-1).view(2, 2)
        head = _disagreement(joint)
        recovers = math.log1p(-head) - math.log1p(-_disagreement(product))
    return _Measured(
        total_correlation=float(cross(chain.exp(), chain - product).sum()),
        excess_surprise=float(cross(product.exp(), product - chain).sum()),
        product=_disagreement(product),
        chain=_disagreement(chain),
        head=head,
        recovers=recovers,
    )


def _disagreement(log_p: Tensor) -> float:
    """Probability of the two crossed fillings: (2, 2) -> a share."""
    p = log_p.exp()
    return float(p[0, 1] + p[1, 0])


def _summary(rows: Sequence[_Measured]) -> AgreementFigures:
    there = [row for row in rows if row.head is not None]
    correlations = torch.tensor([row.total_correlation for row in rows], dtype=torch.float64)
    return AgreementFigures(
        count=len(rows),
        total_correlation=_mean([row.total_correlation for row in rows]),
        stderr=float(stderr(correlations)) if len(rows) > 1 else None,
        excess_surprise=_mean([row.excess_surprise for row in rows]),
        disagreement_product=_mean([row.product for row in rows]),
        disagreement_chain=_mean([row.chain for row in rows]),
        head_count=len(there),
        head_joint_recovers=_mean([row.recovers for row in there if row.recovers is not None]),
        disagreement_head=_mean([row.head for row in there if row.head is not None]),
        disagreement_product_there=_mean([row.product for row in there]),
        disagreement_chain_there=_mean([row.chain for row in there]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
