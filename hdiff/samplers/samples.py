"""Samples and scores: what samplers give.

Dimensions: B batch, L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hdiff.heads.base import Head


@dataclass(frozen=True)
class Samples:
    """Generated rows and how they came about.

    Attributes:
        tokens: Generated tokens, long (B, L).
        steps: Step in which each token was filled, from 0; -1 where it was given; long (B, L).
        units: Unit each token was filled with, long (B, L); different units of a row have different numbers.
        nfe: Trunk evaluations of the row that took most.
        calls: Trunk evaluations of each row, long (B,).
        passes: Passes of the head, one after another, that drew the units of each row, long (B,). Units of
            one call are drawn together, so the longest counts (`Head.sequential_passes`). What a sampler
            draws only to choose is not in it.
    """

    tokens: Tensor
    steps: Tensor
    units: Tensor
    nfe: int
    calls: Tensor
    passes: Tensor


@dataclass(frozen=True)
class Score:
    """What a sampler's own way of filling says of given texts.

    Attributes:
        nats: -log p of the hidden tokens of each row along one simulated run, float64 (B,). Its mean over
            runs is an upper bound on -log p(hidden tokens | given tokens).
        calls: Trunk evaluations of each row, long (B,).
        structure: The part of `nats` that pays for types, float64 (B,); None where none are generated.
    """

    nats: Tensor
    calls: Tensor
    structure: Tensor | None = None


def passes_of(head: Head, steps: Tensor, units: Tensor, calls: Tensor) -> Tensor:
    """Passes of the head, one after another, that filled rows: of the longest unit of each call.

    Args:
        head: The head.
        steps: Call in which each token was filled, -1 where it was given, long (B, L).
        units: Unit each token was filled with, 0..L-1, long (B, L).
        calls: Trunk evaluations of each row, long (B,).

    Returns:
        Passes of each row, long (B,).
    """
    is_filled = steps >= 0
    length = torch.zeros_like(steps).scatter_add(1, units, is_filled.long()).gather(1, units)
    longest = steps.new_zeros(len(steps), int(calls.max()))
    longest = longest.scatter_reduce(1, steps.clamp(min=0), length.where(is_filled, 0), "amax")
    number = torch.arange(longest.shape[1], device=steps.device)
    return head.sequential_passes(longest).where(number < calls[:, None], 0).sum(1)


def each_token_alone(tokens: Tensor, steps: Tensor, nfe: int) -> Samples:
    """Samples whose tokens were filled one by one, in as many evaluations for every row.

    Args:
        tokens: Generated tokens, long (B, L).
        steps: Step in which each was filled, long (B, L).
        nfe: Trunk evaluations of a row.

    Returns:
        The samples.
    """
    units = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    calls = torch.full_like(tokens[:, 0], nfe)
    return Samples(tokens, steps, units, nfe=nfe, calls=calls, passes=calls)
