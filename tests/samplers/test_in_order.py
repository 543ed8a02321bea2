"""Any-order trunks: what is kept of visible tokens is exact, and nothing is seen that is revealed later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hdiff.corruption import Free, SpanMasking, TokenMasking, corrupt_free, sample_times
from hdiff.corruption.unit_masking import UnitMasking
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads import AutoregressiveHead, Head, ProductHead
from hdiff.layers.reveal_mask import seen_in_order
from hdiff.layers.trunk import Trunk
from hdiff.models.beside_given import BesideGiven
from hdiff.models.denoiser import Denoiser
from hdiff.models.planner import Planner
from hdiff.models.reveal_memory import RevealMemory
from hdiff.objectives import nelbo, t_step_corrupted
from hdiff.reveal_order import given_order
from hdiff.samplers import AncestralSampler, hidden_rows
from hdiff.samplers.build import build_sampler
from hdiff.samplers.stepping import SteppedSampler

V, LENGTH, WIDTH = 19, 12, 32

SAMPLERS: list[Mapping[str, Any]] = [
    {"kind": "ancestral", "num_steps": 1},
    {"kind": "ancestral", "num_steps": 5},
    {"kind": "ancestral", "num_steps": 12},
    {"kind": "ancestral", "num_steps": 3, "order": "spaced"},
    {"kind": "ancestral", "num_steps": 4, "order": "left_to_right"},
    {"kind": "ancestral", "num_steps": 4, "lengths": {1: 0.5, 3: 0.5}},
    {"kind": "confidence", "num_steps": 4},
    {"kind": "entropy_bounded", "gamma": 2.0},
    {"kind": "planned", "num_steps": 4},
    {"kind": "planned", "num_steps": 4, "use": "apart", "boundaries": "likely"},
]


class ReadsWhole:
    """The same network, of which a sampler sees only whole rows."""

    reads_in_order = True

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.head, self.mask_id = denoiser, denoiser.head, denoiser.mask_id
        self.planner = denoiser.planner
        self.reads_parts = True

    def hidden(self, x_t: Tensor, token_mask: Tensor | None = None, **options: Tensor) -> Tensor:
        return self.denoiser.hidden(x_t, token_mask, **options)


def head_of(kind: str) -> Head:
    if kind == "tokens":
        return ProductHead(V, WIDTH)
    return AutoregressiveHead(V, WIDTH, num_heads=2, sees_row=kind == "sees row")


def corruption_of(kind: str, **options: Any) -> UnitMasking:
    if kind == "tokens":
        return TokenMasking(mask_id=V, **options)
    return SpanMasking(segmentation="random", lengths={1: 0.2, 2: 0.4, 3: 0.4}, mask_id=V, **options)


KINDS = ["tokens", "spans", "sees row"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(kind: str) -> Denoiser:
    torch.manual_seed(0)
    trunk = Trunk(WIDTH, depth=3, num_heads=2, in_order=True)
    return Denoiser(trunk, head_of(kind), planner=Planner(WIDTH, level="phrase")).double().eval()


def text(rows: int, seed: int = 1) -> Tensor:
    return torch.randint(V, (rows, LENGTH), generator=torch.Generator().manual_seed(seed))


def close(one: Tensor, other: Tensor, tolerance: float = 1e-9) -> bool:
    return bool((one - other).abs().max() < tolerance)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Largest differences between what is kept and whole rows, of every reading from now on."""
    found: list[float] = []
    read = RevealMemory.read

    def compared(memory: RevealMemory, x_t: Tensor, order: Tensor, asked: Tensor) -> Tensor:
        kept = read(memory, x_t, order, asked)
        options = {"document_ids": memory.document_ids, "order": order}
        whole = memory.denoiser.hidden(x_t, memory.token_mask, **options)
        is_real = torch.ones_like(asked) if memory.token_mask is None else memory.token_mask
        compared = asked | ((x_t != V) & is_real & asked.any(1, keepdim=True))
        found.append(float((kept - whole)[compared].abs().max()))
        return kept

    monkeypatch.setattr(RevealMemory, "read", compared)
    return found


@pytest.mark.parametrize("spec", SAMPLERS, ids=str)
def test_what_is_kept_draws_and_scores_the_same(
    model: Denoiser, kind: str, spec: Mapping[str, Any], reads: list[float]
) -> None:
    sampler, corruption = build_sampler(spec), corruption_of(kind)
    rows = hidden_rows(model, 4, LENGTH)
    given = rows.clone()
    given[0, :4], given[3] = 1, torch.arange(LENGTH)  # one row has less to fill, one nothing
    for tokens in (rows, given):
        kept, whole = (
            sampler.sample(net, corruption, tokens, generator=torch.Generator().manual_seed(5))
            for net in (model, ReadsWhole(model))
        )
        assert torch.equal(kept.tokens, whole.tokens)
        assert torch.equal(kept.steps, whole.steps)
    short = torch.arange(LENGTH) < torch.tensor([LENGTH, 7, 1, 9])[:, None]
    documents = (torch.arange(LENGTH) // 5).expand(4, -1)
    for batch in (
        Batch.of(text(4)),
        Batch(text(4), short),
        replace(Batch.of(text(4)), document_ids=documents),
    ):
        if batch.document_ids is not None and kind == "sees row":
            continue  # refused: the row holds other documents
        kept_nats, whole_nats = (
            sampler.score(net, corruption, batch, generator=torch.Generator().manual_seed(5)).nats
            for net in (model, ReadsWhole(model))
        )
        assert close(kept_nats, whole_nats, 1e-4)  # heads answer in float32
        assert bool(kept_nats.isfinite().all())
    assert reads
    assert max(reads) < 1e-9


def test_prompts_are_kept_too(model: Denoiser, kind: str, reads: list[float]) -> None:
    batch = Batch.of(text(3))
    is_given = torch.zeros_like(batch.token_mask)
    is_given[:, :5] = True
    is_given[1, 8] = True
    batch = replace(batch, given=is_given, token_mask=torch.arange(LENGTH) < torch.tensor([[12], [11], [9]]))
    corruption, sampler, free = corruption_of(kind), AncestralSampler(3), Free.of(batch)
    hidden, scores, drawn = torch.full_like(free.batch.input_ids, V), [], []
    for net in (model, ReadsWhole(model)):
        view = BesideGiven(net, free, corruption)
        for values, run, tokens in ((scores, sampler.score, free.batch), (drawn, sampler.sample, hidden)):
            values.append(run(view, corruption, tokens, generator=torch.Generator().manual_seed(5)))
    assert close(scores[0].nats, scores[1].nats, 1e-4)
    assert torch.equal(drawn[0].tokens, drawn[1].tokens)
    assert reads
    assert max(reads) < 1e-9


def test_single_steps_draw_the_same(model: Denoiser, kind: str) -> None:
    sampler, corruption, rows = AncestralSampler(4), corruption_of(kind), hidden_rows(model, 3, LENGTH)
    stepped, generator = SteppedSampler(sampler, model, corruption), torch.Generator().manual_seed(5)
    state = stepped.start(rows, generator=generator)
    while not state.is_done:
        state = stepped.step(model.hidden(state.tokens, order=state.order), state, generator=generator)
    whole = sampler.sample(model, corruption, rows, generator=torch.Generator().manual_seed(5))
    assert torch.equal(state.tokens, whole.tokens)


def test_the_bound_of_single_states_is_that_of_the_sampler(kind: str) -> None:
    """The mean of `t_step_corrupted` over its steps, for one order and segmentation, is the sampler's sum."""
    torch.manual_seed(0)
    model = Denoiser(Trunk(WIDTH, depth=2, num_heads=2, in_order=True), head_of(kind)).double().eval()
    corruption, batch, steps = corruption_of(kind), Batch.of(text(1)), 3
    score = AncestralSampler(steps).score(
        model, corruption, batch, generator=torch.Generator().manual_seed(9)
    )
    total = torch.zeros(1, dtype=torch.float64)
    for step in range(steps):
        u = torch.tensor([(step + 0.5) / steps], dtype=torch.float64)
        state = t_step_corrupted(
            batch, corruption, u, num_steps=steps, generator=torch.Generator().manual_seed(9)
        )
        with torch.no_grad():
            total += nelbo(model(state), batch, state).nats / steps
    assert close(total, score.nats, 1e-4)


@pytest.mark.parametrize("count", ["exact", "bernoulli"])
def test_units_are_revealed_together_and_one_after_another(kind: str, count: str) -> None:
    corruption, batch = corruption_of(kind, count=count), Batch.of(text(6))
    state = corruption.corrupt(
        batch, torch.full((6,), 0.5, dtype=torch.float64), generator=torch.Generator().manual_seed(2)
    )
    units = corruption.units(batch, generator=torch.Generator().manual_seed(2))
    assert state.order is not None
    for row in range(6):
        pairs = set(zip(units[row].tolist(), state.order[row].tolist(), strict=True))
        assert len(pairs) == len({unit for unit, _ in pairs}) == len({number for _, number in pairs})
        visible, hidden = state.order[row][~state.is_masked[row]], state.order[row][state.is_masked[row]]
        assert not len(visible) or not len(hidden) or int(visible.max()) < int(hidden.min())


def test_every_order_of_the_visible_tokens_is_as_likely() -> None:
    batch = Batch.of(torch.zeros(24_000, 3, dtype=torch.long))
    t = torch.full((24_000,), 1e-6, dtype=torch.float64)  # one of the three is hidden
    state = TokenMasking(mask_id=V).corrupt(batch, t, generator=torch.Generator().manual_seed(0))
    assert state.order is not None
    first = state.order[:, 0] < state.order[:, 1]
    both = ~state.is_masked[:, 0] & ~state.is_masked[:, 1]
    assert abs(float(first[both].double().mean()) - 0.5) < 4 * 0.5 / int(both.sum()) ** 0.5


def test_given_tokens_come_before_all_others(kind: str) -> None:
    batch = Batch.of(text(4))
    is_given = torch.rand(4, LENGTH, generator=torch.Generator().manual_seed(3)) < 0.4
    is_given[:, 0] = False
    batch = replace(batch, given=is_given)
    t = sample_times(batch, generator=torch.Generator().manual_seed(4))
    state = corrupt_free(
        batch, lambda free: corruption_of(kind).corrupt(free, t, generator=torch.Generator().manual_seed(5))
    )
    assert state.order is not None
    assert torch.equal(state.order[is_given], given_order(LENGTH).expand(4, -1)[is_given])
    assert bool((state.order[~is_given] >= 0).all())


def test_what_is_revealed_later_changes_nothing(model: Denoiser, kind: str) -> None:
    """Other tokens at one place leave all alone that were revealed before, and all other hidden places."""
    tokens = text(1)[0]
    order = torch.randperm(LENGTH, generator=torch.Generator().manual_seed(3))
    is_hidden = order >= 8
    x_t = tokens.masked_fill(is_hidden, V)[None]
    with torch.no_grad():
        before = model.hidden(x_t, order=order[None])[0]
        for place in range(LENGTH):
            changed = x_t.clone()
            changed[0, place] = (tokens[place] + 1) % V
            after = model.hidden(changed, order=order[None])[0]
            moved = (before - after).abs().amax(-1) > 1e-12
            own = torch.arange(LENGTH) == place
            later = (order > order[place]) | is_hidden if not is_hidden[place] else is_hidden & False
            expected = own | (later & ~own)
            if is_hidden[place]:  # it is visible now, the last of all by its number
                expected = own | is_hidden & ~own | (order > order[place])
            assert bool((moved <= expected).all())
            assert bool(moved[place])


def test_hidden_tokens_of_other_states_read_alike(model: Denoiser) -> None:
    """A hidden place reads the same whichever other places are hidden along with it or cut off as padding."""
    x_t = text(1)
    x_t[0, 4:] = V
    with torch.no_grad():
        whole = model.hidden(x_t)
        padded = model.hidden(x_t, torch.arange(LENGTH)[None] < 7)
    assert close(whole[:, 4:7], padded[:, 4:7])


def test_documents_see_themselves_alone() -> None:
    documents = torch.tensor([[0, 0, 0, 1, 1, -1]])
    is_visible = torch.tensor([[True, False, True, True, True, True]])
    order = torch.tensor([[2, 0, 1, 5, 3, 0]])
    seen = seen_in_order(is_visible, order, token_mask=documents >= 0, document_ids=documents)
    assert seen[0].int().tolist() == [
        [1, 0, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],  # hidden: all visible ones of its document, and itself
        [0, 0, 1, 0, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def test_stale_caches_are_refused(model: Denoiser, kind: str) -> None:
    sampler = AncestralSampler(4, refresh=2)
    with pytest.raises(DataError, match="use refresh: 1"):
        sampler.sample(model, corruption_of(kind), hidden_rows(model, 2, LENGTH))
