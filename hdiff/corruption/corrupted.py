"""Corrupted: a batch at time t, and what each prediction weighs.

Dimensions: B batch, L tokens, S spans, R type streams.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hdiff.packed_spans import PackedSpans


@dataclass(frozen=True)
class TypeTerm:
    """The types of one stream that are to be predicted.

    Attributes:
        stream: Which type stream, 0 the coarsest.
        spans: The units whose types are predicted, packed.
        targets: True types, long (B, L).
        weight: Weight of each unit's -log p(types | state), float (S,).
    """

    stream: int
    spans: PackedSpans
    targets: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Corrupted:
    """A batch at time t, and the spans whose prediction counts.

    Attributes:
        x_t: Tokens with `mask_id` where hidden, long (B, L).
        x_0: Clean tokens, long (B, L). The trunk never reads them; joint heads read the tokens
            before a position inside its own span (teacher forcing).
        token_mask: True at real tokens, bool (B, L).
        is_masked: True where x_t is hidden, bool (B, L).
        spans: The spans to predict, whole units among the masked tokens.
        weight: Weight of each span's -log p(x_S | x_t) in the bound, float (S,).
        conditional_on_structure: True if the masked units were computed from x_0; then the bound
            is one on -log p(x_0 | structure) and not comparable with -log p(x_0).
        types_t: Types that are visible, the number of types where hidden, long (B, L, R); None if the
            corruption has no typed masks.
        type_terms: Types to predict; their loss is the structure part of the bound.
        speed: True relative masking speed of each span, float (S,), if the model must predict it;
            the loss then has a rate term. None: all spans are equally fast, or the state shows it.
        is_chain: Whether times are left out (exact counts), so that only ratios of speeds are predicted.
        state_log_prob: log of the probability that this state was drawn given x_0, float64 (B,), if its law
            is learned and gradients are on; the objective needs its derivative. None: nothing to learn.
        document_ids: As in `Batch`: a token may see its own document only. None: it sees the whole row.
        flags: Of which kind the units of hidden tokens are, their number in `flag_levels` from 1; 0 for
            random units and visible tokens, long (B, L). None: the state does not tell, as in every bound
            on -log p(x_0).
        order: When each visible token was revealed, a lower number being earlier and tokens of a unit alike,
            long (B, L), >= 0 at free tokens; not read at hidden ones. It is drawn without a look at x_0.
            None: these states have no order.
        is_padded: Whether any row has padding; None: nobody asked yet, and the device must be waited for.
    """

    x_t: Tensor
    x_0: Tensor
    token_mask: Tensor
    is_masked: Tensor
    spans: PackedSpans
    weight: Tensor
    conditional_on_structure: bool
    types_t: Tensor | None = None
    type_terms: tuple[TypeTerm, ...] = ()
    speed: Tensor | None = None
    is_chain: bool = False
    state_log_prob: Tensor | None = None
    document_ids: Tensor | None = None
    flags: Tensor | None = None
    order: Tensor | None = None
    is_padded: bool | None = None

    @property
    def signal(self) -> float | None:
        """Share of the signal that is left, mean over tokens; None where tokens are hidden or replaced."""
        return None

    def at_given(self, name: str) -> float:
        """Value of a field at tokens that are given, where it is no token and no type."""
        return 0.0
