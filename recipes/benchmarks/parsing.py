"""How fast `hdiff prepare` is against the bare parser, and how much memory it takes; prints one JSON object.

Usage: python recipes/benchmarks/parsing.py TEXT [--megabytes 2] [--workers 1,2] [--repeats 3]
       [--memory 1,4] [--plot memory.png]

TEXT is a .txt file or a folder of them. Bare is `nlp.pipe` with the components hdiff asks for (tagger,
parser, attribute ruler), in as many independent processes as there are workers, each with its share of the
text. Start-up (imports, model) is left out on both sides: of the preparation by a first run on a few
documents with the same number of workers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SETTINGS = {"levels": ("clause", "phrase"), "tokenizer": "train:4096"}
NUM_HELD_OUT = 5


def documents(path: Path, megabytes: float) -> list[str]:
    """Paragraph groups of about 1,000 characters, repeated with a number if the text is too short."""
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    paragraphs = [
        part.strip()
        for file in files
        for part in file.read_text(encoding="utf-8").split("\n\n")
        if part.strip()
    ]
    texts: list[str] = []
    size = 0
    copy = 0
    while True:
        copy += 1
        for paragraph in paragraphs:
            text = paragraph if copy == 1 else f"{copy}. {paragraph}"
            if texts and len(texts[-1]) < 1000:
                texts[-1] += "\n" + text
            else:
                texts.append(text)
            size += len(text)
            if size >= megabytes * 1e6:
                return texts


def write(texts: list[str], path: Path) -> str:
    """Writes texts as JSON lines."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="ascii")
    return str(path)


def _bare(texts: list[str], barrier: Any, queue: Any) -> None:
    import spacy
    import torch

    from hdiff.parsers.spacy_models import EXCLUDED
    from hdiff.parsers.spacy_parser import SpacyParser

    torch.set_num_threads(1)
    pipeline = spacy.load(SpacyParser().model, exclude=list(EXCLUDED))
    list(pipeline.pipe(texts[:8]))
    barrier.wait()
    began = time.monotonic()
    tokens = sum(len(doc) for doc in pipeline.pipe(texts, batch_size=64))
    queue.put((tokens, began, time.monotonic()))


def bare(texts: list[str], processes: int) -> tuple[int, float]:
    """(tokens, seconds) of independent parsers side by side."""
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(processes), context.Queue()
    running = [
        context.Process(target=_bare, args=(texts[rank::processes], barrier, queue))
        for rank in range(processes)
    ]
    for process in running:
        process.start()
    results = [queue.get() for _ in running]
    for process in running:
        process.join()
    tokens, begins, ends = zip(*results, strict=True)
    return sum(tokens), max(ends) - min(begins)


def prepared(texts: list[str], workers: int, folder: Path) -> float:
    """Seconds of a preparation, from reading to the manifest, without start-up."""
    from hdiff.data.prepare.run import prepare

    def seconds(some: list[str], name: str) -> float:
        source = write(some[NUM_HELD_OUT:], folder / f"{name}.jsonl")
        validation = write(some[:NUM_HELD_OUT], folder / f"{name}-validation.jsonl")
        began = time.monotonic()
        prepare(source, folder / name, validation=validation, workers=workers, **SETTINGS)  # type: ignore[arg-type]
        took = time.monotonic() - began
        shutil.rmtree(folder / name)
        return took

    few = max(40, workers * 20)
    start_up = seconds(texts[:few], "few")
    return seconds(texts, "all") - (start_up if workers > 1 else 0.0)


def peak_memory(path: Path, megabytes: float, parser: str) -> dict[str, Any]:
    """Peak resident memory of the preparing process and of its largest worker, in MB, read twice a second."""
    import psutil

    program = (
        "import sys\n"
        "from hdiff.data.prepare.run import prepare\n"
        "if __name__ == '__main__':\n"
        "    prepare(sys.argv[1], sys.argv[2], parser=sys.argv[3], levels=('sentence',), workers=2)\n"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write(documents(path, megabytes), folder / "text.jsonl")
        (folder / "run.py").write_text(program, encoding="utf-8")
        command = [sys.executable, str(folder / "run.py"), source, str(folder / "out"), parser]
        began = time.monotonic()
        process = subprocess.Popen(command)
        parent = psutil.Process(process.pid)
        peak = largest = 0
        while process.poll() is None:
            try:
                peak = max(peak, parent.memory_info().rss)
                workers = [child.memory_info().rss for child in parent.children(recursive=True)]
                largest = max([largest, *workers])
            except psutil.Error:
                pass
            time.sleep(0.5)
        if process.returncode:
            raise SystemExit(f"the preparation of {megabytes} MB failed")
        return {
            "megabytes": megabytes,
            "parser": parser,
            "parent_mb": round(peak / 2**20),
            "largest_worker_mb": round(largest / 2**20),
            "seconds": round(time.monotonic() - began),
        }


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draws peak memory against the size of the input."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    sizes = [row["megabytes"] for row in rows]
    for key, label in (("parent_mb", "preparing process"), ("largest_worker_mb", "largest worker")):
        axes.plot(sizes, [row[key] for row in rows], marker="o", label=label)
    axes.set(
        xscale="log",
        xlabel="text, MB",
        ylabel="peak resident memory, MB",
        ylim=(0, 1.2 * max(max(row["parent_mb"], row["largest_worker_mb"]) for row in rows)),
    )
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Runs what the arguments ask for."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("text", type=Path)
    arguments.add_argument("--megabytes", type=float, default=2.0)
    arguments.add_argument("--workers", default="1,2")
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--memory", default="")
    arguments.add_argument("--parser", default="spacy", help="parser of the memory measurement")
    arguments.add_argument("--plot", type=Path, help="PNG of the memory; needs hdiff[plots]")
    chosen = arguments.parse_args()
    texts = documents(chosen.text, chosen.megabytes)
    result: dict[str, Any] = {
        "megabytes": chosen.megabytes,
        "documents": len(texts),
        "speed": [],
        "memory": [],
    }
    with tempfile.TemporaryDirectory() as name:
        for workers in [int(number) for number in chosen.workers.split(",") if number]:
            if workers == 1:
                prepared(texts[:40], 1, Path(name))  # imports and model
            for repeat in range(chosen.repeats):
                tokens, bare_seconds = bare(texts, workers)
                seconds = prepared(texts, workers, Path(name))
                row = {
                    "workers": workers,
                    "repeat": repeat,
                    "tokens": tokens,
                    "bare_tokens_per_second": round(tokens / bare_seconds),
                    "prepare_tokens_per_second": round(tokens / seconds),
                    "ratio": round(bare_seconds / seconds, 3),
                }
                print(json.dumps(row), file=sys.stderr, flush=True)
                result["speed"].append(row)
    for megabytes in [float(number) for number in chosen.memory.split(",") if number]:
        row = peak_memory(chosen.text, megabytes, chosen.parser)
        print(json.dumps(row), file=sys.stderr, flush=True)
        result["memory"].append(row)
    if chosen.plot is not None:
        plot(result["memory"], chosen.plot)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
