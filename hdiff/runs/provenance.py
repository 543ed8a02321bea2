"""Provenance: commit, versions and machine, recorded with every result."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("hdiff", "torch", "spacy", "benepar", "nltk", "xformers", "accelerate", "datasets", "tokenizers")
COMMIT_FILE = "commit.txt"
"""File of the package in which `setup.py` notes the commit."""


def commit() -> str | None:
    """Commit hdiff runs from or was built from, with `+changes` if files differ; None if unknown."""
    package = Path(__file__).resolve().parents[1]
    if (package.parent / ".git").exists():
        try:
            head = _git(package.parent, "rev-parse", "--short=12", "HEAD")
            changes = _git(package.parent, "status", "--porcelain", "--untracked-files=no")
        except (OSError, subprocess.SubprocessError):
            return None
        return head + ("+changes" if changes else "")
    try:
        return (package / COMMIT_FILE).read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def _git(root: Path, *words: str) -> str:
    """What git says of a checkout, whoever owns it and whichever repository the environment names."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-c", "safe.directory=*", *words]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages of the design card."""
    numbers = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            numbers[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return numbers


def machine() -> dict[str, str | int]:
    """System, processor and cores; no host name."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        processor = names[0].partition(":")[2].strip() if names else processor
    return {"system": platform.system(), "processor": processor, "cores": os.cpu_count() or 1}


def facts() -> dict[str, Any]:
    """When, from which commit, with which versions and on which machine something was made."""
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
    }
