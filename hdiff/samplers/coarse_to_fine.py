"""CoarseToFineSampler: all types of a level, then those of the next, then the tokens, in T steps.

Dimensions: B rows, L tokens, R type streams.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast, final

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.corruption.unit_masking import random_ranks
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads.base import Head
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.models.denoiser import Denoiser
from hdiff.models.wrapped import unwrapped
from hdiff.packed_spans import PackedSpans
from hdiff.reveal_order import check_num_steps, reveal_step
from hdiff.samplers.base import HasHead, OnStep, Sampler, check_rows_to_fill
from hdiff.samplers.samples import Samples, Score, passes_of
from hdiff.samplers.selection import first_positions

Values = Callable[[Head, int | None, Tensor, PackedSpans, Tensor | None], Tensor]
"""Head, type stream (None: tokens), packed trunk output, spans, support -> values of the spans, long (P,)."""


@final
class CoarseToFineSampler(Sampler):
    """Generates a cascade stream by stream, each in random groups as `AncestralSampler` does.

    A unit never shares a step with what it depends on, so any T of at least one step per stream has
    a bound, `score`: one on -log p(x_0, types) >= -log p(x_0). Steps are divided equally among the streams,
    what is left over goes to the tokens.

    Args:
        num_steps: Steps T.
        sampling: Temperature and truncation of every draw, of types too.
    """

    scores_padding = False

    def __init__(self, num_steps: int, *, sampling: Sampling = AS_IT_IS) -> None:
        super().__init__(sampling=sampling)
        self.num_steps = check_num_steps(num_steps)

    @torch.no_grad()
    def sample(
        self,
        denoiser: HasHead,
        corruption: Corruption,
        tokens: Tensor,
        *,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
        types: Tensor | None = None,
    ) -> Samples:
        """Draws samples; `types`, if given, is a skeleton: they stay and only the tokens are drawn.

        Args:
            denoiser: See `Sampler.sample`.
            corruption: A cascade.
            tokens: See `Sampler.sample`; all types are drawn anew.
            generator: See `Sampler.sample`.
            on_step: See `Sampler.sample`.
            types: Types, the number of types where they are to be drawn, long (B, L, R).

        Returns:
            The samples.

        Raises:
            DataError: As `Sampler.sample`.
        """
        cascade, denoiser = _check(corruption, unwrapped(denoiser))
        tokens = tokens.to(denoiser.head.embedding.weight.device)
        check_rows_to_fill(tokens, denoiser.mask_id)
        sizes = torch.tensor(cascade.type_sizes, dtype=torch.long, device=tokens.device)
        if types is None:
            types = sizes.expand(*tokens.shape, -1)
        if types.shape != (*tokens.shape, len(sizes)) or bool(((types < 0) | (types > sizes)).any()):
            raise DataError(
                f"types have shape {tuple(types.shape)}; give values 0..{cascade.type_sizes} for "
                f"{(*tokens.shape, len(sizes))}, rows, tokens and type streams"
            )

        def draw(
            head: Head, stream: int | None, packed: Tensor, spans: PackedSpans, support: Tensor | None
        ) -> Tensor:
            sampling = self.sampling if stream is None else replace(self.sampling, banned=())
            return head.sample(packed, spans, generator=generator, sampling=sampling, support=support)

        return self._run(denoiser, cascade, tokens, types.to(tokens.device), draw, generator, on_step)

    @torch.no_grad()
    def score(
        self,
        denoiser: HasHead,
        corruption: Corruption,
        batch: Batch,
        *,
        is_hidden: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Score:
        if not self.has_bound:
            raise DataError(f"{self.sampling} has no likelihood bound; score with Sampling()")
        if is_hidden is not None or not bool(batch.token_mask.all()):
            raise DataError("CoarseToFineSampler scores whole rows without padding; drop padded rows")
        cascade, denoiser = _check(corruption, unwrapped(denoiser))
        rows = len(batch.input_ids)
        device = batch.input_ids.device
        whole = cascade.corrupt(batch, torch.ones(rows, device=device), generator=generator)
        targets = [term.targets for term in whole.type_terms]
        nats = torch.zeros(2, rows, dtype=torch.float64, device=device)

        def reveal(
            head: Head, stream: int | None, packed: Tensor, spans: PackedSpans, support: Tensor | None
        ) -> Tensor:
            true = spans.gather(batch.input_ids if stream is None else targets[stream])
            log_prob = head.log_prob(packed, true, spans, support=support)
            nats[0 if stream is None else 1].index_add_(0, spans.row, -log_prob.double())
            return true

        tokens = torch.full_like(batch.input_ids, denoiser.mask_id)
        sizes = torch.tensor(cascade.type_sizes, dtype=torch.long, device=device)
        samples = self._run(denoiser, cascade, tokens, sizes.expand(*tokens.shape, -1), reveal, generator)
        return Score(nats=nats.sum(0), calls=samples.calls, structure=nats[1])

    def _run(
        self,
        denoiser: Denoiser,
        cascade: Corruption,
        tokens: Tensor,
        types: Tensor,
        values: Values,
        generator: torch.Generator | None,
        on_step: OnStep | None = None,
    ) -> Samples:
        tokens, types = tokens.clone(), types.clone()
        steps = torch.full_like(tokens, -1)
        units = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        mask_id, call = denoiser.mask_id, 0
        order = [stream.number for stream in cascade.visible_streams(tokens == mask_id, types)]
        open_streams = [
            place
            for place, number in enumerate(order)
            if number is None or bool((types[..., number] == cascade.type_sizes[number]).any())
        ]
        share, rest = divmod(self.num_steps, len(open_streams))
        if not share:
            raise DataError(
                f"{self.num_steps} steps for {len(open_streams)} streams of types and tokens; give at least "
                f"one step per stream"
            )
        for place in open_streams:
            number = order[place]
            stream = cascade.visible_streams(tokens == mask_id, types)[place]
            rank, num_units = random_ranks(stream.units, torch.ones_like(stream.ready), generator=generator)
            groups = reveal_step(rank, num_units, share + (rest if number is None else 0))
            for step in range(int(groups.max()) + 1):
                selected = stream.ready & (groups == step)
                spans = PackedSpans.from_units(stream.units, selected)
                if not spans.num_spans:
                    continue
                shown = types if cascade.type_sizes else None
                packed, spans = spans.read(denoiser.hidden(tokens, types_t=shown))
                if number is None:
                    support = denoiser.support(shown, spans)
                    drawn = values(denoiser.head, None, packed, spans, support)
                    tokens = spans.scatter(tokens, drawn)
                    steps = steps.masked_fill(selected, call)
                    units = torch.where(selected, first_positions(stream.units), units)
                else:
                    head = cast(Head, denoiser.type_heads[number])
                    drawn = values(head, number, packed, spans, denoiser.type_support(number, shown, spans))
                    types[..., number] = spans.scatter(types[..., number], drawn)
                if on_step is not None:
                    on_step(call, tokens)
                call += 1
        calls = torch.full_like(tokens[:, 0], call)
        passes = passes_of(denoiser.head, steps, units, calls)
        return Samples(tokens, steps, units, nfe=call, calls=calls, passes=passes)


def _check(corruption: Corruption, denoiser: Any) -> tuple[Corruption, Denoiser]:
    if not corruption.is_cascade:
        raise DataError(
            f"CoarseToFineSampler generates the types of a cascade first; {type(corruption).__name__} has "
            f"none"
        )
    if not hasattr(denoiser, "type_heads"):
        raise DataError(
            f"{type(denoiser).__name__} has no type heads; build the model for the cascade "
            f"(hdiff.factory.build_model)"
        )
    return corruption, denoiser
