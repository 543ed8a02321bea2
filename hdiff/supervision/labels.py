"""LabelSupervision: one linear map says of each token what a parser says of it.

Dimensions: B batch, L tokens, D width, N real tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdiff.data.batch import Batch
from hdiff.data.token_targets import LABEL_TARGETS, TargetSpec, target_size
from hdiff.errors import RecipeError, nearest
from hdiff.supervision.base import Supervision

LEXICAL = ("clusters", "random")
"""Kinds of classes of token ids that are targets too: they need no parser."""


@final
class LabelSupervision(Supervision):
    """loss = mean over targets and real tokens of -log softmax(W h_i + b)[target_i].

    Hidden and visible tokens count alike, and W and b begin as zeros. `clusters:64` stands for the class of
    the token's id among 64 distributional classes, `random:64` for as many drawn at random: several sizes at
    once are as rich as a parser's labels and need none, which makes them the control.

    Args:
        width: Width of the trunk D.
        targets: Any of `pos`, `tag` (finer), `relation` (to the word's head), `phrase`, `parent`, `opens`,
            `closes`; or classes of token ids, `clusters:N` and `random:N`.
        weight: Weight beside the bound.
        trees: `parsed`; or, as a control, `random`, `shuffled`, `balanced` or `right_branching` trees over
            the same words.
        num_labels: Labels of a kind that are told apart, 0 for none; rarer labels count as the last.
        table: Gives the class of each token id, length V, for a kind and a number of classes.
    """

    def __init__(
        self,
        width: int,
        *,
        targets: Sequence[str] = ("pos", "phrase", "opens", "closes"),
        weight: float = 1.0,
        trees: str = "parsed",
        num_labels: int = 20,
        table: Callable[[str, int], Sequence[int]] | None = None,
    ) -> None:
        super().__init__(weight, trees)
        if num_labels < 2:
            raise RecipeError(f"num_labels is {num_labels}; give at least 2: none and one more")
        sizes = {name: _size(name, num_labels) for name in targets}
        if not sizes or len(sizes) < len(targets):
            raise RecipeError(f"targets is {list(targets)}; name each target once, and at least one")
        self.sizes = sizes
        parsed = tuple(name for name in targets if name in LABEL_TARGETS)
        self._spec = TargetSpec(parsed, trees, num_labels) if parsed else None
        if trees != "parsed" and self._spec is None:
            raise RecipeError(f"trees is '{trees}', but targets {list(targets)} are of no tree; leave it out")
        for name in sizes:
            if name not in LABEL_TARGETS:
                assert table is not None, "classes of token ids are learned from a text"
                kind, _, number = name.partition(":")
                classes = torch.tensor(table(kind, int(number)))
                self.register_buffer(_buffer(name), classes)
        self.predict = nn.Linear(width, sum(sizes.values()))
        nn.init.zeros_(self.predict.weight)
        nn.init.zeros_(self.predict.bias)

    @property
    def spec(self) -> TargetSpec | None:
        return self._spec

    def forward(self, hidden: Tensor, batch: Batch) -> Tensor:
        scores = self.predict(batch.real(hidden)).float().split(list(self.sizes.values()), -1)  # (N, .)
        losses = [
            F.cross_entropy(of_target, batch.real(self._values(batch, name)))
            for name, of_target in zip(self.sizes, scores, strict=True)
        ]
        return torch.stack(losses).mean()

    def _values(self, batch: Batch, name: str) -> Tensor:
        if name in LABEL_TARGETS:
            return self.target(batch, name)
        classes: Tensor = getattr(self, _buffer(name))
        return classes[batch.input_ids]


def _buffer(name: str) -> str:
    return f"classes_{name.replace(':', '_')}"


def _size(name: str, num_labels: int) -> int:
    """Values of a target, from 0."""
    kind, colon, number = name.partition(":")
    if kind in LEXICAL and colon and number.isdigit() and int(number) >= 2:
        return int(number)
    if name not in LABEL_TARGETS:
        known = [*LABEL_TARGETS, *(f"{kind}:N" for kind in LEXICAL)]
        raise RecipeError(
            f"no target '{name}'{nearest(name, known)} (known: {', '.join(known)}; N is a number "
            f"of classes of token ids, at least 2)"
        )
    return target_size(name, num_labels)
