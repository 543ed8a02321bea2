"""Answers to E2E prompts: slot coverage, BLEU and lengths, of families at equal size and tokens seen.

The prompt is the meaning of a restaurant text, the answer is the text. Trains every system on the same
prompts (finished runs are kept), answers held-out prompts in 1, 4 and 16 steps and prints a table:
`python recipes/benchmarks/e2e_prompts.py --texts DIR`, a folder with train.jsonl and valid.jsonl. BLEU is
that of sacrebleu (`pip install ".[bleu]"`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from compare import run, spread

from hdiff.control.answers import Answer, Answering
from hdiff.heads.sampling import AS_IT_IS, GREEDY, Sampling
from hdiff.runs.folder import RunFolder
from hdiff.seeds import derive_seed

RECIPE = Path(__file__).parents[1] / "e2e_prompts.yaml"
# One more trunk layer stands for the layer of the joint head.
_PRODUCT = ["model.depth=5", "head={kind: product}"]
SYSTEMS: dict[str, list[str]] = {
    "autoregressive": [
        "model.kind=autoregressive",
        *_PRODUCT,
        "length_head=null",
        "corruption={kind: token_masking}",
    ],
    "joint, length head": [],
    "joint, end tokens": ["length_head=null"],
    "product, length head": [*_PRODUCT, "corruption={kind: token_masking}"],
}
LITERAL = ("name", "eatType", "food", "area", "near")
"""Slots whose values stand in a text as they are; prices and ratings are said in other words."""
SAMPLINGS: dict[str, Sampling] = {"drawn": AS_IT_IS, "likeliest": GREEDY}
FIGURES = ("coverage", "bleu", "length_within_1", "ended", "calls")


def prepare(texts: Path, out: Path) -> Path:
    """The E2E texts as a data set of prompts and answers."""
    data = out / "data"
    if not (data / "manifest.json").exists():
        source = [str(texts / "train.jsonl"), "--validation", str(texts / "valid.jsonl"), "--out", str(data)]
        form = ["--prompts", "columns", "--prompt-template", "{mr}", "--answer-template", "{text}"]
        run(["prepare", *source, *form, "--tokenizer", "train:2048", "--parser", "plain", "--levels", "word"])
    return data


def trained(system: str, seed: int, data: Path, arguments: argparse.Namespace) -> RunFolder:
    """A run of a system, trained or resumed."""
    path = arguments.out / f"{system.replace(', ', '-').replace(' ', '_')}-{seed}"
    options = [f"data.path={data}", f"output={path}", f"name={path.name}", f"seed={seed}", "resume=auto"]
    run(["train", str(RECIPE), *SYSTEMS[system], *options, *arguments.set, "-q"])
    if not (path / "eval.json").exists():
        run(["eval", str(path), "-q"])
    return RunFolder.load(path)


def held_out(texts: Path, count: int) -> list[tuple[dict[str, str], list[str]]]:
    """Meanings that occur in held-out texts alone, each with all its texts, evenly spread over the file."""
    seen = {json.dumps(json.loads(line)["mr"]) for line in (texts / "train.jsonl").open(encoding="utf-8")}
    references: dict[str, list[str]] = {}
    for line in (texts / "valid.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        if (key := json.dumps(row["mr"])) not in seen:
            references.setdefault(key, []).append(row["text"])
    meanings = [(json.loads(key), answers) for key, answers in references.items()]
    return meanings[:: max(1, len(meanings) // count)][:count]


def coverage(meaning: dict[str, str], text: str) -> list[bool]:
    """Whether each literal slot of a meaning stands in a text."""
    return [meaning[slot].lower() in text.lower() for slot in LITERAL if slot in meaning]


def figures(
    meanings: Sequence[tuple[dict[str, str], list[str]]], answers: Sequence[Answer], run: RunFolder
) -> dict[str, float]:
    """Figures of the answers to some meanings, in percent but for BLEU and the calls of the network."""
    from sacrebleu.metrics import BLEU

    slots = [
        results
        for (meaning, _), answer in zip(meanings, answers, strict=True)
        for results in coverage(meaning, answer.text)
    ]
    most = max(len(references) for _, references in meanings)
    references = [
        [one[number] if number < len(one) else None for _, one in meanings] for number in range(most)
    ]
    sizes = [[len(run.tokenizer.encode(text)[0]) for text in texts] for _, texts in meanings]
    near = [
        min(abs(len(answer.tokens) - size) for size in own) <= 1
        for answer, own in zip(answers, sizes, strict=True)
    ]
    return {
        "coverage": 100 * sum(slots) / len(slots),
        "bleu": BLEU(tokenize="none", lowercase=True, force=True)
        .corpus_score([answer.text for answer in answers], references)
        .score,
        "length_within_1": 100 * sum(near) / len(near),
        "ended": 100 * sum(answer.has_ended for answer in answers) / len(answers),
        "calls": sum(answer.nfe for answer in answers) / len(answers),
    }


def measured(
    system: str, seed: int, data: Path, meanings: Any, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Bounds and answers of one run."""
    model = trained(system, seed, data, arguments)
    evaluation = json.loads((model.path / "eval.json").read_text(encoding="utf-8"))
    results: dict[str, Any] = {
        "bound": evaluation["bound"]["nats_per_token"],
        "t_step": evaluation["t_step"],
        "answers": {},
    }
    results["parameters"] = model.record["parameters"]["total"]
    for name, sampling in SAMPLINGS.items():
        for steps in (None,) if model.autoregressive is not None else (1, 4, 16):
            answering = Answering.of_run(model, num_steps=steps, sampling=sampling)
            assert answering.prompts is not None, "the data set has prompts"
            prompts = [answering.prompts.prompt_of({"mr": meaning}) for meaning, _ in meanings]
            generator = torch.Generator().manual_seed(derive_seed(seed, "answers", name))
            answers = answering(prompts, generator=generator)
            results["answers"][f"{name} {steps or '-'}"] = {
                **figures(meanings, answers, model),
                "texts": [one.text for one in answers[:8]],
            }
    return results


def table(results: dict[str, list[dict[str, Any]]], reference: dict[str, float]) -> str:
    """Markdown: a line for each system, way to draw and number of steps; means over seeds."""
    head = [
        "system",
        "nats/token",
        "T",
        "draw",
        "slots said, %",
        "BLEU",
        "length within 1 of a reference, %",
        "ended, %",
        "calls",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for system, seeds in results.items():
        for key in seeds[0]["answers"]:
            draw, steps = key.split()
            bound = [one["bound"] if steps == "-" else one["t_step"][steps] for one in seeds]
            cells = [spread([one["answers"][key][name] for one in seeds], digits=1) for name in FIGURES]
            lines.append("| " + " | ".join([system, spread(bound, digits=3), steps, draw, *cells]) + " |")
    cells = [f"{reference[name]:.1f}" if name in reference else "-" for name in FIGURES]
    return "\n".join([*lines, "| " + " | ".join(["another reference", "-", "-", "-", *cells]) + " |"])


def main() -> None:
    """Parses the command line and runs everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path, required=True, help="folder of the E2E texts")
    parser.add_argument("--out", type=Path, default=Path("runs/e2e_prompts"))
    parser.add_argument("--prompts", type=int, default=200, help="held-out meanings")
    parser.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")], default=[0])
    parser.add_argument("--systems", nargs="*", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--set", nargs="*", default=[], help="overrides of the recipe for every run")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    data = prepare(arguments.texts, arguments.out)
    meanings = held_out(arguments.texts, arguments.prompts)
    results = {
        system: [measured(system, seed, data, meanings, arguments) for seed in arguments.seeds]
        for system in arguments.systems
    }
    several = [(meaning, texts[1:], texts[0]) for meaning, texts in meanings if len(texts) > 1]
    model = RunFolder.load(next(arguments.out.glob("*-*/run.json")).parent)
    answers = [Answer("", text, tuple(model.tokenizer.encode(text)[0]), 0, True) for _, _, text in several]
    reference = figures([(meaning, others) for meaning, others, _ in several], answers, model)
    kept = {name: reference[name] for name in ("coverage", "bleu", "length_within_1")}
    (arguments.out / "answers.json").write_text(json.dumps({"systems": results, "reference": kept}, indent=1))
    print(table(results, kept))


if __name__ == "__main__":
    main()
