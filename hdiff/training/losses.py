"""Losses: one training step of each kind of model, as modules that Accelerate can wrap."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hdiff.corruption import Corruption, sample_times
from hdiff.data.batch import Batch
from hdiff.factory import DiffusionModel
from hdiff.models.autoregressive import Autoregressive
from hdiff.objectives import nelbo, planner_loss


class DiffusionLoss(nn.Module):
    """The training step of a diffusion model: times, corruption, denoiser, objective."""

    def __init__(self, denoiser: DiffusionModel, corruption: Corruption) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.corruption = corruption

    def forward(
        self, batch: Batch, times: torch.Generator, noise: torch.Generator, rows: range, num_rows: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What is minimised, and its parts.

        Args:
            batch: Clean tokens.
            times: Generator of times, in the same state for all batches of an update.
            noise: Generator of the noise.
            rows: Which rows of the update these are.
            num_rows: Rows of the update.

        Returns:
            The sum, a scalar, and its parts by name: `loss` is the estimate of the bound in nats per token.
        """
        t = sample_times(batch, generator=times, rows=rows, num_rows=num_rows)
        corrupted = self.corruption.corrupt(batch, t, generator=noise)
        output = self.denoiser(corrupted)
        bound = nelbo(output, batch, corrupted).mean
        planner = getattr(self.denoiser, "planner", None)
        if planner is None:
            return bound, {"loss": bound.detach()}
        planning = planner_loss(output.plan, batch, level=planner.level)
        parts = {"loss": bound.detach(), "planner_loss": planning.detach()}
        return bound + planner.weight * planning, parts


class AutoregressiveLoss(nn.Module):
    """The training step of the autoregressive model: nats per token, exact."""

    def __init__(self, model: Autoregressive) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, *_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Nats per token of one batch, a scalar, also by name."""
        nats = -self.model(batch).sum() / batch.num_tokens
        return nats, {"loss": nats.detach()}
