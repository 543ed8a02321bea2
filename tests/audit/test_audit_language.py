"""The audit's language, chains on it, recipes and classes of users."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hdiff.audit import AuditLanguage, ExactDenoiser
from hdiff.audit.best_bound import best_bound
from hdiff.cli import run as hdiff
from hdiff.corruption import (
    RateMatched,
    SoftMasking,
    TokenMasking,
    TreeCascade,
    sample_times,
)
from hdiff.errors import DataError
from hdiff.heads import HEADS, ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.packed_spans import PackedSpans
from hdiff.samplers.chain import chain_sample, reader_of

V = AuditLanguage.vocab_size

CHECKOUT = Path(__file__).resolve().parents[2]


KEYS = {"name", "corruption", "schedule", "head", "value", "expected", "tolerance", "passed"}


def said(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = hdiff(arguments)
    return code, capsys.readouterr().out


def test_language_is_nested_deterministic_and_contextual(generator: torch.Generator) -> None:
    language = AuditLanguage()
    batch = language.sample(500, generator)
    batch.check()
    batch.check(structure=TreeCascade(levels=("sentence", "clause", "phrase", "word"), mask_id=V).problems)
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


def test_impossible_requests_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert hdiff(["audit", "--corruption", "json:JSONDecoder"]) == 2
    assert "is no subclass of" in capsys.readouterr().err
    assert hdiff(["audit", "--corruption", "token_maskin"]) == 2
    assert "did you mean 'token_masking'" in capsys.readouterr().err
    assert hdiff(["audit", "--corruption", "token_masking", "--recipe", "x.yaml"]) == 2
    assert "--recipe or --corruption" in capsys.readouterr().err
