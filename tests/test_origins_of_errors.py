"""Errors in components name the file or override, and the key, that they come from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hdiff.cli import run as hdiff
from hdiff.plugins import as_class_name

OWN = """
from hdiff.corruption import TokenMasking

class Pair(TokenMasking):
    def __init__(self, *, mask_id=None, schedule=None, strength: float = 1.0):
        super().__init__(mask_id=mask_id, schedule=schedule)
        if strength <= 0:
            raise ValueError(f"strength is {strength}, expected more than 0")

class Other:
    pass
"""
RECIPE = """
name: own
output: {folder}/run
data: {{path: {data}, sequence_length: 32}}
model: {{width: 16, depth: 1, num_heads: 2}}
train: {{steps: 2, batch_size: 4, warmup_steps: 1}}
head: {head}
corruption: {corruption}
evaluation: {{steps: [1], blocks: 1, draws: 1, samples: 2, sampler: {sampler}}}
"""
GOOD = {"head": "{kind: product}", "corruption": "{kind: token_masking}", "sampler": "null"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("origins")
    (folder / "t.txt").write_text("\n\n".join(f"Number {number} is here." for number in range(60)))
    words = ["prepare", str(folder / "t.txt"), "--out", str(folder / "data"), "--parser", "plain"]
    assert hdiff([*words, "--levels", "sentence", "--tokenizer", "words", "-q"]) == 0
    return folder / "data"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    (tmp_path / "own_noise.py").write_text(OWN)
    (tmp_path / "own_circle.py").write_text("from own_back import X\nclass Pair: pass\n")
    (tmp_path / "own_back.py").write_text("from own_circle import Pair\nX = 1\n")
    yield tmp_path
    for name in ("own_noise", "own_circle", "own_back"):
        sys.modules.pop(name, None)


def write(folder: Path, data: Path, **sections: str) -> Path:
    (folder / "own.yaml").write_text(RECIPE.format(folder=folder, data=data, **{**GOOD, **sections}))
    return folder / "own.yaml"


WRONG = [
    ("corruption", "{kind: token_masking, conut: exact}", "no key 'conut' in corruption"),
    ("corruption", "{kind: token_masking, count: 3}", "corruption.count is 3"),
    ("corruption", "{kind: token_maskin}", "did you mean 'token_masking'"),
    ("corruption", "{kind: token_masking, schedule: {kind: lineer}}", "did you mean 'linear'"),
    ("corruption", "{kind: token_masking, schedule: {kind: linear, esp: 1}}", "no key 'esp'"),
    ("corruption", "{kind: span_masking, segmentation: random, lengths: {0: 1}}", "lengths"),
    ("corruption", "{kind: 'own_noise:Pair', strength: abc}", "corruption.strength is 'abc'"),
    ("corruption", "{kind: 'own_noise:Pair', strength: -1}", "strength is -1.0, expected more than 0"),
    ("corruption", "{kind: 'own_noise:Pair', strenght: 1}", "did you mean 'strength'"),
    ("corruption", "{kind: 'own_noise:Pairs'}", "did you mean 'Pair'"),
    ("corruption", "{kind: 'own_noise:Other'}", "is no subclass of hdiff.corruption.base.Corruption"),
    ("corruption", "{kind: 'own_noises:Pair'}", "put own_noises.py there, or name its folder: export"),
    ("corruption", "{kind: 'own_circle:Pair'}", "circular import"),
    ("corruption", "{kind: own_noise.Pair}", "a class of yours is named 'own_noise:Pair'"),
    ("corruption", "{kind: 'own_noise.py:Pair'}", "write own_noise:Pair"),
    ("head", "{kind: autoregressive, num_head: 2}", "did you mean 'num_heads'"),
    ("head", "{kind: mixture, num_components: many}", "head.num_components is 'many'"),
    ("head", "{kind: 'own_noise:Pair'}", "is no subclass of hdiff.heads.base.Head"),
    ("sampler", "{kind: confidence, treshold: 1}", "did you mean 'threshold'"),
    ("sampler", "{kind: confidense}", "did you mean 'confidence'"),
    ("sampler", "{kind: confidence, threshold: high}", "evaluation.sampler.threshold is 'high'"),
    ("sampler", "{kind: 'own_noise:Pair'}", "is no subclass of hdiff.samplers.base.Sampler"),
]


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(("section", "value", "said"), WRONG)
def test_a_wrong_component_of_a_file_or_override_is_named_before_training(
    section: str, value: str, said: str, data: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write(folder, data, **{section: value})
    assert hdiff(["train", "own.yaml", "-q"]) == 2
    message = sentence(capsys)
    assert message.startswith("hdiff: own.yaml: ")
    assert said in message
    assert not (folder / "run" / "checkpoints").exists()
    recipe = write(folder, data)
    key = {"sampler": "evaluation.sampler"}.get(section, section)
    assert hdiff(["train", str(recipe), f"{key}={value}", "-q"]) == 2
    message = sentence(capsys)
    assert message.startswith(f"hdiff: override '{key}={value[:20]}")
    assert said in message


@pytest.mark.parametrize(
    ("overrides", "origin"),
    [
        (["corruption.conut=exact"], "override 'corruption.conut=exact'"),
        (["corruption.conut=exact", "corruption.count=exact"], "override 'corruption.conut=exact'"),
        (["corruption.conut=exact", "train.steps=3"], "override 'corruption.conut=exact'"),
        (["head={kind: product}", "corruption.kind=nothing"], "override 'corruption.kind=nothing'"),
    ],
)
def test_the_override_that_has_the_key_is_the_one_named(
    overrides: list[str], origin: str, data: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, data)
    assert hdiff(["train", "own.yaml", *overrides, "-q"]) == 2
    assert sentence(capsys).startswith(f"hdiff: {origin}: ")


@pytest.mark.parametrize(
    ("variant", "override", "origin"),
    [
        ("{corruption.conut: exact}", [], "'b' of ab.yaml: no key 'conut'"),
        ("{head: {kind: nothing}}", [], "'b' of ab.yaml: no head 'nothing'"),
        ("{train.steps: 3}", ["head={kind: nothing}"], "'a' of ab.yaml: override 'head={kind: nothing}': no"),
        ("{train.steps: 3}", ["evaluation.sampler={kind: x}"], "override 'evaluation.sampler={kind: x}': no"),
    ],
)
def test_an_ablation_names_variant_or_override(
    variant: str,
    override: list[str],
    origin: str,
    data: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(folder, data)
    variants = f"baseline: a\nvariants: {{a: {{}}, b: {variant}}}\n"
    (folder / "ab.yaml").write_text(f"name: ab\nbase: own.yaml\noutput: ab\nseeds: [0]\n{variants}")
    assert hdiff(["ablate", "ab.yaml", *override, "-q"]) == 2
    assert origin in sentence(capsys)


MEANT = {
    "own_noise.Pair": "own_noise:Pair",
    "own_noise.py:Pair": "own_noise:Pair",
    "./own_noise.py:Pair": "own_noise:Pair",
    "./own_noise:Pair": "own_noise:Pair",
    "own_noise: Pair": "own_noise:Pair",
    "own_noise :Pair": "own_noise:Pair",
    "noises/own.py:Pair": "noises.own:Pair",
    "noises\\own.py:Pair": "noises.own:Pair",
    "/noises/own.py:Pair": "noises.own:Pair",
    "noises.own.Pair": "noises.own:Pair",
    "own_noise.py": None,
    "own_noise": None,
    "own-noise:Pair": None,
    "own_noise:": None,
    ":Pair": None,
    "a:b:c": None,
    "1noise:Pair": None,
    "../own_noise.py:Pair": "own_noise:Pair",
}


@pytest.mark.parametrize("written", MEANT)
def test_a_class_written_otherwise_is_told_how(
    written: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert as_class_name(written) == MEANT[written]
    assert hdiff(["audit", "--corruption", written]) == 2
    if MEANT[written]:
        assert MEANT[written] in sentence(capsys)
