"""Figures of a report: every number is one of the run's files, several evaluations, samplers, escaping."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from hdiff.errors import CheckpointError
from hdiff.pages.report import build_report

SECTIONS = ("parallel", "quality", "corruption", "labels", "calibration", "diagnosis")
PROSE = {"0.7", "2512.22630"}
"""Numbers of the page's own sentences."""


def section(page: str, name: str) -> str:
    """The visible text of a section."""
    body = page.split(f'<section id="{name}">')[1].split("</section>")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def data_of(page: str) -> dict[str, Any]:
    return json.loads(re.search(r'id="data">(.*?)</script', page, flags=re.DOTALL).group(1))


def numbers_of(value: Any) -> list[float]:
    """All numbers in a JSON value."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers_of(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers_of(item)]
    if isinstance(value, str):
        return [float(number) for number in re.findall(r"\d+\.\d+", value)]
    return [float(value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


def numbers_in_files(run: Path) -> list[float]:
    return [n for file in run.glob("*.json") for n in numbers_of(json.loads(file.read_text()))]


def change(run: Path, file: str, **values: Any) -> None:
    content = json.loads((run / file).read_text()) if (run / file).is_file() else {}
    (run / file).write_text(json.dumps({**content, **values}))


def evaluation(run: Path, **values: Any) -> dict[str, Any]:
    return {**json.loads((run / "eval.json").read_text()), **values}


def test_every_decimal_number_of_a_section_is_a_rounded_number_of_a_file(make_run):
    run = make_run()
    known = numbers_in_files(run)
    curve = json.loads((run / "eval.json").read_text())["t_step"]
    known += [math.exp(nats) for nats in curve.values()]  # their perplexities
    known.append(curve[min(curve, key=int)] - curve[max(curve, key=int)])  # the cost of parallel decoding
    page = build_report(run)
    found = 0
    for name in SECTIONS:
        text = section(page, name).replace(",", "")
        for shown, percent in set(re.findall(r"(\d+\.\d+)(%?)", text)):
            scale = 100 if percent else 1
            slack = 0.501 * 10.0 ** -len(shown.split(".")[1])  # half a unit of the last place
            is_known = any(math.isclose(float(shown), scale * value, abs_tol=slack) for value in known)
            assert is_known or shown in PROSE, (name, shown)
            found += 1
    assert found > 60


def test_the_points_of_the_charts_are_the_numbers_of_the_files(make_run):
    run = make_run()
    charts = data_of(build_report(run))["charts"]
    quality = json.loads((run / "eval.json").read_text())["quality"]
    for figure in ("judge_nll", "unigram_entropy"):
        for cost in ("nfe", "seconds_per_sample"):
            points = charts[f"{figure}_{cost}"]["series"][0]["points"]
            assert [p[:2] for p in points] == [[quality[t][cost], quality[t][figure]] for t in quality]
    analysis = json.loads((run / "analysis.json").read_text())
    bins = analysis["calibration"]["boundary"]["bins"]
    shown = charts["calibration_boundary"]["bins"]
    assert [point[:2] for point in shown] == [[b["predicted"], b["observed"]] for b in bins]
    assert "calibration_spans" not in charts
    collapse = json.loads((run / "diagnosis.json").read_text())["frequency_collapse"]
    points = charts["diagnosis_kl_to_unigram"]["series"][0]["points"]
    assert points == [
        list(p)
        for p in zip(collapse["distance"], collapse["kl_to_unigram"], collapse["kl_stderr"], strict=True)
    ]


def test_every_chart_stands_beside_its_table(make_run):
    run = make_run()
    page = build_report(run)
    for name in ("training", "parallel", "labels", "diagnosis"):
        assert "The figures as a table" in section(page, name)
    assert section(page, "calibration").count("The figures as a table") == 3


def test_more_evaluations_are_curves_named_by_their_files(make_run):
    run = make_run()
    other = evaluation(run, sampler={"kind": "planned", "order": "confidence"}, t_step={"1": 5.111})
    other["t_step_stderr"] = {}
    (run / "eval_planned.json").write_text(json.dumps(other))
    page = build_report(run)
    charts = data_of(page)["charts"]
    for name in ("t_step", "judge_nll_nfe", "unigram_entropy_seconds_per_sample"):
        assert [series["name"] for series in charts[name]["series"]] == ["eval", "eval_planned"]
    assert charts["t_step"]["series"][1]["points"] == [[1, 5.111, 0.0]]
    assert "planned (order: confidence)" in section(page, "quality")
    assert "5.111" in section(page, "parallel")


def test_the_sampler_of_the_figures_is_named(make_run):
    run = make_run()
    assert "sampler ancestral , as eval.json says" in section(build_report(run), "numbers")
    assert "not the plain one" not in section(build_report(run), "numbers")
    change(run, "eval.json", sampler={"kind": "confidence", "threshold": 0.9})
    text = section(build_report(run), "numbers")
    assert "confidence (threshold: 0.9)" in text
    assert "not the plain one" in text
    assert "confidence (threshold: 0.9)" in section(build_report(run), "quality")


def test_without_eval_json_the_figures_are_those_of_another_file_and_it_is_named(make_run):
    run = make_run()
    (run / "eval.json").rename(run / "eval_remasking.json")
    text = section(build_report(run), "numbers")
    assert "4.41" in text
    assert "eval_remasking.json" in text
    assert "There is no eval.json" in text


def test_bounds_given_the_structure_are_in_no_chart_with_others(make_run):
    run = make_run()
    given = evaluation(run)
    given["bound"]["conditional_on_structure"] = True
    (run / "eval_given_structure.json").write_text(json.dumps(given))
    page = build_report(run)
    series = data_of(page)["charts"]["t_step"]["series"]
    assert [each["name"] for each in series] == ["eval"]
    assert "another kind: eval_given_structure" in section(page, "parallel")


def test_evaluations_with_other_references_are_said_not_to_compare(make_run):
    run = make_run()
    same = evaluation(run)
    (run / "eval_same.json").write_text(json.dumps(same))
    assert "does not compare" not in section(build_report(run), "quality")
    (run / "eval_other.json").write_text(json.dumps({**same, "reference": {"judge_nll": 9.0}}))
    assert "does not compare" in section(build_report(run), "quality")


def test_a_file_that_is_no_evaluation_is_named_and_a_damaged_one_is_refused(make_run):
    run = make_run()
    (run / "eval_notes.json").write_text('{"mine": 1}')
    assert "eval_notes.json" in section(build_report(run), "quality")
    (run / "eval_notes.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"eval_notes\.json"):
        build_report(run)


def test_an_analysis_that_lacks_a_part_is_named(make_run):
    run = make_run()
    (run / "analysis.json").write_text('{"loss": {}}')
    with pytest.raises(CheckpointError, match=r"analysis\.json.*delete it"):
        build_report(run)


def test_an_analysis_of_other_weights_is_marked(make_run):
    run = make_run()
    folder = run / "checkpoints" / "step-00001200"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    assert "Made of other weights" in section(build_report(run), "labels")


def test_a_diagnosis_of_few_figures_is_shown_as_far_as_it_goes(make_run):
    run = make_run()
    (run / "diagnosis.json").write_text(json.dumps({"model": "m", "seed": 0, "frequency_collapse": {}}))
    assert "Marginal trap" in section(build_report(run), "diagnosis")


def test_loss_bars_are_in_proportion(make_run):
    page = build_report(make_run())
    widths = [float(width) for width in re.findall(r'class="fill" x="0" y="1" width="([\d.]+)"', page)]
    ends = [float(end) for end in re.findall(r'class="error" x1="[\d.]+" x2="([\d.]+)"', page)]
    assert max(ends) == 100.0
    assert widths[0] / widths[1] == pytest.approx(4.71 / 5.29, rel=1e-3)


def test_the_loss_per_label_is_not_called_a_likelihood(make_run):
    assert "mean loss, not a likelihood" in section(build_report(make_run()), "labels")


def test_labels_and_texts_of_users_stay_text(make_run, make_analysis, make_diagnosis, hostile):
    run = make_run()
    (run / "analysis.json").write_text(json.dumps(make_analysis(label=hostile)))
    (run / "diagnosis.json").write_text(json.dumps(make_diagnosis(text=hostile)))
    change(run, "eval.json", sampler={"kind": hostile})
    page = build_report(run)
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 3
    assert len(re.findall("</script", page)) == 2
