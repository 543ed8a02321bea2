"""`train.optimizer` and `train.compile`: what they change, and what they do not."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hdiff.config.train import TrainConfig
from hdiff.errors import RecipeError
from hdiff.layers.attention import documents_apart
from hdiff.layers.trunk import Trunk
from hdiff.recipe import load_recipe
from hdiff.runs.checkpoint import load_checkpoint
from hdiff.training.build import build_training, check_compiler
from hdiff.training.muon import MuonWithAdamW
from hdiff.training.optimisation import load_optimizer, make_optimizer, optimizer_tensors
from hdiff.training.trainer import fit
from hdiff.training.update import Updates

RECIPE = """
name: small
output: {output}
resume: auto
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6}}
model: {{width: 16, depth: 1, num_heads: 2}}
head: {{kind: autoregressive, num_heads: 2}}
corruption: {{kind: span_masking, segmentation: random, lengths: {{1: 0.5, 3: 0.5}}}}
train: {{steps: 6, batch_size: 4, warmup_steps: 2, ema_decay: 0.9, log_every: 1, checkpoint_every: 3}}
"""


@pytest.fixture
def recipe_file(tmp_path: Path, prepared_folder: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "run", data=prepared_folder))
    return file


class Small(nn.Module):
    """All kinds of parameters: matrices, a thin one, a table, a norm, a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        self.layers = nn.Sequential(nn.Linear(8, 12), nn.LayerNorm(12), nn.Linear(12, 5, bias=False))
        self.speed = nn.Linear(5, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        output: Tensor = self.speed(self.layers(self.embedding(tokens)))
        return output


def trained(model: Small, optimizer: torch.optim.Optimizer, updates: int, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(updates):
        tokens = torch.randint(7, (16,), generator=generator)
        optimizer.zero_grad()
        (model(tokens).squeeze(1) - tokens).square().mean().backward()
        optimizer.step()


def test_muon_updates_matrices_as_torch_does_and_adamw_the_rest() -> None:
    torch.manual_seed(0)
    config = TrainConfig(optimizer="muon", learning_rate=0.01)
    ours, plain = Small(), Small()
    plain.load_state_dict(ours.state_dict())
    optimizer = make_optimizer(ours, config)
    assert isinstance(optimizer, MuonWithAdamW)
    matrices = [plain.layers[0].weight, plain.layers[2].weight]
    thin = [plain.speed.weight]
    chosen = {id(parameter) for parameter in (*matrices, *thin)}
    rest = [parameter for parameter in plain.parameters() if id(parameter) not in chosen]
    separate = (
        torch.optim.Muon(matrices, lr=0.01, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(thin, lr=0.01, betas=config.betas, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=0.01, betas=config.betas, weight_decay=0.0),
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        tokens = torch.randint(7, (16,), generator=generator)
        plain.zero_grad()
        (plain(tokens).squeeze(1) - tokens).square().mean().backward()
        for one in separate:
            one.step()
    trained(ours, optimizer, 4)
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_saved_optimizer_goes_on_with_the_same_numbers(name: str) -> None:
    torch.manual_seed(0)
    config = TrainConfig(optimizer=name)
    straight = Small()
    stopped = copy.deepcopy(straight)
    optimizer = make_optimizer(straight, config)
    trained(straight, optimizer, 3)
    trained(straight, optimizer, 3, seed=1)
    first = make_optimizer(stopped, config)
    trained(stopped, first, 3)
    resumed = copy.deepcopy(stopped)
    second = make_optimizer(resumed, config)
    load_optimizer(second, resumed, optimizer_tensors(first, stopped))
    trained(resumed, second, 3, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), straight.parameters(), strict=True))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_group_follows_the_learning_rate(name: str) -> None:
    model = Small()
    optimizer = make_optimizer(model, TrainConfig(optimizer=name, weight_decay=0.0))
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [parameter.clone() for parameter in model.parameters()]
    trained(model, optimizer, 2)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_run_with_muon_resumes_as_if_it_had_not_stopped(recipe_file: Path, tmp_path: Path) -> None:
    muon = ["train.optimizer=muon"]
    fit(build_training(load_recipe(recipe_file, [*muon, f"output={tmp_path / 'straight'}"])))
    recipe = load_recipe(recipe_file, muon)

    def interrupt(step: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(build_training(recipe), before_update=interrupt)
    assert fit(build_training(recipe)).first_step == 3
    one, other = (
        load_checkpoint(tmp_path / run / "checkpoints").tensors["model"] for run in ("straight", "run")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


TRUNKS = {
    "plain": {},
    "padded": {"token_mask": torch.arange(9) < torch.tensor([[9], [4], [7]])},
    "some places": {"places": torch.tensor([1, 5, 8, 20])},
    "padded, some places": {
        "places": torch.tensor([1, 9]),
        "token_mask": torch.arange(9) < torch.tensor([[9], [4], [7]]),
    },
    "blocks": {"visible": torch.ones(9, 9, dtype=torch.bool).tril(), "positions": torch.arange(9)},
    "documents": {"visible": documents_apart(torch.tensor([[0, 0, 0, 1, 1, 1, 2, 2, -1]] * 3))},
}


@pytest.mark.parametrize("options", TRUNKS.values(), ids=TRUNKS)
def test_the_trunk_compiles_without_a_graph_break(options: dict[str, Tensor]) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    trunk = Trunk(32, depth=2, num_heads=2)
    compiled = torch.compile(trunk, fullgraph=True, backend="eager")  # a break raises
    hidden = torch.randn(3, 9, 32)
    assert torch.allclose(compiled(hidden, **options), trunk(hidden, **options), atol=1e-5)


@pytest.mark.slow
def test_a_compiled_run_learns_the_same(recipe_file: Path, tmp_path: Path) -> None:
    losses = []
    for value in ("false", "true"):
        given = [f"train.compile={value}", f"output={tmp_path / value}"]
        try:
            training = build_training(load_recipe(recipe_file, given))
        except RecipeError as error:
            pytest.skip(str(error))
        update = Updates(training)
        losses.append([update(step)["loss"] for step in (1, 2)])
        assert (training.model.trunk._compiled_call_impl is not None) == (value == "true")
        assert all("_orig_mod" not in name for name in training.model.state_dict())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_machine_without_a_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RecipeError, match="compile=false"):
        check_compiler(torch.device("cpu"))
    check_compiler(torch.device("cuda"))
