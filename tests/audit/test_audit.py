"""The audit passes what is right and fails what is planted to be wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from hdiff.audit import BUILT_IN, AuditLanguage, Check, audit, audit_one
from hdiff.audit.audit import AUDITED_HEADS
from hdiff.audit.network import head_name
from hdiff.cli import run as hdiff
from hdiff.corruption import (
    Corrupted,
    LearnedRates,
    RateMatched,
    SpanMasking,
    TokenMasking,
    TreeCascade,
    UnitMasking,
)
from hdiff.errors import DataError
from hdiff.heads import ProductHead
from hdiff.layers.reveal_mask import seen_in_order
from hdiff.packed_spans import PackedSpans
from hdiff.schedules import SCHEDULES

V = AuditLanguage.vocab_size


class DoubledWeights(TokenMasking):
    def corrupt(self, batch, t, *, generator=None):
        corrupted = super().corrupt(batch, t, generator=generator)
        return replace(corrupted, weight=2 * corrupted.weight)


class WithoutRateTerm(RateMatched):
    def corrupt(self, batch, t, *, generator=None):
        return replace(super().corrupt(batch, t, generator=generator), speed=None)


class LearnedWithoutRateTerm(LearnedRates):
    def corrupt(self, batch, t, *, generator=None):
        return replace(super().corrupt(batch, t, generator=generator), speed=None, state_log_prob=None)


class LearnedWithoutScore(LearnedRates):
    """Every number is a bound, but what is followed in training is not its derivative."""

    def corrupt(self, batch, t, *, generator=None):
        return replace(super().corrupt(batch, t, generator=generator), state_log_prob=None)


class LeakedTypes(TreeCascade):
    """Shows every fourth row the types that are still to be generated."""

    def corrupt(self, batch, t, *, generator=None):
        corrupted = super().corrupt(batch, t, generator=generator)
        shown = corrupted.types_t.clone()
        for term in corrupted.type_terms:
            shown[::4, :, term.stream] = term.targets[::4]
        return replace(corrupted, types_t=shown)


class LeakedToken(TokenMasking):
    """Shows the first token of every fourth row although it is charged for."""

    def corrupt(self, batch, t, *, generator=None):
        corrupted = super().corrupt(batch, t, generator=generator)
        x_t = corrupted.x_t.clone()
        x_t[::4, 0] = batch.input_ids[::4, 0]
        return replace(corrupted, x_t=x_t)


class OrderOfTheText(TokenMasking):
    """The last token, hidden or not, says in which order the visible ones came."""

    def corrupt(self, batch, t, *, generator=None):
        corrupted = super().corrupt(batch, t, generator=generator)
        backwards = batch.input_ids[:, -1:] == 0
        order = torch.arange(batch.input_ids.shape[1]).expand_as(batch.input_ids)
        return replace(corrupted, order=torch.where(backwards, -order, order))


class JointInTheTokenwiseLoss(TokenMasking):
    """All masked tokens as one span that weighs as much as one token."""

    def corrupt(self, batch, t, *, generator=None):
        corrupted = super().corrupt(batch, t, generator=generator)
        first = torch.ones_like(corrupted.weight, dtype=torch.bool)
        first[1:] = corrupted.spans.row[1:] != corrupted.spans.row[:-1]
        spans = PackedSpans.from_units(torch.zeros_like(corrupted.x_t), corrupted.is_masked)
        return replace(corrupted, spans=spans, weight=corrupted.weight[first])


class HiddenSpeeds(TreeCascade):
    """Tokens first, at the speed of a salience that is shown later: the order of reveal gives it away."""

    def __init__(self, **options):
        super().__init__(types=("boundary", "salience"), num_buckets=2, direction="fine_to_coarse", **options)
        self.k["token"] = (1.0, 8.0)


class ParsedUnits(UnitMasking):
    """Words of the text, said to be no structure: how long a masked word is tells which it is."""

    conditional_on_structure = False

    def unconditional(self):
        return self

    def units(self, batch, *, generator=None):
        return batch.units("word")


class LookingHead(ProductHead):
    """Knows the sum of all tokens to predict."""

    def log_prob(self, hidden, targets, spans, *, support=None):
        return super().log_prob(hidden + targets.sum(), targets, spans, support=support)


class WrongFrequency(TokenMasking):
    """Masks as if the time were later, and weighs as if it were right."""

    def corrupt(self, batch, t, *, generator=None):
        return super().corrupt(batch, t.sqrt(), generator=generator)


class OwnState(TokenMasking):
    def corrupt(self, batch, t, *, generator=None):
        return OwnCorrupted(**vars(super().corrupt(batch, t, generator=generator)))


class OwnCorrupted(Corrupted):
    pass


class NoMaskId(UnitMasking):
    """A user's class that takes no mask_id."""

    def __init__(self):
        super().__init__()

    conditional_on_structure = False

    def unconditional(self):
        return self

    def units(self, batch, *, generator=None):
        return batch.units("token")


def failed(checks: list[Check]) -> set[str]:
    return {check.name for check in checks if not check.passed}


@pytest.mark.slow
def test_everything_built_in_passes_and_is_covered() -> None:
    checks = audit()
    assert failed(checks) == set(), [check for check in checks if not check.passed]
    assert {check.schedule for check in checks} == set(SCHEDULES)
    assert {check.head for check in checks} == {*map(head_name, AUDITED_HEADS), "-"}
    assert any("(bernoulli)" in check.corruption for check in checks)
    assert {check.name for check in checks} == {
        "uniform_predictor",
        "exact_posterior",
        "structure_leak",
        "order_leak",
        "bound_above_entropy",
        "network_leak",
        "any_order_bound",
        "any_order_leak",
        "any_order_cache",
        "masking_frequency",
        "sampler_distribution",
        "rate_gradient",
        "given_hidden",
        "given_uniform",
        "given_exact_posterior",
        "answer_exact",
        "length_leak",
    }


@pytest.mark.parametrize(
    ("corruption", "caught_by"),
    [
        (DoubledWeights(mask_id=V), {"uniform_predictor", "exact_posterior"}),
        (DoubledWeights(mask_id=V, count="bernoulli"), {"uniform_predictor", "exact_posterior"}),
        (WithoutRateTerm(num_buckets=2, mask_id=V), {"exact_posterior", "structure_leak"}),
        (LearnedWithoutRateTerm(mask_id=V), {"exact_posterior", "structure_leak", "rate_gradient"}),
        (LearnedWithoutScore(mask_id=V), {"rate_gradient"}),
        (LearnedWithoutScore(mask_id=V, count="bernoulli"), {"rate_gradient"}),
        (LeakedTypes(mask_id=V), {"exact_posterior", "structure_leak", "network_leak", "masking_frequency"}),
        (LeakedToken(mask_id=V), {"exact_posterior", "structure_leak", "network_leak", "masking_frequency"}),
        (OrderOfTheText(mask_id=V), {"order_leak"}),
        (JointInTheTokenwiseLoss(mask_id=V), {"exact_posterior", "structure_leak"}),
        (HiddenSpeeds(mask_id=V), {"structure_leak", "not_audited"}),  # no chain could draw it
        (ParsedUnits(mask_id=V), {"structure_leak", "not_audited"}),
        (WrongFrequency(mask_id=V, count="bernoulli"), {"masking_frequency"}),
    ],
    ids=lambda value: "" if isinstance(value, set) else type(value).__name__,
)
def test_a_planted_error_fails(corruption, caught_by: set[str]) -> None:
    names = {name.partition(":")[0] for name in failed(audit_one(corruption))}
    assert names >= caught_by


def test_keys_that_change_with_later_tokens_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Visible tokens that see all others make a fine network, whose kept keys are stale."""

    def seen(is_visible, order, *, token_mask=None, document_ids=None, queries=None):
        every = torch.zeros_like(is_visible, dtype=torch.long)
        return seen_in_order(is_visible, every, queries=queries)

    monkeypatch.setattr("hdiff.models.denoiser.seen_in_order", seen)
    monkeypatch.setattr("hdiff.models.reveal_memory.seen_in_order", seen)
    assert failed(audit_one(TokenMasking(mask_id=V))) == {"any_order_cache"}


def test_a_head_that_reads_other_targets_fails() -> None:
    checks = audit_one(TokenMasking(mask_id=V), f"{__name__}:LookingHead")
    assert "network_leak" in failed(checks)


def test_every_masking_corruption_has_a_row() -> None:
    audited = {name.split()[0] for name in BUILT_IN}
    assert audited >= {"token_masking", "span_masking", "tree_cascade", "rate_matched", "soft_masking"}


def test_a_state_of_another_family_is_not_guessed_at() -> None:
    (check,) = audit_one(OwnState(mask_id=V))
    assert not check.passed
    assert check.value is None
    assert "OwnCorrupted is not in hdiff.audit.FAMILIES" in check.name


def test_a_conditional_corruption_is_audited_as_its_legal_bound() -> None:
    parsed = SpanMasking(level="word", lengths={2: 1.0}, mask_id=V)
    checks = audit_one(parsed, name="parsed")
    assert failed(checks) == set()
    assert {check.corruption for check in checks} == {"parsed (unconditional)"}
    with pytest.raises(DataError, match="give SpanMasking lengths"):
        audit_one(SpanMasking(level="word", mask_id=V))
    with pytest.raises(DataError, match="mask_id=3"):
        audit_one(TokenMasking(mask_id=7))


def said(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = hdiff(arguments)
    return code, capsys.readouterr().out


def test_a_users_class_is_reached_and_the_exit_code_says_whether_it_passed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out = said(capsys, ["audit", "--corruption", f"{__name__}:NoMaskId"])
    assert code == 0
    lines = out.strip().splitlines()
    assert lines[-1].endswith("checks, 0 failed")
    assert all(line.startswith("PASS") for line in lines[1:-1])
    code, out = said(capsys, ["audit", "--corruption", f"{__name__}:DoubledWeights", "--json"])
    assert code == 1
    checks = json.loads(out)["checks"]
    assert {"uniform_predictor", "exact_posterior"} <= {c["name"] for c in checks if not c["passed"]}
