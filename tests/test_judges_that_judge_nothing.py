"""A judge that would have nothing to judge is refused before the work, and so is one that does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
from shared_models import CHECKOUT, TINY

from hdiff.cli import run as hdiff


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged")
    (folder / "t.txt").write_text("\n\n".join(f"Number {number} is here, and so on." for number in range(90)))
    words = ["prepare", str(folder / "t.txt"), "--out", str(folder / "data"), "--parser", "plain"]
    assert hdiff([*words, "--levels", "sentence", "--tokenizer", "words", "-q"]) == 0
    small = "evaluation={steps: [1, 2], blocks: 1, draws: 1, samples: 2}"
    recipe = CHECKOUT / "recipes" / "baselines" / "token_masking.yaml"
    for name, changes in {
        "tokens": [],
        "silent": ["evaluation.samples=0"],
        "replaced": ["corruption={kind: uniform_state}"],
        "blocks": ["corruption={kind: block_masking, block_size: 4}"],
        "judge": ["model.kind=autoregressive"],
    }.items():
        own = [f"data.path={folder / 'data'}", f"output={folder / name}", small, *changes, "-q"]
        assert hdiff(["train", str(recipe), *TINY, *own]) == 0
    return folder


NOTHING = [
    ("silent --judge JUDGE", "--judge judges samples, and evaluation.samples is 0; draw some: --samples 32"),
    ("silent --outside-judges", "--outside-judges judges samples, and evaluation.samples is 0"),
    ("silent --judge JUDGE --outside-judges", "--judge judges samples, and evaluation.samples is 0"),
    ("tokens --judge JUDGE --samples 0", "evaluation.samples is 0; draw some: --samples 32"),
    ("silent --judge JUDGE --sampler confidence", "evaluation.samples is 0"),
    ("silent --judge JUDGE --given-structure", "evaluation.samples is 0"),
    ("judge --judge JUDGE", "an autoregressive model draws none; leave it out"),
    ("judge --outside-judges", "an autoregressive model draws none; leave it out"),
    ("judge --judge JUDGE --samples 4", "an autoregressive model draws none; leave it out"),
    ("blocks --judge JUDGE --steps 1", "none are drawn with T = 1; give other --steps"),
    ("tokens --max-pairs 3", "--max-pairs limits minimal pairs, and none are asked for; add --agreement"),
    ("tokens --judge tokens", "holds a denoiser; a judge is a run of recipes/judge.yaml"),
    ("tokens --judge nowhere", "nowhere"),
]


@pytest.mark.parametrize(("words", "said"), NOTHING)
def test_a_judge_without_samples_is_refused_before_the_work(
    words: str, said: str, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("the evaluation has begun")

    monkeypatch.setattr("hdiff.evaluation.run.evaluate_bound", work)
    monkeypatch.chdir(runs)
    assert hdiff(["eval", *words.replace("JUDGE", "judge").split(), "-q"]) == 2
    assert said in capsys.readouterr().err


def test_samples_are_as_many_as_asked_for(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs)
    assert hdiff(["eval", "silent", "--judge", "judge", "--samples", "3", "--steps", "1", "--json"]) == 0
    assert '"judge_nll": ' in capsys.readouterr().out
    assert hdiff(["eval", "silent", "--steps", "1", "-q"]) == 0, "nobody asks for a judge"
