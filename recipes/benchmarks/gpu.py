"""Everything that only a GPU can tell, in one command of at most nine minutes.

`python recipes/benchmarks/gpu.py --out runs/gpu` writes gpu.json and gpu.md after every row, so what was done
outlives the machine. `--page runs/gpu` makes docs/results/gpu.md of it. `--sizes tiny` rehearses it on a CPU.
Without `--data` it prepares the documents inside CPython, which need no network.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gpu_page
import throughput_loops
import torch
from throughput_loops import Case, Hdiff, Plain

import hdiff.layers.attention as attention_module
from hdiff.data.prepared import PreparedData
from hdiff.layers.attention import attention, available_backends
from hdiff.runs import provenance
from hdiff.samplers import AncestralSampler, hidden_rows
from hdiff.training.validation import validate

SIZES = {"tiny": (96, 2), "30M": (576, 8), "110M": (768, 12)}
"""Width and depth, by about the parameters of the trunk."""

SYSTEMS = {"token masking": "hdiff", "spans": "hdiff, random spans"}
"""The tournament's two, on text that nobody parsed."""

PLAIN = ("plain, padded to the longest", "plain, on packed rows")
throughput_loops.SYSTEMS["hdiff, random spans"] = {
    "corruption": {"kind": "span_masking", "segmentation": "random", "lengths": [1] * 16},
    "head": {"kind": "autoregressive"},
}

Row = dict[str, Any]


class Measurement:
    """What the parts share.

    Args:
        arguments: The command line.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.deadline = time.monotonic() + 60 * arguments.minutes

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.deadline - time.monotonic()

    def precisions(self) -> tuple[str, ...]:
        """Those that are measured."""
        return ("bf16", "fp32") if self.device.type == "cuda" else ("fp32",)

    def case(self, size: str, precision: str, *, is_compiled: bool = False) -> Case:
        """A size with a precision."""
        width, depth = SIZES[size]
        return Case(width, depth, precision, is_compiled)

    def loop(self, case: Case, system: str) -> Hdiff | Plain:
        """The training loop of a system."""
        shutil.rmtree(self.arguments.out / "unused", ignore_errors=True)
        return (Hdiff if system.startswith("hdiff") else Plain)(case, system, self.arguments)


def gpu_tests(run: Measurement) -> Iterator[Row]:
    """The tests that are marked `gpu`."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/models"]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=max(10.0, min(120.0, run.left)),
    )
    lines = (done.stdout + done.stderr).strip().splitlines()
    yield {"exit code": done.returncode, "last line": lines[-1] if lines else ""}


def backends(run: Measurement) -> Iterator[Row]:
    """Every backend of attention against the reference in float64, forward and gradients."""
    states = available_backends()
    for backend, state in states.items():
        if backend == "reference" or state != "ok":
            continue
        for dtype in (torch.float32, torch.bfloat16):
            for causal in (False, True):
                generator = torch.Generator().manual_seed(0)
                inputs = torch.randn(3, 2, 128, 4, 64, generator=generator).to(run.device)
                ours = inputs.to(dtype).clone().requires_grad_()
                exact = inputs.to(dtype).double().clone().requires_grad_()
                given = attention(*ours, causal=causal, backend=backend)
                right = attention(*exact, causal=causal, backend="reference")
                given.float().square().sum().backward()
                right.square().sum().backward()
                assert ours.grad is not None
                assert exact.grad is not None
                yield {
                    "backend": backend,
                    "type": str(dtype).removeprefix("torch."),
                    "causal": causal,
                    "error": float((given.double() - right).abs().max()),
                    "error of gradients": float((ours.grad.double() - exact.grad).abs().max()),
                }


def speed(loop: Hdiff | Plain, seconds: float) -> Row:
    """Tokens per second, use of the device and memory of a loop."""
    is_cuda = loop.parts.device.type == "cuda"
    for _ in range(3):
        loop.update()
    if is_cuda:
        torch.cuda.reset_peak_memory_stats()
    rates: list[float] = []
    began = loop.parts.now()
    while not rates or loop.parts.now() - began < seconds:
        before, turn = loop.real, loop.parts.now()
        for _ in range(3):
            loop.update()
        rates.append((loop.real - before) / (loop.parts.now() - turn))
    rate = statistics.median(rates)
    row = {"tokens/s": rate, "FLOP/s": 6 * loop.inner_parameters * rate}
    return {**row, "memory, MB": torch.cuda.max_memory_allocated() / 1e6} if is_cuda else row


def training(run: Measurement) -> Iterator[Row]:
    """Updates of both systems beside plain loops, with xformers or torch, compiled or not."""
    choices = ["torch", "xformers"] if available_backends()["xformers"] == "ok" else ["torch"]
    automatic = attention_module.select_backend
    for size in run.arguments.sizes:
        for precision in run.precisions():
            for is_compiled in (False, True) if run.device.type == "cuda" else (False,):
                for name in (*SYSTEMS, *PLAIN):
                    for backend in choices if name in SYSTEMS else ["torch"]:
                        case = run.case(size, precision, is_compiled=is_compiled)
                        row: Row = {
                            "size": size,
                            "precision": precision,
                            "system": name,
                            "attention": backend,
                        }
                        attention_module.select_backend = lambda device, chosen=backend: chosen
                        try:
                            loop = run.loop(case, SYSTEMS.get(name, name))
                            rate = speed(loop, run.arguments.seconds)
                        except Exception as error:  # one that does not run must not end the others
                            rate = {"problem": problem_of(error)}
                        finally:
                            attention_module.select_backend = automatic
                        yield {**row, "compiled": is_compiled, **rate}
                        if run.left < run.arguments.reserve:
                            return


def sampling(run: Measurement) -> Iterator[Row]:
    """Tokens per second that are written, untrained, which makes no difference to the time."""
    length = run.arguments.length
    for size in run.arguments.sizes:
        for name, system in SYSTEMS.items():
            loop = run.loop(run.case(size, "bf16" if run.device.type == "cuda" else "fp32"), system)
            assert isinstance(loop, Hdiff)
            model, corruption = loop.training.model.eval(), loop.training.corruption.unconditional()
            for steps in (1, 4, 16):
                taken = []
                for seed in range(4):
                    generator = torch.Generator(run.device).manual_seed(seed)
                    began = loop.parts.now()
                    AncestralSampler(steps).sample(
                        model,
                        corruption,
                        hidden_rows(model, run.arguments.rows, length),
                        generator=generator,
                    )
                    taken.append(loop.parts.now() - began)
                rate = run.arguments.rows * length / statistics.median(taken[1:])
                yield {"size": size, "system": name, "T": steps, "tokens/s": rate}


def tournament(run: Measurement) -> Iterator[Row]:
    """Both systems at the first size, trained for equal shares of the time that is left."""
    precision = run.precisions()[0]
    share = 0.9 * run.left / len(SYSTEMS)
    for name, system in SYSTEMS.items():
        loop = run.loop(run.case(run.arguments.sizes[0], precision), system)
        assert isinstance(loop, Hdiff)
        began = time.monotonic()
        while time.monotonic() - began < share * 0.9:
            loop.update()
        seconds = time.monotonic() - began
        training = loop.training
        blocks = training.data.blocks("validation", training.corruption.required_levels())
        average = training.state.average.model.eval()
        estimate = validate(average, blocks, training.corruption, training.recipe)
        yield {
            "system": name,
            "updates": loop.done,
            "tokens": loop.real,
            "seconds": seconds,
            "validation bound, nats/token": estimate.nats_per_token,
        }


PARTS: dict[str, Callable[[Measurement], Iterator[Row]]] = {
    "tests": gpu_tests,
    "backends": backends,
    "training": training,
    "sampling": sampling,
    "tournament": tournament,
}


def problem_of(error: BaseException) -> str:
    """One line of what was raised."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:160]}"


def prepare_data(folder: Path) -> Path:
    """Prepared documents that every machine has."""
    if not (folder / "manifest.json").exists():
        command = [sys.executable, "-m", "hdiff", "prepare", "builtin:pydoc", "--out", str(folder)]
        subprocess.run(
            [*command, "--parser", "plain", "--levels", "sentence", "--tokenizer", "train:2048", "-q"],
            check=True,
        )
    return folder


def save(out: Path, result: dict[str, Any]) -> None:
    """Writes what is known so far."""
    (out / "gpu.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "gpu.md").write_text(gpu_page.page(result))


def main() -> None:
    """Parses the command line, and measures one part after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--data", type=Path, help="folder of hdiff prepare")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["30M", "110M"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=8.5, help="when the last part ends")
    parser.add_argument(
        "--reserve", type=float, default=150.0, help="seconds kept for sampling and tournament"
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument(
        "--page", type=Path, metavar="FOLDER", help="only make docs/results/gpu.md of a folder"
    )
    arguments = parser.parse_args()
    if arguments.page is not None:
        gpu_page.write(arguments.page / "gpu.json")
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    run = Measurement(arguments)
    device = torch.cuda.get_device_name() if run.device.type == "cuda" else "CPU"
    result: dict[str, Any] = {"device": device, "command": sys.argv[1:], **provenance.facts(), "parts": {}}
    save(arguments.out, result)
    arguments.data = arguments.data or prepare_data(arguments.out / "data")
    result["vocabulary"] = PreparedData.load(arguments.data).tokenizer.vocab_size
    for name in arguments.parts:
        rows: list[Row] = []
        part = result["parts"][name] = {"rows": rows}
        began = time.monotonic()
        try:
            for row in PARTS[name](run) if run.left > 5 else ():
                rows.append(row)
                print(name, row, flush=True)
                save(arguments.out, result)
        except Exception as error:  # the next parts may run
            traceback.print_exc()
            part["problem"] = problem_of(error)
        part["seconds"] = time.monotonic() - began
        save(arguments.out, result)


if __name__ == "__main__":
    main()
