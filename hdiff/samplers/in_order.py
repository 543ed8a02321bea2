"""InOrderReader: reads states for trunks whose tokens see what was revealed no later than themselves.

Dimensions: B rows, L tokens, D width.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from hdiff.corruption.given import Free
from hdiff.errors import DataError
from hdiff.models.beside_given import BesideGiven
from hdiff.models.denoiser import Denoiser
from hdiff.models.output import padding_mask
from hdiff.models.reveal_memory import RevealMemory
from hdiff.reveal_order import given_order
from hdiff.samplers.base import FillsMasks
from hdiff.samplers.choice import Choice, at
from hdiff.samplers.reading import Reader
from hdiff.samplers.selection import first_positions


def order_of_step(choice: Choice, step: int) -> Tensor:
    """Numbers of what a step reveals: above those of all earlier steps, one per unit, long (B, L)."""
    within = first_positions(choice.units) if choice.order is None else choice.order
    return step * choice.units.shape[1] + within


@final
class InOrderReader(Reader):
    """A reader that remembers in which order tokens were revealed.

    A `Denoiser` is read against kept keys and values, which are exact; another network with
    `hidden(x_t, token_mask, order=...)` reads whole rows. Given tokens come first, in `given_order`.

    Args:
        denoiser: The model, or its view beside given tokens.
        token_mask: Real tokens, bool (B, L); None if all are.
        document_ids: Document of each token, long (B, L); None if rows are read whole.
        refresh: See `MaskedSampler`; what is kept here is never stale.

    Raises:
        DataError: If `refresh` is above 1.
    """

    def __init__(
        self,
        denoiser: FillsMasks,
        token_mask: Tensor | None = None,
        document_ids: Tensor | None = None,
        *,
        refresh: int = 1,
    ) -> None:
        if refresh > 1:
            raise DataError(
                f"refresh is {refresh} and the model has attention any_order, whose keys and values are kept "
                f"exactly at every step; use refresh: 1"
            )
        super().__init__(denoiser, token_mask, document_ids)
        self.order: Tensor | None = None
        self.free: Free | None = None
        network: object = denoiser
        if isinstance(denoiser, BesideGiven):
            self.free, network = denoiser.free, denoiser.network
            token_mask = padding_mask(self.free.whole.token_mask)
        self.memory = (
            RevealMemory(network, token_mask, document_ids) if isinstance(network, Denoiser) else None
        )

    def reveal(self, choice: Choice, step: int) -> None:
        """Takes note of what a step has filled."""
        assert self.order is not None, "a step reads before it fills"
        self.order = torch.where(choice.selected, order_of_step(choice, step), self.order)

    def read(
        self, tokens: Tensor, is_masked: Tensor, active: Tensor, step: int, places: Tensor | None = None
    ) -> Tensor:
        """See `Reader.read`."""
        if self.order is None:
            self.order = given_order(tokens.shape[1], device=tokens.device).expand_as(tokens)
        length = tokens.shape[1]
        is_bare = self.free is None and self.token_mask is None and self.document_ids is None
        if is_bare and (places is None or len(places) > length) and bool(is_masked.all()):
            return at(self._whole(tokens[:1]).expand(len(tokens), -1, -1), places)  # all rows are alike
        if self.memory is None:
            return at(self._whole(tokens), places)
        asked = is_masked & active[:, None]
        if places is not None:
            asked = torch.zeros_like(asked).flatten().index_fill(0, places, True).view_as(asked)
        if self.free is None:
            return at(self.memory.read(tokens, self.order, asked), places)
        free, ids = self.free, self.free.whole.input_ids
        hidden = self.memory.read(
            free.spread(tokens, ids),
            free.spread(self.order, free.order_around(tokens.device)),
            free.spread(asked, torch.zeros_like(ids, dtype=torch.bool)),
        )
        return at(free.gather(hidden), places)

    def _whole(self, tokens: Tensor) -> Tensor:
        """Trunk output of all places of the first rows, long (R, L) -> float (R, L, D)."""
        network: Any = self.denoiser
        assert self.order is not None, "`read` sets it"
        documents = {} if self.document_ids is None else {"document_ids": self.document_ids}
        return network.hidden(tokens, self.token_mask, order=self.order[: len(tokens)], **documents)  # type: ignore[no-any-return]
