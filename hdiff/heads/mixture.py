"""MixtureHead: K products, one shared component per span; a joint that is sampled in one shot.

Dimensions: P packed tokens, S spans, D width, V vocabulary, K components.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hdiff.errors import RecipeError
from hdiff.heads.base import Head
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.packed_spans import PackedSpans


@final
class MixtureHead(Head):
    """p(x_S | x_t) = sum_k pi_k(S) prod_i p_k(x_i | h_i): tokens depend on each other through k.

    pi reads the mean of the span's hidden states; p_k reads `h + W2 gelu(W1 h + c_k)` with a learned c_k, so
    with one component and W2 = 0 this is `ProductHead`. With a support every p_k is renormalised over it and
    pi stays as it is.

    Source: mixtures of product models for discrete diffusion, arXiv:2410.08709. There one latent variable
    serves the whole sequence and is learned by distillation; here it is discrete, one per span, and summed
    out exactly.

    Args:
        vocab_size: Vocabulary V, without the mask.
        width: Width of the trunk D.
        num_components: Products K.
        classes: See `Head`.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int,
        *,
        num_components: int = 8,
        classes: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__(vocab_size, width, classes=classes)
        if num_components < 1:
            raise RecipeError(
                f"mixture head with num_components={num_components}; it is at least 1, and 1 mixes nothing "
                f"(use 2 or more for a joint)"
            )
        self.components = nn.Parameter(torch.randn(num_components, width))  # c_k
        self.expand = nn.Linear(width, width, bias=False)
        self.contract = nn.Linear(width, width, bias=False)
        self.pool = nn.Linear(width, width, bias=False)
        self.choose = nn.Linear(width, num_components)
        for layer in (self.expand, self.contract, self.pool):
            nn.init.normal_(layer.weight, std=width**-0.5)
        # All components are equally likely at first, so that each of them learns.
        nn.init.zeros_(self.choose.weight)
        nn.init.zeros_(self.choose.bias)

    def log_prob(
        self, hidden: Tensor, targets: Tensor, spans: PackedSpans, *, support: Tensor | None = None
    ) -> Tensor:
        expanded = self.expand(hidden)
        # A component's (P, V) scores are made again in the backward pass instead of kept K times.
        by_component = [
            checkpoint(
                self._span_log_prob,
                hidden,
                expanded,
                component,
                targets,
                spans,
                support,
                use_reentrant=False,
                preserve_rng_state=False,
            )
            for component in self.components
        ]
        return (self._log_weights(hidden, spans) + torch.stack(by_component, -1)).logsumexp(-1)

    def sample(
        self,
        hidden: Tensor,
        spans: PackedSpans,
        *,
        generator: torch.Generator | None = None,
        sampling: Sampling = AS_IT_IS,
        support: Tensor | None = None,
    ) -> Tensor:
        """Draws a component per span, then all tokens at once given it.

        Temperature acts on both draws; top_k, top_p and banned are about tokens, given the component. Only
        top_k = 1 is greedy in both: the most likely component, then its most likely tokens.

        Args:
            hidden: Trunk output at the spans' tokens, float (P, D).
            spans: Which tokens form a span.
            generator: Source of randomness, on the device of `hidden`.
            sampling: Temperature and truncation.
            support: Tokens that are possible at each position, bool (P, V); None if all are.

        Returns:
            Tokens, long (P,).
        """
        log_weights = self._log_weights(hidden, spans)
        if sampling.top_k == 1:
            chosen = log_weights.argmax(-1)  # (S,)
        else:
            of_component = Sampling(temperature=sampling.temperature)
            chosen = of_component.draw(log_weights, generator=generator)
        component = self.components[chosen[spans.span_index]]  # (P, D)
        state = self._state(hidden, self.expand(hidden), component)
        return self.draw_tokens(state, sampling, generator=generator, support=support)

    def token_log_probs(self, hidden: Tensor, spans: PackedSpans | None = None) -> Tensor:
        expanded = self.expand(hidden)
        by_component = [
            self.logits(self._state(hidden, expanded, component)).float().log_softmax(-1)
            for component in self.components
        ]  # K x (P, V)
        spans = PackedSpans.single_tokens(len(hidden), device=hidden.device)
        log_weights = self._log_weights(hidden, spans)  # (P, K)
        return (torch.stack(by_component, 1) + log_weights[..., None]).logsumexp(1)

    def _state(self, hidden: Tensor, expanded: Tensor, component: Tensor) -> Tensor:
        return hidden + self.contract(F.gelu(expanded + component, approximate="tanh"))  # type: ignore[no-any-return]

    def _span_log_prob(
        self,
        hidden: Tensor,
        expanded: Tensor,
        component: Tensor,
        targets: Tensor,
        spans: PackedSpans,
        support: Tensor | None,
    ) -> Tensor:
        """log prod_i p_k(x_i | h_i), float (S,)."""
        state = self._state(hidden, expanded, component)
        return spans.sum_tokens(self.token_log_prob(state, targets, support))

    def _log_weights(self, hidden: Tensor, spans: PackedSpans) -> Tensor:
        """log pi_k(S), float (S, K), from the mean hidden state of each span."""
        total = hidden.new_zeros(spans.num_spans, self.width).index_add(0, spans.span_index, hidden)
        pooled = F.gelu(self.pool(total / spans.length[:, None]), approximate="tanh")
        return self.choose(pooled).float().log_softmax(-1)  # type: ignore[no-any-return]
