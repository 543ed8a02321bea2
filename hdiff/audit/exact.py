"""ExactDenoiser: the denoiser nobody can beat, from the enumerated language.

Dimensions: B batch, L tokens, N strings of the language, R type streams, S spans, P packed tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import final

import torch
from torch import Tensor

from hdiff.audit.language import AuditLanguage
from hdiff.corruption import Corrupted, Corruption, LearnedRates, RateMatched
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.models.output import DenoiserOutput
from hdiff.packed_spans import PackedSpans
from hdiff.samplers.chain import Reading


class NotUnderstood(DataError):
    """A corruption whose exact posterior is not known; nothing is guessed."""


@final
class ExactDenoiser:
    """Exact posterior over all strings of a language, given what is visible.

    For unit masking and cascades a string that agrees with all visible tokens and types has a posterior
    proportional to its probability: all such strings give every order of reveal the same probability,
    because speeds are visible wherever they matter. For `RateMatched` and `LearnedRates` they are hidden, so
    which tokens are masked tells about the string too: the posterior also has the probability of that mask.

    Args:
        language: The language.
        corruption: The corruption whose states are to be read.

    Raises:
        NotUnderstood: If the corruption has states of which the posterior is not known here.
    """

    def __init__(self, language: AuditLanguage, corruption: Corruption) -> None:
        self.language, self.corruption = language, corruption
        assert corruption.mask_id is not None
        self.mask_id = corruption.mask_id
        every = language.every()
        times = torch.ones(len(language.strings), dtype=torch.float64)
        whole = corruption.corrupt(every, times, generator=torch.Generator().manual_seed(0))
        _check_known(corruption, whole)
        self.types = tuple(term.targets for term in whole.type_terms)  # (N, L) each
        self.is_chain = whole.is_chain
        self.speeds = _hidden_speeds(corruption, every)
        if self.speeds is not None:
            self.totals, self.orders = _chain_tables(self.speeds)

    def posterior(self, x_t: Tensor, types_t: Tensor | None = None, *, t: Tensor | None = None) -> Tensor:
        """p(string | state).

        Args:
            x_t: Tokens, `mask_id` where hidden, long (B, L).
            types_t: Visible types, the number of types where hidden, long (B, L, R).
            t: Times of independent masks, float (B,), which matter if speeds are hidden; None: the state is
                one of the reverse chain, and its number of hidden tokens is all that is known of the time.

        Returns:
            float64 (B, N).
        """
        strings = self.language.strings
        hidden = x_t == self.mask_id
        joint = self.language.probability.expand(len(x_t), -1).clone()
        for i in range(x_t.shape[1]):
            joint *= hidden[:, i, None] | (x_t[:, i, None] == strings[:, i])
            for stream, size in enumerate(self.corruption.type_sizes if types_t is not None else ()):
                assert types_t is not None
                shown = types_t[:, i, stream, None]
                joint *= (shown == size) | (shown == self.types[stream][:, i])
        if self.speeds is not None:
            joint = joint * self._mask_probability(hidden, t)
        return joint / joint.sum(1, keepdim=True)

    def __call__(self, corrupted: Corrupted, t: Tensor | None = None) -> DenoiserOutput:
        """The output nobody can beat on average: every span and type term, scored exactly at times t (B,)."""
        if self.speeds is not None and not self.is_chain and t is None:
            raise DataError("hidden speeds with independent times: the exact posterior needs the times t")
        posterior = self.posterior(corrupted.x_t, corrupted.types_t, t=None if self.is_chain else t)
        spans = corrupted.spans
        weights = posterior[spans.row]  # (S, N)
        log_speed = None
        if self.speeds is not None:
            hidden = corrupted.x_t == self.mask_id
            weights = weights * self._speed_factor(hidden, spans, is_chain=self.is_chain)
            log_speed = weights.sum(1).log()
        strings = self.language.strings
        return DenoiserOutput(
            log_prob=_span_log_prob(weights, strings, corrupted.x_0, spans),
            type_log_prob=tuple(
                _span_log_prob(posterior[term.spans.row], self.types[term.stream], term.targets, term.spans)
                for term in corrupted.type_terms
            ),
            log_speed=log_speed,
        )

    def read(self, x_t: Tensor, types_t: Tensor | None) -> Reading:
        """Reads a state x_t, long (B, L), and its visible types, long (B, L, R), for `chain_sample`."""
        return ExactReading(self, x_t, self.posterior(x_t, types_t))

    def _speed_factor(self, hidden: Tensor, spans: PackedSpans, *, is_chain: bool) -> Tensor:
        """k of each span's first token under every string, over the sum of the row for chains, (S, N)."""
        assert self.speeds is not None
        column = spans.token_index[spans.first] % self.language.length
        factor = self.speeds.T[column]
        return factor / self.totals[_code(hidden)[spans.row]] if is_chain else factor

    def _mask_probability(self, hidden: Tensor, t: Tensor | None) -> Tensor:
        """Probability under every string that exactly the hidden tokens are masked, (B, N)."""
        assert self.speeds is not None
        if t is None:
            return self.orders[_code(hidden)]
        p = self.corruption.schedule.p_mask(t.double())[:, None, None] ** self.speeds  # (B, N, L)
        return torch.where(hidden[:, None], p, 1 - p).prod(-1)


@final
@dataclass(frozen=True)
class ExactReading:
    """The posterior of one state of the reverse chain, to draw from."""

    denoiser: ExactDenoiser
    x_t: Tensor
    posterior: Tensor

    def tokens(self, spans: PackedSpans, generator: torch.Generator | None) -> Tensor:
        """Draws the tokens of each span jointly."""
        weights = self.posterior[spans.row]
        if self.denoiser.speeds is not None:
            hidden = self.x_t == self.denoiser.mask_id
            weights = weights * self.denoiser._speed_factor(hidden, spans, is_chain=True)
        return self._draw(weights, self.denoiser.language.strings, spans, generator)

    def types(self, stream: int, spans: PackedSpans, generator: torch.Generator | None) -> Tensor:
        """Draws the types of one stream."""
        return self._draw(self.posterior[spans.row], self.denoiser.types[stream], spans, generator)

    def log_speed(self) -> Tensor:
        """Exact log speed of every hidden token; any number elsewhere."""
        assert self.denoiser.speeds is not None
        totals = self.denoiser.totals[_code(self.x_t == self.denoiser.mask_id)]
        factor = self.denoiser.speeds / totals[..., None]  # (B, N, L)
        return (self.posterior[..., None] * factor).sum(1).log()

    def _draw(
        self, weights: Tensor, values: Tensor, spans: PackedSpans, generator: torch.Generator | None
    ) -> Tensor:
        drawn = torch.multinomial(weights, 1, generator=generator).squeeze(1)
        return values[drawn[spans.span_index], spans.token_index % self.denoiser.language.length]


def _span_log_prob(weights: Tensor, values: Tensor, targets: Tensor, spans: PackedSpans) -> Tensor:
    """log of the share of weight on strings whose values agree with the targets on a span, (S,)."""
    column = spans.token_index % values.shape[1]
    misses = (spans.gather(targets)[:, None] != values[:, column].T).to(weights.dtype)  # (P, N)
    missed = torch.zeros_like(weights).index_add(0, spans.span_index, misses)
    return ((weights * (missed == 0)).sum(1) / weights.sum(1)).log()


def _code(hidden: Tensor) -> Tensor:
    """Hidden positions as the bits of a number, bool (B, L) -> long (B,)."""
    return (hidden.long() << torch.arange(hidden.shape[1])).sum(1)


def _chain_tables(speeds: Tensor) -> tuple[Tensor, Tensor]:
    """For every set of hidden positions the sum of its speeds, and how likely the chain comes by, (2^L, N).

    The chain reveals a hidden position u with probability k_u / K (Plackett-Luce), starting from all hidden.
    """
    num_strings, length = speeds.shape
    bits = (torch.arange(2**length)[:, None] >> torch.arange(length)) & 1
    totals = bits.to(speeds.dtype) @ speeds.T
    reached = torch.zeros(2**length, num_strings, dtype=speeds.dtype)
    reached[-1] = 1.0
    for code in range(2**length - 1, 0, -1):  # a set comes after all of its supersets
        for u in range(length):
            if code >> u & 1:
                reached[code & ~(1 << u)] += reached[code] * speeds[:, u] / totals[code]
    return totals, reached


def _hidden_speeds(corruption: Corruption, batch: Batch) -> Tensor | None:
    """Speeds that the state does not show, float64 (N, L); None if there are none."""
    speeds = corruption.token_speeds(batch)
    return None if speeds is None else speeds.detach()


def _check_known(corruption: Corruption, corrupted: Corrupted) -> None:
    """Refuses states of which the posterior is not known."""
    unknown = {f.name for f in fields(corrupted)} - {f.name for f in fields(Corrupted)}
    if unknown:
        raise NotUnderstood(
            f"{type(corrupted).__name__} has fields unknown to the audit ({', '.join(sorted(unknown))}); add "
            f"checks of its own to hdiff.audit.FAMILIES"
        )
    streams = 0 if corrupted.types_t is None else corrupted.types_t.shape[-1]
    if [term.stream for term in corrupted.type_terms] != list(range(streams)) or streams != len(
        corruption.type_sizes
    ):
        raise NotUnderstood(
            f"the state shows {streams} type streams, there are {len(corrupted.type_terms)} type terms and "
            f"{len(corruption.type_sizes)} type_sizes; give each stream its term"
        )
    if corrupted.speed is not None and not isinstance(corruption, (RateMatched, LearnedRates)):
        raise NotUnderstood(
            "hidden speeds of a class other than RateMatched and LearnedRates; their posterior is not known"
        )
