"""TreeCascade: the syntax tree is generated level by level, then the words.

Dimensions: B batch, L tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal, final

import torch
from torch import Tensor

from hdiff.corruption.arguments import Count, check_k
from hdiff.corruption.cascade import Cascade, Stream, is_first
from hdiff.corruption.type_code import TypeCode
from hdiff.corruption.visible_streams import VisibleStream, single_stream
from hdiff.data.batch import Batch, Problem
from hdiff.errors import DataError
from hdiff.schedules import Schedule
from hdiff.structure import level_rank

Direction = Literal["coarse_to_fine", "fine_to_coarse"]
Unit = Literal["token", "node"]
TypePart = Literal["boundary", "label", "salience"]


@final
class TreeCascade(Cascade):
    """Typed masks, one stream per level: a token is masked, then the type of its word, of its phrase ...

    A type says, as chosen by `types`, whether a unit of the level begins at a token, the label of its unit
    and (finest level only) the token's salience bucket. Types stay on revealed tokens. Bound on
    -log p(x_0, types), which is above -log p(x_0). Without levels and with k = 1 it is `TokenMasking`, to
    the same random numbers.

    Args:
        levels: Levels with typed masks; coarse to fine, or in any order.
        k: Speed of each level's types and of `token`: a number for all, or {level: number}; for `token`
            also one number per salience bucket, which needs `salience` in `types`.
        types: What a type shows: `boundary`, `label`, `salience`.
        num_labels: Labels that are told apart, the most frequent first; all others count as one more.
        num_buckets: Salience buckets of the data set (`data.salience_buckets`).
        unit: `token` masks tokens one by one, `node` all tokens of a unit of the finest level at once.
        type_unit: `token` masks types one by one, `node` all types inside a unit of the level above.
        direction: `fine_to_coarse` generates tokens first and the coarsest types last.
        mask_id: See `Corruption`.
        schedule: See `Corruption`.
        count: See `Cascade`.
    """

    def __init__(
        self,
        *,
        levels: Sequence[str] = ("phrase",),
        k: float | Mapping[str, float | Sequence[float]] = 1.0,
        types: Sequence[TypePart] = ("boundary",),
        num_labels: int = 8,
        num_buckets: int = 1,
        unit: Unit = "token",
        type_unit: Unit = "token",
        direction: Direction = "coarse_to_fine",
        mask_id: int | None = None,
        schedule: Schedule | None = None,
        count: Count = "exact",
    ) -> None:
        super().__init__(mask_id=mask_id, schedule=schedule, count=count)
        self.levels = tuple(sorted(levels, key=level_rank))
        self.types = tuple(types)
        self.num_labels, self.num_buckets = num_labels, num_buckets
        self.unit, self.type_unit, self.direction = unit, type_unit, direction
        self._check_options()
        self.k = self._speeds(k)

    def _check_options(self) -> None:
        if len(set(self.levels)) < len(self.levels) or "token" in self.levels:
            raise DataError(f"levels are {list(self.levels)}; name each once, `token` is always there")
        unknown = set(self.types) - {"boundary", "label", "salience"}
        if unknown or (self.levels and not self.types):
            raise DataError(f"types are {list(self.types)}; use some of boundary, label, salience")
        for name, value in (("unit", self.unit), ("type_unit", self.type_unit)):
            if value not in ("token", "node"):
                raise DataError(f"{name} is '{value}'; use 'token' or 'node'")
        if self.direction not in ("coarse_to_fine", "fine_to_coarse"):
            raise DataError(f"direction is '{self.direction}'; use 'coarse_to_fine' or 'fine_to_coarse'")
        if "node" in (self.unit, self.type_unit) and (
            "boundary" not in self.types or not self.levels or self.direction == "fine_to_coarse"
        ):
            raise DataError(
                "units 'node' are cut by types that are visible before them: they need levels, 'boundary' in "
                "types and direction 'coarse_to_fine'"
            )
        if min(self.num_labels, self.num_buckets) < 1:
            raise DataError(f"num_labels {self.num_labels}, num_buckets {self.num_buckets}; both are >= 1")

    def _speeds(self, k: float | Mapping[str, float | Sequence[float]]) -> dict[str, tuple[float, ...]]:
        known = (*self.levels, "token")
        given = k if isinstance(k, Mapping) else dict.fromkeys(known, k)
        for level in given:
            if level not in known:
                raise DataError(
                    f"k names level '{level}', the cascade has {', '.join(known)}; add it to levels"
                )
        speeds = {}
        for level in known:
            values = given.get(level, 1.0)
            listed = [values] if isinstance(values, (int, float)) else list(values)
            speeds[level] = tuple(check_k(value, f"level '{level}'") for value in listed)
        for level, numbers in speeds.items():
            if len(numbers) > 1 and level != "token":
                raise DataError(f"k of level '{level}' is {list(numbers)}; only 'token' has one k per bucket")
        if len(speeds["token"]) > 1 and ("salience" not in self.types or not self.levels):
            raise DataError(
                "k of 'token' differs by salience bucket, so masks must show it; add 'salience' to types"
            )
        if len(speeds["token"]) > 1 and self.direction == "fine_to_coarse":
            raise DataError(
                "k of 'token' differs by salience bucket, which is hidden while tokens are generated; use "
                "direction 'coarse_to_fine', or one k for 'token'"
            )
        if len(speeds["token"]) not in (1, self.num_buckets):
            raise DataError(
                f"k of 'token' has {len(speeds['token'])} values for {self.num_buckets} salience buckets; "
                f"give one per bucket and num_buckets equal to data.salience_buckets"
            )
        return speeds

    def required_levels(self) -> tuple[str, ...]:
        return self.levels

    def unconditional(self) -> TreeCascade:
        return self

    @property
    def type_codes(self) -> tuple[tuple[str, TypeCode], ...]:
        return tuple((level, self._code(level)) for level in self._ordered_levels())

    @property
    def generates_types_first(self) -> bool:
        return bool(self.levels) and self.direction == "coarse_to_fine"

    def _code(self, level: str) -> TypeCode:
        return TypeCode(
            has_boundary="boundary" in self.types,
            num_labels=self.num_labels if "label" in self.types else 0,
            num_buckets=self.num_buckets if "salience" in self.types and level == self.levels[-1] else 0,
        )

    def problems(self, batch: Batch) -> list[Problem]:
        return [
            Problem(
                f"a unit of level '{fine}' crosses the border of one of level '{coarse}'; "
                f"cascades need nested units: use levels of one parse",
                (is_first(batch.units(coarse)) & ~is_first(batch.units(fine)) & batch.token_mask).any(),
            )
            for coarse, fine in pairwise(self.levels)
        ]

    def streams(self, batch: Batch) -> Sequence[Stream]:
        each_token = batch.units("token")
        streams = []
        above: str | None = None
        for level in self._ordered_levels():
            in_nodes = self.type_unit == "node" and above is not None
            units = batch.units(above) if in_nodes and above is not None else each_token
            speed = torch.full(units.shape, self.k[level][0], dtype=torch.float64, device=units.device)
            streams.append(Stream(units, speed, self._types(batch, level), needs_border=in_nodes))
            above = level
        in_nodes = self.unit == "node"
        units = batch.units(self.levels[-1]) if in_nodes else each_token
        tokens = Stream(units, self._token_speed(batch, units), None, needs_border=in_nodes)
        return [*streams, tokens] if self.direction == "coarse_to_fine" else [tokens, *streams]

    def _ordered_levels(self) -> tuple[str, ...]:
        return self.levels if self.direction == "coarse_to_fine" else self.levels[::-1]

    def _types(self, batch: Batch, level: str) -> Tensor:
        code = self._code(level)
        nothing = torch.zeros_like(batch.input_ids)
        if code.num_labels and level not in batch.labels:
            raise DataError(
                f"types show labels of level '{level}', the batch has {sorted(batch.labels) or 'none'}; "
                f"pack it with labels, or use types: [boundary]"
            )
        return code.encode(
            is_first(batch.units(level)).long() if code.has_boundary else nothing,
            batch.labels[level] if code.num_labels else nothing,
            self._buckets(batch) if code.num_buckets else nothing,
        )

    def _buckets(self, batch: Batch) -> Tensor:
        if batch.salience_buckets is None:
            raise DataError(
                "the cascade uses salience buckets; use", f"data.salience_buckets={self.num_buckets}"
            )
        if int(batch.salience_buckets.max()) >= self.num_buckets:
            raise DataError(
                f"the data set has salience bucket {int(batch.salience_buckets.max())}, the cascade "
                f"num_buckets {self.num_buckets}; use",
                f"data.salience_buckets={self.num_buckets}",
            )
        return batch.salience_buckets

    def _token_speed(self, batch: Batch, units: Tensor) -> Tensor:
        table = torch.tensor(self.k["token"], dtype=torch.float64, device=units.device)
        if len(table) == 1:
            return table.expand(units.shape)
        return _mean_in_units(self.k["token"], self._buckets(batch), units)

    def visible_streams(self, is_masked: Tensor, types_t: Tensor) -> list[VisibleStream]:
        is_up = self.direction == "fine_to_coarse"
        if is_up and len(set(self.k["token"])) > 1:
            raise DataError(
                "direction is 'fine_to_coarse' and k of 'token' differs by salience bucket, which is hidden "
                "while tokens are generated; give one k for 'token'"
            )
        levels = self._ordered_levels()
        hidden = [types_t[..., number] == size for number, size in enumerate(self.type_sizes)]
        order: list[int | None] = [None, *range(len(levels))] if is_up else [*range(len(levels)), None]
        streams: list[VisibleStream] = []
        above: int | None = None
        for place, number in enumerate(order):
            here = is_masked if number is None else hidden[number]
            up = is_masked if above is None else hidden[above]
            k = self.k["token" if number is None else levels[number]][0]
            if place == 0:
                streams.append(single_stream(here, k, number))
            elif above is not None and (self.unit if number is None else self.type_unit) == "node":
                begins, _, _ = self._code(levels[above]).decode(types_t[..., above])
                streams.append(_nodes(here, up, begins == 1, k, number))
            else:
                streams.append(single_stream(here & ~up, k, number))
            above = number
        if len(self.k["token"]) > 1:
            streams[-1] = self._by_salience(streams[-1], types_t[..., -1])
        return streams

    def _by_salience(self, stream: VisibleStream, shown: Tensor) -> VisibleStream:
        """The token stream with the speeds of the visible salience buckets, averaged over a unit."""
        _, _, bucket = self._code(self.levels[-1]).decode(shown)
        return replace(stream, speed=_mean_in_units(self.k["token"], bucket, stream.units))


def _nodes(here: Tensor, up: Tensor, begins: Tensor, k: float, number: int | None) -> VisibleStream:
    """Units cut by the visible boundaries above; a hidden boundary cuts too, and blocks both its sides."""
    begins = begins | up
    begins[:, 0] = True
    units = begins.long().cumsum(1) - 1
    follows = torch.zeros_like(up)
    follows[:, :-1] = up[:, 1:]
    open_ = (up | follows).long()
    blocked = torch.zeros_like(units).scatter_reduce(1, units, open_, "amax").gather(1, units) > 0
    speed = torch.full(here.shape, k, dtype=torch.float64, device=here.device)
    return VisibleStream(units, speed, here & ~blocked, number)


def _mean_in_units(speeds: Sequence[float], bucket: Tensor, units: Tensor) -> Tensor:
    """Speed of each position by its bucket, averaged over its unit, float64 (B, L)."""
    speed = torch.tensor(speeds, dtype=torch.float64, device=units.device)[bucket]
    mean = torch.zeros_like(speed).scatter_reduce(1, units, speed, "mean", include_self=False)
    return mean.gather(1, units)
