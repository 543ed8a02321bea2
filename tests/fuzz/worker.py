"""Worker: one reader and one source of inputs in a process of its own; writes what it found as JSON.

    python tests/fuzz/worker.py READER hypothesis|coverage INPUTS SEED FOLDER

Undocumented errors are collected, one of each kind, so that a campaign goes on behind the first; a crash
of the interpreter is noticed by who started the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from readers import READERS, memory_folder

PATIENCE_SECONDS = 10.0
"""An input of a few kilobytes that takes longer counts as a hang."""
LARGEST_INPUT = 8192


class Worker:
    """Feeds inputs to one reader and keeps count.

    Args:
        name: The reader.
        source: `hypothesis` or `coverage`.
        number: Inputs to try.
        seed: Seed of the source.
        folder: Where inputs that are findings go, and the counts.
    """

    def __init__(self, name: str, source: str, number: int, seed: int, folder: Path) -> None:
        from hdiff.errors import UserError

        self.reader = READERS[name]
        self.name, self.source, self.number, self.seed, self.folder = name, source, number, seed, folder
        self.documented = UserError
        self.count = self.accepted = 0
        self.slowest = 0.0
        self.edges: int | None = None
        self.found: dict[str, str] = {}
        self.files = Path(tempfile.mkdtemp(prefix="hdiff-fuzz-", dir=memory_folder()))

    def warm_up(self) -> None:
        """Reads the seeds, which imports what is needed; they are not counted."""
        for data in self.reader.seeds():
            with contextlib.suppress(self.documented):
                self.reader.read(data, self.files)

    def try_input(self, data: bytes) -> None:
        """Reads one input; an undocumented error is kept and its input saved."""
        self.count += 1
        began = time.process_time()  # not the clock: the machine may have other work
        try:
            self.reader.read(data, self.files)
            self.accepted += 1
        except self.documented:
            pass
        except Exception as error:
            self._keep(_place(error), data, traceback.format_exc())
        seconds = time.process_time() - began
        self.slowest = max(self.slowest, seconds)
        if seconds > PATIENCE_SECONDS:
            self._keep(f"slower than {PATIENCE_SECONDS:.0f} s", data, f"{seconds:.1f} s")
        if self.count % 500 == 0 or self.count >= self.number:
            self.write()

    def write(self) -> None:
        """Writes the counts so far."""
        result = {
            "inputs": self.count,
            "accepted": self.accepted,
            "slowest": round(self.slowest, 3),
            "found": self.found,
        }
        (self.folder / "result.json").write_text(json.dumps(result), encoding="utf-8")

    def _keep(self, kind: str, data: bytes, text: str) -> None:
        if kind in self.found:
            return
        name = hashlib.sha256(data).hexdigest()[:12]
        (self.folder / f"input-{name}").write_bytes(data)
        (self.folder / f"input-{name}.txt").write_text(text, encoding="utf-8", errors="backslashreplace")
        self.found[kind] = f"input-{name}"

    def by_hypothesis(self) -> None:
        """Draws inputs from the strategies; they are random, so a space that is exhausted is drawn anew."""
        from hypothesis import HealthCheck, Phase, given, seed, settings
        from strategies import inputs

        self.warm_up()
        options = settings(
            max_examples=self.number,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        strategy = inputs(self.name)
        for turn in range(1000):
            if self.count >= self.number:
                break

            @seed(self.seed + 1000 * turn)
            @options
            @given(strategy)
            def draw(data: bytes) -> None:
                if self.count < self.number:
                    self.try_input(data)

            draw()

    def by_coverage(self) -> None:
        """Runs libFuzzer through atheris, which keeps inputs that reach new edges; does not return."""
        import atheris

        with atheris.instrument_imports(include=list(self.reader.modules)):
            for module in self.reader.modules:
                importlib.import_module(module)
        self.warm_up()
        corpus = self.folder / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(self.reader.seeds()):
            (corpus / f"seed-{number}").write_bytes(seed)
        dictionary = self.folder / "dictionary"
        lines = ['"' + "".join(f"\\x{byte:02x}" for byte in token) + '"\n' for token in self.reader.tokens]
        dictionary.write_text("".join(lines), encoding="ascii")
        options = {
            "runs": self.number,
            "seed": self.seed + 1,  # 0 means a random one
            "max_len": LARGEST_INPUT,
            "timeout": 60,
            "rss_limit_mb": 6000,
            "dict": dictionary,
            "artifact_prefix": f"{self.folder}/crash-",
            "print_final_stats": 1,
        }
        arguments = [f"-{key}={value}" for key, value in options.items()]
        atheris.Setup([sys.argv[0], *arguments, str(corpus)], self.try_input, enable_python_coverage=True)
        atheris.Fuzz()


def _place(error: BaseException) -> str:
    """Kind of an error and the innermost lines of ours it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "site-packages" not in f.filename and "/tests/" not in f.filename] or frames
    return f"{type(error).__name__} in {Path(ours[-1].filename).name}:{ours[-1].name}:{ours[-1].lineno}"


def main() -> None:
    """Runs what the command line says."""
    name, source, number, seed, folder = sys.argv[1:]
    warnings.simplefilter("ignore")
    worker = Worker(name, source, int(number), int(seed), Path(folder))
    worker.by_hypothesis() if source == "hypothesis" else worker.by_coverage()
    worker.write()


if __name__ == "__main__":
    main()
