"""Ablations: resolved before anything is trained, kept when started again, and summarised honestly."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any
from xml.etree import ElementTree

import pytest

from hdiff.ablation import Ablation, load_ablation
from hdiff.ablation.checks import check_ablation
from hdiff.ablation.page import ablation_page
from hdiff.ablation.plots import plots
from hdiff.ablation.results import (
    Figures,
    RunResult,
    _train_seconds,
    check_folders,
    is_evaluated,
    judge_weights,
    read_results,
)
from hdiff.ablation.runs import run_ablation
from hdiff.ablation.statistics import paired_difference, t_quantile
from hdiff.ablation.summary import Summary, as_json, summarise
from hdiff.ablation.table import csv_text, markdown, notes
from hdiff.cli import run as hdiff
from hdiff.errors import DataError, RecipeError
from hdiff.recipe import differences, load_recipe

CHECKOUT = Path(__file__).resolve().parents[1]
SHIPPED = sorted((CHECKOUT / "recipes" / "ablations").glob("*.yaml"))

BASE = """
name: base
output: runs/base
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6}}
model: {{width: 16, depth: 1, num_heads: 2}}
corruption: {{kind: span_masking, segmentation: random, level: phrase, lengths: corpus}}
train: {{steps: 3, batch_size: 4, warmup_steps: 1, ema_decay: 0.5, log_every: 1, checkpoint_every: 100}}
evaluation: {{steps: [1, 4], blocks: 8, draws: 1, samples: 2}}
"""
JUDGE = BASE.replace("corruption: {{", "# {{").replace("width: 16", "kind: autoregressive, width: 16")
ABLATION = """
name: small
base: base.yaml
output: {output}
seeds: [0, 1]
set: {{train.steps: 8}}
judge: {{recipe: judge.yaml, set: {{model.depth: 2}}}}
baseline: tokens
variants:
  tokens: {{corruption: {{kind: token_masking}}}}
  spans: {{}}
"""


def write(folder: Path, text: str = ABLATION, *, data: object = "data/none") -> Path:
    """An ablation file with its base and its judge."""
    (folder / "base.yaml").write_text(BASE.format(data=data))
    (folder / "judge.yaml").write_text(JUDGE.format(data=data))
    file = folder / "small.yaml"
    file.write_text(text.format(output=folder / "out"))
    return file


# --- What a file says -------------------------------------------------------------------------------------


def test_every_variant_is_resolved_with_every_seed(tmp_path: Path) -> None:
    ablation = load_ablation(write(tmp_path))
    assert [run.name for run in ablation.runs] == ["tokens-0", "spans-0", "tokens-1", "spans-1"]
    for run in ablation.runs:
        assert run.path == tmp_path / "out" / run.name
        assert (run.recipe.seed, run.recipe.resume, run.recipe.train.steps) == (run.seed, "auto", 8)
    assert ablation.changes("spans")["corruption.kind"] == "span_masking"
    assert ablation.changes("tokens") == {}


def test_the_judge_takes_from_set_what_judges_have(tmp_path: Path) -> None:
    text = ABLATION.replace("train.steps: 8", "train.steps: 8, model.width: 32, head: {{kind: crf}}")
    judge = load_ablation(write(tmp_path, text)).judge
    assert judge is not None
    assert judge.recipe.train.steps == 8
    assert (judge.recipe.model.width, judge.recipe.model.depth) == (16, 2)
    assert judge.recipe.head == {"kind": "product"}
    assert judge.name == "judge-0"


def test_patches_keep_numbers_with_exponents_and_nested_values(tmp_path: Path) -> None:
    text = ABLATION.replace(
        "spans: {{}}", "spans: {{train.learning_rate: 3e-4, corruption.lengths: {{4: 1.0}}}}"
    )
    recipe = load_ablation(write(tmp_path, text)).variants["spans"]
    assert recipe.train.learning_rate == 3e-4
    assert recipe.corruption["lengths"] == {4: 1.0}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "baseline:",
            "baselin: x\nbaseline:",
            r"no key 'baselin' in the ablation; did you mean 'baseline'\?",
        ),
        (
            "judge: {{recipe",
            "judge: {{recipes: a, recipe",
            r"no key 'recipes' in judge; did you mean 'recipe'",
        ),
        ("train.steps: 8", "train.stpes: 6", r"no key 'stpes' in train; did you mean 'steps'\?"),
        ("spans: {{}}", "spans: {{model.widht: 8}}", r"variant 'spans' .*did you mean 'width'"),
        ("spans: {{}}", "spans: {{model.width: wide}}", "model.width is 'wide'"),
        ("spans: {{}}", "spans: {{seed: 3}}", "variant 'spans' .* patches 'seed'; the ablation sets it"),
        ("spans: {{}}", "spans: {{a=b: 3}}", "write a dotted key"),
        ("spans: {{}}", "spans:", "variants.spans is None"),
        ("spans: {{}}", "spans: {{}}\n  more: {{}}", "'spans' and 'more' resolve to the same recipe"),
        ("spans: {{}}", "../spans: {{}}", r"variant '../spans' names a folder"),
        ("spans: {{}}", "Tokens: {{}}", "differ in more than case"),
        ("spans: {{}}", "judge: {{}}", "'judge' is taken"),
        (
            "baseline: tokens",
            "baseline: token",
            r"baseline is 'token', which is no variant; did you mean 'tok",
        ),
        ("baseline: tokens", "baseline: tokens\ncontrol_of: {{spans: word}}", r"control_of.spans is 'word'"),
        ("baseline: tokens", "baseline: tokens\ncontrol_of: {{spans: spans}}", "its own control"),
        ("seeds: [0, 1]", "seeds: []", "seeds is empty; give at least one"),
        ("seeds: [0, 1]", "seeds: [0, 0]", "give each once"),
        ("seeds: [0, 1]", "seeds: [-1]", "greater than or equal to 0"),
        ("base: base.yaml", "base: none.yaml", r"base of .*no recipe .*none.yaml; give a .yaml file"),
        ("recipe: judge.yaml", "recipe: base.yaml", "a judge is autoregressive"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert ABLATION.count(old) == 1
    with pytest.raises(RecipeError, match=message):
        load_ablation(write(tmp_path, ABLATION.replace(old, new)))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("patch", "error", "message"),
    [
        ("corruption.segmentatoin: random", RecipeError, "'spans' .*did you mean 'segmentation'"),
        ("head: {{kind: produkt}}", RecipeError, "did you mean 'product'"),
        ("evaluation.sampler: {{kind: planed}}", RecipeError, "did you mean 'planned'"),
        ("corruption.level: sentence", DataError, "re-run hdiff prepare with --levels sentence"),
        (
            "data.path: data/none",
            DataError,
            "data/none does not exist .*hdiff prepare SOURCE --out data/none",
        ),
    ],
)
def test_components_and_data_are_tried_before_anything_is_trained(
    tmp_path: Path, prepared_folder: Path, patch: str, error: type[Exception], message: str
) -> None:
    file = write(tmp_path, ABLATION.replace("spans: {{}}", f"spans: {{{{{patch}}}}}"), data=prepared_folder)
    with pytest.raises(error, match=message):
        check_ablation(load_ablation(file))


def test_plan_prints_what_differs_and_trains_nothing(
    tmp_path: Path, prepared_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, ABLATION.replace("spans: {{}}", "deep: {{model.depth: 2}}"), data=prepared_folder)
    assert hdiff(["ablate", str(file), "--plan", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert [run["run"] for run in planned["runs"]] == ["judge-0", "tokens-0", "deep-0", "tokens-1", "deep-1"]
    assert planned["variants"]["deep"]["changes"]["model.depth"] == 2
    assert planned["variants"]["deep"]["not_matched"][0].startswith("non-embedding parameters +")
    assert planned["variants"]["tokens"]["not_matched"] == []
    assert not (tmp_path / "out").exists()
    assert hdiff(["ablate", str(write(tmp_path)), "--plan"]) == 0
    said = capsys.readouterr()
    assert "5 of 5 runs to do" in said.out
    assert "hdiff prepare SOURCE --out data/none" in said.err


def test_a_missing_file_number_of_jobs_or_launcher_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hdiff(["ablate", str(tmp_path / "none.yaml")]) == 2
    assert "recipes/ablations/ are a start" in capsys.readouterr().err
    assert hdiff(["ablate", str(write(tmp_path)), "--table"]) == 2
    assert "train them: hdiff ablate" in capsys.readouterr().err
    ablation = load_ablation(write(tmp_path))
    with pytest.raises(RecipeError, match="at least 1"):
        run_ablation(ablation, jobs=0)
    with pytest.raises(RecipeError, match=r"'no-such-command --fast' is not installed; pip install"):
        run_ablation(ablation, launcher="no-such-command --fast")


# --- Shipped ablations ------------------------------------------------------------------------------------


def test_there_are_the_ablations_the_docs_name() -> None:
    names = {path.stem for path in SHIPPED}
    wanted = {"levels", "heads", "units", "salience_order", "typed_masks", "planner", "span_length"}
    assert names == {*wanted, "model_size"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_variants_build_and_differ_in_nothing_but_their_patches(
    path: Path, prepared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pydoc").symlink_to(prepared_folder)
    monkeypatch.chdir(tmp_path)
    ablation = load_ablation(path)
    header = path.read_text(encoding="utf-8").split("\nname:")[0]
    assert all(line.startswith("# ") for line in header.splitlines())
    assert all(word in header for word in ("Shows:", "Before:", "Takes:", "Run: hdiff ablate recipes/abl"))
    check_ablation(ablation)
    values = load_recipe_values(path)
    plain = load_recipe(path.parent / values["base"])
    for variant, recipe in ablation.variants.items():
        patched = {*values.get("set", {}), *ablation.patches[variant], "name", "output", "resume", "seed"}
        for key in differences(plain, recipe):
            assert any(key == patch or key.startswith(f"{patch}.") for patch in patched), (variant, key)


def load_recipe_values(path: Path) -> dict[str, Any]:
    from hdiff.recipe import parse_yaml

    values: dict[str, Any] = parse_yaml(path.read_text(encoding="utf-8"), where=str(path))
    return values


def test_levels_compares_models_of_equal_size(
    prepared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pydoc").symlink_to(prepared_folder)
    monkeypatch.chdir(tmp_path)
    sizes = check_ablation(load_ablation(CHECKOUT / "recipes/ablations/levels.yaml")).parameters
    inner = {variant: size["total"] - size["embedding"] for variant, size in sizes.items()}
    assert inner["phrases"] == inner["random_spans"] == inner["clauses"]
    assert abs(inner["phrases"] / inner["tokens"] - 1) < 0.02


# --- Statistics -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "degrees", "published"),
    [
        (0.95, 1, 12.706),
        (0.95, 2, 4.303),
        (0.95, 3, 3.182),
        (0.95, 9, 2.262),
        (0.99, 4, 4.604),
        (0.9, 30, 1.697),
    ],
)
def test_t_quantiles_are_those_of_printed_tables(level: float, degrees: int, published: float) -> None:
    assert t_quantile(level, degrees) == pytest.approx(published, abs=5e-4)


def test_t_quantiles_fall_to_the_normal_one() -> None:
    values = [t_quantile(0.95, degrees) for degrees in range(1, 40)]
    assert values == sorted(values, reverse=True)
    assert t_quantile(0.95, 20000) == pytest.approx(NormalDist().inv_cdf(0.975), abs=2e-4)


def test_paired_difference_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, sd 1, t 4.3027, so 2 ± 4.3027 / sqrt(3)."""
    gap = paired_difference({0: 5.0, 1: 7.0, 2: 9.0, 8: 1.0}, {2: 6.0, 0: 4.0, 1: 5.0, 9: 1.0})
    assert gap is not None
    assert gap.seeds == (0, 1, 2)
    assert gap.mean == pytest.approx(2.0)
    assert (gap.low, gap.high) == (pytest.approx(-0.48414, abs=1e-4), pytest.approx(4.48414, abs=1e-4))
    assert gap.verdict == "within noise"


def test_verdicts_follow_the_interval() -> None:
    zero = {0: 0.0, 1: 0.0, 2: 0.0}
    for sign, verdict in ((-1, "better"), (1, "worse")):
        gap = paired_difference({0: 1.0 * sign, 1: 1.1 * sign, 2: 0.9 * sign}, zero)
        assert gap is not None
        assert gap.verdict == verdict
    equal, single = paired_difference(zero, zero), paired_difference({0: -5.0}, zero)
    assert equal is not None
    assert equal.verdict == "within noise"
    assert single is not None
    assert (single.low, single.verdict) == (None, "one seed")
    assert paired_difference({5: 1.0}, zero) is None


# --- Tables and plots from results made by hand -----------------------------------------------------------

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
    for name, state, reason in (("deep-1", "failed", "the loss is nan"), ("deep-2", "unfinished", None)):
        results[name] = RunResult(results[name].run, state, reason, {}, {}, {})  # type: ignore[arg-type]
    summary = summarise(ablation, results)
    assert summary.failed == {"deep-1": "the loss is nan"}
    text = markdown(summary)
    assert "| deep | 0 (failed: 1) |" in text
    assert "FAILED deep-1: the loss is nan" in text
    assert "Not finished: deep-2." in text
    bound = next(c for c in summary.comparisons if c.variant == "deep" and c.figure == "bound")
    assert (bound.difference.seeds, bound.difference.verdict) == ((0,), "one seed")


def test_csv_holds_every_figure_of_every_run(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(summary_of(tmp_path, {})))))
    assert [(row["variant"], row["seed"]) for row in rows][:4] == [
        ("tokens", "0"), ("tokens", "1"), ("tokens", "2"), ("spans", "0")]  # fmt: skip
    assert [float(row["bound"]) for row in rows[:3]] == [5.0, 5.01, 5.02]
    assert float(rows[0]["L_4"]) == pytest.approx(5.6)


def test_markdown_shows_mean_and_deviation_and_says_what_is_an_estimate(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, {})
    text = markdown(summary)
    assert (
        "| tokens | 0, 1, 2 | 5.010 ± 0.010 | 0.000 ± 0.000 | 2,000 | 1,000 | 600 | 3.60e+06 | 7 | baseline |"
        in text
    )
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


def test_training_seconds_add_up_over_resumed_parts(tmp_path: Path) -> None:
    lines = [{"step": i, "seconds": s} for i, s in enumerate((1.0, 2.0, 0.5, 1.5))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert _train_seconds(tmp_path) == pytest.approx(2.0 + 1.5)


def test_tables_need_no_torch() -> None:
    modules = "hdiff.ablation, hdiff.ablation.table, hdiff.ablation.plots, hdiff.ablation.plan"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


# --- Real runs --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variants, two seeds and a judge, trained and evaluated by the command."""
    file = write(tmp_path_factory.mktemp("ablation"), data=prepared_folder)
    assert hdiff(["ablate", str(file), "--jobs", "2", "--quiet"]) == 0
    return file


@pytest.fixture
def unchanged(finished: Path) -> Iterator[Path]:
    """The finished ablation; the test may not write to its runs."""

    def times() -> dict[Path, int]:
        runs = [run.path for run in load_ablation(finished).all_runs]
        return {file: file.stat().st_mtime_ns for run in runs for file in run.rglob("*") if file.is_file()}

    before = times()
    yield finished
    assert times() == before


@pytest.mark.slow
def test_runs_end_to_end_and_writes_all_tables(unchanged: Path) -> None:
    ablation = load_ablation(unchanged)
    found = json.loads((ablation.output / "ablation.json").read_text())
    assert found["failed"] == {}
    assert found["unfinished"] == []
    tokens, spans = found["variants"]["tokens"], found["variants"]["spans"]
    assert tokens["seeds"] == spans["seeds"] == [0, 1]
    for run in ablation.runs:
        evaluation = json.loads((run.path / "eval.json").read_text())
        figures = found["variants"][run.variant]["figures"]
        seed = str(run.seed)
        assert figures["bound"]["by_seed"][seed] == evaluation["bound"]["nats_per_token"]
        assert figures["judge_nll"]["4"]["by_seed"][seed] == evaluation["quality"]["4"]["judge_nll"] > 0
        assert figures["L"]["1"]["by_seed"][seed] == evaluation["t_step"]["1"]
    assert tokens["figures"]["tokens_seen"]["mean"] == 8 * 4 * 32
    inner = tokens["figures"]["non_embedding"]["mean"]
    assert tokens["figures"]["train_flops"]["mean"] == 6 * inner * 8 * 4 * 32
    assert tokens["figures"]["parameters"]["mean"] > inner > 0
    gaps = [d for d in found["differences"] if d["figure"] == "bound"]
    seeds = [spans["figures"]["bound"]["by_seed"][s] - tokens["figures"]["bound"]["by_seed"][s] for s in "01"]
    assert gaps[0]["mean"] == pytest.approx(sum(seeds) / 2)
    for name in ("ablation.md", "ablation.csv", "ablation.html", "bound.svg", "t_step.svg", "judge_nll.svg"):
        assert (ablation.output / name).stat().st_size > 100


@pytest.mark.slow
def test_finished_runs_and_evaluations_are_kept(unchanged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hdiff(["ablate", str(unchanged), "--json"]) == 0
    said = capsys.readouterr()
    assert "done in" not in said.err, "no process was started"
    ablation = load_ablation(unchanged)
    assert json.loads(said.out) == json.loads((ablation.output / "ablation.json").read_text())


@pytest.mark.slow
def test_the_table_alone_says_what_is_missing(unchanged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ablation = load_ablation(unchanged)
    run = ablation.output / "spans-1"
    run.rename(ablation.output / "aside")
    try:
        assert hdiff(["ablate", str(unchanged), "--table", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
    finally:
        (ablation.output / "aside").rename(run)
    assert found["unfinished"] == ["spans-1"]
    assert found["variants"]["spans"]["seeds"] == [0]
    assert found["differences"][0]["verdict"] == "one seed"


@pytest.mark.slow
def test_an_evaluation_by_somebody_else_does_not_count(finished: Path) -> None:
    ablation = load_ablation(finished)
    run, judge = ablation.runs[0], judge_weights(ablation)
    assert is_evaluated(run, judge)
    assert not is_evaluated(run, None)
    file = run.path / "eval.json"
    text = file.read_text()
    try:
        file.write_text(text + " ")
        assert not is_evaluated(run, judge)
        assert read_results(ablation)[run.name].state == "unfinished"
    finally:
        file.write_text(text)
    assert is_evaluated(run, judge)


@pytest.mark.slow
def test_runs_of_another_recipe_are_not_mixed_in(unchanged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = unchanged.read_text()
    try:
        unchanged.write_text(text.replace("train.steps: 8", "train.steps: 9"))
        with pytest.raises(
            RecipeError, match=r"another recipe .*\(different: train.steps\); delete that folder"
        ):
            check_folders(load_ablation(unchanged))
        assert hdiff(["ablate", str(unchanged), "--table"]) == 2
    finally:
        unchanged.write_text(text)
    assert "give the ablation another output" in capsys.readouterr().err


@pytest.mark.slow
def test_two_ablations_do_not_work_in_one_folder(unchanged: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    ablation = load_ablation(unchanged)
    with (ablation.output / "lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"still work in .*wait until they end.*process ids: \d+"):
            run_ablation(ablation)


CRASHING = """
name: small
base: base.yaml
output: {output}
seeds: [0]
set: {{train.steps: 8}}
baseline: tokens
variants:
  crashing: {{train.learning_rate: 1.0e+30}}
  tokens: {{corruption: {{kind: token_masking}}}}
"""


@pytest.mark.slow
def test_killed_and_started_again_it_gives_the_same_table_and_a_crash_stops_nothing_else(
    finished: Path, prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A variant that crashes, then one of the finished ablation, which is interrupted while it trains."""
    file = write(tmp_path, CRASHING, data=prepared_folder)
    ablation = load_ablation(file)
    process = subprocess.Popen(
        [sys.executable, "-m", "hdiff", "ablate", str(file)], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not (ablation.output / "tokens-0" / "run.json").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"start again to go on" in err
    results = read_results(ablation)
    assert (results["crashing-0"].state, results["tokens-0"].state) == ("failed", "unfinished")

    launcher = tmp_path / "launcher"
    launched = tmp_path / "launched"
    launcher.write_text(f'#!/bin/sh\necho "$OMP_NUM_THREADS $@" >> {launched}\nexec {sys.executable} "$@"\n')
    launcher.chmod(0o755)
    assert hdiff(["ablate", str(file), "--launcher", str(launcher), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert list(found["failed"]) == ["crashing-0"]
    assert "lower train.learning_rate" in found["failed"]["crashing-0"]
    assert found["unfinished"] == []
    whole = as_json(summarise(load_ablation(finished), read_results(load_ablation(finished))))
    ours, theirs = (table["variants"]["tokens"]["figures"] for table in (found, whole))
    for figure in ("bound", "tokens_seen", "train_flops"):
        assert ours[figure]["by_seed"]["0"] == theirs[figure]["by_seed"][0]
    for steps in ("1", "4"):
        for figure in ("L", "unigram_entropy", "distinct_2", "nfe"):
            assert ours[figure][steps]["by_seed"]["0"] == theirs[figure][steps]["by_seed"][0]
    commands = launched.read_text().splitlines()
    threads = os.environ["OMP_NUM_THREADS"]
    assert all(line.startswith(f"{threads} -m hdiff train ") for line in commands)
    assert "crashing-0.yaml" in commands[0]
    # A sum over two threads is rounded otherwise, and the runs would not be the same.
    records = [json.loads((run.path / "run.json").read_text()) for run in ablation.runs]
    assert [record["threads"] for record in records] == [int(threads)] * 2
