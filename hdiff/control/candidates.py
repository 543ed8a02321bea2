"""fill_best: candidates of a text with gaps are filled, the likeliest one is kept.

Dimensions: B rows, one per sample, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads.sampling import AS_IT_IS
from hdiff.models.denoiser import Denoiser
from hdiff.models.wrapped import unwrapped
from hdiff.samplers.base import HasHead, OnStep, Sampler
from hdiff.samplers.samples import Samples

if TYPE_CHECKING:
    from hdiff.control.literal import GivenText
    from hdiff.data.tokenizer import Tokenizer

NUM_ENDS = 2
"""A row is an end-of-text token, the text, and another one: both are given."""


@dataclass(frozen=True)
class Controlled:
    """Texts made under a constraint.

    Attributes:
        texts: The texts, without the end-of-text tokens around them.
        tokens: Their tokens, long (L_i,) each.
        scores: Nats per token of what was filled, given the rest: one run's estimate of the sampler's bound,
            of the model as it is. None for a sampler without such a bound.
        samples: How each text was filled, one row each.
        pieces: Text of each token; joined they are the texts.
    """

    texts: tuple[str, ...]
    tokens: tuple[Tensor, ...]
    scores: tuple[float | None, ...]
    samples: tuple[Samples, ...]
    pieces: tuple[tuple[str, ...], ...]

    @classmethod
    def joined(cls, parts: Sequence[Controlled]) -> Controlled:
        """Texts of several calls, one after another."""
        return cls(
            *(tuple(one for part in parts for one in getattr(part, field.name)) for field in fields(cls))
        )


def fill_best(
    denoiser: HasHead,
    corruption: Corruption,
    tokenizer: Tokenizer,
    sampler: Sampler,
    candidates: Sequence[Tensor],
    *,
    given: GivenText | None = None,
    flags: Sequence[Tensor | None] = (),
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Controlled:
    """Fills every candidate and keeps, for each sample, the one with the fewest nats per token.

    Args:
        denoiser: The model.
        corruption: Its corruption, of masked units.
        tokenizer: Its tokenizer.
        sampler: Fills the gaps; tokens that no text has, such as the end of text, are never drawn.
        candidates: Rows with `mask_id` at gaps, long (B, L) each, L as it likes.
        given: How the given tokens stand in the text; None: as the tokenizer spells them.
        flags: Kinds of units that are asked for in each candidate, long (L,), or None.
        generator: Source of randomness, on the model's device.
        on_step: Called after every step of every candidate.

    Returns:
        One text per row.

    Raises:
        DataError: If the corruption is of another kind, there are more steps than tokens to fill, or several
            candidates and a sampler without a bound to compare them by.
    """
    denoiser, corruption = unwrapped(denoiser), check_masked_units(corruption).unconditional()
    mask_id = denoiser.mask_id
    check_steps(sampler, min(int((rows == mask_id).sum(1).min()) for rows in candidates))
    filler = sampler.banning(tokenizer.facts.never_text)
    scorer = sampler.with_sampling(AS_IT_IS)
    if len(candidates) > 1 and not scorer.has_bound:
        raise DataError(
            f"{len(candidates)} candidates and {type(sampler).__name__}, which has no bound to compare them "
            f"by; fix the length of every gap, or use another sampler"
        )
    best: list[tuple[float | None, Samples]] = []
    for rows, asked in zip(candidates, flags or [None] * len(candidates), strict=True):
        model = denoiser if asked is None else _asking(denoiser, asked)
        filled = filler.sample(model, corruption, rows, generator=generator, on_step=on_step)
        scores: list[float | None] = [None] * len(rows)
        if scorer.has_bound:
            is_gap = rows.to(filled.tokens.device) == mask_id
            score = scorer.score(
                model, corruption, Batch.of(filled.tokens), is_hidden=is_gap, generator=generator
            )
            scores = (score.nats / is_gap.sum(1)).tolist()
        scored = list(zip(scores, one_by_one(filled), strict=True))
        best = scored if not best else [min(pair, key=_nats) for pair in zip(best, scored, strict=True)]
    scores = [score for score, _ in best]
    return controlled(tokenizer, [samples for _, samples in best], scores, given=given)


def _asking(denoiser: HasHead, flags: Tensor) -> Denoiser:
    if not isinstance(denoiser, Denoiser):
        raise DataError(
            f"{type(denoiser).__name__} tells no kinds of units; leave the kinds of the gaps out, or give a "
            f"Denoiser of hdiff"
        )
    return denoiser.asking(flags)


def _nats(candidate: tuple[float | None, Samples]) -> float:
    assert candidate[0] is not None, "several candidates are compared only with a bound"
    return candidate[0]


def controlled(
    tokenizer: Tokenizer,
    samples: Sequence[Samples],
    scores: Sequence[float | None],
    *,
    given: GivenText | None = None,
) -> Controlled:
    """The result, with the ends of the rows taken off."""
    inner = slice(1, -1)
    trimmed = tuple(
        replace(one, tokens=one.tokens[:, inner], steps=one.steps[:, inner], units=one.units[:, inner])
        for one in samples
    )
    tokens = tuple(one.tokens[0] for one in trimmed)
    pieces = []
    for one in trimmed:
        spelled = tokenizer.pieces(one.tokens[0].tolist())
        if given is not None:
            is_given = (one.steps[0] < 0).tolist()
            spelled = given.texts(spelled, is_given, keeps_spaces=tokenizer.facts.keeps_spaces)
        pieces.append(tuple(spelled))
    return Controlled(tuple(map("".join, pieces)), tokens, tuple(scores), trimmed, tuple(pieces))


def one_by_one(samples: Samples) -> list[Samples]:
    """Samples of one row each."""
    return [
        Samples(
            tokens=samples.tokens[row : row + 1],
            steps=samples.steps[row : row + 1],
            units=samples.units[row : row + 1],
            nfe=int(samples.calls[row]),
            calls=samples.calls[row : row + 1],
            passes=samples.passes[row : row + 1],
        )
        for row in range(len(samples.tokens))
    ]


def check_masked_units(corruption: Corruption) -> Corruption:
    """Returns the corruption, or raises DataError if its models cannot fill gaps between given words."""
    if corruption.masked_units() is None:
        raise DataError(
            f"gaps between given words need a model of masked units (span_masking, token_masking); one of "
            f"{type(corruption).__name__} never saw words before what comes first in it"
        )
    return corruption


def check_steps(sampler: Sampler, num_hidden: int) -> None:
    """Raises DataError if a sampler takes more steps than there are values to fill."""
    num_steps = getattr(sampler, "num_steps", None)
    if num_steps is not None and num_steps > num_hidden:
        raise DataError(
            f"{num_steps} steps for {num_hidden} tokens to fill; give at most {num_hidden} steps:",
            f"--steps {num_hidden}",
        )


def check_rows(num_samples: int, num_tokens: int, longest: int | None) -> None:
    """Refuses no row to fill, and rows longer than those the model was trained on."""
    if num_samples < 1:
        raise DataError(f"{num_samples} samples; draw at least 1")
    if longest is not None and num_tokens + NUM_ENDS > longest:
        raise DataError(
            f"the text has up to {num_tokens} tokens and two ends, the model's rows {longest}; make it "
            f"shorter, or train with a larger data.sequence_length"
        )
