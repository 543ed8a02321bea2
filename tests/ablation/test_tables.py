"""Tables, plots and the page, from results made by hand."""

from __future__ import annotations

import csv
import html
import io
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ablation_files import ABLATION, write

from hdiff.ablation import Ablation, load_ablation
from hdiff.ablation.folder import find_ablation
from hdiff.ablation.page import ablation_page, write_ablation
from hdiff.ablation.plots import plots
from hdiff.ablation.results import (
    Figures,
    RunResult,
    _costs,
)
from hdiff.ablation.summary import Summary, as_json, summarise
from hdiff.ablation.table import csv_text, markdown, notes
from hdiff.recipe import to_yaml

THREE = ABLATION.replace("seeds: [0, 1]", "seeds: [0, 1, 2]").replace(
    "spans: {{}}", "spans: {{}}\n  deep: {{model.depth: 2}}\ncontrol_of: {{deep: spans}}"
)


def results_of(ablation: Ablation, changes: dict[str, Figures]) -> dict[str, RunResult]:
    """Every run done: bounds of 5 plus a hundredth per seed, 1000 inner parameters, 600 tokens."""
    found = {}
    for run in ablation.all_runs:
        figures: Figures = {("bound", None): 5 + run.seed / 100, ("structure", None): 0.0}
        figures |= {("L", t): 6 - t / 10 + run.seed / 100 for t in (1, 4)}
        figures |= {(key, t): float(t) for key in ("judge_nll", "nfe", "distinct_2") for t in (1, 4)}
        costs = {"parameters": 2000, "non_embedding": 1000, "tokens_seen": 600, "train_flops": 3.6e6}
        figures |= {(key, None): float(value) for key, value in {**costs, "train_seconds": 7}.items()}
        figures |= changes.get(run.variant, {})
        found[run.name] = RunResult(run, "done", None, figures, {"distinct_2": 0.5}, {"commit": "abc"})
    return found


def summary_of(tmp_path: Path, changes: dict[str, Figures], text: str = THREE) -> Summary:
    ablation = load_ablation(write(tmp_path, text))
    return summarise(ablation, results_of(ablation, changes))


def test_differences_are_paired_and_go_to_the_baseline_and_the_control(tmp_path: Path) -> None:
    """The noise of seeds, 0.01, is common; so a gap of 0.001 that every seed has is found."""
    ablation = load_ablation(write(tmp_path, THREE))
    results = results_of(ablation, {})
    for name, result in results.items():
        if name.startswith("deep"):
            result.figures["bound", None] -= 0.001 * (1 + result.run.seed / 10)
    found = {
        (c.variant, c.reference): c.difference
        for c in summarise(ablation, results).comparisons
        if c.figure == "bound"
    }
    assert found["deep", "tokens"].mean == pytest.approx(-0.0011)
    assert found["deep", "tokens"].verdict == found["deep", "spans"].verdict == "better"
    assert found["spans", "tokens"].verdict == "within noise"
    assert set(found) == {("spans", "tokens"), ("deep", "tokens"), ("deep", "spans")}


def test_variants_of_another_size_or_with_other_tokens_are_flagged(tmp_path: Path) -> None:
    changes: dict[str, Figures] = {
        "spans": {("non_embedding", None): 1019.0},
        "deep": {("non_embedding", None): 970.0, ("tokens_seen", None): 1200.0},
    }
    summary = summary_of(tmp_path, changes)
    assert summary.fairness["spans"] == ()
    assert summary.fairness["deep"] == ("non-embedding parameters -3.0 %", "tokens seen +100.0 %")
    row = next(line for line in markdown(summary).splitlines() if line.startswith("| deep | 0, 1, 2"))
    assert "not capacity-matched: non-embedding parameters -3.0 %" in row


def test_a_bound_given_structure_is_never_compared_with_the_others(tmp_path: Path) -> None:
    ablation = load_ablation(write(tmp_path, THREE))
    results = results_of(ablation, {"deep": {("conditional_bound", None): 1.0}})
    for result in results.values():
        if result.run.variant == "deep":
            del result.figures["bound", None]
    summary = summarise(ablation, results)
    assert not [c for c in summary.comparisons if c.variant == "deep" and c.figure == "bound"]
    assert "bound GIVEN STRUCTURE, not comparable" in markdown(summary)
    assert "deep" not in plots(summary)["bound"]
    assert "GIVEN STRUCTURE" not in markdown(summary_of(tmp_path, {}))


def test_failed_and_unfinished_runs_are_named_and_left_out(tmp_path: Path) -> None:
    ablation = load_ablation(write(tmp_path, THREE))
    results = results_of(ablation, {})
    states = {"deep-1": ("failed", "the loss is nan"), "deep-2": ("unfinished", "not trained yet")}
    for name, (state, reason) in states.items():
        results[name] = RunResult(results[name].run, state, reason, {}, {}, {})  # type: ignore[arg-type]
    summary = summarise(ablation, results)
    assert summary.failed == {"deep-1": "the loss is nan"}
    text = markdown(summary)
    assert "| deep | 0 (failed: 1) |" in text
    assert "FAILED deep-1: the loss is nan" in text
    assert "Not finished: deep-2 (not trained yet)." in text
    bound = next(c for c in summary.comparisons if c.variant == "deep" and c.figure == "bound")
    assert (bound.difference.seeds, bound.difference.verdict) == ((0,), "one seed")


def test_without_a_baseline_nobody_is_called_matched(tmp_path: Path) -> None:
    ablation = load_ablation(write(tmp_path, THREE))
    results = results_of(ablation, {})
    for name, result in results.items():
        if name.startswith("tokens"):
            results[name] = RunResult(result.run, "failed", "the loss is nan", {}, {}, {})
    summary = summarise(ablation, results)
    assert summary.fairness["spans"] is None
    assert as_json(summary)["variants"]["spans"]["not_matched"] is None
    row = next(line for line in markdown(summary).splitlines() if line.startswith("| spans | 0, 1, 2"))
    assert row.endswith("| not known: no run of tokens is finished |")


def test_the_page_says_how_to_go_on_with_overrides_and_all(tmp_path: Path) -> None:
    overrides = ["train.steps=9", f"output={tmp_path / 'my runs'}"]
    ablation = load_ablation(write(tmp_path, THREE), overrides)
    results = results_of(ablation, {})
    results["deep-2"] = RunResult(results["deep-2"].run, "unfinished", None, {}, {}, {})
    summary = summarise(ablation, results)
    command = f"hdiff ablate {tmp_path / 'small.yaml'} train.steps=9 'output={tmp_path / 'my runs'}'"
    assert ablation.command == command
    assert html.escape(command, quote=False) in ablation_page(summary).replace("&#39;", "'")
    ablation.output.mkdir()
    (ablation.output / "recipes").mkdir()
    for run in ablation.all_runs:
        (ablation.output / "recipes" / f"{run.name}.yaml").write_text(to_yaml(run.recipe))
    write_ablation(summary)
    assert find_ablation(ablation.output).command == command


def test_csv_holds_every_figure_of_every_run(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(summary_of(tmp_path, {})))))
    assert [(row["variant"], row["seed"]) for row in rows][:4] == [
        ("tokens", "0"), ("tokens", "1"), ("tokens", "2"), ("spans", "0")]  # fmt: skip
    assert [float(row["bound"]) for row in rows[:3]] == [5.0, 5.01, 5.02]
    assert float(rows[0]["L_4"]) == pytest.approx(5.6)


def test_markdown_shows_mean_and_deviation_and_says_what_is_an_estimate(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, {})
    text = markdown(summary)
    costs = "2,000 | 1,000 | 600 | 3.60e+06 | 7 | baseline |"
    assert f"| tokens | 0, 1, 2 | 5.010 ± 0.010 | 149.9 | 0.000 ± 0.000 | {costs}" in text
    assert "| held-out text | 0.500 | 0.500 |" in text
    assert any("FLOPs are an estimate" in note for note in notes(summary))
    assert "Commit: abc." in notes(summary)
    columns = [line.count(" | ") for line in text.splitlines() if line.startswith("| spans")]
    assert columns[0] == text.splitlines()[4].count(" | ")


def test_plots_are_xml_with_a_dot_for_every_seed(tmp_path: Path) -> None:
    drawn = plots(summary_of(tmp_path, {}))
    assert set(drawn) == {"bound", "t_step", "judge_nll"}
    dots = {
        name: len(ElementTree.fromstring(svg).findall("{http://www.w3.org/2000/svg}circle"))
        for name, svg in drawn.items()
    }
    assert dots["bound"] == 3 * 3
    assert dots["t_step"] == dots["judge_nll"] == 3 * 2 * (3 + 1)  # seeds and their mean, at two T
    assert "nan" not in "".join(drawn.values())


def test_the_page_needs_nothing_from_outside(tmp_path: Path) -> None:
    page = ablation_page(summary_of(tmp_path, {}))
    assert page.count("<svg") == 3
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_flops_count_the_clean_copy_of_block_diffusion(tmp_path: Path) -> None:
    blocks = THREE.replace("spans: {{}}", "spans: {{corruption: {{kind: block_masking, block_size: 4}}}}")
    ablation = load_ablation(write(tmp_path, blocks))
    record = {"parameters": {"total": 150, "trunk": 80, "head": 20, "embedding": 50}}
    flops = {}
    for run in ablation.all_runs:
        newest = run.path / "checkpoints" / "step-00000002"
        newest.mkdir(parents=True)
        (newest / "manifest.json").write_text("{}")
        (newest / "state.json").write_text('{"tokens_seen": 10, "train_seconds": 7.5}')
        costs = _costs(run, record)
        assert costs["train_seconds", None] == 7.5
        flops[run.variant] = costs["train_flops", None]
    assert flops["spans"] == 6 * (2 * 80 + 20) * 10
    assert flops["deep"] == 6 * (80 + 20) * 10


def test_tables_need_no_torch() -> None:
    modules = "hdiff.ablation, hdiff.ablation.table, hdiff.ablation.plots, hdiff.ablation.plan"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_perplexity_stands_beside_the_bound(tmp_path: Path) -> None:
    lines = markdown(summary_of(tmp_path, {"deep": {("bound", None): 3.0}})).splitlines()
    head = next(line for line in lines if line.startswith("| variant | seeds | bound"))
    place = head.split(" | ").index("perplexity per token (upper bound)")
    (deep,) = (line.split(" | ") for line in lines if line.startswith("| deep | 0, 1, 2 | "))
    assert deep[place - 1].startswith("3.000")
    assert deep[place] == "20.09"
