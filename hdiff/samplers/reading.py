"""Reader: the trunk's output at the states of one run, and no more of it than is asked for.

Dimensions: B rows, L tokens, D width.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from hdiff.errors import DataError
from hdiff.layers.trunk_cache import TrunkCache
from hdiff.models.beside_given import BesideGiven
from hdiff.models.denoiser import Denoiser
from hdiff.samplers.base import FillsMasks
from hdiff.samplers.choice import Choice, at


class Reader:
    """Reads the states of one run, and no more of them than is asked for.

    Finished rows are left out, or, with a cache, visible tokens. Rows that are alike are read once.

    Args:
        denoiser: The model.
        token_mask: Real tokens, bool (B, L); None if all are.
        document_ids: Document of each token, long (B, L); None if rows are read whole.
        refresh: See `MaskedSampler`.
    """

    def __init__(
        self,
        denoiser: FillsMasks,
        token_mask: Tensor | None = None,
        document_ids: Tensor | None = None,
        *,
        refresh: int = 1,
    ) -> None:
        if document_ids is not None and refresh > 1:
            raise DataError(
                f"refresh is {refresh} and the rows hold documents apart; a cache mixes them, use refresh: 1"
            )
        self.reads_parts: bool = getattr(denoiser, "reads_parts", False)
        if (document_ids is not None or refresh > 1) and not self.reads_parts:
            raise DataError(
                f"{type(denoiser).__name__} reads whole rows, every time; use refresh: 1 and rows without "
                f"document_ids"
            )
        self.denoiser, self.token_mask, self.refresh = denoiser, token_mask, refresh
        self.document_ids = document_ids
        self.cache: TrunkCache | None = None
        self.was_masked: Tensor | None = None

    def read(
        self, tokens: Tensor, is_masked: Tensor, active: Tensor, step: int, places: Tensor | None = None
    ) -> Tensor:
        """Output of the trunk for a state.

        Args:
            tokens: Tokens, `mask_id` where hidden, long (B, L).
            is_masked: Tokens still to be filled, bool (B, L).
            active: Rows that have some, bool (B,).
            step: Steps done.
            places: Places in active rows of the flattened batch, long (P,); None: all.

        Returns:
            float (P, D), or (B, L, D), of use in active rows only.
        """
        if self.refresh > 1:
            # What was hidden at the last call has a new input now, or is hidden still.
            changed = is_masked if self.was_masked is None else self.was_masked
            cache = None if step % self.refresh == 0 else self.cache
            model = cast(Denoiser, self.denoiser)
            hidden, self.cache = model.cached_hidden(tokens, self.token_mask, cache, changed)
            self.was_masked = is_masked
            return at(hidden, places)
        rows, among = self._rows(tokens, active)
        mask = None if self.token_mask is None else self.token_mask[rows]
        documents = None if self.document_ids is None else self.document_ids[rows]
        if places is not None:
            length = tokens.shape[1]
            row, place = torch.div(places, length, rounding_mode="floor"), places % length
            if self.reads_parts and len(rows) > 1:
                inside = among[row] * length + place
                model = cast(Denoiser, self.denoiser)
                return model.hidden(tokens[rows], mask, document_ids=documents, places=inside)
            return self._hidden(tokens[rows], mask, documents, rows)[among[row], place]
        hidden = self._hidden(tokens[rows], mask, documents, rows)
        if len(rows) == len(tokens):
            return hidden
        every = hidden.new_zeros(len(tokens), *hidden.shape[1:])
        every[active] = hidden[among[active]]
        return every

    def reveal(self, choice: Choice, step: int) -> None:
        """Takes note of what a step has filled; there is nothing to note where order says nothing.

        Args:
            choice: What was filled.
            step: Steps done before.
        """

    def _rows(self, tokens: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        """Rows to read, long (R,), and which of them says what each active row says, long (B,)."""
        rows = active.nonzero().squeeze(1)
        is_bare = self.reads_parts and self.token_mask is None and self.document_ids is None
        if is_bare and bool((tokens[rows] == tokens[rows[:1]]).all()):
            return rows[:1], torch.zeros_like(tokens[:, 0])
        return rows, active.cumsum(0) - 1

    def _hidden(self, tokens: Tensor, mask: Tensor | None, documents: Tensor | None, rows: Tensor) -> Tensor:
        denoiser = self.denoiser
        if isinstance(denoiser, BesideGiven):
            denoiser = denoiser.rows(rows)
        if documents is None:
            return denoiser.hidden(tokens, mask)
        return cast(Denoiser, denoiser).hidden(tokens, mask, document_ids=documents)
