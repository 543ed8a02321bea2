"""Explorer pages in a real browser: their scripts run, draw, react, and log no error. Needs Chromium."""

import re

from hdiff.pages.page import inspection_page, trajectory_page


def masked(dom: str) -> int:
    return len(re.findall(r'<span class="w [^"]*"[^>]*data-hidden', dom))


def move(t: float) -> str:
    return (
        f"const s = document.querySelector('input[type=range]'); s.value = {t};"
        "s.dispatchEvent(new Event('input', { bubbles: true }));"
    )


def test_units_disappear_whole_as_t_grows(browse, make_exploration):
    page = inspection_page(make_exploration())
    assert masked(browse(page, then=move(0))) == 0
    assert masked(browse(page, then=move(0.2))) == 2
    dom = browse(page, then=move(0.5))
    assert masked(dom) == 5
    assert "5 of 7 words masked" in dom
    assert masked(browse(page, then=move(1))) == 7


def test_the_span_diagram_is_drawn(browse, make_exploration):
    dom = browse(inspection_page(make_exploration()))
    assert len(re.findall(r'<g class="span', dom)) == 3
    assert 'aria-label="phrase NP: The old man"' in dom


def test_parsers_are_explored_one_by_one(browse, make_exploration):
    one, other = make_exploration(), make_exploration(text_of_a_word="woman")
    dom = browse(
        inspection_page({**one, "title": "spacy"}, {**other, "title": "random:spacy"}), then=move(0.5)
    )
    assert re.findall(r"<h2>(.*?)</h2>", dom) == ["All at once", "spacy", "random:spacy"]
    assert dom.count('type="range"') == 3
    assert "5 of 7 words masked" in dom


def test_samples_fill_in_step_by_step(browse, make_trajectory):
    page = trajectory_page(make_trajectory())
    for step, states in ((0, ["blank"] * 3), (1, ["blank", "new", "blank"]), (2, ["new", "old", "blank"])):
        assert re.findall(r'class="unit"[^>]*data-state="(\w+)"', browse(page, then=move(step))) == states


def test_units_of_unparsed_texts_are_coloured_by_their_length(browse):
    sizes = (0, 1, 2, 3, 8, 9, 20)  # 0: given words
    pieces = [
        {
            "text": f" w{number}.{place}",
            "step": number,
            "unit": 100 * number,
            "level": "token" if size else "given",
        }
        for number, size in enumerate(sizes)
        for place in range(size or 3)
    ]
    page = trajectory_page(
        {"title": "a", "num_steps": 6, "samples": [{"pieces": pieces}], "process": "Long first."}
    )
    dom = browse(page, then=move(6))
    assert re.findall(r'class="unit" style="--c: ?var\(--(\w+)\)', dom) == (
        ["token", "word", "word", "phrase", "phrase", "clause", "clause"]
    )
    assert "9 tokens or more in one unit" in dom
    assert "colour by length" in dom
    assert "Long first." in dom


def test_one_slider_moves_all_explorations(browse, make_exploration):
    one, other = make_exploration(), make_exploration()
    alone = inspection_page(one)
    assert 'id="together"' not in alone
    dom = browse(inspection_page(one, {**other, "title": "again"}), then=move(0.5))
    first = dom[: dom.index('class="explorer"')]
    assert masked(first) == 2 * 5
    assert first.count("5 of 7 words masked") == 2


def test_play_runs_to_the_end(browse, make_trajectory):
    dom = browse(
        trajectory_page({**make_trajectory(), "num_steps": 4}),
        then="document.querySelector('button').click()",
    )
    assert "step 0 of" not in dom
    assert 'aria-label="P' in dom


def test_steps_with_nothing_left_to_fill_in_are_counted_and_not_played(browse, make_trajectory):
    """Where units are fewer than the steps that were asked for."""
    trajectory = make_trajectory()
    last = max(piece["step"] for sample in trajectory["samples"] for piece in sample["pieces"])
    dom = browse(trajectory_page({**trajectory, "num_steps": last + 5}), then=move(last))
    assert f"step {last} of {last}" in dom
    assert "100 % of tokens filled in; nothing is left for 5 more steps" in dom
    assert "filled in; nothing" not in browse(
        trajectory_page({**trajectory, "num_steps": last}), then=move(last)
    )


def test_hostile_text_does_not_run(browse, make_exploration, make_trajectory, hostile):
    watch = "window.alert = () => { document.documentElement.dataset.error = 'alert'; };"
    for page in (
        inspection_page(make_exploration(text_of_a_word=hostile)),
        trajectory_page(make_trajectory(text_of_a_piece=hostile)),
    ):
        assert "alert(1)" in browse(page.replace('"use strict";', f'"use strict";{watch}', 1))
