"""The benchmark of answers to E2E prompts, at tiny size."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmark_scripts import benchmark_script

from hdiff.control.answers import Answer
from hdiff.data.tokenizer import Tokenizer

pytest.importorskip("sacrebleu", reason="BLEU is that of sacrebleu; pip install '.[bleu]'")

TINY = [
    "model.width=16",
    "model.depth=1",
    "model.num_heads=2",
    "train.steps=2",
    "train.batch_size=2",
    "train.warmup_steps=1",
    "train.trackers=[]",
    "evaluation={steps: [1, 4, 16], blocks: 2, draws: 1, samples: 0}",
]


def texts(folder: Path) -> Path:
    for split, names in (("train", "Mill Eagle Phoenix Plough"), ("valid", "Vaults Wrestlers")):
        rows = [
            {
                "mr": {"name": f"The {name}", "food": food},
                "text": f"The {name} {verb} {food} food .",
            }
            for name in names.split()
            for food in ("Thai", "French")
            for verb in ("serves", "has")
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder


@pytest.mark.slow
def test_every_system_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = benchmark_script("e2e_prompts")
    out = tmp_path / "out"
    words = ["--texts", str(texts(tmp_path)), "--out", str(out), "--prompts", "3", "--set", *TINY]
    monkeypatch.setattr(sys, "argv", ["e2e_prompts.py", *words])
    script.main()
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 1 + 2 + 3 * 6 + 1
    found = json.loads((out / "answers.json").read_text())
    assert set(found["systems"]) == set(script.SYSTEMS)
    for system in found["systems"].values():
        for answers in system[0]["answers"].values():
            assert 0 <= answers["coverage"] <= 100
            assert len(answers["texts"]) == 3


def test_figures_of_answers_that_are_right_and_wrong(tmp_path: Path) -> None:
    script = benchmark_script("e2e_prompts")
    meanings = [({"name": "The Mill", "food": "Thai"}, ["The Mill serves Thai food ."]) for _ in range(4)]
    tokenizer = Tokenizer.train(["The Mill serves Thai food . nothing"], "words")
    run: Any = type("Run", (), {"tokenizer": tokenizer})()

    def figures(text: str) -> dict[str, float]:
        answer = Answer("", text, tuple(tokenizer.encode(text)[0]), 3, True)
        return dict(script.figures(meanings, [answer] * 4, run))

    right, wrong = figures("The Mill serves Thai food ."), figures("nothing")
    assert right.pop("bleu") == pytest.approx(100)
    assert right == {"coverage": 100, "length_within_1": 100, "ended": 100, "calls": 3}
    assert wrong["coverage"] == wrong["length_within_1"] == 0
    assert wrong["bleu"] < 5
    assert script.coverage({"name": "The Mill", "priceRange": "cheap"}, "at the mill") == [True]
