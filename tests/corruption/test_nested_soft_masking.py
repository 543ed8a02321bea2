"""Soft masking in several levels: mask, coarse class, finer class, token; each only within the one before."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from hdiff.audit import audit_one
from hdiff.corruption import SoftMasking, sample_times
from hdiff.data.batch import Batch
from hdiff.errors import DataError, RecipeError
from hdiff.heads import ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.objectives import nelbo
from hdiff.packed_spans import PackedSpans
from hdiff.samplers import ChainSampler, CoarseToFineSampler, hidden_rows
from hdiff.samplers.chain import chain_sample, reader_of

VOCAB = 12
LEVELS = [[v % 2 for v in range(VOCAB)], [v % 4 for v in range(VOCAB)], [v % 8 for v in range(VOCAB)]]


def corruption(levels=LEVELS, **options) -> SoftMasking:
    return SoftMasking(classes={"kind": "clusters"}, table=levels, mask_id=VOCAB, **options)


def denoiser(soft: SoftMasking) -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(
        Trunk(16, depth=1, num_heads=2),
        ProductHead(VOCAB, 16),
        type_heads=[ProductHead(size, 16) for size in soft.type_sizes],
        token_classes=torch.tensor(soft.table),
        class_parents=soft.parents,
    )


def test_classes_are_masked_before_the_tokens_and_coarse_ones_last(generator: torch.Generator) -> None:
    soft = corruption()
    assert soft.type_sizes == (2, 4, 8)
    batch = Batch.of(torch.randint(VOCAB, (200, 6), generator=generator))
    found = soft.corrupt(batch, sample_times(batch, generator=generator), generator=generator)
    hidden = [found.types_t[..., number] == size for number, size in enumerate(soft.type_sizes)]
    hidden.append(found.is_masked)
    for coarse, fine in pairwise(hidden):
        assert not (coarse & ~fine).any()
        assert (fine & ~coarse).any()
    assert len(found.type_terms) == 3


def test_a_uniform_network_pays_log_v_whatever_the_levels(generator: torch.Generator) -> None:
    """Zero scores: each class is equally likely within its parent, and so is each token of a class."""
    levels = [
        [v // 6 for v in range(VOCAB)],
        [v // 3 for v in range(VOCAB)],
    ]  # 2, 2 in each, 3 tokens in each
    for count in ("exact", "bernoulli"):
        soft = corruption(levels, count=count)
        model = denoiser(soft)
        with torch.no_grad():
            for head in (model.head, *model.type_heads):
                head.embedding.weight.zero_()
        batch = Batch.of(torch.randint(VOCAB, (20_000, 3), generator=generator))
        corrupted = soft.corrupt(batch, sample_times(batch, generator=generator), generator=generator)
        assert float(nelbo(model(corrupted), batch, corrupted).mean) == pytest.approx(2.4849, abs=0.03)


def test_samples_have_nested_types(generator: torch.Generator) -> None:
    soft = corruption()
    model = denoiser(soft).eval()
    for sampler in (ChainSampler(), CoarseToFineSampler(8)):
        drawn = sampler.sample(model, soft, hidden_rows(model, 30, 5), generator=generator)
        assert drawn.tokens.max() < VOCAB
    chain = chain_sample(reader_of(model), soft, hidden_rows(model, 30, 5), generator=generator)
    for number, level in enumerate(LEVELS):
        assert torch.equal(torch.tensor(level)[chain.tokens], chain.types[..., number])
    batch = Batch.of(torch.randint(VOCAB, (4, 5), generator=generator))
    assert CoarseToFineSampler(8).score(model, soft, batch, generator=generator).nats.isfinite().all()


def test_a_type_is_only_possible_within_the_one_before(generator: torch.Generator) -> None:
    soft = corruption()
    model = denoiser(soft)
    types = torch.tensor([[[0, 4, 8], [1, 3, 8], [1, 4, 8]]])
    spans = PackedSpans.from_units(torch.arange(3)[None], torch.ones(1, 3, dtype=torch.bool))
    assert model.type_support(0, types, spans) is None
    assert model.type_support(1, types, spans).tolist()[0] == [True, False, True, False]
    assert model.type_support(1, types, spans).tolist()[1] == [False, True, False, True]
    assert model.type_support(2, types, spans).tolist()[1] == [False, False, False, True] * 2
    # Impossible types have no probability.
    head = model.type_heads[1]
    hidden = torch.randn(3, 16, generator=generator)
    scores = head.log_prob(
        hidden, torch.tensor([1, 1, 2]), spans, support=model.type_support(1, types, spans)
    )
    assert scores[0] == -torch.inf
    assert scores[1].isfinite()
    assert scores[2] == -torch.inf


def test_one_level_in_a_list_is_one_level() -> None:
    soft = corruption(LEVELS[:1])
    assert soft.type_sizes == (2,)
    assert soft.parents == []
    assert soft.table == tuple(LEVELS[0])
    assert corruption(LEVELS[0]).type_sizes == (2,)


def test_the_audit_passes_for_nested_classes() -> None:
    soft = SoftMasking(classes={"kind": "clusters"}, table=[[0, 1, 0], [0, 1, 2]], mask_id=3, class_k=2.0)
    checks = audit_one(soft, "product")
    assert [check.name for check in checks if not check.passed] == []
    assert len(checks) > 4


def test_wrong_tables_are_refused() -> None:
    with pytest.raises(DataError, match="not filled in yet"):
        corruption(None).type_sizes  # noqa: B018
    with pytest.raises(RecipeError, match="level 2 of the class table is not nested"):
        corruption([LEVELS[1], LEVELS[0]])
    with pytest.raises(RecipeError, match="another tokenizer"):
        corruption([LEVELS[0], LEVELS[1][:-1]])
    with pytest.raises(RecipeError, match="without an empty one"):
        corruption([LEVELS[0], [c + 1 for c in LEVELS[1]]])
    with pytest.raises(DataError, match="for every token id"):
        corruption([-1, *LEVELS[0][1:]])
    with pytest.raises(DataError, match="classes is 'words'"):
        SoftMasking(classes="words")
