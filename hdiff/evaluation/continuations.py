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
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.factory import DiffusionModel
from hdiff.heads.sampling import GREEDY
from hdiff.models.autoregressive import Autoregressive, as_autoregressive
from hdiff.models.wrapped import unwrapped
from hdiff.objectives import nelbo
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


@dataclass(frozen=True)
class ContinuationScorer:
    """Scores continuations with a model.

    Masked units: the bound of the sampler that fills the scored tokens in T steps in random order, given the
    others on both sides; each estimate is one order. Autoregressive models: exact, in their one order. All
    other families cannot be given words: their bound is of a whole text, its ends among it.

    Args:
        model: The model, in evaluation mode.
        corruption: What a diffusion model was trained with; None for an autoregressive one.
        draws: Estimates that are averaged.
        num_steps: Steps T; None fills unit by unit.
        rows_per_call: Continuations scored together.
        seed: Seed of orders and states.

    Raises:
        DataError: If the model has no likelihood without parsed structure, or a number is out of range.
    """

    model: DiffusionModel | Autoregressive
    corruption: Corruption | None
    draws: int = 4
    num_steps: int | None = None
    rows_per_call: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("draws", self.draws), ("rows_per_call", self.rows_per_call)):
            if value < 1:
                raise DataError(f"{name} is {value}; give at least 1")
        if self.num_steps is not None and self.num_steps < 1:
            raise DataError(f"num_steps is {self.num_steps}; give at least 1, or None to fill unit by unit")
        object.__setattr__(self, "model", unwrapped(self.model))
        if not self._fills_units and self.num_steps is not None:
            raise DataError(
                "steps are for models of masked units; an exact or continuous-time likelihood has none, so "
                "leave steps out"
            )

    @property
    def likelihood(self) -> str:
        """What the figures are, for people."""
        if as_autoregressive(self.model) is not None:
            return "exact -log p(continuation | context)"
        if self._fills_units:
            steps = "unit by unit" if self.num_steps is None else f"in {self.num_steps} steps"
            return (
                f"upper bound on -log p(continuation | context, end of text), filled {steps}, mean of "
                f"{self.draws} orders"
            )
        return f"upper bound on -log p(text with both ends), mean of {self.draws} states per token"

    @torch.no_grad()
    def __call__(self, continuations: Sequence[Continuation]) -> list[ContinuationScore]:
        """Scores continuations.

        Args:
            continuations: The continuations.

        Returns:
            A score for each.

        Raises:
            DataError: If words are given to a model that cannot be given any, or nothing is to be scored.
        """
        for one in continuations:
            self._check(one)
        found: dict[int, ContinuationScore] = {}
        for places, noise in self._groups(continuations):
            chosen = [continuations[place] for place in places]
            found.update(zip(places, self._score(chosen, noise), strict=True))
        return [found[place] for place in range(len(continuations))]

    @property
    def _fills_units(self) -> bool:
        """Whether words may be given to it on all sides."""
        return as_autoregressive(self.model) is None and self._legal().masked_units() is not None

    def _legal(self) -> Corruption:
        """What a diffusion model fills, where no text was parsed."""
        if self.corruption is None:
            raise DataError("a diffusion model is scored with a corruption; give the one it was trained with")
        corruption = self.corruption.unconditional()
        if corruption.required_levels() and corruption.masked_units() is None:
            raise DataError(
                f"{type(corruption).__name__} generates units of level '{corruption.required_levels()[0]}', "
                f"and texts that nobody parsed have none; evaluate a model of masked units, or hdiff eval"
            )
        return corruption

    def _check(self, one: Continuation) -> None:
        if not 1 <= one.first < one.last <= len(one.tokens):
            raise DataError(
                f"of {len(one.tokens)} tokens, {one.first} to {one.last} are to be scored; give at least "
                f"one, after a first token that is given"
            )
        can_be_given = as_autoregressive(self.model) is not None or self._fills_units
        if one.num_given and not can_be_given:
            raise DataError(
                f"{type(self.corruption).__name__} scores whole texts and cannot be given a context: the "
                f"difference of two bounds is none; use tasks without context, or a model of masked units "
                f"(token_masking, span_masking)"
            )

    def _groups(self, continuations: Sequence[Continuation]) -> Iterable[tuple[list[int], int]]:
        """Places of rows of one shape that are scored together, and a number for their noise.

        Places 2k and 2k + 1 of one shape, such as the two sentences of a pair, meet the same noise: most of
        it leaves their difference.
        """
        groups: dict[tuple[int, int], list[int]] = {}
        for place, one in enumerate(continuations):
            groups.setdefault((len(one.tokens), one.last - one.first), []).append(place)
        for members in groups.values():
            known = set(members)
            twins = [place for place in members if place ^ 1 in known]
            singles = [place for place in members if place ^ 1 not in known]
            for number, chosen in enumerate((twins[::2], twins[1::2], singles)):
                for first in range(0, len(chosen), self.rows_per_call):
                    is_single = number == 2
                    yield chosen[first : first + self.rows_per_call], 2 * first + is_single

    def _score(self, chosen: Sequence[Continuation], noise: int) -> list[ContinuationScore]:
        device = self.model.head.embedding.weight.device
        tokens = torch.tensor([one.tokens for one in chosen], device=device)
        places = torch.arange(tokens.shape[1], device=device)
        is_scored = torch.stack([(places >= one.first) & (places < one.last) for one in chosen])
        left_to_right = as_autoregressive(self.model)
        if left_to_right is not None:
            nats, is_greedy = _exact(left_to_right, tokens, is_scored)
        else:
            generator = torch.Generator(device).manual_seed(
                derive_seed(self.seed, "continuations", *is_scored[0].shape, int(is_scored[0].sum()), noise)
            )
            if self._fills_units:
                nats, is_greedy = self._by_orders(self._legal(), tokens, is_scored, generator)
            else:
                nats = self._by_states(self._legal(), tokens, generator)
                is_greedy = is_scored.new_zeros(len(chosen))
        return [
            ContinuationScore(*pair) for pair in zip(nats.tolist(), is_greedy.bool().tolist(), strict=True)
        ]

    def _by_orders(
        self, units: Corruption, tokens: Tensor, is_scored: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        model = cast(FillsMasks, self.model)
        steps = self.num_steps or tokens.shape[1]
        sampler = AncestralSampler(steps)
        nats = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
        for _ in range(self.draws):
            score = sampler.score(model, units, Batch.of(tokens), is_hidden=is_scored, generator=generator)
            nats += score.nats / self.draws
        greedy = AncestralSampler(steps, sampling=GREEDY)
        text = tokens.masked_fill(is_scored, model.mask_id)
        filled = greedy.sample(model, units, text, generator=generator).tokens
        return nats, (filled == tokens).all(1)

    def _by_states(self, corruption: Corruption, tokens: Tensor, generator: torch.Generator) -> Tensor:
        """Continuous time: `draws` states per token of a row, at stratified times."""
        model = cast(DiffusionModel, self.model)
        count = self.draws * tokens.shape[1]
        nats = []
        for row in tokens:  # a row alone: so many states make a batch
            batch = Batch.of(row.expand(count, -1))
            offset = 1 - torch.rand(1, generator=generator, device=generator.device)
            t = ((torch.arange(count, device=generator.device) + offset) / count).clamp(max=1.0)
            corrupted = corruption.corrupt(batch, t, generator=generator)
            nats.append(nelbo(model(corrupted), batch, corrupted).nats.double().mean())
        return torch.stack(nats)


def _exact(model: Autoregressive, tokens: Tensor, is_scored: Tensor) -> tuple[Tensor, Tensor]:
    before = torch.nn.functional.pad(tokens[:, :-1], (1, 0), value=model.vocab_size)
    log_probs = model.head.logits(model.trunk(model.head.embed(before))).double().log_softmax(-1)
    log_prob = log_probs.gather(-1, tokens[..., None]).squeeze(-1)
    is_likeliest = (log_probs.argmax(-1) == tokens) | ~is_scored
    return -(log_prob * is_scored).sum(1), is_likeliest.all(1)
