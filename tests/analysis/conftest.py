"""Small runs, trained for real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdiff.recipe import resolve
from hdiff.runs.folder import RunFolder
from hdiff.training.build import build_training
from hdiff.training.trainer import fit

KINDS: dict[str, dict[str, Any]] = {
    "token": {"corruption": {"kind": "token_masking"}},
    "planned": {
        "corruption": {
            "kind": "span_masking", "segmentation": "mixture", "level": "phrase", "lengths": "corpus",
        },
        "head": {"kind": "autoregressive"},
        "planner": {"level": "phrase"},
    },
    "cascade": {"corruption": {"kind": "tree_cascade", "levels": ["phrase", "word"]}},
    "soft": {"corruption": {"kind": "soft_masking", "num_classes": 8}},
    "rates": {"corruption": {"kind": "rate_matched", "num_buckets": 2}, "buckets": 2},
    "replaced": {"corruption": {"kind": "uniform_state"}},
    "gaussian": {"corruption": {"kind": "gaussian"}},
    "blocks": {"corruption": {"kind": "block_masking", "block_size": 8}},
    "judge": {"model": {"kind": "autoregressive", "width": 16, "depth": 1, "num_heads": 2}},
}  # fmt: skip


@pytest.fixture(scope="session")
def trained(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RunFolder]:
    """Trains a run of a kind once; every call loads it anew."""
    made: dict[str, Path] = {}

    def load(kind: str) -> RunFolder:
        if kind not in made:
            options = dict(KINDS[kind])
            values = {
                "name": kind,
                "output": str(tmp_path_factory.mktemp("analysed") / kind),
                "data": {
                    "path": str(prepared_folder), "sequence_length": 32, "max_unit_tokens": 6,
                    "salience_buckets": options.pop("buckets", None),
                },
                "model": {"width": 16, "depth": 1, "num_heads": 2},
                "train": {"steps": 2, "batch_size": 4, "warmup_steps": 1, "checkpoint_every": 2},
                "evaluation": {"steps": [1, 4], "blocks": 8, "draws": 1, "samples": 2},
                **options,
            }  # fmt: skip
            fit(build_training(resolve(values, where=kind)))
            made[kind] = Path(values["output"])
        return RunFolder.load(made[kind])

    return load
