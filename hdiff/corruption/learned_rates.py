"""LearnedRates: a token's masking speed is a function of its id, learned through the bound.

Dimensions: B batch, L tokens, V vocabulary.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor, nn

from hdiff.corruption.arguments import Count, check_count
from hdiff.corruption.base import Corruption
from hdiff.corruption.corrupted import Corrupted
from hdiff.corruption.hidden_speeds import hide_at_speeds
from hdiff.corruption.row_noise import rand
from hdiff.corruption.token_rates import TokenRates, check_max_ratio
from hdiff.corruption.visible_streams import VisibleStream, single_stream
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.schedules import Schedule


@final
class LearnedRates(Corruption):
    """Token i of id v is masked at `T_i = U^(1 / k_v)`: alpha_v(t) = 1 - t^{k_v}, one k per vocabulary entry.

    The speeds are parameters of the model that is trained (`Denoiser.token_rates`), which knows them, so it
    predicts no speed: the expected one follows from the tokens it expects. As the states depend on the
    speeds, the derivative of the bound has a term for how likely the drawn state was (`state_log_prob`).
    Source: GenMD4, arXiv:2406.04329; we add the chain of states (`count: exact`), where only ratios of
    speeds matter (docs/concepts.md, "learned speeds").

    Args:
        max_ratio: Fastest over slowest speed, at most.
        mask_id: See `Corruption`.
        schedule: See `Corruption`.
        count: `exact` (the chain of states without its times) or `bernoulli` (each token by its own time).
    """

    takes_joint_heads = False  # learned speeds weigh the scores of single tokens

    def __init__(
        self,
        *,
        max_ratio: float = 64.0,
        mask_id: int | None = None,
        schedule: Schedule | None = None,
        count: Count = "exact",
    ) -> None:
        super().__init__(mask_id=mask_id, schedule=schedule)
        self.max_ratio = check_max_ratio(max_ratio)
        self.count = check_count(count, schedule)
        self.rates: TokenRates | None = None

    @property
    def conditional_on_structure(self) -> bool:
        return False

    @property
    def predicts_speed(self) -> bool:
        return True

    def network_options(self, vocab_size: int) -> dict[str, Any]:
        rates = self.new_rates(vocab_size) if self.rates is None else deepcopy(self.rates).requires_grad_()
        return {**super().network_options(vocab_size), "token_rates": rates}

    def for_toy_language(self, vocab_size: int, length: int) -> LearnedRates:
        if self.rates is not None:
            return self
        rates = self.new_rates(vocab_size)  # equal ones would hide most errors
        rates.set_speeds(self.max_ratio ** torch.tensor([0.2, -0.2, 0.0]).repeat(vocab_size)[:vocab_size])
        return self.with_rates(rates.requires_grad_(False))

    def token_speeds(self, batch: Batch) -> Tensor:
        return self.log_speed(batch).exp()

    def visible_streams(self, is_masked: Tensor, types_t: Tensor) -> list[VisibleStream]:
        return [single_stream(is_masked, 1.0, None)]  # the model predicts the speeds

    def unconditional(self) -> LearnedRates:
        return self

    def new_rates(self, vocab_size: int) -> TokenRates:
        """Equal speeds, for a model that is to learn them."""
        return TokenRates(vocab_size, max_ratio=self.max_ratio)

    def with_rates(self, rates: TokenRates) -> LearnedRates:
        """The same corruption at given speeds, shared and not copied."""
        return self.changed(rates=rates)

    def of_model(self, model: nn.Module) -> LearnedRates:
        rates = getattr(model, "token_rates", None)
        if not isinstance(rates, TokenRates):
            raise DataError(
                f"{type(model).__name__} has no learned speeds; build it for this corruption "
                f"(hdiff.factory.build_model)"
            )
        return self.with_rates(rates)

    def log_speed(self, batch: Batch) -> Tensor:
        """log k of every token, float64 (B, L), with the gradient of the speeds."""
        if self.rates is None:
            raise DataError(
                "the corruption has no speeds, they belong to a model; use corruption.of_model(denoiser)"
            )
        return self.rates.log_speed[batch.input_ids]

    def corrupt(self, batch: Batch, t: Tensor, *, generator: torch.Generator | None = None) -> Corrupted:
        mask_id = self.check(batch, t)
        log_speed = self.log_speed(batch)
        speed = log_speed.exp()
        shape, device = batch.input_ids.shape, batch.input_ids.device
        u = rand(shape, generator=generator, device=device, dtype=torch.float64)
        log_t = u.log() / speed.detach()
        corrupted = hide_at_speeds(
            batch, t, log_t=log_t, speed=speed, mask_id=mask_id, schedule=self.schedule, count=self.count
        )
        if not speed.requires_grad:
            return corrupted
        is_masked = corrupted.is_masked
        state_log_prob = (
            _log_prob_of_order(log_t, log_speed, is_masked, batch.token_mask)
            if corrupted.is_chain
            else _log_prob_of_mask(speed, is_masked, batch.token_mask, self.schedule.p_mask(t.double()))
        )
        return replace(corrupted, state_log_prob=state_log_prob)


def _log_prob_of_order(log_t: Tensor, log_speed: Tensor, is_masked: Tensor, token_mask: Tensor) -> Tensor:
    """log of the probability that the visible tokens were revealed in this order, float64 (B,).

    The next one is i with probability k_i / K, K the sum over the tokens that are still hidden. That of the
    set alone is a sum over all its orders; the score of the order has the same mean.
    """
    order = log_t.masked_fill(~token_mask, -torch.inf).argsort(1, descending=True)  # padding comes last
    real, visible = token_mask.gather(1, order), (token_mask & ~is_masked).gather(1, order)
    speed = log_speed.gather(1, order).exp() * real
    remaining = speed.flip(1).cumsum(1).flip(1)  # (B, L): K when this token is revealed
    share = torch.where(visible, speed / remaining.clamp(min=torch.finfo(speed.dtype).tiny), 1.0)
    return share.log().sum(1)


def _log_prob_of_mask(speed: Tensor, is_masked: Tensor, token_mask: Tensor, p_mask: Tensor) -> Tensor:
    """log of the probability of exactly this mask, each token hidden with p_mask^k, float64 (B,)."""
    log_hidden = speed * p_mask.log()[:, None]
    # A visible token never has log_hidden = 0; at hidden ones any number does, so that no gradient is 0 / 0.
    log_visible = torch.log(-torch.expm1(torch.where(is_masked, -1.0, log_hidden)))
    return (torch.where(is_masked, log_hidden, log_visible) * token_mask).sum(1)
