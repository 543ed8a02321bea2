"""Denoiser: trunk + head, from corrupted tokens to span distributions.

Dimensions: B batch, L tokens, S spans, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any, ClassVar, cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdiff.corruption.corrupted import Corrupted
from hdiff.corruption.token_rates import TokenRates
from hdiff.errors import DataError
from hdiff.heads.base import Head
from hdiff.layers.attention import documents_apart
from hdiff.layers.reveal_mask import seen_in_order
from hdiff.layers.trunk import Trunk
from hdiff.layers.trunk_cache import TrunkCache
from hdiff.models.headed import Headed
from hdiff.models.output import DenoiserOutput, asked, padding_mask, without_padding
from hdiff.models.planner import Planner
from hdiff.packed_spans import PackedSpans


@final
class Denoiser(Headed):
    """p(x_S | x_t): a bidirectional trunk over x_t and a head over each span's tokens.

    The trunk reads `x_t`, `token_mask` and, if the corruption generates types, those that are visible
    already. No segmentation, label or salience of a hidden position enters it
    (docs/concepts.md, "what structure may be used for").

    Args:
        trunk: Bidirectional trunk.
        head: Head; it owns the token table used for the input.
        type_heads: A head for each type stream, coarse to fine; its vocabulary is that of the types.
        predicts_speed: Whether a head predicts the masking speed of hidden tokens.
        token_classes: Class of each token, long (V,), if the last type stream shows it: only tokens of a
            visible class are possible then.
        class_parents: For every type stream after the first the type of the stream before in which each of
            its types lies: only those of a visible type are possible then.
        planner: Predicts spans, labels and salience of hidden tokens, for samplers that ask it.
        num_flags: Kinds of units that the state tells at hidden tokens (`Corruption.flag_levels`).
        token_rates: Learned masking speeds of the tokens; the expected speed of a hidden one follows from its
            scores, which are those of a product head.
    """

    token_classes: Tensor | None

    reads_parts: ClassVar[bool] = True
    """Whether some positions can be read against kept keys and values, and documents apart."""

    def __init__(
        self,
        trunk: Trunk,
        head: Head,
        *,
        type_heads: Sequence[Head] = (),
        predicts_speed: bool = False,
        token_classes: Tensor | None = None,
        class_parents: Sequence[Sequence[int]] = (),
        planner: Planner | None = None,
        token_rates: TokenRates | None = None,
        num_flags: int = 0,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.type_heads = nn.ModuleList(type_heads)
        self.token_rates = token_rates
        self.speed = nn.Linear(head.width, 1) if predicts_speed and token_rates is None else None
        if self.speed is not None:
            nn.init.zeros_(self.speed.weight)
            nn.init.zeros_(self.speed.bias)
        self.planner = planner
        self.asked_flags: Tensor | None = None
        self.flag_embedding = nn.Embedding(num_flags, head.width) if num_flags else None
        if self.flag_embedding is not None:
            nn.init.normal_(self.flag_embedding.weight, std=head.width**-0.5)
        self.register_buffer("token_classes", token_classes, persistent=False)
        self.num_nested = len(class_parents)
        for number, parents in enumerate(class_parents, start=1):
            self.register_buffer(f"type_parents_{number}", torch.tensor(parents), persistent=False)

    @property
    def reads_in_order(self) -> bool:
        """Whether visible tokens see only what was revealed no later."""
        return bool(getattr(self.trunk, "in_order", False))

    def unclipped_parameters(self) -> Iterable[nn.Parameter]:
        """Those of learned speeds: their drawn gradients are noisy, and Adam gives them steps anyway."""
        return () if self.token_rates is None else self.token_rates.parameters()

    def hidden(
        self,
        x_t: Tensor,
        token_mask: Tensor | None = None,
        *,
        types_t: Tensor | None = None,
        document_ids: Tensor | None = None,
        flags: Tensor | None = None,
        order: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Trunk output.

        Args:
            x_t: Tokens, `mask_id` where hidden, long (B, L).
            token_mask: Real tokens, bool (B, L); None if all are.
            types_t: Visible types, the number of types where hidden, long (B, L, R); None without types.
            document_ids: Document of each token, -1 at padding, long (B, L): a token sees only its own, and
                `token_mask` is not needed. None: a token sees the whole row.
            flags: Kind of units each hidden token is of, 0 for random or visible, long (B, L); None: those
                that are asked for, if any.
            order: When each visible token was revealed, for trunks that see in order (`seen_in_order`).
            places: Places in the flattened batch to give the output of, real tokens, long (P,); None: all.

        Returns:
            float (B, L, D), or (P, D).

        Raises:
            DataError: If model and corruption have different type streams.
        """
        given = 0 if types_t is None else types_t.shape[-1]
        if given != len(self.type_heads):
            raise DataError(
                f"the model has {len(self.type_heads)} type heads, the corruption {given} type streams; "
                f"build the model for this corruption (corruption.type_sizes)"
            )
        embedded = self.embed(x_t, types_t, flags)
        options: dict[str, Any] = {}
        if self.reads_in_order:
            seen = seen_in_order(x_t != self.mask_id, order, token_mask=token_mask, document_ids=document_ids)
            token_mask, options = None, {"visible": seen}
        elif document_ids is not None:
            token_mask, options = None, {"visible": documents_apart(document_ids)}
        if places is None:
            return without_padding(self.trunk(embedded, token_mask, **options), token_mask)
        if not getattr(self.trunk, "gives_places", False):
            return self.trunk(embedded, token_mask, **options).flatten(0, 1)[places]  # type: ignore[no-any-return]
        return self.trunk(embedded, token_mask, **options, places=places)  # type: ignore[no-any-return]

    def cached_hidden(
        self, x_t: Tensor, token_mask: Tensor | None, cache: TrunkCache | None, active: Tensor
    ) -> tuple[Tensor, TrunkCache]:
        """Trunk output, computed anew at some positions only.

        Args:
            x_t: Tokens, `mask_id` where hidden, long (B, L).
            token_mask: Real tokens, bool (B, L); None if all are.
            cache: Cache of an earlier state of the same rows; None computes everything.
            active: Positions to compute anew, bool (B, L).

        Returns:
            Trunk output, float (B, L, D), and the cache for the next call.
        """
        embedded = self.embed(x_t)
        if cache is None:
            cache = self.trunk.fill_cache(embedded, token_mask)
            return without_padding(cache.output, token_mask), cache
        return without_padding(self.trunk.update(embedded, cache, active, token_mask), token_mask), cache

    def asking(self, flags: Tensor) -> Denoiser:
        """The same network, told of which kind the units to fill are.

        Args:
            flags: Kind at each position, 0 for random units, long (L,); it counts where a token is hidden.

        Returns:
            A denoiser with these weights.

        Raises:
            DataError: If the network was not trained with so many kinds.
        """
        known = 0 if self.flag_embedding is None else self.flag_embedding.num_embeddings
        if int(flags.max()) > known:
            raise DataError(
                f"units of kind {int(flags.max())} are asked for, the model tells {known} kinds; train one "
                f"with corruption: {{kind: span_masking, segmentation: mixture, flagged: true}}"
            )
        asking = copy(self)
        asking.asked_flags = flags.to(self.head.embedding.weight.device)
        return asking

    def embed(self, x_t: Tensor, types_t: Tensor | None = None, flags: Tensor | None = None) -> Tensor:
        """What the trunk reads of a state, float (B, L, D); see `hidden`."""
        embedded = self.head.embed(x_t)
        if flags is None and self.asked_flags is not None:
            flags = self.asked_flags * (x_t == self.mask_id)
        if flags is not None and self.flag_embedding is not None:
            # Drawn and scaled like a token's vector: a small one would drown in the residual stream.
            shown = self.flag_embedding((flags - 1).clamp(min=0)) * self.head.width**0.5
            embedded = embedded + shown * (flags > 0)[..., None]
        for stream, type_head in enumerate(self._type_heads()):
            assert types_t is not None
            embedded = embedded + type_head.embed(types_t[..., stream])
        return embedded

    def forward(self, corrupted: Corrupted) -> DenoiserOutput:
        """Log-probability of the clean tokens of each span to predict, and of each unit of types."""
        return self.scored(corrupted, *self.read_spans(corrupted))

    def scored(
        self, corrupted: Corrupted, hidden: Tensor | None, packed: Tensor, spans: PackedSpans
    ) -> DenoiserOutput:
        """What `forward` returns, from what `read_spans` gives."""
        plan = None if self.planner is None else self.planner(hidden)
        if self.token_rates is not None:
            scores, log_speed = self.token_rates.next_token(self.head.logits(packed))
            log_prob = -F.cross_entropy(scores, spans.gather(corrupted.x_0), reduction="none")
            return DenoiserOutput(log_prob=log_prob, log_speed=log_speed, plan=plan, hidden=hidden)
        support = self.support(corrupted.types_t, spans)
        options = {} if support is None else {"support": support}
        return DenoiserOutput(
            log_prob=self.head.log_prob(packed, spans.gather(corrupted.x_0), spans, **options),
            type_log_prob=tuple(
                type_head.log_prob(
                    *asked(term.spans, cast(Tensor, hidden), term.targets),
                    support=self.type_support(term.stream, corrupted.types_t, term.spans),
                )
                for type_head, term in zip(self._type_heads(), corrupted.type_terms, strict=True)
            ),
            log_speed=None if self.speed is None else self.speed(packed[spans.first]).squeeze(-1),
            plan=plan,
            hidden=hidden,
        )

    def read_spans(self, corrupted: Corrupted) -> tuple[Tensor | None, Tensor, PackedSpans]:
        """Output of all places if anything reads them, of the spans' tokens, and the spans."""
        spans, readers = corrupted.spans, (self.planner, self.supervision, *self.type_heads)
        if getattr(self.head, "sees_row", False) or any(reader is not None for reader in readers):
            hidden = self._hidden_of(corrupted)
            return hidden, *spans.read(hidden)
        return None, self._hidden_of(corrupted, spans.token_index), spans

    def _hidden_of(self, corrupted: Corrupted, places: Tensor | None = None) -> Tensor:
        return self.hidden(
            corrupted.x_t,
            padding_mask(corrupted.token_mask, corrupted.is_padded),
            types_t=corrupted.types_t,
            document_ids=corrupted.document_ids,
            flags=corrupted.flags,
            order=corrupted.order,
            places=places,
        )

    def read(self, corrupted: Corrupted) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the heads read of a state.

        Args:
            corrupted: The state.

        Returns:
            Trunk output of all positions, float (B, L, D), and of the packed ones, float (P, D); tokens that
            visible classes leave possible, bool (P, V), or None.
        """
        hidden, spans = self._hidden_of(corrupted), corrupted.spans
        return hidden, spans.gather(hidden), self.support(corrupted.types_t, spans)

    def support(self, types_t: Tensor | None, spans: PackedSpans) -> Tensor | None:
        """Tokens that the visible classes leave possible at packed positions.

        Args:
            types_t: Visible types, long (B, L, R).
            spans: Packed positions, all with a visible class.

        Returns:
            bool (P, V), or None if classes are not shown.
        """
        if self.token_classes is None or types_t is None:
            return None
        return spans.gather(types_t)[:, -1:] == self.token_classes

    def type_support(self, stream: int, types_t: Tensor | None, spans: PackedSpans) -> Tensor | None:
        """Types of a stream that the visible ones of the stream before leave possible at packed positions.

        Args:
            stream: Number of the type stream.
            types_t: Visible types, long (B, L, R).
            spans: Packed positions, all with a visible type in the stream before.

        Returns:
            bool (P, types of the stream), or None if all are.
        """
        if not 0 < stream <= self.num_nested or types_t is None:
            return None
        parents: Tensor = getattr(self, f"type_parents_{stream}")
        return spans.gather(types_t)[:, stream - 1 : stream] == parents

    def _type_heads(self) -> list[Head]:
        return [head for head in self.type_heads if isinstance(head, Head)]
