"""A released trunk against the same network from scratch: all weights, head or adapters; joint and product.

Trains, measures and tabulates; every part is skipped where it is done. From the checkout, with a checkpoint
and data sets of its tokenizer:
`python recipes/benchmarks/adapt.py checkpoints/minilm data/gutenberg data/wikitext2 --out runs/adapt`.
All data sets are mixed in equal parts for training, and each is scored by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RECIPE = Path(__file__).parents[1] / "adapt_joint_head.yaml"
PRODUCT = ["head={kind: product}", "corruption={kind: token_masking}", "evaluation.sampler=null"]
SYSTEMS: dict[str, list[str]] = {
    "scratch": ["train.trainable=all"],
    "joint_all": ["train.trainable=all", "train.learning_rate=3e-4"],
    "joint_head": ["train.trainable=head"],
    "joint_lora": ["train.trainable=lora"],
    "product_all": ["train.trainable=all", "train.learning_rate=3e-4", *PRODUCT],
    "product_lora": ["train.trainable=lora", *PRODUCT],
}
TITLES = {
    "scratch": "same network from scratch, joint head, all weights",
    "joint_all": "released trunk, joint head, all weights",
    "joint_head": "released trunk, joint head, head alone",
    "joint_lora": "released trunk, joint head, head and adapters",
    "product_all": "released trunk, product head, all weights",
    "product_lora": "released trunk, product head, adapters",
}


def untrained(checkpoint: Path, folder: Path) -> Path:
    """The network of a checkpoint as it was before its training, in the same layout."""
    if not folder.is_dir():
        import torch
        from transformers import AutoConfig, AutoModel

        torch.manual_seed(0)
        config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
        AutoModel.from_config(config, trust_remote_code=False).save_pretrained(folder)
        for file in checkpoint.glob("*token*.json"):
            shutil.copyfile(file, folder / file.name)
    return folder


def measured(command: Sequence[str]) -> tuple[float, float]:
    """Runs an hdiff command on one core; its processor seconds and its peak memory in MB."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "hdiff", *command], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"hdiff {' '.join(command)} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def train(name: str, seed: int, arguments: argparse.Namespace) -> Path:
    """Trains a system unless that is done; its run folder, with `cost.json` beside what training writes."""
    run: Path = arguments.out / f"{name}-{seed}"
    if (run / "cost.json").is_file():
        return run
    given: Path = arguments.checkpoint
    start = untrained(given, arguments.out / "untrained") if name == "scratch" else given
    members = ", ".join(f"{{path: {path}}}" for path in arguments.data)
    changes = [
        *SYSTEMS[name],
        f"model.pretrained={start}",
        f"data.path={arguments.data[0]}",
        *([f"data.mixture=[{members}]"] if len(arguments.data) > 1 else []),
        f"output={run}",
        f"seed={seed}",
        "train.trackers=[]",
        "resume=auto",
        *arguments.set,
    ]
    seconds, megabytes = measured(["train", str(RECIPE), *changes, "-q"])
    (run / "cost.json").write_text(json.dumps({"seconds": seconds, "megabytes": megabytes}))
    return run


def score(run: Path, data: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Bound and T-step bounds on one data set."""
    file = run / f"eval_{data.name}.json"
    if not file.is_file():
        command = [
            "eval",
            str(run),
            "--data",
            str(data),
            "--steps",
            arguments.steps,
            "--output",
            str(file),
            "-q",
        ]
        measured(command)
    scores: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return scores


def table(runs: dict[str, list[Path]], arguments: argparse.Namespace) -> str:
    """One row per system: means over the seeds."""
    heads = [
        f"{data.name} {figure}" for data in arguments.data for figure in ("bound", "best L_T (T)", "L_1")
    ]
    lines = [f"| system | {' | '.join(heads)} | trained tokens per processor second | memory, MB |"]
    lines.append("|---" * (len(heads) + 3) + "|")
    for name, folders in runs.items():
        cells = [TITLES[name]]
        for data in arguments.data:
            scores = [score(run, data, arguments) for run in folders]
            steps = {t: _mean([one["t_step"][t] for one in scores]) for t in scores[0]["t_step"]}
            best = min(steps, key=lambda t: steps[t])
            cells += [f"{_mean([one['bound']['nats_per_token'] for one in scores]):.3f}"]
            cells += [f"{steps[best]:.3f} ({best})", f"{steps['1']:.3f}"]
        costs = [json.loads((run / "cost.json").read_text()) for run in folders]
        tokens = _mean([json.loads((run / "run.json").read_text())["tokens_seen"] for run in folders])
        cells += [f"{tokens / _mean([cost['seconds'] for cost in costs]):.0f}"]
        cells += [f"{_mean([cost['megabytes'] for cost in costs]):.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    """Trains, measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("runs/adapt"))
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", default="1,2,4,8")
    parser.add_argument("--set", nargs="*", default=[], help="Further key=value of every recipe.")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    runs = {name: [train(name, seed, arguments) for seed in arguments.seeds] for name in arguments.systems}
    text = table(runs, arguments)
    (arguments.out / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
