"""Free samples of the shipped model and of its token-masking twin beside held-out stories.

Per system, steps T and temperature: sentences that link-grammar parses with no word left over, nats of a
separate autoregressive judge per token of its own, unigram entropy, and runs of eight words that the training
text holds, too. Needs link-parser. `python recipes/benchmarks/stories.py --data data/stories
--judge runs/stories_judge --systems stories=builtin:stories token_masking=runs/stories_token_masking
--json docs/results/stories.json`.
"""

from __future__ import annotations

import argparse
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


def samples(run: RunFolder, steps: int, temperature: float, num: int, length: int, seed: int) -> Tensor:
    """Free samples by the sampler of the recipe."""
    corruption = run.corruption.unconditional()
    sampler = text_sampler(
        run.recipe.evaluation.sampler,
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
    rows: list[dict[str, Any]] = []
    for name, path in (system.split("=", 1) for system in arguments.systems):
        run = load_model(Path(path))
        length = run.recipe.data.sequence_length
        if not rows:
            blocks = PackedBlocks.build(
                PreparedData.load(arguments.data), "validation", **run.recipe.data.packing()
            )
            config = run.recipe.evaluation.model_copy(update={"blocks": arguments.num})
            held_out = blocks.batch(full_rows(blocks, evaluation_rows(blocks, config))).input_ids
            rows.append(
                {"system": "held-out stories", **figures(held_out, run, judge, known, arguments.sentences)}
            )
        for steps in arguments.steps:
            for temperature in arguments.temperatures:
                drawn = samples(run, steps, temperature, arguments.num, length, arguments.seed)
                found = figures(drawn, run, judge, known, arguments.sentences)
                about = {"system": name, "steps": steps, "temperature": temperature, "step": run.step}
                rows.append({**about, "sampler": run.recipe.evaluation.sampler, **found})
                print(table({"rows": rows[-1:]}).splitlines()[-1], flush=True)
    judging = {"step": judge.step, "train_tokens": judge.record["data"].get("train_tokens")}
    result = {"num": arguments.num, "seed": arguments.seed, "judge": judging, "rows": rows}
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data/stories")
    parser.add_argument("--judge", default="runs/stories_judge")
    parser.add_argument("--systems", nargs="+", default=["stories=builtin:stories"])
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 0.8])
    parser.add_argument("--num", type=int, default=200)
    parser.add_argument("--sentences", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    main(parser.parse_args())
