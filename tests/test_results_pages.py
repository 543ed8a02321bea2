"""Tables of docs/results are made again from run folders, and nothing else on the pages changes."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from benchmark_scripts import benchmark_script


@pytest.fixture(scope="module")
def results() -> ModuleType:
    return benchmark_script("results")


def _runs(folder: Path, bounds: dict[str, float]) -> Path:
    for name, bound in bounds.items():
        run = folder / "corruption" / name
        run.mkdir(parents=True)
        (run / "run.json").write_text(json.dumps({"commit": "abc", "parameters": {"total": 1000}}))
        entry = {"nats_per_token": bound, "structure_nats_per_token": 0.25}
        (run / "eval.json").write_text(json.dumps({"bound": entry}))
    return folder


def test_every_marked_table_of_the_pages_can_be_made(results: ModuleType) -> None:
    names = [
        match[2]
        for page in results.PAGES.glob("*.md")
        for match in results.MARKED.finditer(page.read_text(encoding="utf-8"))
    ]
    assert names
    assert len(set(names)) == len(names)
    assert set(names) <= set(results.TABLES)


def test_a_table_is_made_of_the_runs_and_the_words_around_it_stay(
    results: ModuleType, tmp_path: Path
) -> None:
    runs = _runs(tmp_path, {"token-0": 5.0, "token-1": 5.2, "gaussian-0": 6.0, "gaussian-1": 6.4})
    page = "before\n<!-- table corruption -->\nold figures\n<!-- end -->\nafter\n"
    new, kept = results.renew(page, runs)
    assert kept == []
    assert new.startswith("before\n<!-- table corruption -->\n| system")
    assert new.endswith("<!-- end -->\nafter\n")
    assert "old figures" not in new
    row = next(line for line in new.splitlines() if "gaussian" in line and line.startswith("|"))
    assert "6.200 ± 0.283" in row  # mean and sd of 6.0 and 6.4
    assert "1.100 ± 0.141" in row  # paired: 1.0 and 1.2 above token masking
    assert "| abc | gaussian (0, 1), token (0, 1) |" in new
    assert results.renew(new, runs)[0] == new


def test_a_table_without_runs_stays_and_is_named(results: ModuleType, tmp_path: Path) -> None:
    page = "<!-- table corruption -->\nfigures\n<!-- end -->\n"
    new, kept = results.renew(page, tmp_path)
    assert new == page
    assert kept == [f"corruption: no runs in {tmp_path / 'corruption'}"]


def test_a_check_that_checked_nothing_does_not_pass(
    results: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["results.py", "--runs", str(tmp_path), "--check"])
    with pytest.raises(SystemExit) as found:
        results.main()
    assert found.value.code == 2
    assert (
        f"families.md: kept families: no runs in {tmp_path / 'ablations' / 'families'}"
        in capsys.readouterr().err
    )


def test_an_unknown_table_is_refused(results: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no table 'nothing' \(known: corruption"):
        results.renew("<!-- table nothing -->\n<!-- end -->", tmp_path)


def test_no_page_of_results_names_a_path_of_a_machine(results: ModuleType) -> None:
    for page in results.PAGES.glob("*.md"):
        assert not re.search(r"(?<![\w.])/(tmp|work|home|root)/", page.read_text(encoding="utf-8")), page


def test_an_ablation_fills_two_tables(results: ModuleType, tmp_path: Path) -> None:
    def figure(*values: float) -> dict[str, object]:
        mean = sum(values) / len(values)
        return {"mean": mean, "by_seed": {str(seed): value for seed, value in enumerate(values)}}

    costs = {"non_embedding": figure(1000, 1000), "train_flops": figure(6e6, 6e6), "structure": figure(0, 0)}
    judged = {"judge_nll": {"1": figure(6, 7)}, "unigram_entropy": {"1": figure(3.5, 3.5)}}
    gap = {"variant": "b", "reference": "a", "figure": "bound", "mean": -0.5, "low": -0.75, "high": -0.25}
    found = {
        "baseline": "a",
        "variants": {
            "a": {
                "seeds": [0, 1],
                "figures": {**costs, **judged, "bound": figure(5, 5.5), "L": {"1": figure(6, 6)}},
            },
            "b": {"seeds": [0, 1], "figures": {**costs, "bound": figure(4.5, 5)}},
            "c": {"seeds": [], "figures": {}},
        },
        "differences": [{**gap, "figure": "L"}, gap],
        "failed": {"c-0": "killed"},
        "unfinished": ["c-1"],
    }
    lines = results.ablation_table.markdown(found).splitlines()
    assert lines[2].startswith("| a | 2 | 5.250 ± 0.354 | 0.000 ± 0.000 |  | 6.000 ± 0.000 |")
    assert lines[3].startswith(
        "| b | 2 | 4.750 ± 0.354 | 0.000 ± 0.000 | -0.500 [-0.750, -0.250] |  |  |  | 1,000 | 6.00e+06 |"
    )
    assert lines[7:] == ["| a | 6.50 ± 0.71 (3.50) |  |  |", "", "Not run: c-0, c-1."]
    assert not any("| c |" in line for line in lines)
