"""Training that starts from a model: what is taken over, and what does not fit."""

from pathlib import Path

import pytest
import torch

from hdiff.config.train import TrainConfig
from hdiff.data.prepare.run import prepare
from hdiff.errors import CheckpointError, DataError, RecipeError
from hdiff.recipe import load_recipe
from hdiff.runs.folder import RunFolder
from hdiff.sharing.export import export_run
from hdiff.sharing.pretrained import PretrainedModel
from hdiff.training.build import build_training
from hdiff.training.optimisation import rate_factor
from hdiff.training.trainer import fit

RECIPE = """
name: tiny
output: {output}
data: {{path: {data}, sequence_length: 16}}
model: {{width: 16, depth: 1, num_heads: 2}}
head: {{kind: autoregressive, classes: {{kind: clusters, sizes: [8]}}}}
corruption: {{kind: span_masking, segmentation: random, lengths: [1, 1, 1]}}
train: {{steps: 2, batch_size: 4, warmup_steps: 1, trackers: []}}
"""


def recipe_of(folder: Path, data: Path, output: str, *overrides: str):
    file = folder / "recipe.yaml"
    file.write_text(RECIPE.format(output=folder / output, data=data))
    return load_recipe(file, overrides)


@pytest.fixture(scope="module")
def first_run(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    fit(build_training(recipe_of(folder, prepared_folder, "run")))
    return folder / "run"


@pytest.fixture(scope="module")
def exported(first_run: Path) -> Path:
    export_run(first_run, first_run.parent / "shared")
    return first_run.parent / "shared"


@pytest.mark.parametrize("kind", ["run", "shared"])
def test_training_starts_from_the_weights_and_their_classes(
    kind: str, first_run: Path, exported: Path, prepared_folder: Path, tmp_path: Path
) -> None:
    first = first_run if kind == "run" else exported
    recipe = recipe_of(tmp_path, prepared_folder, "next", f"init={first}", "seed=5")
    training = build_training(recipe)
    expected = RunFolder.load(first_run)
    ours = training.model.state_dict()
    for name, value in expected.model.state_dict().items():
        assert torch.equal(ours[name], value), name
        assert torch.equal(training.state.average.model.state_dict()[name], value), name
    assert training.data.head_classes == expected.record["head_classes"]
    fit(training)
    trained = RunFolder.load(tmp_path / "next").model.state_dict()
    assert any(not torch.equal(trained[name], value) for name, value in expected.model.state_dict().items())
    # Resuming goes on from the checkpoint, also where the first model is gone.
    assert fit(build_training(recipe.model_copy(update={"resume": "auto"}))).stopped_by is None
    assert torch.equal(
        next(iter(RunFolder.load(tmp_path / "next").model.state_dict().values())),
        next(iter(trained.values())),
    )


def test_supervision_of_its_own_starts_anew(first_run: Path, prepared_folder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, prepared_folder, "next", f"init={first_run}", "supervision={targets: [pos]}")
    fit(build_training(recipe))
    assert RunFolder.load(tmp_path / "next").step == 2


@pytest.mark.parametrize(
    "override",
    [
        "model.width=32",
        "model.depth=2",
        "head={kind: product, classes: {kind: clusters, sizes: [8]}}",
        "head.num_layers=2",
        "head.classes=null",
        "head={kind: mixture, num_components: 2}",
        "head={kind: crf}",
        "model.kind=autoregressive",
        "planner={}",
        "corruption={kind: soft_masking, classes: clusters, num_classes: 4}",
    ],
)
def test_a_model_that_is_built_otherwise_is_refused(
    override: str, first_run: Path, prepared_folder: Path, tmp_path: Path
) -> None:
    more = (
        ["corruption={kind: token_masking}", "head={kind: product}"] if "autoregressive" in override else []
    )
    recipe = recipe_of(tmp_path, prepared_folder, "next", f"init={first_run}", override, *more)
    with pytest.raises(RecipeError, match=r"init=.* has .* of shape .*give the recipe the sections"):
        build_training(recipe)


def test_another_tokenizer_is_refused(first_run: Path, tmp_path: Path) -> None:
    prepare(
        "builtin:pydoc",
        tmp_path / "data",
        limit=14,
        tokenizer="train:400",
        parser="plain",
        levels=["sentence"],
    )
    with pytest.raises(DataError, match="has another tokenizer than") as caught:
        build_training(recipe_of(tmp_path, tmp_path / "data", "next", f"init={first_run}"))
    assert (
        f"hdiff prepare SOURCE --out DATA --tokenizer {first_run}"
        in f"{caught.value} {caught.value.remedies}"
    )


@pytest.mark.parametrize(
    "name", ["nowhere", "builtin:poems", "'builtin:'", "builtin:stories-text", "builtin:Stories"]
)
def test_a_model_that_is_not_there_is_named(name: str, prepared_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=name.strip("'")):
        build_training(recipe_of(tmp_path, prepared_folder, "next", f"init={name}"))


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_an_export_of_half_the_size_is_the_same_model_rounded(
    precision: str, first_run: Path, tmp_path: Path
) -> None:
    export_run(first_run, tmp_path / "whole")
    export_run(first_run, tmp_path / "half", precision=precision)
    whole, half = (tmp_path / name / "model.safetensors" for name in ("whole", "half"))
    assert half.stat().st_size < 0.65 * whole.stat().st_size
    theirs = PretrainedModel.from_pretrained(tmp_path / "half").model.state_dict()
    for name, value in PretrainedModel.from_pretrained(tmp_path / "whole").model.state_dict().items():
        assert theirs[name].dtype == value.dtype
        torch.testing.assert_close(theirs[name], value, rtol=0.01, atol=1e-6)


def test_a_precision_that_does_not_hold_the_weights_is_refused(first_run: Path, tmp_path: Path) -> None:
    from hdiff.sharing.export import in_precision

    with pytest.raises(CheckpointError, match="too large for float16"):
        in_precision({"head.bias": torch.tensor([1e6])}, "float16")
    with pytest.raises(CheckpointError, match="no precision 'int4'"):
        export_run(first_run, tmp_path / "out", precision="int4")


@pytest.mark.parametrize(
    ("steps", "decay", "expected"),
    [
        (10, 0, {1: 0.5, 2: 1.0, 3: 1.0, 10: 1.0}),
        (10, 4, {2: 1.0, 6: 1.0, 7: 4 / 5, 8: 3 / 5, 9: 2 / 5, 10: 1 / 5}),
        (10, 10, {2: 1.0, 3: 8 / 11, 10: 1 / 11}),
        (10, 600, {2: 1.0, 3: 8 / 11, 10: 1 / 11}),
    ],
)
def test_a_constant_rate_may_fall_at_the_end(steps: int, decay: int, expected: dict[int, float]) -> None:
    config = TrainConfig(steps=steps, schedule="constant", decay_steps=decay, warmup_steps=2)
    assert {step: rate_factor(step, config) for step in expected} == pytest.approx(expected)


def test_a_decay_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="decay_steps"):
        TrainConfig(schedule="cosine", decay_steps=2)
