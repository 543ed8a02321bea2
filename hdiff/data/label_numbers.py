"""Numbers of labels: how models count the categories of a data set's spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hdiff.data.packing import label_order

if TYPE_CHECKING:
    from hdiff.data.prepared import PreparedData


def label_numbers(names: Sequence[str], prepared: PreparedData) -> NDArray[np.int16]:
    """Numbers that a data set gives to labels: 1 to the most frequent one of its training split.

    Args:
        names: Labels, of this or of another data set.
        prepared: The data set whose numbers count.

    Returns:
        A number for each label; those that its training split lacks share the number after all others.
    """
    order = label_order(prepared)
    known = dict(zip(prepared.manifest["labels"], order.tolist(), strict=False))
    return np.array([known.get(name, len(order) + 1) for name in names], dtype=np.int16)
