"""sample_uniform_state: from random tokens to text; every token may change in every step. Torch only.

Dimensions: B samples, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hdiff.corruption.uniform_state import UniformState
from hdiff.errors import DataError
from hdiff.reveal_order import check_num_steps


def reverse_posterior(probs: Tensor, x_t: Tensor, p_t: Tensor, p_s: Tensor) -> Tensor:
    """q(x_s | x_t, x_0 ~ probs): the distribution of every token at an earlier time s.

    Up to normalisation `[r 1[y = x_t] + (1 - r) / V] [alpha_s probs(y) + (1 - alpha_s) / V]`, alpha = 1 - p
    and r = alpha_t / alpha_s. If `probs` is p(x_0_i | x_t without token i), it is the true distribution of
    each single token. Source: arXiv:2412.10193, posterior of uniform noise, with the prediction for x_0.

    Args:
        probs: Predicted probabilities of the clean token, float64 (..., V).
        x_t: Tokens at time t, long (...).
        p_t: Probability of having been replaced at time t, float64, broadcast against `x_t`.
        p_s: The same at time s < t, p_s <= p_t.

    Returns:
        Probabilities, float64 (..., V).
    """
    vocab_size = probs.shape[-1]
    p_t, p_s = p_t.expand(x_t.shape)[..., None], p_s.expand(x_t.shape)[..., None]
    # 0 / 0 where nothing is left at time s already: then x_t tells nothing about x_s.
    kept = (1 - p_t) / (1 - p_s).clamp(min=1e-300)
    likelihood = ((1 - kept) / vocab_size).expand(probs.shape)
    likelihood = likelihood.scatter_add(-1, x_t[..., None], kept)
    joint = likelihood * ((1 - p_s) * probs + p_s / vocab_size)
    return joint / joint.sum(-1, keepdim=True)


@torch.no_grad()
def sample_uniform_state(
    log_probs_of: Callable[[Tensor, Tensor], Tensor],
    corruption: UniformState,
    *,
    num_samples: int,
    length: int,
    num_steps: int,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    temperature: float = 1.0,
) -> tuple[Tensor, int]:
    """Draws rows by T ancestral steps over equal intervals of time, from uniformly random tokens.

    The tokens of a step are drawn independently given x_t, so with the best predictions the law of the
    samples approaches that of the text as T grows, with an error of order 1 / T.

    Args:
        log_probs_of: Log-probabilities of the clean tokens, float (B, L, V), from x_t, long (B, L), and the
            probability p of having been replaced, float64 (B, L).
        corruption: The corruption, with one speed for all tokens.
        num_samples: Rows B.
        length: Tokens per row L.
        num_steps: Steps T.
        generator: Source of randomness, on `device`.
        device: Where tokens live.
        temperature: Divides the predicted log-probabilities; other values than 1 have no bound.

    Returns:
        tokens: Samples, long (B, L).
        nfe: Calls of `log_probs_of`.

    Raises:
        DataError: If a number is not positive, speeds differ by structure, or `mask_id` is not set.
    """
    if num_samples < 1 or length < 1:
        raise DataError(f"{num_samples} samples of {length} tokens; both must be at least 1")
    if not temperature > 0:
        raise DataError(f"temperature is {temperature}; it must be > 0 (1 samples the model as it is)")
    if corruption.conditional_on_structure:
        raise DataError(
            "speeds by salience or unit do not exist before the text; use corruption.unconditional()"
        )
    if corruption.mask_id is None:
        raise DataError("the corruption has no mask_id; pass mask_id=vocab_size or let a Denoiser set it")
    shape, vocab_size = (num_samples, length), corruption.mask_id
    tokens = torch.randint(vocab_size, shape, generator=generator, device=device)
    speed = torch.full(shape, corruption.speeds.k[0], dtype=torch.float64, device=device)
    times = torch.linspace(1, 0, check_num_steps(num_steps) + 1, dtype=torch.float64, device=device)
    p_t, _ = corruption.replacement(times[0], speed)
    for s in times[1:]:
        p_s, _ = corruption.replacement(s, speed)
        log_probs = log_probs_of(tokens, p_t).to(torch.float64) / temperature
        law = reverse_posterior(log_probs.softmax(-1), tokens, p_t, p_s)
        drawn = torch.multinomial(law.flatten(0, 1), 1, generator=generator)
        tokens, p_t = drawn.view(shape), p_s
    return tokens, num_steps
