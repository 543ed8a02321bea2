"""Scripts of recipes/benchmarks, imported by tests as they import each other."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from shared_models import CHECKOUT

BENCHMARKS = CHECKOUT / "recipes" / "benchmarks"


def benchmark_script(name: str) -> ModuleType:
    """A script as a module; its siblings are found while it is imported."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))
