"""Validation: the bound on held-out rows during a training, its best step, and when more training is in vain.

Rows and masks are the same at every validation, so that two of them are compared row by row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from hdiff.config import EvaluationConfig, Recipe
from hdiff.corruption import Corruption
from hdiff.data.packing import PackedBlocks
from hdiff.evaluation.bounds import Estimate, evaluate_bound, evaluate_exact, ratio_estimate
from hdiff.factory import DiffusionModel
from hdiff.models.autoregressive import Autoregressive, as_autoregressive
from hdiff.seeds import derive_seed

NOISE = 2.0
"""A gain counts if it is so many times its standard error over rows."""


def validate(
    model: DiffusionModel | Autoregressive, blocks: PackedBlocks, corruption: Corruption, recipe: Recipe
) -> Estimate:
    """The legal bound on held-out rows; exact of an autoregressive model.

    Args:
        model: The model, in evaluation mode.
        blocks: The validation split.
        corruption: The one it is trained with; made unconditional here.
        recipe: Says how many rows and draws, and gives the seed.

    Returns:
        The estimate. Its random states are not those of `hdiff eval`, so that a step chosen by it is not
        measured by the states it was chosen on.
    """
    config = EvaluationConfig(blocks=recipe.train.validation_blocks, draws=recipe.train.validation_draws)
    left_to_right = as_autoregressive(model)
    if left_to_right is not None:
        return evaluate_exact(left_to_right, blocks, config)
    legal = corruption.unconditional().of_model(model)
    return evaluate_bound(
        cast(DiffusionModel, model), blocks, legal, config, seed=derive_seed(recipe.seed, "validation")
    )


class BestStep:
    """The lowest validation bound so far, and how many validations brought no gain beyond noise.

    Args:
        patience: So many of them end the training; 0 never.

    Attributes:
        step: Updates done at the lowest bound; None before the first validation.
        bound: That bound, nats per token.
        waited: Validations since the last gain beyond noise.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.step: int | None = None
        self.bound = math.inf
        self.waited = 0
        self._last_gain: list[float] = []  # nats of each row then

    @property
    def is_over(self) -> bool:
        """Whether more training is in vain."""
        return 0 < self.patience <= self.waited

    def add(self, step: int, nats: Tensor, num_tokens: Tensor) -> bool:
        """Takes a validation into account.

        Args:
            step: Updates done.
            nats: Nats of each row, float64 (B,).
            num_tokens: Tokens of each row, float64 (B,).

        Returns:
            Whether its bound is the lowest so far.
        """
        bound = float(nats.sum() / num_tokens.sum())
        self.waited += 1
        if math.isfinite(bound) and self._has_gained(nats, num_tokens):
            self.waited, self._last_gain = 0, nats.tolist()
        if not bound < self.bound:
            return False
        self.step, self.bound = step, bound
        return True

    def _has_gained(self, nats: Tensor, num_tokens: Tensor) -> bool:
        if not self._last_gain:
            return True
        change = ratio_estimate(nats - torch.tensor(self._last_gain, dtype=nats.dtype), num_tokens)
        error = change.stderr if math.isfinite(change.stderr) else 0.0  # a single row has none
        return change.nats_per_token < -NOISE * error

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it; nothing before the first validation."""
        if self.step is None:
            return {}
        return {
            "best_step": self.step,
            "best_bound": self.bound,
            "validations_without_gain": self.waited,
            "nats_at_last_gain": self._last_gain,
            "is_over": self.is_over,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint's state."""
        if "best_step" in state:
            self.step, self.bound = int(state["best_step"]), float(state["best_bound"])
            self.waited = int(state["validations_without_gain"])
            self._last_gain = [float(value) for value in state["nats_at_last_gain"]]
