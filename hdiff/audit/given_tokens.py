"""given_tokens: a prompt is never hidden and never scored, and the bound is one on -log p(answer | prompt).

Dimensions: B batch, L tokens, N strings of the language.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hdiff.audit.checks import Check, Subject, mean_and_error, num_rows_of, scores_exactly
from hdiff.audit.exact import ExactDenoiser
from hdiff.audit.language import AuditLanguage
from hdiff.corruption import Corrupted, corrupt_free, sample_times
from hdiff.corruption.gaussian import GaussianCorrupted
from hdiff.corruption.uniform_state import UniformCorrupted
from hdiff.data.batch import Batch
from hdiff.models.output import DenoiserOutput
from hdiff.objectives import nelbo

NUM_GIVEN = 2
"""Tokens of the prompt, of the four of a string, where there are no blocks."""


def given_tokens(subject: Subject) -> list[Check]:
    """States and bound of strings whose first two tokens are given.

    Args:
        subject: What is audited.

    Returns:
        `given_hidden`, how many given tokens are hidden, changed or scored; `given_uniform`, what a predictor
        that knows nothing pays for the others; and, where the posterior is known, `given_exact_posterior`,
        which scores H(answer | prompt).
    """
    batch, corrupted, factor = _draw(subject, num_rows_of(subject), torch.Generator().manual_seed(21))
    checks = [_hidden(subject, batch, corrupted)]
    if not isinstance(corrupted, UniformCorrupted | GaussianCorrupted):  # they have bounds of their own
        checks.append(_uniform(subject, batch, corrupted, factor))
    if type(corrupted) is not Corrupted or corrupted.speed is not None:
        return checks  # blocks and hidden speeds have posteriors of their own
    denoiser = ExactDenoiser(subject.language, subject.corruption)
    whole = corrupt_free(
        _given(subject, subject.language.every()),
        lambda free: subject.corruption.corrupt(
            free,
            torch.ones(len(free.input_ids), dtype=torch.float64),
            generator=torch.Generator().manual_seed(0),
        ),
        subject.corruption.type_sizes,
    )
    denoiser.types = tuple(term.targets for term in whole.type_terms)
    generator = torch.Generator().manual_seed(22)

    def nats() -> Tensor:
        batch, corrupted, factor = _draw(subject, num_rows_of(subject), generator)
        return nelbo(denoiser(corrupted), batch, corrupted).nats.double() * factor

    expected = conditional_entropy(subject.language)
    return [*checks, scores_exactly(subject, nats, expected, name="given_exact_posterior")]


def conditional_entropy(language: AuditLanguage) -> float:
    """H(last tokens | first tokens) of a language, nats."""
    prompts = language.strings[:, :NUM_GIVEN] @ (language.vocab_size ** torch.arange(NUM_GIVEN))
    shares = torch.zeros(int(prompts.max()) + 1, dtype=torch.float64).index_add(
        0, prompts, language.probability
    )
    return language.entropy + float((shares * shares.log()).sum())


def _given(subject: Subject, batch: Batch) -> Batch:
    is_given = torch.zeros_like(batch.token_mask)
    is_given[:, : _num_given(subject)] = True
    return replace(batch, given=is_given)


def _num_given(subject: Subject) -> int:
    """Tokens of the prompt; an answer begins with a block."""
    return subject.corruption.block_size or NUM_GIVEN


def _draw(subject: Subject, num_rows: int, generator: torch.Generator) -> tuple[Batch, Corrupted, Tensor]:
    """As `hdiff.audit.checks.draw`, of strings with given tokens."""
    batch = _given(subject, subject.language.sample(num_rows, generator))
    t = sample_times(batch, generator=generator).double().clamp(max=1.0)
    factor = torch.ones_like(t)
    if not subject.is_exact:
        t, factor = t**3, 3 * t**2
    corruption = subject.corruption
    corrupted = corrupt_free(
        batch, lambda free: corruption.corrupt(free, t, generator=generator), corruption.type_sizes
    )
    return batch, corrupted, factor


def _hidden(subject: Subject, batch: Batch, corrupted: Corrupted) -> Check:
    assert batch.given is not None
    changed = batch.given & (corrupted.is_masked | (corrupted.x_t != batch.input_ids))
    packed = [corrupted.spans, *(term.spans for term in corrupted.type_terms)]
    scored = [spans.gather(batch.given).sum() for spans in packed]
    count = int(changed.sum()) + sum(map(int, scored))
    return subject.check("given_hidden", count, 0.0, 0.0, count == 0)


def _uniform(subject: Subject, batch: Batch, corrupted: Corrupted, factor: Tensor) -> Check:
    sizes, vocab_size = subject.corruption.type_sizes, subject.language.vocab_size
    output = DenoiserOutput(
        log_prob=-corrupted.spans.length.double() * math.log(vocab_size),
        type_log_prob=tuple(
            -term.spans.length.double() * math.log(sizes[term.stream]) for term in corrupted.type_terms
        ),
        log_speed=None if corrupted.speed is None else corrupted.speed.double().log(),
    )
    mean, error = mean_and_error(nelbo(output, batch, corrupted).nats.double() * factor)
    count = subject.language.length - _num_given(subject)
    expected = count * sum(math.log(size) for size in (vocab_size, *sizes))
    tolerance = 4 * error + 1e-4 * expected
    return subject.check("given_uniform", mean, expected, tolerance, abs(mean - expected) <= tolerance)
