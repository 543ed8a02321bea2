"""SoftMasking: between a token and its mask stand the classes of the token.

Dimensions: B batch, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

import torch
from torch import Tensor

from hdiff.corruption.arguments import Count, check_k
from hdiff.corruption.base import TokenClasses, UnitLengths
from hdiff.corruption.cascade import Cascade, Stream
from hdiff.corruption.type_code import TypeCode
from hdiff.corruption.visible_streams import VisibleStream, single_stream
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads.class_factors import check_tables
from hdiff.schedules import Schedule
from hdiff.structure import level_rank

Classes = Literal["clusters", "random", "syntax"] | Mapping[str, Any]
Tables = Sequence[int] | Sequence[Sequence[int]]
"""Class of each token id, length V; of several nested levels, coarse to fine, one table each."""


@final
class SoftMasking(Cascade):
    """Corruption in small steps: token -> class -> mask, and back: mask -> class -> token.

    Nested classes make it mask -> coarse class -> finer class ... -> token.

    The intermediate state keeps part of the information ("smooth corruption" with "tractable intermediate
    states", arXiv:2512.22630). `clusters` and `random` are functions of the token id, so they cost nothing in
    the likelihood: -log p(x_0, classes) = -log p(x_0). `syntax` shows the label of a level, which depends on
    the context: the bound is one on -log p(x_0, labels). Source of the
    two-step state: HDLM (github.com/zhouc20/HDLM).

    Args:
        classes: `clusters` (of tokens with similar neighbours, learned from the training split), `random`
            (the control: the same sizes), or `syntax`; or `{kind: name, sizes: [16, 128]}` of
            `hdiff.data.token_classes.CLASSES`, all of them functions of the token id, in several levels.
        num_classes: Classes, where `classes` is a name; for `syntax` the labels that are told apart.
        level: Level of the labels for `syntax`.
        class_k: Speed at which a class is masked, or gives way to the coarser one.
        token_k: Speed at which a token gives way to its class.
        table: Class of each token, length V, or one table per level; None has it filled in by the trainer.
        mask_id: See `Corruption`.
        schedule: See `Corruption`.
        count: See `Cascade`.
    """

    def __init__(
        self,
        *,
        classes: Classes = "clusters",
        num_classes: int = 64,
        level: str = "word",
        class_k: float = 1.0,
        token_k: float = 1.0,
        table: Tables | None = None,
        mask_id: int | None = None,
        schedule: Schedule | None = None,
        count: Count = "exact",
    ) -> None:
        super().__init__(mask_id=mask_id, schedule=schedule, count=count)
        if not isinstance(classes, Mapping) and classes not in ("clusters", "random", "syntax"):
            raise DataError(f"classes is '{classes}'; use 'clusters', 'random' or 'syntax'")
        level_rank(level)
        if num_classes < 2:
            raise DataError(f"num_classes is {num_classes}; give at least 2")
        self.classes, self.num_classes, self.level = classes, num_classes, level
        self.class_k, self.token_k = check_k(class_k, "class_k"), check_k(token_k, "token_k")
        self.tables = () if table is None else self._levels(table)
        self.parents = _parents(self.tables)

    def _levels(self, table: Tables) -> tuple[tuple[int, ...], ...]:
        if table and not isinstance(table[0], int):
            return tuple(tuple(level) for level in table)  # type: ignore[arg-type]
        flat: tuple[int, ...] = tuple(table)  # type: ignore[arg-type]
        size = max(flat, default=0) + 1 if isinstance(self.classes, Mapping) else self.num_classes
        if not flat or min(flat) < 0 or max(flat) >= size:
            raise DataError(
                f"table has the classes {sorted(set(flat))[:8]}, num_classes is {size}; give "
                f"a number below it for every token id"
            )
        return (flat,)

    @property
    def table(self) -> tuple[int, ...] | None:
        """Finest class of each token; None if it is not filled in yet."""
        return self.tables[-1] if self.tables else None

    @property
    def class_spec(self) -> dict[str, Any]:
        """Which classes of token ids a trainer fills in, `{kind: name, ...}`."""
        if isinstance(self.classes, Mapping):
            return dict(self.classes)
        return {"kind": self.classes, "sizes": [self.num_classes]}

    @property
    def is_lexical(self) -> bool:
        """Whether a token's class is a function of its id."""
        return self.classes != "syntax"

    @property
    def type_codes(self) -> tuple[tuple[str, TypeCode], ...]:
        if isinstance(self.classes, Mapping):
            sizes = [max(level) + 1 for level in self._filled_in()]
        elif self.is_lexical:
            sizes = [self.num_classes]
        else:
            return ((self.level, TypeCode(num_labels=self.num_classes)),)
        return tuple(("token", TypeCode(num_labels=size - 1, is_lexical=True)) for size in sizes)

    def _filled_in(self) -> tuple[tuple[int, ...], ...]:
        if not self.tables:
            raise DataError("the table of token classes is not filled in yet; call with_table(...) first")
        return self.tables

    def required_levels(self) -> tuple[str, ...]:
        return () if self.is_lexical else (self.level,)

    def unconditional(self) -> SoftMasking:
        return self

    def network_options(self, vocab_size: int) -> dict[str, Any]:
        classes = None if self.table is None or not self.is_lexical else torch.tensor(self.table)
        options = super().network_options(vocab_size)
        return {**options, "token_classes": classes, "class_parents": self.parents}

    def with_statistics(
        self, *, unit_lengths: UnitLengths | None = None, token_classes: TokenClasses | None = None
    ) -> SoftMasking:
        if not self.is_lexical or self.tables or token_classes is None:
            return self
        return self.with_table(token_classes(self))

    def with_table(self, table: Tables) -> SoftMasking:
        """The same corruption with the class of each token id filled in."""
        tables = self._levels(table)
        return self.changed(tables=tables, parents=_parents(tables))

    def visible_streams(self, is_masked: Tensor, types_t: Tensor) -> list[VisibleStream]:
        streams, above = [], torch.zeros_like(is_masked)
        for number, size in enumerate(self.type_sizes):
            here = types_t[..., number] == size
            streams.append(single_stream(here & ~above, self.class_k, number))
            above = here
        return [*streams, single_stream(is_masked & ~above, self.token_k, None)]

    def streams(self, batch: Batch) -> Sequence[Stream]:
        units = batch.units("token")
        if self.is_lexical:
            types = [torch.tensor(level, device=units.device)[batch.input_ids] for level in self._filled_in()]
        elif self.level in batch.labels:
            types = [batch.labels[self.level].clamp(max=self.num_classes)]
        else:
            raise DataError(
                f"classes 'syntax' needs labels of level '{self.level}', the batch has "
                f"{sorted(batch.labels) or 'none'}; prepare it with that level:",
                f"hdiff prepare SOURCE --out DATA --levels {self.level}",
            )
        like = torch.ones(units.shape, dtype=torch.float64, device=units.device)
        classes = [Stream(units, self.class_k * like, level) for level in types]
        return [*classes, Stream(units, self.token_k * like)]


def _parents(tables: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    return check_tables(tables, len(tables[0])) if len(tables) > 1 else []
