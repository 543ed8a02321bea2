"""score_pairs: how often a model finds the grammatical sentence of a pair more likely.

Every figure that is compared is a likelihood or a true bound on one: the way of filling that is scored is the
one that samples. Dimensions: N pairs, B rows of one call, L tokens of a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from hdiff.corruption import Corruption
from hdiff.data.batch import Batch
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.evaluation.minimal_pair_files import MinimalPair, PairScores, spread_pairs
from hdiff.factory import DiffusionModel
from hdiff.models.autoregressive import Autoregressive, as_autoregressive
from hdiff.models.wrapped import unwrapped
from hdiff.objectives import nelbo
from hdiff.runs.folder import RunFolder
from hdiff.samplers import AncestralSampler, Sampler
from hdiff.seeds import derive_seed

ROWS_PER_CALL = 256


@torch.no_grad()
def score_pairs(
    model: DiffusionModel | Autoregressive,
    corruption: Corruption | None,
    tokenizer: Tokenizer,
    pairs: Sequence[MinimalPair],
    *,
    draws: int = 4,
    sampler: Sampler | None = None,
    seed: int = 0,
) -> PairScores:
    """Scores both sentences of every pair, each as a document of its own between two end-of-text tokens.

    Masked units are scored by a sampler, given both end-of-text tokens; by default unit after unit in random
    order. Other corruptions have their continuous-time bound, in which the end-of-text tokens count too; a
    draw is then as many states, at stratified times, as the row has tokens, and costs what an order costs.
    The autoregressive model is exact, given the first end-of-text token; the last one counts: between
    sentences of equal length that differs by a constant from having been given. Both sentences of a pair
    meet the same orders, times and noise, so most of the noise leaves their difference.

    Args:
        model: The model, in evaluation mode.
        corruption: Says what the units are; must not be conditional on structure. Autoregressive models need
            none.
        tokenizer: That of the model.
        pairs: The pairs.
        draws: Random orders or states per sentence.
        sampler: Scores masked units; None: `AncestralSampler`, one unit per step.
        seed: Seed of the orders.

    Returns:
        The scores.

    Raises:
        DataError: If model, corruption, sampler and pairs do not belong together.
    """
    if not pairs:
        raise DataError("there are no pairs to score; give at least one")
    if draws < 1:
        raise DataError(f"draws is {draws}; a score is a mean of at least 1")
    model = unwrapped(model)
    scorer = _scorer(model, corruption, draws, sampler)
    rows = [(_row(tokenizer, pair.good), _row(tokenizer, pair.bad)) for pair in pairs]
    # Rows of one call have one length: no padding, and equal sentences meet exactly equal arithmetic.
    groups: dict[tuple[int, int], list[int]] = {}
    for place, (good, bad) in enumerate(rows):
        groups.setdefault((len(good), len(bad)), []).append(place)
    nats = torch.zeros(2, len(pairs), dtype=torch.float64)
    device = model.head.embedding.weight.device
    for lengths, places in groups.items():
        copies = scorer.copies(max(lengths))
        pairs_per_call = max(1, ROWS_PER_CALL // copies)
        for first in range(0, len(places), pairs_per_call):
            chosen = places[first : first + pairs_per_call]
            noise = derive_seed(seed, "minimal pairs", max(lengths), min(lengths), first)
            for side in (0, 1):
                batch = _batch(
                    [rows[place][side] for place in chosen], max(lengths), tokenizer.eos_id, copies
                )
                generator = torch.Generator(device).manual_seed(noise)
                found = scorer.nats(batch.to(device), generator).double().cpu()
                nats[side, chosen] = found.view(len(chosen), copies).mean(1)
    return PairScores(tuple(pairs), tuple(zip(*nats.tolist(), strict=True)), scorer.draws, scorer.likelihood)


def _row(tokenizer: Tokenizer, sentence: str) -> list[int]:
    """A sentence as packed training rows hold a document: after one end-of-text token, before another."""
    tokens, _ = tokenizer.encode(sentence)
    if not tokens:
        raise DataError(f"the sentence {sentence!r} has no tokens; drop its pair")
    return [tokenizer.eos_id, *tokens, tokenizer.eos_id]


def _batch(rows: Sequence[list[int]], length: int, eos_id: int, copies: int) -> Batch:
    """Rows of equal length, padded to that of their twins so that both draw the same noise, long (B, L)."""
    padding = length - len(rows[0])
    tokens = torch.tensor([[*row, *[eos_id] * padding] for row in rows]).repeat_interleave(copies, 0)
    token_mask = (torch.arange(length) < length - padding).expand_as(tokens)
    return Batch(input_ids=tokens, token_mask=token_mask)


@dataclass(frozen=True)
class _Scorer:
    """A way to score rows.

    Attributes:
        nats: Batch of copies, next to each other, and a generator -> one estimate per row, (B,).
        copies: Length of a row -> copies of it that are averaged.
        draws: See `PairScores`.
        likelihood: See `PairScores`.
    """

    nats: Callable[[Batch, torch.Generator], Tensor]
    copies: Callable[[int], int]
    draws: int
    likelihood: str


def _scorer(
    model: DiffusionModel | Autoregressive, corruption: Corruption | None, draws: int, sampler: Sampler | None
) -> _Scorer:
    left_to_right = as_autoregressive(model)
    if left_to_right is not None:
        if sampler is not None:
            raise DataError(
                f"an autoregressive model has no use for {type(sampler).__name__}; give sampler=None"
            )
        return _Scorer(lambda batch, _: -left_to_right(batch)[:, 1:].sum(1), lambda _: 1, 1, "exact -log p")
    _check(corruption)
    assert corruption is not None, "checked above"
    if corruption.masked_units() is None and sampler is None:
        return _by_states(cast(DiffusionModel, model), corruption, draws)
    if not hasattr(model, "hidden"):
        raise DataError(
            f"samplers score masked units; {type(model).__name__} has none, so give sampler=None and the "
            f"corruption it was trained with"
        )
    name = "" if sampler is None else f" of {type(sampler).__name__}"

    def nats(batch: Batch, generator: torch.Generator) -> Tensor:
        chosen = AncestralSampler(batch.input_ids.shape[1]) if sampler is None else sampler
        is_hidden = batch.token_mask.clone()
        is_hidden[:, 0] = False
        is_hidden[:, int(batch.token_mask[0].sum()) - 1] = False
        return chosen.score(model, corruption, batch, is_hidden=is_hidden, generator=generator).nats

    return _Scorer(nats, lambda _: draws, draws, f"upper bound on -log p{name}, mean of {draws} orders")


def _by_states(model: DiffusionModel, corruption: Corruption, draws: int) -> _Scorer:
    def copies(length: int) -> int:
        return draws * length

    def nats(batch: Batch, generator: torch.Generator) -> Tensor:
        count = copies(batch.input_ids.shape[1])
        num_pairs = len(batch.input_ids) // count
        offset = 1 - torch.rand(num_pairs, 1, generator=generator, device=generator.device)
        t = ((torch.arange(count, device=generator.device) + offset) / count).clamp(max=1.0).flatten()
        corrupted = corruption.corrupt(batch, t, generator=generator)
        # Control variates would be the same for both sentences of a pair: their difference needs none.
        return nelbo(model(corrupted), batch, corrupted).nats

    label = f"upper bound on -log p with both ends of text, mean of {draws} states per token"
    return _Scorer(nats, copies, draws, label)


def _check(corruption: Corruption | None) -> None:
    """Refuses what has no bound on -log p(x_0) for a sentence that nobody parsed."""
    if corruption is None:
        raise DataError("a diffusion model is scored with a corruption; give the one it was trained with")
    name = type(corruption).__name__
    if corruption.conditional_on_structure:
        raise DataError(
            f"{name} is conditional on structure and gives no bound on -log p(x_0); use "
            f"corruption.unconditional()"
        )
    if corruption.masked_units() is None and corruption.required_levels():
        raise DataError(
            f"{name} generates units of level '{corruption.required_levels()[0]}', and minimal pairs are not "
            f"parsed; score a model of another corruption"
        )


def evaluate_minimal_pairs(
    run: RunFolder,
    pairs: Sequence[MinimalPair],
    *,
    draws: int = 4,
    max_pairs: int | None = None,
    seed: int = 0,
    sampler: Sampler | None = None,
) -> dict[str, Any]:
    """Accuracy of a run on minimal pairs.

    Parsed units give way to random spans (`unconditional`). A model of hidden speeds is scored as what it is
    without them, a denoiser of masked tokens in random order: a bound of that way of sampling.

    Args:
        run: The run.
        pairs: The pairs.
        draws: Random orders or states per sentence.
        max_pairs: At most so many of each paradigm, spread evenly; None takes all.
        seed: Seed of the orders.
        sampler: See `score_pairs`.

    Returns:
        For JSON: `accuracy` (mean over paradigms), `stderr`, `likelihood`, `draws`, `seed`, `pairs`, `ties`,
        `fields` (mean over the paradigms of each) and `paradigms`, each with `accuracy`, `stderr`, `pairs`,
        `ties` and `field`; a standard error that nothing can be said of is null.

    Raises:
        DataError: As `score_pairs`.
    """
    corruption = None if run.autoregressive is not None else run.corruption.unconditional()
    scores = score_pairs(
        run.model,
        corruption,
        run.tokenizer,
        spread_pairs(pairs, max_pairs),
        draws=draws,
        sampler=sampler,
        seed=seed,
    )
    field_of = {pair.paradigm: pair.field for pair in scores.pairs}
    paradigms = scores.paradigms
    shares: dict[str, list[float]] = {}
    for name, accuracy in paradigms.items():
        shares.setdefault(field_of[name], []).append(accuracy.share)
    return {
        "accuracy": scores.accuracy,
        "stderr": _number(scores.stderr),
        "likelihood": scores.likelihood,
        "draws": scores.draws,
        "seed": seed,
        "pairs": len(scores.pairs),
        "ties": sum(accuracy.ties for accuracy in paradigms.values()),
        "fields": {field: sum(values) / len(values) for field, values in shares.items()},
        "paradigms": {
            name: {
                "accuracy": accuracy.share,
                "stderr": _number(accuracy.stderr),
                "pairs": accuracy.pairs,
                "ties": accuracy.ties,
                "field": field_of[name],
            }
            for name, accuracy in paradigms.items()
        },
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
