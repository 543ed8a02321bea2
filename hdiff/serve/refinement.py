"""Refinement: samples of families in which every step may change every token, with all their states.

Dimensions: B texts, L tokens, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from hdiff.corruption import Gaussian, UniformState
from hdiff.models.gaussian_denoiser import GaussianDenoiser
from hdiff.models.uniform_denoiser import UniformDenoiser
from hdiff.samplers.draw import STEPS
from hdiff.samplers.gaussian import sample_gaussian
from hdiff.samplers.uniform_state import sample_uniform_state
from hdiff.serve.requests import RestoreRequest
from hdiff.serve.served_run import ServedRun


def refined(request: RestoreRequest, run: ServedRun, model: Any, length: int) -> dict[str, Any]:
    """Fresh texts, with what stands at each token before every step and at last.

    Args:
        request: Steps, texts, seed, temperature.
        run: A model of replaced tokens or of Gaussian noise.
        model: Its network.
        length: Tokens of a text.

    Returns:
        `nfe`, `is_refined`, and `samples`, each with `text` and `pieces`: `unit`, `level`, `states`.

    Raises:
        DataError: If a number does not fit.
    """
    seen: list[Tensor] = []
    corruption = run.corruption.unconditional()
    size: dict[str, Any] = {
        "num_samples": request.samples,
        "length": length,
        "num_steps": STEPS if request.steps is None else request.steps,
        "generator": torch.Generator().manual_seed(request.seed),
        "temperature": request.temperature,
    }
    if isinstance(corruption, UniformState) and isinstance(model, UniformDenoiser):

        def log_probs(x_t: Tensor, p: Tensor) -> Tensor:
            seen.append(x_t)
            return model.log_probs(x_t, p)

        tokens, nfe = sample_uniform_state(log_probs, corruption, **size)
    else:
        assert isinstance(corruption, Gaussian), "the caller has checked it"
        tokens, nfe = sample_gaussian(_Seen(model, seen), corruption, **size)
    states = torch.stack([*seen, tokens], 1)  # (B, T + 1, L)
    samples = []
    for rows in states.tolist():
        pieces_of = [run.tokenizer.pieces(row) for row in rows]
        pieces = [
            {"unit": place, "level": "token", "states": _changes(texts)}
            for place, texts in enumerate(zip(*pieces_of, strict=True))
        ]
        samples.append({"text": "".join(pieces_of[-1]), "pieces": pieces})
    return {"nfe": nfe, "samples": samples, "is_refined": True}


class _Seen:
    """A Gaussian denoiser that keeps the likeliest text of every call."""

    def __init__(self, model: GaussianDenoiser, seen: list[Tensor]) -> None:
        self._model, self._seen = model, seen

    def table(self) -> Tensor:
        return self._model.table()

    def log_probs(self, z_t: Tensor, log_snr: Tensor, token_mask: Tensor | None = None) -> Tensor:
        found = self._model.log_probs(z_t, log_snr, token_mask)
        self._seen.append(found.argmax(-1))
        return found


def _changes(texts: Sequence[str]) -> list[list[Any]]:
    """`[step, text]` for the first state and every one that differs from the one before."""
    return [
        [0, texts[0]],
        *([step, now] for step, (before, now) in enumerate(pairwise(texts), 1) if now != before),
    ]
