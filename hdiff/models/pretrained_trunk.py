"""PretrainedTrunk: an encoder or decoder of transformers as the trunk, every position seeing every other.

Dimensions: B batch, L tokens, D width.
"""

from __future__ import annotations

import math
from typing import Any, final

import torch
from torch import Tensor, nn

from hdiff.errors import DataError, RecipeError
from hdiff.layers.trunk_cache import TrunkCache

SHAPE = {"width": "hidden_size", "depth": "num_hidden_layers", "num_heads": "num_attention_heads"}
"""Keys of a recipe's section `model`, and what configurations of transformers call them."""

POSITIONS = "max_position_embeddings"

_PROBE_TOKENS = 6
_ROUNDING = 1e-5


@final
class PretrainedTrunk(nn.Module):
    """A network of transformers between the token table of a head and its output.

    Heads scale their input to unit variance; the network gets its own scale back (a division by sqrt(D)), so
    that with the checkpoint's table the inputs, and the scores of a product head, are the checkpoint's. The
    table itself belongs to the head, that of the network is dropped.

    Args:
        encoder: A model that takes `inputs_embeds`.
        transform: Layer between it and the token table; None if there is none.
        config_values: Configuration that builds both again.

    Attributes:
        num_positions: Tokens of the longest row; None if any length will do.
        shifted: Whether the network's output at a position is about the next one, as in Dream.
    """

    causal = False

    def __init__(
        self, encoder: nn.Module, transform: nn.Module | None, config_values: dict[str, Any]
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.transform = transform
        self.config_values = config_values
        self.dtype = torch.float32
        self.num_positions = _num_positions(encoder, config_values)
        self.shifted = bool(self.origin.get("shifted"))

    @property
    def origin(self) -> dict[str, Any]:
        """What is known of the checkpoint: `layout`, `sha256`, `shifted`, `untied`, `mask_id`."""
        return dict(self.config_values.get("hdiff") or {})

    @property
    def shape(self) -> dict[str, int]:
        """Width, depth and heads, under the names of a recipe's section `model`."""
        return {name: int(self.config_values.get(theirs, 1)) for name, theirs in SHAPE.items()}

    def check_length(self, length: int) -> None:
        """Refuses rows longer than the checkpoint's positions."""
        most = self.num_positions
        if most is not None and length > most:
            raise RecipeError(
                f"data.sequence_length is {length}, the pretrained trunk has {most} positions; use",
                f"data.sequence_length={most}",
            )

    def forward(self, hidden: Tensor, token_mask: Tensor | None = None) -> Tensor:
        """Contextualises embedded tokens.

        Args:
            hidden: Embedded tokens, float (B, L, D).
            token_mask: Real tokens, bool (B, L); None if all are.

        Returns:
            float (B, L, D).

        Raises:
            DataError: If rows are longer than the checkpoint's positions.
        """
        length, most = hidden.shape[1], self.num_positions
        if most is not None and length > most:
            raise DataError(
                f"a text of {length} tokens, the pretrained trunk has {most} positions; ask for at most "
                f"{most}, in Python length={most}, on the command line",
                f"--length {most}",
            )
        embedded = (hidden / math.sqrt(hidden.shape[-1])).to(self.dtype)
        mask = None if token_mask is None else token_mask.long()
        output: Tensor = self.encoder(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
        if self.shifted:  # nothing stands before the first position, which speaks for itself
            output = torch.cat([output[:, :1], output[:, :-1]], 1)
        return (output if self.transform is None else self.transform(output)).to(hidden.dtype)

    def keep_weights_in(self, name: str) -> None:
        """Keeps the weights in another type; what comes in and goes out stays as it was."""
        self.dtype = getattr(torch, name)
        self.to(self.dtype)

    def checkpoint_gradients(self) -> None:
        """Has the backward pass compute the layers again instead of keeping what they computed."""
        try:
            self.encoder.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        except ValueError as error:
            raise RecipeError(
                f"train.gradient_checkpointing with {type(self.encoder).__name__}, which cannot compute its "
                "layers "
                f"again; use",
                "train.gradient_checkpointing=false",
            ) from error

    def fill_cache(self, hidden: Tensor, token_mask: Tensor | None = None) -> TrunkCache:
        """Refuses: only hdiff's own trunk keeps a cache."""
        raise DataError("a pretrained trunk keeps no cache; use a sampler with refresh: 1")


def _num_positions(encoder: nn.Module, config_values: dict[str, Any]) -> int | None:
    most = config_values.get(POSITIONS)
    if most is None:
        return None
    for name, module in encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa counts from behind the id of its padding.
            return int(most) - (0 if module.padding_idx is None else module.padding_idx + 1)
    return int(most)


def check_trunk(trunk: PretrainedTrunk, width: int) -> None:
    """Tries a trunk: vectors of its width out, from all positions of a row and from no padding."""
    generator = torch.Generator().manual_seed(0)
    row = torch.randn(1, _PROBE_TOKENS, width, generator=generator)
    changed = row.clone()
    changed[:, -1] *= -1
    token_mask = torch.ones(2, _PROBE_TOKENS, dtype=torch.bool)
    hides_last = token_mask.clone()
    hides_last[:, -1] = False
    trunk.eval()
    with torch.no_grad():
        seen, hidden = (trunk(torch.cat([row, changed]), mask) for mask in (token_mask, hides_last))
    trunk.train()
    if seen.shape != (2, *row.shape[1:]):
        raise ValueError(
            f"vectors of width {width} become {tuple(seen.shape[1:])}, not as many of that width"
        )
    if not bool(seen.isfinite().all()):
        raise ValueError("it returns numbers that are not finite")
    if not _differ(seen[:, 0]):
        raise ValueError("the first position does not see the last one")
    if _differ(hidden[:, :-1]):
        raise ValueError("padding changes what it returns")


def _differ(pair: Tensor) -> bool:
    first, second = pair
    return float((first - second).norm()) > _ROUNDING * float(first.norm())
