"""Supervision: a loss on the trunk's output beside the bound, of training alone.

Dimensions: B batch, L tokens, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from hdiff.data.batch import Batch
from hdiff.data.control_trees import TREES
from hdiff.data.token_targets import TargetSpec
from hdiff.errors import DataError, RecipeError, nearest

ATTRIBUTE = "supervision"
"""Where a model in training keeps it; a model that is loaded to be used has none."""


class Supervision(nn.Module, ABC):
    """A second loss, `loss = bound + weight * supervision(hidden, batch)`.

    It reads the parse of the clean text, which the bound may not know. So it is called by the training step
    alone, and its weights are left out where a model is loaded or exported: the bound stays the same kind of
    number.

    Args:
        weight: Weight beside the bound, which is in nats per token.
        trees: A name of `hdiff.data.control_trees.TREES`.
    """

    def __init__(self, weight: float, trees: str) -> None:
        super().__init__()
        if not 0 < weight < float("inf"):
            raise RecipeError(f"weight is {weight}; give a number > 0, or remove the section 'supervision'")
        if trees not in TREES:
            raise RecipeError(f"no trees '{trees}'{nearest(trees, TREES)} (known: {', '.join(TREES)})")
        self.weight = weight

    @property
    @abstractmethod
    def spec(self) -> TargetSpec | None:
        """Columns of the batch that it needs; None for none."""

    @abstractmethod
    def forward(self, hidden: Tensor, batch: Batch) -> Tensor:
        """The loss of a batch in nats, a scalar without the weight, from trunk output (B, L, D)."""

    def target(self, batch: Batch, name: str) -> Tensor:
        """One column of the batch, long (B, L); raises DataError if it lacks it."""
        if name not in batch.targets:
            raise DataError(
                f"supervision needs target '{name}', the batch has {sorted(batch.targets) or 'none'}; build "
                f"its rows with PackedBlocks.build(..., targets=supervision.spec)"
            )
        return batch.targets[name]


def without_supervision(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a model without those that only training uses."""
    return {name: value for name, value in tensors.items() if not name.startswith(f"{ATTRIBUTE}.")}
