"""Scenarios: the tiny run that is killed, in variants, and how a kill point's place in it is called."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

from starts import fork

STEPS = 12

RECIPE = """
name: soak
output: {output}
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6}}
model: {{width: 16, depth: 1, num_heads: 2, dropout: 0.1}}
head: {{kind: autoregressive, num_heads: 2}}
corruption: {{kind: span_masking, segmentation: mixture, level: phrase, lengths: corpus}}
train: {{steps: 12, batch_size: 4, warmup_steps: 2, ema_decay: 0.9, log_every: 1, checkpoint_every: 3,
         evaluate_every: 5}}
evaluation: {{steps: [1], blocks: 2, draws: 1, samples: 0}}
"""


@dataclass(frozen=True)
class Scenario:
    """One variant.

    Attributes:
        name: As printed.
        share: Its share of the kills.
        batch_size: Rows per process and batch.
        accumulation: Batches per update.
        processes: Processes of the run.
        overrides: Further words for the command line.
        stream_workers: Worker processes of a stream that gives the training rows; None: the prepared data do.
        is_mixed: The stream gives two thirds of the rows, the prepared data the others.
    """

    name: str
    share: float
    batch_size: int = 4
    accumulation: int = 1
    processes: int = 1
    overrides: tuple[str, ...] = ()
    stream_workers: int | None = None
    is_mixed: bool = False

    def arguments(self, recipe: Path, output: Path) -> list[str]:
        """Words after `hdiff`."""
        stream = []
        if self.stream_workers is not None:  # tokens alone: the parser would be most of the time of a start
            source = recipe.parent / "train.jsonl"
            spec = f"{{source: {source}, shuffle_buffer: 6, workers: {self.stream_workers}}}"
            members = f"[{{stream: {spec}, weight: 2}}, {{path: {recipe.parent / 'data'}, weight: 1}}]"
            rows = f"data.mixture={members}" if self.is_mixed else f"data.stream={spec}"
            stream = [rows, "corruption={kind: token_masking}"]
        return [
            "train",
            str(recipe),
            f"output={output}",
            "resume=auto",
            f"train.batch_size={self.batch_size}",
            f"train.gradient_accumulation={self.accumulation}",
            *stream,
            *self.overrides,
        ]

    def place(self, point: str) -> str:
        """Where in training a point of kind `batch` is: at which row, and whether an epoch begins there."""
        first, is_edge = (int(word) for word in point.split())
        if first // (self.batch_size * self.processes) % self.accumulation:
            return "mid-accumulation"
        return "epoch edge" if is_edge else "mid-epoch"


SCENARIOS = (
    Scenario("plain", 0.2),
    Scenario("accumulation", 0.14, batch_size=2, accumulation=2),
    Scenario(
        "one checkpoint kept, saved every step",
        0.15,
        overrides=("train.keep_checkpoints=1", "train.checkpoint_every=1"),
    ),
    Scenario("two processes", 0.075, batch_size=2, processes=2),
    Scenario("two processes, accumulation", 0.075, batch_size=1, accumulation=2, processes=2),
    Scenario("mixture with a stream", 0.06, batch_size=2, accumulation=2, stream_workers=0, is_mixed=True),
    Scenario(
        "mixture with a stream, 2 workers, two processes",
        0.06,
        batch_size=1,
        accumulation=2,
        processes=2,
        stream_workers=2,
        is_mixed=True,
    ),
    Scenario("stream", 0.06, batch_size=2, accumulation=2, stream_workers=0),
    Scenario("stream, 2 workers", 0.06, batch_size=2, accumulation=2, stream_workers=2),
    Scenario("stream, two processes", 0.06, batch_size=1, accumulation=2, processes=2, stream_workers=0),
    Scenario(
        "stream, 2 workers, two processes",
        0.06,
        batch_size=1,
        accumulation=2,
        processes=2,
        stream_workers=2,
    ),
)


def write_recipe(folder: Path, data: Path) -> Path:
    """Writes the recipe of all scenarios."""
    recipe = folder / "soak.yaml"
    recipe.write_text(RECIPE.format(output=folder / "run", data=data), encoding="utf-8")
    return recipe


def prepare_data(folder: Path) -> Path:
    """Prepares a data set of a few rows, so that an epoch takes a few steps, in a forked process."""
    people, places = ("fisherman", "teacher", "girl", "sailor"), ("by the sea", "near the old mill", "here")
    sentences = [
        f"The {one} who lived {place} saw the {other}."
        for one, other, place in itertools.product(people, people, places)
    ]
    for name, chosen in (("train", sentences), ("validation", sentences[::5])):
        documents = [
            json.dumps({"text": " ".join(chosen[first : first + 4])}) for first in range(0, len(chosen), 4)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(documents), encoding="utf-8")
    words = ["prepare", str(folder / "train.jsonl"), "--validation", str(folder / "validation.jsonl")]
    words += ["--out", str(folder / "data"), "--tokenizer", "words", "--quiet"]
    ending = fork(words, folder / "prepare.log")
    if any(ending.codes):
        raise SystemExit(f"no data to train on: {ending.output}")
    return folder / "data"
