"""The audit of block diffusion passes what is right and fails what is planted to be wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hdiff.audit import BUILT_IN, AuditLanguage, Check, audit_one
from hdiff.audit.blocks import block_by_block, network_leak_of_blocks
from hdiff.audit.checks import Subject, draw
from hdiff.corruption import BlockMasking
from hdiff.models import block_denoiser

CHECKOUT = Path(__file__).resolve().parents[2]
V = AuditLanguage.vocab_size


class OwnCleanTokens(BlockMasking):
    """Block 1 reads its own clean tokens in place of those of block 0."""

    def corrupt(self, batch, t, *, generator=None):
        corrupted = super().corrupt(batch, t, generator=generator)
        return replace(corrupted, context=batch.input_ids.roll(-2, 1))


class HiddenTokenShown(BlockMasking):
    """Shows the first token of the second block in every fourth row although it is charged for."""

    def corrupt(self, batch, t, *, generator=None):
        corrupted = super().corrupt(batch, t, generator=generator)
        x_t = corrupted.x_t.clone()
        x_t[::4, 2:3] = batch.input_ids[::4, 2:3]  # an answer alone may have one block
        return replace(corrupted, x_t=x_t)


class WeightsOfTheRow(BlockMasking):
    """Weighs as if blocks of two were rows of four."""

    def corrupt(self, batch, t, *, generator=None):
        corrupted = super().corrupt(batch, t, generator=generator)
        return replace(corrupted, weight=2 * corrupted.weight)


class LaterTimes(BlockMasking):
    """Masks as if the time were later, and weighs as if it were right."""

    def corrupt(self, batch, t, *, generator=None):
        return super().corrupt(batch, t.sqrt(), generator=generator)


def failed(checks: list[Check]) -> set[str]:
    return {check.name.partition(":")[0] for check in checks if not check.passed}


@pytest.mark.parametrize("count", ["exact", "bernoulli"])
def test_blocks_pass_every_check(count: str) -> None:
    corruption = BlockMasking(block_size=2, mask_id=V, count=count)  # type: ignore[arg-type]
    checks = audit_one(corruption, "autoregressive")
    assert failed(checks) == set(), checks
    assert {check.name for check in checks} == {
        "uniform_predictor",
        "exact_posterior",
        "structure_leak",
        "bound_above_entropy",
        "network_leak",
        "masking_frequency",
        "sampler_distribution",
        "given_uniform",
        "given_hidden",
    }
    assert {"block_masking", "block_masking unequal"} <= set(BUILT_IN)


@pytest.mark.parametrize(
    ("corruption", "caught_by"),
    [
        (OwnCleanTokens(block_size=2, mask_id=V), {"exact_posterior", "structure_leak"}),
        (HiddenTokenShown(block_size=2, mask_id=V), {"structure_leak", "masking_frequency"}),
        (WeightsOfTheRow(block_size=2, mask_id=V), {"uniform_predictor", "exact_posterior"}),
        (LaterTimes(block_size=2, mask_id=V, count="bernoulli"), {"masking_frequency"}),
    ],
    ids=lambda value: "" if isinstance(value, set) else type(value).__name__,
)
def test_a_planted_error_fails(corruption: BlockMasking, caught_by: set[str]) -> None:
    assert failed(audit_one(corruption)) >= caught_by


@pytest.mark.parametrize("error", ["own clean block", "noised block before", "later clean blocks"])
def test_a_mask_that_shows_too_much_fails(error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network itself is wrong: a noised block attends to what it must not see."""
    right = block_denoiser.visible_twice

    def wrong(length: int, block_size: int, *, device: torch.device | None = None) -> Tensor:
        block = torch.arange(length, device=device) // block_size
        query, key = block[:, None], block[None, :]
        visible = right(length, block_size, device=device)
        if error == "own clean block":
            visible[:length, length:] |= query == key
        elif error == "noised block before":
            visible[:length, :length] |= query == key + 1
        else:
            visible[length:, length:] = True
        return visible

    subject = Subject("blocks", BlockMasking(block_size=2, mask_id=V), AuditLanguage())
    (check,) = network_leak_of_blocks(subject, "product")
    assert check.passed
    monkeypatch.setattr(block_denoiser, "visible_twice", wrong)
    (check,) = network_leak_of_blocks(subject, "product")
    assert not check.passed


def test_rows_of_single_blocks_show_only_what_a_block_may_read(generator: torch.Generator) -> None:
    corruption = BlockMasking(block_size=3, mask_id=V)
    drawn = draw(Subject("blocks", corruption, AuditLanguage()), 50, generator)
    single = block_by_block(drawn).corrupted
    for row in range(50):
        first, second = single.x_t[2 * row], single.x_t[2 * row + 1]
        assert torch.equal(first[:3], drawn.corrupted.x_t[row, :3])
        assert int(first[3]) == V
        assert torch.equal(second[:3], drawn.batch.input_ids[row, :3])
        assert int(second[3]) == int(drawn.corrupted.x_t[row, 3])
    assert torch.equal(single.is_masked.view(50, 2, 4).any(1), drawn.corrupted.is_masked)
    assert torch.equal(single.spans.gather(single.x_t), torch.full((single.spans.num_spans,), V))


def test_a_recipe_of_long_blocks_is_audited_in_short_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """The audit's strings have four tokens: blocks of 16 would be one, and nothing of blocks be tried."""
    from hdiff.cli import run as hdiff

    capsys.readouterr()
    assert hdiff(["audit", "--recipe", str(CHECKOUT / "recipes" / "baselines" / "block_diffusion.yaml")]) == 0
    assert "block_masking (blocks of 2)" in capsys.readouterr().out
