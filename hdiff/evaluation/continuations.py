"""score_continuations: -log p of a part of a text given the rest, by a likelihood that may be compared.

Dimensions: B rows of one call, L tokens of a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from hdiff.corruption import Corruption
from hdiff.errors import DataError
from hdiff.evaluation.scoring import RowScorer, rows_of
from hdiff.factory import DiffusionModel
from hdiff.heads.sampling import GREEDY
from hdiff.models.autoregressive import Autoregressive, as_autoregressive
from hdiff.samplers import AncestralSampler, FillsMasks
from hdiff.seeds import derive_seed


@dataclass(frozen=True)
class Continuation:
    """A row of tokens of which some are to be scored.

    Attributes:
        tokens: The row, a given end-of-text token first.
        first: First token to score, at least 1.
        last: One past the last token to score; what follows is given.
    """

    tokens: tuple[int, ...]
    first: int
    last: int

    @property
    def num_given(self) -> int:
        """Given tokens besides the ends of the text at both sides."""
        return self.first - 1


@dataclass(frozen=True)
class ContinuationScore:
    """What a model says of a continuation.

    Attributes:
        nats: -log p(scored | given), or the mean of estimates of an upper bound on it.
        is_greedy: Whether filling with the likeliest tokens gives exactly this continuation.
    """

    nats: float
    is_greedy: bool


class ContinuationScorer:
    """Scores continuations with a model, as `RowScorer` does.

    Args:
        model: The model, in evaluation mode.
        corruption: What a diffusion model was trained with; None for an autoregressive one.
        draws: Estimates that are averaged.
        num_steps: Steps T; None fills unit by unit.
        rows_per_call: Rows scored together, each estimate of a continuation being one.
        seed: Seed of orders and states.

    Raises:
        DataError: If the model has no likelihood without parsed structure, or a number is out of range.
    """

    def __init__(
        self,
        model: DiffusionModel | Autoregressive,
        corruption: Corruption | None,
        *,
        draws: int = 4,
        num_steps: int | None = None,
        rows_per_call: int = 256,
        seed: int = 0,
    ) -> None:
        for name, value in (("draws", draws), ("rows_per_call", rows_per_call)):
            if value < 1:
                raise DataError(f"{name} is {value}; give at least 1")
        if num_steps is not None and num_steps < 1:
            raise DataError(f"num_steps is {num_steps}; give at least 1, or None to fill unit by unit")
        self.num_steps, self.rows_per_call, self.seed = num_steps, rows_per_call, seed
        legal = None if corruption is None else corruption.unconditional()
        self.scorer = RowScorer(model, legal, draws)
        if num_steps is not None:
            if not self.scorer.fills_units:
                raise DataError(
                    "steps are for models of masked units; an exact or continuous-time likelihood has none, "
                    "so leave steps out"
                )
            self.scorer = RowScorer(model, legal, draws, AncestralSampler(num_steps))

    @property
    def likelihood(self) -> str:
        """What the figures are, for people."""
        if self.scorer.is_exact:
            return "exact -log p(continuation | context)"
        if self.scorer.fills_units:
            steps = "unit by unit" if self.num_steps is None else f"in {self.num_steps} steps"
            return (
                f"upper bound on -log p(continuation | context, end of text), filled {steps}, mean of "
                f"{self.scorer.draws} orders"
            )
        return f"upper bound on -log p(text with both ends), mean of {self.scorer.draws} states per token"

    @torch.no_grad()
    def __call__(self, continuations: Sequence[Continuation]) -> list[ContinuationScore]:
        """A score for each continuation."""
        for one in continuations:
            self._check(one)
        scores: dict[int, ContinuationScore] = {}
        for places, noise in self._groups(continuations):
            chosen = [continuations[place] for place in places]
            scores.update(zip(places, self._score(chosen, noise), strict=True))
        return [scores[place] for place in range(len(continuations))]

    def _check(self, one: Continuation) -> None:
        if not 1 <= one.first < one.last <= len(one.tokens):
            raise DataError(
                f"of {len(one.tokens)} tokens, {one.first} to {one.last} are to be scored; give at least "
                f"one, after a first token that is given"
            )
        if one.num_given and not (self.scorer.is_exact or self.scorer.fills_units):
            raise DataError(
                f"{type(self.scorer.corruption).__name__} scores whole texts and cannot be given a context: "
                f"the difference of two bounds is none; use tasks without context, or a model of masked "
                f"units (token_masking, span_masking)"
            )

    def _groups(self, continuations: Sequence[Continuation]) -> Iterable[tuple[list[int], int]]:
        """Places of rows of one shape that are scored together, and a number for their noise.

        Places 2k and 2k + 1 of one shape, such as the two sentences of a pair, meet the same noise: most of
        it leaves their difference.
        """
        groups: dict[tuple[int, int], list[int]] = {}
        for place, one in enumerate(continuations):
            groups.setdefault((len(one.tokens), one.last - one.first), []).append(place)
        for (length, _), members in groups.items():
            known = set(members)
            twins = [place for place in members if place ^ 1 in known]
            singles = [place for place in members if place ^ 1 not in known]
            together = max(1, self.rows_per_call // self.scorer.copies(length))
            for number, chosen in enumerate((twins[::2], twins[1::2], singles)):
                for first in range(0, len(chosen), together):
                    is_single = number == 2
                    yield chosen[first : first + together], 2 * first + is_single

    def _score(self, chosen: Sequence[Continuation], noise: int) -> list[ContinuationScore]:
        device = self.scorer.model.head.embedding.weight.device
        length, count = len(chosen[0].tokens), chosen[0].last - chosen[0].first
        rows = rows_of([one.tokens for one in chosen], length, 0).to(device)
        places = torch.arange(length, device=device)
        is_scored = torch.stack([(places >= one.first) & (places < one.last) for one in chosen])
        seed = derive_seed(self.seed, "continuations", length, count, noise)
        generator = torch.Generator(device).manual_seed(seed)
        nats = self.scorer.means(rows, is_scored, generator)
        is_greedy = self._greedy(rows.input_ids, is_scored, generator).all(1)
        return [ContinuationScore(*pair) for pair in zip(nats.tolist(), is_greedy.tolist(), strict=True)]

    def _greedy(self, tokens: Tensor, is_scored: Tensor, generator: torch.Generator) -> Tensor:
        """Tokens that filling with the likeliest ones gives too, bool (B, L)."""
        left_to_right = as_autoregressive(self.scorer.model)
        if left_to_right is not None:
            before = torch.nn.functional.pad(tokens[:, :-1], (1, 0), value=left_to_right.vocab_size)
            logits = left_to_right.head.logits(left_to_right.trunk(left_to_right.head.embed(before)))
            return (logits.argmax(-1) == tokens) | ~is_scored
        if not self.scorer.fills_units:
            return torch.zeros_like(is_scored)
        assert self.scorer.corruption is not None, "it fills units"
        model = cast(FillsMasks, self.scorer.model)
        greedy = AncestralSampler(self.num_steps or tokens.shape[1], sampling=GREEDY)
        hidden = tokens.masked_fill(is_scored, model.mask_id)
        return greedy.sample(model, self.scorer.corruption, hidden, generator=generator).tokens == tokens
