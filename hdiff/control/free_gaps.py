"""draw_lengths: gaps of free length get one each, from the length head of the model. Torch only.

Dimensions: M most tokens of the length head.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import torch

from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.models.length_head import length_log_probs
from hdiff.samplers import Sampler

Pattern = Any
"""`hdiff.control.pattern.Pattern`, whose module imports this one."""


def draw_lengths(
    model: Any,
    pattern: Pattern,
    sampler: Sampler,
    *,
    eos_id: int,
    longest: int | None = None,
    generator: torch.Generator | None = None,
) -> Pattern:
    """The pattern with a length for each gap that had none, drawn from left to right.

    While one is drawn, it and every other free gap is a single mask.

    Args:
        model: A network with a length head, without wrappers.
        pattern: The text with gaps.
        sampler: Its temperature and truncation hold for lengths too.
        eos_id: Stands at both ends of a row.
        longest: Tokens of the rows that the model was trained on; None: any.
        generator: Source of randomness, on the model's device.

    Returns:
        A pattern without free gaps.

    Raises:
        DataError: If the model has no length head, or a row no room.
    """
    head = getattr(model, "length_head", None)
    if head is None:
        raise DataError(
            "[*] is a gap of free length, and the model has no length head; give a length, as in [4] or "
            "[2-5], or train with",
            "length_head={}",
        )
    sampling = replace(sampler.sampling, banned=())
    parts = list(pattern.parts)
    device = model.head.embedding.weight.device
    free = [place for place, part in enumerate(parts) if getattr(part, "is_free", False)]
    for place in free:
        now = type(pattern)(tuple(parts))
        row = now.row(now.shortest_lengths, mask_id=model.mask_id, eos_id=eos_id)
        before = type(pattern)(tuple(parts[:place]))
        first = len(before.row(before.shortest_lengths, mask_id=model.mask_id, eos_id=eos_id)) - 1
        room = head.longest if longest is None else min(head.longest, longest - now.longest - 1)
        if room < 1:
            raise DataError(
                f"the text leaves no room for a gap in rows of {longest} tokens; shorten it, or use a model "
                f"with longer rows"
            )
        log_probs = length_log_probs(
            model,
            Batch.of(torch.tensor([row], device=device)),
            torch.tensor([first], device=device),
            torch.tensor([room], device=device),
        )
        size = 1 + int(sampling.draw(log_probs, generator=generator))
        parts[place] = replace(parts[place], shortest=size, longest=size, is_free=False)
    return type(pattern)(tuple(parts))


def fitting(sampler: Sampler, num_hidden: int) -> Sampler:
    """The sampler, with no more steps than there are tokens to fill."""
    num_steps = getattr(sampler, "num_steps", None)
    if num_steps is None or num_steps <= num_hidden:
        return sampler
    changed: Any = copy(sampler)
    changed.num_steps = num_hidden
    return changed  # type: ignore[no-any-return]
