"""Mixture and CRF heads whose spans can be enumerated."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from hdiff.heads import CRFHead, Head, MixtureHead
from hdiff.packed_spans import PackedSpans

VOCAB, WIDTH = 4, 16


BOTH = [MixtureHead, CRFHead]


def spans_of(lengths: list[int]) -> PackedSpans:
    units = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))[None]
    return PackedSpans.from_units(units, torch.ones_like(units, dtype=torch.bool))


def head_of(cls: type[Head], *, std: float = 0.7, **options: int) -> Head:
    torch.manual_seed(0)
    head = cls(VOCAB, WIDTH, **options)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=std)
    return head


def strings_of(length: int) -> Tensor:
    return torch.tensor(list(itertools.product(range(VOCAB), repeat=length)))


def some_support(length: int) -> Tensor:
    """Two or three of four tokens at each position."""
    support = torch.tensor([[1, 1, 0, 1], [0, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 0]], dtype=torch.bool)
    return support[:length]


def scores_of_all(head: Head, hidden: Tensor, support: Tensor | None = None) -> Tensor:
    """log_prob of all strings as one batch of spans, (V^n,)."""
    strings = strings_of(len(hidden))
    times = len(strings)
    return head.log_prob(
        hidden.repeat(times, 1),
        strings.flatten(),
        spans_of([len(hidden)] * times),
        support=None if support is None else support.repeat(times, 1),
    )
