"""score_pairs: how often a model finds the grammatical sentence of a pair more likely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from hdiff.corruption import Corruption
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.evaluation.minimal_pair_files import MinimalPair, PairScores, spread_pairs
from hdiff.evaluation.scoring import RowScorer, rows_of
from hdiff.factory import DiffusionModel
from hdiff.models.autoregressive import Autoregressive
from hdiff.runs.folder import RunFolder
from hdiff.samplers import Sampler
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

    `RowScorer` says how, and what may be given: masked units are given both end-of-text tokens, the
    autoregressive model the first one (the last one counts: between sentences of equal length that differs by
    a constant from having been given), other families none. Both sentences of a pair meet the same orders,
    times and noise, so most of the noise leaves their difference.

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
    scorer = RowScorer(model, corruption, draws, sampler)
    rows = [(_row(tokenizer, pair.good), _row(tokenizer, pair.bad)) for pair in pairs]
    # Rows of one call have one length: no padding, and equal sentences meet exactly equal arithmetic.
    groups: dict[tuple[int, int], list[int]] = {}
    for place, (good, bad) in enumerate(rows):
        groups.setdefault((len(good), len(bad)), []).append(place)
    nats = torch.zeros(2, len(pairs), dtype=torch.float64)
    device = scorer.model.head.embedding.weight.device
    for lengths, places in groups.items():
        pairs_per_call = max(1, ROWS_PER_CALL // scorer.copies(max(lengths)))
        for first in range(0, len(places), pairs_per_call):
            chosen = places[first : first + pairs_per_call]
            noise = derive_seed(seed, "minimal pairs", max(lengths), min(lengths), first)
            for side, real in enumerate(lengths):
                # Padded to the length of the twins, so that both draw the same noise.
                batch = rows_of([rows[place][side] for place in chosen], max(lengths), tokenizer.eos_id)
                is_scored = torch.zeros_like(batch.token_mask)
                is_scored[:, 1 : real if scorer.is_exact else real - 1] = True
                generator = torch.Generator(device).manual_seed(noise)
                nats[side, chosen] = scorer.means(batch.to(device), is_scored.to(device), generator).cpu()
    draws = 1 if scorer.is_exact else draws
    return PairScores(tuple(pairs), tuple(zip(*nats.tolist(), strict=True)), draws, _likelihood(scorer))


def _likelihood(scorer: RowScorer) -> str:
    """What the figures are, for people."""
    if scorer.is_exact:
        return "exact -log p"
    if not scorer.fills_units and scorer.sampler is None:
        return f"upper bound on -log p with both ends of text, mean of {scorer.draws} states per token"
    name = "" if scorer.sampler is None else f" of {type(scorer.sampler).__name__}"
    return f"upper bound on -log p{name}, mean of {scorer.draws} orders"


def _row(tokenizer: Tokenizer, sentence: str) -> list[int]:
    """A sentence as packed training rows hold a document: after one end-of-text token, before another."""
    tokens, _ = tokenizer.encode(sentence)
    if not tokens:
        raise DataError(f"the sentence {sentence!r} has no tokens; drop its pair")
    return [tokenizer.eos_id, *tokens, tokenizer.eos_id]


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
