"""ReplacementSampler: from random tokens to text; every token may change in every step.

Dimensions: B samples, L tokens, V vocabulary.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.corruption.uniform_state import UniformState
from hdiff.errors import DataError
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.models.wrapped import unwrapped
from hdiff.reveal_order import check_num_steps
from hdiff.samplers.base import OnStep, UnscoredSampler, check_free_rows, check_temperature_only
from hdiff.samplers.samples import Samples, each_token_alone


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


@final
class ReplacementSampler(UnscoredSampler):
    """T ancestral steps over equal intervals of time, from uniformly random tokens; no step is final.

    The tokens of a step are drawn independently given x_t, so with the best predictions the law of the
    samples approaches that of the text as T grows, with an error of order 1 / T.

    Args:
        num_steps: Steps T.
        sampling: A temperature, which divides the predicted log-probabilities.
    """

    bans = False
    why_no_score = "ReplacementSampler has no likelihood bound; the bound of its model is `evaluate_bound`"

    def __init__(self, num_steps: int, *, sampling: Sampling = AS_IT_IS) -> None:
        super().__init__(sampling=sampling)
        self.num_steps = check_num_steps(num_steps)

    def check_sampling(self, sampling: Sampling) -> Sampling:
        return check_temperature_only(sampling, "replaced tokens")

    @torch.no_grad()
    def sample(
        self,
        denoiser: Any,
        corruption: Corruption,
        tokens: Tensor,
        *,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Samples:
        """Draws samples; the denoiser has the `log_probs` of `UniformDenoiser`."""
        denoiser, noise = unwrapped(denoiser), _check(corruption)
        if noise.mask_id is None:
            raise DataError("the corruption has no mask_id; pass mask_id=vocab_size or let a Denoiser set it")
        check_free_rows(tokens, noise.mask_id, noise)
        shape, vocab_size, device = tokens.shape, noise.mask_id, tokens.device
        tokens = torch.randint(vocab_size, shape, generator=generator, device=device)
        if on_step is not None:
            on_step(-1, tokens)
        speed = torch.full(shape, noise.speeds.k[0], dtype=torch.float64, device=device)
        times = torch.linspace(1, 0, self.num_steps + 1, dtype=torch.float64, device=device)
        p_t, _ = noise.replacement(times[0], speed)
        for step, s in enumerate(times[1:]):
            p_s, _ = noise.replacement(s, speed)
            log_probs = denoiser.log_probs(tokens, p_t).to(torch.float64) / self.sampling.temperature
            law = reverse_posterior(log_probs.softmax(-1), tokens, p_t, p_s)
            drawn = torch.multinomial(law.flatten(0, 1), 1, generator=generator)
            tokens, p_t = drawn.view(shape), p_s
            if on_step is not None:
                on_step(step, tokens)
        return each_token_alone(tokens, torch.full_like(tokens, self.num_steps - 1), self.num_steps)


def _check(corruption: Corruption) -> UniformState:
    if not isinstance(corruption, UniformState):
        raise DataError(
            f"ReplacementSampler draws replaced tokens; {type(corruption).__name__} has its own sampler, "
            f"'{corruption.plain_sampler()['kind']}'"
        )
    if corruption.conditional_on_structure:
        raise DataError(
            "speeds by salience or unit do not exist before the text; use corruption.unconditional()"
        )
    return corruption
