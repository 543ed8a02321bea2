"""answer_lengths: answers of different lengths to prompts, whose ends are paid for in the bound. Torch only.

Dimensions: B batch, L tokens of a row, N answers to a prompt.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hdiff.audit.checks import Check, Subject, scores_exactly
from hdiff.audit.language import AuditLanguage
from hdiff.corruption import Corrupted, SpanMasking, TokenMasking, UnitMasking, corrupt_free, sample_times
from hdiff.data.batch import Batch
from hdiff.models.length_head import one_mask
from hdiff.models.output import DenoiserOutput
from hdiff.objectives import nelbo
from hdiff.packed_spans import PackedSpans

_SYMBOLS, _EOS, _V = 2, 2, 3
_LONGEST = 3
_PROMPTS = ((0,), (1, 0), (1, 1))
"""None begins another one: states do not say where a prompt ends."""

_NUM_ROWS = 4096


@final
@dataclass(frozen=True)
class AnswerLanguage:
    """All answers of one to three tokens to prompts of one or two, with random probabilities.

    Attributes:
        is_padded: Whether answers end with end-of-text tokens that are scored, up to the end of the row; else
            with one that is given, and a length that is paid for.
    """

    is_padded: bool

    def answers(self) -> list[tuple[int, ...]]:
        """All answers."""
        return [
            answer
            for length in range(1, _LONGEST + 1)
            for answer in itertools.product(range(_SYMBOLS), repeat=length)
        ]

    def probability(self) -> Tensor:
        """p(answer | prompt), float64 (prompts, N)."""
        shape = (len(_PROMPTS), len(self.answers()))
        scores = 2 * torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
        return scores.softmax(1)

    @property
    def entropy(self) -> float:
        """H(answer | prompt), nats; prompts are equally likely."""
        probability = self.probability()
        return float(-(probability * probability.log()).sum(1).mean())

    def rows(self) -> Batch:
        """Every prompt with every answer, prompt after prompt."""
        width = 1 + max(map(len, _PROMPTS)) + _LONGEST + 1
        tokens, given, real, lengths = [], [], [], []
        for prompt, answer in itertools.product(_PROMPTS, self.answers()):
            first, end = 1 + len(prompt), 1 + len(prompt) + len(answer)
            row = [_EOS, *prompt, *answer]
            tokens.append([*row, *[_EOS] * (width - len(row))])
            given.append([place < first or (place == end and not self.is_padded) for place in range(width)])
            real.append([place <= end or self.is_padded for place in range(width)])
            lengths.append(len(answer))
        return Batch(
            torch.tensor(tokens),
            torch.tensor(real),
            given=torch.tensor(given),
            answer_lengths=torch.tensor(lengths),
        )


def answer_lengths() -> list[Check]:
    """Both ways to end an answer score H(answer | prompt) exactly, and nothing tells a length.

    Returns:
        `answer_exact` for each way and corruption, and `length_leak`, how many rows that the length head
        reads differ between answers to one prompt.
    """
    checks = []
    for is_padded in (False, True):
        language = AnswerLanguage(is_padded)
        name = "end tokens" if is_padded else "length head"
        for corruption in (
            TokenMasking(mask_id=_V),
            SpanMasking(segmentation="random", lengths={1: 0.5, 2: 0.5}, mask_id=_V),
        ):
            subject = Subject(f"{type(corruption).__name__}, {name}", corruption, AuditLanguage())
            checks.append(_exact(subject, corruption, language))
        if not is_padded:
            checks.append(_leak(subject, language))
    return checks


def _exact(subject: Subject, corruption: UnitMasking, language: AnswerLanguage) -> Check:
    generator = torch.Generator().manual_seed(23)
    every, law = language.rows(), language.probability()
    joint = law.flatten() / len(_PROMPTS)

    def nats() -> Tensor:
        chosen = torch.multinomial(joint, _NUM_ROWS, replacement=True, generator=generator)
        batch = _some(every, chosen)
        t = sample_times(batch, generator=generator).double().clamp(max=1.0)
        corrupted = corrupt_free(batch, lambda free: corruption.corrupt(free, t, generator=generator))
        output = DenoiserOutput(log_prob=_posterior(corrupted, every, joint))
        row_nats = nelbo(output, batch, corrupted).nats.double()
        return row_nats if language.is_padded else row_nats + _length_nats(every, law, chosen)

    return scores_exactly(subject, nats, language.entropy, name="answer_exact")


def _length_nats(every: Batch, law: Tensor, chosen: Tensor) -> Tensor:
    """-log p(n | prompt) of some rows, exact, float64 (B,)."""
    assert every.answer_lengths is not None
    lengths = every.answer_lengths.view(law.shape)  # (prompts, N)
    same = lengths[:, :, None] == lengths[:, None, :]
    probability = (same * law[:, None, :]).sum(-1)  # of the length of each answer
    return -probability.flatten()[chosen].log()


def _posterior(corrupted: Corrupted, every: Batch, joint: Tensor) -> Tensor:
    """log p(span | state) under the language, of every span, float64 (S,)."""
    is_free = corrupted.x_t == _V
    agrees = (is_free[:, None] | (corrupted.x_t[:, None] == every.input_ids)).all(-1)
    agrees &= (corrupted.token_mask[:, None] == every.token_mask).all(-1)
    weights = (agrees * joint)[corrupted.spans.row]  # (S, rows of the language)
    return _log_share(weights, every.input_ids, corrupted.x_0, corrupted.spans)


def _log_share(weights: Tensor, values: Tensor, targets: Tensor, spans: PackedSpans) -> Tensor:
    column = spans.token_index % values.shape[1]
    misses = (spans.gather(targets)[:, None] != values[:, column].T).to(weights.dtype)
    missed = torch.zeros_like(weights).index_add(0, spans.span_index, misses)
    return ((weights * (missed == 0)).sum(1) / weights.sum(1)).log()


def _leak(subject: Subject, language: AnswerLanguage) -> Check:
    every = language.rows()
    assert every.answer_lengths is not None
    first = every.free_mask.long().argmax(1)
    shown = one_mask(every, first, first + every.answer_lengths, _V)
    rows = shown.input_ids.masked_fill(~shown.token_mask, _EOS).view(
        len(_PROMPTS), -1, shown.input_ids.shape[1]
    )
    masks = shown.token_mask.view_as(rows)
    count = int(((rows != rows[:, :1]) | (masks != masks[:, :1])).any(-1).sum())
    return subject.check("length_leak", count, 0.0, 0.0, count == 0)


def _some(every: Batch, chosen: Tensor) -> Batch:
    assert every.given is not None
    assert every.answer_lengths is not None
    return Batch(
        every.input_ids[chosen],
        every.token_mask[chosen],
        given=every.given[chosen],
        answer_lengths=every.answer_lengths[chosen],
    )
