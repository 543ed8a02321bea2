"""ClassFactors: the class of a token first, then the token among those of its class.

Dimensions: P packed tokens, D width, V vocabulary, C classes of the finest level.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdiff.errors import RecipeError
from hdiff.heads.sampling import Sampling


def class_by_class(table: Sequence[int]) -> list[int]:
    """Places in the order of their numbers. Plain Python: sorting a meta tensor loads torch's compiler."""
    return sorted(range(len(table)), key=table.__getitem__)


@final
class ClassFactors(nn.Module):
    """p(v | s) = p(c_1 | s) p(c_2 | c_1, s) ... softmax(E s + b)[v] over the tokens of the last class.

    Classes are functions of the token id, so this is a rewriting of one distribution over tokens and costs
    nothing in the likelihood: what changes is which tokens share a score. Several nested levels give the
    output coarse to fine. Each level has one vector and one bias per class. Source: class-based softmax,
    Goodman, arXiv:cs/0108006.

    Args:
        tables: Class of each token id, length V, one table per level, coarse to fine.
        vocab_size: Vocabulary V.
        width: Width of the states D.

    Raises:
        RecipeError: If a table is of another vocabulary, has an empty class, or is not nested.
    """

    table: Tensor
    order: Tensor
    inverse: Tensor
    first: Tensor

    def __init__(self, tables: Sequence[Sequence[int]], vocab_size: int, width: int) -> None:
        super().__init__()
        self.parents = check_tables(tables, vocab_size)
        sizes = [max(table) + 1 for table in tables]
        self.level_sizes = sizes
        self.embedding = nn.Parameter(torch.empty(sum(sizes), width))
        self.bias = nn.Parameter(torch.zeros(sum(sizes)))
        nn.init.normal_(self.embedding, std=width**-0.5)
        order = class_by_class(tables[-1])
        self.counts = [tables[-1].count(number) for number in range(sizes[-1])]
        numbers = {"table": tables[-1], "order": order, "inverse": class_by_class(order)}
        numbers["first"] = [*accumulate(self.counts, initial=0)]
        numbers |= {f"order_{level}": class_by_class(parents) for level, parents in enumerate(self.parents)}
        for name, values in numbers.items():
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def class_log_probs(self, states: Tensor) -> Tensor:
        """log p of the finest classes, float32 (..., D) -> (..., C)."""
        scores = F.linear(states, self.embedding, self.bias).float().split_with_sizes(self.level_sizes, -1)
        log_probs = scores[0].log_softmax(-1)
        for level, parents in enumerate(self.parents):
            order: Tensor = getattr(self, f"order_{level}")
            counts = [parents.count(parent) for parent in range(self.level_sizes[level])]
            log_probs = _within(scores[level + 1], log_probs, order, order.argsort(), counts)
        return log_probs

    def log_probs(self, states: Tensor, scores: Tensor) -> Tensor:
        """log p of every token, float32 (..., V), from states (..., D) and scores (..., V)."""
        classes = self.class_log_probs(states)
        return _within(scores.float(), classes, self.order, self.inverse, self.counts)

    def log_prob(self, states: Tensor, targets: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """log p of one token at each place: only the tokens of its class are scored.

        Args:
            states: What predicts each token, float (P, D).
            targets: The tokens, long (P,).
            weight: Output weights of all tokens, float (V, D).
            bias: Their biases, float (V,).

        Returns:
            Nats <= 0, float32 (P,).
        """
        classes = self.table[targets]
        of_class = self.class_log_probs(states).gather(-1, classes[:, None]).squeeze(-1)
        by_class = classes.argsort(stable=True)
        scored = self._scored(states[by_class], classes, weight, bias)
        places = self.inverse[targets] - self.first[classes]  # among the tokens of the class
        of_each = places[by_class].split_with_sizes([len(scores) for scores in scored])
        inside = [
            -F.cross_entropy(scores, place, reduction="none")
            for scores, place in zip(scored, of_each, strict=True)
        ]
        return of_class + torch.cat(inside)[by_class.argsort()] if inside else of_class

    def draw(
        self, states: Tensor, weight: Tensor, bias: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws the class at each place, then a token of it, from the model as it is.

        Args:
            states: What predicts each token, float (P, D).
            weight: Output weights of all tokens, float (V, D).
            bias: Their biases, float (V,).
            generator: Source of randomness, on the device of `states`.

        Returns:
            Tokens, long (P,).
        """
        sampling = Sampling()
        classes = sampling.draw(self.class_log_probs(states), generator=generator)
        by_class = classes.argsort(stable=True)
        drawn = [
            sampling.draw(scores, generator=generator)
            for scores in self._scored(states[by_class], classes, weight, bias)
        ]
        if not drawn:
            return classes
        return self.order[torch.cat(drawn) + self.first[classes[by_class]]][by_class.argsort()]

    def _scored(self, states: Tensor, classes: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
        """Scores of the tokens of its class for each place, places sorted by class, one tensor per class."""
        wanted = classes.bincount(minlength=len(self.counts)).tolist()
        parts = zip(
            states.split_with_sizes(wanted),
            weight[self.order].split_with_sizes(self.counts),
            bias[self.order].split_with_sizes(self.counts),
            strict=True,
        )
        return [F.linear(state, rows, own).float() for state, rows, own in parts if len(state)]


def _within(
    scores: Tensor, parent_log_probs: Tensor, order: Tensor, inverse: Tensor, counts: list[int]
) -> Tensor:
    """log p(parent) + log softmax of the scores among those of one parent.

    Args:
        scores: float (..., N).
        parent_log_probs: float (..., M).
        order: The N values, those of a parent together, long (N,).
        inverse: Place of each value in `order`, long (N,).
        counts: How many values each of the M parents has.

    Returns:
        float (..., N).
    """
    parents = parent_log_probs.unbind(-1)
    parts = scores[..., order].split_with_sizes(counts, -1)
    log_probs = [
        part.log_softmax(-1) + parent[..., None] for part, parent in zip(parts, parents, strict=True)
    ]
    return torch.cat(log_probs, -1)[..., inverse]


def check_tables(tables: Sequence[Sequence[int]], vocab_size: int) -> list[list[int]]:
    """Refuses tables that are no nested classes of a vocabulary.

    Args:
        tables: Class of each token id, one table per level, coarse to fine.
        vocab_size: Vocabulary V.

    Returns:
        For every level after the first the class of the level before in which each class lies.

    Raises:
        RecipeError: Saying what is wrong and what to do.
    """
    if not tables:
        raise RecipeError("a class table has no level; give the class of each token id for at least one")
    parents: list[list[int]] = []
    for level, table in enumerate(tables, start=1):
        if len(table) != vocab_size:
            raise RecipeError(
                f"level {level} of the class table has {len(table)} token ids, the vocabulary {vocab_size}; "
                f"it is of another tokenizer: learn it from the data set that the model is trained on"
            )
        known = set(table)
        if known != set(range(len(known))):
            raise RecipeError(
                f"level {level} of the class table has classes {min(known)} to {max(known)}, {len(known)} of "
                f"them with a token; number them 0, 1, 2 ... without an empty one"
            )
        if level > 1:
            pairs = dict(sorted(set(zip(table, tables[level - 2], strict=True))))
            if len(set(zip(table, tables[level - 2], strict=True))) > len(pairs):
                raise RecipeError(
                    f"level {level} of the class table is not nested: tokens of one class are in several of "
                    f"level {level - 1}; make each class of a level a part of one class of the level before"
                )
            parents.append([pairs[fine] for fine in range(len(pairs))])
    return parents
