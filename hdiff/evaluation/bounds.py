"""Evaluation: bounds on held-out text and the quality of samples, with their statistical error.

Bounds are computed with averages over random states (masks, orders) of exactly what the model and
the sampler do; nothing is drawn from the model. Dimensions: B batch, L tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hdiff.config import EvaluationConfig
from hdiff.corruption import Corrupted, Corruption, MaskedUnits, corrupt_free, sample_times
from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks
from hdiff.errors import DataError
from hdiff.evaluation.text_statistics import distinct_n, repetition, unigram_entropy
from hdiff.factory import DiffusionModel
from hdiff.models.autoregressive import Autoregressive
from hdiff.models.wrapped import unwrapped
from hdiff.objectives import nelbo, t_step_corrupted
from hdiff.objectives.length import answer_length_nats
from hdiff.samplers import Sampler, Samples, hidden_rows
from hdiff.seeds import derive_seed


@dataclass(frozen=True)
class Estimate:
    """A mean over rows.

    Attributes:
        nats_per_token: The estimate.
        stderr: Its standard error over rows (text and random states together).
        tokens: Tokens scored.
        structure: The part of it that is paid for types or speeds.
        nats: Nats of each row, float64 (B,).
        num_tokens: Tokens of each row, float64 (B,).
    """

    nats_per_token: float
    stderr: float
    tokens: int
    structure: float
    nats: Tensor = field(repr=False)
    num_tokens: Tensor = field(repr=False)


def evaluation_rows(blocks: PackedBlocks, config: EvaluationConfig) -> list[int]:
    """Row numbers spread evenly over a split: `config.blocks` of them, or all."""
    count = len(blocks) if config.blocks == 0 else min(config.blocks, len(blocks))
    return [index * len(blocks) // count for index in range(count)]


def full_rows(blocks: PackedBlocks, rows: Sequence[int]) -> list[int]:
    """Those of some rows that have no padding: all but the last of a split may be."""
    return [row for row in rows if blocks.full(row)]


@torch.no_grad()
def evaluate_bound(
    denoiser: DiffusionModel,
    blocks: PackedBlocks,
    corruption: Corruption,
    config: EvaluationConfig,
    *,
    seed: int = 0,
) -> Estimate:
    """The NELBO: revealing unit after unit in random order.

    It bounds -log p(x_0) if the corruption is not conditional on structure.

    Args:
        denoiser: The model.
        blocks: Held-out rows.
        corruption: Says what the units are.
        config: How many rows and draws.
        seed: Seed of the random states.

    Returns:
        Nats per token.
    """

    def state(batch: Batch, generator: torch.Generator) -> Corrupted:
        t = sample_times(batch, generator=generator)
        return corrupt_free(
            batch, lambda free: corruption.corrupt(free, t, generator=generator), corruption.type_sizes
        )

    return _average(denoiser, blocks, config, state, seed=derive_seed(seed, "bound"))


@torch.no_grad()
def evaluate_t_step(
    denoiser: DiffusionModel,
    blocks: PackedBlocks,
    units: MaskedUnits,
    config: EvaluationConfig,
    *,
    num_steps: int,
    seed: int = 0,
) -> Estimate:
    """L_T in nats per token, of the T-step ancestral sampler (docs/concepts.md, "the T-step bound")."""

    def state(batch: Batch, generator: torch.Generator) -> Corrupted:
        u = 1 - sample_times(batch, generator=generator)
        return corrupt_free(
            batch,
            lambda free: t_step_corrupted(free, units, u, num_steps=num_steps, generator=generator),
        )

    return _average(denoiser, blocks, config, state, seed=derive_seed(seed, "t_step", num_steps))


def _average(
    denoiser: DiffusionModel,
    blocks: PackedBlocks,
    config: EvaluationConfig,
    state: Callable[[Batch, torch.Generator], Corrupted],
    *,
    seed: int,
) -> Estimate:
    """Mean of `nelbo` over rows and draws; the control variate is the mean of all earlier batches."""
    denoiser = unwrapped(denoiser)
    rows = evaluation_rows(blocks, config)
    device = denoiser.head.embedding.weight.device
    generator = torch.Generator(device).manual_seed(seed)
    nats = torch.zeros(len(rows), dtype=torch.float64)
    num_tokens = torch.zeros(len(rows), dtype=torch.float64)
    baselines = [math.log(denoiser.vocab_size)]
    words, structure, seen, counted = 0.0, 0.0, 0, 0
    for _ in range(config.draws):
        for first in range(0, len(rows), config.batch_size):
            chosen = slice(first, first + config.batch_size)
            batch = blocks.batch(rows[chosen]).to(device)
            corrupted = state(batch, generator)
            loss = nelbo(denoiser(corrupted), batch, corrupted, baselines=baselines)
            paid = loss.nats + answer_length_nats(denoiser, batch)
            nats[chosen] += paid.double().cpu() / config.draws
            num_tokens[chosen] = batch.counted_tokens.double().cpu()
            structure += float(loss.structure.sum())
            words += float((loss.nats - loss.structure).sum())
            seen += int(loss.num_tokens.sum())
            counted += int(batch.counted_tokens.sum())
            num_streams = len(corrupted.type_terms)
            baselines = [words / seen, *[structure / seen / max(1, num_streams)] * num_streams]
    return ratio_estimate(nats, num_tokens, structure=structure / counted)


@torch.no_grad()
def evaluate_exact(model: Autoregressive, blocks: PackedBlocks, config: EvaluationConfig) -> Estimate:
    """-log p(x_0) of the autoregressive model, exact, in nats per token."""
    model = unwrapped(model)
    rows = evaluation_rows(blocks, config)
    nats, tokens = [], []
    for first in range(0, len(rows), config.batch_size):
        batch = blocks.batch(rows[first : first + config.batch_size]).to(model.head.embedding.weight.device)
        nats.append(-model(batch).double().sum(1).cpu())
        tokens.append(batch.counted_tokens.double().cpu())
    return ratio_estimate(torch.cat(nats), torch.cat(tokens))


def ratio_estimate(nats: Tensor, num_tokens: Tensor, *, structure: float = 0.0) -> Estimate:
    """Ratio estimate of nats per token, of rows (B,), with `structure` added, and its standard error."""
    mean = float(nats.sum() / num_tokens.sum())
    residual = nats - mean * num_tokens
    count = len(nats)
    variance = float((residual**2).sum()) * count / max(1, count - 1)
    stderr = math.sqrt(variance) / float(num_tokens.sum()) if count > 1 else float("nan")
    return Estimate(mean, stderr, int(num_tokens.sum()), structure, nats, num_tokens)


def draw_samples(
    denoiser: DiffusionModel,
    corruption: Corruption,
    *,
    sampler: Sampler,
    num_samples: int,
    length: int,
    seed: int,
) -> tuple[Samples, float]:
    """Samples of a sampler, and the wall-clock seconds of each; units are made unconditional here."""
    denoiser = unwrapped(denoiser)
    generator = torch.Generator(denoiser.head.embedding.weight.device).manual_seed(seed)
    began = time.perf_counter()
    rows = hidden_rows(denoiser, num_samples, length)
    samples = sampler.sample(denoiser, corruption.unconditional(), rows, generator=generator)
    return samples, (time.perf_counter() - began) / num_samples


@torch.no_grad()
def judged_nll(judge: Autoregressive, batch: Batch) -> Estimate:
    """Nats per token that an autoregressive judge gives to text: low for likely, also for dull text."""
    judge = unwrapped(judge)
    nats = -judge(batch.to(judge.head.embedding.weight.device)).double().sum(1).cpu()
    return ratio_estimate(nats, batch.token_mask.sum(1).double().cpu())


def quality(tokens: Tensor, judge: Autoregressive | None) -> dict[str, Any]:
    """Figures of a set of texts; none of them means much without the others.

    Args:
        tokens: Texts of equal length, long (B, L).
        judge: Scores them, over the same vocabulary; None leaves its figure null.

    Returns:
        `samples`; `judge_nll` and `judge_nll_stderr` (nats per token, error over texts); `unigram_entropy`
        (nats, mean over texts); `distinct_2` (share of different pairs among all pairs of neighbours);
        `repetition_4` (share of groups of four tokens that were in the same text before).
    """
    rows = tokens.tolist()
    nll = None if judge is None else judged_nll(judge, Batch.of(tokens))
    return {
        "samples": len(rows),
        "judge_nll": None if nll is None else nll.nats_per_token,
        "judge_nll_stderr": None if nll is None else nll.stderr,
        "unigram_entropy": sum(unigram_entropy(row) for row in rows) / len(rows),
        "distinct_2": distinct_n(rows, 2),
        "repetition_4": sum(repetition(row, 4) for row in rows) / len(rows),
    }


def check_same_vocabulary(own_sha256: str, judge_sha256: str) -> None:
    """Raises DataError if a judge reads other tokens than the model writes."""
    if own_sha256 != judge_sha256:
        raise DataError(
            "the judge was trained with another tokenizer; train it on the same prepared data set:",
            "hdiff train recipes/judge.yaml data.path=DATA output=JUDGE",
        )
