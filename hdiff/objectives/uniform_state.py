"""uniform_state_nelbo: the continuous-time bound for random replacement.

Dimensions: B batch, L tokens, P packed tokens, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hdiff.corruption.uniform_state import UniformCorrupted
from hdiff.errors import DataError


def uniform_state_nelbo(log_probs: Tensor, corrupted: UniformCorrupted) -> Tensor:
    """One unbiased estimate of an upper bound on -log p(x_0) per row, for t ~ U(0, 1].

    Write `q(y) = (1 - p) 1[y = x_0] + p / V` for the distribution of one token at time t, z for its value in
    x_t, and q' for q with the prediction in place of the indicator. A token counts

        dp / (1 - p)  *  1 / (V q(z))  *  { KL(q || q') + g(q(z) / q'(z)) },    g(u) = u - 1 - log u,

    and `KL(q at t = 1 || uniform)`, which is 0 if p reaches 1. Averaged over t and x_t it is at least
    -log p(x_0) for any prediction. The best one is p(x_0_i | x_t without token i): the evidence of token i
    itself enters through q' (arXiv:2605.22765 calls it the leave-one-out posterior); it reaches the entropy.
    Source: the rate form of the bound, arXiv:2205.14987, with the mean parametrisation of UDLM,
    arXiv:2412.10193; we write it as two terms >= 0, in which nothing cancels (docs/concepts.md).

    The sum over V costs O(P V) time and memory, in the type of `log_probs`; all else is float64, so that
    float32 costs 1e-6 of the value and a fifth of the time. As t -> 0 a replaced token weighs dp / p, so
    single draws are heavy-tailed: their variance is finite only if p falls faster than t. With one speed the
    bound is the same for every schedule that reaches 1; `polynomial` with k = 2 to 3 has the least noise.

    Args:
        log_probs: Normalised log-probabilities of the clean token at every real token, float (P, V); row j
            belongs to `corrupted.spans.token_index[j]`.
        corrupted: The corrupted batch.

    Returns:
        Nats of each row, float64 (B,).

    Raises:
        DataError: If `log_probs` is not (P, V).
    """
    spans, vocab_size = corrupted.spans, corrupted.vocab_size
    expected = (len(spans.token_index), vocab_size)
    if log_probs.shape != expected:
        raise DataError(
            f"log_probs has shape {tuple(log_probs.shape)}; give {expected}, one row per real token and one "
            f"column per token that replacements are drawn from (no mask)"
        )
    nats = _integrand(
        log_probs,
        spans.gather(corrupted.x_0),
        spans.gather(corrupted.x_t),
        spans.gather(corrupted.p),
        spans.gather(corrupted.dp),
    ) + prior_term(spans.gather(corrupted.p_at_one), vocab_size)
    rows = torch.zeros(corrupted.x_0.shape[0], dtype=nats.dtype, device=nats.device)
    return rows.index_add(0, spans.row[spans.span_index], nats)


def prior_term(p_at_one: Tensor, vocab_size: int) -> Tensor:
    """KL(q(x_1 | x_0) || uniform): what the last state still tells of a token.

    Args:
        p_at_one: Probability of having been replaced at t = 1, in [0, 1], float64, any shape.
        vocab_size: Vocabulary V.

    Returns:
        Nats per token, the same shape; 0 where p_at_one = 1, log V where it is 0.
    """
    kept = p_at_one + vocab_size * (1 - p_at_one)  # V q(x_0)
    other = torch.xlogy((vocab_size - 1) * p_at_one, p_at_one)
    return (torch.xlogy(kept, kept) + other) / vocab_size


def _integrand(log_x: Tensor, x_0: Tensor, x_t: Tensor, p: Tensor, dp: Tensor) -> Tensor:
    """Nats of each token at its time, float64 (P,), without loss of digits at either end of time.

    Near t = 1 both terms are O(alpha^2) and are multiplied by 1 / alpha: differences of nearly equal numbers
    would be all that is left, so everything is written in the ratios c = V q' / p - 1 and d = q / q' - 1.
    """
    vocab_size = log_x.shape[-1]
    # p_mask(t)^k can underflow; these leave V / p finite.
    p = p.clamp(min=1e-300 if log_x.dtype == torch.float64 else 1e-26)
    alpha = 1 - p
    gain = vocab_size * alpha  # V alpha
    log_x_0, log_x_t = (log_x.gather(1, token[:, None]).squeeze(1).to(torch.float64) for token in (x_0, x_t))
    # At y = x_0, q / q' = 1 + d; elsewhere V q = p and q / q' = 1 / (1 + c).
    d = gain * -torch.expm1(log_x_0) / (p + gain * log_x_0.exp())
    log_d = d.log1p()
    # V KL(q || q') = sum_y [V q log(q / q') - V q + V q'], each summand >= 0.
    sums: Tensor = _SumElsewhere.apply(log_x, gain / p, x_0)  # type: ignore[no-untyped-call]
    elsewhere = p * sums.to(torch.float64)
    at_clean = (p + gain) * log_d - gain * -torch.expm1(log_x_0)
    kl = (elsewhere + at_clean) / vocab_size
    is_clean = x_0 == x_t
    c_t = gain / p * log_x_t.exp()
    g = torch.where(is_clean, d - log_d, c_t.log1p() - c_t / (1 + c_t))
    q_t = torch.where(is_clean, p + gain, p)  # V q(z)
    # alpha = 0: the braces are 0 too, and the limit of their ratio is 0.
    hazard = torch.where(alpha > 0, dp / alpha.clamp(min=1e-300), 0.0)
    return hazard / q_t * (kl + g)


class _SumElsewhere(torch.autograd.Function):
    """sum over y != x_0 of c_y - log(1 + c_y), c = ratio * x: (P, V) -> (P,), one (P, V) tensor kept."""

    @staticmethod
    def forward(ctx: Any, log_x: Tensor, ratio: Tensor, x_0: Tensor) -> Tensor:
        c = log_x.exp().mul_(ratio.to(log_x.dtype)[:, None]).scatter_(1, x_0[:, None], 0.0)
        ctx.save_for_backward(c)
        return (c - c.log1p()).sum(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (c,) = ctx.saved_tensors
        return (c / (1 + c)).mul_(c).mul_(grads[0][:, None]), None, None
