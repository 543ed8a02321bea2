"""The benchmark of adapted models: its tables are made from the figures alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_scripts import benchmark_script


def figures(bounds: dict[str, list[float]]) -> dict[str, Any]:
    """Figures of runs whose bounds are given, by system."""

    def run(bound: float) -> dict[str, Any]:
        return {
            "novels": {
                "bound": {"nats_per_token": bound},
                "t_step": {"1": bound + 0.5, "2": bound + 0.1},
                "t_step_stderr": {"1": 0.1, "2": 0.1},
            },
            "quality": {t: {"judge_nll": bound + 1, "judge_nll_stderr": 0.05} for t in ("1", "2")},
            "blimp": {"accuracy": 0.6, "stderr": 0.02},
            "cost": {"seconds": 50.0, "megabytes": 900.0, "tokens": 5000},
        }

    systems = {name: {str(n): run(bound) for n, bound in enumerate(own)} for name, own in bounds.items()}
    return {"data": ["novels"], "steps": [1, 2], "systems": systems}


def test_means_and_spread_over_seeds_are_tabulated() -> None:
    script = benchmark_script("adapt")
    made = script.tables(figures({"scratch": [6.0, 6.2], "joint_head": [5.0]}))
    assert "| 6.10 ± 0.14 | 6.20 ± 0.14 (2) | 6.60 ± 0.14 |" in made["bounds"]
    assert "| 1 | 5.00 | 5.10 (2) | 5.50 |" in made["bounds"]
    assert "| 6.00 ± 0.05 | 6.00 ± 0.05 | 60.0 ± 2.0 |" in made["quality"]
    assert "| 50 | 100 | 900 |" in made["costs"]


@pytest.mark.parametrize("name", ["bounds", "quality", "costs"])
def test_the_page_keeps_its_words(name: str) -> None:
    script = benchmark_script("adapt")
    page = f"before\n<!-- adapting {name} -->\nold\n<!-- end -->\nafter\n"
    found = figures({"scratch": [6.0]})
    new = script.renew(page, found)
    assert new.startswith(f"before\n<!-- adapting {name} -->\n| system |")
    assert new.endswith("<!-- end -->\nafter\n")
    assert "old" not in new
    assert script.renew(new, found) == new


def test_the_page_is_made_from_its_figures() -> None:
    script = benchmark_script("adapt")
    text = script.PAGE.read_text(encoding="utf-8")
    found = json.loads(script.PAGE.with_suffix(".json").read_text(encoding="utf-8"))
    assert script.renew(text, found) == text
    assert Path(script.PAGE).name == "adapting.md"
