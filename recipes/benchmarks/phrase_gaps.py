"""Gaps at phrase borders: nats of held-out phrases given the rest of their row, and of random gaps as long.

What models trained on parsed phrases ought to be better at. One gap per row, filled in one call: -log p is
that of the joint head, exact, no bound. Every system fills the same gaps. With the tournament's runs there:
`python recipes/benchmarks/phrase_gaps.py --runs runs/tournament --corpora wikitext2 e2e`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from compare import spread
from torch import Tensor

from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.models.denoiser import Denoiser
from hdiff.packed_spans import PackedSpans
from hdiff.runs.folder import RunFolder

LEVEL = "phrase"
LONGEST = 16
SYSTEMS = ("phrases_and_spans", "spans")
KINDS = ("phrases", "random spans")
FIGURES = "phrase_gaps.json"
ROWS = 64
"""Rows per call."""


class Gaps(NamedTuple):
    """One gap in each of some rows.

    Attributes:
        batch: The rows.
        is_hidden: Kind -> tokens of the gap, bool (B, L).
    """

    batch: Batch
    is_hidden: dict[str, Tensor]


def draw_gaps(batch: Batch, generator: torch.Generator) -> Gaps | None:
    """A phrase of each row, and a random span of the same length, neither at the ends of the row.

    Args:
        batch: Rows with units and labels of `LEVEL`.
        generator: Source of randomness.

    Returns:
        Rows that have such a phrase; None if none has.
    """
    kept, starts, others, lengths = [], [], [], []
    row_length = batch.input_ids.shape[1]
    for row in range(len(batch.input_ids)):
        _, counts = torch.unique_consecutive(batch.unit_ids[LEVEL][row], return_counts=True)
        begins = counts.cumsum(0) - counts
        is_phrase = (batch.labels[LEVEL][row][begins] > 0) & (counts >= 2) & (counts <= LONGEST)
        is_phrase &= (begins > 0) & (begins + counts < int(batch.token_mask[row].sum()))
        if not bool(is_phrase.any()):
            continue
        choices = is_phrase.nonzero().squeeze(1)
        chosen = choices[torch.randint(len(choices), (1,), generator=generator)]
        length = int(counts[chosen])
        kept.append(row)
        starts.append(int(begins[chosen]))
        lengths.append(length)
        last = int(batch.token_mask[row].sum()) - length
        others.append(int(torch.randint(1, last, (1,), generator=generator)))
    if not kept:
        return None
    rows = torch.tensor(kept)
    place, size = torch.arange(row_length), torch.tensor(lengths)[:, None]

    def at(begin: Sequence[int]) -> Tensor:
        begins = torch.tensor(begin)[:, None]
        return (place >= begins) & (place < begins + size)

    of_rows = Batch(batch.input_ids[rows], batch.token_mask[rows])
    return Gaps(of_rows, dict(zip(KINDS, (at(starts), at(others)), strict=True)))


@torch.no_grad()
def nats(model: Denoiser, gaps: Gaps, kind: str) -> float:
    """Sum of -log p(gap | rest of the row) over rows."""
    batch, is_hidden = gaps.batch, gaps.is_hidden[kind]
    spans = PackedSpans.from_units(is_hidden.long(), is_hidden)
    hidden = model.hidden(batch.input_ids.masked_fill(is_hidden, model.mask_id), batch.token_mask)
    packed, read = spans.read(hidden)
    log_probs = model.head.log_prob(packed, spans.gather(batch.input_ids), read)
    return -float(log_probs.double().sum())


def measure(run: RunFolder, *, seed: int) -> dict[str, float]:
    """Nats per token of both kinds of gaps in the held-out text of a run."""
    blocks = PackedBlocks.build(
        PreparedData.load(run.recipe.data.path),
        "validation",
        **{**run.recipe.data.packing(), "levels": (LEVEL,)},
    )
    model = run.denoiser
    assert isinstance(model, Denoiser)
    generator = torch.Generator().manual_seed(seed)
    totals, tokens = dict.fromkeys(KINDS, 0.0), 0
    for begin in range(0, len(blocks), ROWS):
        gaps = draw_gaps(blocks.batch(range(begin, min(begin + ROWS, len(blocks)))), generator)
        if gaps is None:
            continue
        tokens += int(gaps.is_hidden[KINDS[0]].sum())
        for kind in KINDS:
            totals[kind] += nats(model, gaps, kind)
    return {kind: total / tokens for kind, total in totals.items()}


def table(folder: Path) -> str:
    """Markdown of the corpora that were measured, with differences paired by seed."""
    lines = [
        "| corpus | trained on | seeds | " + " | ".join(f"{kind}, nats/token" for kind in KINDS) + " |",
        "|---" * 5 + "|",
    ]
    for file in sorted(folder.glob("*/" + FIGURES)):
        results = json.loads(file.read_text(encoding="utf-8"))
        corpus, columns = file.parent.name, []
        for system in SYSTEMS:
            own = results[system].values()
            columns.append([[figures[kind] for figures in own] for kind in KINDS])
            cells = [corpus, system, str(len(own)), *map(spread, columns[-1])]
            lines.append("| " + " | ".join(cells) + " |")
        differences = [
            [one - other for one, other in zip(*of_kind, strict=True)]
            for of_kind in zip(*columns, strict=True)
        ]
        cells = [corpus, f"{SYSTEMS[0]} - {SYSTEMS[1]}", "", *map(spread, differences)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Parses the command line, measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/tournament"))
    parser.add_argument("--corpora", nargs="*", default=["tinystories", "wikitext2", "gutenberg", "e2e"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--gaps", type=int, default=0, help="seed of the gaps, the same for every run")
    arguments = parser.parse_args()
    for corpus in arguments.corpora:
        folder = arguments.runs / corpus
        results = {
            system: {
                seed: measure(RunFolder.load(folder / f"{system}-{seed}"), seed=arguments.gaps)
                for seed in arguments.seeds
            }
            for system in SYSTEMS
        }
        (folder / FIGURES).write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(table(arguments.runs))


if __name__ == "__main__":
    main()
