"""A released trunk against the same network from scratch: all weights, head or adapters; joint and product.

Trains, measures and tabulates; every part is skipped where it is done. From the checkout, with a checkpoint
and data sets of its tokenizer, parsed if `joint_supervised` is among the systems:
`python recipes/benchmarks/adapt.py checkpoints/minilm data/gutenberg data/wikitext2 --out runs/adapt`.
All data sets are mixed in equal parts for training, and each is scored by itself. `--json FILE` writes all
figures; `--stage page` writes those of measured runs there, and the tables of docs/results/adapting.md;
without data sets the tables alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from compare import spread

from hdiff.evaluation.minimal_pair_files import read_minimal_pairs
from hdiff.evaluation.minimal_pairs import evaluate_minimal_pairs
from hdiff.evaluation.run import evaluate_run
from hdiff.runs.folder import RunFolder

PAGE = Path(__file__).parents[2] / "docs" / "results" / "adapting.md"
RECIPE = Path(__file__).parents[1] / "adapt_joint_head.yaml"
PRODUCT = ["head={kind: product}", "corruption={kind: token_masking}", "evaluation.sampler=null"]
SYSTEMS: dict[str, list[str]] = {
    "scratch": ["train.trainable=all"],
    "joint_all": ["train.trainable=all", "train.learning_rate=3e-4"],
    "joint_head": ["train.trainable=head"],
    "joint_lora": ["train.trainable=lora"],
    "joint_supervised": [
        "train.trainable=all",
        "train.learning_rate=3e-4",
        "supervision={targets: [pos, phrase, opens, closes]}",
    ],
    "product_all": ["train.trainable=all", "train.learning_rate=3e-4", *PRODUCT],
    "product_lora": ["train.trainable=lora", *PRODUCT],
}
TITLES = {
    "scratch": "same network from scratch, joint head, all weights",
    "joint_all": "released trunk, joint head, all weights",
    "joint_head": "released trunk, joint head, head alone",
    "joint_lora": "released trunk, joint head, head and adapters",
    "joint_supervised": "released trunk, joint head, all weights, supervised by a parser",
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
    tokens = json.loads((run / "run.json").read_text(encoding="utf-8"))["tokens_seen"]
    cost = {"seconds": seconds, "megabytes": megabytes, "tokens": tokens}
    (run / "cost.json").write_text(json.dumps(cost))
    return run


def train_judge(arguments: argparse.Namespace) -> Path:
    """A small left-to-right model of the same text, which judges samples."""
    path: Path = arguments.out / "judge"
    members = ", ".join(f"{{path: {data}}}" for data in arguments.data)
    changes = [
        f"data.path={arguments.data[0]}",
        *([f"data.mixture=[{members}]"] if len(arguments.data) > 1 else []),
        "data.sequence_length=64",
        "model.width=128",
        f"output={path}",
        f"train.steps={arguments.judge_steps}",
        "train.trackers=[]",
        "resume=auto",
    ]
    if not (path / "cost.json").is_file():
        seconds, _ = measured(["train", str(RECIPE.parent / "judge.yaml"), *changes, "-q"])
        (path / "cost.json").write_text(json.dumps({"seconds": seconds}))
    return path


def measure(path: Path, arguments: argparse.Namespace) -> None:
    """Bounds on every data set, judged samples and minimal pairs of a run, unless they are there."""
    file = path / "measures.json"
    if not file.is_file():
        loaded, found = RunFolder.load(path), dict[str, Any]()
        judge = train_judge(arguments) if arguments.judge_steps else None
        for number, data in enumerate(arguments.data):
            own = judge is not None and number == 0  # samples are of no data set: drawn once
            evaluation = evaluate_run(
                loaded,
                data=str(data),
                steps=arguments.steps,
                judge=str(judge) if own else None,
                samples=arguments.samples if own else 0,
                must_judge=own,
            )
            found[data.name] = {name: evaluation[name] for name in ("bound", "t_step", "t_step_stderr")}
            if own:
                found["quality"] = evaluation["quality"]
        if arguments.blimp is not None:
            pairs = read_minimal_pairs(arguments.blimp)
            with torch.autocast("cpu", torch.bfloat16, enabled=arguments.fast):
                found["blimp"] = evaluate_minimal_pairs(loaded, pairs, draws=1, max_pairs=arguments.max_pairs)
        file.write_text(json.dumps(found, indent=1, default=str))


def collected(arguments: argparse.Namespace) -> dict[str, Any]:
    """Figures of all runs in `--out` that are measured: system -> seed -> figures."""
    systems: dict[str, dict[str, Any]] = {}
    for name in SYSTEMS:
        for path in sorted(arguments.out.glob(f"{name}-[0-9]*")):
            files = [path / file for file in ("measures.json", "cost.json", "run.json")]
            if all(file.is_file() for file in files):
                measures, cost, record = (json.loads(file.read_text(encoding="utf-8")) for file in files)
                del measures["blimp"]["paradigms"]
                own = {**measures, "cost": cost, "commit": record.get("commit")}
                systems.setdefault(name, {})[path.name.rpartition("-")[2]] = own
    return {"data": [data.name for data in arguments.data], "steps": arguments.steps, "systems": systems}


def write(arguments: argparse.Namespace) -> dict[str, Any]:
    """Writes the figures of all measured runs into `--json`, and returns them."""
    figures = collected(arguments)
    arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


def tables(figures: dict[str, Any]) -> dict[str, str]:
    """Markdown of the figures in `--json`: bounds, samples and sentences, cost.

    Several seeds: mean and standard deviation. One: of judge and minimal pairs their standard error.
    """
    names, systems = figures["data"], figures["systems"]
    made: dict[str, list[list[str]]] = {
        "bounds": [["seeds", *(f"{name} {what}" for name in names for what in ("bound", "best L_T", "L_1"))]],
        "quality": [[*(f"judge, T = {t}" for t in figures["steps"]), "BLiMP, %"]],
        "costs": [["processor seconds", "tokens per processor second", "peak memory, MB"]],
    }
    for name, seeds in systems.items():
        title, runs = TITLES.get(name, name), list(seeds.values())
        bounds = [title, str(len(runs))]
        for data in names:
            steps = {t: [run[data]["t_step"][t] for run in runs] for t in runs[0][data]["t_step"]}
            best = min(steps, key=lambda t: fmean(steps[t]))
            bounds.append(spread([run[data]["bound"]["nats_per_token"] for run in runs], digits=2))
            bounds += [f"{spread(steps[best], digits=2)} ({best})", spread(steps["1"], digits=2)]
        made["bounds"].append(bounds)
        drawn = [[run["quality"][str(t)] for run in runs] for t in figures["steps"]]
        judged = [_measured([(one["judge_nll"], one["judge_nll_stderr"]) for one in own], 2) for own in drawn]
        pairs = [(100 * run["blimp"]["accuracy"], 100 * run["blimp"]["stderr"]) for run in runs]
        made["quality"].append([title, *judged, _measured(pairs, 1)])
        cost = [run["cost"] for run in runs]
        speed = [one["tokens"] / one["seconds"] for one in cost]
        values = [[one["seconds"] for one in cost], speed, [one["megabytes"] for one in cost]]
        made["costs"].append([title, *(spread(value, digits=0) for value in values)])
    return {key: _markdown(rows) for key, rows in made.items()}


def _measured(found: Sequence[tuple[float, float]], digits: int) -> str:
    """Mean and spread of seeds; of one alone its value and standard error."""
    if len(found) > 1:
        return spread([value for value, _ in found], digits=digits)
    value, error = found[0]
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _markdown(rows: list[list[str]]) -> str:
    lines = [["system", *rows[0]], ["---"] * (len(rows[0]) + 1), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def renew(page: str, figures: dict[str, Any]) -> str:
    """The page with its marked tables, `<!-- adapting NAME -->` to `<!-- end -->`, made again."""
    made = tables(figures)
    marked = re.compile(r"(<!-- adapting (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return marked.sub(lambda match: f"{match[1]}{made[match[2]]}\n{match[3]}", page)


def main() -> None:
    """Trains, measures and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("data", type=Path, nargs="*")
    parser.add_argument("--out", type=Path, default=Path("runs/adapt"))
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--samples", type=int, default=32, help="texts drawn and judged for each T")
    parser.add_argument("--judge-steps", type=int, default=800, help="updates of the judge; 0 for none")
    parser.add_argument("--blimp", help="folder of BLiMP's .jsonl files")
    parser.add_argument("--fast", action="store_true", help="minimal pairs in bfloat16")
    parser.add_argument("--max-pairs", type=int, default=12, help="pairs of each paradigm")
    parser.add_argument("--set", nargs="*", default=[], help="Further key=value of every recipe.")
    parser.add_argument("--json", type=Path, default=PAGE.with_suffix(".json"), help="file of all figures")
    parser.add_argument("--stage", choices=("all", "train", "page"), default="all")
    arguments = parser.parse_args()
    if arguments.stage == "page":
        if arguments.data:
            write(arguments)
        figures = json.loads(arguments.json.read_text(encoding="utf-8"))
        PAGE.write_text(renew(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")
        return
    if arguments.checkpoint is None or not arguments.data:
        parser.error("give a checkpoint and a data set")
    arguments.out.mkdir(parents=True, exist_ok=True)
    runs = {name: [train(name, seed, arguments) for seed in arguments.seeds] for name in arguments.systems}
    if arguments.stage == "train":
        return
    for path in (path for found in runs.values() for path in found):
        measure(path, arguments)
    for text in tables(write(arguments)).values():
        print(text, end="\n\n")


if __name__ == "__main__":
    main()
