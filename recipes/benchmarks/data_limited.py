"""The data-limited curve: systems trained to their validation minimum on 60 k, 250 k and all tokens.

Trains, measures and tabulates; every part is skipped where it is done, so that the command can be stopped and
started again. From the checkout, data sets prepared:
`python recipes/benchmarks/data_limited.py --data data --out runs/data_limited --corpora tinystories e2e`.
Beside DATA/CORPUS may lie CORPUS.other (another corpus) and CORPUS.gold (gold trees), with its tokenizer.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compare import run
from data_limited_tables import differences, table
from phrase_gaps import measure as measure_gaps

from hdiff.ablation import Run, load_ablation
from hdiff.config import Recipe
from hdiff.corruption import SpanMasking
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.errors import DataError
from hdiff.evaluation.agreement_pairs import agreement_pairs
from hdiff.evaluation.minimal_pair_files import read_minimal_pairs
from hdiff.evaluation.minimal_pairs import evaluate_minimal_pairs
from hdiff.evaluation.run import evaluate_run
from hdiff.evaluation.sampler_bound import evaluate_sampler
from hdiff.files import write_atomically
from hdiff.models.autoregressive import Autoregressive
from hdiff.models.denoiser import Denoiser
from hdiff.recipe import to_yaml
from hdiff.runs.folder import RunFolder
from hdiff.samplers.build import build_sampler

FILE = Path(__file__).with_name("data_limited.yaml")
CORPORA = ("tinystories", "e2e", "wikitext2", "gutenberg")
SIZES: dict[str, tuple[int | None, int]] = {"60k": (60_000, 50), "250k": (250_000, 100), "all": (None, 200)}
"""Unique training tokens, and updates between validations."""

FIGURES = "measures.json"
LEFT_TO_RIGHT = {"kind": "planned", "boundaries": "corruption", "order": "left_to_right"}
PROCESSES: dict[str, list[tuple[dict[str, Any], int]]] = {
    "token_masking": [({"kind": "ancestral", "order": "spaced"}, 16), (LEFT_TO_RIGHT, 64)],
    "span_masking": [
        ({"kind": "ancestral", "order": "spaced", "lengths": {4: 1.0}}, 16),
        ({"kind": "ancestral", "order": "spaced", "lengths": {8: 1.0}}, 8),
        ({**LEFT_TO_RIGHT, "longest": 16}, 64),
    ],
    "block_masking": [],
}
"""By kind of corruption: further samplers with a bound, and their steps T, beside that of the recipe."""


def runs(corpus: str, size: str, arguments: argparse.Namespace) -> Iterator[Run]:
    """The runs of one corpus and size, seed by seed."""
    tokens, every = SIZES[size]
    overrides = [
        f"data.path={arguments.data / corpus}",
        f"data.train_tokens={'null' if tokens is None else tokens}",
        f"train.evaluate_every={every}",
        f"output={arguments.out / corpus / size}",
        f"name=data_limited/{corpus}/{size}",
        f"seeds={arguments.seeds}",
        *arguments.set,
    ]
    for each in load_ablation(FILE, overrides).runs:
        if each.variant in arguments.systems:
            yield each


def is_finished(path: Path) -> bool:
    """Whether a run is trained to its end."""
    record = path / "run.json"
    return record.exists() and "train_seconds" in json.loads(record.read_text(encoding="utf-8"))


def train(each: Run) -> None:
    """Trains a run, or resumes it."""
    if is_finished(each.path):
        return
    folder = each.path.parent / "recipes"
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / f"{each.name}.yaml"
    write_atomically(recipe, to_yaml(each.recipe))
    run(["train", str(recipe), "--quiet"], each.path.parent / f"{each.name}.log")


def measure(each: Run, arguments: argparse.Namespace) -> None:
    """Measures a finished run at its best step, unless that is done."""
    judge = arguments.out / each.path.parent.parent.name / "all" / "autoregressive-0"
    known = _read(each.path / FIGURES)
    if known and (known["judge"] or not is_finished(judge)):
        return
    loaded = RunFolder.load(each.path)
    scores = str(judge) if is_finished(judge) and not isinstance(loaded.model, Autoregressive) else None
    # Samples are drawn to be judged, and the judge may still have to be trained.
    results = evaluate_run(
        loaded if scores else _without_samples(loaded), judge=scores, steps=arguments.steps
    )
    processes = [{"sampler": "one unit at a time", "steps": None, "nats": results["bound"]["nats_per_token"]}]
    processes += [
        {"sampler": results["sampler"], "steps": int(t), "nats": nats}
        for t, nats in results["t_step"].items()
    ]
    processes += _further(loaded)
    figures = {
        "step": results["step"],
        "bound": results["bound"]["nats_per_token"],
        "stderr": results["bound"]["stderr"],
        "L": results["t_step"],
        "processes": processes,
        "best_process": min(processes, key=lambda process: process["nats"]),
        "quality": results["quality"],
        "judge": scores is not None,
        **_elsewhere(loaded, arguments),
    }
    write_atomically(each.path / FIGURES, json.dumps(figures, indent=1))


def _further(loaded: RunFolder) -> list[dict[str, Any]]:
    """Bounds of samplers other than the recipe's."""
    if isinstance(loaded.model, Autoregressive):
        return []
    recipe, corruption = loaded.recipe, loaded.corruption.unconditional()
    levels = corruption.required_levels()
    blocks = PackedBlocks.build(
        PreparedData.load(recipe.data.path), "validation", levels=levels, **recipe.data.packing()
    )
    further = []
    for spec, steps in PROCESSES[recipe.corruption["kind"]]:
        if spec["kind"] == "ancestral" and isinstance(corruption, SpanMasking) is ("lengths" not in spec):
            continue
        sampler = build_sampler(spec, num_steps=min(steps, recipe.data.sequence_length))
        assert isinstance(loaded.model, Denoiser)
        estimate, _ = evaluate_sampler(loaded.model, blocks, corruption, recipe.evaluation, sampler=sampler)
        further.append({"sampler": spec, "steps": steps, "nats": estimate.nats_per_token})
    return further


def _elsewhere(loaded: RunFolder, arguments: argparse.Namespace) -> dict[str, Any]:
    """Another corpus, gaps of gold trees, and minimal pairs."""
    data, results = loaded.recipe.data.path, dict[str, Any]()
    if Path(f"{data}.other").is_dir():
        quiet = _without_samples(loaded)
        results["other"] = evaluate_run(quiet, data=f"{data}.other", steps=[1])["bound"]["nats_per_token"]
    if Path(f"{data}.gold").is_dir() and isinstance(loaded.model, Denoiser):
        results["gold_gaps"] = measure_gaps(_without_samples(loaded, data=f"{data}.gold"), seed=0)
    pairs = {"agreement": agreement_pairs()} if arguments.max_pairs else {}
    if arguments.blimp is not None and arguments.max_pairs:
        pairs["blimp"] = read_minimal_pairs(arguments.blimp)
    for name, chosen in pairs.items():
        try:
            results[name] = evaluate_minimal_pairs(loaded, chosen, max_pairs=arguments.max_pairs)["accuracy"]
        except DataError as error:  # a corruption without a bound for sentences
            results[f"{name}_refused"] = str(error)
    return results


def _without_samples(loaded: RunFolder, *, data: str | None = None) -> RunFolder:
    from dataclasses import replace

    recipe: Recipe = loaded.recipe
    evaluation = recipe.evaluation.model_copy(update={"samples": 0})
    section = recipe.data if data is None else recipe.data.model_copy(update={"path": data})
    return replace(loaded, recipe=recipe.model_copy(update={"evaluation": evaluation, "data": section}))


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def figures(out: Path) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """CORPUS/SIZE -> system -> seed -> figures; those of the training alone where nothing was measured."""
    results: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for path in sorted(file.parent for file in out.glob("*/*/*/run.json")):
        if not is_finished(path):
            continue
        system, _, seed = path.name.rpartition("-")
        record, own = _read(path / "run.json"), _read(path / FIGURES)
        step, rows = record["best_step"], record["tokens_seen"] / record["steps"]  # tokens per update
        own |= {
            "validation_bound": record["best_bound"],
            "tokens": step * rows,
            "epochs": step * rows / record["data"]["train_tokens"],
            "seconds": record["train_seconds"] * step / record["steps"],
            "step": step,
            "train_tokens": record["data"]["train_tokens"],
            "updates": record["steps"],
            "commit": record.get("commit"),
        }
        name = f"{path.parent.parent.name}/{path.parent.name}"
        results.setdefault(name, {}).setdefault(system, {})[seed] = own
    return results


def main() -> None:
    """Parses the command line, trains, measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the prepared data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/data_limited"))
    parser.add_argument("--corpora", nargs="*", default=list(CORPORA))
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--systems", nargs="*", default=["autoregressive", "token_masking", "spans"])
    parser.add_argument("--seeds", default="[0, 1, 2]", help="as in an ablation file")
    parser.add_argument("--blimp", help="folder of BLiMP's .jsonl files")
    parser.add_argument("--max-pairs", type=int, default=25, help="pairs of each paradigm; 0 for none")
    parser.add_argument("--steps", type=int, nargs="*", help="steps T; default: those of the recipe")
    parser.add_argument("--set", nargs="*", default=[], help="further overrides of every run")
    parser.add_argument("--json", type=Path, help="writes all figures there")
    parser.add_argument("--stage", choices=("all", "measure", "table"), default="all")
    arguments = parser.parse_args()
    for size in arguments.sizes if arguments.stage != "table" else ():
        for corpus in arguments.corpora:
            for each in runs(corpus, size, arguments):
                if arguments.stage == "all":
                    train(each)
                if is_finished(each.path):
                    measure(each, arguments)
    results = figures(arguments.out)
    if arguments.json is not None:
        write_atomically(arguments.json, json.dumps(results, indent=1))
    print(table(results))
    print(f"\n{differences(results)}")


if __name__ == "__main__":
    main()
