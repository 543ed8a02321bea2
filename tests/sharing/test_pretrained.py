"""A shared model is the model of its run, and loads where nothing of its training is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from shared_models import FAMILIES

from hdiff.cli import run as hdiff
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.errors import CheckpointError
from hdiff.evaluation.perplexity import shown
from hdiff.runs.folder import RunFolder
from hdiff.sharing import PretrainedModel
from hdiff.sharing.pipeline import TextDiffusionPipeline
from hdiff.sharing.shared_parser import SharedParser

BLOCKED = [
    *("accelerate", "benepar", "datasets", "huggingface_hub", "matplotlib", "nltk", "pandas", "pyarrow"),
    *("ray", "spacy", "tensorboard", "transformers", "xformers"),
]
USE = """
import sys

for name in {blocked}:
    sys.modules[name] = None  # as if it were not installed
import torch
from hdiff.sharing.pipeline import TextDiffusionPipeline
pipeline = TextDiffusionPipeline.from_pretrained({folder!r})
generator = torch.Generator().manual_seed(0)
print(pipeline(1, num_inference_steps=4, generator=generator).texts[0])
loaded = {{"hdiff.training.trainer", "torch._dynamo"}} & set(sys.modules)
assert not loaded, "the trainer or a compiler was loaded"
"""


@pytest.mark.parametrize("family", list(FAMILIES))
def test_what_is_loaded_is_what_was_saved(family: str, families: Path, tmp_path: Path) -> None:
    """The run itself, its averaged weights, its corruption with the corpus's lengths, its tokenizer."""
    run = RunFolder.load(families / family)
    folder = PretrainedModel.from_pretrained(families / family).save_pretrained(tmp_path / "shared")
    loaded = PretrainedModel.from_pretrained(folder)
    assert not loaded.model.training
    assert loaded.tokenizer.sha256 == run.tokenizer.sha256
    assert type(loaded.corruption) is type(run.corruption)
    weights = loaded.model.state_dict()
    assert list(weights) == list(run.model.state_dict())
    for name, value in run.model.state_dict().items():
        assert torch.equal(weights[name], value), name
    if family != "judge":
        one, other = (
            TextDiffusionPipeline.from_pretrained(path)(2, generator=torch.Generator().manual_seed(1))
            for path in (families / family, folder)
        )
        assert one.texts == other.texts


def test_saving_twice_gives_the_same_files(exported: Path, tmp_path: Path) -> None:
    again = PretrainedModel.from_pretrained(exported).save_pretrained(tmp_path / "again")
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (again / name).read_bytes() == (exported / name).read_bytes(), name
    PretrainedModel.from_pretrained(exported).save_pretrained(again)  # over itself
    assert sorted(file.name for file in again.iterdir()) == sorted(file.name for file in exported.iterdir())


def test_it_loads_and_writes_without_what_it_was_trained_with(exported: Path) -> None:
    code = USE.format(blocked=BLOCKED, folder=str(exported))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    pipeline = TextDiffusionPipeline.from_pretrained(exported)
    generator = torch.Generator().manual_seed(0)
    (text,) = pipeline(1, num_inference_steps=4, generator=generator).texts
    assert done.stdout == text + "\n"


def test_the_card_says_what_was_measured(exported: Path, families: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "apache-2.0"
    figures = json.loads((families / "spans" / "eval.json").read_text())
    assert f"Upper bound on -log p(x_0): **{figures['bound']['nats_per_token']:.3f}**" in text
    assert f"{figures['t_step']['4']:.3f}" in text
    assert f"perplexity per token (upper bound) {shown(figures['bound']['nats_per_token'])}," in text
    assert f"| perplexity per token (upper bound) | {shown(figures['t_step']['1'])} |" in text
    assert "PSF-2.0" in text
    run = json.loads((families / "spans" / "run.json").read_text())
    assert run["data"]["sha256"] in text
    assert run["commit"] is None or run["commit"] in text
    first = TextDiffusionPipeline.from_pretrained(exported)(2, generator=torch.Generator().manual_seed(0))
    assert first.texts[0].strip().splitlines()[0] in text
    assert "Needs hdiff and nothing more; install it from its checkout: `pip install .`." in text


def test_the_card_does_not_tell_where_files_lay(
    exported: Path, families: Path, prepared_folder: Path
) -> None:
    for file in exported.iterdir():
        content = file.read_bytes()
        for path in (families, prepared_folder.parent):
            assert str(path).encode() not in content, file.name


def test_a_card_without_evaluation_says_how_to_get_one(families: Path, tmp_path: Path) -> None:
    assert hdiff(["export", str(families / "judge"), str(tmp_path / "judge")]) == 0
    card = (tmp_path / "judge" / "README.md").read_text(encoding="utf-8")
    assert "hdiff eval RUN" in card
    assert "scores text and writes none" in card
    with pytest.raises(CheckpointError, match="does not generate"):
        TextDiffusionPipeline.from_pretrained(tmp_path / "judge")


def test_classes_of_salience_and_the_parser_are_shared(families: Path, tmp_path: Path) -> None:
    """Borders are counted in the training text, which is not in the folder."""
    run = RunFolder.load(families / "speeds")
    trained = PackedBlocks.build(
        PreparedData.load(run.recipe.data.path), "train", **run.recipe.data.packing()
    ).buckets
    assert trained is not None
    PretrainedModel.of_run(run).save_pretrained(tmp_path / "shared")
    shared = PretrainedModel.from_pretrained(tmp_path / "shared").description
    assert shared.recipe.data.salience_buckets == trained.edges
    assert shared.parser is not None
    assert shared.parser.name == "spacy"


@pytest.mark.parametrize(
    "record",
    [
        {"name": "treebank", "model": "/home/author/trees"},
        {"name": "spacy", "model": "/home/author/model"},
        {"name": "spacy", "model": "../model"},
        {"name": "os.path:join"},
        {"name": "benepar", "model": "benepar_en3"},
        {},
    ],
)
def test_no_parser_of_the_author_is_named(record: dict[str, str]) -> None:
    assert SharedParser.of_record(record) is None


def test_a_parser_that_a_stranger_names_is_one_of_ours(exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "copy"))
    values = json.loads((folder / "config.json").read_text())
    for parser in ({"name": "os.path:join"}, {"name": "spacy", "model": "/tmp/evil"}):
        (folder / "config.json").write_text(json.dumps({**values, "parser": parser}))
        with pytest.raises(CheckpointError, match=r"parser\.(name|model)"):
            PretrainedModel.from_pretrained(folder)
