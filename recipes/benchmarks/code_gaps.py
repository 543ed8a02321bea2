"""Gaps in Python source: which fillings parse, and what the true statements and expressions cost.

Every system fills the same gaps, statements and expressions of 2 to 16 tokens in held-out files, given the
rest of a row. At T steps a joint head fills T stretches from left to right, single tokens in T random groups.
A filling parses if its top-level statement does. Nats of T = 1 are exact, of more a bound.
"""

from __future__ import annotations

import argparse
import ast
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from compare import run, spread
from torch import Tensor

from hdiff.ablation import Run, load_ablation
from hdiff.corruption.masked_units import MaskedUnits
from hdiff.data.batch import Batch
from hdiff.data.prepared import PreparedData
from hdiff.data.tokenizer import Tokenizer
from hdiff.files import write_atomically
from hdiff.models.denoiser import Denoiser
from hdiff.recipe import to_yaml
from hdiff.runs.folder import RunFolder
from hdiff.samplers.filling import Choice, Chooser, MaskedSampler, View
from hdiff.structure import level_rank

FILE = Path(__file__).with_name("code_gaps.yaml")
FIGURES = "code_gaps.json"
KINDS: dict[str, tuple[str, ...]] = {"statement": ("sentence", "clause"), "expression": ("phrase",)}
"""Kind of gap -> levels of its spans, the last of which a flagged model is asked for."""

NO_GAP = frozenset(
    (
        *("body", "orelse", "finalbody", "match_case", "ExceptHandler", "Comment", "arguments", "bases"),
        *("item", "comprehension", "withitem", "arg", "keyword", "alias"),
    )
)
"""Labels of spans that are neither a statement nor an expression."""

STEPS = (1, 2, 4)
SHORTEST, LONGEST = 2, 16
ROWS = 100
"""Rows per call."""


class Gap(NamedTuple):
    """A stretch of a document.

    Attributes:
        row: Tokens of the row it is filled in.
        first: Its first token in the row.
        length: Its tokens.
        before: Tokens of the top-level statement before it.
        after: The same behind it.
    """

    row: list[int]
    first: int
    length: int
    before: list[int]
    after: list[int]

    def parses(self, filling: list[int], tokenizer: Tokenizer) -> bool:
        """Whether the statement around it is Python with another filling."""
        text = tokenizer.decode([*self.before, *filling, *self.after])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.parse(text.strip("\n"))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
        return True


def draw_gaps(
    data: PreparedData, kind: str, *, number: int, length: int, generator: np.random.Generator
) -> list[Gap]:
    """Gaps of one kind in the validation split, at random places.

    Args:
        data: The data set, with the levels of the kind.
        kind: A key of `KINDS`.
        number: How many at most, one in each stretch of `length` tokens.
        length: Tokens of a row.
        generator: Source of randomness.

    Returns:
        The gaps, in random order.
    """
    ranks = [level_rank(level) for level in KINDS[kind]]
    labels = np.array([name not in NO_GAP for name in data.manifest["labels"]])
    gaps = []
    for document in data.split("validation"):
        ids = np.asarray(document["input_ids"])
        begin, end, level, label = (
            np.asarray(document[f"span_{name}"]) for name in ("start", "end", "level", "label")
        )
        is_space = np.array([not piece.strip() for piece in data.tokenizer.pieces(ids.tolist())])
        top = [(a, b) for a, b, rank in zip(begin, end, level, strict=True) if rank == 0]
        end = np.array([_without_space(int(a), int(b), is_space) for a, b in zip(begin, end, strict=True)])
        size = end - begin
        fits = np.isin(level, ranks) & labels[label] & (size >= SHORTEST) & (size <= LONGEST)
        for start in range(0, len(ids) - length + 1, length):
            inside = np.flatnonzero(fits & (begin > start) & (end < start + length))
            if not len(inside):
                continue
            span = int(generator.choice(inside))
            around = next(((a, b) for a, b in top if a <= begin[span] and end[span] <= b), None)
            if around is None:
                continue
            first, last = int(begin[span]), int(end[span])
            gaps.append(
                Gap(
                    ids[start : start + length].tolist(),
                    first - start,
                    last - first,
                    ids[around[0] : first].tolist(),
                    ids[last : around[1]].tolist(),
                )
            )
    order = generator.permutation(len(gaps))[:number]
    return [gaps[place] for place in order]


def _without_space(begin: int, end: int, is_space: np.ndarray) -> int:
    """End of a span without the white space that alignment puts behind it."""
    while end > begin and is_space[end - 1]:
        end -= 1
    return end


class GapSampler(MaskedSampler):
    """Fills one stretch of each row in at most T steps.

    Args:
        num_steps: Steps T.
        is_joint: Whether the head fills stretches jointly: a step then fills one stretch, from left to right;
            else it fills tokens here and there.
    """

    def __init__(self, num_steps: int, *, is_joint: bool) -> None:
        super().__init__()
        self.num_steps, self.is_joint = num_steps, is_joint

    def begin(
        self, corruption: MaskedUnits, tokens: Tensor, is_masked: Tensor, generator: torch.Generator | None
    ) -> Chooser:
        sizes = is_masked.sum(1, keepdim=True)
        place = is_masked.cumsum(1) - 1
        if not self.is_joint:
            keys = torch.rand(tokens.shape, generator=generator).masked_fill(~is_masked, 2.0)
            place = keys.argsort(1).argsort(1)
        step = place * sizes.clamp(max=self.num_steps) // sizes.clamp(min=1)
        starts = torch.ones_like(is_masked)
        if self.is_joint:
            starts[:, 1:] = ~(is_masked[:, 1:] & is_masked[:, :-1]) | (step[:, 1:] != step[:, :-1])
        units = starts.cumsum(1) - 1

        def choose(view: View) -> Choice:
            return Choice(units, is_masked & (step == view.step))

        return choose


def measure(run_folder: RunFolder, gaps: Mapping[str, list[Gap]], tokenizer: Tokenizer) -> dict[str, Any]:
    """Shares of fillings that parse, and nats per token of the true ones."""
    model, corruption = run_folder.denoiser, run_folder.corruption.unconditional()
    assert isinstance(model, Denoiser)
    flags = list(run_folder.corruption.flag_levels)
    results: dict[str, Any] = {}
    for kind, of_kind in gaps.items():
        level = KINDS[kind][-1]
        asked = model
        if level in flags:
            asked = model.asking(torch.full((len(of_kind[0].row),), 1 + flags.index(level)))
        results[kind] = {"parse": {}, "nats": {}}
        for steps in STEPS:
            sampler = GapSampler(steps, is_joint=run_folder.recipe.head["kind"] == "autoregressive")
            generator = torch.Generator().manual_seed(0)
            parses, nats = 0, 0.0
            for batch, is_hidden, part in _batches(of_kind):
                tokens = batch.input_ids.masked_fill(is_hidden, model.mask_id)
                drawn = sampler.sample(asked, corruption, tokens, generator=generator).tokens
                parses += sum(
                    gap.parses(row[gap.first : gap.first + gap.length].tolist(), tokenizer)
                    for gap, row in zip(part, drawn, strict=True)
                )
                score = sampler.score(asked, corruption, batch, is_hidden=is_hidden, generator=generator)
                nats += float(score.nats.sum())
            results[kind]["parse"][steps] = parses / len(of_kind)
            results[kind]["nats"][steps] = nats / sum(gap.length for gap in of_kind)
    return results


def _batches(gaps: list[Gap]) -> Iterator[tuple[Batch, Tensor, list[Gap]]]:
    for start in range(0, len(gaps), ROWS):
        part = gaps[start : start + ROWS]
        rows = torch.tensor([gap.row for gap in part])
        place = torch.arange(rows.shape[1])
        first, length = (torch.tensor([gap[field] for gap in part])[:, None] for field in (1, 2))
        yield Batch.of(rows), (place >= first) & (place < first + length), part


def train(each: Run) -> None:
    """Trains a run, unless that is done."""
    record = each.path / "run.json"
    if record.exists() and "train_seconds" in json.loads(record.read_text(encoding="utf-8")):
        return
    folder = each.path.parent / "recipes"
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / f"{each.name}.yaml"
    write_atomically(recipe, to_yaml(each.recipe))
    run(["train", str(recipe), "--quiet"], each.path.parent / f"{each.name}.log")


def _reading(each: Run, folder: Path) -> Run:
    """A run with its data sets in another folder."""
    path = str(folder / Path(str(each.recipe.data.path)).name)
    data = each.recipe.data.model_copy(update={"path": path})
    return replace(each, recipe=each.recipe.model_copy(update={"data": data}))


def figures(out: Path) -> dict[str, dict[str, Any]]:
    """System -> seed -> what was measured, of the runs that are there."""
    results: dict[str, dict[str, Any]] = {}
    for file in sorted(out.glob(f"*/{FIGURES}")):
        system, _, seed = file.parent.name.rpartition("-")
        results.setdefault(system, {})[seed] = json.loads(file.read_text(encoding="utf-8"))
    return results


def table(results: Mapping[str, Mapping[str, Any]], baseline: str = "random_spans") -> str:
    """Markdown: a row per system and kind of gap, then differences to a baseline, paired by seed."""
    columns = [("parse", str(steps)) for steps in STEPS] + [("nats", str(steps)) for steps in STEPS]
    heads = [f"{'parse, %' if what == 'parse' else 'nats/token'}, T = {steps}" for what, steps in columns]
    lines = ["| gap | system | seeds | " + " | ".join(heads) + " |", "|---" * (3 + len(heads)) + "|"]

    def values(system: str, kind: str, what: str, steps: str, seeds: list[str]) -> list[float]:
        factor = 100.0 if what == "parse" else 1.0
        return [factor * results[system][seed][kind][what][steps] for seed in seeds]

    for kind in KINDS:
        for system in results:
            seeds = sorted(results[system])
            cells = [spread(values(system, kind, *column, seeds)) for column in columns]
            lines.append(f"| {kind} | {system} | {len(seeds)} | " + " | ".join(cells) + " |")
        for system in results if baseline in results else ():
            seeds = sorted(set(results[system]) & set(results[baseline]))
            if system == baseline or not seeds:
                continue
            cells = []
            for column in columns:
                one, other = (values(name, kind, *column, seeds) for name in (system, baseline))
                cells.append(spread([a - b for a, b in zip(one, other, strict=True)]))
            lines.append(f"| {kind} | {system} - {baseline} | {len(seeds)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Trains, measures and prints the table; what is done is not done again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of code and code_shuffled")
    parser.add_argument("--out", type=Path, default=Path("runs/code_gaps"))
    parser.add_argument("--seeds", default="[0, 1, 2]")
    parser.add_argument("--gaps", type=int, default=400, help="gaps of each kind, the same for every run")
    parser.add_argument("--set", nargs="*", default=[], help="further settings, key=value")
    parser.add_argument("--json", type=Path, help="file of all figures: system -> seed -> kind of gap")
    arguments = parser.parse_args()
    overrides = [f"output={arguments.out}", f"seeds={arguments.seeds}", *arguments.set]
    data = PreparedData.load(arguments.data / "code")
    runs = sorted(load_ablation(FILE, overrides).runs, key=lambda each: each.recipe.seed)
    for each in (_reading(run_, arguments.data) for run_ in runs):
        train(each)
        file = each.path / FIGURES
        if not file.exists():
            length = each.recipe.data.sequence_length
            generator = np.random.default_rng(0)
            gaps = {
                kind: draw_gaps(data, kind, number=arguments.gaps, length=length, generator=generator)
                for kind in KINDS
            }
            measured = measure(RunFolder.load(each.path), gaps, data.tokenizer)
            write_atomically(file, json.dumps(measured, indent=1))
        results = figures(arguments.out)
        if arguments.json is not None:
            write_atomically(arguments.json, json.dumps(results, indent=1))
        print(table(results), flush=True)


if __name__ == "__main__":
    main()
