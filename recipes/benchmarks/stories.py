"""Free samples of the shipped model and of its token-masking twin beside held-out stories.

Per system, steps T and temperature: sentences that link-grammar parses with no word left over, nats of a
separate autoregressive judge per token of its own, unigram entropy, and runs of eight words that the training
text holds, too. `matched` is the temperature at which samples have the entropy of the held-out rows. Needs
link-parser. `python recipes/benchmarks/stories.py --data data/stories --judge runs/stories_judge
--systems stories=builtin:stories token_masking=runs/stories_token_masking --json docs/results/stories.json`.
Rows that the file holds already are not measured again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.evaluation.bounds import Estimate, evaluation_rows, full_rows, judged_nll
from hdiff.evaluation.outside_judges import link_grammar_rate, whole_sentences
from hdiff.evaluation.text_statistics import unigram_entropy
from hdiff.heads.sampling import Sampling
from hdiff.runs.folder import RunFolder
from hdiff.samplers import hidden_rows
from hdiff.samplers.build import text_sampler
from hdiff.sharing.shared_run import load_model
from hdiff.shipped import read_stories

RUN_OF_WORDS = 8
COLUMNS = ("system", "T", "temperature", "parsed", "judge NLL", "entropy", "8-grams of the training text")
ROWS_AT_ONCE = 50
BETWEEN = (0.8, 1.0)
"""The matched temperature is looked for on the line through these two."""

MATCHED, HELD_OUT = "matched", "held-out stories"


def copied(texts: Iterable[str], known: set[tuple[str, ...]]) -> float:
    """Share of the runs of eight words that occur in the training text."""
    runs = [run for text in texts for run in runs_of_words(text)]
    return sum(run in known for run in runs) / max(1, len(runs))


def runs_of_words(text: str) -> list[tuple[str, ...]]:
    """All runs of eight words inside the stories of a text, in lower case."""
    found = []
    for story in text.lower().split("<eos>"):
        words = story.split()
        found += [tuple(words[i : i + RUN_OF_WORDS]) for i in range(len(words) - RUN_OF_WORDS + 1)]
    return found


def parsed(texts: Sequence[str], most: int) -> tuple[float, int]:
    """Share of sentences that link-grammar parses, and how many were tried: the first `most`."""
    chosen: list[str] = []
    count = 0
    for text in texts:
        if count >= most:
            break
        chosen.append(text.replace("<eos>", "\n"))
        count += len(whole_sentences(chosen[-1]))
    rate = link_grammar_rate(chosen)
    return (math.nan if rate is None else rate), count


def judged(texts: Sequence[str], judge: RunFolder) -> Estimate:
    """Nats per token of the judge's own tokenizer, of texts cut to its rows."""
    assert judge.autoregressive is not None, f"{judge.path} is no autoregressive model"
    length = judge.recipe.data.sequence_length
    rows = [judge.tokenizer.encode(text.replace("<eos>", "\n"))[0][:length] for text in texts]
    tokens = torch.zeros(len(rows), length, dtype=torch.long)
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = torch.tensor(row)
        mask[place, : len(row)] = True
    return judged_nll(judge.autoregressive, Batch(tokens, mask))


def figures(tokens: Tensor, run: RunFolder, judge: RunFolder, known: set, most: int) -> dict[str, Any]:
    """Every figure of a set of texts of equal length."""
    texts = ["".join(run.tokenizer.pieces(row)) for row in tokens.tolist()]
    rate, sentences = parsed(texts, most)
    found = judged(texts, judge)
    return {
        "samples": len(texts),
        "parsed": rate,
        "parsed_stderr": math.sqrt(rate * (1 - rate) / max(1, sentences)),
        "sentences": sentences,
        "judge_nll": found.nats_per_token,
        "judge_nll_stderr": found.stderr,
        "unigram_entropy": sum(map(unigram_entropy, tokens.tolist())) / len(texts),
        "copied": copied(texts, known),
        "first": texts[:2],
    }


def sampler_of(run: RunFolder, steps: int, length: int) -> dict[str, Any] | None:
    """The sampler of the recipe; where it fills spans of one length, T of them make up a row."""
    spec = run.recipe.evaluation.sampler
    if spec is None or "lengths" not in spec:
        return spec
    return {**spec, "lengths": {-(-length // steps): 1.0}}


def samples(run: RunFolder, steps: int, temperature: float, num: int, length: int, seed: int) -> Tensor:
    """Free samples."""
    corruption = run.corruption.unconditional()
    sampler = text_sampler(
        sampler_of(run, steps, length),
        corruption,
        num_steps=steps,
        default=steps,
        sampling=Sampling(temperature=temperature),
    )
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for first in range(0, num, ROWS_AT_ONCE):
        rows = hidden_rows(run.denoiser, min(ROWS_AT_ONCE, num - first), length)
        drawn.append(sampler.sample(run.denoiser, corruption, rows, generator=generator).tokens)
    return torch.cat(drawn)


def matched_temperature(run: RunFolder, steps: int, entropy: float, length: int, seed: int) -> float:
    """Temperature, to a hundredth, whose samples have a mean unigram entropy: a line through two others."""
    found = []
    for temperature in BETWEEN:
        drawn = samples(run, steps, temperature, 2 * ROWS_AT_ONCE, length, seed + 1)
        found.append(sum(map(unigram_entropy, drawn.tolist())) / len(drawn))
    slope = (found[1] - found[0]) / (BETWEEN[1] - BETWEEN[0])
    return round(BETWEEN[0] + (entropy - found[0]) / slope, 2)


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for row in found["rows"]:
        cells = [row["system"], row.get("steps", ""), row.get("temperature", "")]
        cells.append(f"{row['parsed']:.3f} ± {row['parsed_stderr']:.3f}")
        cells.append(f"{row['judge_nll']:.3f} ± {row['judge_nll_stderr']:.3f}")
        cells += [f"{row['unigram_entropy']:.3f}", f"{100 * row['copied']:.1f} %"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main(arguments: argparse.Namespace) -> None:
    """Draws, measures, prints and writes."""
    known = {run for story in read_stories("train") for run in runs_of_words(story)}
    judge = RunFolder.load(arguments.judge)
    judging = {"step": judge.step, "train_tokens": judge.record["data"].get("train_tokens")}
    about = {"num": arguments.num, "seed": arguments.seed, "sentences": arguments.sentences, "judge": judging}
    result: dict[str, Any] = {**about, "rows": []}
    if arguments.json is not None and arguments.json.exists():
        before = json.loads(arguments.json.read_text(encoding="utf-8"))
        if {key: before.get(key) for key in about} == about:
            result = before
    held_out = next(iter(result["rows"]), None)

    def add(row: dict[str, Any]) -> None:
        result["rows"].append(row)
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(table({"rows": [row]}).splitlines()[-1], flush=True)

    for name, path in (system.split("=", 1) for system in arguments.systems):
        run = load_model(Path(path))
        length = run.recipe.data.sequence_length
        if held_out is None:
            data = PreparedData.load(arguments.data)
            blocks = PackedBlocks.build(data, "validation", **run.recipe.data.packing())
            config = run.recipe.evaluation.model_copy(update={"blocks": arguments.num})
            tokens = blocks.batch(full_rows(blocks, evaluation_rows(blocks, config))).input_ids
            held_out = {"system": HELD_OUT, **figures(tokens, run, judge, known, arguments.sentences)}
            add(held_out)
        for steps, asked in itertools.product(arguments.steps, arguments.temperatures):
            row = {"system": name, "steps": steps, "asked": asked, "updates": run.step}
            if any(row.items() <= each.items() for each in result["rows"]):
                continue
            row["sampler"] = sampler_of(run, steps, length)
            row["temperature"] = (
                matched_temperature(run, steps, held_out["unigram_entropy"], length, arguments.seed)
                if asked == MATCHED
                else float(asked)
            )
            drawn = samples(run, steps, row["temperature"], arguments.num, length, arguments.seed)
            add({**row, **figures(drawn, run, judge, known, arguments.sentences)})
    print(table(result))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data/stories")
    parser.add_argument("--judge", default="runs/stories_judge")
    parser.add_argument("--systems", nargs="+", default=["stories=builtin:stories"])
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--temperatures", nargs="+", default=["1.0", MATCHED], help=f"numbers, or {MATCHED}")
    parser.add_argument("--num", type=int, default=200)
    parser.add_argument("--sentences", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    main(parser.parse_args())
