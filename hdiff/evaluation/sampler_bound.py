"""evaluate_sampler: the bound of a sampler, computed exactly as it runs.

Dimensions: B batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from hdiff.config import EvaluationConfig
from hdiff.corruption import Corruption, Free
from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks
from hdiff.errors import DataError
from hdiff.evaluation.bounds import Estimate, evaluation_rows, full_rows, ratio_estimate
from hdiff.factory import DiffusionModel
from hdiff.models.beside_given import BesideGiven
from hdiff.models.wrapped import unwrapped
from hdiff.objectives.length import answer_length_nats
from hdiff.samplers import Sampler, Score


@torch.no_grad()
def evaluate_sampler(
    denoiser: DiffusionModel,
    blocks: PackedBlocks,
    corruption: Corruption,
    config: EvaluationConfig,
    *,
    sampler: Sampler,
    seed: int = 0,
) -> tuple[Estimate, float]:
    """Runs a sampler over held-out rows with the true tokens in place of draws.

    Every step of every row is scored, so one draw costs as many trunk calls as sampling does; `config.draws`
    is divided by 8 (at least 1) because such a draw has far less noise than that of one random state.

    Args:
        denoiser: The model.
        blocks: Held-out rows; rows with padding are left out for samplers that take none.
        corruption: Says what the units are; made unconditional here.
        config: How many rows and draws.
        sampler: The sampler; it must have a bound.
        seed: Seed of orders and segmentations; equal seeds make samplers comparable.

    Returns:
        The estimate, and trunk calls per row.

    Raises:
        DataError: If the sampler has no bound, or no row can be scored.
    """
    denoiser, corruption = unwrapped(denoiser), corruption.unconditional()
    device = denoiser.head.embedding.weight.device
    generator = torch.Generator(device).manual_seed(seed)
    rows = evaluation_rows(blocks, config)
    if blocks.prompts is not None:
        rows.sort(key=blocks.prompts.num_free)  # rows of one length, together
    elif not sampler.scores_padding:
        rows = full_rows(blocks, rows)
    if not rows:
        raise DataError("no held-out row is full; prepare more text or lower data.sequence_length")
    draws = max(1, config.draws // 8)
    nats = torch.zeros(len(rows), dtype=torch.float64)
    tokens = torch.zeros_like(nats)
    structure, calls = 0.0, 0.0
    for _ in range(draws):
        for chosen in _batches(blocks, rows, config.batch_size):
            batch = blocks.batch(rows[chosen]).to(device)
            score = _score(denoiser, corruption, batch, sampler, generator)
            nats[chosen] += (score.nats + answer_length_nats(denoiser, batch)).cpu() / draws
            tokens[chosen] = batch.counted_tokens.double().cpu()
            calls += float(score.calls.sum()) / draws
            if score.structure is not None:
                structure += float(score.structure.sum()) / draws
    estimate = ratio_estimate(nats, tokens, structure=structure / float(tokens.sum()))
    return estimate, calls / len(rows)


def _batches(blocks: PackedBlocks, rows: Sequence[int], size: int) -> Iterator[slice]:
    """Rows that are scored together: answers of one length, as samplers draw them."""
    prompts = blocks.prompts
    first = 0
    while first < len(rows):
        end = min(first + size, len(rows))
        if prompts is not None:
            while prompts.num_free(rows[end - 1]) != prompts.num_free(rows[first]):
                end -= 1
        yield slice(first, end)
        first = end


def _score(
    denoiser: DiffusionModel,
    corruption: Corruption,
    batch: Batch,
    sampler: Sampler,
    generator: torch.Generator,
) -> Score:
    if batch.given is None:
        return sampler.score(denoiser, corruption, batch, generator=generator)
    free = Free.of(batch)
    return sampler.score(BesideGiven(denoiser, free, corruption), corruption, free.batch, generator=generator)
