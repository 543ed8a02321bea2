"""AutoregressiveHead: tokens of a span one after another, by causal layers inside the span.

Dimensions: P packed tokens, S spans, D width, V vocabulary, H heads, M tokens of the longest span.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdiff.errors import DataError, RecipeError
from hdiff.heads.base import Head
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.heads.span_memory import RowMemory, SpanMemory
from hdiff.layers.attention import row_attention, span_attention
from hdiff.layers.trunk import FeedForward, initialise, rotary_angles, rotate
from hdiff.packed_spans import PackedSpans


@final
class SpanLayer(nn.Module):
    """A transformer layer whose attention is causal inside each packed span, and may see the row too."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.feed_forward_norm = nn.LayerNorm(width, bias=False)
        self.feed_forward = FeedForward(width)

    def forward(self, hidden: Tensor, spans: PackedSpans, row: Tensor | None = None) -> Tensor:
        """(P, D) -> (P, D); the keys of the row (B, L, D), if it is seen, have the weights of the span's."""
        place = spans.offset if row is None else spans.token_index % row.shape[1]
        query, key, value = self._project(hidden, place)  # (P, H, E) each
        if row is None:
            mixed = span_attention(query, key, value, spans)
        else:
            mixed = row_attention(query, key, value, spans, *self._row_keys(row), (row != 0).any(-1))
        return self._finish(hidden, mixed)

    def memory(self, spans: PackedSpans, row: Tensor | None = None) -> SpanMemory | RowMemory:
        """What `step` keeps of the spans, none of whose tokens is drawn yet."""
        if row is None:
            return SpanMemory(spans)
        return RowMemory(spans, *self._row_keys(row), (row != 0).any(-1))

    def step(
        self, hidden: Tensor, memory: SpanMemory | RowMemory, offset: int, token_index: Tensor
    ) -> Tensor:
        """As `forward` at one offset of all open spans, earlier ones from the memory: (N, D) -> (N, D)."""
        query, key, value = self._project(hidden, memory.places(offset, token_index))
        mixed = memory.attend(query, key, value, offset, token_index)
        return self._finish(hidden, mixed)

    def _finish(self, hidden: Tensor, mixed: Tensor) -> Tensor:
        hidden = hidden + self.project(mixed.flatten(1))
        hidden = hidden + self.feed_forward(self.feed_forward_norm(hidden))
        return hidden

    def _project(self, hidden: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys turned to their places, and values: (..., D) -> (..., H, E) each."""
        qkv = self.qkv(self.attention_norm(hidden)).unflatten(-1, (3 * self.num_heads, -1))
        turned, value = qkv.split([2 * self.num_heads, self.num_heads], dim=-2)
        query, key = rotate(turned, rotary_angles(place, value.shape[-1])).chunk(2, dim=-2)
        return query, key, value

    def _row_keys(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """Keys turned to their places, and values, by the same weights: (B, L, D) -> (B, L, H, E) each."""
        weight = self.qkv.weight[row.shape[-1] :]  # nothing is asked from these places
        both = F.linear(self.attention_norm(row), weight).view(*row.shape[:-1], 2 * self.num_heads, -1)
        key, value = both.chunk(2, dim=-2)
        return rotate(key, rotary_angles(torch.arange(row.shape[1], device=row.device), key.shape[-1])), value


@final
class AutoregressiveHead(Head):
    """p(x_S | x_t) = prod_i p(x_i | x_{<i in S}, x_t): an exact joint over the span's tokens.

    The trunk runs once; only these small layers run token by token when sampling. At a position the
    layers read the trunk's output and the span's token before it; positions inside the span are rotary.

    Args:
        vocab_size: Vocabulary V, without the mask.
        width: Width of the trunk D.
        num_layers: Causal layers, 1 or 2.
        num_heads: Attention heads of a layer.
        sees_row: Whether the layers also attend to the trunk's output of the whole row, with the weights that
            they have. It was made from visible tokens alone, so the joint stays exact. The spans must know
            their rows (`PackedSpans.read`).
        residual: Whether what the layers find is added to the trunk's output, by a map that is zero at first:
            the head then begins as a product head on its table, as a checkpoint's output layer wants it.
        classes: See `Head`.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int,
        *,
        num_layers: int = 1,
        num_heads: int = 4,
        sees_row: bool = False,
        residual: bool = False,
        classes: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__(vocab_size, width, classes=classes)
        if num_heads < 1 or width % (2 * num_heads) or num_layers < 1:
            raise RecipeError(
                f"autoregressive head with num_layers={num_layers}, num_heads={num_heads}, width={width}; "
                f"num_layers is at least 1 and the width a multiple of 2 * num_heads"
            )
        self.sees_row = sees_row
        self.begin = nn.Parameter(torch.zeros(width))  # stands for the token before a span's first
        self.previous = nn.Linear(width, width, bias=False)
        self.layers = nn.ModuleList(SpanLayer(width, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.addition = nn.Linear(width, width, bias=False) if residual else None
        if self.addition is not None:
            nn.init.zeros_(self.addition.weight)
        nn.init.normal_(self.previous.weight, std=width**-0.5)
        for layer in self.layers:
            initialise(layer, num_layers)

    def log_prob(
        self, hidden: Tensor, targets: Tensor, spans: PackedSpans, *, support: Tensor | None = None
    ) -> Tensor:
        before = targets.roll(1)  # packed: the token before, where offset > 0
        states = self._states(hidden, before, spans)
        return spans.sum_tokens(self.token_log_prob(states, targets, support))

    def sample(
        self,
        hidden: Tensor,
        spans: PackedSpans,
        *,
        generator: torch.Generator | None = None,
        sampling: Sampling = AS_IT_IS,
        support: Tensor | None = None,
    ) -> Tensor:
        def draw(states: Tensor, places: Tensor) -> Tensor:
            possible = None if support is None else support[places]
            return self.draw_tokens(states, sampling, generator=generator, support=possible)

        return self._in_turn(hidden, spans, draw)

    def log_confidence(self, hidden: Tensor, spans: PackedSpans, *, support: Tensor | None = None) -> Tensor:
        log_probs = hidden.new_zeros(len(hidden), dtype=torch.float32)

        def most_likely(states: Tensor, places: Tensor) -> Tensor:
            scores = self.logits(states, None if support is None else support[places]).float()
            best = scores.max(-1)
            log_probs[places] = best.values - scores.logsumexp(-1)
            return best.indices

        self._in_turn(hidden, spans, most_likely)
        return spans.sum_tokens(log_probs)

    def _in_turn(
        self, hidden: Tensor, spans: PackedSpans, choose: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Fills spans one offset after another, all open spans at once; finished ones cost nothing more.

        Args:
            hidden: Trunk output at the spans' tokens, float (P, D).
            spans: Which tokens form a span.
            choose: Tokens, long (N,), from what predicts them, float (N, D), and their packed places.

        Returns:
            Tokens, long (P,).
        """
        tokens = torch.zeros_like(spans.token_index)
        if not len(tokens):
            return tokens
        row = self._row(spans)
        layers = [cast(SpanLayer, layer) for layer in self.layers]
        memories = [layer.memory(spans, row) for layer in layers]
        lengths = spans.lengths
        places = spans.length.cumsum(0) - spans.length  # (N,): the next token of each open span
        for offset in range(max(lengths)):
            if min(lengths) <= offset:
                still = [number for number, length in enumerate(lengths) if length > offset]
                lengths = [lengths[number] for number in still]
                open_spans = torch.tensor(still, device=places.device)
                places = places[open_spans]
                for memory in memories:
                    memory.keep(open_spans)
            read = hidden[places]
            states = self._given(read) + (
                self.previous(self.embed(tokens[places - 1])) if offset else self.begin
            )
            for layer, memory in zip(layers, memories, strict=True):
                states = layer.step(states, memory, offset, spans.token_index[places])
            tokens[places] = choose(self._added(read, states), places)
            places = places + 1
        return tokens

    def sequential_passes(self, lengths: Tensor) -> Tensor:
        return lengths.clamp(min=1)

    def next_log_probs(self, hidden: Tensor, before: Tensor, spans: PackedSpans) -> Tensor:
        """log p of every token at each place, given the tokens before it in its span.

        Args:
            hidden: Trunk output at the spans' tokens, float (P, D).
            before: The token before each, long (P,); of the first of a span any.
            spans: Which tokens form a span.

        Returns:
            In nats, float (P, V).
        """
        return self.logits(self._states(hidden, before, spans)).float().log_softmax(-1)

    def token_log_probs(self, hidden: Tensor, spans: PackedSpans | None = None) -> Tensor:
        spans = spans or PackedSpans.single_tokens(len(hidden), device=hidden.device)
        return self.next_log_probs(hidden, torch.zeros_like(spans.offset), spans)

    def _states(self, hidden: Tensor, before: Tensor, spans: PackedSpans) -> Tensor:
        """Hidden states that predict each packed token: (P, D), given the token before it (P,)."""
        previous = self.previous(self.embed(before))
        previous = torch.where((spans.offset == 0)[:, None], self.begin.to(previous.dtype), previous)
        states = self._given(hidden) + previous
        row = self._row(spans)
        for layer in self.layers:
            states = layer(states, spans, row)
        return self._added(hidden, states)

    def _given(self, hidden: Tensor) -> Tensor:
        """What the layers read of the trunk: the scale of a released one must not drown the token before."""
        return hidden if self.addition is None else F.layer_norm(hidden, hidden.shape[-1:])

    def _added(self, hidden: Tensor, states: Tensor) -> Tensor:
        """What predicts a token, from the trunk's output and what the layers made of it."""
        normed: Tensor = self.norm(states)
        return normed if self.addition is None else hidden + self.addition(normed)

    def _row(self, spans: PackedSpans) -> Tensor | None:
        """Trunk output of the rows, if the layers see it."""
        row = spans.row_hidden if self.sees_row else None
        if self.sees_row and row is None:
            raise DataError(
                "the head sees the whole row, and the spans do not know theirs; give it what "
                "spans.read(hidden) returns, both the packed trunk output and the spans"
            )
        return row
