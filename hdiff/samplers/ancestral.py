"""AncestralSampler: units in random order, the same number of units in each of T steps. Torch only."""

from __future__ import annotations

from typing import final

import torch

from hdiff.corruption.base import Corruption
from hdiff.corruption.unit_masking import UnitMasking, random_ranks
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.models.denoiser import Denoiser
from hdiff.packed_spans import PackedSpans
from hdiff.reveal_order import check_num_steps, reveal_step
from hdiff.samplers.base import Sampler, Samples


@final
class AncestralSampler(Sampler):
    """Reverse of masking with exact counts; its likelihood bound is `t_step_corrupted` at the same T.

    Step k fills group k of a random order; the units of a group are drawn independently of each
    other given what is visible, the tokens of a unit jointly by the head. At temperature 1 it draws
    from exactly the distribution that the T-step bound scores.

    Args:
        num_steps: Steps T; more steps than units are not used.
        temperature: Divides the logits; other values than 1 have no bound.
    """

    def __init__(self, num_steps: int, *, temperature: float = 1.0) -> None:
        self.num_steps = check_num_steps(num_steps)
        if not temperature > 0:
            raise DataError(f"temperature is {temperature}; it must be > 0 (1 samples the model as it is)")
        self.temperature = temperature

    @torch.no_grad()
    def sample(
        self,
        denoiser: Denoiser,
        corruption: Corruption,
        *,
        num_samples: int,
        length: int,
        generator: torch.Generator | None = None,
    ) -> Samples:
        if num_samples < 1 or length < 1:
            raise DataError(f"{num_samples} samples of {length} tokens; both must be at least 1")
        if not isinstance(corruption, UnitMasking):
            raise DataError(
                f"AncestralSampler fills masked units; {type(corruption).__name__} has a sampler of its own "
                f"(hdiff.samplers.sampler_for)"
            )
        if corruption.conditional_on_structure:
            raise DataError(
                "units of parsed text do not exist before the text; use corruption.unconditional()"
            )
        device = denoiser.head.embedding.weight.device
        tokens = torch.full((num_samples, length), denoiser.mask_id, device=device)
        blank = Batch.of(tokens)
        units = corruption.units(blank, generator=generator)
        rank, num_units = random_ranks(units, blank.token_mask, generator=generator)
        steps = reveal_step(rank, num_units, self.num_steps)
        num_calls = int(steps.max()) + 1
        for step in range(num_calls):
            spans = PackedSpans.from_units(units, steps == step)
            if not spans.num_spans:
                continue
            hidden = denoiser.hidden(tokens)
            drawn = denoiser.head.sample(
                spans.gather(hidden), spans, generator=generator, temperature=self.temperature
            )
            tokens = tokens.flatten().index_copy(0, spans.token_index, drawn).view_as(tokens)
        return Samples(tokens=tokens, steps=steps, units=units, nfe=num_calls)
