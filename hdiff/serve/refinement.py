"""Refinement: samples of families in which every step may change every token, with all their states.

Dimensions: B texts, L tokens, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from hdiff.heads.sampling import Sampling
from hdiff.samplers import hidden_rows
from hdiff.samplers.build import text_sampler
from hdiff.serve.requests import RestoreRequest
from hdiff.serve.served_run import ServedRun


def refined(request: RestoreRequest, run: ServedRun, model: Any, length: int) -> dict[str, Any]:
    """Fresh texts, with what stands at each token before every step and at last."""
    corruption = run.corruption.unconditional()
    steps = corruption.default_steps(length) if request.steps is None else request.steps
    sampling = Sampling(temperature=request.temperature)
    sampler = text_sampler(None, corruption, num_steps=steps, default=steps, sampling=sampling)
    seen: list[Tensor] = []
    drawn = sampler.sample(
        model,
        corruption,
        hidden_rows(model, request.samples, length),
        generator=torch.Generator().manual_seed(request.seed),
        on_step=lambda step, tokens: seen.append(tokens),
    )
    if not torch.equal(seen[-1], drawn.tokens):  # noise is read out after the last step
        seen.append(drawn.tokens)
    states = torch.stack(seen, 1)  # (B, T + 1, L)
    samples = []
    for rows in states.tolist():
        pieces_of = [run.tokenizer.pieces(row) for row in rows]
        pieces = [
            {"unit": place, "level": "token", "states": _changes(texts)}
            for place, texts in enumerate(zip(*pieces_of, strict=True))
        ]
        samples.append({"text": "".join(pieces_of[-1]), "pieces": pieces})
    passes = int(drawn.passes.max())
    return {"nfe": drawn.nfe, "head_passes": passes, "samples": samples, "is_refined": True}


def _changes(texts: Sequence[str]) -> list[list[Any]]:
    """`[step, text]` for the first state and every one that differs from the one before."""
    return [
        [0, texts[0]],
        *([step, now] for step, (before, now) in enumerate(pairwise(texts), 1) if now != before),
    ]
