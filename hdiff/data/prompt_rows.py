"""PromptRows: a row for each document with a prompt, whose tokens are given. No torch.

A row is an end-of-text token, the prompt, the answer, and its end.
Dimensions: N documents, L tokens of a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdiff.data.token_stream import TokenStream
from hdiff.errors import DataError
from hdiff.value_types import AnswerEnd

NUM_ENDS = 2
"""A row has an end-of-text token before the prompt and one behind the answer."""


@dataclass(frozen=True)
class PromptRows:
    """Documents as rows.

    Attributes:
        stream: Their tokens, row after row; (N * L,).
        is_given: Tokens that are never hidden, bool (N * L,).
        is_real: Tokens that are no padding, bool (N * L,).
        answer_lengths: Tokens of each answer without its end, int64 (N,).
    """

    stream: TokenStream
    is_given: NDArray[np.bool_]
    is_real: NDArray[np.bool_]
    answer_lengths: NDArray[np.int64]

    def num_free(self, row: int) -> int:
        """Tokens of a row that are hidden and scored."""
        length = len(self.is_real) // len(self.answer_lengths)
        places = slice(row * length, (row + 1) * length)
        return int((self.is_real[places] & ~self.is_given[places]).sum())

    @classmethod
    def of_stream(
        cls,
        stream: TokenStream,
        *,
        eos_id: int,
        sequence_length: int,
        answer_end: AnswerEnd,
        drop_long: bool = False,
        block_size: int | None = None,
    ) -> PromptRows:
        """Lays documents out.

        Args:
            stream: Documents end to end: prompt, end-of-text token, answer, end-of-text token each.
            eos_id: The end-of-text token.
            sequence_length: Tokens of a row L.
            answer_end: How answers end.
            drop_long: Whether documents that do not fit are left out.
            block_size: Tokens of a block that answers begin with; None: they begin anywhere.

        Returns:
            The rows.

        Raises:
            DataError: If a document does not fit and none is to be left out, or none does.
        """
        starts = np.flatnonzero(stream.document_starts)
        ends = np.append(starts[1:], len(stream)) - 1  # the token behind each answer
        separators = np.flatnonzero(stream.tokens == eos_id)
        borders = separators[np.searchsorted(separators, ends) - 1]
        prompts, answers = borders - starts, ends - borders - 1
        assert bool((borders >= starts).all() and (answers > 0).all()), (
            "the data set was prepared with prompts"
        )
        front = 1 + (-(1 + prompts)) % (block_size or 1)
        widths = front + prompts + answers + 1
        fits = widths <= sequence_length
        if not fits.all():
            check_room(fits, widths, sequence_length, drop_long=drop_long)
            starts, ends, borders, front = starts[fits], ends[fits], borders[fits], front[fits]
            prompts, answers, widths = prompts[fits], answers[fits], widths[fits]
        place = np.arange(sequence_length)[None]  # (1, L)
        first = (front + prompts)[:, None]  # (N, 1): where each answer begins
        source = np.where(
            place < front[:, None],
            borders[:, None],
            np.where(
                place < first, starts[:, None] + place - front[:, None], borders[:, None] + 1 + place - first
            ),
        )
        source = np.minimum(source, ends[:, None])
        last = (widths - 1)[:, None]
        is_real = np.ones(source.shape, dtype=np.bool_) if answer_end == "padding" else place <= last
        is_given = (place < first) | ((place == last) if answer_end == "length" else False)
        return cls(stream.taken(source.ravel(), rows=len(source)), is_given.ravel(), is_real.ravel(), answers)


def check_room(
    fits: NDArray[np.bool_], widths: NDArray[np.int64], sequence_length: int, *, drop_long: bool
) -> None:
    """Refuses documents that are longer than a row, unless they may be left out.

    Args:
        fits: Which fit, bool (N,).
        widths: Tokens of each with its ends, (N,).
        sequence_length: Tokens of a row.
        drop_long: Whether they may be left out.

    Raises:
        DataError: Saying how many there are, and how long a row must be.
    """
    count, longest = int((~fits).sum()), int(widths.max())
    if drop_long and fits.any():
        return
    reason = (
        f"{count:,} of {len(fits):,} documents do not fit into data.sequence_length {sequence_length}: the "
        f"longest has {longest:,} tokens with its prompt and ends"
    )
    if drop_long:
        raise DataError(f"{reason}, and none is left; give longer rows:", f"data.sequence_length={longest}")
    raise DataError(
        f"{reason}; give longer rows, or leave them out:",
        f"data.sequence_length={longest}",
        "data.drop_long=true",
    )
