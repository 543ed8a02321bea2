"""Doctor: what works on this machine, found out by trying it, and what to do about the rest."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal

from hdiff.plugins import install_command

if TYPE_CHECKING:
    import torch
    from rich.console import Console

Status = Literal["ok", "missing", "broken", "n/a"]

MIN_FREE_GB = 2.0
"""Free disk space a training run should find, in gigabytes."""

OPTIONAL = (
    ("accelerate", "train", "training"),
    ("datasets", "train", "hdiff prepare"),
    ("tensorboard", "train", "the tensorboard tracker"),
    ("nltk", "nltk", "collocations and nltk.Tree"),
    ("py3langid", "spacy", "telling languages, --parser auto"),
    ("benepar", "benepar", "the benepar parser"),
    ("ray", "ray", "hdiff prepare --engine ray"),
    ("datatrove", "datatrove", "hdiff prepare --engine datatrove"),
    ("transformers", "benepar", "tokenizers by name and benepar"),
)
"""Optional packages: name, the extra that installs it, what it is for."""

SENTENCE = "The old fisherman mended his nets before the storm came."


@dataclass(frozen=True)
class Probe:
    """The outcome of one trial.

    Attributes:
        name: What was tried.
        status: `ok`; `missing` (not installed); `broken` (installed, fails); `n/a` (not for this machine).
        detail: What was found.
        remedy: What to do about it, or an empty string.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""


def diagnose() -> list[Probe]:
    """Tries everything hdiff can use, in the order to print; a missing optional package is no error."""
    probes: tuple[tuple[str, Callable[[], Iterator[Probe]]], ...] = (
        ("python", _python),
        ("disk", _disk),
        ("torch", _torch),
        ("attention", _attention),
        ("spacy", _spacy),
        ("packages", _packages),
    )
    checks: list[Probe] = []
    for name, probe in probes:
        try:
            checks.extend(probe())
        except Exception as error:
            checks.append(
                Probe(name, "broken", _one_line(error), "reinstall hdiff and its dependencies; see above")
            )
    return checks


def is_healthy(checks: Sequence[Probe]) -> bool:
    """Whether nothing that is installed fails."""
    return all(check.status != "broken" for check in checks)


def render(checks: Sequence[Probe], console: Console) -> None:
    """Prints checks as a table, and the remedies below it."""
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "missing": "yellow", "broken": "red", "n/a": "dim"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("check", "status", "found"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        table.add_row(Text(check.name), Text(check.status, style=colours[check.status]), Text(check.detail))
    console.print(table)
    for check in checks:
        if check.remedy:
            console.print(
                Text.assemble("\n", (check.name, "bold"), ": ", check.remedy), end="", soft_wrap=True
            )
    if any(check.remedy for check in checks):
        console.print()


def _python() -> Iterator[Probe]:
    yield Probe("python", "ok", f"{platform.python_version()}, {platform.system()} {platform.machine()}")


def _disk() -> Iterator[Probe]:
    free = shutil.disk_usage(".").free / 1e9
    if free >= MIN_FREE_GB:
        yield Probe("disk", "ok", f"{free:.0f} GB free in the current folder")
    else:
        remedy = f"free some space, or work in another folder: a run wants {MIN_FREE_GB:.0f} GB"
        yield Probe("disk", "broken", f"{free:.1f} GB free in the current folder", remedy)


def _torch() -> Iterator[Probe]:
    imported = _try_import("torch", "pip install 'torch>=2.5'")
    yield imported
    if imported.status != "ok":
        return
    import torch

    yield Probe("cpu", "ok", f"{torch.get_num_threads()} threads of {os.cpu_count()} cores")
    yield _bf16("cpu", torch.device("cpu"))
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
        yield Probe("cuda", "n/a", f"no CUDA device (torch is {built}); everything runs on the CPU")
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        total = float(torch.ones(1000, device=f"cuda:{index}").sum())
        detail = f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"
        remedy = "" if total == 1000.0 else "the device computes wrong sums: check driver and hardware"
        yield Probe(f"cuda:{index}", "broken" if remedy else "ok", detail, remedy)
        yield _bf16(f"cuda:{index}", torch.device("cuda", index))


def _bf16(name: str, device: torch.device) -> Probe:
    """Times a matrix product in bf16 against fp32."""
    import torch

    def seconds(dtype: torch.dtype) -> float:
        matrix = torch.randn(512, 512).to(device, dtype)
        best = float("inf")
        for _ in range(4):
            start = time.perf_counter()
            float((matrix @ matrix)[0, 0])  # reading a value waits for the device
            best = min(best, time.perf_counter() - start)
        return best

    factor = seconds(torch.float32) / seconds(torch.bfloat16)
    if factor >= 0.8:
        return Probe(
            f"bf16 on {name}", "ok", f"a matrix product takes {1 / factor:.2g} times as long as in fp32"
        )
    return Probe(f"bf16 on {name}", "n/a", f"{1 / factor:.0f} times slower than fp32 here; train in fp32")


def _attention() -> Iterator[Probe]:
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    from hdiff.layers.attention import available_backends, explain_backend

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    yield Probe("attention", "ok", explain_backend(device))
    for backend, outcome in available_backends().items():
        name = f"attention: {backend}"
        if outcome == "ok":
            yield Probe(name, "ok", "agrees with the reference")
        elif outcome.startswith("not installed"):
            yield Probe(name, "missing", "not installed", f"optional: {outcome.partition('; ')[2]}")
        elif "CUDA only" in outcome:
            yield Probe(name, "n/a", outcome)
        else:
            remedy = "use the torch backend, or reinstall this one for the torch you have"
            yield Probe(name, "broken", outcome, remedy)


def _spacy() -> Iterator[Probe]:
    imported = _try_import("spacy", f"optional, for parsing: {install_command('spacy')}")
    yield imported
    if imported.status != "ok":
        return
    import spacy

    models = sorted(spacy.util.get_installed_models())
    if not models:
        remedy = f"{install_command('spacy')}, or any spaCy model with a dependency parser"
        yield Probe("spacy model", "missing", "no model is installed", remedy)
    for model in models:
        yield _parse_with(model)


def _parse_with(model: str) -> Probe:
    from hdiff.parsers import load_parser

    name = f"spacy model {model}"
    start = time.perf_counter()
    try:
        (tree,) = load_parser(f"spacy:{model}").parse([SENTENCE])
    except Exception as error:
        return Probe(name, "broken", _one_line(error), f"reinstall it: pip install --force-reinstall {model}")
    seconds = time.perf_counter() - start
    if not tree.at("phrase"):
        return Probe(name, "n/a", "loads, but finds no phrases: it has no dependency parser")
    return Probe(name, "ok", f"loaded and parsed a sentence into {len(tree.spans)} spans in {seconds:.1f} s")


def _packages() -> Iterator[Probe]:
    for package, extra, purpose in OPTIONAL:
        yield _try_import(package, f"optional, for {purpose}: {install_command(extra)}")


def _try_import(package: str, remedy: str) -> Probe:
    """Imports a package and reports `ok` with its version, `missing`, or `broken` with the error."""
    if importlib.util.find_spec(package) is None:
        return Probe(package, "missing", "not installed", remedy)
    try:
        importlib.import_module(package)
        return Probe(package, "ok", metadata.version(package))
    except Exception as error:
        return Probe(package, "broken", _one_line(error), remedy)


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
