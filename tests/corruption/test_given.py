"""Given tokens are never hidden, never scored, and every family can be given some."""

from __future__ import annotations

import math

import pytest
import torch

from hdiff.audit.answer_lengths import answer_lengths
from hdiff.audit.audit import BUILT_IN, _subject
from hdiff.audit.given_tokens import given_tokens
from hdiff.corruption import CORRUPTIONS, Free, SpanMasking, TokenMasking, UniformState, corrupt_free
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.models.uniform_denoiser import UniformOutput
from hdiff.objectives import nelbo, t_step_corrupted
from hdiff.schedules import LinearSchedule


def batch_of(rows: list[str], *, given: str = "p", padding: str = ".") -> Batch:
    """Rows of letters: `p` is given, `.` is padding, a new unit begins at a capital letter."""
    letters = torch.tensor([[ord(letter) for letter in row] for row in rows])
    begins = torch.tensor([[letter.isupper() or letter in "p." for letter in row] for row in rows])
    begins[:, 0] = False
    return Batch(
        torch.arange(letters.numel()).view_as(letters) % 7,
        letters != ord(padding),
        unit_ids={"phrase": begins.long().cumsum(1)},
        given=letters == ord(given),
    )


@pytest.mark.parametrize("count", ["exact", "bernoulli"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_corruption_leaves_given_tokens_alone(name: str, count: str) -> None:
    if count == "bernoulli" and name in ("uniform_state", "gaussian"):
        return  # noise has no counts
    corruption = BUILT_IN[name](LinearSchedule(), count)  # type: ignore[arg-type]
    checks = given_tokens(_subject(name, corruption, is_lexical=name.endswith("lexical")))
    assert checks[0].name == "given_hidden"
    assert [check for check in checks if not check.passed] == []


def test_answers_of_different_lengths_score_their_entropy() -> None:
    checks = answer_lengths()
    assert {check.name for check in checks} == {"answer_exact", "length_leak"}
    assert [check for check in checks if not check.passed] == []


ROWS = [
    ["ppAbC"],
    ["pAbCd", "ppppA"],
    ["ppAb.", "pAbCd"],
    ["Abppp", "pAbpC"],
    ["AbppA", "pAppC"],
    ["AbCdE", "ppAbb"],
    ["pA...", "ppppA"],
    ["pAbcd", "pABCD"],
    ["ApAp.", "pApA."],
    ["pAbbb", "Abbbb"],
]


@pytest.mark.parametrize("rows", ROWS, ids=lambda rows: "-".join(rows))
def test_free_tokens_go_out_and_come_back(rows: list[str]) -> None:
    batch = batch_of(rows)
    free = Free.of(batch)
    assert free.batch.given is None
    free.batch.check()
    assert torch.equal(free.batch.token_mask.sum(1), batch.free_mask.sum(1))
    back = free.spread(free.batch.input_ids + 100, batch.input_ids)
    assert torch.equal(back, batch.input_ids + 100 * batch.free_mask)
    for number, row in enumerate(rows):
        letters = [letter for letter in row if letter not in "p."]
        assert len(letters) == int(free.batch.token_mask[number].sum())
        places = [place for place, letter in enumerate(row) if letter not in "p."]
        units = free.batch.unit_ids["phrase"][number, : len(letters)].diff().tolist()
        expected = [
            int(letters[i + 1].isupper() or places[i + 1] != places[i] + 1) for i in range(len(letters) - 1)
        ]
        assert units == expected


@pytest.mark.parametrize("rows", ROWS, ids=lambda rows: "-".join(rows))
@pytest.mark.parametrize("kind", ["parsed", "random", "t_step"])
def test_spans_of_a_state_hold_whole_rows_and_no_given_token(
    rows: list[str], kind: str, generator: torch.Generator
) -> None:
    batch = batch_of(rows)
    spans = SpanMasking(segmentation="random", lengths={1: 0.5, 2: 0.5}, mask_id=7)
    t = torch.ones(len(rows))
    if kind == "t_step":
        state = corrupt_free(
            batch, lambda free: t_step_corrupted(free, spans, t * 0, num_steps=1, generator=generator)
        )
    else:
        parsed = SpanMasking(segmentation="parsed", mask_id=7)
        chosen = parsed if kind == "parsed" else spans
        state = corrupt_free(batch, lambda free: chosen.corrupt(free, t, generator=generator))
    assert torch.equal(state.is_masked, batch.free_mask)
    assert torch.equal(state.x_t[~batch.free_mask], batch.input_ids[~batch.free_mask])
    found = torch.zeros_like(batch.free_mask).flatten()
    found[state.spans.token_index] = True
    assert torch.equal(found.view_as(batch.free_mask), batch.free_mask)
    assert torch.equal(state.spans.gather(state.x_0), batch.input_ids.flatten()[state.spans.token_index])
    assert torch.equal(state.spans.row, state.spans.token_index[state.spans.offset == 0] // len(rows[0]))


def test_a_uniform_guess_of_replaced_tokens_pays_for_free_tokens_alone(generator: torch.Generator) -> None:
    tokens = torch.randint(7, (4096, 6), generator=generator)
    given = torch.arange(6).expand(4096, -1) < 2
    batch = Batch(tokens, torch.ones_like(given), given=given)
    noise = UniformState(mask_id=7)
    u = ((torch.arange(4096) + 0.5) / 4096).double()
    t = u**3  # times near 0 weigh most and vary most
    state = corrupt_free(batch, lambda free: noise.corrupt(free, t, generator=generator))
    guess = torch.full((len(state.spans.token_index), 7), -math.log(7))
    nats = nelbo(UniformOutput(guess), batch, state).nats  # type: ignore[arg-type]
    assert float((3 * u**2 * nats).mean()) == pytest.approx(4 * math.log(7), rel=0.03)
    assert float(state.p[given].abs().max()) == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", sorted(CORRUPTIONS))
def test_a_corruption_refuses_a_batch_with_given_tokens(kind: str) -> None:
    options = {
        "span_masking": {"segmentation": "random", "lengths": {1: 1.0}},
        "rate_matched": {"num_buckets": 2, "order": "keyword_first"},
        "soft_masking": {"classes": "clusters", "num_classes": 2, "table": (0, 1, 0)},
    }.get(kind, {})
    corruption = CORRUPTIONS[kind](**options, mask_id=7)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="corrupt_free"):
        corruption.corrupt(batch_of(["ppAb"]), torch.ones(1))


def test_rows_of_given_tokens_alone_are_refused() -> None:
    with pytest.raises(DataError, match="leave at least one to predict"):
        corrupt_free(batch_of(["pppp"]), lambda free: TokenMasking(mask_id=7).corrupt(free, torch.ones(1)))
