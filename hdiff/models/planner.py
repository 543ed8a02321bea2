"""Planner: predicts spans, labels and salience of hidden tokens from the partly filled text.

Dimensions: B batch, L tokens, D width, K labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from hdiff.errors import RecipeError
from hdiff.structure import level_rank


@dataclass(frozen=True)
class Plan:
    """What the planner expects at every token.

    Attributes:
        begin_logit: Log-odds that a span begins here, float (B, L).
        label_logits: Scores of the labels of the span here, 0 for none, float (B, L, K).
        salience_logit: Log-odds form of the expected salience, float (B, L).
    """

    begin_logit: Tensor
    label_logits: Tensor
    salience_logit: Tensor

    @property
    def begins(self) -> Tensor:
        """Whether a span more likely begins here than not, bool (B, L)."""
        return self.begin_logit > 0

    @property
    def labels(self) -> Tensor:
        """Most likely label, long (B, L)."""
        return self.label_logits.argmax(-1)

    @property
    def salience(self) -> Tensor:
        """Expected salience in [0, 1], float (B, L)."""
        return self.salience_logit.sigmoid()


@final
class Planner(nn.Module):
    """A small head on the trunk: one hidden layer, then boundaries, labels and salience.

    It reads the trunk's output for x_t, so what it says of a hidden token depends on visible tokens only, and
    a sampler may follow it at no cost in likelihood (docs/concepts.md, "the planner"). By default no
    gradient flows into the trunk: a model trained with a planner is, number for number, the model trained
    without.

    Args:
        width: Width of the trunk D.
        level: Level whose spans are predicted.
        num_labels: Labels K told apart, 0 for none; rarer labels count as the last.
        weight: Weight of its loss beside the bound.
        detach: Whether its loss leaves the trunk alone.
    """

    def __init__(
        self,
        width: int,
        *,
        level: str = "phrase",
        num_labels: int = 16,
        weight: float = 1.0,
        detach: bool = True,
    ) -> None:
        super().__init__()
        level_rank(level)
        if num_labels < 2 or not weight > 0:
            raise RecipeError(
                f"planner with num_labels={num_labels}, weight={weight}; give at least 2 labels (none "
                f"and one more) and a weight > 0"
            )
        self.level, self.num_labels, self.weight, self.detach = level, num_labels, weight, detach
        self.expand = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, bias=False)
        self.predict = nn.Linear(width, 2 + num_labels)
        nn.init.normal_(self.expand.weight, std=width**-0.5)
        nn.init.zeros_(self.expand.bias)
        nn.init.zeros_(self.predict.weight)
        nn.init.zeros_(self.predict.bias)

    def forward(self, hidden: Tensor) -> Plan:
        """Predicts from the trunk's output.

        Args:
            hidden: Trunk output, float (B, L, D).

        Returns:
            The plan.
        """
        if self.detach:
            hidden = hidden.detach()
        scores = self.predict(self.norm(F.gelu(self.expand(hidden)))).float()
        return Plan(scores[..., 0], scores[..., 2:], scores[..., 1])
