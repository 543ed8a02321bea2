"""List operations: prepared rows, and the evaluation with oracles and a trained run.

Dimensions: B rows, L tokens, V vocabulary, D = L, S spans, P packed tokens.
"""

from __future__ import annotations

import itertools
import math
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hdiff.corruption import SpanMasking, TokenMasking
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepare.run import prepare
from hdiff.data.prepared import PreparedData
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.evaluation.list_evaluation import evaluate_answers, evaluate_list_operations
from hdiff.heads import AS_IT_IS, Sampling
from hdiff.languages.list_operations import (
    ITEMS,
    LIST_LENGTH,
    OPERATIONS,
    PROMPT_LENGTH,
    ROW_LENGTH,
    entropy_per_token,
    factorised_ceiling,
    factorised_floor,
    right_answers,
)
from hdiff.packed_spans import PackedSpans
from hdiff.recipe import load_recipe
from hdiff.runs.folder import RunFolder
from hdiff.samplers import AncestralSampler, ConfidenceSampler, RemaskingSampler
from hdiff.training.build import build_training
from hdiff.training.trainer import fit

SPANS = SpanMasking(segmentation="random", lengths={8: 1.0})
RECIPES = Path(__file__).resolve().parents[1] / "recipes"
PLAIN = {"parser": "plain", "levels": ("sentence",), "tokenizer": "words"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 rows, prepared for real."""
    out = tmp_path_factory.mktemp("list_operations") / "data"
    prepare("builtin:list_operations", out, **PLAIN, limit=200)
    return out


def test_prepared_rows_have_one_length_and_the_answer_is_a_unit(data: Path) -> None:
    prepared = PreparedData.load(data)
    assert prepared.manifest["validation"] == "builtin:list_operations:validation"
    assert prepared.manifest["tokenizer"]["vocab_size"] == len(OPERATIONS) + len(ITEMS) + 3 + 2
    recipe = load_recipe(RECIPES / "list_operations.yaml")
    blocks = PackedBlocks.build(prepared, "train", levels=("sentence",), **recipe.data.packing())
    batch = blocks.batch(range(len(blocks)))
    assert bool(batch.token_mask.all())
    texts = [" ".join(row["text"].split()) for row in prepared.split("train")]
    assert [prepared.tokenizer.decode(row) for row in batch.input_ids.tolist()] == texts
    expected = torch.tensor([0] * PROMPT_LENGTH + [1] * LIST_LENGTH)
    assert torch.equal(batch.units("sentence"), expected.expand(len(blocks), -1))


class OracleHead(nn.Module):
    """Exact posterior of the answer, jointly or token by token; `hidden` carries the row's x_t."""

    def __init__(self, tokenizer: Tokenizer, *, joint: bool) -> None:
        super().__init__()
        self.tokenizer, self.joint = tokenizer, joint
        self.embedding = nn.Embedding(1, 1)
        self.consistent = cache(self._consistent)

    def _consistent(self, *x_t: int) -> list[list[int]]:
        """Right answers that agree with the visible tokens; all of them where the answer is wrong already."""
        operation, *items = self.tokenizer.decode(x_t[: 1 + LIST_LENGTH]).split()
        answers = [self.tokenizer.encode(" ".join(answer))[0] for answer in right_answers(operation, items)]
        seen = [
            (i, token) for i, token in enumerate(x_t[PROMPT_LENGTH:]) if token < self.tokenizer.vocab_size
        ]
        return [answer for answer in answers if all(answer[i] == token for i, token in seen)] or answers

    def sample(
        self,
        hidden: Tensor,
        spans: PackedSpans,
        *,
        generator: torch.Generator | None = None,
        sampling: Sampling = AS_IT_IS,
    ) -> Tensor:
        column = (spans.token_index % ROW_LENGTH - PROMPT_LENGTH).tolist()
        uniform = torch.rand(len(column), generator=generator)
        if self.joint:  # one draw per span, not per token
            uniform = uniform[spans.span_index]
        drawn = []
        for x_t, place, u in zip(hidden.long().tolist(), column, uniform.tolist(), strict=True):
            answers = self.consistent(*x_t)
            drawn.append(answers[int(u * len(answers))][place])
        return torch.tensor(drawn)

    def sequential_passes(self, lengths: Tensor) -> Tensor:
        return torch.ones_like(lengths)

    def log_prob(self, hidden: Tensor, targets: Tensor, spans: PackedSpans) -> Tensor:
        column = (spans.token_index % ROW_LENGTH - PROMPT_LENGTH).tolist()
        groups = spans.span_index.tolist() if self.joint else range(len(column))
        shares: dict[int, list[list[int]]] = {}
        total = []
        for group, x_t, place, token in zip(
            groups, hidden.long().tolist(), column, targets.tolist(), strict=True
        ):
            before = shares.get(group, self.consistent(*x_t))
            shares[group] = [answer for answer in before if answer[place] == token]
            total.append(math.log(len(shares[group]) / len(before)))  # chain rule inside the group
        return spans.sum_tokens(torch.tensor(total, dtype=torch.float64))


class OracleDenoiser(nn.Module):
    """The denoiser nobody can beat: exact posterior of every answer."""

    def __init__(self, tokenizer: Tokenizer, *, joint: bool) -> None:
        super().__init__()
        self.head = OracleHead(tokenizer, joint=joint)
        self.vocab_size = self.mask_id = tokenizer.vocab_size

    def hidden(self, x_t: Tensor, token_mask: Tensor | None = None) -> Tensor:
        return x_t.double()[:, None, :].expand(-1, x_t.shape[1], -1)  # (B, L, L): each token sees the row


def test_exact_joint_is_always_right_at_one_evaluation_and_scores_the_entropy(data: Path) -> None:
    tokenizer = PreparedData.load(data).tokenizer
    oracle = OracleDenoiser(tokenizer, joint=True)
    found = evaluate_answers(oracle, SPANS, tokenizer, sampler_of=AncestralSampler, steps=(1, 4), num=100)
    assert found["nfe"] == {"1": 1, "4": 1}
    for operation in OPERATIONS:
        assert found["valid"][operation] == {"1": 1.0, "4": 1.0}
        assert found["nats_per_token"][operation]["1"] == pytest.approx(entropy_per_token(operation))
        assert found["entropy"][operation] == entropy_per_token(operation)


@pytest.mark.parametrize("corruption", [TokenMasking(), SPANS], ids=["tokens", "spans"])
def test_exact_marginals_reach_their_ceiling_and_floor(
    data: Path, corruption: TokenMasking | SpanMasking
) -> None:
    """With spans the answer is one unit, so that every step count is one step."""
    tokenizer = PreparedData.load(data).tokenizer
    oracle, num = OracleDenoiser(tokenizer, joint=False), 600
    found = evaluate_answers(oracle, corruption, tokenizer, sampler_of=AncestralSampler, num=num)
    is_span = isinstance(corruption, SpanMasking)
    assert found["nfe"] == ({"1": 1, "2": 1, "4": 1} if is_span else {"1": 1, "2": 2, "4": 4})
    for operation, num_steps in itertools.product(OPERATIONS, (1, 2, 4)):
        used = 1 if is_span else num_steps
        ceiling = factorised_ceiling(operation, used)
        spread = math.sqrt(ceiling * abs(1 - ceiling) / num)
        assert abs(found["valid"][operation][str(num_steps)] - ceiling) <= 4 * spread + 1e-9
        assert found["nats_per_token"][operation][str(num_steps)] == pytest.approx(
            factorised_floor(operation, used), abs=0.05
        )
        assert found["ceiling"][operation][str(num_steps)] == factorised_ceiling(operation, num_steps)
        assert found["floor"][operation][str(num_steps)] == factorised_floor(operation, num_steps)


RECIPE = """
name: small
output: {output}
data: {{path: {data}, sequence_length: 12, separator: false}}
model: {{width: 16, depth: 1, num_heads: 2}}
head: {{kind: product}}
corruption: {{kind: {corruption}}}
train: {{steps: 4, batch_size: 4, warmup_steps: 1, ema_decay: 0.0}}
evaluation: {{steps: [1], blocks: 4, draws: 1, samples: 0}}
"""


def trained(folder: Path, data: Path, corruption: str, *overrides: str) -> RunFolder:
    folder.mkdir()
    file = folder / "recipe.yaml"
    file.write_text(RECIPE.format(output=folder / "run", data=data, corruption=corruption))
    fit(build_training(load_recipe(file, overrides)))
    return RunFolder.load(folder / "run")


def test_trained_run_is_evaluated_the_same_way_each_time(tmp_path: Path, data: Path) -> None:
    parsed = "corruption={kind: span_masking, level: sentence, segmentation: mixture, lengths: {8: 1.0}}"
    run = trained(
        tmp_path / "spans", data, "span_masking", parsed, "head={kind: autoregressive, num_heads: 2}"
    )
    found = evaluate_list_operations(run, sampler_of=AncestralSampler, num=20, seed=1)
    assert found == evaluate_list_operations(run, sampler_of=AncestralSampler, num=20, seed=1)
    assert found != evaluate_list_operations(run, sampler_of=AncestralSampler, num=20, seed=2)
    assert found["nfe"] == {"1": 1, "2": 1, "4": 1}
    for operation in OPERATIONS:
        assert list(found["valid"][operation]) == ["1", "2", "4"]
        assert all(0.0 <= share <= 1.0 for share in found["valid"][operation].values())
        # After four updates it guesses among all 19 words, log 19 = 2.9 nats.
        assert 2.0 < found["nats_per_token"][operation]["1"] < 6.0


def test_any_sampler_of_masked_units_can_fill_and_those_without_a_bound_get_no_score(
    tmp_path: Path, data: Path
) -> None:
    def by_count(num_steps: int) -> ConfidenceSampler:
        return ConfidenceSampler(threshold=None, num_steps=num_steps)

    run = trained(tmp_path / "tokens", data, "token_masking")
    bounded = evaluate_list_operations(run, sampler_of=by_count, steps=(2,), num=4)
    unbounded = evaluate_list_operations(run, sampler_of=RemaskingSampler, steps=(2,), num=4)
    assert bounded["nfe"] == unbounded["nfe"] == {"2": 2}
    for operation in OPERATIONS:
        assert bounded["nats_per_token"][operation]["2"] > 0
        assert unbounded["nats_per_token"][operation]["2"] is None


def test_runs_on_other_text_or_of_other_noise_are_refused(tmp_path: Path, data: Path) -> None:
    prepare("builtin:phrase_bank", tmp_path / "phrases", **PLAIN, limit=50)
    run = trained(tmp_path / "other", tmp_path / "phrases", "token_masking")
    with pytest.raises(DataError, match="trained on builtin:list_operations"):
        evaluate_list_operations(run, sampler_of=AncestralSampler)
    run = trained(tmp_path / "replaced", data, "uniform_state")
    with pytest.raises(DataError, match="trained with UniformState; answers are filled by models of masked"):
        evaluate_list_operations(run, sampler_of=AncestralSampler)


def test_no_prompt_is_refused(data: Path) -> None:
    tokenizer = PreparedData.load(data).tokenizer
    with pytest.raises(DataError, match="num is 0"):
        evaluate_answers(
            OracleDenoiser(tokenizer, joint=True), SPANS, tokenizer, sampler_of=AncestralSampler, num=0
        )
