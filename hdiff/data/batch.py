"""Batch: packed token sequences with their units per level.

Dimensions: B batch, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hdiff.errors import DataError
from hdiff.packed_spans import true_places


@dataclass(frozen=True)
class Problem:
    """What may be wrong with a batch.

    Attributes:
        message: What to say then.
        is_present: Whether it is, bool ().
        name: Name of the values that are shown with it; empty for none.
        values: These values.
    """

    message: str
    is_present: Tensor
    name: str = ""
    values: Tensor | None = None

    def __str__(self) -> str:
        if self.values is None:
            return self.message
        return f"{self.name} lies in [{self.values.min():g}, {self.values.max():g}]; {self.message}"


Problems = Callable[["Batch"], list[Problem]]
"""What may be wrong with the structure of a batch."""


@dataclass(frozen=True)
class Known:
    """What was found out about a batch while it was on the host: to ask a GPU is to wait for it.

    Attributes:
        vocab_size: Its structure is sound, and its token ids are below this.
        is_padded: Whether any row has padding.
        num_real: Tokens that are no padding.
        num_tokens: Tokens that are scored.
        most_free: Free tokens of the row that has most.
        highest_bucket: Highest bucket of salience, -1 without buckets.
    """

    vocab_size: int
    is_padded: bool
    num_real: int
    num_tokens: int
    most_free: int
    highest_bucket: int


@dataclass(frozen=True)
class Batch:
    """Clean token sequences x_0 and what is known of their structure.

    Attributes:
        input_ids: Clean tokens x_0, long (B, L).
        token_mask: True at real tokens, False at padding (always a suffix), bool (B, L).
        unit_ids: For each level the unit a token belongs to, long (B, L): 0, 0, 1, 2, 2 ...,
            contiguous and non-decreasing within a row.
        labels: For each level the label of the unit a token belongs to, 0 for none, long (B, L).
        salience: Salience of the word a token belongs to, or of the token id, in [0, 1], float (B, L).
        salience_buckets: Bucket of that salience, 0 the least salient, long (B, L).
        sample_ids: Position of each row in the data set, long (B,); seeds its noise.
        document_ids: Document of each token, contiguous in a row, -1 at padding, long (B, L); None: nobody
            asked for documents to be kept apart.
        targets: Name -> what supervision predicts of each token, long (B, L); nothing else may read it.
        given: Tokens of a prompt, which are never hidden and never scored, bool (B, L); None: none are.
        answer_lengths: Tokens of each answer, its end not counted, long (B,); None without prompts.
        known: What `checked` found; None: nobody asked yet.
    """

    input_ids: Tensor
    token_mask: Tensor
    unit_ids: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    salience: Tensor | None = None
    salience_buckets: Tensor | None = None
    sample_ids: Tensor | None = None
    document_ids: Tensor | None = None
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    given: Tensor | None = None
    answer_lengths: Tensor | None = None
    known: Known | None = None

    @classmethod
    def of(cls, input_ids: Tensor) -> Batch:
        """A batch of plain token ids, long (B, L), without padding or structure."""
        check_token_ids(input_ids)
        return cls(input_ids=input_ids, token_mask=torch.ones_like(input_ids, dtype=torch.bool))

    @property
    def free_mask(self) -> Tensor:
        """Real tokens that are not given: those that are hidden and scored, bool (B, L)."""
        return self.token_mask if self.given is None else self.token_mask & ~self.given

    @property
    def num_tokens(self) -> Tensor:
        """Tokens that are scored, a scalar tensor."""
        return self.free_mask.sum()

    @property
    def counted_tokens(self) -> Tensor:
        """Tokens that nats are divided by, long (B,): of an answer its own and one end, however it ends."""
        return self.token_mask.sum(1) if self.answer_lengths is None else self.answer_lengths + 1

    @property
    def is_padded(self) -> bool | None:
        """Whether any row has padding; None: nobody asked yet."""
        return None if self.known is None else self.known.is_padded

    def units(self, level: str) -> Tensor:
        """Unit ids, long (B, L), of `token` or a level the data set keeps."""
        if level == "token":
            return torch.arange(self.input_ids.shape[1], device=self.input_ids.device).expand_as(
                self.input_ids
            )
        if level not in self.unit_ids:
            raise DataError(
                f"corruption needs level '{level}', the data set keeps {sorted(self.unit_ids) or 'none'}; "
                f"prepare it with that level:",
                f"hdiff prepare SOURCE --out DATA --levels {','.join((*sorted(self.unit_ids), level))}",
            )
        return self.unit_ids[level]

    @property
    def highest_bucket(self) -> int:
        """Highest bucket of salience, -1 without buckets."""
        if self.known is not None:
            return self.known.highest_bucket
        return -1 if self.salience_buckets is None else int(self.salience_buckets.max())

    def real(self, values: Tensor) -> Tensor:
        """Values of the N tokens that are no padding, (B, L, ...) -> (N, ...)."""
        if self.known is None:
            return values[self.token_mask]
        if not self.known.is_padded:
            return values.flatten(0, 1)
        return values.flatten(0, 1)[true_places(self.token_mask, self.known.num_real)]

    def checked(self, vocab_size: int, structure: Problems | None = None) -> Batch:
        """This batch with what must be known of it, so that the device it goes to is not asked.

        Args:
            vocab_size: Ids of tokens are below this.
            structure: See `check`.

        Returns:
            The same tensors, and `known`.

        Raises:
            DataError: As `check`, or if all tokens of a row are given.
        """
        self.check(self.unknown_ids(vocab_size), structure=structure)
        check_free(self.free_mask)
        free = self.free_mask.sum(1)
        num_real = int(self.token_mask.sum())
        known = Known(
            vocab_size,
            is_padded=num_real < self.token_mask.numel(),
            num_real=num_real,
            num_tokens=int(free.sum()),
            most_free=int(free.max()),
            highest_bucket=self.highest_bucket,
        )
        return replace(self, known=known)

    def unknown_ids(self, vocab_size: int) -> Problem:
        """Ids of real tokens that a model of V tokens does not have, as something that may be wrong."""
        ids = self.input_ids
        is_outside = ((ids < 0) | (ids >= vocab_size)) & self.token_mask
        return Problem(f"the model's tokens are 0 to {vocab_size - 1}", is_outside.any(), "token id", ids)

    def check(self, *also: Problem, structure: Problems | None = None) -> None:
        """Refuses structure that is not one, or not what `structure` asks, before any work on the tokens."""
        check_token_ids(self.input_ids)
        for level, ids in self.unit_ids.items():
            if ids.shape != self.input_ids.shape:
                raise DataError(
                    f"units of level '{level}' have shape {tuple(ids.shape)}, the tokens "
                    f"{tuple(self.input_ids.shape)}; give every token its unit"
                )
        problems = [*also, *self._problems(), *([] if structure is None else structure(self))]
        # One answer for all: on a GPU each would wait for the device.
        if bool(torch.stack([problem.is_present for problem in problems]).any()):
            raise DataError(str(next(problem for problem in problems if bool(problem.is_present))))

    def _problems(self) -> list[Problem]:
        problems = [Problem("a row of the batch is all padding; drop it", ~self.token_mask.any(1).all())]
        text_ends = self.token_mask[:, 1:] != self.token_mask[:, :-1]
        for level, ids in self.unit_ids.items():
            step = ids.diff(dim=1)
            problems += [
                Problem(
                    f"units of level '{level}' overlap or leave gaps; number them 0, 0, 1, 2, 2 ... along a "
                    f"row",
                    (ids[:, 0] != 0).any() | ((step != 0) & (step != 1)).any(),
                ),
                Problem(
                    f"a unit of level '{level}' exceeds the text of its row; end it at the last real token",
                    ((step == 0) & text_ends).any(),
                ),
            ]
        if (scores := self.salience) is not None:
            is_outside = ~((scores >= 0) & (scores <= 1)).all()
            problems.append(Problem("it is a score in [0, 1]", is_outside, "salience", scores))
        return problems

    def to(self, device: torch.device | str) -> Batch:
        """Copies every tensor to a device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return replace(
            self,
            input_ids=self.input_ids.to(device, non_blocking=True),
            token_mask=self.token_mask.to(device, non_blocking=True),
            unit_ids={level: ids.to(device, non_blocking=True) for level, ids in self.unit_ids.items()},
            labels={level: ids.to(device, non_blocking=True) for level, ids in self.labels.items()},
            salience=move(self.salience),
            salience_buckets=move(self.salience_buckets),
            sample_ids=move(self.sample_ids),
            document_ids=move(self.document_ids),
            targets={name: values.to(device, non_blocking=True) for name, values in self.targets.items()},
            given=move(self.given),
            answer_lengths=move(self.answer_lengths),
        )


def check_free(is_free: Tensor) -> None:
    """Raises DataError if a row, bool (B, L), has no free token."""
    if not bool(is_free.any(1).all()):
        raise DataError("all tokens of a row are given; leave at least one to predict")


def check_token_ids(input_ids: object) -> None:
    """Raises DataError unless these are token ids, long (B, L), at least one."""
    if not isinstance(input_ids, Tensor):
        raise DataError(f"token ids are {type(input_ids).__name__}; give a tensor: torch.as_tensor(ids)")
    if input_ids.dtype != torch.long:
        raise DataError(f"token ids are {input_ids.dtype}; give whole numbers of 64 bits: ids.long()")
    if input_ids.ndim != 2 or not input_ids.numel():
        raise DataError(
            f"token ids have shape {tuple(input_ids.shape)}; give (rows, tokens), at least one: ids[None] "
            f"makes a row"
        )
