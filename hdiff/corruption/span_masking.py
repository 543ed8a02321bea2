"""SpanMasking: units are spans, parsed from the text or drawn at random. Torch only.

Dimensions: B batch, L tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, final

import torch
from torch import Tensor

from hdiff.corruption.base import Count
from hdiff.corruption.row_noise import categorical, rand
from hdiff.corruption.unit_masking import UnitMasking
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.schedules import Schedule
from hdiff.structure import level_rank

Segmentation = Literal["parsed", "random", "mixture"]


@final
class SpanMasking(UnitMasking):
    """Masks whole spans: one masking time per span (DESIGN 4.2).

    `parsed` takes the units of `level` from the batch: they are a function of x_0, so its bound is
    conditional on structure. `random` draws span lengths independently of x_0: its bound is one on
    -log p(x_0) and costs nothing. `mixture` gives each row one or the other, for training.

    Args:
        level: Level of the parsed units, for example `phrase`.
        segmentation: `parsed`, `random` or `mixture`.
        lengths: Distribution of random span lengths in tokens, {length: probability}, or
            probabilities of 1, 2, 3 ... tokens; or `corpus`: the lengths of the parsed units of
            the training split (the control "random spans of the same lengths"), filled in by
            the trainer. None only for `parsed`.
        parsed_fraction: Share of parsed rows in a `mixture`.
        mask_id: See `UnitMasking`.
        schedule: See `UnitMasking`.
        count: See `UnitMasking`.
    """

    def __init__(
        self,
        *,
        level: str = "phrase",
        segmentation: Segmentation = "parsed",
        lengths: Mapping[int, float] | Sequence[float] | Literal["corpus"] | None = None,
        parsed_fraction: float = 0.5,
        mask_id: int | None = None,
        schedule: Schedule | None = None,
        count: Count = "exact",
    ) -> None:
        super().__init__(mask_id=mask_id, schedule=schedule, count=count)
        level_rank(level)
        if segmentation not in ("parsed", "random", "mixture"):
            raise DataError(f"segmentation is '{segmentation}'; use 'parsed', 'random' or 'mixture'")
        if not 0.0 <= parsed_fraction <= 1.0:
            raise DataError(f"parsed_fraction is {parsed_fraction}; it is a share in [0, 1]")
        if isinstance(lengths, str) and lengths != "corpus":
            raise DataError(f"lengths is '{lengths}'; give {{length: probability}} or 'corpus'")
        if segmentation != "parsed" and lengths is None:
            raise DataError(
                f"segmentation '{segmentation}' needs lengths: {{length: probability}} or 'corpus'"
            )
        self.level = level
        self.segmentation = segmentation
        self.parsed_fraction = parsed_fraction
        self.lengths: tuple[float, ...] | Literal["corpus"] | None = (
            _length_distribution(lengths) if lengths is not None and not isinstance(lengths, str) else lengths
        )

    @property
    def conditional_on_structure(self) -> bool:
        return self.segmentation != "random"

    def required_levels(self) -> tuple[str, ...]:
        needed = self.segmentation != "random" or self.lengths == "corpus"
        return (self.level,) if needed and self.level != "token" else ()

    def with_lengths(self, lengths: Sequence[float]) -> SpanMasking:
        """The same corruption with a given distribution of random span lengths."""
        return self._replace(lengths=lengths)

    def unconditional(self) -> SpanMasking:
        if self.segmentation == "random":
            return self
        if self.lengths is None:
            raise DataError(
                "parsed spans give no bound on -log p(x_0) by themselves; give SpanMasking lengths "
                "({length: probability} or 'corpus') so that random spans can be used for it"
            )
        return self._replace(segmentation="random")

    def _replace(
        self, *, segmentation: Segmentation | None = None, lengths: Sequence[float] | None = None
    ) -> SpanMasking:
        return SpanMasking(
            level=self.level,
            segmentation=segmentation or self.segmentation,
            lengths=self.lengths if lengths is None else lengths,
            parsed_fraction=self.parsed_fraction,
            mask_id=self.mask_id,
            schedule=self.schedule,
            count=self.count,
        )

    def units(self, batch: Batch, *, generator: torch.Generator | None = None) -> Tensor:
        if self.segmentation == "parsed":
            return batch.units(self.level)
        random = self._random_units(batch, generator)
        if self.segmentation == "random":
            return random
        num_rows = batch.input_ids.shape[0]
        draw = rand((num_rows, 1), generator=generator, device=random.device)
        return torch.where(draw < self.parsed_fraction, batch.units(self.level), random)

    def _random_units(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        """Spans of independent random lengths from position 0 on, cut at the last real token."""
        if self.lengths is None or isinstance(self.lengths, str):
            raise DataError("span lengths 'corpus' are not filled in yet; call with_lengths(...) first")
        num_rows, num_tokens = batch.input_ids.shape
        device = batch.input_ids.device
        probabilities = torch.tensor(self.lengths, device=device)
        draws = categorical(probabilities, (num_rows, num_tokens), generator=generator)
        ends = (draws + 1).cumsum(1)  # (B, L): end of each drawn span
        starts_unit = torch.zeros(num_rows, num_tokens + 1, dtype=torch.long, device=device)
        starts_unit.scatter_(1, ends.clamp(max=num_tokens), 1)
        starts_unit = starts_unit[:, :num_tokens]
        if batch.document_ids is not None:  # no span may hold tokens of two documents
            starts_unit[:, 1:] |= (batch.document_ids.diff(dim=1) != 0).long()
        starts_unit[:, 0] = 0
        # Padding positions are units of their own, so no unit holds both.
        starts_unit = torch.where(batch.token_mask, starts_unit, torch.ones_like(starts_unit))
        return starts_unit.cumsum(1)


def _length_distribution(lengths: Mapping[int, float] | Sequence[float]) -> tuple[float, ...]:
    """Probabilities of 1, 2, 3 ... tokens, normalised."""
    if isinstance(lengths, Mapping):
        if not lengths or min(lengths) < 1:
            raise DataError(f"span lengths {dict(lengths)}: lengths are whole numbers >= 1")
        values = [float(lengths.get(length, 0.0)) for length in range(1, max(lengths) + 1)]
    else:
        values = [float(p) for p in lengths]
    total = sum(values)
    if not values or min(values) < 0 or not 0 < total < float("inf"):
        raise DataError(
            f"lengths have the probabilities {values[:8]}; give numbers >= 0 that do not sum to 0 or overflow"
        )
    return tuple(p / total for p in values)
