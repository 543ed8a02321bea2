"""Random replacement of a toy language: corrupted rows, exact posteriors, the integrated bound."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from toy_language import ToyLanguage

from hdiff.corruption.times import sample_times
from hdiff.corruption.uniform_state import UniformCorrupted, UniformState
from hdiff.data.batch import Batch
from hdiff.objectives.uniform_state import uniform_state_nelbo
from hdiff.schedules import (
    PolynomialSchedule,
    Schedule,
)

V, L = 3, 3
QUIET = PolynomialSchedule(2.0)  # finite variance; with the others the sample error is only an estimate


def likelihoods(language: ToyLanguage, x_t: Tensor, p: Tensor) -> Tensor:
    """q(x_t_j | string_j) of every string and token: (B, N, L)."""
    same = x_t[:, None, :] == language.strings
    return same * (1 - p[:, None, :]) + p[:, None, :] / language.vocab_size


def posterior(language: ToyLanguage, x_t: Tensor, p: Tensor, *, leave_one_out: bool = True) -> Tensor:
    """log p(x_0_i = v | x_t), with or without token i of x_t: (B, L, V)."""
    log_q = likelihoods(language, x_t, p).log()
    evidence = log_q.sum(2, keepdim=True) - (log_q if leave_one_out else 0)
    weight = (language.probability.log()[None, :, None] + evidence).softmax(1)  # (B, N, L)
    is_value = language.strings[:, :, None] == torch.arange(language.vocab_size)  # (N, L, V)
    return torch.einsum("bnl,nlv->blv", weight, is_value.double()).log()


def packed(log_probs: Tensor, corrupted: UniformCorrupted) -> Tensor:
    return corrupted.spans.gather(log_probs)


def corrupt(
    language: ToyLanguage, num_rows: int, generator: torch.Generator, *, schedule: Schedule = QUIET
) -> UniformCorrupted:
    batch = language.sample(num_rows, generator)
    t = sample_times(batch, generator=generator)
    corruption = UniformState(mask_id=language.vocab_size, schedule=schedule)
    return corruption.corrupt(batch, t, generator=generator)


def integrated_bound(
    language: ToyLanguage, corruption: UniformState, predict, *, buckets: Tensor | None = None
) -> float:
    """The bound without noise: all x_0, all x_t, and Gauss-Legendre nodes over time.

    t = u^6 takes away the singularity at t = 0, which is t^(k - 1) log t.
    """
    num_nodes = 40
    u, node_weight = gauss_legendre(num_nodes)
    t, time_weight = u**6, node_weight * 6 * u**5
    num_strings = len(language.strings)
    clean, noisy, node = torch.meshgrid(
        torch.arange(num_strings), torch.arange(num_strings), torch.arange(num_nodes), indexing="ij"
    )
    x_0, x_t = (language.strings[index.flatten()] for index in (clean, noisy))
    batch = Batch.of(x_0)
    if buckets is not None:
        batch = replace(batch, salience_buckets=buckets.expand_as(x_0))
    corrupted = replace(corruption.corrupt(batch, t[node.flatten()]), x_t=x_t)
    q = ((x_0 == x_t) * (1 - corrupted.p) + corrupted.p / language.vocab_size).prod(1)
    weight = language.probability[clean.flatten()] * q * time_weight[node.flatten()]
    return float((weight * uniform_state_nelbo(predict(corrupted), corrupted)).sum())


def gauss_legendre(num_nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes in (0, 1) and weights, from the eigenvectors of the Jacobi matrix (Golub and Welsch, 1969)."""
    n = torch.arange(1, num_nodes, dtype=torch.float64)
    beside = n / (4 * n**2 - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return (nodes + 1) / 2, vectors[0] ** 2
