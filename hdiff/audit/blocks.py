"""Checks of block diffusion, against exact posteriors of each block given what it may read.

Dimensions: B batch, L tokens, K blocks of a row, S spans.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from hdiff.audit.checks import Check, Draw, Subject, draw, mean_and_error, num_rows_of, scores_exactly
from hdiff.audit.exact import ExactDenoiser
from hdiff.audit.language import AuditLanguage
from hdiff.audit.memory import LEAK_ROWS, remembered
from hdiff.audit.network import HeadSpec, head_name, small_network
from hdiff.corruption import BlockCorrupted, BlockMasking, Corrupted, TokenMasking
from hdiff.corruption.block_masking import blocks_of, number_of_blocks
from hdiff.packed_spans import PackedSpans

TIMES = (0.25, 0.5, 0.9)
NUM_ROWS = 6_000


def exact_posterior_of_blocks(subject: Subject) -> list[Check]:
    """The exact posterior of each block, given its noised tokens and the clean blocks before it, scores H."""
    generator = torch.Generator().manual_seed(2)
    denoiser = exact_denoiser(subject)

    def nats() -> Tensor:
        drawn = block_by_block(draw(subject, num_rows_of(subject), generator))
        return _sums(subject, drawn.nats(denoiser(drawn.corrupted)))

    return [scores_exactly(subject, nats, subject.language.entropy)]


def leak_of_blocks(subject: Subject) -> list[Check]:
    """A memory of all that each block may read does not get below the entropy; one-sided."""
    generator = torch.Generator().manual_seed(3)
    denoiser, entropy, num_rows = exact_denoiser(subject), subject.language.entropy, LEAK_ROWS
    for _ in range(3):
        drawn = block_by_block(draw(subject, num_rows, generator))
        mean, error = mean_and_error(_sums(subject, remembered(drawn, denoiser)))
        tolerance = 4 * error + 1e-4 * entropy
        if not tolerance >= 0.1 * entropy:
            break
        num_rows *= 2
    return [subject.check("structure_leak", mean, entropy, tolerance, mean >= entropy - tolerance)]


def frequency_in_blocks(subject: Subject) -> list[Check]:
    """Shares of hidden tokens of each block against those of its K possible times; standard errors off."""
    corruption, length = _blocks(subject), subject.language.length
    assert corruption.mask_id is not None
    block = blocks_of(length, corruption.block_size)
    sizes = torch.bincount(block).tolist()
    generator, worst = torch.Generator().manual_seed(7), 0.0
    for t in TIMES:
        times = torch.full((NUM_ROWS,), t, dtype=torch.float64)
        corrupted = corruption.corrupt(
            subject.language.sample(NUM_ROWS, generator), times, generator=generator
        )
        cells = (torch.arange(len(sizes), dtype=torch.float64) + t) / len(sizes)
        p = corruption.schedule.p_mask(cells).tolist()
        for number, size in enumerate(sizes):
            shares = [math.ceil(round(q * size, 6)) / size if subject.is_exact else q for q in p]
            observed = (corrupted.x_t == corruption.mask_id)[:, block == number].double().mean(1)
            mean, error = mean_and_error(observed)
            worst = max(worst, abs(mean - sum(shares) / len(shares)) / max(error, 1e-9))
    return [subject.check("masking_frequency", worst, 0.0, 4.0, worst <= 4.0)]


@torch.no_grad()
def network_leak_of_blocks(subject: Subject, head: HeadSpec) -> list[Check]:
    """The number of predictions that change with what a block must not read; it is 0, to the last bit.

    For each block: the clean tokens of it and of later blocks, the noised tokens of other blocks, and the
    true tokens outside of one span change; the prediction of that span must not.
    """
    drawn = draw(subject, 256, torch.Generator().manual_seed(5))
    denoiser, before = small_network(subject, head), drawn.corrupted
    assert isinstance(before, BlockCorrupted)
    block = blocks_of(subject.language.length, before.block_size)
    num_changed = 0
    for number in range(int(block[-1]) + 1):
        kept, is_kept = _first_spans_in(before, block == number)
        after = replace(
            before,
            x_t=torch.where(block == number, before.x_t, _other(before.x_t, denoiser.vocab_size)),
            x_0=torch.where(is_kept, before.x_0, _other(before.x_0, denoiser.vocab_size)),
            context=torch.where(block < number, before.context, _other(before.context, denoiser.vocab_size)),
        )
        one, two = denoiser(before).log_prob[kept], denoiser(after).log_prob[kept]
        num_changed += int((one != two).sum())
    passed = num_changed == 0
    return [subject.check("network_leak", float(num_changed), 0.0, 0.0, passed, head=head_name(head))]


def block_by_block(drawn: Draw) -> Draw:
    """The same states, one row for each block, which shows what that block may read and hides all else."""
    corrupted = drawn.corrupted
    assert isinstance(corrupted, BlockCorrupted)
    length = corrupted.x_t.shape[1]
    num_blocks = number_of_blocks(length, corrupted.block_size)
    block, number = blocks_of(length, corrupted.block_size), torch.arange(num_blocks)[:, None]
    read = torch.where(block == number, corrupted.x_t[:, None], corrupted.context[:, None])  # (B, K, L)
    read = read.masked_fill(block > number, AuditLanguage.vocab_size).flatten(0, 1)
    spans = corrupted.spans
    column = spans.token_index % length
    token_row = spans.row[spans.span_index] * num_blocks + block[column]
    batch = replace(
        drawn.batch,
        **{
            name: getattr(drawn.batch, name).repeat_interleave(num_blocks, 0)
            for name in ("input_ids", "token_mask")
        },
    )
    states = Corrupted(
        x_t=read,
        x_0=batch.input_ids,
        token_mask=batch.token_mask,
        is_masked=corrupted.is_masked.repeat_interleave(num_blocks, 0)
        & (block == number).repeat(len(drawn.t), 1),
        spans=PackedSpans(
            token_row * length + column,
            spans.span_index,
            spans.offset,
            token_row[spans.first],
            spans.length,
        ),
        weight=corrupted.weight,
        conditional_on_structure=False,
    )
    return Draw(
        batch, states, drawn.t.repeat_interleave(num_blocks), drawn.factor.repeat_interleave(num_blocks)
    )


def exact_denoiser(subject: Subject) -> ExactDenoiser:
    """The exact posterior given visible tokens: what rows of `block_by_block` are read by."""
    return ExactDenoiser(subject.language, TokenMasking(mask_id=subject.corruption.mask_id))


def _blocks(subject: Subject) -> BlockMasking:
    return cast(BlockMasking, subject.corruption)  # BlockCorrupted is what it makes


def _sums(subject: Subject, nats: Tensor) -> Tensor:
    """Nats of texts from those of their blocks: (B K,) -> (B,)."""
    corruption = _blocks(subject)
    return nats.view(-1, number_of_blocks(subject.language.length, corruption.block_size)).sum(1)


def _first_spans_in(corrupted: BlockCorrupted, is_inside: Tensor) -> tuple[Tensor, Tensor]:
    """The first span of each row that lies in a block: bool (S,), and its tokens, bool (B, L)."""
    spans, length = corrupted.spans, corrupted.x_t.shape[1]
    inside = is_inside[spans.token_index[spans.first] % length]  # (S,)
    chosen = inside.nonzero().squeeze(1)
    first = torch.ones_like(chosen, dtype=torch.bool)
    first[1:] = spans.row[chosen][1:] != spans.row[chosen][:-1]
    kept = torch.zeros_like(inside)
    kept[chosen[first]] = True
    is_kept = torch.zeros_like(corrupted.is_masked).flatten()
    is_kept[spans.token_index] = kept[spans.span_index]
    return kept, is_kept.view_as(corrupted.is_masked)


def _other(tokens: Tensor, vocab_size: int) -> Tensor:
    """Other tokens, and tokens in place of masks."""
    return (tokens + 1) % vocab_size
