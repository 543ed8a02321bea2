"""Autoregressive: the left-to-right baseline on the same trunk; also the judge of samples.

Dimensions: B batch, L tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import final

import torch.nn.functional as F
from torch import Tensor

from hdiff.data.batch import Batch
from hdiff.heads.product import ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.headed import Headed
from hdiff.models.output import padding_mask


def as_autoregressive(model: object) -> Autoregressive | None:
    """The model if it is autoregressive, so that it has an exact likelihood and no corruption; else None."""
    return model if isinstance(model, Autoregressive) else None


@final
class Autoregressive(Headed):
    """p(x_0) = prod_i p(x_i | x_<i), an exact likelihood.

    Args:
        trunk: Causal trunk.
        head: Product head; its mask row stands for the beginning of a row.
    """

    head: ProductHead

    def __init__(self, trunk: Trunk, head: ProductHead) -> None:
        super().__init__()
        assert trunk.causal, "the autoregressive model needs a causal trunk"
        self.trunk = trunk
        self.head = head

    def forward(self, batch: Batch) -> Tensor:
        """Scores every token given those before it.

        Args:
            batch: Clean tokens.

        Returns:
            log p(x_i | x_<i) in nats, float (B, L); 0 at padding and at given tokens.
        """
        return self.scored(batch)[0]

    def scored(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and the trunk's output, float (B, L, D)."""
        before = F.pad(batch.input_ids[:, :-1], (1, 0), value=self.vocab_size)
        hidden = self.trunk(self.head.embed(before), padding_mask(batch.token_mask, batch.is_padded))
        log_prob = self.head.token_log_prob(hidden.flatten(0, 1), batch.input_ids.flatten())
        return log_prob.view_as(batch.input_ids) * batch.free_mask, hidden
