"""The planner: reads visible tokens only, leaves the trunk alone, learns where spans begin."""

from __future__ import annotations

import pytest
import torch

from hdiff.corruption import TokenMasking, sample_times
from hdiff.data.batch import Batch
from hdiff.errors import DataError, RecipeError
from hdiff.heads import ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.models.planner import Planner
from hdiff.objectives import planner_loss
from hdiff.training.losses import DiffusionLoss

VOCAB, WIDTH = 8, 32


def structured_batch(count: int, generator: torch.Generator) -> Batch:
    """Spans of 2 or 3 tokens; the first token of a span is even, the others odd, those of 3 above 3."""
    lengths = torch.randint(2, 4, (count, 12), generator=generator)
    begins = torch.zeros(count, 13, dtype=torch.bool)
    begins.scatter_(1, (lengths.cumsum(1) - lengths).clamp(max=12), True)
    begins = begins[:, :12]
    begins[:, 0] = True
    units = begins.long().cumsum(1) - 1
    size = torch.zeros_like(units).scatter_add(1, units, torch.ones_like(units)).gather(1, units)
    noise = torch.randint(0, 2, (count, 12), generator=generator)
    tokens = 4 * (size == 3) + 2 * noise + ~begins  # 0..7: length, noise, place
    return Batch(
        input_ids=tokens,
        token_mask=torch.ones_like(begins),
        unit_ids={"phrase": units},
        labels={"phrase": size},
        salience=begins.float(),
        sample_ids=torch.arange(count),
    )


def model_of(*, with_planner: bool, detach: bool = True) -> Denoiser:
    torch.manual_seed(0)
    trunk, head = Trunk(WIDTH, depth=1, num_heads=2), ProductHead(VOCAB, WIDTH)
    return Denoiser(
        trunk, head, planner=Planner(WIDTH, num_labels=4, detach=detach) if with_planner else None
    )


def loss_of(model: Denoiser, batch: Batch) -> torch.Tensor:
    times, noise = (torch.Generator().manual_seed(seed) for seed in (1, 2))
    total, _ = DiffusionLoss(model, TokenMasking(mask_id=VOCAB))(
        batch, times, noise, range(len(batch.input_ids)), len(batch.input_ids)
    )
    return total


def test_trunk_and_head_learn_the_same_with_and_without_a_planner(generator: torch.Generator) -> None:
    batch = structured_batch(4, generator)
    gradients = []
    for with_planner in (False, True):
        model = model_of(with_planner=with_planner)
        loss_of(model, batch).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if not n.startswith("planner")})
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])
    attached = model_of(with_planner=True, detach=False)
    torch.nn.init.normal_(attached.planner.predict.weight)  # type: ignore[union-attr]
    loss_of(attached, batch).backward()
    weight = (
        "trunk.layers.0.qkv.weight"
        if "trunk.layers.0.qkv.weight" in gradients[0]
        else next(name for name in gradients[0] if name.startswith("trunk"))
    )
    assert not torch.equal(dict(attached.named_parameters())[weight].grad, gradients[0][weight])


def test_planner_learns_spans_labels_and_salience(generator: torch.Generator) -> None:
    model = model_of(with_planner=True, detach=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(250):
        loss = loss_of(model, structured_batch(32, generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    batch = structured_batch(200, generator)
    t = sample_times(batch, generator=generator) * 0.3
    state = TokenMasking(mask_id=VOCAB).corrupt(batch, t.clamp(min=1e-3), generator=generator)
    with torch.no_grad():
        plan = model(state).plan
    assert plan is not None
    begins = torch.ones_like(batch.token_mask)
    begins[:, 1:] = batch.units("phrase").diff(dim=1) != 0
    visible = ~state.is_masked
    assert float((plan.begins == begins)[visible].float().mean()) > 0.97
    assert float((plan.salience - batch.salience)[visible].abs().mean()) < 0.1
    hidden_accuracy = float((plan.begins == begins)[state.is_masked].float().mean())
    majority = max(float(begins.float().mean()), 1 - float(begins.float().mean()))
    assert hidden_accuracy > majority + 0.05  # a hidden token's neighbours tell much, not all
    assert float((plan.labels == batch.labels["phrase"])[visible].float().mean()) > 0.9


def test_plan_of_a_state_does_not_depend_on_what_is_hidden(generator: torch.Generator) -> None:
    model = model_of(with_planner=True).eval()
    torch.nn.init.normal_(model.planner.predict.weight)  # type: ignore[union-attr]
    batch = structured_batch(3, generator)
    is_masked = torch.rand(3, 12, generator=generator) < 0.5
    plans = []
    for tokens in (batch.input_ids, (batch.input_ids + 1) % VOCAB):
        mixed = torch.where(is_masked, tokens, batch.input_ids)
        state = mixed.masked_fill(is_masked, VOCAB)
        plans.append(model.planner(model.hidden(state)))  # type: ignore[misc]
    assert torch.equal(plans[0].begin_logit, plans[1].begin_logit)
    assert torch.equal(plans[0].salience_logit, plans[1].salience_logit)


def test_impossible_planners_are_refused(generator: torch.Generator) -> None:
    with pytest.raises(RecipeError, match="at least 2 labels"):
        Planner(WIDTH, num_labels=1)
    with pytest.raises(RecipeError, match="weight > 0"):
        Planner(WIDTH, weight=0.0)
    with pytest.raises(DataError, match="level"):
        Planner(WIDTH, level="paragraph")
    plan = Planner(WIDTH)(torch.zeros(1, 4, WIDTH))
    with pytest.raises(DataError, match="salience"):
        planner_loss(plan, Batch.of(torch.zeros(1, 4, dtype=torch.long)), level="token")
