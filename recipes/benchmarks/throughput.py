"""Training speed: hdiff's update against a plain PyTorch loop with padded rows, in turns, in one run.

`python recipes/benchmarks/throughput.py --data data/pydoc --out runs/throughput` writes throughput.json and
throughput.md. The plain loop is what one writes by hand: `nn.TransformerEncoder` of the same width and depth,
a piece of one document per row, padded; scores of all positions, loss on the masked ones; AdamW, no averaging
of weights. Both read the same documents; only real tokens count (end marks included, padding not). On a busy
machine ratios mean something and absolute numbers do not, so all systems take turns.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from throughput_loops import SYSTEMS, Case, Hdiff, Parts, Plain

from hdiff.ablation.results import FLOPS_PER_PARAMETER_AND_TOKEN
from hdiff.runs import provenance

SIZES = {"tiny": (192, 4), "small": (384, 6), "medium": (512, 8)}
"""Width and depth by name."""

PARTS = ("data", "corruption", "trunk", "head and loss", "backward", "optimizer and rest")
REFERENCE = "plain, padded to the longest"


def build(case: Case, system: str, arguments: argparse.Namespace) -> Hdiff | Plain:
    """The loop of a system."""
    return (Hdiff if system.startswith("hdiff") else Plain)(case, system, arguments)


def peak_flops(precision: str, parts: Parts, size: int = 1024) -> float:
    """FLOP/s of the best of a few products of large matrices."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    matrix = torch.randn(size, size, device=parts.device, dtype=dtype)
    best = float("inf")
    for _ in range(4):
        began = parts.now()
        _ = matrix @ matrix
        best = min(best, parts.now() - began)
    return 2 * size**3 / best


def measure(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    """Figures of every system in one case."""
    loops = {system: build(case, system, arguments) for system in arguments.systems}
    rates: dict[str, list[float]] = {system: [] for system in loops}
    peaks = []
    for repeat in range(arguments.repeats + 1):
        for system, loop in loops.items():
            if repeat == 1:
                loop.real = loop.positions = 0
            before, began = loop.real, loop.parts.now()
            for _ in range(arguments.steps):
                loop.update()
            rates[system].append((loop.real - before) / (loop.parts.now() - began))
        peaks.append(peak_flops(case.precision, loop.parts))
    figures = {}
    peak = statistics.median(peaks[1:])
    for system, loop in loops.items():
        kept = rates[system][1:]  # the first turn warms up
        ratios = [one / other for one, other in zip(kept, rates[arguments.reference][1:], strict=True)]
        flops = FLOPS_PER_PARAMETER_AND_TOKEN * loop.inner_parameters
        figures[system] = {
            "tokens_per_second": statistics.median(kept),
            "ratio": statistics.median(ratios),
            "ratio_lowest": min(ratios),
            "ratio_highest": max(ratios),
            "padding": 1 - loop.real / loop.positions,
            "inner_parameters": loop.inner_parameters,
            "utilisation": statistics.median(kept) * flops / peak,
            "shares": shares(loop, arguments.steps),
        }
    return {"case": case.name, "peak_flops": peak, "systems": figures}


def shares(loop: Hdiff | Plain, steps: int) -> dict[str, float]:
    """Share of an update's time that each part takes, from updates of their own."""
    loop.parts.is_on = True
    for _ in range(steps):
        loop.update()
    loop.parts.is_on = False
    taken = loop.parts.seconds
    inside = taken["trunk"] + (taken["corruption"] if isinstance(loop, Hdiff) else 0.0)
    seconds = {
        "data": taken["data"],
        "corruption": taken["corruption"],
        "trunk": taken["trunk"],
        "head and loss": taken["forward"] - inside,
        "backward": taken["backward"],
    }
    seconds["optimizer and rest"] = taken["update"] - sum(seconds.values())
    return {part: seconds[part] / taken["update"] for part in PARTS}


def peak_memory(case: Case, system: str, arguments: argparse.Namespace) -> float:
    """Megabytes that three updates need at most, in a process of their own (on CUDA: of the device)."""
    given = [f"--{name}={getattr(arguments, name)}" for name in ("data", "out", "length", "rows", "threads")]
    size = f"--sizes={case.width}x{case.depth}"
    command = [sys.executable, __file__, *given, size, f"--precisions={case.precision}", "--alone", system]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def alone(case: Case, arguments: argparse.Namespace) -> float:
    """What `peak_memory` asks its process for."""
    loop = build(case, arguments.alone, arguments)
    for _ in range(3):
        loop.update()
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def compiler_problem() -> str | None:
    """Why torch.compile cannot be used here; None if it can."""
    try:
        torch.compile(torch.nn.Linear(8, 8))(torch.zeros(1, 8))
    except Exception as error:  # whatever its tools raise
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
    return None


def tables(result: dict[str, Any]) -> str:
    """Everything as Markdown."""
    lines = [result["settings"], ""]
    for case in result["cases"]:
        lines += [
            f"**{case['case']}** (peak of a matrix product: {case['peak_flops'] / 1e9:.0f} GFLOP/s)",
            "",
            "| system | tokens/s | ratio (lowest to highest) | padding | utilisation | peak memory, MB | "
            + " | ".join(PARTS)
            + " |",
            "|---|" + "---|" * (5 + len(PARTS)),
        ]
        for name, row in case["systems"].items():
            cells = [
                f"{row['tokens_per_second']:.0f}",
                f"{row['ratio']:.2f} ({row['ratio_lowest']:.2f} to {row['ratio_highest']:.2f})",
                f"{100 * row['padding']:.1f} %",
                f"{100 * row['utilisation']:.0f} %",
                f"{row['memory']:.0f}" if "memory" in row else "",
                *[f"{100 * row['shares'][part]:.1f} %" for part in PARTS],
            ]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines + result["skipped"])


def main() -> None:
    """Parses the command line, measures, and writes both files after every case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/pydoc"), help="folder of hdiff prepare")
    parser.add_argument("--out", type=Path, default=Path("runs/throughput"))
    parser.add_argument("--sizes", default="tiny,small", help=f"names or WIDTHxDEPTH; names: {SIZES}")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--compile", choices=("no", "yes", "both"), default="no")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--reference", choices=SYSTEMS, default=REFERENCE)
    parser.add_argument("--length", type=int, default=128, help="tokens of a row")
    parser.add_argument("--rows", type=int, default=16, help="rows of an update")
    parser.add_argument("--steps", type=int, default=3, help="updates in a turn")
    parser.add_argument(
        "--repeats", type=int, default=5, help="turns of each system, after one that does not count"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: time of this process")
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory")
    parser.add_argument("--alone", choices=SYSTEMS, help="only print the peak memory of one system")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shutil.rmtree(arguments.out / "unused", ignore_errors=True)
    sizes = [SIZES[s] if s in SIZES else tuple(map(int, s.split("x"))) for s in arguments.sizes.split(",")]
    cases = [
        Case(size[0], size[1], precision, False)
        for size in sizes
        for precision in arguments.precisions.split(",")
    ]
    if arguments.alone:
        print(alone(cases[0], arguments))
        return
    problem = None if arguments.compile == "no" else compiler_problem()
    skipped = [] if problem is None else [f"torch.compile was skipped: {problem}"]
    if arguments.compile != "no" and problem is None:
        compiled = [Case(c.width, c.depth, c.precision, True) for c in cases]
        cases = compiled if arguments.compile == "yes" else cases + compiled
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    settings = (
        f"{arguments.rows} rows of {arguments.length} tokens, {device}, {arguments.threads} threads, "
        f"{arguments.clock} clock, {arguments.repeats} turns of {arguments.steps} updates; ratios against "
        f"'{arguments.reference}', median of turns."
    )
    result = {"settings": settings, **provenance.facts(), "skipped": skipped, "cases": []}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for case in cases:
        measured = measure(case, arguments)
        if not arguments.no_memory and not case.is_compiled:
            for system, figures in measured["systems"].items():
                figures["memory"] = peak_memory(case, system, arguments)
        result["cases"].append(measured)
        (arguments.out / "throughput.json").write_text(json.dumps(result, indent=1))
        (arguments.out / "throughput.md").write_text(tables(result) + "\n")
        print(tables({**result, "cases": [measured]}), flush=True)


if __name__ == "__main__":
    main()
