"""LengthHead: how many tokens stand where the network is shown a single hidden one. Torch only.

Dimensions: B batch, L tokens, D width, M most tokens.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from hdiff.data.batch import Batch
from hdiff.errors import RecipeError
from hdiff.models.output import padding_mask


@final
class LengthHead(nn.Module):
    """p(n | visible text): the tokens n of an answer, or of a gap, in 1 .. M.

    The network reads the text with one mask in place of all hidden tokens, and nothing of them. So
    `-log p(n | prompt) - log p(answer | prompt, n)` is -log p(answer | prompt), exactly, and with a bound on
    its second part a bound on it.

    Args:
        width: Width D of the trunk.
        longest: Most tokens M.
        weight: Weight of the loss for gaps of texts without prompts, which is no part of their bound.
    """

    def __init__(self, width: int, *, longest: int, weight: float = 0.1) -> None:
        super().__init__()
        if longest < 1:
            raise RecipeError(f"length_head.longest is {longest}; give at least 1 token")
        if not 0 <= weight < float("inf"):
            raise RecipeError(f"length_head.weight is {weight}; give a number of at least 0")
        self.longest, self.weight = longest, weight
        last = nn.Linear(width, longest)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.scores = nn.Sequential(nn.Linear(width, width), nn.GELU(), last)

    def forward(self, hidden: Tensor, most: Tensor | None = None) -> Tensor:
        """log p(n = 1 .. M).

        Args:
            hidden: Trunk output at the mask, float (B, D).
            most: Tokens that there is room for, long (B,); None: M.

        Returns:
            Normalised, float (B, M); -inf beyond `most`.
        """
        scores: Tensor = self.scores(hidden).float()
        if most is not None:
            numbers = torch.arange(1, self.longest + 1, device=scores.device)
            scores = scores.masked_fill(numbers > most[:, None], -torch.inf)
        return scores.log_softmax(-1)


def one_mask(batch: Batch, first: Tensor, last: Tensor, mask_id: int) -> Batch:
    """Rows in which a stretch of tokens is a single mask, so that they do not tell its length.

    Args:
        batch: The rows.
        first: Where the stretch begins, long (B,).
        last: One past its last token, long (B,).
        mask_id: Id of a hidden token.

    Returns:
        The shorter rows; the mask stands at `first`.
    """
    length = batch.input_ids.shape[1]
    ends = batch.token_mask.sum(1) - (last - first) + 1  # (B,): tokens that are left
    place = torch.arange(int(ends.max()), device=first.device).expand(len(first), -1)
    source = torch.where(place > first[:, None], place - 1 + (last - first)[:, None], place)
    tokens = batch.input_ids.gather(1, source.clamp(max=length - 1))
    is_real = place < ends[:, None]
    return Batch(tokens.masked_fill(place == first[:, None], mask_id), is_real)


def length_log_probs(model: Any, rows: Batch, place: Tensor, most: Tensor | None = None) -> Tensor:
    """log p(n) of the stretch that a single mask stands for.

    Args:
        model: A network with a `length_head`.
        rows: Rows with a mask, as `one_mask` makes them.
        place: Where it stands, long (B,).
        most: Tokens that there is room for, long (B,).

    Returns:
        float (B, M).
    """
    options: dict[str, Tensor] = {}
    if sizes := [head.vocab_size for head in getattr(model, "type_heads", ())]:
        options["types_t"] = rows.input_ids.new_tensor(sizes).expand(*rows.input_ids.shape, -1)
    mask = padding_mask(rows.token_mask, rows.is_padded)
    hidden = model.hidden(rows.input_ids, mask, **options)
    at_mask = hidden[torch.arange(len(place), device=place.device), place]
    log_probs: Tensor = model.length_head(at_mask, most)
    return log_probs
