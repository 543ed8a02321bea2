"""The audit passes what is right and fails what is planted to be wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hdiff.audit import BUILT_IN, AuditLanguage, Check, ExactDenoiser, audit, audit_one
from hdiff.audit.audit import AUDITED_HEADS
from hdiff.audit.best_bound import best_bound
from hdiff.audit.network import head_name
from hdiff.cli import run as hdiff
from hdiff.corruption import (
    Corrupted,
    LearnedRates,
    RateMatched,
    SoftMasking,
    SpanMasking,
    TokenMasking,
    TreeCascade,
    UnitMasking,
    sample_times,
)
from hdiff.errors import DataError
from hdiff.heads import HEADS, ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.packed_spans import PackedSpans
from hdiff.samplers.chain import chain_sample, reader_of
from hdiff.schedules import SCHEDULES

CHECKOUT = Path(__file__).resolve().parents[2]
KEYS = {"name", "corruption", "schedule", "head", "value", "expected", "tolerance", "passed"}
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


def said(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = hdiff(arguments)
    return code, capsys.readouterr().out


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
        "bound_above_entropy",
        "network_leak",
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


def test_language_is_nested_deterministic_and_contextual(generator: torch.Generator) -> None:
    language = AuditLanguage()
    batch = language.sample(500, generator)
    batch.check()
    TreeCascade(levels=("sentence", "clause", "phrase", "word"), mask_id=V).streams(batch)  # refuses crossing
    assert torch.equal(
        batch.unit_ids["phrase"], language.every().unit_ids["phrase"][language.numbers(batch.input_ids)]
    )
    for level in ("clause", "phrase", "word"):
        lengths = torch.bincount(batch.unit_ids[level].flatten())
        assert len(lengths) > 1
        assert int(batch.labels[level].max()) == 2
    per_token = [set(batch.salience_buckets[batch.input_ids == v].tolist()) for v in range(V)]
    assert per_token == [{0, 1}] * V
    lexical = AuditLanguage(is_lexical=True).every()
    assert all(len(set(lexical.salience_buckets[lexical.input_ids == v].tolist())) == 1 for v in range(V))


def test_hidden_speeds_with_independent_times_need_the_times(generator: torch.Generator) -> None:
    language = AuditLanguage()
    corruption = RateMatched(num_buckets=2, count="bernoulli", mask_id=V)
    batch = language.sample(8, generator)
    corrupted = corruption.corrupt(batch, sample_times(batch, generator=generator), generator=generator)
    with pytest.raises(DataError, match="needs the times t"):
        ExactDenoiser(language, corruption)(corrupted)


@pytest.mark.parametrize("count", ["exact", "bernoulli"])
def test_hidden_speeds_reach_the_entropy_only_if_the_past_tells_nothing(count: str) -> None:
    """The order so far tells more than the state keeps, unless speeds are lexical and times independent."""

    def excess(is_lexical: bool, ratio: float) -> float:
        language = AuditLanguage(is_lexical=is_lexical)
        corruption = RateMatched(num_buckets=2, ratio=ratio, count=count, mask_id=V)
        return best_bound(ExactDenoiser(language, corruption)) - language.entropy

    assert excess(False, 1.0) == pytest.approx(0.0, abs=1e-3 if count == "bernoulli" else 1e-9)
    assert excess(False, 16.0) > 0.01
    assert -1e-3 < excess(True, 16.0) < (1e-3 if count == "bernoulli" else 0.01)


def real_denoiser(corruption, head: str = "autoregressive") -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(
        Trunk(16, depth=1, num_heads=2),
        HEADS[head](11, 16),
        type_heads=[ProductHead(size, 16) for size in corruption.type_sizes],
        predicts_speed=corruption.predicts_speed,
        token_classes=torch.arange(11) % 3 if isinstance(corruption, SoftMasking) else None,
    )


CHAINS = [
    TreeCascade(levels=("clause", "phrase"), mask_id=11),
    TreeCascade(
        levels=("clause", "phrase"), unit="node", type_unit="node", types=("boundary", "label", "salience"),
        num_buckets=2, k={"token": [1.0, 3.0]}, mask_id=11,
    ),
    TreeCascade(levels=("phrase", "word"), direction="fine_to_coarse", mask_id=11),
    SoftMasking(num_classes=3, table=[v % 3 for v in range(11)], mask_id=11),
    RateMatched(num_buckets=2, mask_id=11),
]  # fmt: skip


@pytest.mark.parametrize("corruption", CHAINS)
def test_chain_fills_everything_with_a_real_network_one_unit_a_step(corruption) -> None:
    def draw(seed: int):
        generator = torch.Generator().manual_seed(seed)
        read = reader_of(real_denoiser(corruption))
        return chain_sample(read, corruption, torch.full((5, 7), 11), generator=generator)

    samples = draw(1)
    sizes = torch.tensor(corruption.type_sizes, dtype=torch.long)
    assert samples.tokens.shape == (5, 7)
    assert samples.types.shape == (5, 7, len(sizes))
    assert int(samples.tokens.max()) < 11
    assert bool((samples.types < sizes).all())
    most = 7 * (1 + len(sizes))
    assert samples.nfe <= most
    if "node" not in vars(corruption).values():
        assert samples.nfe == most
    if isinstance(corruption, SoftMasking):
        assert torch.equal(samples.types[..., 0], samples.tokens % 3)
    assert torch.equal(samples.tokens, draw(1).tokens)
    assert not torch.equal(samples.tokens, draw(2).tokens)


@pytest.mark.parametrize("unit", ["token", "node"])
@pytest.mark.parametrize("type_unit", ["token", "node"])
def test_streams_read_off_the_visible_types_are_those_of_the_corruption(
    unit: str, type_unit: str, generator: torch.Generator
) -> None:
    language = AuditLanguage()
    cascade = TreeCascade(
        levels=("clause", "phrase", "word"), unit=unit, type_unit=type_unit,
        types=("boundary", "label", "salience"), num_labels=2, num_buckets=2,
        k={"clause": 2.0, "token": [1.0, 3.0]}, mask_id=V,
    )  # fmt: skip
    batch = language.sample(400, generator)
    corrupted = cascade.corrupt(batch, sample_times(batch, generator=generator), generator=generator)
    true = cascade.streams(batch)
    seen = cascade.visible_streams(corrupted.is_masked, corrupted.types_t)
    spans = [*(term.spans for term in corrupted.type_terms), corrupted.spans]
    for stream, truth, packed in zip(seen, true, spans, strict=True):
        ready = torch.zeros_like(stream.ready).flatten().index_fill(0, packed.token_index, True)
        assert torch.equal(stream.ready.flatten(), ready)
        assert torch.allclose(stream.speed[stream.ready], truth.k[stream.ready])
        again = PackedSpans.from_units(stream.units, stream.ready)
        assert torch.equal(again.length, packed.length)


def test_chain_refuses_what_it_cannot_reverse(generator: torch.Generator) -> None:
    tree = TreeCascade(mask_id=11)
    read, rows = reader_of(real_denoiser(tree)), torch.full((1, 4), 11)
    with pytest.raises(DataError, match="no token of the text is hidden"):
        chain_sample(read, tree, torch.zeros(1, 4, dtype=torch.long))
    with pytest.raises(DataError, match="its sampler is 'ancestral'"):
        chain_sample(read, TokenMasking(mask_id=11), rows)
    with pytest.raises(DataError, match="mask_id"):
        chain_sample(read, TreeCascade(), rows)
    rates = RateMatched(num_buckets=2, mask_id=11)
    silent = Denoiser(Trunk(16, depth=1, num_heads=2), ProductHead(11, 16))
    with pytest.raises(DataError, match="predicts_speed"):
        chain_sample(reader_of(silent), rates, rows, generator=generator)


def test_recipe_is_audited_with_its_head_and_the_json_is_as_documented(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = str(CHECKOUT / "recipes" / "quickstart.yaml")
    code, out = said(capsys, ["audit", "--recipe", recipe, "--json"])
    assert code == 0
    result = json.loads(out)
    assert set(result) == {"checks"}
    assert all(set(check) == KEYS for check in result["checks"])
    assert {check["head"] for check in result["checks"]} == {"-", "autoregressive"}
    assert {check["corruption"] for check in result["checks"]} == {"span_masking (unconditional)"}


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


def test_impossible_requests_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert hdiff(["audit", "--corruption", "json:JSONDecoder"]) == 2
    assert "is no subclass of" in capsys.readouterr().err
    assert hdiff(["audit", "--corruption", "token_maskin"]) == 2
    assert "did you mean 'token_masking'" in capsys.readouterr().err
    assert hdiff(["audit", "--corruption", "token_masking", "--recipe", "x.yaml"]) == 2
    assert "--recipe or --corruption" in capsys.readouterr().err
