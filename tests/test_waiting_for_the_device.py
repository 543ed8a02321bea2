"""Waiting for the device: how often an update needs numbers on the host before it can go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from hdiff.data.batch import Batch
from hdiff.recipe import load_recipe
from hdiff.training.build import Training, build_training
from hdiff.training.update import Updates

BASE = """
name: waiting
output: {output}
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6, salience_buckets: 2}}
model: {{width: 16, depth: 2, num_heads: 2}}
train: {{steps: 4, batch_size: 4, warmup_steps: 2, ema_decay: 0.9}}
"""
SPANS = "corruption: {kind: span_masking, segmentation: mixture, level: phrase, lengths: corpus}\n"
TYPES = "corruption: {kind: tree_cascade, levels: [phrase, word], types: [boundary, label]}\n"
FAMILIES = {
    "tokens": "corruption: {kind: token_masking}",
    "tokens on their own": "corruption: {kind: token_masking, count: bernoulli}",
    "spans": SPANS + "head: {kind: autoregressive, num_heads: 2, num_layers: 3}",
    "spans that see the row": SPANS + "head: {kind: autoregressive, num_heads: 2, sees_row: true}",
    "mixture head": SPANS + "head: {kind: mixture}",
    "chain of tokens": SPANS + "head: {kind: crf}",
    "types": TYPES + "head: {kind: autoregressive, num_heads: 2}",
    "rates": "corruption: {kind: rate_matched, k: [1, 2]}",
    "learned rates": "corruption: {kind: learned_rates}",
    "blocks": "corruption: {kind: block_masking, block_size: 8}",
    "uniform states": "corruption: {kind: uniform_state}",
    "gaussian": "corruption: {kind: gaussian}",
    "planner": SPANS + "planner: {level: phrase}",
    "left to right": "model: {kind: autoregressive, width: 16, depth: 2, num_heads: 2}",
    "labels": "corruption: {kind: token_masking}\nsupervision: {kind: labels}",
}


class Device(TorchDispatchMode):
    """Knows which tensors a GPU would hold, and counts how often the host asks for their numbers.

    What is computed from a tensor on the device is there, too; copies to the host are not.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, training: Training) -> None:
        super().__init__()
        self.held: WeakIdKeyDictionary[Tensor, bool] = WeakIdKeyDictionary()
        self.waits: list[str] = []
        state = training.state
        for held in (*training.loss.state_dict(keep_vars=True).values(), *state.average.model.parameters()):
            self.held[held] = True
        to = Batch.to

        def moved(batch: Batch, device: torch.device | str) -> Batch:
            there = to(batch, device)
            for value in vars(there).values():
                for tensor in value.values() if isinstance(value, Mapping) else [value]:
                    if isinstance(tensor, Tensor):
                        self.held[tensor] = True
            return there

        monkeypatch.setattr(Batch, "to", moved)
        for name in ("cpu", "tolist", "numpy"):
            monkeypatch.setattr(Tensor, name, self._asked(name, getattr(Tensor, name)))

    def _asked(self, name: str, ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked(tensor: Tensor, *args: Any) -> Any:
            if tensor not in self.held:
                return ask(tensor, *args)
            self.waits.append(name)
            return ask(torch.from_numpy(NUMPY(tensor.detach()).copy()), *args)

        return asked

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        flat = torch.utils._pytree.tree_leaves((args, kwargs))
        is_there = any(isinstance(one, Tensor) and one in self.held for one in flat)
        indices = args[1] if name.startswith("index") and len(args) > 1 else ()
        masks = isinstance(indices, (list, tuple)) and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in indices
        )
        if is_there and (name in WAITING or masks):
            self.waits.append(name)
        found = func(*args, **(kwargs or {}))
        for one in torch.utils._pytree.tree_leaves(found) if is_there else []:
            if isinstance(one, Tensor):
                self.held[one] = True
        return found


NUMPY = Tensor.numpy
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_consecutive", "equal"}
"""Operators whose result, or its size, the program must know before it goes on."""


def waits(recipe: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the second update of a recipe waits for."""
    file = folder / "waiting.yaml"
    file.write_text(yaml.safe_dump(recipe))
    training = build_training(load_recipe(file))
    update = Updates(training)
    update(1)
    with monkeypatch.context() as patched, Device(patched, training) as device:
        update(2)
    return device.waits


@pytest.mark.parametrize("family", FAMILIES)
def test_an_update_waits_twice(
    family: str, tmp_path: Path, prepared_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the sizes of what is packed, and for the loss and the norm, which may skip the update."""
    base = BASE.format(output=tmp_path / "run", data=prepared_folder)
    recipe = {**yaml.safe_load(base), **yaml.safe_load(FAMILIES[family])}
    found = waits(recipe, tmp_path, monkeypatch)
    assert found == (["tolist"] if family == "left to right" else ["cpu", "tolist"])
