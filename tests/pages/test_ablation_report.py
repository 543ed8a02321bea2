"""The report of an ablation: from its file or its folder, with plots, runs, and what is still to do."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ablation_files import ABLATION, write

from hdiff.ablation import Ablation, load_ablation
from hdiff.ablation.folder import find_ablation
from hdiff.ablation.page import ablation_page, write_ablation
from hdiff.ablation.plots import plots
from hdiff.ablation.results import Figures, RunResult
from hdiff.ablation.summary import Summary, summarise
from hdiff.cli import run as hdiff
from hdiff.errors import CheckpointError, DataError
from hdiff.recipe import to_yaml


def results_of(ablation: Ablation) -> dict[str, RunResult]:
    """Every run done, with figures of samples at two T."""
    found = {}
    for run in ablation.all_runs:
        figures: Figures = {("bound", None): 5 + run.seed / 100, ("train_seconds", None): 93.0}
        for t in (1, 4):
            figures |= {
                ("L", t): 6 - t / 10, ("judge_nll", t): 7 - t / 10 + run.seed / 50, ("nfe", t): float(t),
                ("seconds_per_sample", t): 0.01 * t + 0.001,
            }  # fmt: skip
        found[run.name] = RunResult(run, "done", None, figures, {}, {"commit": "abc"})
    return found


@pytest.fixture
def ablation(tmp_path: Path) -> Ablation:
    return load_ablation(write(tmp_path, ABLATION))


@pytest.fixture
def summary(ablation: Ablation) -> Summary:
    return summarise(ablation, results_of(ablation))


@pytest.fixture
def folder(ablation: Ablation, summary: Summary) -> Path:
    """The folder an ablation leaves: tables, and a recipe for every run."""
    (ablation.output / "recipes").mkdir(parents=True)
    for run in ablation.all_runs:
        (ablation.output / "recipes" / f"{run.name}.yaml").write_text(to_yaml(run.recipe))
    write_ablation(summary)
    return ablation.output


def visible(page: str) -> str:
    body = page.split("<body>")[1].split('<script type="application/json"')[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_judge_nll_is_drawn_over_calls_and_over_seconds(summary: Summary) -> None:
    drawn = plots(summary)
    assert set(drawn) == {"bound", "t_step", "judge_nll", "judge_nll_seconds"}
    titles = [
        each.text
        for each in ElementTree.fromstring(drawn["judge_nll_seconds"]).iter(
            "{http://www.w3.org/2000/svg}title"
        )
    ]
    assert "tokens, seconds per sample 0.011: 6.9100" in titles
    assert "tokens, seed 1: 6.9200" in titles


def test_curves_differ_in_more_than_colour(summary: Summary) -> None:
    strokes = re.findall(r"stroke-dasharray:([\w ]+)", plots(summary)["t_step"])
    assert len(set(strokes)) == 2


def test_marks_of_the_axis_lie_inside_of_the_plot(summary: Summary) -> None:
    root = ElementTree.fromstring(plots(summary)["judge_nll_seconds"])
    marks = [
        float(each.get("x", "nan"))
        for each in root.iter("{http://www.w3.org/2000/svg}text")
        if each.get("text-anchor") == "middle"
    ]
    assert len(marks) >= 2
    assert min(marks) >= 56
    assert max(marks) <= 760 - 16


def test_a_finished_ablation_says_nothing_of_things_to_do(summary: Summary) -> None:
    page = ablation_page(summary)
    assert 'id="unfinished"' not in page
    text = visible(page)
    assert "5 of 5 runs are done" in text
    assert "Paired differences to tokens" in text
    assert "spans: bound" in text
    assert "1.6 min" in text
    assert f"hdiff report {summary.ablation.output}/spans-0" in text


def test_reports_of_runs_are_linked_by_paths_inside_of_the_folder(summary: Summary, folder: Path) -> None:
    (folder / "spans-0").mkdir()
    (folder / "spans-0" / "report.html").write_text("")
    page = ablation_page(summary)
    assert '<a href="spans-0/report.html">' in page
    assert '<a href="spans-1/report.html">' not in page


def test_missing_and_failed_runs_are_named_with_the_command_that_makes_them(ablation: Ablation) -> None:
    results = results_of(ablation)
    for name, state, reason in (("spans-1", "failed", "<b>nan</b>"), ("tokens-1", "unfinished", None)):
        results[name] = RunResult(results[name].run, state, reason, {}, {}, {})  # type: ignore[arg-type]
    page = ablation_page(summarise(ablation, results))
    text = visible(page)
    assert "spans-1 (failed: &lt;b&gt;nan&lt;/b&gt;)" in text
    assert "tokens-1 (unfinished)" in text
    assert f"hdiff ablate {ablation.file}" in text


def test_a_folder_tells_the_same_ablation_as_its_file(ablation: Ablation, folder: Path) -> None:
    found, read = find_ablation(folder), find_ablation(ablation.file)
    assert found.runs == read.runs
    assert found.judge == read.judge
    assert found.variants == read.variants
    assert (found.name, found.seeds, found.baseline) == (read.name, read.seeds, read.baseline)
    assert found.file == ablation.file
    assert all(found.changes(variant) == read.changes(variant) for variant in read.variants)


def test_a_folder_that_was_moved_is_read_where_it_is(folder: Path, tmp_path: Path) -> None:
    moved = folder.rename(tmp_path / "elsewhere")
    found = find_ablation(moved)
    assert found.output == moved
    assert all(run.path.parent == moved for run in found.all_runs)


def test_the_control_of_a_variant_is_known_from_the_folder(tmp_path: Path) -> None:
    text = ABLATION.replace(
        "spans: {{}}", "spans: {{}}\n  deep: {{model.depth: 2}}\ncontrol_of: {{deep: spans}}"
    )
    ablation = load_ablation(write(tmp_path, text))
    for run in ablation.all_runs:
        run.path.mkdir(parents=True)
        (run.path / "recipe.yaml").write_text(to_yaml(run.recipe))
    write_ablation(summarise(ablation, results_of(ablation)))
    assert find_ablation(ablation.output).control_of == {"deep": "spans"}


def test_the_command_makes_the_page_again(
    ablation: Ablation, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for target in (folder, ablation.file):
        (folder / "ablation.html").unlink()
        assert hdiff(["report", str(target)]) == 0
        assert str(folder / "ablation.html") in capsys.readouterr().out.split()
        # No run was ever trained, so all of them are still to do.
        page = (folder / "ablation.html").read_text()
        assert "Not everything is done" in page
        assert f"hdiff ablate {ablation.file}" in page


def test_an_ablation_that_never_ran_and_damaged_folders_are_refused(ablation: Ablation, folder: Path) -> None:
    (folder / "ablation.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        find_ablation(folder)
    # The stamp of a single run has the same name.
    (folder / "ablation.json").write_text(json.dumps({"weights": "abc"}))
    with pytest.raises(DataError, match="nor the ablation"):
        find_ablation(folder)
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="train them: hdiff ablate"):
        find_ablation(ablation.file)


def test_a_folder_without_recipes_is_refused(folder: Path) -> None:
    shutil.rmtree(folder / "recipes")
    with pytest.raises(DataError, match="give the YAML file"):
        find_ablation(folder)
