"""evaluate_sampler: the bound of a sampler, computed exactly as it runs.

Dimensions: B batch.
"""

from __future__ import annotations

import torch

from hdiff.config import EvaluationConfig
from hdiff.corruption import Corruption
from hdiff.data.packing import PackedBlocks
from hdiff.errors import DataError
from hdiff.evaluation.bounds import Estimate, evaluation_rows, full_rows, ratio_estimate
from hdiff.factory import DiffusionModel
from hdiff.models.wrapped import unwrapped
from hdiff.samplers import Sampler


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
    if not sampler.scores_padding:
        rows = full_rows(blocks, rows)
    if not rows:
        raise DataError("no held-out row is full; prepare more text or lower data.sequence_length")
    draws = max(1, config.draws // 8)
    nats = torch.zeros(len(rows), dtype=torch.float64)
    tokens = torch.zeros_like(nats)
    structure, calls = 0.0, 0.0
    for _ in range(draws):
        for first in range(0, len(rows), config.batch_size):
            chosen = slice(first, first + config.batch_size)
            batch = blocks.batch(rows[chosen]).to(device)
            score = sampler.score(denoiser, corruption, batch, generator=generator)
            nats[chosen] += score.nats.cpu() / draws
            tokens[chosen] = batch.token_mask.sum(1).double().cpu()
            calls += float(score.calls.sum()) / draws
            if score.structure is not None:
                structure += float(score.structure.sum()) / draws
    estimate = ratio_estimate(nats, tokens, structure=structure / float(tokens.sum()))
    return estimate, calls / len(rows)
