"""Control on E2E as Diffusion-LM measures it (arXiv:2205.14217, table 2), without training a classifier.

Trains three small models (parts of speech, phrases, gaps) and a judge on the E2E texts, writes texts for
Diffusion-LM's targets and counts how many comply. Finished runs are kept. From the checkout:
`python recipes/benchmarks/e2e_control.py --texts data/e2e`, a folder with train.jsonl, valid.jsonl and
diffusion_lm_control/target_{pos,spans,attribute}.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from compare import run, spread

from hdiff.control import Controlled, Keywords, Skeleton, follow_skeleton, infill, with_keywords
from hdiff.control.skeleton import num_values
from hdiff.control.verification import FREE, skeleton_checker
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.models.autoregressive import Autoregressive
from hdiff.parsers import load_parser
from hdiff.runs.folder import RunFolder
from hdiff.samplers import AncestralSampler, CoarseToFineSampler
from hdiff.seeds import derive_seed

RECIPE = Path(__file__).parents[1] / "e2e_control.yaml"
SYSTEMS: dict[str, list[str]] = {
    "parts_of_speech": [],
    "phrases": ["corruption.levels=[phrase]", "corruption.types=[boundary, label]"],
    "gaps": [
        "corruption={kind: span_masking, segmentation: random, level: phrase, lengths: corpus}",
        "head={kind: autoregressive, num_layers: 1}",
    ],
    "judge": ["model.kind=autoregressive", "corruption={kind: token_masking}"],
}
REPORTED = {"parts_of_speech": 90.0, "spans": 93.8, "checked_spans": 93.8, "length": 99.9, "attributes": 81.2}
"""Success of Diffusion-LM in percent."""
NOT_LITERAL = ("family friendly",)
"""Attributes whose values (yes, no) are not words of the text."""


class Case(NamedTuple):
    """Texts made for one target.

    Attributes:
        made: The texts.
        success: Success of a text, in [0, 1].
        original: The target's own text, or an empty one.
    """

    made: Controlled
    success: Callable[[str], float]
    original: str


def prepare(arguments: argparse.Namespace) -> Path:
    """The E2E texts as a data set, one token per word."""
    data: Path = arguments.out / "data"
    if (data / "manifest.json").exists():
        return data
    arguments.out.mkdir(parents=True, exist_ok=True)
    for split in ("train", "valid"):
        rows = (arguments.texts / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        texts = [json.loads(row)["text"] for row in rows]
        (arguments.out / f"{split}.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    files = [str(arguments.out / "train.txt"), "--validation", str(arguments.out / "valid.txt")]
    run(["prepare", *files, "--out", str(data), "--tokenizer", "words", "--levels", "phrase"])
    return data


def trained(system: str, seed: int, data: Path, arguments: argparse.Namespace) -> RunFolder:
    """One run, trained unless it is there."""
    out = arguments.out / f"{system}-{seed}"
    if not RunFolder.has_checkpoint(out) or not is_finished(out):
        options = [f"data.path={data}", f"output={out}", f"seed={seed}", "resume=auto", *arguments.set]
        run(["train", str(RECIPE), *SYSTEMS[system], *options, "-q"])
    return RunFolder.load(out)


def is_finished(run: Path) -> bool:
    """Whether a run has done all its updates."""
    return "train_seconds" in json.loads((run / "run.json").read_text(encoding="utf-8"))


def targets_of(folder: Path, name: str) -> list[Any]:
    """Targets of a task, one JSON value per line."""
    lines = (folder / "diffusion_lm_control" / f"target_{name}.json").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def words_of(target: dict[str, Any]) -> list[str]:
    """Words of a target without its marks of beginning, end and line."""
    return [word for word in target["words_"] if word not in ("START", "END") and word.strip()]


def offsets_of(text: str) -> list[tuple[int, int]]:
    """Characters [start, end) of each word of a text with single spaces."""
    ends = [sum(map(len, text.split()[: i + 1])) + i for i in range(len(text.split()))]
    return [(end - len(word), end) for word, end in zip(text.split(), ends, strict=True)]


class Writer:
    """Writes texts for the targets of every task with the runs of one seed."""

    def __init__(self, seed: int, data: Path, arguments: argparse.Namespace) -> None:
        self.arguments, self.seed, self.data = arguments, seed, data
        self.parser = load_parser("spacy")
        self.runs: dict[str, RunFolder] = {}
        self.skipped: dict[str, int] = {}

    def parts_of_speech(self) -> Iterator[Case]:
        """Success: share of words that the tagger gives the target's part of speech."""
        for target in targets_of(self.arguments.texts, "pos")[: self.arguments.targets]:
            pairs = zip(target["words_"], target["pos"], strict=True)
            tags = [tag for word, tag in pairs if word not in ("START", "END") and word.strip()]
            made = self._follow("parts_of_speech", Skeleton(tuple((tag, 1) for tag in tags)))

            def success(text: str, tags: list[str] = tags) -> float:
                (tree,) = self.parser.parse([text])
                labels = {(span.start, span.end): span.label for span in tree.words}
                offsets = offsets_of(text)
                right = sum(labels.get(place) == tag for place, tag in zip(offsets, tags, strict=False))
                return float(right / max(len(tags), len(offsets)))

            yield Case(made, success, " ".join(words_of(target)))

    def checked_spans(self) -> Iterator[Case]:
        """As `spans`, the first of several texts in which our parser, which is the oracle too, finds it."""
        return self.spans(tries=self.arguments.checks)

    def spans(self, tries: int = 1) -> Iterator[Case]:
        """Success: a constituent with the label at exactly these words; labels and spans our parser knows."""
        labels = self._run("phrases").record["data"]["labels"]["phrase"]
        count = 0
        for target in targets_of(self.arguments.texts, "spans"):
            words = words_of(target)
            first, last, label = target["spans"][0]
            size = last + 1 - first
            if label not in labels or not 2 <= size <= 8 or last >= len(words):
                self.skipped["spans"] = self.skipped.get("spans", 0) + 1
                continue
            if (count := count + 1) > self.arguments.targets:
                return
            around = [(FREE, first), (label, size), (FREE, len(words) - last - 1)]
            skeleton = Skeleton(tuple(span for span in around if span[1]))
            accept = skeleton_checker(self.parser, skeleton) if tries > 1 else None
            made = self._follow("phrases", skeleton, tries=tries, accept=accept)

            def success(text: str, first: int = first, last: int = last, label: str = label) -> float:
                (tree,) = self.parser.parse([text])
                offsets = offsets_of(text)
                place = (offsets[first][0], offsets[last][1])
                return float(any((s.start, s.end, s.label) == (*place, label) for s in tree.spans))

            yield Case(made, success, " ".join(words))

    def length(self) -> Iterator[Case]:
        """Success: exactly the number of words."""
        for target in targets_of(self.arguments.texts, "pos")[: self.arguments.targets]:
            count = len(words_of(target))
            made = self._gaps(infill, f"[{count}]", count)

            def success(text: str, count: int = count) -> float:
                return float(len(text.split()) == count)

            yield Case(made, success, " ".join(words_of(target)))

    def attributes(self) -> Iterator[Case]:
        """Success: the value occurs, word for word; lengths are those of the part-of-speech targets."""
        lengths = [len(words_of(target)) for target in targets_of(self.arguments.texts, "pos")]
        count = 0
        for target, length in zip(targets_of(self.arguments.texts, "attribute"), lengths, strict=False):
            name, _, value = " ".join(target).partition(" : ")
            try:
                if name in NOT_LITERAL:
                    raise DataError(f"the value of '{name}' is no word of the text")
                keywords = Keywords.of([value], length, self._run("gaps").tokenizer)
            except DataError:
                self.skipped["attributes"] = self.skipped.get("attributes", 0) + 1
                continue
            if (count := count + 1) > self.arguments.targets:
                return
            made = self._gaps(with_keywords, keywords, keywords.fewest_hidden, tries=self.arguments.tries)

            def success(text: str, value: str = value) -> float:
                return float(f" {value} " in f" {text} ")

            yield Case(made, success, "")

    def nats(self, texts: Sequence[str]) -> float:
        """Nats per token of texts and their ends under the judge."""
        judge = RunFolder.load(self.arguments.judge)
        assert isinstance(judge.model, Autoregressive), "--judge is an autoregressive run"
        total, count = 0.0, 0
        with torch.no_grad():
            for text in texts:
                ids = [judge.tokenizer.eos_id, *judge.tokenizer.encode(text)[0], judge.tokenizer.eos_id]
                total -= float(judge.model(Batch.of(torch.tensor([ids])))[:, 1:].sum())
                count += len(ids) - 1
        return total / count

    def _run(self, system: str) -> RunFolder:
        if system not in self.runs:
            self.runs[system] = trained(system, self.seed, self.data, self.arguments)
        return self.runs[system]

    def _follow(self, system: str, skeleton: Skeleton, **options: Any) -> Controlled:
        run = self._run(system)
        # Free stretches have types to draw as well, so one value per step takes more steps than tokens.
        sampler = CoarseToFineSampler(min(self.arguments.steps, num_values(skeleton, run.corruption)))
        labels = run.record["data"]["labels"]
        return self._write(follow_skeleton, run, sampler, skeleton, labels=labels, **options)

    def _gaps(self, write: Any, task: Any, num_hidden: int, **options: Any) -> Controlled:
        sampler = AncestralSampler(min(self.arguments.steps, num_hidden))
        return self._write(write, self._run("gaps"), sampler, task, **options)

    def _write(self, write: Any, run: RunFolder, sampler: Any, task: Any, **options: Any) -> Controlled:
        seed = derive_seed(self.seed, "control", str(task))
        size = {"num_samples": self.arguments.samples, "longest": run.recipe.data.sequence_length}
        generator = torch.Generator().manual_seed(seed)
        given = (run.denoiser, run.corruption, run.tokenizer, sampler, task)
        made: Controlled = write(*given, **size, **options, generator=generator)
        return made


def measure(writer: Writer, task: str) -> dict[str, Any]:
    """Success and fluency of one task."""
    cases = list(getattr(writer, task)())
    scores = [case.success(text) for case in cases for text in case.made.texts]
    originals = [case.success(case.original) for case in cases if case.original]
    texts = [text for case in cases for text in case.made.texts]
    return {
        "success": 100 * statistics.mean(scores),
        "success_of_target_texts": 100 * statistics.mean(originals) if originals else None,
        "all_right": 100 * statistics.mean(score == 1 for score in scores),
        "judge_nll": writer.nats(texts) if writer.arguments.judge else None,
        "targets": len(cases),
        "skipped": writer.skipped.get(task, 0),
        "texts": texts,
    }


def table(results: dict[int, dict[str, dict[str, Any]]], reference: float | None) -> str:
    """Markdown: mean over seeds, and the standard deviation where there are several."""

    def cell(values: list[float | None]) -> str:
        return spread([value for value in values if value is not None], digits=2) or "-"

    columns = ("success", "all_right", "success_of_target_texts", "judge_nll", "targets", "skipped")
    lines = ["| task | " + " | ".join(columns) + " | Diffusion-LM |", "|---" * (len(columns) + 2) + "|"]
    for task in next(iter(results.values())):
        cells = [cell([result[task][column] for result in results.values()]) for column in columns]
        lines.append(f"| {task} | " + " | ".join(cells) + f" | {REPORTED[task]} |")
    if reference is not None:
        lines += ["", f"Held-out texts under the judge: {reference:.3f} nats/token."]
    return "\n".join(lines)


def main() -> None:
    """Parses the command line and runs everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path, required=True, help="folder of the E2E texts and targets")
    parser.add_argument("--out", type=Path, default=Path("runs/e2e"))
    parser.add_argument("--targets", type=int, default=50, help="targets per task")
    parser.add_argument("--samples", type=int, default=5, help="texts per target")
    parser.add_argument("--tries", type=int, default=4, help="placements of an attribute's value per text")
    parser.add_argument("--checks", type=int, default=8, help="most texts parsed per text with a span")
    parser.add_argument("--steps", type=int, default=64, help="steps T, at most one per value")
    parser.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")], default=[0])
    parser.add_argument("--tasks", nargs="*", default=list(REPORTED), choices=list(REPORTED))
    parser.add_argument("--judge", help="autoregressive run; `train` trains one")
    parser.add_argument("--set", nargs="*", default=[], help="overrides of the recipe for every run")
    arguments = parser.parse_args()
    data = prepare(arguments)
    if arguments.judge == "train":
        arguments.judge = str(trained("judge", 0, data, arguments).path)
    results: dict[int, dict[str, dict[str, Any]]] = {}
    for seed in arguments.seeds:
        writer = Writer(seed, data, arguments)
        results[seed] = {task: measure(writer, task) for task in arguments.tasks}
    held_out = [json.loads(row)["text"] for row in (arguments.texts / "valid.jsonl").open(encoding="utf-8")]
    reference = writer.nats(held_out[:: max(1, len(held_out) // 250)]) if arguments.judge else None
    (arguments.out / "control.json").write_text(json.dumps(results, indent=1))
    print(table(results, reference))


if __name__ == "__main__":
    main()
