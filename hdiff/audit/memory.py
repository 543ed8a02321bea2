"""structure_leak: a memory of all states does not get below the entropy.

Dimensions: B batch, L tokens, S spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hdiff.audit.checks import Check, Draw, Subject, draw, mean_and_error
from hdiff.audit.exact import ExactDenoiser
from hdiff.audit.language import AuditLanguage
from hdiff.corruption import Corrupted
from hdiff.models.output import DenoiserOutput
from hdiff.packed_spans import PackedSpans

LEAK_ROWS = 32_000
SMOOTHING = 3.0
"""Observations that the exact posterior counts for."""


def structure_leak(subject: Subject) -> list[Check]:
    """A memory of all states the network may read does not get below the entropy; one-sided.

    For half of the rows it counts, with the weights of the bound, what is found at which state (row of x_t,
    visible types, which unit), starting from the exact posterior. The other half is scored. Whatever the
    state gives away beyond visible tokens and types (structure, speeds, the order of reveal) is learned.

    Args:
        subject: What is audited.

    Returns:
        The check.
    """
    return [_leak(subject, "structure_leak", with_order=False)]


def order_leak(subject: Subject) -> list[Check]:
    """As `structure_leak`, with what an any-order trunk may read besides: the order of the visible tokens.

    Args:
        subject: What is audited.

    Returns:
        The check; none where states have no order.
    """
    if not subject.corruption.draws_order:
        return []
    return [_leak(subject, "order_leak", with_order=True)]


def _leak(subject: Subject, name: str, *, with_order: bool) -> Check:
    generator = torch.Generator().manual_seed(3)
    denoiser = ExactDenoiser(subject.language, subject.corruption)
    entropy, num_rows = subject.language.entropy, LEAK_ROWS
    for _ in range(3):
        drawn = draw(subject, num_rows, generator)
        mean, error = mean_and_error(remembered(drawn, denoiser, with_order=with_order))
        tolerance = 4 * error + 1e-4 * entropy
        if not tolerance >= 0.1 * entropy:
            break
        num_rows *= 2
    return subject.check(name, mean, entropy, tolerance, mean >= entropy - tolerance)


def remembered(drawn: Draw, denoiser: ExactDenoiser, *, with_order: bool = False) -> Tensor:
    """The bound by memory, float64 (B / 2,), of the half of the rows that was not learned from."""
    corrupted, base = drawn.corrupted, denoiser(drawn.corrupted, drawn.t)
    columns = list(corrupted.x_t.unbind(1))
    if corrupted.types_t is not None:
        columns += corrupted.types_t.flatten(1).unbind(1)
    if with_order and corrupted.order is not None:
        order = corrupted.order.masked_fill(corrupted.is_masked, -1)
        columns += (order[:, :, None] > order[:, None, :]).sum(-1).unbind(1)  # numbers matter by comparison
    memory = _Memory(_numbered(columns), torch.arange(len(drawn.t)) < len(drawn.t) // 2, drawn.factor)
    output = DenoiserOutput(
        log_prob=memory.log_prob(corrupted.spans, corrupted.x_0, corrupted.weight, base.log_prob),
        type_log_prob=tuple(
            memory.log_prob(term.spans, term.targets, term.weight, log_prob)
            for term, log_prob in zip(corrupted.type_terms, base.type_log_prob, strict=True)
        ),
        log_speed=None if corrupted.speed is None else memory.log_speed(corrupted, base.log_speed),
    )
    return drawn.nats(output)[~memory.is_learned]


@dataclass(frozen=True)
class _Memory:
    """What was seen at each state in the rows to learn from.

    Attributes:
        state: Number of each row's state, long (B,).
        is_learned: Rows to learn from, bool (B,).
        factor: By how much each row counts, float64 (B,).
    """

    state: Tensor
    is_learned: Tensor
    factor: Tensor

    def log_prob(self, spans: PackedSpans, targets: Tensor, weight: Tensor, base: Tensor) -> Tensor:
        """log of the smoothed share of the true values among those seen at the same state, (S,)."""
        values = spans.gather(targets)
        digits = (int(values.max()) + 1 if len(values) else 1) ** spans.offset
        group = self._group(spans)
        pair = _numbered([group, spans.sum_tokens(values * digits)])
        count = weight.double() * (self.factor * self.is_learned)[spans.row]
        smoothing = _smoothing(count)
        return ((_sums(count, pair) + smoothing * base.exp()) / (_sums(count, group) + smoothing)).log()

    def log_speed(self, corrupted: Corrupted, base: Tensor | None) -> Tensor:
        """log of the smoothed mean speed seen at the same state, in chains relative to the row, (S,)."""
        assert base is not None
        assert corrupted.speed is not None
        spans, weight = corrupted.spans, corrupted.weight.double()
        visits = weight / corrupted.speed.double()
        if corrupted.is_chain:
            visits = torch.zeros_like(self.factor).index_add(0, spans.row, weight)[spans.row]
        counted = (self.factor * self.is_learned)[spans.row]
        group, smoothing = self._group(spans), _smoothing(visits * counted)
        seen, total = _sums(weight * counted, group), _sums(visits * counted, group)
        return ((seen + smoothing * base.exp()) / (total + smoothing)).log()

    def _group(self, spans: PackedSpans) -> Tensor:
        position = spans.token_index[spans.first] % AuditLanguage.length
        return _numbered([self.state[spans.row], position, spans.length])


def _smoothing(count: Tensor) -> float:
    seen = count[count > 0]
    return SMOOTHING * float(seen.mean()) if len(seen) else 1.0


def _sums(values: Tensor, group: Tensor) -> Tensor:
    """The sum of each value's group, at every value."""
    size = int(group.max()) + 1 if len(group) else 0
    return values.new_zeros(size).index_add(0, group, values)[group]


def _numbered(columns: Sequence[Tensor]) -> Tensor:
    """Equal rows of columns get equal numbers from 0, long."""
    number = torch.zeros_like(columns[0])
    for column in columns:
        _, value = torch.unique(column, return_inverse=True)
        size = int(value.max()) + 1 if len(value) else 1
        _, number = torch.unique(number * size + value, return_inverse=True)
    return number
