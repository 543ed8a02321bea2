"""Losses: one training step of each kind of model, as modules that Accelerate can wrap.

Dimensions: B batch, L tokens, D width.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from hdiff.corruption import Corruption, corrupt_free, sample_times
from hdiff.data.batch import Batch
from hdiff.factory import DiffusionModel
from hdiff.models.autoregressive import Autoregressive, as_autoregressive
from hdiff.models.denoiser import Denoiser
from hdiff.objectives import nelbo, planner_loss
from hdiff.objectives.length import answer_length_nats, gap_length_nats
from hdiff.supervision import Supervision
from hdiff.training.kept_states import KeptStates


def training_loss(model: DiffusionModel | Autoregressive, corruption: Corruption) -> nn.Module:
    """The training step of a model, a module with the model in it."""
    left_to_right = as_autoregressive(model)
    if left_to_right is not None:
        return AutoregressiveLoss(left_to_right)
    return DiffusionLoss(cast(DiffusionModel, model), corruption.of_model(model))


class DiffusionLoss(nn.Module):
    """The training step of a diffusion model: times, corruption, denoiser, objective.

    Attributes:
        kept: Kept states of the rows, if the trunk is not to read them again.
    """

    def __init__(self, denoiser: DiffusionModel, corruption: Corruption) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.corruption = corruption
        self.kept: KeptStates | None = None

    def forward(
        self,
        batch: Batch,
        times: torch.Generator,
        noise: torch.Generator,
        rows: range,
        num_rows: int,
        progress: float = 0.0,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What is minimised, and its parts.

        Args:
            batch: Clean tokens.
            times: Generator of times, in the same state for all batches of an update.
            noise: Generator of the noise.
            rows: Which rows of the update these are.
            num_rows: Rows of the update.
            progress: Share of all updates that are done.

        Returns:
            The sum, a scalar, and its parts by name: `loss` is the estimate of the bound in nats per token.
        """
        t = sample_times(batch, generator=times, rows=rows, num_rows=num_rows)
        if self.kept is None:
            corruption = self.corruption.at(progress)
            corrupted = corrupt_free(
                batch, lambda free: corruption.corrupt(free, t, generator=noise), corruption.type_sizes
            )
            output = self.denoiser(corrupted)
        else:
            corrupted, packed = self.kept(batch, t)
            output = cast(Denoiser, self.denoiser).scored(corrupted, None, packed, corrupted.spans)
        bound = nelbo(output, batch, corrupted).mean
        lengths = self._lengths(batch, noise)
        if batch.answer_lengths is not None:  # they pay for a part of the answers
            bound = bound + lengths
        total, parts = supervised(bound, self.denoiser.supervision, output.hidden, batch)
        if self.denoiser.length_head is not None:
            parts["length_loss"] = lengths.detach()
            if batch.answer_lengths is None:
                total = total + self.denoiser.length_head.weight * lengths
        planner = getattr(self.denoiser, "planner", None)
        if planner is None:
            return total, parts
        planning = planner_loss(output.plan, batch, level=planner.level)
        return total + planner.weight * planning, {**parts, "planner_loss": planning.detach()}

    def _lengths(self, batch: Batch, noise: torch.Generator) -> Tensor:
        """Nats of lengths: of answers, per token that is scored; else of a gap of each row, their mean."""
        if batch.answer_lengths is not None:
            return answer_length_nats(self.denoiser, batch).sum() / batch.num_tokens
        if self.denoiser.length_head is None:
            return torch.zeros((), device=batch.input_ids.device)
        return gap_length_nats(self.denoiser, batch, generator=noise).mean()


class AutoregressiveLoss(nn.Module):
    """The training step of the autoregressive model: nats per token, exact."""

    def __init__(self, model: Autoregressive) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, *_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """What is minimised, a scalar, and its parts by name: `loss` are the exact nats per token."""
        log_prob, hidden = self.model.scored(batch)
        return supervised(-log_prob.sum() / batch.num_tokens, self.model.supervision, hidden, batch)


def supervised(
    bound: Tensor, supervision: nn.Module | None, hidden: Tensor | None, batch: Batch
) -> tuple[Tensor, dict[str, Tensor]]:
    """A bound with the second loss that the recipe asks for.

    Args:
        bound: Nats per token, a scalar.
        supervision: The second loss; None for none.
        hidden: Trunk output, float (B, L, D).
        batch: The clean batch.

    Returns:
        The sum, and its parts by name.
    """
    parts = {"loss": bound.detach()}
    if supervision is None:
        return bound, parts
    assert isinstance(supervision, Supervision), "the trainer builds no other"
    second = supervision(hidden, batch)
    return bound + supervision.weight * second, {**parts, "supervision_loss": second.detach()}
