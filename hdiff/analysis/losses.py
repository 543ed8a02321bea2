"""Losses: -log p of every token that a run predicts, with where it stands, on held-out rows.

Dimensions: N tokens, R rows, L tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdiff.analysis.groups import Grouping, by_length
from hdiff.analysis.states import State
from hdiff.evaluation.bounds import ratio_estimate


@dataclass(frozen=True)
class TokenLosses:
    """Tokens that were predicted; a token of a row occurs once for every time at which it was hidden.

    Attributes:
        nats: -log p, float64 (N,).
        row: Place of the row among the rows analysed, long (N,).
        column: Position in the row, long (N,).
        time: t, float64 (N,); 1 for a model without times.
        span_length: Tokens that were predicted together with it, long (N,).
    """

    nats: Tensor
    row: Tensor
    column: Tensor
    time: Tensor
    span_length: Tensor

    @classmethod
    def of_state(cls, state: State, nats: Tensor) -> TokenLosses:
        """Losses of a state, on the CPU, of -log p of its packed tokens, float (P,)."""
        spans = state.corrupted.spans
        return cls(
            nats.double().cpu(),
            state.row.cpu(),
            state.column.cpu(),
            torch.full(nats.shape, state.time, dtype=torch.float64),
            spans.length[spans.span_index].cpu(),
        )

    @classmethod
    def joined(cls, parts: Sequence[TokenLosses]) -> TokenLosses:
        """All losses in one."""
        return cls(
            *(
                torch.cat([getattr(part, name) for part in parts])
                for name in ("nats", "row", "column", "time", "span_length")
            )
        )


def loss_tables(losses: TokenLosses, groupings: Sequence[Grouping], num_rows: int) -> dict[str, Any]:
    """Mean losses of all tokens, by time, and by group.

    Args:
        losses: The losses.
        groupings: Which tokens belong together.
        num_rows: Rows R that were analysed.

    Returns:
        `all`, `by_time` (one entry per time) and `groups`, JSON-able; an entry has `mean` in nats per token,
        `stderr` over rows (null if only one row has such tokens) and `tokens`, the number of predictions.
    """
    everything = torch.ones_like(losses.row, dtype=torch.bool)
    groups = [
        {
            "name": grouping.name,
            "rows": [
                {"label": name, **entry}
                for name, members in grouping.members.items()
                if (entry := _entry(losses, _inside(losses, members), num_rows)) is not None
            ],
        }
        for grouping in groupings
    ]
    together = by_length(losses.span_length.numpy())
    if int(losses.span_length.max()) > 1:
        rows = [
            {"label": name, **entry}
            for name, members in together.items()
            if (entry := _entry(losses, torch.from_numpy(members), num_rows)) is not None
        ]
        groups.append({"name": "tokens predicted together", "rows": rows})
    times = sorted(set(losses.time.tolist()))
    return {
        "all": _entry(losses, everything, num_rows),
        "by_time": [{"t": time, **(_entry(losses, losses.time == time, num_rows) or {})} for time in times],
        "groups": [group for group in groups if group["rows"]],
    }


def _inside(losses: TokenLosses, members: NDArray[np.bool_]) -> Tensor:
    return torch.from_numpy(members)[losses.row, losses.column]


def _entry(losses: TokenLosses, chosen: Tensor, num_rows: int) -> dict[str, Any] | None:
    """The mean over some tokens; the rows are what is independent. None if there is no token."""
    if not bool(chosen.any()):
        return None
    rows, values = losses.row[chosen], losses.nats[chosen]
    zeros = torch.zeros(num_rows, dtype=torch.float64)
    tokens = zeros.index_add(0, rows, torch.ones_like(values))
    estimate = ratio_estimate(zeros.index_add(0, rows, values), tokens)
    has_error = int((tokens > 0).sum()) > 1
    return {
        "mean": estimate.nats_per_token,
        "stderr": estimate.stderr if has_error else None,
        "tokens": estimate.tokens,
    }
