"""Checks of a real network: its bound lies above the entropy, and it reads nothing hidden."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from hdiff.audit.checks import BERNOULLI_ROWS, Check, Draw, Subject, draw, mean_and_error
from hdiff.corruption import Corrupted
from hdiff.data.token_classes.of_head import stand_in_classes
from hdiff.factory import DiffusionModel, build_network
from hdiff.heads import HEADS, Head
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.objectives import nelbo
from hdiff.packed_spans import PackedSpans

WIDTH = 16
TRAINING_STEPS = 24


HeadSpec = str | Mapping[str, Any]
"""A name of `HEADS`, `module:Class`, or `{kind: name, **constructor arguments}`."""


def head_name(head: HeadSpec) -> str:
    """The kind of a head, and whether it has classes."""
    if isinstance(head, str):
        return head
    return str(head["kind"]) if head.get("classes") is None else f"{head['kind']} by class"


def small_denoiser(subject: Subject, head: HeadSpec, *, in_order: bool = False) -> Denoiser:
    """`small_network` of a corruption that is not one of blocks."""
    model = small_network(subject, head, in_order=in_order)
    return cast(Denoiser, model)  # blocks have checks of their own


def small_network(subject: Subject, head: HeadSpec, *, in_order: bool = False) -> DiffusionModel:
    """A tiny denoiser that fits a corruption, its trunk in order or not, with the same weights each time."""
    from hdiff.components import build

    spec = {"kind": head} if isinstance(head, str) else head
    step = 4 * int(spec.get("num_heads", 1))  # attention heads must divide the width
    width = step * math.ceil(WIDTH / step)

    def made(size: int, **classes: Any) -> Head:
        given = {key: value for key, value in spec.items() if key != "classes"}
        head: Head = build({**given, **classes}, HEADS, section="head", vocab_size=size, width=width)
        return head

    def token_head() -> Head:
        size = subject.language.vocab_size
        tables = stand_in_classes(spec, size)
        return made(size, classes=tables) if tables else made(size)

    corruption = subject.corruption
    options = corruption.network_options(subject.language.vocab_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # What visible tokens read of each other shows in the next layer.
        depth = 1 if corruption.sees_whole_rows and not in_order else 2
        trunk = Trunk(width, depth=depth, num_heads=2, in_order=in_order)
        tokens = token_head()
        if corruption.network == "denoiser":
            options["type_heads"] = [made(size) for size in corruption.type_sizes]
        return build_network(corruption.network, trunk, tokens, options)


def bound_above_entropy(subject: Subject, head: HeadSpec, *, in_order: bool = False) -> list[Check]:
    """A network trained for a moment, in order or not, does not get below the entropy; one-sided."""
    generator = torch.Generator().manual_seed(4)
    denoiser = small_network(subject, head, in_order=in_order)
    subject = replace(subject, corruption=subject.corruption.of_model(denoiser))  # learned speeds, if any
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=2e-2)
    for _ in range(TRAINING_STEPS):
        drawn = draw(subject, 64, generator)
        loss = drawn.nats(denoiser(drawn.corrupted)).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    drawn = draw(subject, BERNOULLI_ROWS // 4, generator)
    with torch.no_grad():
        mean, error = mean_and_error(drawn.nats(denoiser(drawn.corrupted)))
    entropy = subject.language.entropy
    passed = mean >= entropy - 4 * error
    name = "any_order_bound" if in_order else "bound_above_entropy"
    return [subject.check(name, mean, entropy, 4 * error, passed, head=head_name(head))]


@torch.no_grad()
def network_leak(subject: Subject, head: HeadSpec, *, in_order: bool = False) -> list[Check]:
    """The number of outputs that change when what is hidden changes; it is 0, to the last bit.

    Changed are the true tokens and types outside of one span per row, the structure that the loss is given
    with the batch, and the whole text at t = 1, where the network may tell no string from another.

    Args:
        subject: What is audited.
        head: Head of the network.
        in_order: Whether its trunk reads in the order of reveal.

    Returns:
        The check.
    """
    generator = torch.Generator().manual_seed(5)
    drawn = draw(subject, 256, generator)
    denoiser = small_denoiser(subject, head, in_order=in_order)
    if denoiser.speed is not None:
        torch.nn.init.normal_(denoiser.speed.weight, generator=generator)
    num_changed = (
        _changed_by_targets(denoiser, drawn)
        + _changed_by_structure(denoiser, drawn, subject)
        + _changed_by_text(denoiser, subject)
    )
    name = "any_order_leak" if in_order else "network_leak"
    return [subject.check(name, float(num_changed), 0.0, 0.0, num_changed == 0, head=head_name(head))]


def _changed_by_targets(denoiser: Denoiser, drawn: Draw) -> int:
    before = drawn.corrupted
    kept = _first_spans(before.spans)
    tokens = _others_changed(before.x_0, before.is_masked, before.spans, kept, denoiser.vocab_size)
    terms, kept_units = [], []
    for term, type_head in zip(before.type_terms, denoiser.type_heads, strict=True):
        units = _first_spans(term.spans)
        size = int(type_head.vocab_size)  # type: ignore[arg-type]
        hidden = torch.zeros_like(before.is_masked).flatten().index_fill(0, term.spans.token_index, True)
        targets = _others_changed(term.targets, hidden.view_as(term.targets), term.spans, units, size)
        terms.append(replace(term, targets=targets))
        kept_units.append(units)
    one, two = denoiser(before), denoiser(replace(before, x_0=tokens, type_terms=tuple(terms)))
    num_changed = _differing(one.log_prob[kept], two.log_prob[kept])
    for units, first, second in zip(kept_units, one.type_log_prob, two.type_log_prob, strict=True):
        num_changed += _differing(first[units], second[units])
    if one.log_speed is not None and two.log_speed is not None:
        num_changed += _differing(one.log_speed, two.log_speed)
    return num_changed


def _changed_by_structure(denoiser: Denoiser, drawn: Draw, subject: Subject) -> int:
    """Other units, labels and salience beside the same corrupted batch do not change the loss."""
    other = subject.language.of(
        subject.language.numbers(drawn.batch.input_ids).roll(1) * 7 % len(subject.language.strings)
    )
    swapped = replace(other, input_ids=drawn.batch.input_ids, token_mask=drawn.batch.token_mask)
    one = nelbo(denoiser(drawn.corrupted), drawn.batch, drawn.corrupted)
    two = nelbo(denoiser(drawn.corrupted), swapped, drawn.corrupted)
    return _differing(one.nats, two.nats)


def _changed_by_text(denoiser: Denoiser, subject: Subject) -> int:
    every = subject.language.every()
    backwards = subject.language.of(torch.arange(len(subject.language.strings)).flip(0))
    t = torch.ones(len(subject.language.strings), dtype=torch.float64)
    read: list[Tensor] = []
    for batch in (every, backwards):
        hidden: Corrupted = subject.corruption.corrupt(batch, t, generator=torch.Generator().manual_seed(6))
        read.append(denoiser.hidden(hidden.x_t, types_t=hidden.types_t))
    return _differing(*read)


def _first_spans(spans: PackedSpans) -> Tensor:
    """The first span of every row, bool (S,)."""
    first = torch.ones_like(spans.row, dtype=torch.bool)
    first[1:] = spans.row[1:] != spans.row[:-1]
    return first


def _others_changed(values: Tensor, hidden: Tensor, spans: PackedSpans, kept: Tensor, size: int) -> Tensor:
    """Other values at all hidden positions outside of the kept spans, long (B, L)."""
    is_kept = torch.zeros_like(hidden).flatten()
    is_kept[spans.token_index] = kept[spans.span_index]
    return torch.where(hidden & ~is_kept.view_as(hidden), (values + 1) % size, values)


def _differing(one: Tensor, two: Tensor) -> int:
    return int((one != two).sum())
