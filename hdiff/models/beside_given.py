"""BesideGiven: a network as samplers see it that fill the free tokens of rows with given ones. Torch only.

Dimensions: B batch, L tokens of a whole row, N free tokens, D width, V vocabulary, R type streams.
"""

from __future__ import annotations

from copy import copy
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.corruption.gaussian import noisy_embedding
from hdiff.corruption.given import Free, check_blocks
from hdiff.models.output import padding_mask

_WHOLE_ROWS_ONLY = ("cached_hidden", "reads_parts")
"""What reads a row in parts: a view has none of it."""


@final
class BesideGiven:
    """A network over free tokens: it reads them in their whole rows and answers for them alone.

    So every sampler works beside given tokens as it works alone, drawing or scoring, and cannot change them.

    Args:
        network: The network, without wrappers.
        free: The free tokens of the rows.
        corruption: What the network was trained with.
    """

    def __init__(self, network: Any, free: Free, corruption: Corruption) -> None:
        check_blocks(free.place, corruption.block_size)
        self._network, self._free = network, free
        self._type_sizes, self._clean_level = corruption.type_sizes, corruption.clean_level

    def __getattr__(self, name: str) -> Any:
        if name in _WHOLE_ROWS_ONLY or name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._network, name)

    @property
    def network(self) -> Any:
        """The network, which reads whole rows."""
        return self._network

    @property
    def free(self) -> Free:
        """The free tokens of the rows."""
        return self._free

    def rows(self, chosen: Tensor) -> BesideGiven:
        """The same view of some rows.

        Args:
            chosen: bool (B,).

        Returns:
            The view.
        """
        view = copy(self)
        view._free = self._free.rows(chosen)
        return view

    def hidden(self, x_t: Tensor, token_mask: Tensor | None = None, **options: Tensor | None) -> Tensor:
        """Trunk output at the free tokens.

        Args:
            x_t: Free tokens, `mask_id` where hidden, long (B, N).
            token_mask: Ignored: the whole rows have their own.
            **options: Of the free tokens, visible types, `types_t`, long (B, N, R), and when they were
                revealed, `order`, long (B, N); others must be None.

        Returns:
            float (B, N, D).
        """
        free = self._free
        if (types_t := options.get("types_t")) is not None:
            hidden = types_t.new_tensor(list(self._type_sizes)).expand(*free.whole.input_ids.shape, -1)
            options["types_t"] = free.spread(types_t, hidden)
        if (order := options.get("order")) is not None:
            options["order"] = free.spread(order, free.order_around(order.device))
        return free.gather(self._network.hidden(self._tokens(x_t), self._padding(), **options))

    def among_free(self, pairs: Tensor) -> Tensor:
        """Values of pairs of free tokens: (B, L, L) -> (B, N, N)."""
        return self._free.gather(self._free.gather(pairs).mT).mT

    def log_probs(self, x_t: Tensor, level: Tensor, token_mask: Tensor | None = None) -> Tensor:
        """Log-probabilities of the free tokens, of networks in which every token has a level of noise.

        Args:
            x_t: Free tokens, long (B, N), or their noisy embeddings, float (B, N, E).
            level: Level of noise of each, float (B, N).
            token_mask: Ignored: the whole rows have their own.

        Returns:
            float (B, N, V).
        """
        free, clean = self._free, level.new_full(self._free.whole.input_ids.shape, self._clean_level)
        if x_t.ndim == 2:
            around = self._tokens(x_t)
        else:
            table = self._network.table()
            # Free places may hold a mask, which has no embedding; what stands there is put in below.
            embedding = F.embedding(free.whole.input_ids.clamp(max=len(table) - 1), table)
            still = noisy_embedding(embedding, torch.zeros_like(embedding), clean)
            around = free.spread(x_t, still)
        return free.gather(self._network.log_probs(around, free.spread(level, clean), self._padding()))

    def _tokens(self, x_t: Tensor) -> Tensor:
        return self._free.spread(x_t, self._free.whole.input_ids)

    def _padding(self) -> Tensor | None:
        whole = self._free.whole
        return padding_mask(whole.token_mask, whole.is_padded)
