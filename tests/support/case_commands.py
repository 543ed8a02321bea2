"""Commands of the cases."""

from __future__ import annotations

from pathlib import Path

from shared_models import CHECKOUT

from hdiff.cli import run as hdiff
from hdiff.data.prepared import PreparedData

CASES = CHECKOUT.parent / "shared" / "cases"
TINY = [
    "model={width: 16, depth: 1, num_heads: 2}",
    "train={steps: 2, batch_size: 4, warmup_steps: 1}",
    "data.sequence_length=32",
]
PLAIN = ["--parser", "plain", "--levels", "sentence"]


def case(name: str) -> Path:
    (folder,) = CASES.glob(f"{name}-*")
    return folder


def prepare(source: object, out: Path, *more: str) -> PreparedData:
    words = ["prepare", str(source), "--out", str(out), "-q", *more]
    assert hdiff([*words, *([] if "--tokenizer" in more else ["--tokenizer", "words"])]) == 0
    return PreparedData.load(out)


def train(data: Path, out: Path, *more: str) -> Path:
    recipe = CHECKOUT / "recipes" / "baselines" / "token_masking.yaml"
    assert hdiff(["train", str(recipe), *TINY, f"data.path={data}", f"output={out}", *more]) == 0
    return out
