"""Reports in a real browser: they fit the screen, draw what they have, and react. Needs Chromium."""

import json
import re

import pytest
from ablation_files import write

from hdiff.ablation import load_ablation
from hdiff.ablation.page import ablation_page
from hdiff.ablation.results import RunResult
from hdiff.ablation.summary import summarise
from hdiff.pages.page import inspection_page
from hdiff.pages.report import build_report

PARTS = ("metrics", "eval", "samples", "exploration", "analysis", "diagnosis")
MEASURE = (
    "document.querySelectorAll('details').forEach((each) => { each.open = true; });"
    " const d = document.documentElement; d.dataset.widths = d.scrollWidth + ' ' + innerWidth;"
    " d.dataset.dark = matchMedia('(prefers-color-scheme: dark)').matches;"
    " d.dataset.ink = getComputedStyle(document.body).color;"
)
"""Notes on the document how wide it is, and its colours."""


def masked(dom: str) -> int:
    return len(re.findall(r'<span class="w [^"]*"[^>]*data-hidden', dom))


def attribute(dom: str, name: str) -> str:
    found = re.search(rf'<html[^>]*data-{name}="([^"]*)"', dom)
    assert found is not None, f"the script did not note {name}"
    return found.group(1)


@pytest.fixture(params=["report", "ablation", "inspection"])
def any_page(request, make_run, make_exploration, tmp_path):
    """One page of each kind, with more than fits a narrow screen."""
    if request.param == "inspection":
        return inspection_page(make_exploration(text_of_a_word="nets" * 20))
    if request.param == "ablation":
        return ablation_page(summary_of(tmp_path))
    run = make_run()
    evaluation = json.loads((run / "eval.json").read_text())
    for number in range(9):
        (run / f"eval_a_rather_long_name_{number}.json").write_text(json.dumps(evaluation))
    return build_report(run)


def summary_of(tmp_path):
    ablation = load_ablation(write(tmp_path))
    figures = {("bound", None): 5.0}
    for t in (1, 4):
        figures |= {("L", t): 6.0 - t, ("judge_nll", t): 6.0 - t, ("nfe", t): t, ("seconds_per_sample", t): t}
    results = {run.name: RunResult(run, "done", None, figures, {}, {}) for run in ablation.all_runs}
    return summarise(ablation, results)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_fit_the_screen_in_light_and_dark(browse, any_page, width, dark):
    """`browse` refuses console errors and violations of the page's own security policy."""
    dom = browse(any_page, then=MEASURE, width=width, dark=dark)
    needed, there = map(int, attribute(dom, "widths").split())
    assert there == width
    assert needed <= there
    assert attribute(dom, "dark") == str(dark).lower()
    red = int(re.search(r"rgb\((\d+)", attribute(dom, "ink")).group(1))
    assert (red > 128) == dark
    assert len(re.findall(r"<svg", dom)) >= 1


@pytest.mark.parametrize("parts", [PARTS, ("metrics",), ()])
def test_reports_draw_what_they_have(browse, make_run, parts):
    dom = browse(build_report(make_run(parts=parts)))
    lines = ("metrics" in parts) + 5 * ("eval" in parts) + ("analysis" in parts) + 3 * ("diagnosis" in parts)
    assert dom.count('class="stage chart"') == lines + 3 * ("analysis" in parts)
    assert len(re.findall(r'<svg[^>]*class="figure"[^>]*role="img"', dom)) >= lines
    assert dom.count('class="player"') == ("samples" in parts) + ("exploration" in parts)
    assert dom.count('class="diagonal"') == 3 * ("analysis" in parts)


def test_the_explorer_of_a_report_changes_its_text_with_the_slider_and_the_choice(browse, make_run):
    page = build_report(make_run())
    slide = (
        "const slide = (t) => { const s = document.querySelector('#corruption input[type=range]');"
        " s.value = t; s.dispatchEvent(new Event('input', { bubbles: true })); };"
    )
    choose = (
        "const choose = (name, value) => { const c = document.querySelector(`#corruption "
        "select[aria-label='${name}']`); c.value = value; c.dispatchEvent(new Event('change')); };"
    )
    assert "0 of 7 words masked" in browse(page, then=f"{slide} slide(0);")
    dom = browse(page, then=f"{slide} slide(0.5);")
    assert "5 of 7 words masked" in dom
    # Three words are hidden at 0.31 and show their type until 0.61; two were hidden at 0.12, until 0.42.
    assert re.findall(r'class="stands-in">([^<]*)<', dom) == ["NP", "NP", "NP", "", "", "", ""]
    assert 'class="stands-in"' not in browse(page, then=f"{choose} choose('Hidden as one unit', 1);")
    dom = browse(page, then=f"{choose} choose('Sentence', 1);")
    assert ">socks<" in dom
    assert masked(dom) == 5  # the time stays where it was


def test_curves_are_chosen_in_the_legend(browse, make_run):
    run = make_run()
    evaluation = (run / "eval.json").read_text()
    for number in range(6):
        (run / f"eval_{number}.json").write_text(evaluation)
    page = build_report(run)

    def curves(dom: str) -> int:
        place = dom.split('data-chart="t_step"')[1].split("<figcaption")[0]
        return len(re.findall(r'<path d="[^"]*" fill="none"', place))

    assert curves(browse(page)) == 5
    untick = "document.querySelectorAll('#parallel input[type=checkbox]')[0].click();"
    tick = "document.querySelectorAll('#parallel input[type=checkbox]')[6].click();"
    assert curves(browse(page, then=untick)) == 4
    assert curves(browse(page, then=tick)) == 6


def test_the_values_of_a_chart_can_be_read_by_arrow_keys(browse, make_run):
    press = (
        "document.querySelector('%s svg.figure').dispatchEvent("
        "new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));"
    )
    page = build_report(make_run())
    dom = browse(page, then=press % "[data-chart=t_step]")
    assert "sampling steps T 2" in dom
    assert "4.93 ± 0.02" in dom
    dom = browse(page, then=press % "[data-chart=calibration_tokens]")
    assert "predicted 0.042, observed 0.037 ± 0.006" in dom


def test_the_loss_table_sorts_and_shows_one_group_at_a_time(browse, make_run):
    page = build_report(make_run())

    def labels(dom: str) -> list[str]:
        rows = dom.split('<section id="labels">')[1].split("</section>")[0]
        return re.findall(r'<th scope="row">([^<]*)</th><td class="n">[\d.]+</td><td class="n">±', rows)

    assert labels(browse(page)) == ["NP", "VP", "0.00 to 0.50"]
    dom = browse(page, then="document.querySelectorAll('.bars thead button')[1].click();")
    assert labels(dom) == ["VP", "NP", "0.00 to 0.50"]
    assert 'aria-sort="descending"' in dom
    assert len(re.findall(r'class="group" hidden', dom)) == 1


def test_hostile_labels_and_names_do_not_run(browse, make_run, make_analysis, make_diagnosis, hostile):
    run = make_run()
    (run / "analysis.json").write_text(json.dumps(make_analysis(label=hostile)))
    (run / "diagnosis.json").write_text(json.dumps(make_diagnosis(text=hostile)))
    watch = "window.alert = () => { document.documentElement.dataset.error = 'alert'; };"
    assert "alert(1)" in browse(build_report(run).replace('"use strict";', f'"use strict";{watch}', 1))
