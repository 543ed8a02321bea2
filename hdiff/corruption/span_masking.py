"""SpanMasking: units are spans, parsed from the text or drawn at random.

Dimensions: B batch, L tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, final

import torch
from torch import Tensor

from hdiff.corruption.arguments import Count
from hdiff.corruption.base import TokenClasses, UnitLengths
from hdiff.corruption.row_noise import categorical, rand
from hdiff.corruption.unit_masking import UnitMasking
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.schedules import Schedule
from hdiff.structure import level_rank

Segmentation = Literal["parsed", "random", "mixture"]


@final
class SpanMasking(UnitMasking):
    """Masks whole spans: one masking time per span (docs/concepts.md, "masking units").

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
        final_parsed_fraction: The same at the end of training, changed evenly on the way; None: it stays.
        more_levels: Levels that parsed rows have besides `level`; each row draws one of them all.
        flagged: Whether the state tells, at hidden tokens, of which level the units of a row are. Random
            units have no flag, so nothing of it is in the bound; control asks for a phrase with it.
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
        final_parsed_fraction: float | None = None,
        more_levels: Sequence[str] = (),
        flagged: bool = False,
        mask_id: int | None = None,
        schedule: Schedule | None = None,
        count: Count = "exact",
    ) -> None:
        super().__init__(mask_id=mask_id, schedule=schedule, count=count)
        self.levels = (level, *more_levels)
        for place, name in enumerate(self.levels):
            level_rank(name)
            if name in self.levels[:place]:
                raise DataError(f"level '{name}' is given twice (level and more_levels); keep one of them")
        if segmentation not in ("parsed", "random", "mixture"):
            raise DataError(f"segmentation is '{segmentation}'; use 'parsed', 'random' or 'mixture'")
        shares = {"parsed_fraction": parsed_fraction, "final_parsed_fraction": final_parsed_fraction}
        for name, share in shares.items():
            if share is not None and not 0.0 <= share <= 1.0:
                raise DataError(f"{name} is {share}; it is a share in [0, 1]")
        if segmentation == "random" and (flagged or more_levels):
            raise DataError(
                "segmentation 'random' has no parsed rows, so there is nothing to flag and no level to mix; "
                "use segmentation: mixture"
            )
        if isinstance(lengths, str) and lengths != "corpus":
            raise DataError(f"lengths is '{lengths}'; give {{length: probability}} or 'corpus'")
        if segmentation != "parsed" and lengths is None:
            raise DataError(
                f"segmentation '{segmentation}' needs lengths: {{length: probability}} or 'corpus'"
            )
        self.level = level
        self.segmentation = segmentation
        self.parsed_fraction = parsed_fraction
        self.final_parsed_fraction = final_parsed_fraction
        self.flagged = flagged
        self.lengths: tuple[float, ...] | Literal["corpus"] | None = (
            _length_distribution(lengths) if lengths is not None and not isinstance(lengths, str) else lengths
        )

    def of_at_most(self, longest: int) -> SpanMasking:
        """The same with random spans of at most so many tokens, for a text that is short beside the others.

        Args:
            longest: Tokens of the longest random span.

        Returns:
            A corruption; this one if it has no random spans, or none that are longer or as short.
        """
        if not isinstance(self.lengths, tuple) or len(self.lengths) <= longest:
            return self
        kept = self.lengths[: max(1, longest)]
        if sum(kept) <= 0:
            return self
        return self.changed(lengths=_length_distribution(kept))

    @property
    def conditional_on_structure(self) -> bool:
        return self.segmentation != "random"

    def required_levels(self) -> tuple[str, ...]:
        needed = self.segmentation != "random" or self.lengths == "corpus"
        return tuple(level for level in self.levels if level != "token") if needed else ()

    @property
    def flag_levels(self) -> tuple[str, ...]:
        return self.levels if self.flagged else ()

    def at(self, progress: float) -> SpanMasking:
        if self.final_parsed_fraction is None:
            return self
        now = self.parsed_fraction + progress * (self.final_parsed_fraction - self.parsed_fraction)
        return self.changed(parsed_fraction=now)

    def with_lengths(self, lengths: Sequence[float]) -> SpanMasking:
        """The same corruption with a given distribution of random span lengths."""
        return self.changed(lengths=_length_distribution(lengths))

    def with_statistics(
        self, *, unit_lengths: UnitLengths | None = None, token_classes: TokenClasses | None = None
    ) -> SpanMasking:
        if self.lengths != "corpus" or unit_lengths is None:
            return self
        return self.with_lengths(unit_lengths(self.level))

    def unconditional(self) -> SpanMasking:
        if self.segmentation == "random":
            return self
        if self.lengths is None:
            raise DataError(
                "parsed spans give no bound on -log p(x_0) by themselves; give SpanMasking lengths "
                "({length: probability} or 'corpus') so that random spans can be used for it"
            )
        return self.changed(segmentation="random")

    def units(self, batch: Batch, *, generator: torch.Generator | None = None) -> Tensor:
        return self._drawn(batch, generator)[0]

    def flagged_units(
        self, batch: Batch, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor | None]:
        units, kind = self._drawn(batch, generator)
        return units, kind if self.flagged and self.segmentation != "random" else None

    def _drawn(self, batch: Batch, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Units, and for each row the number of its level from 1, 0 where they are random, long (B, 1)."""
        shape, device = (batch.input_ids.shape[0], 1), batch.input_ids.device
        if self.segmentation == "random":
            return self._random_units(batch, generator), torch.zeros(shape, dtype=torch.long, device=device)
        if self.segmentation == "parsed":
            is_parsed = torch.ones(shape, dtype=torch.bool, device=device)
            units = batch.units(self.level)
        else:
            random = self._random_units(batch, generator)
            is_parsed = rand(shape, generator=generator, device=device) < self.parsed_fraction
            units = torch.where(is_parsed, batch.units(self.level), random)
        number = torch.ones(shape, dtype=torch.long, device=device)
        if len(self.levels) > 1:
            drawn = rand(shape, generator=generator, device=device)
            number = 1 + (drawn * len(self.levels)).long().clamp(max=len(self.levels) - 1)
            for place, level in enumerate(self.levels[1:], start=2):
                units = torch.where(is_parsed & (number == place), batch.units(level), units)
        return units, number * is_parsed

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
