"""Run reports: every part is optional, the caveat of the bound is not."""

import json
import re

import pytest

from hdiff.errors import CheckpointError, UserError
from hdiff.pages.report import build_report
from hdiff.pages.report_charts import MAX_POINTS
from hdiff.pages.report_text import count, duration

PARTS = ("metrics", "eval", "samples", "exploration", "analysis", "diagnosis")


def visible(page: str) -> str:
    body = page.split("<body>")[1].split('<script type="application/json"')[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def charts_of(page: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script', page, flags=re.DOTALL).group(1))["charts"]


def test_a_full_report_has_every_section_and_no_gap(make_run):
    page = build_report(make_run())
    text = visible(page)
    for heading in (
        "In numbers",
        "Training",
        "The cost of parallel decoding",
        "Sample quality",
        "Samples",
        "Loss by level and label",
        "Calibration",
        "Diagnosis",
        "Recipe",
        "Provenance",
    ):
        assert heading in text
    assert 'class="empty"' not in page
    assert all(charts_of(page).values())
    assert "1.41 M parameters" in text
    assert "4.41 ± 0.02" in text
    assert "held-out text" in text


@pytest.mark.parametrize("missing", PARTS)
def test_a_missing_part_is_replaced_by_the_command_that_makes_it(make_run, missing):
    parts = tuple(part for part in PARTS if part != missing)
    page = build_report(make_run(parts=parts))
    assert 'class="empty"' in page
    assert "<code>hdiff " in page


def test_a_run_that_only_began_has_a_report(make_run):
    page = build_report(make_run(parts=()))
    assert not any(charts_of(page).values())
    assert "hdiff eval" in visible(page)


def test_a_bound_without_structure_is_called_one(make_run):
    text = visible(build_report(make_run()))
    assert "Upper bound on −log p(x_0)" in text
    assert "not comparable" not in text
    assert "perplexity per token (upper bound) 82" in text


def test_a_bound_given_the_structure_is_never_called_a_bound_on_the_text(make_run):
    page = build_report(make_run(conditional=True))
    text = visible(page)
    assert "Given the structure: not comparable" in text
    assert "pper bound on −log p(x_0)" not in text
    assert "perplexity" not in text
    assert charts_of(page)["t_step"]["references"] == []


def test_an_exact_likelihood_is_not_called_a_bound(make_run):
    run = make_run()
    evaluation = json.loads((run / "eval.json").read_text())
    evaluation["bound"].update(kind="exact", stderr=float("nan"))
    (run / "eval.json").write_text(json.dumps(evaluation))
    text = visible(build_report(run))
    assert "exact and not a bound" in text
    assert "Upper bound" not in text
    assert "± nan" not in text


def test_valid_phrases_stand_beside_the_factorised_ceiling(make_run):
    run = make_run()
    evaluation = json.loads((run / "eval.json").read_text())
    evaluation |= {"phrase_valid": {"1": 0.91}, "phrase_ceiling": {"1": 0.007}}
    (run / "eval.json").write_text(json.dumps(evaluation))
    text = visible(build_report(run))
    assert "Valid phrases" in text
    assert "0.910 0.007" in text


def test_the_t_step_curve_is_in_the_order_of_its_steps(make_run):
    chart = charts_of(build_report(make_run()))["t_step"]
    assert [point[0] for point in chart["series"][0]["points"]] == [1, 2, 4, 16]
    assert chart["references"][0]["y"] == 4.41


def test_long_curves_are_thinned(make_run):
    series = {s["name"]: s["points"] for s in charts_of(build_report(make_run()))["loss"]["series"]}
    assert len(series["each step"]) <= MAX_POINTS
    assert len(series["validation bound"]) == 2


def test_metrics_cut_off_by_a_kill_are_read_up_to_there(make_run):
    run = make_run()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12')
    assert charts_of(build_report(run))["loss"]


def test_losses_that_are_not_finite_are_left_out(make_run):
    run = make_run()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1201, "loss": NaN}\n')
    points = charts_of(build_report(run))["loss"]["series"][0]["points"]
    assert all(point[1] is not None for point in points)


def test_samples_without_steps_are_shown_as_text(make_run):
    run = make_run()
    (run / "samples.json").write_text(
        json.dumps({"num_steps": 8, "seed": 0, "samples": [{"text": "a <b> text"}]})
    )
    assert "a &lt;b&gt; text" in build_report(run)


def test_names_and_recipes_are_escaped_and_paths_are_quoted(make_run, hostile):
    run = make_run("a run", parts=())
    (run / "run.json").write_text(json.dumps({"name": hostile, "commit": hostile}))
    (run / "recipe.yaml").write_text(hostile, encoding="utf-8")
    page = build_report(run)
    assert "<script>alert" not in page
    assert "/a run&#39;" in page
    assert len(re.findall("</script", page)) == 2


def test_a_missing_folder_says_how_to_make_one(tmp_path):
    with pytest.raises(CheckpointError, match=r"no run folder at .*hdiff train"):
        build_report(tmp_path / "nothing")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no run\.json"):
        build_report(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [("eval.json", "{"), ("run.json", "[]"), ("exploration.json", "{}"), ("metrics.jsonl", "x\n{}\n")],
)
def test_a_damaged_file_is_named(make_run, file, content):
    run = make_run()
    (run / file).write_text(content)
    with pytest.raises(UserError, match=re.escape(file)):
        build_report(run)


def test_counts_and_durations_read_well():
    assert [count(n) for n in (950, 54_321, 1_412_000, 2e9)] == ["950", "54.3 k", "1.41 M", "2 B"]
    assert [duration(s) for s in (42, 318, 7560)] == ["42 s", "5.3 min", "2.1 h"]
