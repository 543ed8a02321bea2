"""An update asks the device for few answers: on a GPU each is a wait for all that was begun before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hdiff.recipe import load_recipe
from hdiff.training.build import build_training
from hdiff.training.update import Updates

RECIPE = """
name: waiting
output: {output}
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6}}
model: {{width: 16, depth: 2, num_heads: 2}}
head: {{kind: autoregressive, num_heads: 2, num_layers: 3}}
corruption: {{kind: span_masking, segmentation: mixture, level: phrase, lengths: corpus}}
train: {{steps: 4, batch_size: 4, warmup_steps: 2, ema_decay: 0.9}}
"""
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_consecutive", "equal"}
"""Operators whose result, or its size, the program must know before it goes on."""


class Waits(TorchDispatchMode):
    """Counts the operators that wait; indices by masks are `nonzero` on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        indices = args[1] if name.startswith("index") and len(args) > 1 else ()
        masks = isinstance(indices, (list, tuple)) and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in indices
        )
        if name in WAITING or masks:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def test_an_update_waits_a_fixed_number_of_times(
    tmp_path: Path, prepared_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks of the batch, padding, two sizes in packing, span lengths once for all layers, loss, norm."""
    file = tmp_path / "waiting.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "run", data=prepared_folder))
    update = Updates(build_training(load_recipe(file)))
    update(1)
    copies: list[int] = []
    tolist = torch.Tensor.tolist

    def counted(tensor: torch.Tensor) -> Any:
        copies.append(tensor.numel())
        return tolist(tensor)

    monkeypatch.setattr(torch.Tensor, "tolist", counted)
    with Waits() as waits:
        update(2)
    # Of the scalars two are on the CPU anyway: the end of the schedule, and the signal among the sums.
    assert waits.found == {"_local_scalar_dense": 3 + 2, "nonzero": 2}
    assert len(copies) == 2, "lengths of spans, and the sums over all processes"
